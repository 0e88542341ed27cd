package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// TestAuditCommands goes through the commands about the record as an operator
// meets them: what they say, and how they end.
func TestAuditCommands(t *testing.T) {
	database, dir := dbtest.PostgresURL(t), t.TempDir()
	vars := map[string]string{"DATABASE_URL": database, "LITELLM_SALT_KEY": "a salt key of these tests, long enough", fleet.EnvStateDir: dir}
	with := func(name, value string) map[string]string {
		out := map[string]string{name: value}
		for n, v := range vars {
			if n != name {
				out[n] = v
			}
		}
		return out
	}
	fillRecord(t, database, vars["LITELLM_SALT_KEY"], 20)
	file, heads := filepath.Join(dir, "moved.jsonl"), fleet.Dir(dir).AuditHead()
	beyond := filepath.Join(dir, "beyond")
	for path, text := range map[string]string{beyond: `{"number":99,"mac":"00"}` + "\n", heads + ".bad": "x\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	empty := filepath.Join(dir, "empty")
	tests := []struct {
		name string
		args string
		vars map[string]string
		code int
		say  string
	}{
		{"whole", "audit verify", vars, fleet.ExitOK, "20 rows of 1 to 20"},
		{"as JSON", "audit verify --json", vars, fleet.ExitOK, `"whole":true,"verified":20`},
		{"a head beyond the end", "audit verify --anchor " + beyond, vars, fleet.ExitFailed, "rows 21 to 99: truncated"},
		{"no head", "audit verify --anchor " + heads + ".bad", vars, fleet.ExitConfig, "line 1: it is no head"},
		{"another key", "audit verify", with("LITELLM_SALT_KEY", "another salt key of these tests"), fleet.ExitConfig, "20 rows cannot be verified"},
		{"no key", "audit verify", with("LITELLM_SALT_KEY", ""), fleet.ExitConfig, "LITELLM_SALT_KEY"},
		{"no schema", "audit verify --state_dir " + empty, with("DATABASE_URL", ""), fleet.ExitConfig, "is empty"},
		{"away", "audit verify", with("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"), fleet.ExitTryAgain, "PostgreSQL"},
		{"nothing to verify", "audit verify --alone", vars, fleet.ExitConfig, "--file"},
		{"no file", "audit verify --file " + file, vars, fleet.ExitConfig, "no such file"},
		{"no time", "audit archive --to " + file, vars, fleet.ExitConfig, "--before DATE or --keep"},
		{"two times", "audit archive --before 2026-01-01 --keep 1d --to " + file, vars, fleet.ExitConfig, "--before DATE or --keep"},
		{"bad time", "audit archive --before yesterday --to " + file, vars, fleet.ExitConfig, "yesterday"},
		{"bad duration", "audit archive --keep long --to " + file, vars, fleet.ExitConfig, "365d"},
		{"no archive", "audit archive --keep 1d", vars, fleet.ExitUsage, "--to"},
		{"nothing so old", "audit archive --keep 365d --to " + file, vars, fleet.ExitOK, "nothing was moved"},
		{"too young", "audit archive --keep 0s --to " + file, vars, fleet.ExitConfig, "--recent"},
		{"all but the newest", "audit archive --recent --keep 0s --to " + file, vars, fleet.ExitOK, "moved 19 rows, 1 to 19"},
		{"again", "audit archive --recent --keep 0s --to " + file, vars, fleet.ExitOK, "moved to " + file + " before"},
		{"the rest", "audit verify", vars, fleet.ExitOK, "19 rows not read: give --file moved.jsonl"},
		{"joined", "audit verify --file " + file, vars, fleet.ExitOK, "21 rows of 1 to 21"},
		{"alone", "audit verify --alone --file " + file, with("DATABASE_URL", ""), fleet.ExitOK, "19 rows of 1 to 19"},
		{"no archive at all", "audit verify --file " + beyond, vars, fleet.ExitConfig, "no archive of the record"},
		{"export", "audit export", vars, fleet.ExitOK, `{"number":20,`},
		{"export without a key", "audit export --format csv", with("LITELLM_SALT_KEY", ""), fleet.ExitOK, "number,at,actor"},
		{"export of a day", "audit export --from 2020-01-01 --to 2020-01-01", vars, fleet.ExitOK, ""},
		{"bad bound", "audit export --from now", vars, fleet.ExitConfig, "--from now"},
		{"bad format", "audit export --format xml", vars, fleet.ExitUsage, "xml"},
	}
	for _, tt := range tests {
		code, out := migrator(tt.args, tt.vars)
		if code != tt.code || !strings.Contains(out, tt.say) {
			t.Errorf("%s: exit %d, want %d, output without %q:\n%s", tt.name, code, tt.code, tt.say, out)
		}
		for _, secret := range []string{"hunter2", "salt key of these"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s: a secret is shown:\n%s", tt.name, out)
			}
		}
	}
	pgtest.Exec(t, database, "BEGIN; SET LOCAL session_replication_role = replica; UPDATE sluice.changes SET actor = 'x' WHERE number = 20; COMMIT")
	for args, say := range map[string]string{
		"audit verify": "row 20: changed", "audit verify --json": `"kind":"changed","first":20`,
		"audit archive --recent --keep 0s --to " + file + "2": "does not verify",
	} {
		if code, out := migrator(args, vars); code != fleet.ExitFailed || !strings.Contains(out, say) {
			t.Errorf("%s after a change: exit %d: %s", args, code, out)
		}
	}
}

// With roles of their own, workers write the record and read it, and moving
// rows away from it is the owner's.
func TestAuditWithTwoRoles(t *testing.T) {
	database := pgtest.Database(t)
	suffix := strings.ToLower(rand.Text())
	owner, worker := "o_"+suffix, "w_"+suffix
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, database, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'x'; CREATE ROLE %s LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE "%s" TO %s`,
		owner, worker, strings.TrimPrefix(u.Path, "/"), owner))
	t.Cleanup(func() {
		pgtest.Exec(t, database, fmt.Sprintf("DROP OWNED BY %s, %s; DROP ROLE %s, %s", owner, worker, owner, worker))
	})
	as := func(role string) string {
		u.User = url.UserPassword(role, "x")
		return u.String()
	}
	vars := map[string]string{
		"DATABASE_URL": as(worker), "DIRECT_URL": as(owner), "LITELLM_SALT_KEY": "a salt key of these tests, long enough",
		fleet.EnvStateDir: t.TempDir(), "SLUICE_IMPORT": "off",
	}
	run := func(args string, code int, say string) {
		t.Helper()
		if got, out := migrator(args, vars); got != code || !strings.Contains(out, say) {
			t.Errorf("%s: exit %d, want %d, output without %q:\n%s", args, got, code, say, out)
		}
	}
	run("up", fleet.ExitOK, "given its rights")
	fillRecord(t, as(worker), vars["LITELLM_SALT_KEY"], 10)
	file := filepath.Join(t.TempDir(), "moved.jsonl")
	direct := vars["DIRECT_URL"]
	vars["DIRECT_URL"] = ""
	run("audit verify", fleet.ExitOK, "10 rows of 1 to 10")
	run("audit archive --recent --keep 0s --to "+file, fleet.ExitConfig, "DIRECT_URL")
	for _, s := range []string{"DELETE FROM sluice.changes", "UPDATE sluice.changes SET actor = 'x'", "TRUNCATE sluice.changes", "ALTER TABLE sluice.changes DISABLE TRIGGER ALL"} {
		if err := pgtest.Run(t.Context(), as(worker), s); err == nil {
			t.Errorf("a worker may %s", s)
		}
	}
	vars["DIRECT_URL"] = direct
	run("audit archive --recent --keep 0s --to "+file, fleet.ExitOK, "moved 9 rows, 1 to 9")
	run("audit verify --file "+file, fleet.ExitOK, "11 rows of 1 to 11")
}

// The heads that a host has kept are compared without being asked for.
func TestAuditVerifyTakesTheHostsHeads(t *testing.T) {
	dir := t.TempDir()
	path := fleet.Dir(dir).SQLite()
	content, err := os.ReadFile(dbtest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{path: string(content), fleet.Dir(dir).AuditHead(): `{"number":2,"mac":"00"}` + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out := migrator("audit verify --state_dir "+dir, map[string]string{"LITELLM_MASTER_KEY": "sk-of-this-test-0123456789abcdef"})
	if code != fleet.ExitFailed || !strings.Contains(out, "rows 1 to 2: truncated") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// migrator runs a command, and returns its exit code and what it wrote.
func migrator(args string, vars map[string]string) (int, string) {
	var out bytes.Buffer
	p := &boot.Process{
		Program: "migrator", Args: strings.Fields(args), Environ: (&env.Environ{}).With(vars), Stdout: &out, Stderr: &out,
	}
	code := boot.Report(p, run(p))
	return code, out.String()
}

// fillRecord makes changes as a gateway with this salt key does.
func fillRecord(t *testing.T, database, salt string, changes int) {
	t.Helper()
	source, err := postgres.ParseURL(database)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.New(env.Secret(salt))
	if err != nil {
		t.Fatal(err)
	}
	s, err := openStore(migrate.Target{Postgres: source}, ring, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range changes {
		err := s.Change(context.Background(), store.Actor{User: "u"}, func(tx *store.Tx) error {
			return tx.Insert(&identity.Key{Token: fmt.Sprint("k", i), Metadata: identity.Fields{"n": json.RawMessage(fmt.Sprint(i))}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
