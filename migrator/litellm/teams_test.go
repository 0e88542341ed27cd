package litellm

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
)

const fullTeam = `{"team_id":"t1","team_alias":"eng","organization_id":"o1","admins":["u1","u9"],"members":["u1","u2","u7"],` +
	`"members_with_roles":[{"role": "admin", "user_id": "u1", "user_email": null}, {"role": "user", "user_id": "u2"}, {"role": "user", "user_id": "u2"},` +
	` {"role": "owner", "user_id": "u3"}, {"role": "user", "user_id": null, "user_email": "x@example.org"}],` +
	`"metadata":{"team_member_budget_id": "b2"},"max_budget":50,"spend":3,"models":["mock"],"max_parallel_requests":5,"tpm_limit":10,"rpm_limit":20,` +
	`"budget_duration":"30d","budget_reset_at":"2026-12-01T00:00:00","blocked":true,"created_at":"2026-11-21T07:19:08.786","updated_at":"2026-11-21T07:19:09",` +
	`"model_spend":{},"model_max_budget":{"mock": {"budget_limit": 1}},"model_id":1,"team_member_permissions":["/key/generate"],"object_permission_id":null,` +
	`"router_settings":{},"policies":[],"allow_team_guardrail_config":true,"soft_budget":40,"access_group_ids":["g"],"budget_limits":null,` +
	`"default_team_member_models":["mock"],"tpd_limit":7,"model_aliases":{"fast": "mock", "own": "model_name_t1_5d1c"},"model_aliases_by":"default_user_id",` +
	`"memberships":[{"user_id":"u2","team_id":"t1","spend":0.5,"budget_id":"b3","total_spend":2}]}`

func TestTeam(t *testing.T) {
	s := convert(t, tableTeams, fullTeam)
	if len(s.objects) != 4 {
		t.Fatalf("%d objects: %q", len(s.objects), s.reports)
	}
	team, ok := s.objects[0].(*identity.Team)
	if !ok || team.ID != "t1" || team.Alias != "eng" || team.OrganizationID != "o1" || !team.Blocked || team.Spend != *dollars(t, "3") ||
		*team.SoftBudget != *dollars(t, "40") || team.BudgetDuration != "30d" || *team.RPMLimit != 20 || team.CreatedBy != "default_user_id" {
		t.Errorf("%+v", s.objects[0])
	}
	for name, want := range map[string]string{
		"model_aliases": `{"fast":"mock"}`, "team_member_permissions": `["/key/generate"]`, "access_group_ids": `["g"]`, "tpd_limit": "7",
		"default_team_member_models": `["mock"]`, "model_max_budget": `{"mock":{"budget_limit":1}}`, "allow_team_guardrail_config": "true",
	} {
		if got := string(team.Settings[name]); got != want {
			t.Errorf("setting %s is %s, want %s", name, got, want)
		}
		delete(team.Settings, name)
	}
	if len(team.Settings) > 0 {
		t.Errorf("more settings: %v", team.Settings)
	}
	at := time.Date(2026, 11, 21, 7, 19, 8, 786e6, time.UTC)
	for i, want := range []identity.Member{
		{UserID: "u1", Role: "admin"},
		{UserID: "u2", Role: "user", BudgetID: "b3", Spend: *dollars(t, "0.5"), TotalSpend: *dollars(t, "2")},
		{UserID: "u3", Role: "user"},
	} {
		want.TeamID, want.Stamp = "t1", team.Stamp
		want.CreatedAt = at.Add(time.Duration(i) * time.Microsecond)
		same(t, "member", s.objects[i+1], &want)
	}
	for _, part := range []string{
		"names a member twice", "neither admin nor user", "without a user_id", "members names a user who is not", "admins names a user who is not",
	} {
		if !s.told(part) {
			t.Errorf("not told: %s; reported %q", part, s.reports)
		}
	}
}

func TestTeams(t *testing.T) {
	for _, c := range []struct {
		name, doc, told string
		members         int
	}{
		{"no members", `{"team_id":"t","members_with_roles":{}}`, "", 0},
		{"nothing else", `{"team_id":"t"}`, "", 0},
		{"a text", `{"team_id":"t","members_with_roles":"[{\"user_id\": \"u\", \"role\": \"admin\"}]"}`, "", 1},
		{"something else", `{"team_id":"t","members_with_roles":{"a": 1}}`, "is no list of members", 0},
		{"an admin among the users", `{"team_id":"t","members_with_roles":[{"user_id":"u","role":"user"}],"admins":["u"]}`, "whom members_with_roles has as a user", 1},
		{"admin at second", `{"team_id":"t","members_with_roles":[{"user_id":"u","role":"user"},{"user_id":"u","role":"admin"}],"admins":["u"]}`, "twice", 1},
	} {
		s := convert(t, tableTeams, c.doc)
		if len(s.objects) != c.members+1 || c.told == "" && len(s.reports) > 0 || c.told != "" && !s.told(c.told) {
			t.Errorf("%s: %d objects, reported %q", c.name, len(s.objects), s.reports)
		}
	}
	s := convert(t, tableTeams, `{"team_id":"t","members_with_roles":[{"user_id":"u","role":"user"},{"user_id":"u","role":"admin"}]}`)
	if m, ok := s.objects[1].(*identity.Member); !ok || m.Role != identity.TeamAdmin {
		t.Errorf("%+v", s.objects[1])
	}
	if s := convert(t, tableTeams, `{"team_id":"`+strings.Repeat("x", 1025)+`"}`); len(s.objects) > 0 || !s.told("longer than 1024") || len(s.skips[0]) > 400 {
		t.Errorf("%q", s.skips)
	}
}

func TestUser(t *testing.T) {
	u := only1[*identity.User](t, convert(t, tableUsers, `{"user_id":"u","user_alias":"Al","team_id":"t0","sso_user_id":"sso","organization_id":"o",`+
		`"password":"scrypt:`+strings.Repeat("A", 64)+`","teams":["t1"],"user_role":"internal_user_view_only","max_budget":null,"spend":0.25,"user_email":"A@example.org",`+
		`"models":["m"],"metadata":{"a": 1},"max_parallel_requests":null,"tpm_limit":null,"rpm_limit":5,"budget_duration":null,"budget_reset_at":null,`+
		`"allowed_cache_controls":["no-store"],"model_spend":{},"model_max_budget":{},"created_at":"2026-01-02T03:04:05","updated_at":null,`+
		`"object_permission_id":null,"policies":["p"],"password_reset_required":true,"last_breach_check_at":"2026-02-03T00:00:00"}`))
	if u.Role != "internal_user_viewer" || u.Alias != "Al" || u.Email != "A@example.org" || u.SSOUserID != "sso" || u.Spend != *dollars(t, "0.25") ||
		!strings.HasPrefix(u.Password, "scrypt:") || u.MaxBudget != nil || *u.RPMLimit != 5 || !u.UpdatedAt.Equal(u.CreatedAt) || u.CreatedAt.IsZero() {
		t.Errorf("%+v", u)
	}
	for name, want := range map[string]string{
		"team_id": `"t0"`, "allowed_cache_controls": `["no-store"]`, "policies": `["p"]`, "password_reset_required": "true",
		"last_breach_check_at": `"2026-02-03T00:00:00Z"`,
	} {
		if got := string(u.Settings[name]); got != want {
			t.Errorf("setting %s is %s, want %s", name, got, want)
		}
	}
}

func TestRolesAndPasswords(t *testing.T) {
	for role, want := range map[string]string{
		"proxy_admin": "proxy_admin", "proxy_admin_viewer": "proxy_admin_viewer", "internal_user": "internal_user",
		"internal_user_viewer": "internal_user_viewer", "": "", "emperor": "", "org_admin": "", "Proxy_Admin": "",
	} {
		s := convert(t, tableUsers, `{"user_id":"u","user_role":"`+role+`"}`)
		if u := only1[*identity.User](t, s); u.Role != want || (want == "" && role != "") != s.told("user_role is none") {
			t.Errorf("%q: %q, reported %q", role, u.Role, s.reports)
		}
	}
	hash := strings.Repeat("ab", 32)
	for password, want := range map[string]string{
		hash: hash, canary: "", "scrypt:short": "", "scrypt:" + strings.Repeat("A", 64): "scrypt:" + strings.Repeat("A", 64), "": "",
	} {
		s := convert(t, tableUsers, `{"user_id":"u","password":"`+password+`"}`)
		if u := only1[*identity.User](t, s); u.Password != want || s.told(canary) {
			t.Errorf("%q: %q, reported %q", password, u.Password, s.reports)
		}
		if kept := strings.HasPrefix(want, "scrypt:") || password == ""; kept == s.told("the password is") {
			t.Errorf("%q: reported %q", password, s.reports)
		}
	}
}

func TestDisagreements(t *testing.T) {
	for _, name := range []string{tableMembers, tableUsers + ": teams", tableUsers + ": shared addresses"} {
		s := convert(t, name, `{"team_id":"t","user_id":"u"}`)
		if len(s.objects) > 0 || len(s.reports) != 1 || !s.told("u") {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
