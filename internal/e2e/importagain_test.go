//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
)

// TestImportAgain: an import is done again while both proxies are at work. What
// was changed here stays, what was deleted here stays away, what the old proxy
// has spent since replaces what it had, and what is new over there comes.
func TestImportAgain(t *testing.T) {
	p := fakeprovider.Start(t)
	l := seeded(t, schemaPinned, p.URL(""))
	a := New(t, Options{Config: oldConfig, Env: map[string]string{"DATABASE_URL": prisma(l.url), "LITELLM_MASTER_KEY": oldMaster, "LITELLM_SALT_KEY": oldSalt}})
	a.Key = oldMaster
	a.Start()
	a.WaitReady(60 * 1e9)
	m := &movedIn{t: t, a: a, l: l, p: p}
	set := map[string]string{"DATABASE_URL": l.url, "SLUICE_STATE_DIR": a.Dir}

	// Nothing has changed: nothing is written.
	was := imprint(t, l.url)
	keys := pgtest.Rows(t, l.url, "SELECT token, change_number FROM sluice.keys ORDER BY token")
	runImport(t, l.url, set).must()
	same(t, "after an import of what had come over", imprint(t, l.url), was)
	if again := pgtest.Rows(t, l.url, "SELECT token, change_number FROM sluice.keys ORDER BY token"); fmt.Sprint(again) != fmt.Sprint(keys) {
		t.Error("rows that are the same were written again")
	}

	m.a.manage("/key/update", fmt.Sprintf(`{"key":%q,"key_alias":"changed here"}`, hashed("sk-old-all")))
	m.a.manage("/key/delete", fmt.Sprintf(`{"keys":[%q]}`, hashed("sk-old-aliased")))
	m.a.manage("/model/delete", `{"id":"m-derived"}`)
	m.a.manage("/customer/delete", `{"user_ids":["c-1"]}`)
	m.again(set)
}

// again changes both sides, imports, and looks.
func (m *movedIn) again(set map[string]string) {
	t, l := m.t, m.l
	t.Helper()
	// Spend that this proxy has written since: no change of the object.
	pgtest.Exec(t, l.url, fmt.Sprintf("UPDATE sluice.keys SET spend = spend + 2000000000 WHERE token = '%s'", hashed("sk-old-plain")))
	pgtest.Exec(t, l.url, fmt.Sprintf(`UPDATE "LiteLLM_VerificationToken" SET spend = 0.55, key_alias = 'renamed there' WHERE token = '%s';
		UPDATE "LiteLLM_VerificationToken" SET spend = 70, key_alias = 'not taken' WHERE token = '%s';
		UPDATE "LiteLLM_VerificationToken" SET blocked = true WHERE token = '%s';
		DELETE FROM "LiteLLM_VerificationToken" WHERE token = '%s';
		UPDATE "LiteLLM_TeamTable" SET members_with_roles = members_with_roles || '[{"role":"user","user_id":"u-view"}]', spend = 20 WHERE team_id = 't-1';
		UPDATE "LiteLLM_DailyUserSpend" SET spend = 0.3 WHERE id = 'LiteLLM_DailyUserSpend-1'`,
		hashed("sk-old-plain"), hashed("sk-old-all"), hashed("sk-old-nulls"), hashed("sk-old-orphan")))
	l.put("LiteLLM_VerificationToken", values{"token": hashed("sk-old-new"), "key_alias": "new there"})
	before := l.print()
	// The keys that the change is about are known to the workers by now.
	m.chat(seededKey{secret: "sk-old-nulls", model: "mock", status: 200})
	m.chat(seededKey{secret: "sk-old-new", model: "mock", status: 401})
	r := runImport(t, l.url, set).must()
	l.unchanged("after the second import", before)
	for _, named := range []string{hashed("sk-old-all"), hashed("sk-old-aliased"), "m-derived", "c-1"} {
		if !strings.Contains(r.out.String(), named) {
			t.Errorf("the report does not name %s:\n%s", named, r.out.String())
		}
	}
	for call, want := range map[string]values{
		"GET /key/info?key=" + hashed("sk-old-all"):    {"info.key_alias": "changed here"},
		"GET /key/info?key=" + hashed("sk-old-plain"):  {"info.key_alias": "renamed there", "info.spend": 2.55},
		"GET /key/info?key=" + hashed("sk-old-orphan"): {"info.key_alias": "orphan"}, // what is deleted there is not deleted here
		"GET /key/info?key=" + hashed("sk-old-new"):    {"info.key_alias": "new there"},
		"GET /team/info?team_id=t-1":                   {"team_info.spend": 20, "team_info.members_with_roles.user_id=u-view.role": "user"},
	} {
		answer := m.get(call)
		for path, value := range want {
			if got := at(answer, path); fmt.Sprint(got) != fmt.Sprint(plainJSON(value)) {
				t.Errorf("%s: %s is %v, want %v", call, path, got, value)
			}
		}
	}
	if n := pgtest.Number(t, l.url, "SELECT count(*) FROM sluice.historic_daily_spend WHERE row_id = 'LiteLLM_DailyUserSpend-1' AND spend = 300000000"); n != 1 {
		t.Error("the historic spend of a day was not replaced")
	}
	if n := pgtest.Number(t, l.url, "SELECT count(*) FROM sluice.models WHERE model_id = 'm-derived'"); n != 0 {
		t.Error("a model that was deleted here has come back")
	}
	m.a.soon("a key that is blocked there", "sk-old-nulls", "mock", http.StatusUnauthorized, 5e9)
	m.a.soon("a key that is new there", "sk-old-new", "mock", http.StatusOK, 5e9)
	m.chat(seededKey{secret: "sk-old-aliased", model: "mock", status: 401})
	verifies(t, l.url)
}

// TestImportIntoSQLite: one machine needs no PostgreSQL of its own.
func TestImportIntoSQLite(t *testing.T) {
	p := fakeprovider.Start(t)
	l := seeded(t, schemaPinned, p.URL(""))
	before := l.print()
	a := New(t, Options{Config: oldConfig, Env: map[string]string{"LITELLM_MASTER_KEY": oldMaster, "LITELLM_SALT_KEY": oldSalt}})
	a.Key = oldMaster
	r := runImport(t, l.url, map[string]string{"SLUICE_STATE_DIR": a.Dir}).must()
	t.Logf("into SQLite in %.1f s", r.took.Seconds())
	a.Start()
	a.WaitReady(30 * 1e9)
	m := &movedIn{t: t, a: a, l: l, p: p}
	m.keysWork()
	for call, want := range shown() {
		answer := m.get(call)
		for path, value := range want {
			if path, begins := strings.CutSuffix(path, "~"); !begins && fmt.Sprint(at(answer, path)) != fmt.Sprint(plainJSON(value)) {
				t.Errorf("%s: %s is %v, want %v", call, path, at(answer, path), value)
			}
		}
	}
	l.unchanged("after the import", before)
}

// TestImportSpendLogs: rows of single calls come over from a date on, once.
func TestImportSpendLogs(t *testing.T) {
	l := seededCopy(t)
	target := pgtest.Database(t)
	set := map[string]string{"DATABASE_URL": target}
	for range 2 {
		runImport(t, l.url, set, "--spend-logs-since", "2025-03-01").must()
		if n := pgtest.Number(t, target, "SELECT count(*) FROM sluice.spend"); n != 2 {
			t.Errorf("%d rows of calls, want 2", n)
		}
	}
}
