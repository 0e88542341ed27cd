package postgres_test

import (
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"sluice/internal/postgres"
)

// TestRenew: a password that has changed is that of the next connection, and
// only where the database is the same.
func TestRenew(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	passwords := make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			passwords <- askPassword(conn)
		}
	}()
	read := func(userinfo string) *postgres.Source {
		s, err := postgres.ParseURL("postgres://" + userinfo + "@" + ln.Addr().String() + "/d?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := read("u:first")
	pool, err := postgres.NewPool(s, postgres.PoolConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	// until connects until a password is used; the pool pauses between attempts.
	until := func(want string) {
		t.Helper()
		for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(20 * time.Millisecond) {
			_ = ask(pool, 5*time.Second, "select 1")
			select {
			case got := <-passwords:
				if got == want {
					return
				}
			default:
			}
		}
		t.Fatalf("never connected with %q", want)
	}
	until("first")
	if !s.Renew(read("u:second")) {
		t.Error("the same database is taken for another one")
	}
	until("second")
	if c, err := s.Config(postgres.Options{Parameters: map[string]string{"sslmode": "disable"}}); err != nil || c.Password != "second" {
		t.Errorf("a connection of its own: %v", err)
	}
	if s.Renew(read("other:third")) {
		t.Error("another role is taken for the same")
	}
	if !s.Renew(read("u:first")) {
		t.Error("back to the first")
	}
	if c, err := s.Config(postgres.Options{}); err != nil || c.Password != "first" {
		t.Errorf("the first one again: %v", err)
	}
}

// askPassword is a server that asks for the password in plain text and refuses
// it.
func askPassword(conn net.Conn) string {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return ""
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return ""
	}
	m, err := b.Receive()
	if err != nil {
		return ""
	}
	b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "no"})
	_ = b.Flush()
	if p, ok := m.(*pgproto3.PasswordMessage); ok {
		return p.Password
	}
	return ""
}
