package store_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// openAt opens a store on a PostgreSQL database that has its schema.
func openAt(t *testing.T, url string, c store.Config) *store.Store {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c.Postgres = source
	s, err := store.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func migrated(t *testing.T, url string) string {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	return url
}

// TestBouncer works through PgBouncer in transaction mode, whether the URL says
// so or not.
func TestBouncer(t *testing.T) {
	server := pgtest.New(t)
	direct := migrated(t, server.Database(t))
	url := server.Bouncer(t, direct)
	for _, told := range []string{"", "&pgbouncer=true"} {
		t.Run(told, func(t *testing.T) {
			listening := openAt(t, url+told, store.Config{})
			if err := listening.Listen(t.Context(), func() {}); !errors.Is(err, store.ErrNone) {
				t.Fatalf("listen: %v", err)
			}
			s := openAt(t, url+told, store.Config{})
			var wg sync.WaitGroup
			for w := range 12 {
				wg.Go(func() {
					for i := range 10 {
						id := strings.ReplaceAll(t.Name(), "/", "-") + strconv.Itoa(w*100+i)
						insert(t, s, &identity.Key{Token: id, UserID: "u"})
						r, err := s.Resolve(t.Context(), []string{id, "unknown"})
						if err != nil || len(r.Keys) != 1 || r.Keys[0].Token != id {
							t.Errorf("%s: %+v %v", id, r, err)
						}
						if _, err := store.Get[identity.Key](t.Context(), s, id); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if err := s.TouchKeys(t.Context(), map[string]time.Time{"x": time.Now()}); err != nil {
				t.Error(err)
			}
			if err := s.Listen(t.Context(), func() {}); !errors.Is(err, store.ErrNone) {
				t.Errorf("listen: %v", err)
			}
		})
	}
	s := openAt(t, direct, store.Config{})
	if n, err := s.Head(t.Context()); err != nil || n != 240 {
		t.Errorf("%d changes, %v", n, err)
	}
}
