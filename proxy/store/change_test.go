package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/dbtest"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// consistent checks that the record of changes and the teams say the same: each
// team was created by one change, and the numbers have no gap.
func consistent(t *testing.T, s *store.Store) int {
	t.Helper()
	teams, err := store.Find[identity.Team](t.Context(), s, store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int64{}
	for _, team := range teams {
		numbers[team.ID] = team.ChangeNumber
	}
	changes, err := s.Since(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != len(teams) {
		t.Errorf("%d changes for %d teams", len(changes), len(teams))
	}
	for i, c := range changes {
		if c.Number != int64(i+1) || numbers[c.ID] != c.Number {
			t.Fatalf("change %d has number %d and is of %s, which says %d", i, c.Number, c.ID, numbers[c.ID])
		}
	}
	if n, err := s.Head(t.Context()); err != nil || n != int64(len(changes)) {
		t.Errorf("head %d of %d, %v", n, len(changes), err)
	}
	return len(teams)
}

// TestAtomic ends changes half way.
func TestAtomic(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		mine := errors.New("not today")
		for name, end := range map[string]func(cancel func()) error{
			"error":     func(func()) error { return mine },
			"cancelled": func(cancel func()) error { cancel(); return nil },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			err := s.Change(ctx, store.Actor{}, func(tx *store.Tx) error {
				for i := range 3 {
					if err := tx.Insert(&identity.Team{ID: strconv.Itoa(i)}); err != nil {
						return err
					}
				}
				if n, err := store.Count[identity.Team](ctx, tx); n != 3 || err != nil {
					t.Errorf("inside: %d %v", n, err)
				}
				return end(cancel)
			})
			cancel()
			if err == nil || name == "error" && !errors.Is(err, mine) {
				t.Errorf("%s: %v", name, err)
			}
			if n := consistent(t, s); n != 0 {
				t.Errorf("%s: %d teams are left", name, n)
			}
		}
		func() { // a panic gives everything back, too
			defer func() { _ = recover() }()
			_ = s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				_ = tx.Insert(&identity.Team{ID: "x"})
				panic("BUG: test")
			})
		}()
		if n := consistent(t, s); n != 0 {
			t.Errorf("panic: %d teams are left", n)
		}
	})
}

// TestCounters counts, as the ledger does, between the reading of an object and
// its writing. On SQLite a change has the file for itself.
func TestCounters(t *testing.T) {
	url := dbtest.PostgresURL(t)
	s := openAt(t, url, store.Config{})
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	insert(t, s, &identity.Key{Token: "k", Spend: money.Dollar})
	change := func(edit func(k *identity.Key), write func(tx *store.Tx, k *identity.Key) error) {
		t.Helper()
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			k, err := store.One[identity.Key](t.Context(), tx)
			if err != nil {
				return err
			}
			at = at.Add(time.Hour)
			if err := s.TouchKeys(t.Context(), map[string]time.Time{k.Token: at}); err != nil {
				return err
			}
			pgtest.Exec(t, url, "UPDATE sluice.keys SET spend = spend + 7")
			edit(k)
			return write(tx, k)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	update := func(tx *store.Tx, k *identity.Key) error { return tx.Update(k) }
	for _, tt := range []struct {
		name  string
		edit  func(k *identity.Key)
		write func(tx *store.Tx, k *identity.Key) error
		want  money.Nano
	}{
		{"update", func(k *identity.Key) { k.Alias = "new" }, update, money.Dollar + 7},
		{"new key", func(*identity.Key) {}, func(tx *store.Tx, k *identity.Key) error {
			is := *k
			is.Token = "other"
			return tx.Rekey(store.Rotated, k, &is)
		}, money.Dollar + 14},
		{"reset", func(k *identity.Key) { k.Spend = 0 }, update, 0},
	} {
		change(tt.edit, tt.write)
		k, err := store.One[identity.Key](t.Context(), s)
		if err != nil || k.Spend != tt.want || k.LastActive == nil || !k.LastActive.Equal(at) || k.Alias != "new" {
			t.Errorf("%s: %+v %v", tt.name, k, err)
		}
	}
}

// TestCommitted is told once of each commit, and of nothing else.
func TestCommitted(t *testing.T) {
	url := dbtest.PostgresURL(t)
	var calls, told atomic.Int64
	s := openAt(t, url, store.Config{Committed: func(c []store.Changed) { calls.Add(1); told.Add(int64(len(c))) }})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				id := strconv.Itoa(i) + "-" + strconv.Itoa(j)
				insert(t, s, &identity.Team{ID: id}, &identity.Team{ID: id + "b"})
			}
		})
	}
	wg.Wait()
	_ = s.Change(t.Context(), store.Actor{}, func(*store.Tx) error { return nil })
	_ = s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
		_ = tx.Insert(&identity.Team{ID: "x"})
		return errors.New("no")
	})
	if calls.Load() != 40 || told.Load() != 80 {
		t.Errorf("%d calls with %d changes", calls.Load(), told.Load())
	}
}

// feed polls as a host does until it has seen what was committed, and returns
// how many changes it missed, saw twice or in another order.
func feed(t *testing.T, s *store.Store, writing *sync.WaitGroup, committed *sync.Map) (missed, wrong int) {
	t.Helper()
	seen := map[string]bool{}
	var last int64
	poll := func() int {
		changes, err := s.Since(t.Context(), last, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if seen[c.ID] || c.Number != last+1 {
				wrong++
			}
			seen[c.ID], last = true, c.Number
		}
		return len(changes)
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			poll()
		}
	}
	for poll() > 0 {
	}
	committed.Range(func(id, _ any) bool {
		if !seen[id.(string)] {
			missed++
		}
		return true
	})
	return missed, wrong
}

// write has writers that take their time before they commit.
func write(t *testing.T, stores []*store.Store, writers, each int) (*sync.WaitGroup, *sync.Map) {
	t.Helper()
	var wg sync.WaitGroup
	committed := &sync.Map{}
	for w := range writers {
		wg.Go(func() {
			s := stores[w%len(stores)]
			for i := range each {
				id := strconv.Itoa(w) + "-" + strconv.Itoa(i)
				err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
					err := tx.Insert(&identity.Team{ID: id})
					time.Sleep(rand.N(4 * time.Millisecond))
					return err
				})
				if err != nil {
					t.Errorf("%s: %v", id, err)
					continue
				}
				committed.Store(id, true)
			}
		})
	}
	return &wg, committed
}

// TestFeed lets 64 writers of four processes write while a host polls: it misses
// nothing, sees nothing twice, and in the order of commits. Numbers that are
// taken without the lock fail the same test.
func TestFeed(t *testing.T) {
	run := func(t *testing.T, unlock bool) (missed, wrong int) {
		url := dbtest.PostgresURL(t)
		var stores []*store.Store
		numbers := openAt(t, url, store.Config{})
		for range 4 {
			s := openAt(t, url, store.Config{})
			if unlock {
				s.Unlock(numbers)
			}
			stores = append(stores, s)
		}
		wg, committed := write(t, stores, 64, 10)
		missed, wrong = feed(t, openAt(t, url, store.Config{}), wg, committed)
		if !unlock {
			if n := consistent(t, stores[0]); n != 640 {
				t.Errorf("%d of 640", n)
			}
		}
		return missed, wrong
	}
	t.Run("as it is", func(t *testing.T) {
		if missed, wrong := run(t, false); missed != 0 || wrong != 0 {
			t.Errorf("%d changes missed, %d wrong", missed, wrong)
		}
	})
	t.Run("known to be bad", func(t *testing.T) {
		if missed, wrong := run(t, true); missed == 0 || wrong == 0 {
			t.Errorf("%d missed, %d wrong: the test does not find what it is for", missed, wrong)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		s := openFile(t, newFile(t))
		wg, committed := write(t, []*store.Store{s, openFile(t, s.Path())}, 8, 20)
		if missed, wrong := feed(t, s, wg, committed); missed != 0 || wrong != 0 {
			t.Errorf("%d changes missed, %d wrong", missed, wrong)
		}
	})
}

// TestKilledBackends ends the server processes of writers at random moments:
// what was said to be written is there, whole, and nothing else is half there.
func TestKilledBackends(t *testing.T) {
	url := dbtest.PostgresURL(t)
	s := openAt(t, url, store.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var well, failed atomic.Int64
	written := &sync.Map{}
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := strconv.Itoa(w) + "-" + strconv.Itoa(i)
				err := s.Change(ctx, store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Team{ID: id}) })
				if err == nil {
					well.Add(1)
					written.Store(id, true)
				} else {
					failed.Add(1)
					if !store.Away(err) && ctx.Err() == nil {
						t.Errorf("%v", err)
					}
				}
			}
		})
	}
	killer, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.Background())
	for ctx.Err() == nil {
		_, _ = killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5")
		time.Sleep(rand.N(60 * time.Millisecond))
	}
	wg.Wait()
	if n := consistent(t, s); int64(n) < well.Load() || well.Load() == 0 || failed.Load() == 0 {
		t.Errorf("%d teams, %d written, %d failed", n, well.Load(), failed.Load())
	}
	written.Range(func(id, _ any) bool {
		if _, err := store.Get[identity.Team](t.Context(), s, id); err != nil {
			t.Errorf("lost: %v", err)
		}
		return true
	})
}

// TestStoppedProcess has one that holds the change head and does nothing more:
// the server takes it back.
func TestStoppedProcess(t *testing.T) {
	url := dbtest.PostgresURL(t)
	stopped := store.Config{}
	stopped.Options.IdleInTransaction = 300 * time.Millisecond
	slow := openAt(t, url, stopped)
	holds, ended := make(chan struct{}), make(chan error)
	go func() {
		ended <- slow.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
			close(holds)
			time.Sleep(time.Second)
			return tx.Insert(&identity.Team{ID: "late"})
		})
	}()
	<-holds
	start := time.Now()
	s := openAt(t, url, store.Config{})
	insert(t, s, &identity.Team{ID: "in time"})
	if took := time.Since(start); took > 900*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	if err := <-ended; !store.Away(err) {
		t.Errorf("the stopped one: %v", err)
	}
	if n := consistent(t, s); n != 1 {
		t.Errorf("%d teams", n)
	}
}

// TestSecrets looks for secrets in the record of changes.
func TestSecrets(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const canary = "canary-5ca1ab1e"
		for n, suffix := range []string{"", "-again"} {
			secret := canary + suffix
			objects := []identity.Object{
				&identity.User{ID: "u", Password: secret},
				&identity.Model{ID: "m", Params: identity.Fields{"api_key": []byte(`"` + secret + `"`)}},
				&identity.Credential{ID: "c", Name: "c", Values: map[string]string{"api_key": secret}},
			}
			if n == 0 {
				insert(t, s, objects...)
				continue
			}
			for _, change := range []func(tx *store.Tx, o identity.Object) error{
				func(tx *store.Tx, o identity.Object) error { return tx.Update(o) }, func(tx *store.Tx, o identity.Object) error { return tx.Delete(o) },
			} {
				err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
					for _, o := range objects {
						if err := change(tx, o); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		changes, total, err := s.Changes(t.Context(), store.ChangeFilter{})
		if err != nil || total != 9 {
			t.Fatalf("%d %v", total, err)
		}
		digests := 0
		for _, c := range changes {
			text := string(c.Before) + string(c.After)
			if strings.Contains(text, canary) {
				t.Errorf("%s %s: %s", c.Action, c.KindNamed, text)
			}
			digests += strings.Count(text, "sha256:")
			if c.Action == store.Updated && strings.Count(text, "sha256:") == 2 {
				before, after := document(t, c.Before), document(t, c.After)
				for name, v := range before {
					if d, ok := v.(string); ok && strings.HasPrefix(d, "sha256:") && after[name] == d {
						t.Errorf("%s.%s: another secret, the same digest", c.KindNamed, name)
					}
				}
			}
		}
		if digests != 12 {
			t.Errorf("%d digests", digests)
		}
	})
}
