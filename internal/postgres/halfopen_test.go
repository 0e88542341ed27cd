package postgres_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
)

// Connections of the pool that hang without an end, while new ones would be
// answered: each query ends at its deadline, and after a few of them the pool
// is good again.
func TestHalfOpen(t *testing.T) {
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	h := pgtest.NewHole(t, u.Host)
	u.Host = h.Addr()
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
	hang := h.Hang()
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
			t.Logf("show: of %d connections that hang the pool was rid after %v and %d queries", hang, time.Since(began), n)
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
