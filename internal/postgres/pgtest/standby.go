package pgtest

import (
	"context"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Configure gives the server settings (name=value) from its next Start on.
func (s *Server) Configure(settings ...string) { s.settings = settings }

// Standby makes a streaming standby of the server, which answers queries that
// only read, and removes it after the test.
func (s *Server) Standby(tb testing.TB) *Server {
	tb.Helper()
	standby, err := createBy(func(to *Server) *exec.Cmd {
		return to.command("pg_basebackup", "-D", to.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "postgres",
			"-R", "-X", "stream", "-c", "fast", "--no-sync")
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(standby.remove)
	if err := standby.start(); err != nil {
		tb.Fatal(err)
	}
	return standby
}

// CaughtUp waits until the server's standby has everything that the server has.
func (s *Server) CaughtUp(tb testing.TB, within time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		tb.Fatalf("ask the primary for its standby: %v", err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for {
		var there bool
		err := conn.QueryRow(ctx, "SELECT coalesce(bool_and(replay_lsn >= pg_current_wal_lsn()), false) FROM pg_stat_replication").Scan(&there)
		if err != nil {
			tb.Fatalf("the standby has not caught up: %v", err)
		}
		if there {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Promote makes a standby the primary. It returns when that is done.
func (s *Server) Promote(tb testing.TB) {
	tb.Helper()
	if out, err := s.command("pg_ctl", "-D", s.data(), "-w", "-t", "60", "promote").CombinedOutput(); err != nil {
		tb.Fatalf("promote the standby: %v: %s", err, out)
	}
}
