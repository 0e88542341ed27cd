package auth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// process is one worker's view of a real database.
type process struct {
	*auth.Keys
	t     testing.TB
	dir   *auth.Directory
	store *store.Store
}

func hostTable(t testing.TB) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	return table
}

func start(t testing.TB, c store.Config, table *fleet.Table, snapshot string) *process {
	t.Helper()
	p := &process{t: t}
	c.Committed = func(done []store.Changed) {
		for _, o := range done {
			p.dir.Publish(o.Number, o.Kind, o.ID)
		}
	}
	var err error
	if p.store, err = store.Open(c); err != nil {
		t.Fatal(err)
	}
	s, err := auth.OpenSnapshot(snapshot, [][32]byte{{7}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.dir, err = auth.NewDirectory(auth.DirectoryConfig{Source: p.store, Table: table, Snapshot: s, Wait: time.Second}); err != nil {
		t.Fatal(err)
	}
	p.Keys = auth.New(auth.Config{Directory: p.dir, Fresh: 200 * time.Millisecond})
	t.Cleanup(func() { p.dir.Close(); s.Close(); p.store.Close() })
	return p
}

func target(t testing.TB, url string) store.Config {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	return store.Config{Postgres: source}
}

// both runs a test on either kind of database.
func both(t *testing.T, test func(t *testing.T, c store.Config)) {
	t.Run("postgres", func(t *testing.T) { test(t, store.Config{Postgres: dbtest.Postgres(t)}) })
	t.Run("sqlite", func(t *testing.T) {
		test(t, store.Config{SQLite: dbtest.SQLite(t)})
	})
}

func token(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func (p *process) change(fn func(tx *store.Tx) error) {
	p.t.Helper()
	if err := p.store.Change(p.t.Context(), store.Actor{User: "test"}, fn); err != nil {
		p.t.Fatal(err)
	}
}

// is checks the status that a key is answered with; 200 for let in.
func (p *process) is(key string, want int) {
	p.t.Helper()
	status := 200
	_, err := p.Identify([]byte(key))
	if err != nil {
		status = err.HTTPStatus()
	}
	if status != want {
		p.t.Errorf("%s: %d %v, want %d", key, status, err, want)
	}
}

func TestWithADatabase(t *testing.T) {
	both(t, func(t *testing.T, c store.Config) {
		table, snapshot := hostTable(t), filepath.Join(t.TempDir(), auth.SnapshotFile)
		one, two := start(t, c, table, snapshot), start(t, c, table, snapshot)
		team := &identity.Team{ID: "t", Alias: "eng", Models: []string{"mock"}}
		k := &identity.Key{Token: token("sk-of-the-database"), TeamID: "t", Type: "default", Alias: "mine"}
		two.is("sk-of-the-database", 401)
		one.change(func(tx *store.Tx) error {
			if err := tx.Insert(team); err != nil {
				return err
			}
			return tx.Insert(k)
		})
		// The next call on any worker of the host sees each change.
		two.is("sk-of-the-database", 200)
		who, _ := two.Identify([]byte("sk-of-the-database"))
		if who.TeamAlias != "eng" || who.Alias != "mine" || two.MayUse(&who, &auth.Model{Name: "other"}) == nil {
			t.Errorf("%+v", who)
		}
		one.change(func(tx *store.Tx) error { team.Blocked = true; return tx.Update(team) })
		two.is("sk-of-the-database", 401)
		one.change(func(tx *store.Tx) error { team.Blocked = false; return tx.Update(team) })
		two.is("sk-of-the-database", 200)
		one.change(func(tx *store.Tx) error { k.Blocked = true; return tx.Update(k) })
		two.is("sk-of-the-database", 401)
		one.change(func(tx *store.Tx) error { return tx.Insert(&identity.EndUser{ID: "c1", Blocked: true}) })
		two.is("sk-unknown-one", 401)
		if err := two.MayServe([]byte("c1")); err == nil || err.HTTPStatus() != 401 {
			t.Errorf("a blocked customer: %v", err)
		}
		one.change(func(tx *store.Tx) error { k.Blocked = false; return tx.Update(k) })
		two.is("sk-of-the-database", 200)
		two.dir.Close()
		got, err := store.Get[identity.Key](t.Context(), one.store, k.Token)
		if err != nil || got.LastActive == nil {
			t.Errorf("last_active %v, %v", got, err)
		}
		one.change(func(tx *store.Tx) error { return tx.Delete(k) })
		one.is("sk-of-the-database", 401)
	})
}

// The database is stopped, killed and stalled under load: known keys are
// served, unknown ones get 503, nobody gets 401, and no request waits past its
// deadline. Afterwards everything is as before within two seconds.
func TestPostgresGoesAway(t *testing.T) {
	server := pgtest.New(t)
	c := target(t, server.Database(t))
	table, snapshot := hostTable(t), filepath.Join(t.TempDir(), auth.SnapshotFile)
	p := start(t, c, table, snapshot)
	p.change(func(tx *store.Tx) error {
		for i := range 20 {
			if err := tx.Insert(&identity.Key{Token: token(fmt.Sprintf("sk-known-%d", i)), Type: "default"}); err != nil {
				return err
			}
		}
		return tx.Insert(&identity.Key{Token: token("sk-known-blocked"), Type: "default", Blocked: true})
	})
	for i := range 10 {
		p.is(fmt.Sprintf("sk-known-%d", i), 200)
	}
	p.is("sk-known-blocked", 401)
	for round, fault := range []struct {
		name     string
		off, on  func(testing.TB)
		deadline time.Duration
	}{
		{"stopped", server.Stop, server.Start, time.Second},
		{"killed", server.Kill, server.Start, time.Second},
		{"stalled", server.Stall, server.Continue, time.Second},
	} {
		t.Run(fault.name, func(t *testing.T) {
			p.t = t
			fault.off(t)
			var stop atomic.Bool
			var load sync.WaitGroup
			var served, unknown, wrong atomic.Int64
			var worst atomic.Int64
			for w := range 8 {
				load.Go(func() {
					for i := 0; !stop.Load(); i++ {
						from := time.Now()
						if w%2 == 0 {
							if _, err := p.Identify(fmt.Appendf(nil, "sk-known-%d", i%10)); err != nil {
								wrong.Add(1)
							} else {
								served.Add(1)
							}
						} else if _, err := p.Identify(fmt.Appendf(nil, "sk-never-%d-%d-%d", round, w, i)); err == nil || err.HTTPStatus() != 503 {
							wrong.Add(1)
						} else {
							unknown.Add(1)
						}
						for took := int64(time.Since(from)); ; {
							if was := worst.Load(); took <= was || worst.CompareAndSwap(was, took) {
								break
							}
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(1500 * time.Millisecond)
			p.is("sk-known-blocked", 401)
			fresh := start(t, c, hostTable(t), snapshot) // born in the outage
			fresh.is("sk-known-3", 200)
			fresh.is("sk-known-blocked", 401)
			fresh.is("sk-never-seen", 503)
			stop.Store(true)
			load.Wait()
			t.Logf("show: %d served, %d of unknown keys told to come again, longest wait %v", served.Load(), unknown.Load(), time.Duration(worst.Load()))
			if wrong.Load() > 0 || served.Load() == 0 || unknown.Load() == 0 {
				t.Errorf("%d wrong answers, %d served, %d unknown", wrong.Load(), served.Load(), unknown.Load())
			}
			if time.Duration(worst.Load()) > fault.deadline+2*time.Second { // beside other tests; the end-to-end tests judge times
				t.Errorf("a request waited for %v", time.Duration(worst.Load()))
			}
			fault.on(t)
			server.Ready(t, 20*time.Second)
			back := time.Now()
			key := fmt.Sprintf("sk-known-%d", 10+round)
			for time.Since(back) < 10*time.Second {
				if _, err := p.Identify([]byte(key)); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(back)
			t.Logf("show: a cold key is let in %v after the database answers", took)
			if took > 6*time.Second {
				t.Error("too late")
			}
			p.is("sk-never-seen", 401)
		})
	}
}
