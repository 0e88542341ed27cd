package importer

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// refusal runs an import that must not begin, and checks that nothing is there.
func refusal(t *testing.T, o Options, class Class, say ...string) {
	t.Helper()
	before := content(t, o.Store)
	_, err := Run(t.Context(), o)
	if err == nil || ClassOf(err) != class || class == Config && strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), canary) {
		t.Fatalf("class %d, want %d: %v", ClassOf(err), class, err)
	}
	for _, s := range say {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if got := content(t, o.Store); got != before {
		t.Errorf("written:\n%s", got)
	}
	if head, err := o.Store.ChainHead(t.Context()); err != nil || head.Number > 1 {
		t.Errorf("%+v, %v", head, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, sql string
		say       []string
	}{
		{"not LiteLLM's", `DROP TABLE "LiteLLM_TeamTable"`, []string{"is not LiteLLM's database", "LiteLLM_TeamTable", "schema=NAME"}},
		{"too old", `ALTER TABLE "LiteLLM_VerificationToken" DROP COLUMN models`, []string{"too old", `"models"`, "migrate it first"}},
		{"half-migrated", `CREATE TABLE _prisma_migrations (id TEXT, migration_name TEXT, finished_at TIMESTAMPTZ, rolled_back_at TIMESTAMPTZ);
			INSERT INTO _prisma_migrations VALUES ('1', 'one', now(), NULL), ('2', 'two_bad', NULL, NULL), ('3', 'three', NULL, now())`, []string{"half-migrated", "two_bad", "prisma migrate resolve"}},
		{"other salt", "", []string{"hold values that no key opens", "LiteLLM_ProxyModelTable", "m1", "LITELLM_SALT_KEY"}},
		{"not empty", "", []string{"--merge", "key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := filled(t)
			if tt.sql != "" {
				pgtest.Exec(t, url, tt.sql)
			}
			o := target(t, store.Config{SQLite: dbtest.SQLite(t)})
			o.Source = parse(t, url)
			switch tt.name {
			case "other salt":
				ring, err := seal.New("sk-another-salt-key-0123456789")
				if err != nil {
					t.Fatal(err)
				}
				o.Ring, o.OldSalt = ring, []env.Secret{testSalt[:len(testSalt)-1]}
			case "not empty":
				own(t, o.Store)
			}
			refusal(t, o, Config, tt.say...)
		})
	}
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		o := target(t, store.Config{SQLite: dbtest.SQLite(t)})
		o.Source = parse(t, "postgresql://u:hunter2@127.0.0.1:1/d")
		refusal(t, o, TryAgain, "away")
	})
}

func own(t *testing.T, s *store.Store) {
	t.Helper()
	err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
		return tx.Insert(&identity.Key{Token: strings.Repeat("a", 64), Alias: "own"})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// With --merge what is here stays, and is reported.
func TestMerge(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		own(t, o.Store)
		o.Source, o.Merge = parse(t, filled(t)), true
		k := good(t, o).of(t, "LiteLLM_VerificationToken")
		if k.Kept != 1 || k.New != 1 || len(k.KeptIDs) != 1 {
			t.Errorf("%+v", k)
		}
		if got := get[identity.Key](t, o.Store, strings.Repeat("a", 64)); got.Alias != "own" {
			t.Errorf("%+v", got)
		}
	})
}

// What no key opens is left out where that is wanted.
func TestLeaveUnreadable(t *testing.T) {
	url := filled(t)
	pgtest.Exec(t, url, `INSERT INTO "LiteLLM_ProxyModelTable" VALUES ('m2', 'lost', '{"model": "`+boxed(t, "sk-lost", "openai/x")+`"}', '{}')`)
	o := target(t, store.Config{SQLite: dbtest.SQLite(t)})
	o.Source = parse(t, url)
	refusal(t, o, Config, "m2", "--leave-unreadable")
	o.LeaveUnreadable = true
	report := good(t, o)
	if m := report.of(t, "LiteLLM_ProxyModelTable"); m.New != 1 || len(m.Problems) != 1 || m.Problems[0].IDs[0] != "m2" || report.Sealed.Failed == 0 {
		t.Errorf("%+v %+v", m, report.Sealed)
	}
}

// One import into a database goes on at a time.
func TestLock(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.Source = parse(t, filled(t))
		release, err := lock(t.Context(), o.Target, o.SQLite, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		refusal(t, o, TryAgain, "another import")
		o.Wait = -1
		time.AfterFunc(300*time.Millisecond, release)
		good(t, o)
	})
}

// TestAutomatic: at a start it imports once, where LiteLLM's keys are and
// nothing else is.
func TestAutomatic(t *testing.T) {
	t.Parallel()
	url := dbtest.PostgresURL(t)
	o := target(t, store.Config{Postgres: parse(t, url)})
	o.Source, o.Automatic = o.Target, true
	run := func(want bool) {
		t.Helper()
		due, err := Due(t.Context(), o)
		if err != nil || due != want {
			t.Fatalf("due %v, %v", due, err)
		}
		report, err := Run(t.Context(), o)
		if err != nil || (report != nil) != want {
			t.Fatalf("%v, %v", report, err)
		}
	}
	run(false) // no table of LiteLLM's
	pgtest.Exec(t, url, tables)
	run(false) // no key
	pgtest.Exec(t, url, `INSERT INTO "LiteLLM_VerificationToken" (token) VALUES (repeat('b', 64))`)
	own(t, o.Store)
	run(false) // objects of its own
	err := o.Store.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
		return tx.Delete(&identity.Key{Token: strings.Repeat("a", 64)})
	})
	if err != nil {
		t.Fatal(err)
	}
	run(true)
	run(false) // done
}
