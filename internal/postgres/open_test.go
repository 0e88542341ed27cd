package postgres_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
)

func open(t *testing.T, url string, o postgres.Options) (postgres.Kind, error) {
	t.Helper()
	src, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := postgres.Open(ctx, src, o)
	if err == nil {
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "SELECT pg_sleep(0.5)")
	}
	return postgres.Classify(err), err
}

// TestClassify meets every fault on a real server.
func TestClassify(t *testing.T) {
	s := pgtest.New(t)
	url := s.Database(t)
	pgtest.Exec(t, s.URL("postgres"), "CREATE ROLE few LOGIN CONNECTION LIMIT 0")
	few := strings.Replace(url, "postgres@", "few@", 1)
	nobody := strings.Replace(url, "postgres@", "nobody:hunter2@", 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "postgres://u:hunter2@" + l.Addr().String() + "/d"
	_ = l.Close()
	tests := []struct {
		name, url string
		o         postgres.Options
		want      postgres.Kind
	}{
		{"well", url, postgres.Options{}, postgres.None},
		{"unknown role", nobody, postgres.Options{}, postgres.Password},
		{"no database", s.URL("nowhere"), postgres.Options{}, postgres.NoDatabase},
		{"too many", few, postgres.Options{}, postgres.TooMany},
		{"statement timeout", url, postgres.Options{StatementTimeout: 50 * time.Millisecond}, postgres.Busy},
		{"nobody listens", closed, postgres.Options{}, postgres.Away},
		{"no TLS there", strings.Replace(url, "sslmode=disable", "sslmode=require", 1), postgres.Options{}, postgres.TLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := open(t, tt.url, tt.o)
			if got != tt.want {
				t.Errorf("%s (%v), want %s", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
	s.Stall(t)
	if got, err := open(t, url, postgres.Options{ConnectTimeout: 200 * time.Millisecond}); got != postgres.Away {
		t.Errorf("stalled: %s (%v)", got, err)
	}
	s.Continue(t)
	s.Kill(t)
	if got, err := open(t, url, postgres.Options{}); got != postgres.Away {
		t.Errorf("killed: %s (%v)", got, err)
	}
	s.Start(t)
	if got, err := open(t, url, postgres.Options{}); got != postgres.None {
		t.Errorf("started again: %s (%v)", got, err)
	}
	s.Stop(t)
}
