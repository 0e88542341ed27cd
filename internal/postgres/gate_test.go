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
