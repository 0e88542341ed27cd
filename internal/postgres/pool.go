package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// PoolConfig is what a program wants of its connections together.
type PoolConfig struct {
	Options
	Limit int           // connections at most; 0: the URL's connection_limit, or 10
	Wait  time.Duration // for a free connection; 0: the URL's pool_timeout, or 60 s
	Idle  time.Duration // a connection that nobody used for so long is closed; 0: 60 s
}

// DefaultLimit is the size of a pool that nobody has given one.
const DefaultLimit = 10

const (
	// lifetime of a connection: one that leads to a server which is no longer
	// the right one is left by itself.
	lifetime = 5 * time.Minute
	jitter   = time.Minute

	suspectEvery  = 5 * time.Second
	closePatience = time.Second
)

// Pool is a set of connections. It makes them when they are needed, one at a
// time. It is safe for concurrent use.
type Pool struct {
	source *Source
	config PoolConfig
	pool   *pgxpool.Pool
	gate   *gate

	suspected atomic.Int64 // when connections were last given up because one did not answer, Unix nanoseconds
}

// NewPool makes a pool. It connects to nothing yet.
func NewPool(s *Source, c PoolConfig) (*Pool, error) {
	if c.Limit <= 0 {
		c.Limit = s.PoolLimit
	}
	if c.Limit <= 0 {
		c.Limit = DefaultLimit
	}
	if c.Wait <= 0 {
		c.Wait = s.PoolTimeout
	}
	if c.Wait <= 0 {
		c.Wait = time.Minute
	}
	if c.Idle <= 0 {
		c.Idle = time.Minute
	}
	conn, err := s.Config(c.Options)
	if err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig("") // only a parsed configuration is accepted
	if err != nil {
		return nil, &configError{err: err}
	}
	p := &Pool{source: s, config: c, gate: newGate()}
	conn.Tracer = p.gate
	pc.ConnConfig = conn
	pc.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		s.login.use(c)
		return p.gate.enter(ctx, c)
	}
	pc.MaxConns = int32(min(c.Limit, 10_000)) //nolint:gosec // bounded
	pc.MinConns, pc.MinIdleConns = 0, 0
	pc.MaxConnLifetime, pc.MaxConnLifetimeJitter, pc.MaxConnIdleTime = lifetime, jitter, c.Idle
	pc.PingTimeout = 2 * time.Second
	if p.pool, err = pgxpool.NewWithConfig(context.Background(), pc); err != nil {
		return nil, &configError{err: err}
	}
	return p, nil
}

// Close closes all connections; it waits for those in use, for a moment: one
// whose server does not answer would take many seconds to say goodbye.
func (p *Pool) Close() {
	closed := make(chan struct{})
	go func() { // ends when the last connection does
		p.pool.Close()
		close(closed)
	}()
	t := time.NewTimer(closePatience)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
	}
}

// Reached tells the pool that the server answers others: the next one who wants
// a connection need not wait for the end of a pause.
func (p *Pool) Reached() { p.gate.reached() }

// Bouncer is true when a pooler in transaction mode stands in between: the URL
// says so, or it was noticed.
func (p *Pool) Bouncer() bool { return p.source.Bouncer || p.gate.isPlain() }

// Take gives a connection, which the caller releases. It waits at most
// PoolConfig.Wait for one; a server that has just gone away is waited for, one
// that has been away for longer is reported at once.
func (p *Pool) Take(ctx context.Context) (*pgxpool.Conn, error) {
	within, cancel := context.WithTimeout(ctx, p.config.Wait)
	defer cancel()
	for {
		conn, err := p.pool.Acquire(within)
		if err == nil {
			return conn, nil
		}
		if within.Err() != nil {
			if int(p.pool.Stat().AcquiredConns()) < p.config.Limit && p.gate.failure() == nil {
				p.suspect() // nobody was in the way but connections that do not answer
			}
			return nil, p.late(ctx, err)
		}
		pause, long := p.gate.after()
		if long || !Classify(err).Temporary() && !refusesSettings(err) {
			return nil, fmt.Errorf("connect to %s: %w", p.source, err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-within.Done():
			t.Stop()
			return nil, p.late(ctx, err)
		}
	}
}

// late is the error of who waited in vain: for the server, or for a connection
// that others use.
func (p *Pool) late(ctx context.Context, err error) error {
	if failure := p.gate.failure(); failure != nil {
		err = failure
	} else if ctx.Err() == nil {
		return fmt.Errorf("%w: all %d were in use for %s", errNoneFree, p.config.Limit, p.config.Wait)
	}
	return fmt.Errorf("connect to %s: %w", p.source, err)
}

// errNoneFree means that the pool is too small or its users too slow.
var errNoneFree = errors.New("no connection of the pool became free")

// Do runs fn with a connection. The error goes through Note.
func (p *Pool) Do(ctx context.Context, fn func(conn *pgx.Conn) error) error {
	conn, err := p.Take(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return p.Note(fn(conn.Conn()))
}

// Note looks at an error of a connection of the pool, and passes it on. Where a
// connection broke, or leads to a standby now, the others that lie idle will
// hardly be better: all are given up. So are those that rely on named statements
// when a pooler turns out to have come in between.
func (p *Pool) Note(err error) error {
	if err == nil {
		return nil
	}
	if lostStatement(err) {
		if p.gate.setPlain() {
			p.pool.Reset()
		}
	} else if Again(err) {
		p.pool.Reset()
	} else if errors.Is(err, context.DeadlineExceeded) {
		p.suspect()
	}
	return err
}

// suspect gives up all idle connections after one that did not answer in time:
// where packets are lost they hang alike, and each would cost somebody a
// deadline. The server may be only slow, so it is not done often.
func (p *Pool) suspect() {
	last, now := p.suspected.Load(), time.Now().UnixNano()
	if now-last > int64(suspectEvery) && p.suspected.CompareAndSwap(last, now) {
		p.pool.Reset()
	}
}

// Again is true for an error of a query that only reads and that may well
// succeed on another connection: this one broke, or relied on a statement that
// a pooler does not keep.
func Again(err error) bool {
	k := Classify(err)
	return lostStatement(err) || k.Broken() && !errors.As(err, new(*paused)) && !isConnect(err) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// Open makes one connection outside the pool, for a session of its own. The
// caller closes it.
func (p *Pool) Open(ctx context.Context, application string) (*pgx.Conn, error) {
	o := p.config.Options
	o.Application, o.StatementTimeout = application, 0
	return Open(ctx, p.source, o)
}
