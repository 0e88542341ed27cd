package access

import "slices"

// teamRoutes are the routes of teams.
func teamRoutes() []Route {
	return slices.Concat(teamWriteRoutes(), teamMemberRoutes(), teamReadRoutes(), teamLaterRoutes())
}

const teamTag = "team management"

func teamWriteRoutes() []Route {
	id := Field{Name: "team_id", Type: String, Required: true, Summary: "the team"}
	block := []Field{id}
	models := []Field{id, {Name: "models", Type: StringList, Required: true, Summary: "names of models"}}
	return []Route{
		{
			Method: "POST", Path: "/team/new", Tag: teamTag, Summary: "Create a team",
			Group: GroupManagement, Actions: []Action{TeamNew},
			Body: slices.Concat([]Field{{Name: "team_id", Type: String, Summary: "id of the team; made up where it is not given"}}, teamFields(), []Field{
				{Name: "members_with_roles", Type: ObjectList, Summary: "members: role, and user_id or user_email"},
				{Name: "admins", Type: StringList, Summary: "user ids; members_with_roles says it better"},
				{Name: "members", Type: StringList, Summary: "user ids; members_with_roles says it better"},
			}),
		},
		{
			Method: "POST", Path: "/team/update", Tag: teamTag, Summary: "Change a team",
			Group: GroupManagement, Actions: []Action{TeamUpdate}, Body: slices.Concat([]Field{id}, teamFields()),
		},
		{
			Method: "PATCH", Path: "/team/{team_id}", Tag: teamTag, Summary: "Change a team; metadata is merged (RFC 7386)",
			Group: GroupManagement, Actions: []Action{TeamUpdate},
			Body: slices.Concat([]Field{{Name: "team_id", Type: String, Summary: "the one of the path, if it is given"}}, teamFields()),
		},
		{
			Method: "POST", Path: "/team/delete", Tag: teamTag, Summary: "Delete teams with their keys and memberships",
			Group: GroupManagement, Actions: []Action{TeamNew},
			Body: []Field{{Name: "team_ids", Type: StringList, Required: true, Summary: "the teams; all of them or none are deleted"}},
		},
		{Method: "POST", Path: "/team/block", Tag: teamTag, Summary: "Refuse all keys of a team", Group: GroupManagement, Actions: []Action{TeamNew}, Body: block},
		{Method: "POST", Path: "/team/unblock", Tag: teamTag, Summary: "Let a blocked team work again", Group: GroupManagement, Actions: []Action{TeamNew}, Body: block},
		{Method: "POST", Path: "/team/model/add", Tag: teamTag, Summary: "Add models to a team", Group: GroupManagement, Actions: []Action{TeamModels}, Body: models},
		{Method: "POST", Path: "/team/model/delete", Tag: teamTag, Summary: "Take models from a team", Group: GroupManagement, Actions: []Action{TeamModels}, Body: models},
		{
			Method: "POST", Path: "/team/permissions_update", Tag: teamTag, Summary: "Set which routes members may call for the team",
			Group: GroupManagement, Actions: []Action{TeamPermissions},
			Body: []Field{id, {Name: "team_member_permissions", Type: StringList, Required: true, Summary: "routes, of those that permissions_list names"}},
		},
		{
			Method: "POST", Path: "/team/permissions_bulk_update", Tag: teamTag, Summary: "Add routes to what members of many teams may call",
			Group: GroupManagement, Actions: []Action{TeamPermissions},
			Body: []Field{
				{Name: "permissions", Type: StringList, Required: true, Summary: "routes to add"},
				{Name: "team_ids", Type: StringList, Summary: "the teams"},
				{Name: "apply_to_all_teams", Type: Boolean, Summary: "all teams instead"},
			},
		},
	}
}

func teamMemberRoutes() []Route {
	zero := new(int64)
	id := Field{Name: "team_id", Type: String, Required: true, Summary: "the team"}
	who := []Field{
		{Name: "user_id", Type: String, Summary: "the member"},
		{Name: "user_email", Type: String, Summary: "its e-mail address, where there is no user_id"},
	}
	budget := []Field{
		{Name: "max_budget_in_team", Type: Money, Summary: "dollars that the member may spend in the team"},
		{Name: "budget_duration", Type: Duration, Summary: "after which the member's spend starts again"},
		{Name: "allowed_models", Type: StringList, Summary: "models of the team that the member may call; empty: all"},
	}
	members := []Action{TeamMembers, TeamJoin}
	return []Route{
		{
			Method: "POST", Path: "/team/member_add", Tag: teamTag, Summary: "Add one member or several; users that do not exist are made",
			Group: GroupManagement, Actions: members,
			Body: slices.Concat([]Field{id, {Name: "member", Type: ObjectOrList, Required: true, Summary: "role, and user_id or user_email"}}, budget),
		},
		{
			Method: "POST", Path: "/team/bulk_member_add", Tag: teamTag, Summary: "Add many members, each on its own",
			Group: GroupManagement, Actions: []Action{TeamMembers},
			Body: []Field{
				id, budget[0],
				{Name: "members", Type: ObjectList, Summary: "role, and user_id or user_email; at most 500"},
				{Name: "all_users", Type: Boolean, Summary: "add all users instead"},
			},
		},
		{
			Method: "POST", Path: "/team/member_update", Tag: teamTag, Summary: "Change a member's role and limits",
			Group: GroupManagement, Actions: []Action{TeamMembers},
			Body: slices.Concat([]Field{id}, who, budget, []Field{
				{Name: "role", Type: String, Enum: []string{"admin", "user"}, Summary: "its role in the team"},
				{Name: "tpm_limit", Type: Integer, Minimum: zero, Summary: "tokens per minute"},
				{Name: "rpm_limit", Type: Integer, Minimum: zero, Summary: "requests per minute"},
				{Name: "temp_budget_increase", Type: Money, AdminOnly: true, Summary: "dollars beyond the budget until temp_budget_expiry"},
				{Name: "temp_budget_expiry", Type: Time, AdminOnly: true, Summary: "when the increase ends"},
			}),
		},
		{
			Method: "POST", Path: "/team/member_delete", Tag: teamTag, Summary: "Take a member and its keys out of a team",
			Group: GroupManagement, Actions: []Action{TeamMembers}, Body: slices.Concat([]Field{id}, who),
		},
		{
			Method: "POST", Path: "/team/{team_id}/member/{user_id}/reset_spend", Tag: teamTag, Summary: "Set what a member has spent in the team",
			Group: GroupManagement, Actions: []Action{TeamMembers},
			Body: []Field{{Name: "reset_to", Type: Money, Required: true, Summary: "from 0 to what was spent so far"}},
		},
		{
			Method: "POST", Path: "/team/{team_id}/member/{user_id}/reset_budget", Tag: teamTag, Summary: "Put a member back on the team's own member budget",
			Group: GroupManagement, Actions: []Action{TeamMembers},
		},
	}
}

func teamReadRoutes() []Route {
	one, hundred := new(int64(1)), new(int64(100))
	id := Field{Name: "team_id", Type: String, Required: true, Summary: "the team"}
	user := Field{Name: "user_id", Type: String, Summary: "teams that this user is a member of"}
	organization := Field{Name: "organization_id", Type: String, Summary: "teams of this organization; default_organization: of none"}
	return []Route{
		{
			Method: "GET", Path: "/team/info", Tag: teamTag, Summary: "A team with its keys and memberships",
			Group: GroupInfo, Actions: []Action{TeamInfo},
			Query: []Field{id, {Name: "key_limit", Type: Integer, Minimum: one, Summary: "keys at most"}},
		},
		{
			Method: "GET", Path: "/team/list", Tag: teamTag, Summary: "List teams with their keys and memberships",
			Group: GroupInfo, Actions: []Action{TeamList}, Query: []Field{user, organization},
		},
		{
			Method: "GET", Path: "/v2/team/list", Tag: teamTag, Summary: "List teams page by page",
			Group: GroupInfo, Actions: []Action{TeamList},
			Query: []Field{
				user, organization,
				{Name: "team_id", Type: String, Summary: "the team of this id"},
				{Name: "team_alias", Type: String, Summary: "teams whose alias contains this"},
				{Name: "search", Type: String, Summary: "teams of this id, or whose alias contains this"},
				{Name: "search_team_id_match", Type: String, Enum: []string{"exact", "prefix"}, Summary: "how search is compared with ids; exact unless given"},
				{Name: "page", Type: Integer, Minimum: one, Summary: "from 1"},
				{Name: "page_size", Type: Integer, Minimum: one, Maximum: hundred, Summary: "10 unless given"},
				{Name: "sort_by", Type: String, Summary: "team_id, team_alias, spend, max_budget, created_at or updated_at; created_at unless given, newest first"},
				{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}, Summary: "asc unless given"},
				{Name: "status", Type: String, Summary: "not supported: deleted teams are in /audit"},
			},
		},
		{Method: "GET", Path: "/team/available", Tag: teamTag, Summary: "Teams that users may join by themselves", Group: GroupInfo},
		{
			Method: "GET", Path: "/team/permissions_list", Tag: teamTag, Summary: "Which routes members may call for the team",
			Group: GroupInfo, Actions: []Action{TeamInfo}, Query: []Field{id},
		},
		{Method: "GET", Path: "/team/{team_id}/members/me", Tag: teamTag, Summary: "The caller's own place in a team", Group: GroupInfo},
	}
}

// teamLaterRoutes are the routes of teams that a release to come will serve.
func teamLaterRoutes() []Route {
	later := func(method, path, sentence string) Route {
		return Route{Method: method, Path: path, Tag: teamTag, Group: GroupManagement, Later: sentence, Hidden: true, NoDatabase: true}
	}
	const callbacks = "Callbacks of teams are not part of this release; none can be listed or configured."
	return []Route{
		later("GET", "/team/{team_id}/callback", callbacks), later("POST", "/team/{team_id}/callback", callbacks),
		later("DELETE", "/team/{team_id}/callback/{callback_name}", callbacks), later("POST", "/team/{team_id}/disable_logging", callbacks),
		later("POST", "/team/key/bulk_update", "Keys of a team are not changed by the team in this release. Use /key/bulk_update."),
		later("GET", "/team/metadata_schema", "Team metadata has no schema in this release: any JSON object is taken."),
	}
}

// teamFields are the fields that creating and changing a team have in common.
func teamFields() []Field {
	zero, one := new(int64), new(int64(1))
	return []Field{
		{Name: "team_alias", Type: String, Summary: "name for people"},
		{Name: "organization_id", Type: String, Summary: "organization that the team belongs to"},
		{Name: "models", Type: StringList, Summary: "models that the team may call; empty: all"},
		{Name: "model_aliases", Type: StringMap, Summary: "names of models for this team"},
		{Name: "max_budget", Type: Money, Summary: "dollars that the team may spend"},
		{Name: "soft_budget", Type: Money, Summary: "dollars from which on a warning is raised; less than max_budget"},
		{Name: "budget_duration", Type: Duration, Summary: "after which the spend starts again"},
		{Name: "budget_limits", Type: ObjectList, Summary: "several budgets, each with its own duration"},
		{Name: "tpm_limit", Type: Integer, Minimum: zero, Summary: "tokens per minute"},
		{Name: "rpm_limit", Type: Integer, Minimum: zero, Summary: "requests per minute"},
		dayField(),
		{Name: "max_parallel_requests", Type: Integer, Minimum: zero, Summary: "requests at the same time"},
		{Name: "model_max_budget", Type: Object, Summary: "budgets by model", Unserved: modelBudgets},
		{Name: "model_rpm_limit", Type: Object, Summary: "requests per minute by model"},
		{Name: "model_tpm_limit", Type: Object, Summary: "tokens per minute by model"},
		limitType("rpm_limit_type"), limitType("tpm_limit_type"),
		{Name: "mcp_rpm_limit", Type: Object, Summary: "requests per minute by MCP server"},
		{Name: "default_estimated_output_tokens", Type: Integer, Minimum: one, Summary: "tokens of an answer to expect where a request says nothing"},
		{Name: "default_estimated_output_tokens_per_model", Type: Object},
		{Name: "team_member_permissions", Type: StringList, Summary: "routes that members may call for the team"},
		{Name: "team_member_budget", Type: Money, Summary: "dollars that each member may spend"},
		{Name: "team_member_budget_duration", Type: Duration, Summary: "after which a member's spend starts again"},
		{Name: "team_member_rpm_limit", Type: Integer, Minimum: zero, Summary: "requests per minute of each member"},
		{Name: "team_member_tpm_limit", Type: Integer, Minimum: zero, Summary: "tokens per minute of each member"},
		{Name: "team_member_key_duration", Type: Duration, Summary: "how long keys of members are good"},
		{Name: "default_team_member_models", Type: StringList, Summary: "models that new members start with; a part of the team's"},
		{Name: "access_group_ids", Type: StringList, Summary: "access groups whose models the team may call"},
		{Name: "metadata", Type: Object, Summary: "anything; replaces what there was"},
		{Name: "blocked", Type: Boolean, Summary: "refuse every key of the team"},
		{Name: "tags", Type: StringList, AdminOnly: true},
		{Name: "guardrails", Type: StringList, AdminOnly: true},
		{Name: "policies", Type: StringList, AdminOnly: true},
		{Name: "prompts", Type: StringList},
		{Name: "disable_global_guardrails", Type: Boolean, AdminOnly: true},
		{Name: "object_permission", Type: Object, AdminOnly: true},
		{Name: "allowed_passthrough_routes", Type: StringList, AdminOnly: true},
		{Name: "denied_passthrough_routes", Type: StringList},
		{Name: "router_settings", Type: Object, AdminOnly: true},
		{Name: "secret_manager_settings", Type: Object, AdminOnly: true},
		{Name: "allowed_vector_store_indexes", Type: ObjectList},
		{Name: "enforced_batch_output_expires_after", Type: Object},
		{Name: "enforced_file_expires_after", Type: Object},
	}
}
