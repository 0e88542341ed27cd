// Package pgtest gives tests a fresh database each, on a real PostgreSQL: the
// one that SLUICE_TEST_POSTGRES names (the URL of a superuser), or a private
// cluster of the Debian package that lives as long as the test process. Fault
// tests start a cluster of their own and stop, kill or stall it.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
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

// templates are the databases that this process knows to be there to copy.
var templates sync.Map // name → func() error

// Copy makes a copy of a database for one test and returns its URL. The database
// that is copied stays on the server under its name; fill makes it where it is
// not there, so the name says what is in it.
func Copy(tb testing.TB, name string, fill func(databaseURL string) error) string {
	tb.Helper()
	h, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	defer runtime.KeepAlive(h.private)
	once, _ := templates.LoadOrStore(name, sync.OnceValue(func() error { return template(h.admin, name, fill) }))
	if err := once.(func() error)(); err != nil {
		tb.Fatalf("make the database %s to copy: %v", name, err)
	}
	return copied(tb, h.admin, name)
}

// template makes a database under a name of its own and gives it the name that
// was asked for when it is whole. A lock keeps other test processes out.
func template(admin, name string, fill func(databaseURL string) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var there bool
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", name); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_database WHERE datname = $1", name).Scan(&there); err != nil || there {
		return err
	}
	making := name + "_new"
	for _, statement := range []string{"DROP DATABASE IF EXISTS " + making, "CREATE DATABASE " + making} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	u, err := at(admin, making)
	if err != nil {
		return err
	}
	if err := fill(u); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+making+" RENAME TO "+name)
	return err
}

// at is the URL of a database on the server of an administrator's URL.
func at(admin, database string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", errors.New(EnvURL + " is no URL")
	}
	u.Path = "/" + database
	return u.String(), nil
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

// fresh makes an empty database on the server of an administrator's URL.
func fresh(tb testing.TB, admin string) string {
	tb.Helper()
	return copied(tb, admin, "template1")
}

// copied makes a copy of a database on the server of an administrator's URL.
func copied(tb testing.TB, admin, original string) string {
	tb.Helper()
	var b [6]byte
	_, _ = rand.Read(b[:])
	name := "t_" + hex.EncodeToString(b[:])
	Exec(tb, admin, "CREATE DATABASE "+name+" TEMPLATE "+original)
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
	u, err := at(admin, name)
	if err != nil {
		tb.Fatal(err)
	}
	return u
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

// Copied makes a copy of a database on its own server for one test. Nobody
// may be connected to the one that is copied.
func Copied(tb testing.TB, databaseURL string) string {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	original := u.Path[1:]
	u.Path = "/postgres"
	return copied(tb, u.String(), original)
}
