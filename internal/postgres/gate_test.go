package postgres

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A pause ends early where somebody else has reached a server that was away,
// and not where the server has no room for us.
func TestReached(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		ends bool
	}{
		{"away", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{"starting", &pgconn.PgError{Code: "57P03"}, true},
		{"too many", &pgconn.PgError{Code: "53300"}, false},
		{"password", &pgconn.PgError{Code: "28P01"}, false},
	} {
		g := newGate()
		for range 8 {
			<-g.turn
			g.TraceConnectEnd(context.Background(), pgx.TraceConnectEndData{Err: c.err})
		}
		g.next = time.Now().Add(time.Minute)
		g.reached()
		err := g.enter(context.Background(), nil)
		if waits := errors.As(err, new(*paused)); waits == c.ends {
			t.Errorf("%s: %v after somebody else has reached it", c.name, err)
		}
	}
}

// An attempt that began before somebody else reached the server says nothing of
// it any more: its failure begins no pause.
func TestOvertaken(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		waits bool
	}{
		{"away", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, false},
		{"read-only", &pgconn.PgError{Code: "25006"}, false},
		{"too many", &pgconn.PgError{Code: "53300"}, true},
	} {
		now := time.Unix(1000, 0)
		g := newGate()
		g.now = func() time.Time { return now }
		g.failures, g.since = 20, now.Add(-time.Minute) // the next pause is as long as they get
		if err := g.enter(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
		g.reached()
		g.TraceConnectEnd(context.Background(), pgx.TraceConnectEndData{Err: c.err})
		if waits := g.next.After(now); waits != c.waits {
			t.Errorf("%s: waits until %v, now it is %v", c.name, g.next, now)
		}
	}
}
