// Package upstream speaks HTTP/1.1 (RFC 9110, RFC 9112) to providers: pooled
// connections kept apart by identity, deadlines per phase, cancellation from
// any goroutine, bodies that are handed on as they come. Plain calls over a
// pooled connection cost no goroutine, no timer and no allocation.
package upstream

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"sync"
	"time"
	"weak"
)

// Settings bound what all endpoints of Pools have in common. Zero values mean
// the defaults.
type Settings struct {
	// MaxIdle is how many connections may idle per identity; default 512.
	MaxIdle int
	// IdleTimeout ends an idle connection, unless the provider's Keep-Alive
	// header asks for less; default 50 s.
	IdleTimeout time.Duration
	// DNSTimeToLive is how long an address is used without asking again;
	// default 25 s.
	DNSTimeToLive time.Duration
	// MaxInflated bounds a compressed answer after decompression, in bytes;
	// default 64 MiB.
	MaxInflated int64
	// HTTPProxy and HTTPSProxy are the forward proxies for http:// and
	// https:// endpoints that name none; NoProxy lists what goes direct, in
	// the form of the NO_PROXY variable.
	HTTPProxy, HTTPSProxy, NoProxy string
	// Lookup replaces the system's resolver.
	Lookup Lookup
}

// Pools holds the connections of all endpoints. One serves a whole process and
// outlives generations of its configuration. Close it at the end.
type Pools struct {
	settings Settings
	names    *resolver
	sweeper  *sweeper

	mu     sync.Mutex // guards the rest; never held over a pool's
	byKey  map[[sha256.Size]byte]*entry
	closed bool
}

// entry keeps a pool that is in use, and finds one that only an Endpoint still
// holds, so that an identity never has two.
type entry struct {
	held  *pool // nil when unused for long
	known weak.Pointer[pool]
}

// unusedPool is how long an identity without calls is remembered.
const unusedPool = 10 * time.Minute

// NewPools makes empty pools. Nothing runs before the first call.
func NewPools(s Settings) *Pools {
	if s.MaxIdle <= 0 {
		s.MaxIdle = 512
	}
	if s.IdleTimeout <= 0 {
		s.IdleTimeout = 50 * time.Second
	}
	if s.DNSTimeToLive <= 0 {
		s.DNSTimeToLive = 25 * time.Second
	}
	if s.MaxInflated <= 0 {
		s.MaxInflated = 64 << 20
	}
	if s.Lookup == nil {
		s.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	p := &Pools{settings: s, byKey: make(map[[sha256.Size]byte]*entry)}
	p.sweeper = newSweeper(p.reap)
	p.names = newResolver(s.Lookup, s.DNSTimeToLive, p.sweeper.clock)
	return p
}

// Close cancels the calls that are live, closes the idle connections and waits
// for its goroutines. Calls after it fail with ErrClosed.
func (p *Pools) Close() {
	p.sweeper.stop()
	p.names.close()
	p.mu.Lock()
	p.closed = true
	all := p.list()
	p.mu.Unlock()
	for _, q := range all {
		q.reap(1 << 62)
	}
}

// pool gives the pool of an identity.
func (p *Pools) pool(key [sha256.Size]byte, t *target) *pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byKey[key]; e != nil {
		if q := e.known.Value(); q != nil {
			return q
		}
	}
	q := &pool{owner: p, key: key, target: t, used: p.sweeper.clock()}
	p.byKey[key] = &entry{held: q, known: weak.Make(q)}
	return q
}

// hold keeps a pool that gets a connection. It reports false when the pools
// are closed.
func (p *Pools) hold(q *pool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.byKey[q.key]; e != nil {
		e.held = q
	} else {
		p.byKey[q.key] = &entry{held: q, known: weak.Make(q)}
	}
	return !p.closed
}

// list copies the pools. The caller holds p.mu.
func (p *Pools) list() []*pool {
	all := make([]*pool, 0, len(p.byKey))
	for key, e := range p.byKey {
		if q := e.known.Value(); q != nil {
			all = append(all, q)
		} else {
			delete(p.byKey, key)
		}
	}
	return all
}

// reap ends what has idled too long, keeps addresses fresh and forgets unused
// identities. It reports whether connections are left.
func (p *Pools) reap(now int64) bool {
	p.mu.Lock()
	all := p.list()
	p.mu.Unlock()
	left := false
	for _, q := range all {
		idle, used := q.reap(now)
		switch {
		case idle > 0:
			left = true
			if q.target.named != "" {
				p.names.watch(q.target.named)
			}
		case now-used > int64(unusedPool):
			p.mu.Lock()
			if e := p.byKey[q.key]; e != nil {
				e.held = nil
			}
			p.mu.Unlock()
		}
	}
	p.names.forget(now)
	return left
}

// pool is the idle connections of one identity. The one used last is used
// first, so that the surplus of a busy hour grows old and ends.
type pool struct {
	owner  *Pools
	key    [sha256.Size]byte
	target *target

	mu   sync.Mutex // guards the rest
	idle []*conn    // the last one is the youngest
	used int64
}

// get takes the youngest idle connection that is alive, or nil. One that asks
// is looked at when it does.
func (q *pool) get(now int64) *conn {
	for {
		q.mu.Lock()
		q.used = now
		last := len(q.idle) - 1
		if last < 0 {
			q.mu.Unlock()
			return nil
		}
		c := q.idle[last]
		q.idle[last] = nil
		q.idle = q.idle[:last]
		q.mu.Unlock()
		if now < c.until && (c.asks() || c.alive()) {
			c.pooled = true
			return c
		}
		_ = c.sock.Close()
	}
}

// put takes a clean connection back, or closes it.
func (q *pool) put(c *conn, now int64) {
	if now-c.checked > int64(reapEvery) {
		c.checked = now
		if q.vanished(c) || !q.owner.hold(q) {
			_ = c.sock.Close()
			return
		}
	}
	c.until = now + int64(c.rest)
	q.mu.Lock()
	if len(q.idle) < q.owner.settings.MaxIdle {
		q.idle = append(q.idle, c)
		c = nil
	}
	q.mu.Unlock()
	if c != nil {
		_ = c.sock.Close()
	}
}

func (q *pool) vanished(c *conn) bool {
	return q.target.named != "" && c.addr.IsValid() && q.owner.names.vanished(q.target.named, c.addr)
}

// reap closes the idle connections whose time is over or whose address has
// vanished. It returns how many are left and when the pool was last used.
func (q *pool) reap(now int64) (left int, used int64) {
	var dead []*conn
	q.mu.Lock()
	keep := q.idle[:0]
	for _, c := range q.idle {
		if now >= c.until || q.vanished(c) {
			dead = append(dead, c)
		} else {
			keep = append(keep, c)
		}
	}
	clear(q.idle[len(keep):])
	q.idle = keep
	left, used = len(keep), q.used
	q.mu.Unlock()
	for _, c := range dead {
		_ = c.sock.Close()
	}
	return left, used
}
