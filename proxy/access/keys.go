package access

import "slices"

const keyTag = "key management"

// keyRoutes are the routes of virtual keys.
func keyRoutes() []Route { return slices.Concat(keyChanges(), keyReads()) }

// keyChanges are the routes that change a key.
func keyChanges() []Route {
	one := []Field{{Name: "key", Type: String, Required: true, Summary: "The key, or its SHA-256 in hex."}}
	return []Route{
		{
			Method: "POST", Path: "/key/generate", Tag: keyTag, Group: GroupManagement, Summary: "Make a virtual key.",
			Actions: []Action{KeyGenerateOwn, KeyGenerateTeam, KeyGenerateOther}, Body: newKeyFields(),
		},
		{
			Method: "POST", Path: "/key/service-account/generate", Tag: keyTag, Group: GroupManagement,
			Summary: "Make a key that belongs to a team and to no user.",
			Actions: []Action{KeyGenerateOwn, KeyGenerateTeam}, Body: newKeyFields(),
		},
		{
			Method: "POST", Path: "/key/update", Tag: keyTag, Group: GroupManagement,
			Summary: "Change a key. A field that is null is cleared.",
			Actions: []Action{KeyUpdateOwn, KeyUpdateLimits, KeyUpdateTeam},
			Body:    slices.Concat(one, updateKeyFields()),
		},
		{
			Method: "POST", Path: "/key/bulk_update", Tag: keyTag, Group: GroupManagement,
			Summary: "Change up to 500 keys, each on its own.", Actions: []Action{KeyBulkUpdate},
			Body: []Field{{
				Name: "keys", Type: ObjectList, Required: true,
				Summary: "Objects of a key and the fields to change, as /key/update takes them.",
			}},
		},
		{
			Method: "POST", Path: "/key/delete", Tag: keyTag, Group: GroupManagement,
			Summary: "Delete keys, all of them or none.", Actions: []Action{KeyDelete},
			Body: []Field{
				{Name: "keys", Type: StringList, Summary: "Keys, or their SHA-256 in hex."},
				{Name: "key_aliases", Type: StringList, Summary: "Aliases of keys."},
			},
		},
		{
			Method: "POST", Path: "/key/regenerate", Tag: keyTag, Group: GroupManagement,
			Summary: "Replace the secret of a key and keep all else.", Actions: []Action{KeyDelete},
			Query: []Field{{Name: "key", Type: String, Summary: "The key, or its SHA-256 in hex; may stand in the body."}},
			Body:  regenerateKeyFields(),
		},
		{
			Method: "POST", Path: "/key/{key_id}/regenerate", Tag: keyTag, Group: GroupManagement,
			Summary: "Replace the secret of a key and keep all else.", Actions: []Action{KeyDelete}, Body: regenerateKeyFields(),
		},
		{
			Method: "POST", Path: "/key/{key_id}/reset_spend", Tag: keyTag, Group: GroupManagement,
			Summary: "Set what a key has spent to a lower amount.", Actions: []Action{KeyResetSpend},
			Body: []Field{{
				Name: "reset_to", Type: Money, Required: true, Summary: "In dollars, from 0 to what the key has spent.",
			}},
		},
		{
			Method: "POST", Path: "/key/block", Tag: keyTag, Group: GroupManagement,
			Summary: "Refuse all requests of a key.", Actions: []Action{KeyBlock}, Body: one,
		},
		{
			Method: "POST", Path: "/key/unblock", Tag: keyTag, Group: GroupManagement,
			Summary: "Serve a blocked key again.", Actions: []Action{KeyBlock}, Body: one,
		},
	}
}

// keyReads are the routes that show keys.
func keyReads() []Route {
	return []Route{
		{
			Method: "POST", Path: "/key/health", Tag: keyTag, Group: GroupInfo,
			Summary: "Say whether the calling key's logging works.",
		},
		{
			Method: "GET", Path: "/key/info", Tag: keyTag, Group: GroupInfo, Summary: "Show a key.",
			Actions: []Action{KeyInfoSelf, KeyInfo},
			Query:   []Field{{Name: "key", Type: String, Summary: "The key, or its SHA-256 in hex. The calling key where none is named."}},
		},
		{
			Method: "POST", Path: "/v2/key/info", Tag: keyTag, Group: GroupInfo, Summary: "Show several keys.",
			Actions: []Action{KeyInfoSelf, KeyInfo},
			Body:    []Field{{Name: "keys", Type: StringList, Required: true, Summary: "Keys, or their SHA-256 in hex."}},
		},
		{
			Method: "GET", Path: "/key/list", Tag: keyTag, Group: GroupManagement,
			Summary: "List the keys that the caller may see.", Actions: []Action{KeyList}, Query: listKeyFields(),
		},
		{
			Method: "GET", Path: "/key/aliases", Tag: keyTag, Group: GroupManagement,
			Summary: "List the aliases of the keys that the caller may see.", Actions: []Action{KeyList},
			Query: []Field{
				{Name: "page", Type: Integer, Minimum: bound(1)},
				{Name: "size", Type: Integer, Minimum: bound(1), Maximum: bound(100), Summary: "Aliases a page; 50 where it is not given."},
				{Name: "search", Type: String, Summary: "A part of the alias, in any case."},
				{Name: "team_id", Type: String, Summary: "Keys of this team."},
			},
		},
	}
}

func bound(n int64) *int64 { return &n }

func listKeyFields() []Field {
	return []Field{
		{Name: "page", Type: Integer, Minimum: bound(1)},
		{Name: "size", Type: Integer, Minimum: bound(1), Maximum: bound(100), Summary: "Keys a page; 10 where it is not given."},
		{Name: "user_id", Type: String},
		{Name: "team_id", Type: String},
		{Name: "organization_id", Type: String},
		{Name: "project_id", Type: String},
		{Name: "agent_id", Type: String},
		{Name: "access_group_id", Type: String},
		{Name: "key_hash", Type: String, Summary: "The SHA-256 of one key, in hex."},
		{Name: "key_alias", Type: String},
		{Name: "search", Type: String, Summary: "The SHA-256 of a key, or a part of its alias."},
		{Name: "substring_matching", Type: Boolean, Summary: "Take key_alias, and a proxy admin's user_id, as a part in any case."},
		{Name: "return_full_object", Type: Boolean, Summary: "Whole keys instead of their SHA-256."},
		{Name: "include_team_keys", Type: Boolean, Summary: "With user_id: the keys of the teams that the user is an admin of, too."},
		{Name: "include_created_by_keys", Type: Boolean, Summary: "With user_id: the keys that the user made, too."},
		{Name: "sort_by", Type: String, Summary: "A column, such as created_at, spend or key_alias."},
		{Name: "sort_order", Type: String, Enum: []string{"asc", "desc"}},
		{Name: "status", Type: String, Enum: []string{"active", "expired", "revoked"}},
		{Name: "expires", Type: String, Enum: []string{"active", "expired"}},
		{Name: "expand", Type: StringList, Summary: "user: show whom each key belongs to."},
	}
}

// newKeyFields are the fields of a new key.
func newKeyFields() []Field {
	return slices.Concat(keyFields(), []Field{
		{Name: "key", Type: String, AdminOnly: true, Summary: "The key itself, starting with sk-; made at random where it is not given."},
		{
			Name: "key_type", Type: String, Enum: keyTypes,
			Summary: "Which routes the key may call.",
		},
		{Name: "send_invite_email", Type: Boolean, Summary: "Taken for compatibility; no mail is sent."},
	})
}

// updateKeyFields are the fields that an update changes.
func updateKeyFields() []Field {
	return slices.Concat(keyFields(), []Field{
		{Name: "temp_budget_increase", Type: Money, AdminOnly: true, Summary: "Dollars on top of max_budget until temp_budget_expiry."},
		{Name: "temp_budget_expiry", Type: Time, AdminOnly: true},
	})
}

func regenerateKeyFields() []Field {
	return slices.Concat(updateKeyFields(), []Field{
		{Name: "key", Type: String, Summary: "The key, or its SHA-256 in hex, where the path does not name it."},
		{Name: "key_type", Type: String, Enum: keyTypes, AdminOnly: true},
		{Name: "new_key", Type: String, AdminOnly: true, Summary: "The new secret, starting with sk-; made at random where it is not given."},
		{Name: "new_master_key", Type: String, AdminOnly: true, Summary: "A new master key: not served by this release."},
		{Name: "grace_period", Type: String, Summary: "For how long the old secret works on, such as 24h; it ends at once where it is not given."},
	})
}

// keyFields are the fields that keys are made and changed with.
func keyFields() []Field {
	zero := bound(0)
	return []Field{
		{Name: "key_alias", Type: String, Summary: "A name, used once."},
		{Name: "duration", Type: String, Summary: "How long the key lives from now on, such as 30d; -1 for ever."},
		{Name: "models", Type: StringList, Summary: "Models that the key may use; none named: all that its owner may."},
		{Name: "spend", Type: Money, AdminOnly: true},
		{Name: "max_budget", Type: Money},
		{Name: "soft_budget", Type: Money, Summary: "Warn from here on."},
		{Name: "budget_id", Type: String, Summary: "A budget of /budget that limits the key."},
		{Name: "budget_duration", Type: Duration, Summary: "After which time the spend counts from zero again."},
		{Name: "budget_limits", Type: ObjectList},
		fallbacksField,
		{Name: "model_max_budget", Type: Object, Summary: "Budgets by model."},
		{Name: "end_user_budget_id", Type: String, Unserved: "the budget of customers is their own, or max_end_user_budget_id of the configuration for all of them."},
		{Name: "throttle_on_budget_exceeded", Type: Boolean, Unserved: "a budget that is used up refuses. Leave it out."},
		{Name: "user_id", Type: String},
		{Name: "team_id", Type: String},
		{Name: "organization_id", Type: String},
		{Name: "project_id", Type: String},
		{Name: "agent_id", Type: String},
		{Name: "access_group_ids", Type: StringList},
		{Name: "max_parallel_requests", Type: Integer, Minimum: zero},
		{Name: "tpm_limit", Type: Integer, Minimum: zero, Summary: "Tokens a minute."},
		{Name: "rpm_limit", Type: Integer, Minimum: zero, Summary: "Requests a minute."},
		dayField(),
		limitType("tpm_limit_type"), limitType("rpm_limit_type"),
		{Name: "model_rpm_limit", Type: Object, Summary: "Requests a minute, by model."},
		{Name: "model_tpm_limit", Type: Object, Summary: "Tokens a minute, by model."},
		{Name: "mcp_rpm_limit", Type: Object},
		tagLimitField,
		{Name: "default_estimated_output_tokens", Type: Integer, Minimum: zero},
		{Name: "default_estimated_output_tokens_per_model", Type: Object},
		{Name: "metadata", Type: Object},
		{Name: "tags", Type: StringList, AdminOnly: true},
		{Name: "aliases", Type: StringMap, Summary: "Names that the key uses for models."},
		{Name: "config", Type: Object, AdminOnly: true},
		{Name: "router_settings", Type: Object, AdminOnly: true},
		{Name: "permissions", Type: Object, AdminOnly: true},
		{Name: "object_permission", Type: Object, AdminOnly: true},
		{Name: "blocked", Type: Boolean},
		{Name: "guardrails", Type: StringList, AdminOnly: true},
		{Name: "disable_global_guardrails", Type: Boolean, AdminOnly: true},
		{Name: "policies", Type: StringList},
		{Name: "prompts", Type: StringList},
		{Name: "enforced_params", Type: StringList},
		{Name: "enable_prompt_caching", Type: Boolean},
		{Name: "allowed_cache_controls", Type: StringList},
		{Name: "allowed_routes", Type: StringList, AdminOnly: true, Summary: "Paths, patterns or groups of routes that the key may call."},
		{Name: "allowed_passthrough_routes", Type: StringList, AdminOnly: true},
		{Name: "denied_passthrough_routes", Type: StringList, AdminOnly: true},
		{Name: "allowed_vector_store_indexes", Type: ObjectList, AdminOnly: true},
		{Name: "auto_rotate", Type: Boolean},
		{Name: "rotation_interval", Type: Duration},
	}
}

var keyTypes = []string{"llm_api", "management", "read_only", "default"}

var limitTypes = []string{"guaranteed_throughput", "best_effort_throughput", "dynamic"}

// Fields that several nouns have and that no release serves yet.
var (
	fallbacksField = Field{
		Name: "budget_fallbacks", Type: Object, Unserved: "a model whose budget is used up is refused. Set fallbacks in the configuration file.",
	}
	tagLimitField = Field{
		Name: "tag_rpm_limit", Type: Object, Unserved: "give the tag an rpm_limit of its own with /tag/new, which holds for all of its requests.",
	}
)

// dayField is the limit of tokens a day.
func dayField() Field {
	return Field{
		Name: "tpd_limit", Type: Integer, Minimum: new(int64), Summary: "Tokens a day.",
		Unserved: "tokens are not limited by the day. Use tpm_limit, or max_budget with a budget_duration of 1d.",
	}
}

// limitType is how strict a limit is: as strict as it is, here.
func limitType(name string) Field {
	return Field{
		Name: name, Type: String, Enum: limitTypes, Served: "best_effort_throughput",
		Unserved: "limits hold for everybody at all times, which is best_effort_throughput. Leave it out.",
	}
}

// unserved is fields with one of them refused.
func unserved(fields []Field, name, sentence string) []Field {
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Unserved = sentence
		}
	}
	return fields
}

// modelBudgets says where budgets of models hold.
const modelBudgets = "budgets of single models are those of keys: set model_max_budget of the key, or of the budget that it names."
