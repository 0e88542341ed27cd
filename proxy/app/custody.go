package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	custodyLook = 2 * time.Second
	custodyHeld = 10 * time.Second // how long a claim holds: whoever dies with it delays the next one by this
	hostEvery   = 20 * time.Second // a host counts as alive for three times that
	tidyKeys    = 5 * time.Minute  // between two looks for rows under other keys, and for keys that can be retired
	turnMost    = 5 * time.Second
	leaveMost   = 2 * time.Second // at the end of a worker
	countEvery  = 10              // batches
)

// custody is what one process of a host does for all of it: it tells the other
// hosts which keys this one has, promotes its first key when all have it, seals
// anew what names another one, and keeps the head of the record of changes.
type custody struct {
	w     *worker
	d     *data
	claim *atomic.Int64
	held  int64 // the claim as this process made it; 0: it has none

	chained  bool   // the record of the release before is chained
	told     uint64 // digest of the keys that the database has of this host
	sawAt    int64
	tidiedAt int64
	headAt   int64
	resealer resealer
	waits    string // why the first key is not promoted, as it was said
	failed   string // the error that was said last
}

// keepCustody takes this process's turns until ctx ends.
func (w *worker) keepCustody(ctx context.Context) {
	c := &custody{w: w, d: w.data, claim: &w.table.Header().Custody}
	c.resealer = resealer{store: w.data.store, log: w.log.Logger, broken: map[string]int64{}}
	t := time.NewTicker(custodyLook)
	defer t.Stop()
	defer c.release()
	for {
		if c.take() {
			c.turn(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.data.ringChanged:
		case <-t.C:
		}
	}
}

// take claims the turn, or renews the claim.
func (c *custody) take() bool {
	now, until := fleet.Now(), c.claim.Load()
	if (c.held == 0 || until != c.held) && now < until {
		c.held = 0
		return false
	}
	next := now + int64(custodyHeld)
	if !c.claim.CompareAndSwap(until, next) {
		c.held = 0
		return false
	}
	if until != c.held {
		c.sawAt, c.tidiedAt, c.told = 0, 0, 0 // it was somebody else's
	}
	c.held = next
	return true
}

func (c *custody) release() {
	if c.held != 0 {
		c.claim.CompareAndSwap(c.held, 0)
	}
}

// turn does what is due. An error ends the turn and is said once.
func (c *custody) turn(ctx context.Context) {
	err := c.work(ctx)
	switch {
	case ctx.Err() != nil:
	case err == nil || store.Away(err) || errors.Is(err, store.ErrStaleSeal) || errors.Is(err, context.DeadlineExceeded):
		c.failed = ""
	case err.Error() != c.failed:
		c.failed = err.Error()
		c.d.log.Error("the keys that seal, or the record of changes, could not be looked after", errAttr(err))
	}
}

func (c *custody) work(ctx context.Context) error {
	now := fleet.Now()
	due := func(last *int64, every time.Duration) bool {
		if *last != 0 && now-*last < int64(every) {
			return false
		}
		*last = now
		return true
	}
	agreed := c.w.agreed()
	ring := c.d.ring()
	if due(&c.sawAt, hostEvery) || agreed && c.told != digestOf(ring) {
		c.sawAt = now
		if err := c.sawHost(ctx, ring, agreed); err != nil {
			c.sawAt = 0
			return err
		}
	}
	if !c.d.known() {
		return nil
	}
	c.chainUp(ctx)
	if agreed && ring.First() != ring.ID() {
		if err := c.promote(ctx, ring); err != nil {
			return err
		}
	}
	if due(&c.headAt, headEvery) {
		if err := bounded(ctx, func(ctx context.Context) error { return leaveHead(ctx, c.d.store, c.w.dir, c.d.log) }); err != nil {
			return err
		}
	}
	if c.d.resealDue.Swap(false) || due(&c.tidiedAt, tidyKeys) {
		return c.tidy(ctx)
	}
	return nil
}

// bounded gives one round of questions to the database an end.
func bounded(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, turnMost)
	defer cancel()
	return fn(ctx)
}

// agreed reports whether all workers of this host have the same keys: what one
// of them seals, each of them has to open.
func (w *worker) agreed() bool {
	own := w.table.Generation(w.area).Keys.Load()
	for i := range w.table.Areas() {
		g := w.table.Generation(i)
		if g.Number.Load() == 0 {
			continue
		}
		switch fleet.State(g.State.Load()) {
		case fleet.StateStarting, fleet.StateReady, fleet.StateLame:
			if g.Keys.Load() != own {
				return false
			}
		default:
		}
	}
	return own != 0
}

// sawHost tells the other hosts which keys this one has: while its workers do
// not agree, none that was not told before.
func (c *custody) sawHost(ctx context.Context, ring *seal.Ring, agreed bool) error {
	return bounded(ctx, func(ctx context.Context) error {
		h := c.d.hostRow(ring)
		if !agreed {
			hosts, err := c.d.store.Hosts(ctx, hostAlive)
			if err != nil {
				return err
			}
			told := map[string]string{}
			for _, other := range hosts {
				if other.ID == h.ID {
					told = other.Keys
				}
			}
			maps.DeleteFunc(h.Keys, func(id, mark string) bool { return told[id] != mark })
		}
		err := c.d.store.SawHost(ctx, h)
		if c.told = 0; err == nil && agreed {
			c.told = digestOf(ring)
		}
		return err
	})
}

// chainUp chains, once, what the release before this one has recorded.
func (c *custody) chainUp(ctx context.Context) {
	if c.chained {
		return
	}
	c.chained = true
	c.d.done.Go(func() {
		began := time.Now()
		n, err := c.d.store.ChainUp(ctx)
		if n > 0 {
			c.d.log.Info("the record of changes was chained", slog.Int("rows", n), slog.Duration("took", time.Since(began)))
		}
		if err != nil && ctx.Err() == nil && !store.Away(err) {
			c.d.log.Error("the record of changes could not be chained", errAttr(err))
		}
	})
}

// promote makes the host's first key the one that everybody seals with, as soon
// as every host has it.
func (c *custody) promote(ctx context.Context, ring *seal.Ring) error {
	return bounded(ctx, func(ctx context.Context) error {
		p, err := promote(ctx, c.d.store, ring, c.d.host)
		if err != nil {
			return err
		}
		if p.waits != c.waits {
			if c.waits = p.waits; p.waits != "" {
				c.d.log.Warn("the first key of the ring is not in use yet", slog.String("key_id", ring.First()), slog.String("reason", p.waits))
			}
		}
		p.say(c.d.log)
		if err := c.d.takePromoted(ctx); err != nil || !p.done {
			return err
		}
		stands, err := c.d.store.Meta(ctx, canary)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return markCanary(ctx, c.d.store, c.d.ring(), stands)
	})
}

// tidy seals anew what names another key than the one in use, and retires keys
// that nobody has and nothing names.
func (c *custody) tidy(ctx context.Context) error {
	if err := c.reseal(ctx); err != nil {
		c.d.resealDue.Store(true) // it goes on at the next turn
		return err
	}
	return bounded(ctx, c.retire)
}

func (c *custody) reseal(ctx context.Context) error {
	r := &c.resealer
	r.done = 0
	began := time.Now()
	for batches := 0; ; batches++ {
		ring := c.d.sealing()
		if ring == nil || !c.take() {
			return nil
		}
		if batches%countEvery == 0 {
			if err := c.count(ctx, ring); err != nil || c.d.rowsLeft.Load() == 0 {
				return err
			}
		}
		n := 0
		err := bounded(ctx, func(ctx context.Context) (err error) {
			n, err = r.batch(ctx, ring)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if store.Pause(ctx, resealPause) != nil {
			return ctx.Err()
		}
	}
	if r.done > 0 {
		c.d.log.Info("re-encrypted", slog.Int("rows", r.done), slog.Duration("took", time.Since(began)))
	}
	return c.count(ctx, c.d.ring())
}

// count notes how many rows wait to be sealed anew.
func (c *custody) count(ctx context.Context, ring *seal.Ring) error {
	return bounded(ctx, func(ctx context.Context) error {
		rows, err := c.d.store.SealedRows(ctx)
		left := 0
		for id, kinds := range rows {
			for kind, n := range kinds {
				if id != ring.ID() && kind != identity.KindSealingKey.String() {
					left += n
				}
			}
		}
		c.d.rowsLeft.Store(int64(left))
		return err
	})
}

// retire notes of every key that was replaced, that no host has and that nothing
// names, that it is done with.
func (c *custody) retire(ctx context.Context) error {
	st, err := readSealed(ctx, c.d.store)
	if err != nil {
		return err
	}
	for _, k := range st.keys {
		if k.RetiredAt != nil || k.ID == st.promoted || len(st.rows[k.ID]) > 0 || hostHas(st.hosts, k.ID) || c.d.ring().Has(k.ID) {
			continue
		}
		err := c.d.store.Change(ctx, store.Actor{User: itself, Reason: "no host has the key, and nothing is sealed with it"},
			func(tx *store.Tx) error { return tx.Retire(k.ID) })
		var inUse *store.InUseError
		if errors.As(err, &inUse) || errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.d.log.Info("key retired", slog.String("key_id", k.ID))
	}
	return nil
}

func hostHas(hosts []store.Host, id string) bool {
	for i := range hosts {
		if accepts(&hosts[i], id, "") {
			return true
		}
	}
	return false
}

// leave is what a worker that ends does for its host: it keeps the head of the
// record, and where the whole host ends, it says so to the others. Every worker
// may be the last one.
func (w *worker) leave() {
	d := w.data
	if d == nil || !d.known() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveMost)
	defer cancel()
	if err := leaveHead(ctx, d.store, w.dir, d.log); err != nil && !store.Away(err) {
		d.log.Warn("the head of the record of changes was not kept at the end", errAttr(err))
	}
	switch fleet.State(w.table.Header().State.Load()) {
	case fleet.StateDraining, fleet.StateStopping:
		h := d.hostRow(d.ring())
		h.WritesWith = "" // it seals nothing any more, and comes back with the keys that it has
		_ = d.store.SawHost(ctx, h)
	default:
	}
}
