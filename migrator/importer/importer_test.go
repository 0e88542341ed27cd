package importer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"

	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/chain"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

const (
	testSalt = env.Secret("sk-salt-of-a-test-0123456789abcdef")
	canary   = "sk-provider-canary-7c1f"
)

// tables are those of LiteLLM that these tests read, with some of their columns.
const tables = `
CREATE TABLE "LiteLLM_VerificationToken" (token TEXT PRIMARY KEY, key_name TEXT, key_alias TEXT, spend DOUBLE PRECISION NOT NULL DEFAULT 0,
	expires TIMESTAMP(3), models TEXT[], user_id TEXT, team_id TEXT, max_budget DOUBLE PRECISION, blocked BOOLEAN, metadata JSONB NOT NULL DEFAULT '{}');
CREATE TABLE "LiteLLM_UserTable" (user_id TEXT PRIMARY KEY, user_email TEXT, user_role TEXT, spend DOUBLE PRECISION NOT NULL DEFAULT 0, models TEXT[]);
CREATE TABLE "LiteLLM_TeamTable" (team_id TEXT PRIMARY KEY, team_alias TEXT, members_with_roles JSONB NOT NULL DEFAULT '{}', spend DOUBLE PRECISION NOT NULL DEFAULT 0,
	models TEXT[], metadata JSONB NOT NULL DEFAULT '{}');
CREATE TABLE "LiteLLM_ProxyModelTable" (model_id TEXT PRIMARY KEY, model_name TEXT NOT NULL, litellm_params JSONB NOT NULL, model_info JSONB);
CREATE TABLE "LiteLLM_GuardrailsTable" (guardrail_id TEXT PRIMARY KEY, guardrail_name TEXT);
`

// filled makes a source with some rows of each table.
func filled(t *testing.T) string { return fill(t, pgtest.Database(t)) }

func fill(t *testing.T, url string) string {
	t.Helper()
	pgtest.Exec(t, url, tables)
	pgtest.Exec(t, url, `
		INSERT INTO "LiteLLM_UserTable" (user_id, user_email, user_role, spend) VALUES ('u1', 'a@example.com', 'internal_user', 1.5), ('u2', NULL, NULL, 0);
		INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, members_with_roles, models) VALUES
			('team1', 'one', '[{"user_id": "u1", "role": "admin"}, {"user_id": "u2", "role": "user"}]', '{m1}');
		INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, spend, user_id, team_id, max_budget, models)
			VALUES (repeat('a', 64), 'sk-...aaaa', 'first', 0.1, 'u1', 'team1', 10, '{m1,m2}'), (repeat('b', 64), 'sk-...bbbb', NULL, 0, NULL, NULL, NULL, NULL);
		INSERT INTO "LiteLLM_VerificationToken" (token, team_id) VALUES (repeat('d', 64), 'litellm-dashboard');
		INSERT INTO "LiteLLM_GuardrailsTable" VALUES ('g1', 'guard');`)
	pgtest.Exec(t, url, fmt.Sprintf(`INSERT INTO "LiteLLM_ProxyModelTable" VALUES ('m1', 'gpt', '{"model": "%s", "api_key": "%s", "rpm": 5}', '{"id": "m1"}')`,
		boxed(t, testSalt, "openai/gpt-4o"), boxed(t, testSalt, canary)))
	return url
}

// boxed encrypts as LiteLLM does: NaCl's secretbox under the digest of the salt
// key, the nonce before it, in the URL's base64.
func boxed(t *testing.T, salt env.Secret, plain string) string {
	t.Helper()
	key := sha256.Sum256([]byte(salt))
	var nonce [24]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(secretbox.Seal(nonce[:], []byte(plain), &nonce, &key))
}

func parse(t *testing.T, url string) *postgres.Source {
	t.Helper()
	s, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// target opens a store as the migrator does.
func target(t *testing.T, c store.Config) Options {
	t.Helper()
	ring, err := seal.New(testSalt)
	if err != nil {
		t.Fatal(err)
	}
	c.Chain = func() (string, [32]byte, error) { return ring.ID(), ring.Key(chain.Purpose), nil }
	s, err := store.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return Options{Store: s, Target: c.Postgres, SQLite: c.SQLite, Ring: ring, OldSalt: []env.Secret{testSalt}}
}

// both runs a test with an empty, migrated target of either kind. On PostgreSQL
// it is another database than the source.
func both(t *testing.T, test func(t *testing.T, o Options)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, target(t, store.Config{Postgres: dbtest.Postgres(t)}))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, target(t, store.Config{SQLite: dbtest.SQLite(t)}))
	})
}

func good(t *testing.T, o Options) *Report {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (r *Report) of(t *testing.T, table string) *TableReport {
	t.Helper()
	for _, c := range r.Tables {
		if c.Table == table {
			return c
		}
	}
	t.Fatalf("no table %s in the report", table)
	return nil
}

func get[T any, P interface {
	*T
	identity.Object
}](t *testing.T, s *store.Store, key ...any) *T {
	t.Helper()
	o, err := store.Get[T, P](t.Context(), s, key...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestImport(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		url := filled(t)
		o.Source = parse(t, url)
		report := good(t, o)
		k := get[identity.Key](t, o.Store, strings.Repeat("a", 64))
		if k.Alias != "first" || k.Spend != money.Dollar/10 || k.MaxBudget == nil || *k.MaxBudget != 10*money.Dollar || k.UserID != "u1" || len(k.Models) != 2 {
			t.Errorf("key: %+v", k)
		}
		if _, err := store.Get[identity.Key](t.Context(), o.Store, strings.Repeat("d", 64)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a key of the dashboard: %v", err)
		}
		if m := get[identity.Member](t, o.Store, "team1", "u1"); m.Role != identity.TeamAdmin {
			t.Errorf("member: %+v", m)
		}
		m := get[identity.Model](t, o.Store, "m1")
		var text string
		opened, err := o.Ring.OpenJSON(m.Kind().Table(), m.ID, "api_key", m.Params["api_key"])
		if err == nil {
			err = json.Unmarshal(opened, &text)
		}
		if err != nil || text != canary || m.SealedWith != o.Ring.ID() || strings.Contains(string(m.Params["api_key"]), canary) {
			t.Errorf("model %s: %v", m.Params["api_key"], err)
		}
		keys := report.of(t, "LiteLLM_VerificationToken")
		if keys.Rows != 3 || keys.New != 2 || keys.Skipped != 1 || len(keys.Problems) == 0 {
			t.Errorf("report of keys: %+v", keys)
		}
		if g := report.of(t, "LiteLLM_GuardrailsTable"); g.Other != 1 {
			t.Errorf("report of guardrails: %+v", g)
		}
		if report.Sealed.Opened < 2 || report.Sealed.Failed != 0 || len(report.AbsentTables) == 0 || !slices.Contains(report.AbsentColumns, "LiteLLM_VerificationToken.access_group_ids") {
			t.Errorf("%+v, absent %v", report.Sealed, report.AbsentTables)
		}
		var out strings.Builder
		if err := report.WriteText(&out); err != nil || strings.Contains(out.String(), canary) || !strings.Contains(out.String(), "LiteLLM_VerificationToken") {
			t.Errorf("%v:\n%s", err, out.String())
		}
		recorded(t, o.Store)
		saved, err := o.Store.Import(t.Context(), System)
		if err != nil || saved.State != store.ImportDone || saved.Run != 1 || saved.FinishedAt == nil || strings.Contains(saved.Source, "password") {
			t.Errorf("%+v, %v", saved, err)
		}
	})
}

// recorded checks the record: rows of batches have counts and digests, and
// nothing holds a secret.
func recorded(t *testing.T, s *store.Store) {
	t.Helper()
	imports := 0
	err := s.Record(t.Context(), 0, func(r chain.Row) error {
		if strings.Contains(string(r.After), canary) {
			t.Errorf("change %d shows a secret", r.Number)
		}
		if r.ObjectType == identity.KindImport.String() && strings.Count(r.ObjectID, "/") == 2 {
			imports++
			var after struct {
				Count       int
				First, Last string
				SHA256      string
			}
			if err := json.Unmarshal(r.After, &after); err != nil || after.Count == 0 || after.First == "" || after.Last == "" || len(after.SHA256) != 64 {
				t.Errorf("change %d: %s, %v", r.Number, r.After, err)
			}
		}
		if len(r.MAC) == 0 {
			t.Errorf("change %d is not chained", r.Number)
		}
		return nil
	})
	if err != nil || imports < 5 {
		t.Errorf("%d batches, %v", imports, err)
	}
}

// TestAgain: what was changed here stays, what was deleted here too, what
// changed there comes over, and spend of here is kept on top.
func TestAgain(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		url := filled(t)
		o.Source = parse(t, url)
		good(t, o)
		err := o.Store.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			u, err := store.Get[identity.User](t.Context(), tx, "u2")
			if err != nil {
				return err
			}
			u.Email = "changed@example.com"
			if err := tx.Update(u); err != nil {
				return err
			}
			k, err := store.Get[identity.Key](t.Context(), tx, strings.Repeat("b", 64))
			if err != nil {
				return err
			}
			return tx.Delete(k)
		})
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, `UPDATE "LiteLLM_VerificationToken" SET key_alias = 'renamed', spend = 0.3 WHERE key_alias = 'first';
			UPDATE "LiteLLM_UserTable" SET user_email = 'there@example.com' WHERE user_id = 'u2';
			INSERT INTO "LiteLLM_VerificationToken" (token) VALUES (repeat('c', 64))`)
		report := good(t, o)
		keys, users := report.of(t, "LiteLLM_VerificationToken"), report.of(t, "LiteLLM_UserTable")
		if report.Run != 2 || keys.New != 1 || keys.Replaced != 1 || keys.Deleted != 1 || len(keys.DeletedIDs) != 1 || users.Kept != 1 || users.Same != 1 {
			t.Errorf("run %d, keys %+v, users %+v", report.Run, keys, users)
		}
		k := get[identity.Key](t, o.Store, strings.Repeat("a", 64))
		if k.Alias != "renamed" || k.Spend != 3*money.Dollar/10 {
			t.Errorf("%+v", k)
		}
		if u := get[identity.User](t, o.Store, "u2"); u.Email != "changed@example.com" {
			t.Errorf("%+v", u)
		}
	})
}

// content is everything that an import writes, but for numbers and times of
// changes and what is sealed, which differ from run to run.
func content(t *testing.T, s *store.Store) string {
	t.Helper()
	var b strings.Builder
	dump[identity.Key](t, s, &b)
	dump[identity.User](t, s, &b)
	dump[identity.Team](t, s, &b)
	dump[identity.Member](t, s, &b)
	dump[identity.Model](t, s, &b)
	return b.String()
}

func dump[T any, P interface {
	*T
	identity.Object
}](t *testing.T, s *store.Store, to io.Writer) {
	t.Helper()
	found, err := store.Find[T, P](t.Context(), s, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range found {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ChangeNumber", "CreatedAt", "UpdatedAt", "Params"} {
			delete(fields, name)
		}
		fmt.Fprintln(to, fields)
	}
}

// TestStopped stops in every batch before its commit and again after it, until a
// run comes to its end: what is there then is what an uninterrupted import
// brings.
func TestStopped(t *testing.T) {
	url := filled(t)
	pgtest.Exec(t, url, `INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, spend, user_id, models)
		SELECT encode(sha256(n::text::bytea), 'hex'), 'k' || n, n * 0.01, 'u1', '{m1}' FROM generate_series(1, 2100) n`)
	both(t, func(t *testing.T, o Options) {
		o.Source = parse(t, url)
		clean := target(t, store.Config{SQLite: dbtest.SQLite(t)})
		clean.Source = o.Source
		good(t, clean)
		want := content(t, clean.Store)
		stop, inside := errors.New("stopped"), false
		o.stop = func(committed bool) error {
			if inside = !inside && !committed; committed || inside {
				return stop // in the change the first time, the second time after it
			}
			return nil
		}
		for goes := 1; ; goes++ {
			report, err := Run(t.Context(), o)
			if err == nil {
				if goes < 5 || report.Goes != goes || report.Run != 1 || report.of(t, "LiteLLM_VerificationToken").Rows != 2103 {
					t.Errorf("%d goes: %+v", goes, report)
				}
				break
			}
			if !errors.Is(err, stop) || goes > 40 {
				t.Fatalf("go %d: %v", goes, err)
			}
		}
		if got := content(t, o.Store); got != want {
			t.Errorf("after stops:\n%.2000s\nwithout:\n%.2000s", got, want)
		}
	})
}

// A run that is told to stop ends between two batches and says how to go on.
func TestToldToStop(t *testing.T) {
	o := target(t, store.Config{SQLite: dbtest.SQLite(t)})
	o.Source = parse(t, filled(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.stop = func(bool) error { cancel(); return nil }
	_, err := Run(ctx, o)
	if ClassOf(err) != TryAgain || !strings.Contains(err.Error(), "goes on from there") {
		t.Errorf("%v", err)
	}
	o.stop = nil
	if report := good(t, o); report.Goes != 2 {
		t.Errorf("%+v", report)
	}
}

// A dry run tells what would be done and writes nothing.
func TestDryRun(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.Source, o.DryRun = parse(t, filled(t)), true
		report := good(t, o)
		if k := report.of(t, "LiteLLM_VerificationToken"); k.New != 2 || !report.DryRun || report.Sealed.Opened == 0 {
			t.Errorf("%+v, %+v", k, report.Sealed)
		}
		if got := content(t, o.Store); got != "" {
			t.Errorf("written:\n%s", got)
		}
		if _, err := o.Store.Import(t.Context(), System); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if head, err := o.Store.ChainHead(t.Context()); err != nil || head.Number != 0 {
			t.Errorf("%+v, %v", head, err)
		}
		o.Store = nil // a target that is not migrated
		if k := good(t, o).of(t, "LiteLLM_VerificationToken"); k.New != 2 {
			t.Errorf("%+v", k)
		}
	})
}
