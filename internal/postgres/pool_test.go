package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
)

func newPool(t *testing.T, url string, c postgres.PoolConfig) *postgres.Pool {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	p, err := postgres.NewPool(source, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// ask runs one statement within a time.
func ask(p *postgres.Pool, within time.Duration, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return p.Do(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statement)
		return err
	})
}

func untilNil(t *testing.T, within time.Duration, fn func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := fn()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > within {
			t.Fatalf("after %s: %v", within, err)
		}
	}
}

// TestOneAttempt has a server that accepts and says nothing: however many wait,
// one attempt is under way, and each caller leaves at its own deadline.
func TestOneAttempt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var open, most, all atomic.Int32
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			n := open.Add(1)
			if n > most.Load() {
				most.Store(n)
			}
			go func() {
				_, _ = c.Read(make([]byte, 1024)) // the startup message
				_, _ = c.Read(make([]byte, 1024)) // until it is closed
				open.Add(-1)
				_ = c.Close()
			}()
		}
	}()
	p := newPool(t, "postgres://u:hunter2@"+l.Addr().String()+"/d?sslmode=disable", postgres.PoolConfig{
		Options: postgres.Options{ConnectTimeout: 100 * time.Millisecond}, Limit: 20, Wait: 10 * time.Second,
	})
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			start := time.Now()
			err := ask(p, 700*time.Millisecond, "SELECT 1")
			if took := time.Since(start); err == nil || took > 1200*time.Millisecond || postgres.Classify(err) != postgres.Away || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", took, err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 1 || all.Load() > 10 || all.Load() == 0 {
		t.Errorf("%d attempts, %d at once", all.Load(), most.Load())
	}
}

// TestOutage loses the server for a while.
func TestOutage(t *testing.T) {
	s := pgtest.New(t)
	p := newPool(t, s.Database(t), postgres.PoolConfig{Limit: 4})
	if err := ask(p, 5*time.Second, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	s.Stall(t)
	start := time.Now()
	if err := ask(p, 300*time.Millisecond, "SELECT 1"); postgres.Classify(err) != postgres.Away || time.Since(start) > time.Second {
		t.Errorf("stalled: %v after %s", err, time.Since(start))
	}
	s.Continue(t)
	if took := untilNil(t, 5*time.Second, func() error { return ask(p, time.Second, "SELECT 1") }); took > 2*time.Second {
		t.Errorf("continued: back after %s", took)
	}
	s.Kill(t)
	// At first a caller waits: it might be a blip.
	start = time.Now()
	if err := ask(p, 400*time.Millisecond, "SELECT 1"); postgres.Classify(err) != postgres.Away {
		t.Errorf("killed: %v", err)
	}
	for time.Since(start) < 3*time.Second {
		_ = ask(p, 100*time.Millisecond, "SELECT 1")
	}
	start = time.Now()
	for range 100 {
		if err := ask(p, 2*time.Second, "SELECT 1"); postgres.Classify(err) != postgres.Away {
			t.Errorf("away: %v", err)
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("100 callers were kept waiting for %s while it was known to be away", took)
	}
	s.Start(t)
	if took := untilNil(t, 10*time.Second, func() error { return ask(p, time.Second, "SELECT 1") }); took > 2*time.Second {
		t.Errorf("back after %s", took)
	}
}

// TestTooMany shares two connections of the server among five users.
func TestTooMany(t *testing.T) {
	s := pgtest.New(t)
	url := s.Database(t)
	pgtest.Exec(t, s.URL("postgres"), "CREATE ROLE two LOGIN CONNECTION LIMIT 2")
	p := newPool(t, strings.Replace(url, "postgres@", "two@", 1), postgres.PoolConfig{Limit: 5})
	var wg sync.WaitGroup
	var well atomic.Int32
	for range 5 {
		wg.Go(func() {
			err := ask(p, 8*time.Second, "SELECT pg_sleep(0.2)")
			if err == nil {
				well.Add(1)
			} else if postgres.Classify(err) != postgres.TooMany {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if well.Load() < 2 {
		t.Errorf("%d were served", well.Load())
	}
	room, err := p.Room(t.Context(), 2, 3)
	if err != nil || room.Needed != 2*(3*5+3) || room.Most != 2 || !room.Tight() || room.String() != "2 hosts x (3 workers x 5 connections + 3) = 36 of 2 connections" {
		t.Errorf("%+v %s %v", room, room, err)
	}
	p = newPool(t, url, postgres.PoolConfig{Limit: 1, Wait: 100 * time.Millisecond})
	if room, err := p.Room(t.Context(), 1, 1); err != nil || room.Needed != 4 || room.Most != 197 || room.Tight() {
		t.Errorf("%+v %v", room, err)
	}
	taken, err := p.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	if err := ask(p, 5*time.Second, "SELECT 1"); postgres.Classify(err) != postgres.PoolEmpty || !strings.Contains(err.Error(), "all 1 were in use") {
		t.Errorf("exhausted: %v", err)
	}
}

// TestDemoted writes to a primary that becomes a standby and back.
func TestDemoted(t *testing.T) {
	url := pgtest.Database(t)
	p := newPool(t, url, postgres.PoolConfig{Limit: 3})
	pid := func() (n int) {
		t.Helper()
		err := p.Do(t.Context(), func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&n) })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := ask(p, 5*time.Second, "CREATE TABLE x (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := ask(p, 5*time.Second, "SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	before := pid()
	if err := ask(p, 5*time.Second, "INSERT INTO x VALUES (1)"); postgres.Classify(err) != postgres.ReadOnly {
		t.Fatalf("%v", err)
	}
	if after := pid(); after == before {
		t.Error("the connection to a standby was kept")
	}
	if err := ask(p, 5*time.Second, "INSERT INTO x VALUES (1)"); err != nil {
		t.Errorf("the next one: %v", err)
	}
	err := ask(p, 5*time.Second, "SELECT pg_terminate_backend(pg_backend_pid())")
	if !postgres.Again(err) {
		t.Errorf("a terminated connection: %v", err)
	}
	if err := ask(p, 5*time.Second, "SELECT 1"); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// TestDeadIdle ends all connections behind the pool's back, as a restart of the
// server does: one user meets that, not each connection's next one.
func TestDeadIdle(t *testing.T) {
	url := pgtest.Database(t)
	p := newPool(t, url, postgres.PoolConfig{Limit: 4})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := ask(p, 5*time.Second, "SELECT pg_sleep(0.3)"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	failed := 0
	for range 8 {
		if err := ask(p, 5*time.Second, "SELECT 1"); err != nil {
			failed++
			if !postgres.Again(err) {
				t.Errorf("%v", err)
			}
		}
	}
	if failed > 1 {
		t.Errorf("%d users met dead connections", failed)
	}
}

// TestRefused names what is wrong at once: waiting does not help there.
func TestRefused(t *testing.T) {
	url := pgtest.Database(t)
	for _, tt := range []struct {
		url  string
		want postgres.Kind
	}{
		{strings.Replace(url, "postgres@", "nobody:hunter2@", 1), postgres.Password},
		{url[:strings.LastIndexByte(url, '/')] + "/nowhere?sslmode=disable", postgres.NoDatabase},
	} {
		p := newPool(t, tt.url, postgres.PoolConfig{})
		for range 3 { // also during the pause
			start := time.Now()
			err := ask(p, 5*time.Second, "SELECT 1")
			if postgres.Classify(err) != tt.want || time.Since(start) > time.Second || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v after %s", err, time.Since(start))
			}
		}
	}
}

// TestSettings looks at what a session of the pool has.
func TestSettings(t *testing.T) {
	url := pgtest.Database(t)
	p := newPool(t, url+"&application_name=first", postgres.PoolConfig{Options: postgres.Options{
		Application: "second", StatementTimeout: time.Second, LockTimeout: 2 * time.Second, IdleInTransaction: 3 * time.Second,
		Parameters: map[string]string{"application_name": "third", "options": "-c work_mem=1MB"},
	}})
	var got string
	err := p.Do(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT concat_ws(' ', current_setting('application_name'), current_setting('statement_timeout'),
			current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('work_mem'))`).Scan(&got)
	})
	if err != nil || got != "first 1s 2s 3s 1MB" {
		t.Errorf("%q %v", got, err)
	}
	if !errors.Is(ask(p, 5*time.Second, "SELECT pg_sleep(3)"), context.DeadlineExceeded) && postgres.Classify(ask(p, 5*time.Second, "SELECT pg_sleep(3)")) != postgres.Busy {
		t.Error("a statement took longer than its timeout")
	}
}

// TestHosts finds the primary among several hosts.
func TestHosts(t *testing.T) {
	url := pgtest.Database(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	p := newPool(t, strings.Replace(url, "@", "@"+dead+",", 1), postgres.PoolConfig{})
	if err := ask(p, 5*time.Second, "SELECT 1"); err != nil {
		t.Error(err)
	}
	pgtest.Exec(t, url, fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = on", url[strings.LastIndexByte(url, '/')+1:strings.IndexByte(url, '?')]))
	p = newPool(t, url+"&target_session_attrs=read-write", postgres.PoolConfig{Wait: 300 * time.Millisecond})
	if err := ask(p, 5*time.Second, "SELECT 1"); postgres.Classify(err) != postgres.ReadOnly {
		t.Errorf("a standby alone: %s, %v", postgres.Classify(err), err)
	}
}
