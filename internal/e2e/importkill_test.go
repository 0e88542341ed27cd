//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// What an import of a million keys may take.
const importMemory = 200 << 20

// massKeys are n keys of every form that rows of a database have, the i-th made
// of the text sk-mass-i, with users, teams and daily sums in proportion.
func massKeys(n int) []string {
	return []string{
		fmt.Sprintf(`INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, spend, expires, models, aliases, user_id, team_id, metadata, blocked,
			tpm_limit, rpm_limit, max_budget, budget_duration, budget_reset_at, max_parallel_requests, created_at, created_by, updated_at, last_active, permissions)
			SELECT encode(sha256(('sk-mass-' || i)::bytea), 'hex'), 'sk-...' || right('000' || i, 4), CASE WHEN i %% 3 = 0 THEN 'alias 鍵 ' || i END, (i %% 1000) / 7.0::float8,
			CASE WHEN i %% 11 = 0 THEN '2099-01-02'::timestamp + i * interval '1 ms' END, CASE i %% 5 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN ARRAY['mock', 'other'] ELSE ARRAY['mock'] END,
			CASE WHEN i %% 17 = 0 THEN '{"short": "mock"}'::jsonb ELSE '{}' END, CASE WHEN i %% 2 = 0 THEN 'user-' || i %% %[2]d END, CASE WHEN i %% 4 = 0 THEN 'team-' || i %% %[3]d END,
			jsonb_build_object('cost_center', i %% 50, 'service_account_id', 'svc-' || i, 'tags', jsonb_build_array('a', i)), CASE i %% 13 WHEN 0 THEN true WHEN 1 THEN NULL ELSE false END,
			CASE WHEN i %% 3 = 1 THEN i %% 100000 END, CASE WHEN i %% 3 = 2 THEN i %% 1000 END, CASE WHEN i %% 2 = 1 THEN (i %% 500) / 3.0::float8 END, CASE WHEN i %% 2 = 1 THEN '30d' END,
			CASE WHEN i %% 2 = 1 THEN '2099-02-03 04:05:06.789'::timestamp END, CASE WHEN i %% 10 = 0 THEN 5 END, '2024-05-06'::timestamp + i * interval '1 s', 'user-1',
			'2025-05-06'::timestamp + i * interval '1 s', CASE WHEN i %% 6 = 0 THEN '2025-06-06'::timestamp + i * interval '1 s' END, '{}'
			FROM generate_series(1, %[1]d) AS i`, n, n/50, n/100),
		fmt.Sprintf(`INSERT INTO "LiteLLM_UserTable" (user_id, user_email, user_role, spend, models, metadata) SELECT 'user-' || i, 'u' || i || '@example.org', 'internal_user', i / 3.0::float8, '{}', '{}'
			FROM generate_series(0, %d) AS i`, n/50),
		fmt.Sprintf(`INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, members_with_roles, members, spend, models) SELECT 'team-' || i, 'Team ' || i,
			jsonb_build_array(jsonb_build_object('role', 'admin', 'user_id', 'user-' || i), jsonb_build_object('role', 'user', 'user_id', 'user-' || i + 1)), '{}', i / 9.0::float8, ARRAY['mock']
			FROM generate_series(0, %d) AS i`, n/100),
		`INSERT INTO "LiteLLM_TeamMembership" (user_id, team_id, spend, total_spend) SELECT 'user-' || substr(team_id, 6), team_id, 0.5, 1.5 FROM "LiteLLM_TeamTable"`,
		fmt.Sprintf(`INSERT INTO "LiteLLM_DailyUserSpend" (id, user_id, date, api_key, model, model_group, custom_llm_provider, prompt_tokens, completion_tokens, spend, api_requests, successful_requests, updated_at)
			SELECT gen_random_uuid(), 'user-' || i %% 1000, to_char('2025-01-01'::date + i %% 300, 'YYYY-MM-DD'), encode(sha256(('sk-mass-' || i)::bytea), 'hex'), 'gpt-4o', 'mock', 'openai', i, i, i / 1e6, 1, 1, now()
			FROM generate_series(1, %d) AS i`, n/20),
		"ANALYZE",
	}
}

// massive makes a LiteLLM database with n keys.
func massive(t *testing.T, n int) *litellm {
	t.Helper()
	began := time.Now()
	l := &litellm{t: t, salt: oldSalt, url: published(t, schemaPinned)}
	if failed, err := pgtest.RunAll(t.Context(), l.url, massKeys(n)); err != nil {
		t.Fatalf("statement %d: %v", failed, err)
	}
	t.Logf("made a source of %d keys in %.1f s", n, time.Since(began).Seconds())
	return l
}

// verifies runs `migrator audit verify` on a database.
func verifies(t *testing.T, databaseURL string) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(Binaries(t, Plain), "migrator"), "audit", "verify")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DATABASE_URL=" + databaseURL, "LITELLM_SALT_KEY=" + oldSalt, "LITELLM_MASTER_KEY=" + oldMaster, "SLUICE_STATE_DIR=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the record of changes does not verify: %v\n%s", err, tailOf(string(out)))
	}
}

// taken is how many objects of a kind came over.
func taken(t *testing.T, databaseURL, kind string) int {
	t.Helper()
	return pgtest.Number(t, databaseURL, "SELECT count(*) FROM sluice.imported WHERE object_type = $1", kind)
}

// TestImportKilled: many keys come over in one command, in bounded memory. An
// import that is killed again and again ends with the same rows, and LiteLLM's
// tables are never touched.
func TestImportKilled(t *testing.T) {
	n, kills := length(50_000, 1_000_000), length(3, 10)
	l := massive(t, n)
	before := l.print()
	whole := pgtest.Database(t)
	r := startImport(t, Plain, l.url, map[string]string{"DATABASE_URL": whole})
	r.wait(20 * time.Minute)
	r.must()
	want := imprint(t, whole)
	rows := n + n/50 + n/100*4 + n/20
	t.Logf("show 2: %d keys in %.1f s, %.0f rows a second, at most %.0f MB resident", n, r.took.Seconds(), float64(rows)/r.took.Seconds(), mega(r.peak))
	if r.peak > importMemory || r.peak == 0 {
		t.Errorf("%.1f MB resident, want %d at most", mega(r.peak), importMemory>>20)
	}
	if got := taken(t, whole, "key"); got != n || pgtest.Number(t, whole, "SELECT count(*) FROM sluice.keys") != n {
		t.Errorf("%d of %d keys came over", got, n)
	}
	l.unchanged("after one import", before)
	verifies(t, whole)

	target := pgtest.Database(t)
	if n := killed(t, Plain, l, map[string]string{"DATABASE_URL": target}, kills, changesOf(t, whole)); n < kills {
		t.Errorf("killed %d times, want %d", n, kills)
	}
	l.unchanged("after the kills", before)
	same(t, "after the kills", imprint(t, target), want)
	verifies(t, target)
}

// killed runs an import, kills it a number of times, spread over all that there
// is to do at random moments, and lets it end. changes is how many an import
// makes that is left alone. It returns how often it was killed: fewer times where
// it ended before.
func killed(t *testing.T, v Variant, l *litellm, set map[string]string, kills, changes int) int {
	t.Helper()
	target, began := set["DATABASE_URL"], time.Now()
	var at []int
	for i := 0; ; i++ {
		r := startImport(t, v, l.url, set)
		// Not once more after it has ended: the next import begins anew and would
		// bring what this one has lost.
		if i == kills || !r.killAt(target, (changes*i+rand.IntN(changes))/(kills+1)) {
			r.wait(20 * time.Minute)
			r.must()
			break
		}
		at = append(at, changesOf(t, target))
	}
	t.Logf("show 2: killed %d times, after changes %v of %d; whole after %.1f s", len(at), at, changes, time.Since(began).Seconds())
	return len(at)
}

// TestImportKilledKnownBad: an import that notes the place from which to go on
// before it writes the rows loses some when it is killed, and that is seen.
func TestImportKilledKnownBad(t *testing.T) {
	const n = 10_000
	l := massive(t, n)
	whole := pgtest.Database(t)
	runImport(t, l.url, map[string]string{"DATABASE_URL": whole}).must()
	want := imprint(t, whole)
	for range 5 {
		target := pgtest.Database(t)
		killed(t, Bad, l, map[string]string{"DATABASE_URL": target, "SLUICE_TEST_BAD": "cursor-first"}, 4, changesOf(t, whole))
		if got := imprint(t, target); !maps.Equal(got, want) {
			t.Logf("seen: %d of %d keys, %d of %d daily sums", pgtest.Number(t, target, "SELECT count(*) FROM sluice.keys"), n,
				pgtest.Number(t, target, "SELECT count(*) FROM sluice.historic_daily_spend"), n/20)
			return
		}
	}
	t.Error("cursors were written before their rows, imports were killed, and nothing was missed")
}

// TestImportTold: an import that is told to stop ends between batches, says how
// to go on, and goes on.
func TestImportTold(t *testing.T) {
	l := massive(t, 20_000)
	target := pgtest.Database(t)
	set := map[string]string{"DATABASE_URL": target}
	r := startImport(t, Plain, l.url, set)
	deadline := time.Now().Add(time.Minute)
	for running := false; !running && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		running = pgtest.Number(t, target, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'sluice' AND table_name = 'imported'") == 1 && taken(t, target, "key") > 0
	}
	_ = r.cmd.Process.Signal(os.Interrupt)
	if code := r.wait(time.Minute); code != fleet.ExitTryAgain {
		t.Errorf("ended with %d: %s", code, r.reason())
	}
	t.Logf("said: %s", r.reason())
	had := taken(t, target, "key")
	runImport(t, l.url, set).must()
	if got := taken(t, target, "key"); got != 20_000 || had == got {
		t.Errorf("%d keys after the end, %d when it was told to stop", got, had)
	}
}
