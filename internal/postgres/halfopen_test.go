package postgres_test

import (
	"context"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
)

// hole forwards connections to a server, and can let those that there are hang:
// both ends stay open and nothing passes, as where packets are dropped.
type hole struct {
	net.Listener
	to   string
	deaf atomic.Int64 // connections up to this number hang
	made atomic.Int64
}

func newHole(t *testing.T, to string) *hole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{Listener: l, to: to}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", h.to)
			if err != nil {
				_ = from.Close()
				continue
			}
			n := h.made.Add(1)
			go h.pass(n, from, to)
			go h.pass(n, to, from)
		}
	}()
	return h
}

func (h *hole) pass(n int64, from, to net.Conn) {
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		got, err := from.Read(b)
		for n <= h.deaf.Load() {
			if err != nil {
				return // the other side never hears of it
			}
			_, err = from.Read(b)
		}
		if err == nil {
			_, err = to.Write(b[:got])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// Connections of the pool that hang without an end, while new ones would be
// answered: each query ends at its deadline, and after a few of them the pool
// is good again.
func TestHalfOpen(t *testing.T) {
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	h := newHole(t, u.Host)
	u.Host = h.Addr().String()
	source, err := postgres.ParseURL(u.String())
	if err != nil {
		t.Fatal(err)
	}
	const size = 10
	p, err := postgres.NewPool(source, postgres.PoolConfig{Limit: size})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ask := func(ctx context.Context) error {
		return p.Do(ctx, func(c *pgx.Conn) error {
			_, err := c.Exec(ctx, "SELECT pg_sleep(0.1)")
			return err
		})
	}
	var all sync.WaitGroup
	for range size {
		all.Go(func() {
			if err := ask(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	h.deaf.Store(h.made.Load())
	began := time.Now()
	for n := 1; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		from := time.Now()
		err := ask(ctx)
		cancel()
		if took := time.Since(from); took > 1200*time.Millisecond {
			t.Errorf("a query with a second's deadline took %v", took)
		}
		if err == nil {
			t.Logf("show: of %d connections that hang the pool was rid after %v and %d queries", h.deaf.Load(), time.Since(began), n)
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("still hanging: %v", err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("good again only after %v", took)
	}
}
