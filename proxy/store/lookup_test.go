package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// A lookup of keys that nobody has is one statement at the server: with more, a
// flood of wrong keys costs the server as many times as much.
func TestUnknownKeysAreOneStatement(t *testing.T) {
	server := pgtest.New(t)
	source, err := postgres.ParseURL(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, server.URL("postgres"), "ALTER SYSTEM SET log_statement = 'all'")
	pgtest.Exec(t, server.URL("postgres"), "SELECT pg_reload_conf()")
	s, err := store.Open(store.Config{Postgres: source})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	insert(t, s, &identity.User{ID: "u"}, &identity.Key{Token: "known", UserID: "u"})
	resolve := func(digests ...string) {
		t.Helper()
		if _, err := s.Resolve(t.Context(), digests); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(server.Dir, "log")
	statements := func() (n int) {
		t.Helper()
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, what, ok := strings.Cut(line, "LOG:  "); ok && (strings.HasPrefix(what, "execute ") || strings.HasPrefix(what, "statement: ")) {
				n++
			}
		}
		return n
	}
	eventually := time.Now().Add(10 * time.Second) // a reload of the settings takes a moment
	for before := statements(); statements() == before; resolve("nobody") {
		if time.Now().After(eventually) {
			t.Fatal("the server logs no statement")
		}
	}
	const times = 10
	before := statements()
	for range times {
		resolve("nobody", "nobody else")
	}
	if n := statements() - before; n != times {
		t.Errorf("%d lookups of unknown keys were %d statements", times, n)
	}
	before = statements()
	resolve("known")
	if n := statements() - before; n < 2 {
		t.Errorf("the lookup of a known key was %d statements: this test would not see more than one", n)
	}
}
