//go:build e2e

package e2e

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// What the seeded databases hold. Every secret in them has the word canary in it.
const (
	oldSalt    = "sk-salt-of-the-old-proxy-0123456789"
	oldMaster  = "sk-master-of-the-old-proxy-0123456789"
	longAgo    = "2025-01-02 03:04:05.678"
	farAhead   = "2099-01-02 03:04:05.678"
	oldUnicode = "Käse 鍵 🔑 \"quoted\" 'single' \\ \u2028"
)

// oldConfig is the configuration file that the old proxy ran with.
const oldConfig = `model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, mock_response: "from the file"}
  - model_name: grouped
    litellm_params: {model: openai/gpt-4o, mock_response: "from the group"}
    model_info: {access_groups: ["beta"]}
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  store_model_in_db: true
litellm_settings: {drop_params: true, num_retries: 0}
router_settings: {routing_strategy: simple-shuffle}
`

// seededKey is a key of the old proxy: what a chat with it is answered with.
type seededKey struct {
	secret string
	model  string
	status int
	says   string // in the answer
	row    values // further columns
}

// seededKeys are keys of every kind.
func seededKeys() []seededKey {
	chat := func(secret, model string, status int, says string, row values) seededKey {
		return seededKey{secret, model, status, says, row}
	}
	return []seededKey{
		chat("sk-old-plain", "mock", 200, "from the file", values{"key_alias": oldUnicode, "models": []string{}, "spend": 0.30000000000000004, "metadata": obj{
			"tags": []string{"a", "b"}, "unicode": oldUnicode, "deep": obj{"n": nil, "f": 1e-9, "big": 9007199254740993.0},
		}}),
		chat("sk-old-nulls", "mock", 200, "from the file", values{
			"models": nil, "blocked": nil, "created_at": nil, "updated_at": nil, "key_name": nil, "router_settings": nil, "policies": nil,
			"access_group_ids": nil, "allowed_routes": nil, "allowed_cache_controls": nil, "auto_rotate": nil, "rotation_count": nil,
		}),
		chat("sk-old-all", "mock", 200, "from the file", values{
			"key_alias": "all", "max_budget": 25.125, "budget_duration": "30d", "budget_reset_at": verbatim("'" + farAhead + "'"), "tpm_limit": 100000, "rpm_limit": 1000,
			"max_parallel_requests": 7, "models": []string{"mock", "db-box"}, "aliases": obj{"short": "mock"}, "metadata": obj{"cost_center": "7"}, "spend": 1.0000000005,
			"user_id": "u-1", "model_max_budget": obj{"mock": obj{"budget_limit": 2.5, "time_period": "1d"}}, "permissions": obj{"allow_pii_controls": true},
			"expires": verbatim("'" + farAhead + "'"), "budget_id": "b-full", "soft_budget_cooldown": true, "created_by": "u-admin", "updated_by": "u-admin",
			"last_active": verbatim("'" + longAgo + "'"), "auto_rotate": true, "rotation_interval": "90d", "key_rotation_at": verbatim("'" + farAhead + "'"), "rotation_count": 2,
			"tpd_limit": 5000000, "total_spend": 99.5, "budget_limits": []any{obj{"budget_duration": "1d", "max_budget": 3}}, "object_permission_id": "op-1",
		}),
		chat("sk-old-aliased", "short", 200, "from the file", values{"aliases": obj{"short": "mock"}}),
		chat("sk-old-models", "grouped", 403, "key_model_access_denied", values{"models": []string{"mock"}}),
		chat("sk-old-box", "db-box", 200, "choices", values{"models": []string{"db-box"}}),
		chat("sk-old-gcm", "db-gcm", 200, "choices", values{}),
		chat("sk-old-derived", "db-derived", 200, "choices", values{}),
		chat("sk-old-credential", "db-credential", 200, "choices", values{}),
		chat("sk-old-group", "grouped", 200, "from the group", values{"models": []string{"beta"}}),
		chat("sk-old-access", "grouped", 200, "from the group", values{"models": []string{"no-default-models"}, "access_group_ids": []string{"ag-1"}}),
		chat("sk-old-blocked", "mock", 401, "auth_error", values{"blocked": true}),
		chat("sk-old-expired", "mock", 401, "expired_key", values{"expires": verbatim("'" + longAgo + "'")}),
		chat("sk-old-route", "mock", 403, "", values{"allowed_routes": []string{"/v1/models"}}),
		chat("sk-old-team", "mock", 200, "from the file", values{"team_id": "t-1", "user_id": "u-1", "models": []string{"all-team-models"}}),
		chat("sk-old-team-alias", "team-short", 200, "from the file", values{"team_id": "t-1"}),
		chat("sk-old-team-model", "ours", 200, "choices", values{"team_id": "t-1"}),
		chat("sk-old-no-team-model", "ours", 400, "", values{}),
		chat("sk-old-team-blocked", "mock", 401, "", values{"team_id": "t-blocked"}),
		chat("sk-old-organization", "mock", 200, "from the file", values{"organization_id": "o-1"}),
		chat("sk-old-project", "mock", 200, "from the file", values{"team_id": "t-1", "project_id": "p-1"}),
		chat("sk-old-orphan", "mock", 200, "from the file", values{"user_id": "u-deleted", "key_alias": "orphan"}),
		chat("sk-old-nan", "mock", 200, "from the file", values{"spend": math.NaN()}),
		chat("sk-old-infinite", "mock", 200, "from the file", values{"spend": math.Inf(1)}),
		chat("sk-old-negative", "mock", 200, "from the file", values{"spend": -3.5}),
		chat("sk-old-dashboard", "mock", 401, "", values{"team_id": "litellm-dashboard", "user_id": "u-admin"}),
		chat("key without a prefix, of a caller's choice", "mock", 401, "", values{"key_alias": "chosen"}),
	}
}

// graceKeys were regenerated: what they were before works until its time.
var graceKeys = map[string]string{"sk-old-before-grace": farAhead, "sk-old-before-over": longAgo}

// seed remembers rows of every kind. address is a provider that answers chats.
func (l *litellm) seed(version, address string) {
	l.t.Helper()
	l.seedKeys()
	l.seedPeople()
	l.seedGroups()
	l.seedModels(address)
	l.seedSpend()
	l.fill(version)
}

func (l *litellm) seedKeys() {
	l.t.Helper()
	var rows []values
	for _, k := range seededKeys() {
		row := values{"token": hashed(k.secret), "key_name": "sk-..." + k.secret[len(k.secret)-4:]}
		for name, v := range k.row {
			row[name] = v
		}
		rows = append(rows, row)
	}
	rows = append(rows,
		values{"token": "hashed-jwt-" + hashed("of a claim"), "key_alias": "virtual", "user_id": "u-1", "spend": 4.5},
		values{"token": hashed("sk-old-now"), "key_name": "sk-...-now"})
	l.later("LiteLLM_VerificationToken", rows...)
	rows = nil
	for secret, until := range graceKeys {
		rows = append(rows, values{"id": "id-" + secret, "token": hashed(secret), "active_token_id": hashed("sk-old-now"), "revoke_at": verbatim("'" + until + "'")})
	}
	l.later("LiteLLM_DeprecatedVerificationToken", rows...)
	l.later("LiteLLM_JWTKeyMapping",
		values{"id": "jm-1", "jwt_claim_name": "sub", "jwt_claim_value": oldUnicode, "token": hashed("sk-old-plain"), "description": "first"},
		values{"id": "jm-2", "jwt_claim_name": "sub", "jwt_claim_value": "x", "token": hashed("sk-old-all"), "is_active": false, "jwt_issuer": "https://issuer.example"})
}

func (l *litellm) seedPeople() {
	l.t.Helper()
	l.later("LiteLLM_UserTable",
		values{"user_id": "default_user_id", "user_role": "proxy_admin", "spend": 0.25},
		values{"user_id": "u-admin", "user_role": "proxy_admin", "user_email": "admin@example.org", "user_alias": "Admin", "teams": []string{"t-1"}},
		values{
			"user_id": "u-1", "user_role": "internal_user", "user_email": "One@Example.org", "models": []string{"mock"}, "max_budget": 10, "spend": 0.1 + 0.2, "teams": []string{"t-1", "t-other"},
			"metadata": obj{"unicode": oldUnicode}, "tpm_limit": 500000, "rpm_limit": 600, "max_parallel_requests": 8, "budget_duration": "7d", "sso_user_id": "sso-1", "organization_id": "o-1",
			"password": "scrypt:" + strings.Repeat("YWFh", 16),
		},
		values{"user_id": "u-view", "user_role": "internal_user_view_only", "teams": nil, "models": nil},
		values{"user_id": "u-odd", "user_role": "chef"},
		values{"user_id": "u-same-1", "user_email": "same@example.org"},
		values{"user_id": "u-same-2", "user_email": "same@example.org"},
		values{"user_id": oldUnicode, "user_role": "internal_user"},
		values{"user_id": "u-nan", "spend": math.NaN(), "max_budget": math.NaN()},
		values{"user_id": "u-infinite", "spend": math.Inf(1), "max_budget": math.Inf(1)},
		values{"user_id": "u-negative", "spend": -0.001},
		values{"user_id": "u-zero", "max_budget": 0, "tpm_limit": 0, "rpm_limit": 0},
		values{"user_id": "u-plain", "password": "a canary of a password"})
	invitation := func(id, user string, accepted bool, until string) values {
		return values{
			"id": id, "user_id": user, "is_accepted": accepted, "expires_at": verbatim("'" + until + "'"), "created_at": verbatim("'" + longAgo + "'"), "created_by": "u-admin",
			"updated_at": verbatim("'" + longAgo + "'"), "updated_by": "u-admin",
		}
	}
	l.later("LiteLLM_InvitationLink", invitation("i-open", "u-1", false, farAhead), invitation("i-taken", "u-1", true, farAhead), invitation("i-over", "u-1", false, longAgo))
	audit := func(row values) values {
		row["created_by"], row["updated_by"] = "u-admin", "u-admin"
		return row
	}
	l.later("LiteLLM_BudgetTable",
		audit(values{"budget_id": "b-none"}), audit(values{"budget_id": "b-zero", "max_budget": 0}),
		audit(values{
			"budget_id": "b-full", "max_budget": 12.5, "soft_budget": 10, "tpm_limit": 100000, "rpm_limit": 1000, "max_parallel_requests": 3, "budget_duration": "30d",
			"budget_reset_at": verbatim("'" + farAhead + "'"), "model_max_budget": obj{"mock": obj{"budget_limit": 3, "time_period": "1d"}}, "allowed_models": []string{"mock"}, "tpd_limit": 77,
		}))
}

func (l *litellm) seedGroups() {
	l.t.Helper()
	audit := values{"created_by": "u-admin", "updated_by": "u-admin"}
	with := func(more values) values {
		row := values{}
		for _, part := range []values{audit, more} {
			for name, v := range part {
				row[name] = v
			}
		}
		return row
	}
	l.later("LiteLLM_OrganizationTable", with(values{
		"organization_id": "o-1", "organization_alias": "Org " + oldUnicode, "budget_id": "b-full", "metadata": obj{"o": 1}, "models": []string{"mock", "db-box", "ours"}, "spend": 1.25,
	}), with(values{"organization_id": "o-null", "organization_alias": "", "budget_id": "b-none", "models": nil}))
	l.later("LiteLLM_OrganizationMembership",
		values{"user_id": "u-admin", "organization_id": "o-1", "user_role": "org_admin", "spend": 0.5, "budget_id": "b-full"},
		values{"user_id": "u-1", "organization_id": "o-1", "user_role": nil, "spend": nil, "created_at": nil, "updated_at": nil})
	l.later("LiteLLM_ModelTable", with(values{"id": 41, "aliases": obj{"team-short": "mock"}}))
	l.later("LiteLLM_TeamTable",
		values{
			"team_id": "t-1", "team_alias": "Team " + oldUnicode, "organization_id": "o-1", "members_with_roles": []any{
				obj{"role": "admin", "user_id": "u-admin", "user_email": nil}, obj{"role": "user", "user_id": "u-1", "user_email": "One@Example.org"},
			}, "members": []string{"u-1", "u-gone"}, "admins": []string{}, "models": []string{"mock", "db-box", "ours"}, "max_budget": 100, "spend": 12.345678901, "metadata": obj{"m": "x"},
			"tpm_limit": 1000000, "rpm_limit": 10000, "max_parallel_requests": 9, "budget_duration": "1mo", "model_id": 41, "team_member_permissions": []string{"/key/generate", "/key/info"},
			"soft_budget": 90, "default_team_member_models": []string{"mock"}, "router_settings": obj{"num_retries": 1}, "object_permission_id": "op-1",
		},
		values{"team_id": "t-other", "team_alias": "other", "members_with_roles": obj{}, "models": nil},
		values{"team_id": "t-null", "members": nil, "admins": nil, "members_with_roles": []any{}, "router_settings": nil, "policies": nil, "access_group_ids": nil},
		values{"team_id": "t-blocked", "blocked": true, "members_with_roles": []any{}})
	l.later("LiteLLM_TeamMembership",
		values{"user_id": "u-1", "team_id": "t-1", "spend": 2.5, "total_spend": 7.5, "budget_id": "b-full"},
		values{"user_id": "u-gone", "team_id": "t-1", "spend": 1, "total_spend": 1})
	l.later("LiteLLM_ProjectTable", with(values{
		"project_id": "p-1", "project_alias": "Project", "description": "d", "team_id": "t-1", "budget_id": "b-full", "metadata": obj{"p": true}, "models": []string{"mock"}, "spend": 3.75,
		"model_rpm_limit": obj{"mock": 500}, "model_tpm_limit": obj{"mock": 600000},
	}))
	l.later("LiteLLM_EndUserTable",
		values{"user_id": "c-1", "alias": "Customer " + oldUnicode, "spend": 0.125, "budget_id": "b-full", "allowed_model_region": "eu", "default_model": "mock"},
		values{"user_id": "c-blocked", "blocked": true})
	l.later("LiteLLM_TagTable", values{
		"tag_name": "tag-1", "description": "a tag", "models": []string{"mock"}, "model_info": obj{"mock": "x"}, "spend": 6.5, "budget_id": "b-full", "created_by": "u-admin",
	})
	l.later("LiteLLM_AccessGroupTable", values{
		"access_group_id": "ag-1", "access_group_name": "group one", "description": "the first", "access_model_names": []string{"grouped"}, "assigned_key_ids": []string{hashed("sk-old-access")},
		"access_mcp_server_ids": []string{"m-1"},
	})
	l.later("LiteLLM_ModelAccessGroupBudgetTable", values{"access_group_name": "beta", "spend": 8.5, "budget_id": "b-full"})
	l.later("LiteLLM_ObjectPermissionTable", values{
		"object_permission_id": "op-1", "mcp_servers": []string{"m-1"}, "vector_stores": []string{"v-1"}, "mcp_tool_permissions": obj{"m-1": []string{"read"}}, "agents": nil,
	})
}

func (l *litellm) seedModels(address string) {
	l.t.Helper()
	model := func(id, name string, params, info obj) values {
		return values{"model_id": id, "model_name": name, "litellm_params": params, "model_info": info, "created_by": "u-admin", "updated_by": "u-admin"}
	}
	sealed := func(seal func(string) string, key string) obj {
		return obj{"model": seal("openai/x"), "api_key": seal(key), "api_base": seal(address), "rpm": 1000, "timeout": 30.5, "use_in_pass_through": false}
	}
	ours := sealed(l.box, "sk-canary-team")
	ours["use_litellm_proxy"] = false
	l.later("LiteLLM_ProxyModelTable",
		model("m-box", "db-box", sealed(l.box, "sk-canary-box"), obj{"id": "m-box", "db_model": true}),
		model("m-gcm", "db-gcm", sealed(l.gcm, "sk-canary-gcm"), obj{"id": "m-gcm", "db_model": true, "input_cost_per_token": 0.000001}),
		model("m-derived", "db-derived", sealed(l.gcmDerived, "sk-canary-derived"), nil),
		model("m-credential", "db-credential", obj{"model": l.box("openai/x"), "litellm_credential_name": l.box("cr-1")}, obj{"id": "m-credential"}),
		model("m-team", "model_name_t-1_2f1c", ours, obj{"id": "m-team", "team_id": "t-1", "team_public_model_name": "ours"}))
	l.later("LiteLLM_CredentialsTable",
		values{
			"credential_id": "c-1", "credential_name": "cr-1", "credential_values": obj{"api_key": l.box("sk-canary-credential"), "api_base": l.gcm(address)},
			"credential_info": obj{"custom_llm_provider": "openai"}, "created_by": "u-admin", "updated_by": "u-admin",
		},
		values{"credential_id": "c-2", "credential_name": "cr " + oldUnicode, "credential_values": obj{"api_key": l.gcmDerived("sk-canary-other " + oldUnicode), "empty": ""}, "created_by": "u-admin", "updated_by": "u-admin"})
	l.later("LiteLLM_Config",
		values{"param_name": "general_settings", "param_value": obj{"maximum_spend_logs_retention_period": "30d", "alerting": []string{"slack"}}},
		values{"param_name": "litellm_settings", "param_value": obj{"request_timeout": 600}},
		values{"param_name": "router_settings", "param_value": obj{"num_retries": 1, "model_group_alias": obj{"by-alias": "mock"}}},
		values{"param_name": "environment_variables", "param_value": obj{"LANGFUSE_SECRET_KEY": l.box("sk-canary-langfuse"), "SLACK_WEBHOOK_URL": l.gcm("https://hooks.example/canary")}})
}

func (l *litellm) seedSpend() {
	l.t.Helper()
	for table, entity := range map[string]string{
		"LiteLLM_DailyUserSpend": "user_id", "LiteLLM_DailyTeamSpend": "team_id", "LiteLLM_DailyOrganizationSpend": "organization_id",
		"LiteLLM_DailyEndUserSpend": "end_user_id", "LiteLLM_DailyAgentSpend": "agent_id", "LiteLLM_DailyTagSpend": "tag",
	} {
		var rows []values
		for i := range 5 {
			row := values{
				"id": table + "-" + strconv.Itoa(i), entity: "e-1", "date": "2025-01-0" + strconv.Itoa(i+1), "api_key": hashed("sk-old-plain"), "model": "gpt-4o", "model_group": "mock",
				"custom_llm_provider": "openai", "prompt_tokens": 10, "completion_tokens": 20, "spend": 0.1, "api_requests": 2, "successful_requests": 1, "failed_requests": 1,
				"updated_at": verbatim("'" + longAgo + "'"), "endpoint": "/chat/completions",
			}
			if i == 4 { // a row without anything that may be absent
				row[entity], row["model"], row["model_group"], row["custom_llm_provider"], row["endpoint"] = nil, nil, nil, nil, nil
			}
			rows = append(rows, row)
		}
		l.later(table, rows...)
	}
	l.later("LiteLLM_BudgetWindowSpend", values{
		"entity_type": "key", "entity_id": hashed("sk-old-all"), "window_duration": "1d", "window_start": verbatim("date_trunc('day', now() AT TIME ZONE 'UTC')"), "spend": 0.75, "updated_at": verbatim("'" + longAgo + "'"),
	})
	log := func(id string, at time.Time, spend float64) values {
		return values{
			"request_id": id, "call_type": "acompletion", "api_key": hashed("sk-old-plain"), "spend": spend, "total_tokens": 30, "prompt_tokens": 10, "completion_tokens": 20,
			"startTime": at, "endTime": at.Add(1500 * time.Millisecond), "model": "gpt-4o", "user": "u-1", "team_id": "t-1", "status": "success",
			"metadata": obj{"user_api_key": hashed("sk-old-plain")}, "request_tags": []any{"tag-1"},
		}
	}
	l.later("LiteLLM_SpendLogs",
		log("chatcmpl-old", time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC), 0.5),
		log("chatcmpl-new", time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC), 0.25),
		log("chatcmpl-"+oldUnicode, time.Date(2025, 6, 2, 23, 59, 59, 999e6, time.UTC), math.NaN()))
}
