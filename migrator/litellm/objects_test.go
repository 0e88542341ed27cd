package litellm

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestOrganization(t *testing.T) {
	o := only1[*identity.Organization](t, convert(t, tableOrgs, `{"organization_id":"o","organization_alias":"Acme","budget_id":"b","metadata":{"k": 1},`+
		`"models":["m"],"spend":2,"model_spend":{},"created_at":"2026-01-01T00:00:00","created_by":"a","updated_at":"2026-01-02T00:00:00","updated_by":"c",`+
		`"object_permission_id":"p","object_permission":{"object_permission_id":"p","agents":["x"]}}`))
	if o.Alias != "Acme" || o.BudgetID != "b" || o.Spend != *dollars(t, "2") || o.UpdatedBy != "c" || len(o.Settings) != 2 || string(o.Metadata["k"]) != "1" {
		t.Errorf("%+v", o)
	}
	for role, want := range map[string]string{"org_admin": "org_admin", "internal_user": "internal_user", "": "", "boss": ""} {
		s := convert(t, tableOrgMembers, `{"user_id":"u","organization_id":"o","user_role":"`+role+`","spend":null,"budget_id":"b","created_at":"2026-01-01T00:00:00"}`)
		m := only1[*identity.OrganizationMember](t, s)
		if m.Role != want || m.UserID != "u" || m.OrganizationID != "o" || m.BudgetID != "b" || m.Spend != 0 || (role == "boss") != s.told("user_role") {
			t.Errorf("%s: %+v, reported %q", role, m, s.reports)
		}
	}
}

func TestProject(t *testing.T) {
	p := only1[*identity.Project](t, convert(t, tableProjects, `{"project_id":"p","project_alias":"P","team_id":"t","budget_id":"b","metadata":{},"models":["m"],`+
		`"spend":1,"model_spend":{"m": 1},"blocked":true,"object_permission_id":null,"created_at":"2026-01-01T00:00:00","created_by":"a",`+
		`"updated_at":"2026-01-01T00:00:00","updated_by":"a","description":"d","model_rpm_limit":{},"model_tpm_limit":{"m": 5}}`))
	if p.Alias != "P" || p.Description != "d" || p.TeamID != "t" || p.BudgetID != "b" || !p.Blocked || string(p.Settings["model_tpm_limit"]) != `{"m":5}` ||
		string(p.Settings["model_spend"]) != `{"m": 1}` {
		t.Errorf("%+v", p)
	}
}

func TestBudget(t *testing.T) {
	b := only1[*identity.Budget](t, convert(t, tableBudgets, `{"budget_id":"b","max_budget":1.5,"soft_budget":1,"max_parallel_requests":null,"tpm_limit":null,`+
		`"rpm_limit":5,"model_max_budget":null,"budget_duration":"7d","budget_reset_at":"2026-11-23T00:00:00","created_at":"2026-11-21T07:19:10.423",`+
		`"created_by":"default_user_id","updated_at":"2026-11-21T07:19:10.422","updated_by":"default_user_id","allowed_models":["m"],"tpd_limit":9,`+
		`"temp_budget_increase":2,"temp_budget_expiry":"2027-01-01T00:00:00"}`))
	if *b.MaxBudget != *dollars(t, "1.5") || b.BudgetDuration != "7d" || *b.RPMLimit != 5 || b.TPMLimit != nil || len(b.AllowedModels) != 1 ||
		string(b.Settings["tpd_limit"]) != "9" || string(b.Settings["temp_budget_increase"]) != "2.0" || string(b.Settings["temp_budget_expiry"]) != `"2027-01-01T00:00:00Z"` {
		t.Errorf("%+v", b)
	}
}

func TestCustomersAndTags(t *testing.T) {
	u := only1[*identity.EndUser](t, convert(t, tableEndUsers, `{"user_id":"c1","alias":"acme","spend":0.5,"allowed_model_region":"eu","default_model":"m",`+
		`"budget_id":"b","blocked":true,"object_permission_id":null,"models":["x"]}`))
	if u.Alias != "acme" || u.AllowedModelRegion != "eu" || u.DefaultModel != "m" || u.BudgetID != "b" || !u.Blocked || string(u.Settings["models"]) != `["x"]` {
		t.Errorf("%+v", u)
	}
	tag := only1[*identity.Tag](t, convert(t, tableTags, `{"tag_name":"prod","description":"d","models":["id1"],"model_info":{"id1": "m"},"spend":1,"budget_id":null,`+
		`"created_at":"2026-01-01T00:00:00","created_by":"a","updated_at":"2026-01-01T00:00:00"}`))
	if tag.Description != "d" || len(tag.Models) != 1 || string(tag.Settings["model_info"]) != `{"id1": "m"}` || tag.UpdatedBy != "a" {
		t.Errorf("%+v", tag)
	}
	g := only1[*identity.AccessGroup](t, convert(t, tableGroups, `{"access_group_id":"g","access_group_name":"G","description":null,"access_mcp_server_ids":["s"],`+
		`"access_agent_ids":[],"assigned_team_ids":["t"],"assigned_key_ids":["k"],"created_at":"2026-01-01T00:00:00","access_model_names":["m"]}`))
	if g.Name != "G" || len(g.Models) != 1 || string(g.Settings["access_mcp_server_ids"]) != `["s"]` || len(g.Settings) != 1 {
		t.Errorf("%+v", g)
	}
}

func TestLinks(t *testing.T) {
	token := strings.Repeat("a", 64)
	m := only1[*identity.JWTMapping](t, convert(t, tableMappings, `{"id":"1","jwt_claim_name":"sub","jwt_claim_value":"v","token":"`+token+`","description":"d",`+
		`"is_active":false,"created_at":"2026-01-01T00:00:00","created_by":null,"jwt_issuer":"https://idp"}`))
	if m.Active || m.Issuer != "https://idp" || m.ClaimName != "sub" || m.Token != token {
		t.Errorf("%+v", m)
	}
	open := `{"id":"` + canary + `","user_id":"u","is_accepted":false,"accepted_at":null,"expires_at":"2026-11-22T00:00:00","created_at":"2026-11-20T00:00:00","created_by":"a"}`
	if i := only1[*identity.Invitation](t, convert(t, tableInvitations, open)); i.UserID != "u" || i.Accepted || i.CreatedBy != "a" {
		t.Errorf("%+v", i)
	}
	for from, to := range map[string]string{`"is_accepted":false`: `"is_accepted":true`, "2026-11-22": "2026-11-21"} {
		if s := convert(t, tableInvitations, strings.Replace(open, from, to, 1)); len(s.objects) > 0 || len(s.skips) != 1 || s.told(canary) {
			t.Errorf("%s: %+v", to, s)
		}
	}
}

func TestSpend(t *testing.T) {
	s := convert(t, "LiteLLM_DailyTagSpend", `{"id":"1","tag":"prod","date":"2026-11-20","api_key":"`+strings.Repeat("a", 64)+`","model":"gpt-4o","model_group":"g",`+
		`"custom_llm_provider":"openai","prompt_tokens":10,"completion_tokens":5,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,"spend":0.1,`+
		`"api_requests":3,"successful_requests":2,"failed_requests":1,"mcp_namespaced_tool_name":"","endpoint":"/chat/completions"}`)
	same(t, "day", s.daily, []store.DailySpend{{
		EntityType: "tag", RowID: "1", EntityID: "prod", Day: "2026-11-20", Token: strings.Repeat("a", 64), Model: "gpt-4o", ModelGroup: "g", Provider: "openai",
		Endpoint: "/chat/completions", PromptTokens: 10, CompletionTokens: 5, CacheReadTokens: 2, CacheWriteTokens: 1, Spend: *dollars(t, "0.1"),
		Requests: 3, SuccessfulRequests: 2, FailedRequests: 1,
	}})
	for _, day := range []string{"2026-13-01", "yesterday", "0000-01-01", ""} {
		if s := convert(t, "LiteLLM_DailyUserSpend", `{"id":"1","date":"`+day+`"}`); len(s.daily) > 0 || !s.told("is no day") {
			t.Errorf("%q: %+v", day, s)
		}
	}
	if s := convert(t, "LiteLLM_DailyUserSpend", `{"id":"1","date":"2026-01-01","api_key":"`+canary+`"}`); strings.Contains(s.daily[0].Token, "canary") {
		t.Errorf("a key is kept: %+v", s.daily)
	}
	s = convert(t, tableWindows, `{"entity_type":"key","entity_id":"k","window_duration":"1d","window_start":"2026-11-21T00:00:00","spend":0.5}`)
	same(t, "window", s.windows, []store.BudgetWindow{{
		EntityType: "key", EntityID: "k", Duration: "1d", Start: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), Spend: *dollars(t, "0.5"),
	}})
}

const fullLog = `{"request_id":"chatcmpl-1","call_type":"acompletion","api_key":"aa","spend":0.001,"total_tokens":15,"prompt_tokens":10,"completion_tokens":5,` +
	`"startTime":"2026-11-20T10:00:00.5","endTime":"2026-11-20T10:00:01","completionStartTime":"2026-11-20T10:00:00.7","model":"gpt-4o-2024","model_id":"id1",` +
	`"model_group":"gpt-4o","custom_llm_provider":"openai","user":"u","metadata":{"user_api_key": "hash", "user_api_key_alias": "k1", "status": "failure",` +
	` "error_information": {"error_code": "429", "error_class": "RateLimitError", "traceback": "secret"}, "usage_object": {"prompt_tokens_details": {"cached_tokens": 4},` +
	` "completion_tokens_details": {"reasoning_tokens": 3}}, "spend_logs_metadata": {"api_key": "` + canary + `"}},"cache_hit":"True","request_tags":["a"],` +
	`"team_id":"t","end_user":"c","requester_ip_address":"10.0.0.1","session_id":"s","status":"failure","organization_id":"o","litellm_call_id":"call-1"}`

func TestSpendLog(t *testing.T) {
	s := convert(t, tableSpendLogs, fullLog)
	if len(s.logs) != 1 {
		t.Fatalf("%+v", s)
	}
	l := s.logs[0]
	if l.Status != "failure" || l.HTTPStatus != 429 || l.ErrorKind != "RateLimitError" || l.Model != "gpt-4o" || l.ProviderModel != "gpt-4o-2024" ||
		l.Cost != *dollars(t, "0.001") || l.CacheReadTokens != 4 || l.ReasoningTokens != 3 || !l.CacheHit || l.CallID != "call-1" || l.Attempt != 1 ||
		string(l.Tags) != `["a"]` || l.FirstByteAt == nil || string(l.Metadata) != `{"litellm_request_id":"chatcmpl-1","user_api_key_alias":"k1"}` {
		t.Errorf("%+v %s", l, l.Metadata)
	}
	id := l.RequestID
	if id[6]>>4 != 7 || id[8]>>6 != 2 || int64(id[0])<<40|int64(id[1])<<32|int64(id[2])<<24|int64(id[3])<<16|int64(id[4])<<8|int64(id[5]) != l.StartedAt.UnixMilli() {
		t.Errorf("%x is no UUIDv7 of %s", id, l.StartedAt)
	}
	if again := convert(t, tableSpendLogs, fullLog).logs[0].RequestID; again != id {
		t.Errorf("%x, then %x", id, again)
	}
	if other := convert(t, tableSpendLogs, strings.Replace(fullLog, "chatcmpl-1", "chatcmpl-2", 1)).logs[0].RequestID; other == id {
		t.Error("two requests have one id")
	}
}

// TestDocuments: rows that nothing understands are kept to the letter, except for
// secrets in plain text.
func TestDocuments(t *testing.T) {
	const table = "LiteLLM_MCPServerTable"
	plain := `{"server_id":"m","url":"https://mcp.example",  "args":["a"],"token_url":"https://idp/token","created_at":"2026-01-01T00:00:00"}`
	if s := convert(t, table, plain); s.documents[table+"/m"] != plain || len(s.reports) > 0 {
		t.Errorf("%+v", s)
	}
	sealed := boxed(t, oldSalt, canary)
	s := convert(t, table, `{"server_id":"m","credentials":{"auth_value": "`+sealed+`"},"static_headers":{"X-Key": "`+canary+`"},"env":["`+canary+`"],`+
		`"url":"https://user:pw@mcp.example","note":"`+canary+`"}`)
	doc := s.documents[table+"/m"]
	if !strings.Contains(doc, sealed) || strings.Contains(doc, canary) || strings.Contains(doc, "pw@") || !s.told("secrets in plain text") {
		t.Errorf("%s %q", doc, s.reports)
	}
	digest := strings.Repeat("ab", 32)
	deleted := `{"id":"1","token":"` + digest + `","key_name":"sk-...abcd","deleted_by_api_key":"` + digest + `","metadata":{}}`
	if s := convert(t, "LiteLLM_DeletedVerificationToken", deleted); s.documents["LiteLLM_DeletedVerificationToken/1"] != deleted {
		t.Errorf("%+v", s)
	}
	if s := convert(t, table, `{"server_id":"m","x":"`+strings.Repeat("y", 1<<20)+`"}`); len(s.documents) > 0 || !s.told("larger than 1 MiB") {
		t.Errorf("%q", s.skips)
	}
}
