package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/internal/redistest"
	"sluice/migrator/schema"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

func newTable(t *testing.T) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	t.Cleanup(func() { _ = table.Close() })
	return table
}

var quiet = slog.New(slog.DiscardHandler)

// start runs n observers on one table, as n workers would.
func start(t *testing.T, n int, c Config) *fleet.Header {
	t.Helper()
	table := newTable(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for range n {
		o := New(table, c, quiet)
		go func() { o.Run(ctx); done <- struct{}{} }()
	}
	t.Cleanup(func() {
		cancel()
		for range n {
			<-done
		}
	})
	return table.Header()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func source(t *testing.T, url string) *postgres.Source {
	t.Helper()
	s, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func state(h *fleet.Header) fleet.Dependency { return fleet.Dependency(h.Database.Load()) }

var migrated = fmt.Sprintf("CREATE SCHEMA sluice; CREATE TABLE sluice.schema_versions (version_id bigint, is_applied boolean); INSERT INTO sluice.schema_versions VALUES (0, true), (%d, true)", schema.Minimum)

// TestPostgres stops, stalls and starts a server under three observers.
func TestPostgres(t *testing.T) {
	s := pgtest.New(t)
	url := s.Database(t)
	h := start(t, 3, Config{Postgres: source(t, url), NeedsDatabase: true})
	until(t, "connected", func() bool { return state(h) == fleet.DependencyConnected && h.ObservedAt.Load() != 0 })
	if h.Schema.Load() != 0 || h.SchemaWant.Load() != schema.Version || h.DatabaseUp.Load() != 1 || h.NeedsDatabase.Load() != 1 {
		t.Errorf("schema %d, want %d, up %d", h.Schema.Load(), h.SchemaWant.Load(), h.DatabaseUp.Load())
	}
	if fleet.Dependency(h.Redis.Load()) != fleet.DependencyAbsent {
		t.Errorf("redis is %d", h.Redis.Load())
	}
	pgtest.Exec(t, url, migrated)
	until(t, "the schema", func() bool { return h.Schema.Load() == schema.Minimum })
	s.Stall(t)
	until(t, "stalled", func() bool { return state(h) == fleet.DependencyDown })
	s.Continue(t)
	until(t, "continued", func() bool { return state(h) == fleet.DependencyConnected })
	s.Kill(t)
	until(t, "killed", func() bool { return state(h) == fleet.DependencyDown })
	if h.DatabaseUp.Load() != 1 {
		t.Error("that it was up once is forgotten")
	}
	s.Start(t)
	until(t, "started", func() bool { return state(h) == fleet.DependencyConnected })
}

// TestTurns: however many workers there are, one looks each second.
func TestTurns(t *testing.T) {
	url := pgtest.Database(t)
	h := start(t, 8, Config{Postgres: source(t, url)})
	until(t, "connected", func() bool { return h.ObservedAt.Load() != 0 })
	seen, last := 0, h.ObservedAt.Load()
	for end := time.Now().Add(3200 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if at := h.ObservedAt.Load(); at != last {
			seen, last = seen+1, at
		}
	}
	if seen < 2 || seen > 4 {
		t.Errorf("%d observations in 3.2 s, want about 3", seen)
	}
}

func TestWaitSchema(t *testing.T) {
	url := pgtest.Database(t)
	o := New(newTable(t), Config{Postgres: source(t, url)}, quiet)
	defer o.close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := o.WaitSchema(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("empty database: %v", err)
	}
	pgtest.Exec(t, url, migrated)
	if err := o.WaitSchema(t.Context()); err != nil {
		t.Errorf("migrated: %v", err)
	}
	pgtest.Exec(t, url, "INSERT INTO sluice.schema_versions VALUES (1000, true)")
	if err := o.WaitSchema(t.Context()); err != nil {
		t.Errorf("newer: %v", err)
	}
	away := New(newTable(t), Config{Postgres: source(t, "postgres://u:hunter2@127.0.0.1:1/d")}, quiet)
	err := away.WaitSchema(t.Context())
	if !errors.Is(err, ErrAway) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("away: %v", err)
	}
	if err := New(newTable(t), Config{}, quiet).WaitSchema(t.Context()); err != nil {
		t.Errorf("no database: %v", err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	look := func() (uint32, fleet.Dependency) { return file(path).look(t.Context()) }
	if v, d := look(); v != 0 || d != fleet.DependencyConnected {
		t.Errorf("absent: %d %d", v, d)
	}
	head := make([]byte, 100)
	copy(head, magic)
	head[63] = 7
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if v, d := look(); v != 7 || d != fleet.DependencyConnected {
		t.Errorf("version 7: %d %d", v, d)
	}
	if err := os.WriteFile(path, []byte("something else that is long enough to be a header, or is it? Let us see whether a hundred bytes fit in."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, d := look(); d != fleet.DependencyDown {
		t.Errorf("no database: %d", d)
	}
}

// Looking at a database leaves the locks that this process has on it, and sees a
// file that has taken its place.
func TestFileKeepsLocks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	write := func(name string, version byte) {
		head := make([]byte, 100)
		copy(head, magic)
		head[63] = version
		if err := os.WriteFile(name, head, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, 7)
	opened := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	mine, other := opened(), opened()
	if err := unix.FcntlFlock(mine.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Len: 1}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if v, _ := file(path).look(t.Context()); v != 7 {
			t.Errorf("version %d", v)
		}
	}
	Migrated(path)
	// A lock of an open file is refused by those of processes, this one's too.
	if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1}); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the lock of this process is gone: %v", err)
	}
	write(path+".new", 8)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if v, _ := file(path).look(t.Context()); v != 8 {
		t.Errorf("another file has version %d", v)
	}
}

func TestRedis(t *testing.T) {
	s := redistest.New(t)
	h := start(t, 2, Config{Redis: redis.Config{Addresses: []string{s.Addr}}})
	is := func(d fleet.Dependency) func() bool {
		return func() bool { return fleet.Dependency(h.Redis.Load()) == d }
	}
	until(t, "connected", is(fleet.DependencyConnected))
	if state(h) != fleet.DependencyAbsent {
		t.Errorf("database is %d", state(h))
	}
	s.Stall(t)
	until(t, "stalled", is(fleet.DependencyDown))
	s.Continue(t)
	until(t, "continued", is(fleet.DependencyConnected))
	s.Kill(t)
	until(t, "killed", is(fleet.DependencyDown))
	s.Start(t)
	until(t, "started", is(fleet.DependencyConnected))
	s.Do(t, "CONFIG", "SET", "maxmemory", "1")
	until(t, "full", is(fleet.DependencyUnusable))
	s.Do(t, "CONFIG", "SET", "maxmemory", "0")
	until(t, "not full any more", is(fleet.DependencyConnected))
}

// TestRedisDatabase: the database asked for is the one that is selected; a
// server has 16 of them.
func TestRedisDatabase(t *testing.T) {
	s := redistest.New(t)
	for database, want := range map[int]fleet.Dependency{15: fleet.DependencyConnected, 16: fleet.DependencyUnusable} {
		r := &cache{config: redis.Config{Addresses: []string{s.Addr}, Database: database}}
		if got := r.look(t.Context()); got != want {
			t.Errorf("database %d: %v, want %v (%v)", database, got, want, r.err)
		}
		r.close()
	}
}

// TestOldRedis meets a server that says it is 6.2.
func TestOldRedis(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerOld(c)
		}
	}()
	h := start(t, 1, Config{Redis: redis.Config{Addresses: []string{l.Addr().String()}}})
	until(t, "unsupported", func() bool { return fleet.Dependency(h.Redis.Load()) == fleet.DependencyUnsupported })
}

// answerOld answers every command of a connection, INFO with version 6.2.
func answerOld(c net.Conn) {
	defer func() { _ = c.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		for _, command := range strings.Split(string(buf[:n]), "*")[1:] {
			answer := "+OK\r\n"
			if strings.Contains(command, "INFO") {
				answer = "$21\r\nredis_version:6.2.0\r\n\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}
