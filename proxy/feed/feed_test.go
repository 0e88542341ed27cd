package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

func newTable(t *testing.T) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

// migrated is a database with the schema.
func migrated(t *testing.T, url string) *postgres.Source {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	return source
}

// deaf is a store that cannot listen, and counts what it is asked.
type deaf struct {
	*store.Store
	asked atomic.Int64
}

func (d *deaf) Listen(context.Context, func()) error { return store.ErrNone }

func (d *deaf) Head(ctx context.Context) (int64, error) {
	d.asked.Add(1)
	return d.Store.Head(ctx)
}

func (d *deaf) Since(ctx context.Context, n int64, limit int) ([]store.Changed, error) {
	d.asked.Add(1)
	return d.Store.Since(ctx, n, limit)
}

// host is one machine: a table, a store, and the feeds of its workers.
type host struct {
	*testing.T
	table  *fleet.Table
	store  *store.Store
	deaf   *deaf
	reader *fleet.ChangeReader
}

func newHost(t *testing.T, c store.Config, workers int, listens bool) *host {
	t.Helper()
	h := &host{T: t, table: newTable(t)}
	c.Committed = func(changes []store.Changed) { Committed(h.table, changes) }
	s, err := store.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	h.store, h.deaf = s, &deaf{Store: s}
	h.reader = fleet.NewChangeReader(h.table)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for range workers {
		var source Source = h.deaf
		if listens {
			source = s
		}
		f := New(h.table, source, slog.New(slog.DiscardHandler))
		done.Go(func() { f.Run(ctx) })
	}
	t.Cleanup(func() { cancel(); done.Wait(); s.Close() })
	return h
}

// tag makes a change and returns the hash that rings have of it.
func (h *host) tag(name string) uint64 {
	h.Helper()
	err := h.store.Change(context.Background(), store.Actor{User: "test"}, func(tx *store.Tx) error {
		return tx.Insert(&identity.Tag{Name: name})
	})
	if err != nil {
		h.Error(err)
	}
	return fleet.HashID(name)
}

// sees waits until the host's ring has a change and returns how long it took.
// It is patient, because other tests run beside it; the end-to-end tests judge
// times.
func (h *host) sees(hash uint64, within time.Duration) time.Duration {
	h.Helper()
	began, found := time.Now(), false
	for !found {
		h.reader.Next(func(kind uint8, id uint64) {
			found = found || kind == uint8(identity.KindTag) && id == hash
		})
		if time.Since(began) > 4*within {
			h.Fatalf("not seen in %v", 4*within)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// settle waits for a host's first look.
func (h *host) settle() {
	h.Helper()
	for end := time.Now().Add(10 * time.Second); h.table.Header().IdentityContact.Load() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatal("no look at the database")
		}
	}
}

// TestTwoHosts: a change is seen on its own host at once, on another one soon
// where notifications work, and within a second where they do not.
func TestTwoHosts(t *testing.T) {
	url := pgtest.Database(t)
	source := migrated(t, url)
	a := newHost(t, store.Config{Postgres: source}, 2, true)
	b := newHost(t, store.Config{Postgres: source}, 2, true)
	c := newHost(t, store.Config{Postgres: source}, 2, false)
	for _, h := range []*host{a, b, c} {
		h.settle()
	}
	time.Sleep(100 * time.Millisecond) // b listens by now
	var slowest time.Duration
	for i := range 8 {
		hash := a.tag(fmt.Sprint("t", i))
		if !a.reader.Pending() {
			t.Fatal("the change returned and its host knows nothing")
		}
		a.sees(hash, 10*time.Millisecond)
		b.sees(hash, 300*time.Millisecond)
		slowest = max(slowest, c.sees(hash, time.Second))
		time.Sleep(rand.N(200 * time.Millisecond))
	}
	t.Logf("without notifications: at most %v", slowest)

	// Cut connections: of who listens, of who polls.
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	hash := a.tag("after")
	b.sees(hash, time.Second)
	c.sees(hash, time.Second)
}

// TestNothingMissed: many writers on two hosts, whose transactions take their
// time; a third host sees each change.
func TestNothingMissed(t *testing.T) {
	source := dbtest.Postgres(t)
	a := newHost(t, store.Config{Postgres: source, Pool: 20}, 1, false)
	b := newHost(t, store.Config{Postgres: source, Pool: 20}, 1, false)
	c := newHost(t, store.Config{Postgres: source}, 3, false)
	c.settle()
	a.tag("first") // from here on c knows a number, and is told one by one
	c.sees(fleet.HashID("first"), time.Second)
	missing := map[uint64]string{}
	var writers sync.WaitGroup
	for w := range 64 {
		h := a
		if w%2 == 1 {
			h = b
		}
		for i := range 4 {
			name := fmt.Sprint("w", w, "-", i)
			missing[fleet.HashID(name)] = name
		}
		writers.Go(func() {
			for i := range 4 {
				err := h.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
					time.Sleep(rand.N(3 * time.Millisecond))
					err := tx.Insert(&identity.Tag{Name: fmt.Sprint("w", w, "-", i)})
					time.Sleep(rand.N(3 * time.Millisecond))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	go writers.Wait()
	for end := time.Now().Add(30 * time.Second); len(missing) > 0; time.Sleep(time.Millisecond) {
		if c.reader.Next(func(_ uint8, id uint64) { delete(missing, id) }) {
			t.Error("told of everything where single changes were due")
		}
		if time.Now().After(end) {
			t.Fatalf("%d changes were missed: %v", len(missing), missing)
		}
	}
	writers.Wait()
}

// TestOutage: after an outage the host is told what it missed; after a long one,
// or a database that fell back, that everything may have changed.
func TestOutage(t *testing.T) {
	server := pgtest.New(t)
	url := server.Database(t)
	source := migrated(t, url)
	a := newHost(t, store.Config{Postgres: source}, 2, true)
	b := newHost(t, store.Config{Postgres: source}, 2, true)
	a.settle()
	b.settle()
	a.sees(a.tag("one"), time.Second)
	b.sees(fleet.HashID("one"), time.Second)

	server.Stall(t)
	time.Sleep(1500 * time.Millisecond)
	server.Continue(t)
	b.sees(a.tag("two"), 2*time.Second)

	server.Kill(t)
	time.Sleep(time.Second)
	server.Start(t)
	server.Ready(t, 10*time.Second)
	b.sees(a.tag("three"), 8*time.Second)

	everything := func(what string) {
		t.Helper()
		for end := time.Now().Add(2 * time.Second); !b.reader.Next(func(uint8, uint64) {}); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: not told that everything may have changed", what)
			}
		}
	}
	for b.reader.Next(func(uint8, uint64) {}) { // what is left of the above
		time.Sleep(time.Millisecond)
	}
	pgtest.Exec(t, url, fmt.Sprintf("UPDATE sluice.change_head SET number = number + %d", most+1))
	everything("many changes")
	pgtest.Exec(t, url, "UPDATE sluice.change_head SET number = 2")
	everything("a restored database")
}

// TestIdle: however many workers there are, a host asks twice a second.
func TestIdle(t *testing.T) {
	h := newHost(t, store.Config{Postgres: dbtest.Postgres(t)}, 6, false)
	h.settle()
	before := h.deaf.asked.Load()
	time.Sleep(3 * time.Second)
	if n := h.deaf.asked.Load() - before; n > 6 || n < 4 {
		t.Errorf("%d questions in 3 s, want about 6", n)
	}
}

// TestDeadClaimer: who died with the claim delays the next poll by a second at
// most, and what it had not told is told.
func TestDeadClaimer(t *testing.T) {
	source := dbtest.Postgres(t)
	a := newHost(t, store.Config{Postgres: source}, 1, false)
	b := newHost(t, store.Config{Postgres: source}, 1, false)
	a.settle()
	b.settle()
	b.table.Header().FeedNext.Store(fleet.Now() + int64(patient))
	a.tag("x")
	b.sees(fleet.HashID("x"), patient+300*time.Millisecond)
}

// TestCommitted: a change of the host itself is not polled again, one that its
// writer did not live to tell is.
func TestCommitted(t *testing.T) {
	path := dbtest.SQLite(t)
	h := newHost(t, store.Config{SQLite: path}, 2, true)
	h.settle()
	h.tag("a")
	h.tag("b")
	if n := h.table.Header().FeedNumber.Load(); n != 2 {
		t.Errorf("the host knows %d changes, want 2", n)
	}
	killed, err := store.Open(store.Config{SQLite: path}) // tells nobody
	if err != nil {
		t.Fatal(err)
	}
	defer killed.Close()
	other := &host{T: t, store: killed}
	h.sees(other.tag("c"), time.Second)
	Committed(h.table, nil)
	Committed(h.table, make([]store.Changed, most+1))
	if !h.reader.Next(func(uint8, uint64) {}) {
		t.Error("a great many changes are told one by one")
	}
}

// archiving is a store whose rows before number 8 were moved to a file.
type archiving struct {
	deaf
	head int64
}

func (a *archiving) Head(context.Context) (int64, error) { return a.head, nil }

func (a *archiving) Since(_ context.Context, n int64, _ int) (out []store.Changed, err error) {
	for n = max(n+1, 8); n <= a.head; n++ {
		out = append(out, store.Changed{Number: n, Kind: identity.KindTag, ID: "t"})
	}
	return out, nil
}

// TestArchived: changes that were moved to a file before this host has followed
// them are not passed over.
func TestArchived(t *testing.T) {
	source := &archiving{head: 5}
	table := newTable(t)
	f := New(table, source, slog.New(slog.DiscardHandler))
	f.poll(t.Context())
	reader := fleet.NewChangeReader(table)
	for reader.Next(func(uint8, uint64) {}) { // what the first look tells
	}
	source.head = 10
	f.poll(t.Context())
	if !reader.Next(func(uint8, uint64) {}) {
		t.Error("nobody was told that changes are missing")
	}
	source.head = 12
	f.poll(t.Context())
	if reader.Next(func(uint8, uint64) {}) {
		t.Error("changes that are all there are not told one by one")
	}
}

type failing struct{ deaf }

func (*failing) Head(context.Context) (int64, error) { return 0, errors.New("no such table") }

// TestBroken: an error that no outage explains is said once.
func TestBroken(t *testing.T) {
	var lines atomic.Int64
	f := New(newTable(t), &failing{}, slog.New(slog.NewTextHandler(counter{&lines}, nil)))
	for range 3 {
		f.poll(t.Context())
	}
	if lines.Load() != 1 {
		t.Errorf("said %d times", lines.Load())
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) { c.n.Add(1); return len(b), nil }

// TestRecall: who remembers things of an earlier life is told what has changed
// since, however long that is ago.
func TestRecall(t *testing.T) {
	path := dbtest.SQLite(t)
	s, err := store.Open(store.Config{SQLite: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := &host{T: t, store: s, table: newTable(t)}
	for i := range 5 {
		h.tag(fmt.Sprint("t", i))
	}
	var told []string
	f := New(h.table, s, slog.New(slog.DiscardHandler))
	f.Remembered = func() int64 { return 2 }
	f.Changed = func(changes []store.Changed) {
		for _, c := range changes {
			told = append(told, c.ID)
		}
	}
	f.poll(t.Context())
	h.tag("t5")
	f.poll(t.Context())
	f.poll(t.Context())
	if got := fmt.Sprint(told); got != "[t2 t3 t4 t5]" {
		t.Errorf("told of %s", got)
	}
}

// TestTell: a batch of an import may have changed anything, the promotion of a
// key is a change of its own kind.
func TestTell(t *testing.T) {
	tags := []store.Changed{{Number: 1, Kind: identity.KindTag, ID: "a"}, {Number: 2, Kind: identity.KindTag, ID: "b"}}
	for name, tt := range map[string]struct {
		changes []store.Changed
		kinds   []identity.Kind
		all     bool
	}{
		"objects":  {tags, []identity.Kind{identity.KindTag, identity.KindTag}, false},
		"import":   {append(tags[:2:2], store.Changed{Number: 3, Kind: identity.KindImport, ID: "litellm/x/1"}), nil, true},
		"key":      {[]store.Changed{{Number: 3, Kind: identity.KindSealingKey, ID: "k"}}, []identity.Kind{identity.KindSealingKey}, false},
		"unknown":  {[]store.Changed{{Number: 3, ID: "x"}}, nil, true},
		"too many": {make([]store.Changed, most+1), nil, true},
	} {
		table := newTable(t)
		reader := fleet.NewChangeReader(table)
		Committed(table, tt.changes)
		var kinds []identity.Kind
		all := reader.Next(func(kind uint8, _ uint64) { kinds = append(kinds, identity.Kind(kind)) })
		if !slices.Equal(kinds, tt.kinds) || all != tt.all {
			t.Errorf("%s: %v, all %v", name, kinds, all)
		}
	}
}
