//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// nothing is a port of this machine on which nobody answers.
func nothing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "postgres://u@" + l.Addr().String() + "/db?sslmode=disable"
}

// refusal is an import that must not happen.
type refusal struct {
	name string
	make string            // statements on the source
	set  map[string]string // environment
	from string            // instead of the source
	args []string
	code int
	says []string // in the one line
}

func refusals(t *testing.T) []refusal {
	return []refusal{
		{
			name: "half-migrated", make: `INSERT INTO "_prisma_migrations" (id, checksum, migration_name) VALUES ('x', 'x', '20990101000000_half')`,
			code: fleet.ExitConfig, says: []string{"half-migrated", "20990101000000_half", "prisma migrate resolve"},
		},
		{name: "without keys", make: `DROP TABLE "LiteLLM_VerificationToken" CASCADE`, code: fleet.ExitConfig, says: []string{"is not LiteLLM's", "LiteLLM_VerificationToken"}},
		{name: "without teams", make: `DROP TABLE "LiteLLM_TeamTable" CASCADE`, code: fleet.ExitConfig, says: []string{"is not LiteLLM's", "LiteLLM_TeamTable"}},
		{name: "empty", from: pgtest.Database(t), code: fleet.ExitConfig, says: []string{"is not LiteLLM's"}},
		{name: "too old", make: `ALTER TABLE "LiteLLM_VerificationToken" DROP COLUMN spend CASCADE`, code: fleet.ExitConfig, says: []string{"too old", "LiteLLM_VerificationToken", "spend"}},
		{name: "users too old", make: `ALTER TABLE "LiteLLM_UserTable" RENAME COLUMN user_id TO id`, code: fleet.ExitConfig, says: []string{"too old", "LiteLLM_UserTable", "user_id"}},
		{name: "another salt key", set: map[string]string{"LITELLM_SALT_KEY": "sk-salt-of-somebody-else-0123456789"}, code: fleet.ExitConfig, says: []string{" of ", "LITELLM_SALT_KEY"}},
		{name: "a shortened salt key", set: map[string]string{"LITELLM_SALT_KEY": oldSalt[:len(oldSalt)-1]}, code: fleet.ExitConfig, says: []string{" of ", "LITELLM_SALT_KEY"}},
		{name: "no salt key", set: map[string]string{"LITELLM_SALT_KEY": ""}, code: fleet.ExitConfig, says: []string{" of ", "LITELLM_SALT_KEY"}},
		{name: "source away", from: nothing(t), code: fleet.ExitTryAgain, says: []string{"source"}},
		{name: "target away", set: map[string]string{"DATABASE_URL": nothing(t)}, code: fleet.ExitTryAgain},
		{name: "no source", from: "-", code: fleet.ExitConfig, says: []string{"is not LiteLLM's", "--from"}},
		{name: "not a URL", from: "mysql://u:canary@h/db", code: fleet.ExitConfig, says: []string{"postgresql://"}},
		{name: "a date that is none", args: []string{"--spend-logs-since", "yesterday"}, code: fleet.ExitUsage, says: []string{"spend-logs-since"}},
		{
			name: "a role without rights", make: `DROP ROLE IF EXISTS sluice_test_nobody; CREATE ROLE sluice_test_nobody LOGIN`,
			from: "sluice_test_nobody", code: fleet.ExitConfig, says: []string{"GRANT SELECT"},
		},
	}
}

// TestImportRefused: what cannot be imported is named in one line, with the code
// that says whether trying again helps, and nothing is imported.
func TestImportRefused(t *testing.T) {
	for _, c := range refusals(t) {
		t.Run(c.name, func(t *testing.T) {
			l := seededCopy(t)
			target := pgtest.Database(t)
			if c.make != "" {
				pgtest.Exec(t, l.url, c.make)
			}
			from := l.url
			switch {
			case c.from == "-":
				from = ""
			case c.from == "sluice_test_nobody":
				from = strings.Replace(l.url, "postgres@", c.from+"@", 1)
				t.Cleanup(func() { pgtest.Exec(t, l.url, "DROP ROLE sluice_test_nobody") })
			case c.from != "":
				from = c.from
			}
			before := l.print()
			set := map[string]string{"DATABASE_URL": target}
			for name, value := range c.set {
				set[name] = value
			}
			r := runImport(t, from, set, c.args...)
			line := r.reason()
			t.Logf("%d: %s", r.code(), line)
			if r.code() != c.code {
				t.Errorf("ended with %d, want %d", r.code(), c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(line, want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, never := range []string{"canary", oldSalt[:len(oldSalt)-1], oldMaster, "goroutine", "panic"} {
				if strings.Contains(r.errs.String()+r.out.String(), never) {
					t.Errorf("says %q:\n%s", never, r.errs.String())
				}
			}
			l.unchanged("after the refusal", before)
			nothingCame(t, target)
		})
	}
}

// nothingCame: a database holds nothing that was imported.
func nothingCame(t *testing.T, databaseURL string) {
	t.Helper()
	for _, table := range pgtest.Rows(t, databaseURL, `SELECT table_name FROM information_schema.tables WHERE table_schema = 'sluice'
		AND table_name IN ('keys', 'users', 'teams', 'models', 'credentials', 'imported', 'imported_documents', 'changes', 'imports')`) {
		if n := pgtest.Number(t, databaseURL, "SELECT count(*) FROM sluice."+table[0]); n > 0 {
			t.Errorf("%d rows in %s", n, table[0])
		}
	}
}

// TestImportOccupied: a database that has objects of its own is not filled up
// without being told so, and then its own objects stay.
func TestImportOccupied(t *testing.T) {
	l := seededCopy(t)
	target := pgtest.Database(t)
	set := map[string]string{"DATABASE_URL": target}
	before := l.print()
	migrated(t, set)
	own := `INSERT INTO sluice.keys (token, key_alias, models, created_at, updated_at) VALUES ('%s', 'ours', '["other"]', now(), now())`
	pgtest.Exec(t, target, fmt.Sprintf(own, hashed("sk-old-plain"))+";"+fmt.Sprintf(own, hashed("sk-of-our-own")))
	held := imprint(t, target)
	r := runImport(t, l.url, set)
	if r.code() != fleet.ExitConfig || !strings.Contains(r.reason(), "--merge") {
		t.Errorf("ended with %d: %s", r.code(), r.reason())
	}
	t.Logf("%d: %s", r.code(), r.reason())
	same(t, "after the refusal", imprint(t, target), held)
	r = runImport(t, l.url, set, "--merge").must()
	if !strings.Contains(r.out.String(), hashed("sk-old-plain")) {
		t.Errorf("the report does not name the key that was kept:\n%s", r.out.String())
	}
	if n := pgtest.Number(t, target, "SELECT count(*) FROM sluice.keys WHERE key_alias = 'ours' AND models = '[\"other\"]'"); n != 2 {
		t.Errorf("%d of our own two keys are as they were", n)
	}
	if n := pgtest.Number(t, target, "SELECT count(*) FROM sluice.keys"); n != len(seededKeys())-1+2+1 {
		t.Errorf("%d keys", n)
	}
	l.unchanged("after the merge", before)
}

// migrated brings a target to this release's schema.
func migrated(t *testing.T, set map[string]string) {
	t.Helper()
	a := New(t, Options{Env: set})
	if code, said := a.command("migrator", "up"); code != 0 {
		t.Fatalf("migrator up: %d %s", code, said)
	}
}

// TestImportRehearsed: a dry run tells what would come, and writes nothing.
func TestImportRehearsed(t *testing.T) {
	l := seededCopy(t)
	target := pgtest.Database(t)
	before := l.print()
	r := runImport(t, l.url, map[string]string{"DATABASE_URL": target}, "--dry-run").must()
	for _, want := range []string{"LiteLLM_VerificationToken", "dry run"} {
		if !strings.Contains(strings.ToLower(r.out.String()+r.errs.String()), strings.ToLower(want)) {
			t.Errorf("does not say %q:\n%s", want, r.out.String())
		}
	}
	l.unchanged("after the dry run", before)
	nothingCame(t, target)
}

// needed are the columns that an old release must have.
var neededColumns = []string{"LiteLLM_VerificationToken.token", "LiteLLM_VerificationToken.models", "LiteLLM_VerificationToken.spend", "LiteLLM_UserTable.user_id", "LiteLLM_TeamTable.team_id"}

// TestImportOlder: whatever later releases have added may be absent, columns and
// whole tables. It is named, and the keys come over.
func TestImportOlder(t *testing.T) {
	for round := range length(4, 40) {
		l := seededCopy(t)
		chance := []float64{0.15, 0.5, 0.9, 1}[round%4]
		var dropped, gone []string
		for table, columns := range columnsOf(t, l.url) {
			must := slices.ContainsFunc(neededColumns, func(c string) bool { return strings.HasPrefix(c, table+".") })
			if table == "LiteLLM_VerificationTokenView" {
				continue
			}
			if !must && rand.Float64() < chance/2 {
				gone = append(gone, table)
				continue
			}
			for column := range columns {
				if !slices.Contains(neededColumns, table+"."+column) && !isKey(table, column) && rand.Float64() < chance {
					dropped = append(dropped, fmt.Sprintf("ALTER TABLE %q DROP COLUMN IF EXISTS %q CASCADE", table, column))
				}
			}
		}
		for _, table := range gone {
			dropped = append(dropped, fmt.Sprintf("DROP TABLE %q CASCADE", table))
		}
		pgtest.Exec(t, l.url, strings.Join(dropped, ";\n"))
		before := l.print()
		target := pgtest.Database(t)
		r := runImport(t, l.url, map[string]string{"DATABASE_URL": target})
		if r.code() != 0 {
			t.Errorf("ended with %d after these:\n%s\n%s", r.code(), strings.Join(dropped, ";\n"), tailOf(r.errs.String()))
			continue
		}
		for _, table := range gone {
			if !strings.Contains(r.out.String()+r.errs.String(), table) {
				t.Errorf("the report does not name the absent table %s", table)
			}
		}
		// One key is of a session of the UI where team_id says so.
		want := len(seededKeys()) + 2
		if slices.Contains(keysOf(columnsOf(t, l.url)["LiteLLM_VerificationToken"]), "team_id") {
			want--
		}
		if got := taken(t, target, "key"); got != want {
			t.Errorf("%d keys of %d", got, want)
		}
		l.unchanged("after the import", before)
		t.Logf("%d columns and %d tables less: %d keys in %.1f s", len(dropped)-len(gone), len(gone), want, r.took.Seconds())
	}
}

func keysOf(columns map[string]string) (names []string) {
	for name := range columns {
		names = append(names, name)
	}
	return names
}

// isKey reports whether a column is of a table's primary key, which no release
// has been without.
func isKey(table, column string) bool {
	return slices.Contains([]string{
		"id", "user_id", "team_id", "organization_id", "budget_id", "project_id", "tag_name", "access_group_id", "access_group_name", "object_permission_id", "model_id",
		"credential_id", "param_name", "entity_type", "entity_id", "window_duration", "request_id",
	}, column) && !slices.Contains([]string{"LiteLLM_VerificationToken", "LiteLLM_UserTable", "LiteLLM_TeamTable"}, table) || column == "id"
}
