package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Lookup asks the system or a name server for the addresses of a host, in the
// order in which they should be tried.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

const (
	lookupLimit = 2 * time.Second  // for one look-up
	lookupStale = 10 * time.Minute // answers are served for so long while look-ups fail
	lookupRetry = time.Second      // between two failing look-ups
	lookupGone  = 30 * time.Second // an address unseen for so long has vanished
	lookupKeep  = time.Hour        // names unused for so long are forgotten
)

// resolver caches addresses. The standard resolver does not tell a record's
// TTL, so every answer lives for the same time.
type resolver struct {
	lookup Lookup
	ttl    time.Duration
	clock  func() int64
	work   sync.WaitGroup // running look-ups; each ends within lookupLimit

	mu     sync.Mutex // guards names, their fields and closed
	names  map[string]*name
	closed bool
}

// name is what is known about one host.
type name struct {
	addrs  []netip.Addr // replaced, never changed
	seen   map[netip.Addr]int64
	good   int64 // when addrs came; 0: never
	tried  int64 // when the last look-up ended
	used   int64
	err    error
	flight chan struct{} // closed when the running look-up ends
}

func newResolver(lookup Lookup, ttl time.Duration, clock func() int64) *resolver {
	return &resolver{lookup: lookup, ttl: ttl, clock: clock, names: make(map[string]*name)}
}

// addresses gives the addresses of host: cached, else asked for, else stale.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	r.mu.Lock()
	n, flight := r.refresh(host)
	n.used = r.clock()
	r.mu.Unlock()
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("look up %s: %w", host, ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.good != 0 && r.clock()-n.good < int64(lookupStale) {
		return n.addrs, nil
	}
	return nil, fmt.Errorf("look up %s: %w", host, n.err)
}

// refresh starts a look-up if one is due and gives the running one, if any.
// The caller holds r.mu.
func (r *resolver) refresh(host string) (*name, chan struct{}) {
	now := r.clock()
	n := r.names[host]
	if n == nil {
		n = &name{seen: make(map[netip.Addr]int64), err: errors.New("never asked"), tried: -1 << 60, used: now}
		r.names[host] = n
	}
	fresh := n.good != 0 && now-n.good < int64(r.ttl)
	if n.flight != nil || fresh || now-n.tried < int64(lookupRetry) {
		return n, n.flight
	}
	if r.closed {
		n.err = ErrClosed
		return n, nil
	}
	n.flight = make(chan struct{})
	r.work.Add(1)
	go r.fly(host, n, n.flight)
	return n, n.flight
}

// fly does one look-up for all who wait for it.
func (r *resolver) fly(host string, n *name, flight chan struct{}) {
	defer r.work.Done()
	ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
	defer cancel()
	addrs, err := r.lookup(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("no addresses")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	n.tried, n.flight, n.err = now, nil, err
	if err == nil {
		n.addrs, n.good = make([]netip.Addr, len(addrs)), now
		for i, a := range addrs {
			n.addrs[i] = a.Unmap()
			n.seen[a.Unmap()] = now
		}
		for a, at := range n.seen {
			if now-at > int64(lookupStale) {
				delete(n.seen, a)
			}
		}
	}
	close(flight)
}

// watch keeps the answer for host fresh without waiting for it.
func (r *resolver) watch(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(host)
}

// vanished reports whether the host has, for a while and in an answer since,
// no longer been at addr.
func (r *resolver) vanished(host string, addr netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil || n.good == 0 {
		return false
	}
	return n.good-n.seen[addr] >= int64(lookupGone)
}

// forget drops names that nobody asked for in the last hour.
func (r *resolver) forget(now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for host, n := range r.names {
		if n.flight == nil && now-n.used > int64(lookupKeep) {
			delete(r.names, host)
		}
	}
}

// close refuses further look-ups and waits for the running ones.
func (r *resolver) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.work.Wait()
}
