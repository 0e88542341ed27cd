package auth

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
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

	known bool   // they were read once, or remembered; the looking goroutine's
	kept  string // what the snapshot has of them; likewise

	mu      sync.Mutex // guards what follows
	changed map[uint64]struct{}
	all     bool                // nobody knows which
	asked   map[uint64]struct{} // changed before the reading that is under way
	askAll  bool
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
	if c.all || c.askAll || c.has(hash) {
		return c.read
	}
	return nil
}

// has reports whether an end user has changed since the last reading began that
// was answered. The mutex is held.
func (c *customers) has(hash uint64) bool {
	_, changed := c.changed[hash]
	_, asked := c.asked[hash]
	return changed || asked
}

// readCustomers reads the blocked end users again.
func (d *Directory) readCustomers(ctx context.Context) (ok bool) {
	c := &d.customers
	c.mu.Lock()
	c.asked, c.askAll = c.changed, c.all
	c.changed, c.all = map[uint64]struct{}{}, false
	c.mu.Unlock()
	d.stat.queries.Inc()
	within, cancel := context.WithTimeout(ctx, d.c.Query)
	began := fleet.Now()
	ids, err := d.c.Source.BlockedCustomers(within)
	if err == nil {
		err = d.readSpenders(within, c.asked)
	}
	cancel()
	d.answered(ctx, began, err)
	if err == nil {
		d.keepCustomers(ids)
	} else if !c.known {
		d.recallCustomers()
		d.recallSpenders()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		maps.Copy(c.changed, c.asked)
		c.all = c.all || c.askAll
	} else {
		c.block(ids)
		c.dirty.Store(c.all || len(c.changed) > 0)
	}
	c.asked, c.askAll = nil, false
	c.failed.Store(err != nil)
	close(c.read)
	c.read = make(chan struct{})
	return err == nil
}

func (c *customers) block(ids []string) {
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	c.blocked.Store(&set)
}

// customersName is the name of the blocked end users in the snapshot.
const customersName = "blocked customers"

// keepCustomers gives the snapshot the blocked end users, where they are others
// than it has. Those of very many ids do not fit in and are not kept.
func (d *Directory) keepCustomers(ids []string) {
	d.customers.known = true
	if d.c.Snapshot == nil {
		return
	}
	slices.Sort(ids)
	raw, err := json.Marshal(ids)
	if err != nil || string(raw) == d.customers.kept || d.c.Snapshot.Put(customersName, raw) != nil {
		return
	}
	d.customers.kept = string(raw)
}

// recallCustomers blocks the end users that the snapshot remembers.
func (d *Directory) recallCustomers() {
	if d.c.Snapshot == nil || badSnapshot() {
		return
	}
	raw, ok := d.c.Snapshot.Get(customersName)
	var ids []string
	if !ok || json.Unmarshal(raw, &ids) != nil {
		return
	}
	d.customers.known, d.customers.kept = true, string(raw)
	d.customers.block(ids)
}

// serves says whether requests for an end user are taken. Where the database is
// away, one that is known to have changed is refused until it can be read, and all others
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
		if !c.failed.Load() && !d.failing() {
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
		changed := c.has(hash)
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
