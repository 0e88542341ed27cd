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
	"sluice/proxy/money"
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
	for i, told := range []string{"", "&pgbouncer=true"} {
		inBulk(t, openAt(t, url+told, store.Config{Chain: withKey}), int64(i))
	}
	mustVerify(t, s, 240+2*3)
}

// inBulk runs the statements that take arrays: a pooler's server is not asked
// for the types of their parameters.
func inBulk(t *testing.T, s *store.Store, run int64) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range 2 {
		change(t, s, func(tx *store.Tx) error {
			k := &identity.Key{Token: "bulk", Alias: strconv.FormatInt(run, 10), LastActive: &at, Spend: money.Nano(run)}
			taken, err := tx.Take(identity.KindKey, []identity.Object{k, &identity.Key{Token: "again"}})
			if err == nil && taken.Inserted+taken.Replaced > 0 {
				err = tx.Note(store.Imported, identity.KindImport, "x", nil, map[string]int{"count": 2})
			}
			_, logs := tx.TakeSpendLogs([]store.SpendLog{{RequestID: [16]byte{1, byte(run)}, StartedAt: at, EndedAt: at, FirstByteAt: &at}})
			return errors.Join(err, logs,
				tx.TakeDocuments("T", []store.Document{{ID: "x", JSON: []byte("{}")}}),
				tx.TakeDaily([]store.DailySpend{{EntityType: "user", RowID: "x", Day: "2026-01-02"}}),
				tx.TakeWindows([]store.BudgetWindow{{EntityType: "user", EntityID: "x", Duration: "1d", Start: at}}),
				tx.SaveImport(store.Import{System: "litellm", State: store.ImportDone, StartedAt: at, FinishedAt: &at}))
		})
	}
	promote(t, s, "k"+strconv.FormatInt(run, 10))
	change(t, s, func(tx *store.Tx) error {
		_, err := tx.Take(identity.KindCredential, []identity.Object{&identity.Credential{ID: "c", Name: "c"}})
		return errors.Join(err, tx.Note(store.Imported, identity.KindImport, "x", nil, nil))
	})
	if err := s.SawHost(t.Context(), store.Host{ID: "h"}); err != nil {
		t.Error(err)
	}
	if hosts, err := s.Hosts(t.Context(), time.Minute); err != nil || len(hosts) != 1 {
		t.Errorf("%+v %v", hosts, err)
	}
}
