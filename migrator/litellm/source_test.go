package litellm

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
)

// columnsOf reads which columns a source has.
func columnsOf(t *testing.T, url string) Columns {
	t.Helper()
	out := Columns{}
	for _, r := range pgtest.Rows(t, url, `SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'`) {
		if out[r[0]] == nil {
			out[r[0]] = map[string]bool{}
		}
		out[r[0]][r[1]] = true
	}
	return out
}

// imported reads and converts a whole source, as the importer does.
func imported(t *testing.T, url string) *sink {
	t.Helper()
	c, s := converter(t)
	c.Columns = columnsOf(t, url)
	for _, table := range Tables() {
		if table.Left != "" || !c.Columns.Has(table.Reads()) {
			continue
		}
		key := `t."` + strings.Join(table.Key, `", t."`) + `"`
		for _, r := range pgtest.Rows(t, url, table.From(c.Columns)+" ORDER BY "+key) {
			if err := table.Convert(c, []byte(r[0])); err != nil {
				t.Fatalf("%s: %v", table.Name, err)
			}
		}
	}
	return s
}

func schema(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kinds counts the objects by their kinds.
func (s *sink) kinds() map[string]int {
	out := map[string]int{}
	for _, o := range s.objects {
		out[o.Kind().String()]++
	}
	return out
}

func filled(t *testing.T, url string) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf(`
INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, created_by, updated_by, updated_at) VALUES ('b1', 1.5, 'a', 'a', now()), ('b2', 'Infinity', 'a', 'a', now());
INSERT INTO "LiteLLM_ObjectPermissionTable" (object_permission_id, mcp_servers) VALUES ('p1', '{m}');
INSERT INTO "LiteLLM_OrganizationTable" (organization_id, organization_alias, budget_id, created_by, updated_by, updated_at)
	VALUES ('o1', 'Acme', 'b1', 'a', 'a', now());
INSERT INTO "LiteLLM_UserTable" (user_id, user_email, user_role, teams, spend, object_permission_id) VALUES
	('u1', 'A@example.org', 'proxy_admin', '{t1,t2}', 'NaN', 'p1'), ('u2', 'a@EXAMPLE.org', 'emperor', NULL, -1, NULL), ('u3', NULL, NULL, '{t1}', 0, NULL);
INSERT INTO "LiteLLM_ModelTable" (id, aliases, created_by, updated_by, updated_at) VALUES (7, '{"fast": "gpt"}', 'a', 'a', now());
INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, model_id, members, members_with_roles, organization_id, metadata) VALUES
	('t1', 'eng', 7, '{u1}', '[{"user_id": "u1", "role": "admin"}, {"user_id": "u2", "role": "user"}]', 'o1', '{"a": "käse 鍵 🔑"}'), ('t2', NULL, NULL, NULL, '{}', NULL, '{}');
INSERT INTO "LiteLLM_TeamMembership" (user_id, team_id, spend, total_spend, budget_id) VALUES ('u1', 't1', 0.1, 1e-7, 'b1'), ('u9', 't1', 1, 1, NULL);
INSERT INTO "LiteLLM_OrganizationMembership" (user_id, organization_id, user_role) VALUES ('u1', 'o1', 'org_admin');
INSERT INTO "LiteLLM_ProjectTable" (project_id, team_id, created_by, updated_by, updated_at) VALUES ('pr1', 't1', 'a', 'a', now());
INSERT INTO "LiteLLM_AccessGroupTable" (access_group_id, access_group_name, access_model_names) VALUES ('g1', 'G', '{gpt}');
INSERT INTO "LiteLLM_ModelAccessGroupBudgetTable" (access_group_name, budget_id, updated_at) VALUES ('G', 'b1', now());
INSERT INTO "LiteLLM_EndUserTable" (user_id, blocked) VALUES ('c1', true);
INSERT INTO "LiteLLM_TagTable" (tag_name, updated_at) VALUES ('prod', now());
INSERT INTO "LiteLLM_VerificationToken" (token, key_name, models, user_id, team_id, object_permission_id, expires, spend) VALUES
	(repeat('a', 64), 'sk-...aaaa', '{gpt}', 'u1', 't1', 'p1', '2027-01-01 00:00:00.5', 0.30000000000000004),
	(repeat('b', 64), NULL, NULL, 'ghost', 'gone', NULL, NULL, 1e-9), (repeat('c', 64), NULL, NULL, 'ghost', NULL, NULL, NULL, 0),
	('hashed-jwt-' || repeat('d', 64), NULL, NULL, 'default_user_id', '', NULL, NULL, 0),
	(repeat('e', 64), NULL, NULL, 'of the dashboard', 'litellm-dashboard', NULL, NULL, 0);
INSERT INTO "LiteLLM_DeprecatedVerificationToken" (id, token, active_token_id, revoke_at) VALUES
	('1', repeat('f', 64), repeat('a', 64), '2027-01-01'), ('2', repeat('0', 64), repeat('a', 64), '2020-01-01');
INSERT INTO "LiteLLM_JWTKeyMapping" (id, jwt_claim_name, jwt_claim_value, token, updated_at) VALUES ('j1', 'sub', 'x', repeat('a', 64), now());
INSERT INTO "LiteLLM_InvitationLink" (id, user_id, expires_at, created_at, created_by, updated_at, updated_by) VALUES
	('i1', 'u1', '2027-01-01', now(), 'a', now(), 'a'), ('i2', 'u1', '2020-01-01', now(), 'a', now(), 'a');
INSERT INTO "LiteLLM_ProxyModelTable" (model_id, model_name, litellm_params, created_by, updated_by, updated_at)
	VALUES ('m1', 'gpt', '{"model": "%[1]s", "api_key": "%[2]s"}', 'a', 'a', now());
INSERT INTO "LiteLLM_CredentialsTable" (credential_id, credential_name, credential_values, created_by, updated_by, updated_at)
	VALUES ('cr1', 'cr', '{"api_key": "%[2]s"}', 'a', 'a', now());
INSERT INTO "LiteLLM_Config" (param_name, param_value) VALUES ('router_settings', '{"num_retries": 2}');
INSERT INTO "LiteLLM_GuardrailsTable" (guardrail_id, guardrail_name, litellm_params, updated_at) VALUES ('gr', 'guard', '{}', now());
INSERT INTO "LiteLLM_AuditLog" (id, action, table_name, object_id) VALUES ('a1', 'created', 'LiteLLM_TeamTable', 't1');
INSERT INTO "LiteLLM_DailyUserSpend" (id, user_id, date, api_key, spend, prompt_tokens, updated_at) VALUES ('d1', 'u1', '2026-11-20', repeat('a', 64), 0.1, 9, now());
INSERT INTO "LiteLLM_BudgetWindowSpend" (entity_type, entity_id, window_duration, window_start, spend, updated_at) VALUES ('key', 'k', '1d', '2026-11-21', 1, now());
INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, "startTime", "endTime", spend, created_at, updated_at) VALUES
	('chatcmpl-1', 'acompletion', '2026-11-20 10:00:00.5', '2026-11-20 10:00:01', 0.001, now(), now());
`, boxed(t, oldSalt, "openai/gpt-4o"), boxed(t, oldSalt, canary)))
}

// TestSource reads tables as PostgreSQL has them, whole.
func TestSource(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pgtest.Exec(t, url, schema(t))
	filled(t, url)
	s := imported(t, url)
	same(t, "objects", s.kinds(), map[string]int{
		"budget": 2, "organization": 1, "user": 4, "team": 3, "team_member": 2, "organization_member": 1, "project": 1, "access_group": 1,
		"customer": 1, "tag": 1, "key": 4, "retired_key": 1, "jwt_key_mapping": 1, "invitation": 1, "model": 1, "credential": 1, "config": 1,
	})
	if len(s.documents) != 4 || len(s.daily) != 1 || len(s.windows) != 1 || len(s.logs) != 1 {
		t.Errorf("%d documents, %d days, %d windows, %d logs", len(s.documents), len(s.daily), len(s.windows), len(s.logs))
	}
	for _, o := range s.objects {
		switch o := o.(type) {
		case *identity.Key:
			if o.Token[0] == 'a' && (o.Spend != *dollars(t, "0.3") || string(o.Settings["object_permission_id"]) != `"p1"` || o.Expires.UnixMilli()%1000 != 500) {
				t.Errorf("%+v", o)
			}
		case *identity.Team:
			if o.ID == "t1" && (string(o.Settings["model_aliases"]) != `{"fast":"gpt"}` || string(o.Metadata["a"]) != `"käse 鍵 🔑"`) {
				t.Errorf("%+v", o)
			}
		case *identity.Member:
			if o.UserID == "u1" && (o.Role != "admin" || o.Spend != *dollars(t, "0.1") || o.TotalSpend != *dollars(t, "1e-7") || o.BudgetID != "b1") {
				t.Errorf("%+v", o)
			}
		}
	}
	for _, line := range []string{
		"LiteLLM_UserTable u1: spend is not a number", "LiteLLM_UserTable u2: spend is negative", "LiteLLM_UserTable u2: user_role is none",
		"LiteLLM_UserTable u1: user_email is another", "LiteLLM_UserTable u2: user_email is another", "LiteLLM_BudgetTable b2: max_budget is infinite",
		"LiteLLM_TeamMembership t1/u9: spend and budget of a user", "LiteLLM_UserTable t2/u1: the user's teams", "LiteLLM_UserTable t1/u3: the user's teams",
		"LiteLLM_VerificationToken user ghost: was made", "LiteLLM_VerificationToken team gone: was made", "a session of the dashboard", "grace is over", "has expired",
	} {
		if !s.told(line) {
			t.Errorf("not told: %s", line)
		}
	}
	if len(s.reports)+len(s.skips) != 14 || s.told("of the dashboard: was made") {
		t.Errorf("told:\n%s\n%s", strings.Join(s.skips, "\n"), strings.Join(s.reports, "\n"))
	}
}

// TestEarlyReleases: a source whose tables have nothing but what is needed is
// taken too, whichever of its other columns and tables are missing.
func TestEarlyReleases(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pgtest.Exec(t, url, schema(t))
	filled(t, url)
	have := columnsOf(t, url)
	for n := range 3 { // a third of the columns each time, until none is left that may go
		drop := ""
		for table, columns := range have {
			var names []string
			for c := range columns {
				if !needs(table, c) && (n == 2 || (len(c)+len(table)+n)%3 == 0) {
					names = append(names, `DROP COLUMN IF EXISTS "`+c+`" CASCADE`)
				}
			}
			slices.Sort(names)
			if len(names) > 0 {
				drop += `ALTER TABLE "` + table + `" ` + strings.Join(names, ", ") + ";\n"
			}
		}
		pgtest.Exec(t, url, drop)
		s := imported(t, url)
		if kinds := s.kinds(); kinds["key"] < 4 || kinds["user"] < 3 || kinds["team"] < 2 || kinds["model"] != 1 {
			t.Errorf("round %d: %v\n%s", n, kinds, strings.Join(s.skips, "\n"))
		}
	}
	if s := imported(t, url); s.kinds()["team_member"] != 0 || s.kinds()["user"] != 3 {
		t.Errorf("%v", s.kinds())
	}
	bare := pgtest.Database(t)
	pgtest.Exec(t, bare, `CREATE TABLE "LiteLLM_VerificationToken" (token TEXT PRIMARY KEY, models TEXT[], spend DOUBLE PRECISION);
		CREATE TABLE "LiteLLM_UserTable" (user_id TEXT PRIMARY KEY); CREATE TABLE "LiteLLM_TeamTable" (team_id TEXT PRIMARY KEY);
		INSERT INTO "LiteLLM_VerificationToken" VALUES (repeat('a', 64), '{m}', 2); INSERT INTO "LiteLLM_UserTable" VALUES ('u'); INSERT INTO "LiteLLM_TeamTable" VALUES ('t');`)
	same(t, "bare", imported(t, bare).kinds(), map[string]int{"key": 1, "user": 1, "team": 1})
}

// needs reports whether a column is one that a table cannot be read without.
func needs(table, column string) bool {
	for _, t := range Tables() {
		if t.Reads() == table && (slices.Contains(t.Needs, column) || t.Name == table && slices.Contains(t.Key, column)) {
			return true
		}
	}
	return table == tableModels && column == "litellm_params"
}
