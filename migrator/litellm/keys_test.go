package litellm

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
)

// fullKey is a key as row_to_json gives it, with every column.
const fullKey = `{"token":"dd65e03569cfa4fa17f41cc914529f60fa210b46a7ee8647c7c2f1ed5844a3ea","key_name":"sk-...-sWQ","key_alias":"k1",` +
	`"soft_budget_cooldown":true,"spend":1.25,"expires":"2026-11-28T07:19:09.053","models":["mock","gpt-4o"],"aliases":{"gpt": "mock"},` +
	`"config":{"a": 1},"user_id":"u-int","team_id":"t1","permissions":{"get_spend_routes": true},"max_parallel_requests":4,` +
	`"metadata":{"tags": ["x"], "logging": [{"callback_name": "langfuse"}], "temp_budget_increase": 5},"blocked":false,"tpm_limit":1000,"rpm_limit":60,` +
	`"max_budget":5,"budget_duration":"1d","budget_reset_at":"2026-11-22T00:00:00","allowed_cache_controls":["no-cache"],"model_spend":{"mock": 0.5},` +
	`"model_max_budget":{"mock": {"budget_limit": 1, "time_period": "1d"}},"budget_id":"b1","organization_id":"o1",` +
	`"created_at":"2026-11-21T07:19:09.054","created_by":"default_user_id","updated_at":"2026-11-21T08:00:00","updated_by":"u-adm",` +
	`"allowed_routes":["llm_api_routes"],"object_permission_id":"p1","auto_rotate":true,"key_rotation_at":"2026-12-01T00:00:00",` +
	`"last_rotation_at":"2026-11-01T00:00:00","rotation_count":2,"rotation_interval":"30d","project_id":"pr1","router_settings":{"num_retries": 3},` +
	`"policies":["p"],"access_group_ids":["g1"],"last_active":"2026-11-21T09:00:00.5","agent_id":"a1","budget_limits":[{"max_budget": 1, "budget_duration": "1d"}],` +
	`"budget_fallbacks":{"gpt-4o": ["mock"]},"key_type":"llm_api","settings_updated_at":"2026-11-21T07:30:00","tpd_limit":100000,"total_spend":7.5,` +
	`"object_permission":{"object_permission_id":"p1","mcp_servers":["m"],"vector_stores":null}}`

func TestKey(t *testing.T) {
	s := convert(t, tableKeys, fullKey)
	k := only1[*identity.Key](t, s)
	if len(s.reports) != 2 || !s.told("tpd_limit is kept without effect") || !s.told("budget_fallbacks is kept without effect") {
		t.Errorf("reported %q", s.reports)
	}
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	expires, reset, active := at("2026-11-28T07:19:09.053Z"), at("2026-11-22T00:00:00Z"), at("2026-11-21T09:00:00.5Z")
	parallel, tpm, rpm := int64(4), int64(1000), int64(60)
	settings := k.Settings
	k.Settings = nil
	same(t, "key", k, &identity.Key{
		Token: "dd65e03569cfa4fa17f41cc914529f60fa210b46a7ee8647c7c2f1ed5844a3ea", Name: "sk-...-sWQ", Alias: "k1", Type: "llm_api", UserID: "u-int",
		TeamID: "t1", OrganizationID: "o1", ProjectID: "pr1", AgentID: "a1", BudgetID: "b1", Models: []string{"mock", "gpt-4o"},
		Aliases: map[string]string{"gpt": "mock"}, AllowedRoutes: []string{"llm_api_routes"},
		Permissions: identity.Fields{"get_spend_routes": json.RawMessage("true")},
		Metadata: identity.Fields{
			"tags": json.RawMessage(`["x"]`), "logging": json.RawMessage(`[{"callback_name": "langfuse"}]`), "temp_budget_increase": json.RawMessage("5"),
		},
		Expires: &expires, LastActive: &active, Spend: *dollars(t, "1.25"),
		ModelMaxBudget: identity.Fields{"mock": json.RawMessage(`{"budget_limit": 1, "time_period": "1d"}`)},
		Caps: identity.Caps{
			MaxBudget: dollars(t, "5"), BudgetDuration: "1d", BudgetResetAt: &reset, MaxParallelRequests: &parallel, TPMLimit: &tpm, RPMLimit: &rpm,
		},
		Stamp: identity.Stamp{CreatedAt: at("2026-11-21T07:19:09.054Z"), CreatedBy: "default_user_id", UpdatedAt: at("2026-11-21T08:00:00Z"), UpdatedBy: "u-adm"},
	})
	for name, want := range map[string]string{
		"blocked": `false`, "soft_budget_cooldown": `true`, "config": `{"a": 1}`, "allowed_cache_controls": `["no-cache"]`, "model_spend": `{"mock": 0.5}`,
		"auto_rotate": `true`, "key_rotation_at": `"2026-12-01T00:00:00Z"`, "last_rotation_at": `"2026-11-01T00:00:00Z"`, "rotation_count": `2`,
		"rotation_interval": `"30d"`, "router_settings": `{"num_retries": 3}`, "policies": `["p"]`, "access_group_ids": `["g1"]`,
		"budget_limits": `[{"max_budget": 1, "budget_duration": "1d"}]`, "budget_fallbacks": `{"gpt-4o": ["mock"]}`,
		"settings_updated_at": `"2026-11-21T07:30:00Z"`, "tpd_limit": `100000`, "total_spend": `7.5`, "object_permission_id": `"p1"`,
		"object_permission": `{"mcp_servers":["m"],"object_permission_id":"p1","vector_stores":null}`,
	} {
		if got := string(settings[name]); got != want {
			t.Errorf("setting %s is %s, want %s", name, got, want)
		}
		delete(settings, name)
	}
	if len(settings) > 0 {
		t.Errorf("more settings: %v", settings)
	}
}

// TestKeys: what is taken of rows that say little, or something odd.
func TestKeys(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	with := func(rest string) string {
		return `{"token":"` + digest + `","models":null,"spend":0` + rest + `}`
	}
	for _, c := range []struct {
		name, doc, told string
		check           func(k *identity.Key) bool
	}{
		{"nothing but what is needed", with(""), "", func(k *identity.Key) bool {
			return !k.Blocked && k.Models == nil && k.Settings == nil && k.MaxBudget == nil && k.Type == "" && k.Expires == nil && k.CreatedAt.IsZero()
		}},
		{"blocked NULL", with(`,"blocked":null`), "", func(k *identity.Key) bool { return !k.Blocked && k.Settings["blocked"] == nil }},
		{"blocked", with(`,"blocked":true`), "", func(k *identity.Key) bool { return k.Blocked && string(k.Settings["blocked"]) == "true" }},
		{"a budget of nothing", with(`,"max_budget":0`), "", func(k *identity.Key) bool { return k.MaxBudget != nil && *k.MaxBudget == 0 }},
		{"NULL in a list", with(`,"allowed_routes":["a",null,"b"]`), "", func(k *identity.Key) bool { return len(k.AllowedRoutes) == 2 }},
		{"empty ids", with(`,"user_id":"","team_id":null`), "", func(k *identity.Key) bool { return k.UserID == "" && k.TeamID == "" }},
		{"objects in texts", with(`,"metadata":"{\"a\": 1}","aliases":"{\"x\": \"y\"}"`), "", func(k *identity.Key) bool {
			return string(k.Metadata["a"]) == "1" && k.Aliases["x"] == "y"
		}},
		{"a text that no jsonb takes", with(`,"metadata":"{\"a\": \"\\u0000\"}"`), "metadata is no object", func(k *identity.Key) bool { return k.Metadata == nil }},
		{"metadata of another kind", with(`,"metadata":[1]`), "metadata is no object", func(k *identity.Key) bool { return k.Metadata == nil && !k.Blocked }},
		{"permissions of another kind", with(`,"permissions":[1]`), "is blocked", func(k *identity.Key) bool { return k.Blocked }},
		{"an alias of another kind", with(`,"aliases":{"a":1,"b":"c"}`), "aliases has a value that is no text", func(k *identity.Key) bool { return len(k.Aliases) == 1 }},
		{"a long alias", with(`,"key_alias":"` + strings.Repeat("x", 1025) + `"`), "key_alias is longer", func(k *identity.Key) bool { return k.Alias == "" && !k.Blocked }},
		{"a long owner", with(`,"user_id":"` + strings.Repeat("x", 1025) + `"`), "is blocked", func(k *identity.Key) bool { return k.UserID == "" && k.Blocked }},
		{"a negative limit", with(`,"rpm_limit":-1`), "rpm_limit is negative", func(k *identity.Key) bool { return k.RPMLimit != nil && *k.RPMLimit == 0 }},
		{"a limit of another type", with(`,"rpm_limit":60.0`), "", func(k *identity.Key) bool { return *k.RPMLimit == 60 }},
		{"a lost permission", with(`,"object_permission_id":"p"`), "names what does not exist", func(k *identity.Key) bool { return k.Settings == nil }},
		{"nobody's JWT key", `{"token":"hashed-jwt-` + digest + `","models":[],"spend":0}`, "", func(k *identity.Key) bool { return k.Token == "hashed-jwt-"+digest }},
		{"invalid UTF-8", with(",\"key_alias\":\"\xff\""), "", func(k *identity.Key) bool { return k.Alias == "\uFFFD" }},
	} {
		cv, s := converter(t)
		if err := tableNamed(t, tableKeys).Convert(cv, []byte(c.doc)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if k := only1[*identity.Key](t, s); !c.check(k) {
			t.Errorf("%s: %+v", c.name, k)
		}
		if c.told == "" && len(s.reports) > 0 || c.told != "" && !s.told(c.told) {
			t.Errorf("%s: reported %q", c.name, s.reports)
		}
	}
	for name, doc := range map[string]string{
		"a session of the dashboard": `{"token":"` + digest + `","team_id":"litellm-dashboard","models":[],"spend":0}`,
		"is no SHA-256 digest":       `{"token":"` + canary + `","models":[],"spend":0}`,
	} {
		s := convert(t, tableKeys, doc)
		if len(s.objects) > 0 || !s.told(name) || s.told(canary) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestRetiredKey(t *testing.T) {
	old, active := strings.Repeat("a", 64), strings.Repeat("b", 64)
	doc := `{"id":"1","token":"` + old + `","active_token_id":"` + active + `","revoke_at":"2026-11-21T12:00:01","created_at":"2026-11-20T00:00:00"}`
	k := only1[*identity.RetiredKey](t, convert(t, tableRetired, doc))
	if k.Token != old || k.Active != active || !k.RevokeAt.Equal(testNow.Add(time.Second)) || k.CreatedAt.IsZero() {
		t.Errorf("%+v", k)
	}
	for _, late := range []string{"2026-11-21T12:00:00", "2020-01-01T00:00:00"} {
		if s := convert(t, tableRetired, strings.Replace(doc, "2026-11-21T12:00:01", late, 1)); len(s.objects) > 0 || !s.told("grace is over") {
			t.Errorf("%s: %+v", late, s)
		}
	}
}

// TestOwners: an owner that keys name and that does not exist is made, once.
func TestOwners(t *testing.T) {
	c, s := converter(t)
	for i, doc := range []string{
		`"user_id":"u","missing user":true,"team_id":"t","missing team":true,"organization_id":"o","missing organization":true,"project_id":"p","missing project":true`,
		`"user_id":"u","missing user":true,"team_id":"t","missing team":true`,
		`"user_id":"u2","missing user":false,"team_id":null,"missing team":null`,
		`"user_id":"default_user_id","missing user":true`,
		`"user_id":"","missing user":true`,
	} {
		doc = `{"token":"` + strings.Repeat("a", 63) + string(rune('0'+i)) + `","models":[],"spend":0,` + doc + `}`
		if err := tableNamed(t, tableKeys).Convert(c, []byte(doc)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "objects", s.kinds(), map[string]int{"key": 5, "user": 1, "team": 1, "organization": 1, "project": 1})
	for i, want := range []identity.Object{
		&identity.Organization{ID: "o", Alias: "o"}, &identity.User{ID: "u"}, &identity.Team{ID: "t"}, &identity.Project{ID: "p"},
	} {
		same(t, "owner", s.objects[i], want)
	}
	if len(s.reports) != 4 || !s.told("user u: "+madeForKeys) {
		t.Errorf("%q", s.reports)
	}
	var l lately
	for i := range 3 * mostMade {
		name := strconv.Itoa(i)
		if l.has(name) {
			t.Fatalf("%s was not made", name)
		}
		l.add(name)
		if back := max(0, i-mostMade+1); !l.has(strconv.Itoa(back)) || len(l.now)+len(l.before) > 2*mostMade {
			t.Fatalf("%d is forgotten at %d", back, i)
		}
	}
}
