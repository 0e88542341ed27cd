package auth

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// customers are the blocked end users. Any request may name an end user that
// nobody has heard of, so looking each one up would let clients choose how much
// is asked of the database: the few that are blocked are kept whole.
type customers struct {
	blocked atomic.Pointer[map[string]struct{}]
	dirty   atomic.Bool // some have changed since they were read
	failed  atomic.Bool // the last reading brought nothing

	mu      sync.Mutex // guards what follows
	changed map[uint64]struct{}
	all     bool          // nobody knows which
	read    chan struct{} // closed by the next reading
}

func (c *customers) init() {
	c.blocked.Store(&map[string]struct{}{})
	c.all, c.read = true, make(chan struct{})
	c.changed = map[uint64]struct{}{}
	c.dirty.Store(true)
}

func (c *customers) due() bool { return c.dirty.Load() }

// spoil notes that an end user has changed.
func (c *customers) spoil(hash uint64) {
	c.mu.Lock()
	c.changed[hash] = struct{}{}
	c.dirty.Store(true)
	c.mu.Unlock()
}

func (c *customers) spoilAll() {
	c.mu.Lock()
	c.all = true
	c.dirty.Store(true)
	c.mu.Unlock()
}

// doubt returns what to wait for where it is not known whether an end user is
// blocked; nil where it is.
func (c *customers) doubt(hash uint64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.changed[hash]; ok || c.all {
		return c.read
	}
	return nil
}

// readCustomers reads the blocked end users again.
func (d *Directory) readCustomers(ctx context.Context) (ok bool) {
	c := &d.customers
	c.mu.Lock()
	changed, all := c.changed, c.all
	c.changed, c.all = map[uint64]struct{}{}, false
	c.dirty.Store(false)
	c.mu.Unlock()
	d.stat.queries.Inc()
	within, cancel := context.WithTimeout(ctx, d.c.Query)
	ids, err := d.c.Source.BlockedCustomers(within)
	cancel()
	d.answered(ctx, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		for hash := range changed {
			c.changed[hash] = struct{}{}
		}
		c.all = c.all || all
		c.dirty.Store(true)
	} else {
		set := make(map[string]struct{}, len(ids))
		for _, id := range ids {
			set[id] = struct{}{}
		}
		c.blocked.Store(&set)
	}
	c.failed.Store(err != nil)
	close(c.read)
	c.read = make(chan struct{})
	return err == nil
}

// serves says whether requests for an end user are taken. Where the database is
// away, one that is known to have changed is refused for now, and all others
// are taken as they were.
func (d *Directory) serves(id []byte) *llm.Error {
	c := &d.customers
	name := unsafe.String(unsafe.SliceData(id), len(id)) // kept by nobody
	if !c.dirty.Load() {
		return d.blockedNow(name)
	}
	hash := fleet.HashID(name)
	timer := time.NewTimer(d.c.Wait)
	defer timer.Stop()
	for {
		read := c.doubt(hash)
		if read == nil {
			return d.blockedNow(name)
		}
		if !c.failed.Load() {
			select {
			case <-read:
				continue
			case <-timer.C:
			}
		}
		if err := d.blockedNow(name); err != nil {
			return err
		}
		c.mu.Lock()
		_, changed := c.changed[hash]
		c.mu.Unlock()
		if changed {
			return away()
		}
		return nil
	}
}

func (d *Directory) blockedNow(name string) *llm.Error {
	if _, ok := (*d.customers.blocked.Load())[name]; ok {
		return blockedCustomer(name)
	}
	return nil
}
