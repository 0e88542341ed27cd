// Package pgtest gives tests a fresh database each, on a real PostgreSQL: the
// one that SLUICE_TEST_POSTGRES names (the URL of a superuser), or a private
// cluster of the Debian package that lives as long as the test process. Fault
// tests start a cluster of their own and stop, kill or stall it.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/env"
)

// EnvURL names a server to use instead of a private one.
const EnvURL = "SLUICE_TEST_POSTGRES"

// shared is the server of the whole test process. The private one is kept here:
// its keeper ends it when the pipe is closed, which the garbage collector would
// do.
var shared = sync.OnceValues(func() (*host, error) {
	if u := env.Process().Get(EnvURL); u != "" {
		return &host{admin: u}, nil
	}
	s, err := startShared()
	if err != nil {
		return nil, err
	}
	return &host{admin: s.URL("postgres"), private: s}, nil
})

// host is a server with the URL of its superuser.
type host struct {
	admin   string
	private *Server
}

// Database makes an empty database for one test and returns its URL. It is
// dropped when the test ends.
func Database(tb testing.TB) string {
	tb.Helper()
	h, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	defer runtime.KeepAlive(h.private)
	return fresh(tb, h.admin)
}

// fresh makes a database on the server of an administrator's URL.
func fresh(tb testing.TB, admin string) string {
	tb.Helper()
	var b [6]byte
	_, _ = rand.Read(b[:])
	name := "t_" + hex.EncodeToString(b[:])
	Exec(tb, admin, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return // the server was stopped by the test
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Logf("drop %s: %v", name, err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		tb.Fatalf("%s is no URL", EnvURL)
	}
	u.Path = "/" + name
	return u.String()
}

// Exec runs statements on a database.
func Exec(tb testing.TB, databaseURL, statements string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statements); err != nil {
		tb.Fatalf("%s: %v", statements, err)
	}
}
