package access

import "slices"

// userRoutes are the routes of users.
func userRoutes() []Route {
	const tag = "user management"
	id := Field{Name: "user_id", Type: String, Summary: "the user; the caller's own where it is not given"}
	return []Route{
		{
			Method: "POST", Path: "/user/new", Tag: tag, Summary: "Create a user, and a key for it unless told otherwise",
			Group: GroupManagement, Actions: []Action{UserNew},
			Body: slices.Concat(userFields(), []Field{
				{Name: "spend", Type: Money, AdminOnly: true, Summary: "what the user has spent so far"},
				{Name: "teams", Type: Any, Summary: "teams to join: ids, or objects of team_id, max_budget_in_team and user_role"},
				{Name: "organizations", Type: StringList, Summary: "organizations to join"},
				{Name: "auto_create_key", Type: Boolean, Summary: "make a key for the user; true unless given"},
				{Name: "key_alias", Type: String, Summary: "alias of the key"},
				{Name: "duration", Type: Duration, Summary: "how long the key is good"},
				{Name: "team_id", Type: String, Summary: "team of the key"},
				{Name: "sso_user_id", Type: String, Summary: "the user's id at the identity provider"},
				{Name: "send_invite_email", Type: Boolean, Summary: "taken and ignored: no mail is sent"},
			}),
		},
		{
			Method: "POST", Path: "/user/update", Tag: tag, Summary: "Change a user, found by user_id or user_email",
			Group: GroupManagement, Actions: []Action{UserUpdate, UserUpdateAlias}, Body: UserUpdateFields(),
		},
		{
			Method: "POST", Path: "/user/bulk_update", Tag: tag, Summary: "Change many users, each on its own",
			Group: GroupManagement, Actions: []Action{UserUpdate},
			Body: []Field{
				{Name: "users", Type: ObjectList, Summary: "bodies of /user/update, at most 500"},
				{Name: "all_users", Type: Boolean, Summary: "change all users instead"},
				{Name: "user_updates", Type: Object, Summary: "what to change of all users"},
			},
		},
		{
			Method: "POST", Path: "/user/delete", Tag: tag, Summary: "Delete users with their keys and memberships",
			Group: GroupManagement, Actions: []Action{UserDelete},
			Body: []Field{{Name: "user_ids", Type: StringList, Required: true, Summary: "the users; all of them or none are deleted"}},
		},
		{
			Method: "GET", Path: "/user/info", Tag: tag, Summary: "A user with its keys and teams",
			Group: GroupInfo, Actions: []Action{UserInfo}, Query: []Field{id},
		},
		{
			Method: "GET", Path: "/v2/user/info", Tag: tag, Summary: "A user alone",
			Group: GroupInfo, Actions: []Action{UserInfo}, Query: []Field{id},
		},
		{
			Method: "GET", Path: "/user/list", Tag: tag, Summary: "List users page by page",
			Group: GroupManagement, Actions: []Action{UserList}, Query: userListQuery(),
		},
		{
			Method: "GET", Path: "/user/filter/ui", Tag: tag, Summary: "Find users by part of their id or e-mail address",
			Group: GroupManagement, Actions: []Action{UserList}, Hidden: true,
			Query: []Field{{Name: "user_id", Type: String}, {Name: "user_email", Type: String}},
		},
		{
			Method: "GET", Path: "/user/available_roles", Tag: tag, Summary: "The roles that users may have",
			Group: GroupInfo,
		},
		{
			Method: "POST", Path: "/user/password/change", Tag: tag, Group: GroupManagement, Hidden: true, NoDatabase: true,
			Later: "Users change their password where they log in, which is not part of this release. A proxy admin sets one with /user/update.",
		},
	}
}

// userFields are the fields that creating and changing a user have in common.
func userFields() []Field {
	zero := new(int64)
	return []Field{
		{Name: "user_id", Type: String, Summary: "id of the user; made up where it is not given"},
		{Name: "user_email", Type: String, Summary: "e-mail address, unique in any case"},
		{Name: "user_alias", Type: String, Summary: "name for people"},
		{
			Name: "user_role", Type: String, Enum: []string{"proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"},
			Summary: "what the user may do",
		},
		{Name: "password", Type: String, Summary: "8 to 128 characters; stored as a salted hash and never shown"},
		{Name: "models", Type: StringList, Summary: "models that the user may call; empty: all"},
		{Name: "max_budget", Type: Money, Summary: "dollars that the user may spend"},
		{Name: "soft_budget", Type: Money, Summary: "dollars from which on a warning is raised"},
		{Name: "budget_duration", Type: Duration, Summary: "after which the spend starts again"},
		{Name: "budget_limits", Type: ObjectList, Summary: "several budgets, each with its own duration"},
		{Name: "tpm_limit", Type: Integer, Minimum: zero, Summary: "tokens per minute"},
		{Name: "rpm_limit", Type: Integer, Minimum: zero, Summary: "requests per minute"},
		{Name: "max_parallel_requests", Type: Integer, Minimum: zero, Summary: "requests at the same time"},
		{Name: "model_max_budget", Type: Object, Summary: "budgets by model"},
		{Name: "model_rpm_limit", Type: Object, Summary: "requests per minute by model, of all the user's keys together; the key that is made with a user has them too"},
		{Name: "model_tpm_limit", Type: Object, Summary: "tokens per minute by model, likewise"},
		fallbacksField,
		{Name: "mcp_rpm_limit", Type: Object, Summary: "requests per minute by MCP server"},
		tagLimitField,
		{Name: "metadata", Type: Object, Summary: "anything; replaces what there was"},
		{Name: "blocked", Type: Boolean, Summary: "refuse every key of the user"},
		{Name: "aliases", Type: StringMap, Summary: "names of models for this user's key"},
		{Name: "allowed_cache_controls", Type: StringList, Summary: "cache controls that the user may send"},
		{Name: "config", Type: Object, AdminOnly: true},
		{Name: "permissions", Type: Object, AdminOnly: true},
		{Name: "object_permission", Type: Object, AdminOnly: true},
		{Name: "guardrails", Type: StringList, AdminOnly: true},
		{Name: "policies", Type: StringList, AdminOnly: true},
		{Name: "prompts", Type: StringList},
		{Name: "agent_id", Type: String},
	}
}

// UserUpdateFields are the fields of a change of a user, of one among many too.
func UserUpdateFields() []Field {
	return slices.Concat(unserved(userFields(), "model_max_budget", modelBudgets), []Field{
		{Name: "spend", Type: Money, AdminOnly: true, Summary: "what the user has spent so far"},
		{Name: "key_alias", Type: String, Summary: "taken and ignored"},
		{Name: "duration", Type: Duration, Summary: "taken and ignored"},
		{Name: "team_id", Type: String, Summary: "taken and ignored"},
	})
}

func userListQuery() []Field {
	one, hundred := new(int64(1)), new(int64(100))
	return []Field{
		{Name: "role", Type: String, Summary: "users of this role"},
		{Name: "user_ids", Type: String, Summary: "users of these ids, separated by commas"},
		{Name: "sso_user_ids", Type: String, Summary: "users of these ids at the identity provider, separated by commas"},
		{Name: "user_email", Type: String, Summary: "users whose e-mail address contains this"},
		{Name: "search", Type: String, Summary: "users whose id or e-mail address contains this"},
		{Name: "team", Type: String, Summary: "members of this team"},
		{Name: "organization_ids", Type: String, Summary: "members of these organizations, separated by commas"},
		{Name: "page", Type: Integer, Minimum: one, Summary: "from 1"},
		{Name: "page_size", Type: Integer, Minimum: one, Maximum: hundred, Summary: "25 unless given"},
		{Name: "sort_by", Type: String, Summary: "user_id, user_alias, user_email, user_role, spend, max_budget, created_at or updated_at; created_at unless given, newest first"},
		{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}, Summary: "asc unless given"},
	}
}
