package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	firstPause = 50 * time.Millisecond
	// longestPause is between attempts at a server that is away or starts: short
	// enough to be back two seconds after it is, with the pauses of those who ask
	// for a connection.
	longestPause = time.Second
	// longestAway is between attempts at one that has been away for longer than
	// longAway: by then others of the host look for it and call reached, and a
	// server that stands still keeps every connection that was asked of it, to be
	// looked at before it serves anybody.
	longestAway = 5 * time.Second
	longAway    = 20 * time.Second
	// longestRefusal is between attempts at a server that has no connection left,
	// or does not want us: there every attempt costs it something.
	longestRefusal = 5 * time.Second
	// blip is how long a server may be away before callers are told at once
	// instead of waiting for it.
	blip = 2 * time.Second
)

// gate lets one attempt to connect at a time through, and after a failed one
// none until a random pause is over, so that many processes whose server comes
// back do not fall upon it together. It is the tracer of a pool's connections:
// the driver's only hook that sees failed attempts.
type gate struct {
	now  func() time.Time
	turn chan struct{} // holds one token

	mu       sync.Mutex
	began    time.Time // of the attempt under way
	answered time.Time // when somebody else was last said to have reached the server
	failures int
	since    time.Time // of the first failure
	next     time.Time // no attempt before
	last     error
	plain    bool // a pooler refuses session settings
}

func newGate() *gate {
	g := &gate{now: time.Now, turn: make(chan struct{}, 1)}
	g.turn <- struct{}{}
	return g
}

// paused is the error of who came during a pause. It carries the failure that
// began it.
type paused struct{ cause error }

func (p *paused) Error() string { return "not tried again yet: " + p.cause.Error() }
func (p *paused) Unwrap() error { return p.cause }

// enter waits for the turn. Whoever entered leaves by TraceConnectEnd.
func (g *gate) enter(ctx context.Context, c *pgx.ConnConfig) error {
	select {
	case <-g.turn:
	case <-ctx.Done():
		return fmt.Errorf("wait for the turn to connect: %w", ctx.Err())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now().Before(g.next) {
		g.turn <- struct{}{}
		return &paused{cause: g.last}
	}
	g.began = g.now()
	if g.plain {
		withoutSettings(c)
	}
	return nil
}

// TraceConnectStart is called when an attempt begins.
func (g *gate) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd is called when an attempt has ended.
func (g *gate) TraceConnectEnd(_ context.Context, d pgx.TraceConnectEndData) {
	g.mu.Lock()
	g.leave(d.Err)
	g.mu.Unlock()
	g.turn <- struct{}{}
}

// leave counts the result of an attempt. The lock is held.
func (g *gate) leave(err error) {
	switch {
	case err == nil:
		g.failures, g.last, g.next = 0, nil, time.Time{}
	case refusesSettings(err) && !g.plain:
		g.plain = true // and at once again, without them
	default:
		if g.failures == 0 {
			g.since = g.now()
		}
		longest := longestRefusal
		if comesBack(err) {
			if g.began.Before(g.answered) { // it is there now
				g.failures, g.last, g.next = 0, err, time.Time{}
				return
			}
			longest = longestPause
			if g.failures > 0 && g.now().Sub(g.since) > longAway {
				longest = longestAway
			}
		}
		pause := min(longest, firstPause<<min(g.failures, 10))
		g.failures++
		g.last, g.next = err, g.now().Add(rand.N(pause))
	}
}

// after says when the next attempt may be made, and whether the server has been
// away for longer than anybody should wait.
func (g *gate) after() (wait time.Duration, long bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.next.Sub(g.now()), time.Millisecond), g.failures > 0 && g.now().Sub(g.since) > blip
}

// reached ends the pause: somebody else has just reached the server. One that
// has no connection left, or does not want us, answers others all the time.
func (g *gate) reached() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered = g.now()
	if comesBack(g.last) {
		g.next, g.failures = time.Time{}, 0
	}
}

// comesBack is true for what ends by itself: the server starts, or a standby
// takes its place.
func comesBack(err error) bool { return Classify(err).Broken() }

// failure is the error of the last attempt, nil after a good one.
func (g *gate) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

func (g *gate) isPlain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.plain
}

// setPlain remembers that a pooler stands in between, and says whether that is
// news.
func (g *gate) setPlain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	news := !g.plain
	g.plain = true
	return news
}

// TraceQueryStart is part of the driver's interface.
func (*gate) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd is part of the driver's interface.
func (*gate) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// lostStatement recognises a pooler in transaction mode by what it makes of
// named statements: they are on another server connection (26000), or were left
// on this one by somebody else (42P05).
func lostStatement(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "26000" || e.Code == "42P05")
}
