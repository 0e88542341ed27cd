package server

import (
	"sync"
	"sync/atomic"
)

// registry holds the open connections for the sweeper and for the drain.
type registry struct {
	mu      sync.Mutex // guards all
	all     []*conn
	clients atomic.Int64 // of all, those of the private socket left out
}

func (r *registry) add(c *conn) {
	r.mu.Lock()
	c.index = len(r.all)
	r.all = append(r.all, c)
	r.mu.Unlock()
	if !c.private {
		r.clients.Add(1)
		c.s.own.Conns.Add(1)
		c.s.own.Accepted.Add(1)
	}
}

func (r *registry) remove(c *conn) {
	r.mu.Lock()
	last := len(r.all) - 1
	r.all[c.index] = r.all[last]
	r.all[c.index].index = c.index
	r.all[last] = nil
	r.all = r.all[:last]
	r.mu.Unlock()
	if !c.private {
		c.s.own.Conns.Add(-1)
		r.clients.Add(-1)
	}
}

// each calls f for every open connection; f must be quick and must not open or
// close one.
func (r *registry) each(f func(*conn)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.all {
		f(c)
	}
}
