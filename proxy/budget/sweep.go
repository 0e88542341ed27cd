package budget

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// Times of what is looked after for the whole host.
const (
	beatEvery    = 10 * time.Second // a holder tells that it is alive
	earlierEvery = 5 * time.Second  // where an earlier life's leases wait: this one may not last long either
	holderGone   = 20 * time.Second // one of this host that was silent so long has no table any more
	sweepsAnIdle = 6                // looks at idle leases in the time that makes a lease idle
	pageOf       = 500              // leases that are looked at together
)

// suspect is a lease of which nothing is available, nothing claimed, and yet
// something held: what was spent and not shipped, or what a killed process has
// left. Once everything that was settled before is shipped it can only be the
// latter.
type suspect struct {
	amount    money.Nano
	available money.Nano
	since     int64 // Now
	used      int64 // second of the last reservation by then
}

// sweepOn looks after the leases of the host whenever it is this process's turn.
func (b *Budgets) sweepOn(ctx context.Context) {
	every := min(b.c.Idle/sweepsAnIdle, beatEvery)
	turn := &b.c.Table.Header().LeaseTurn
	suspects := map[uint64]suspect{}
	next := int64(0) // Now of the next look at idle leases
	for mine := int64(0); ; {
		b.lookAtSoft()
		now := fleet.Now()
		if until := turn.Load(); until < now || until == mine {
			if claimed := now + int64(2*every); turn.CompareAndSwap(until, claimed) {
				if mine == 0 || until != mine {
					clear(suspects)
				}
				mine = claimed
				b.tend(ctx, suspects, &next)
			}
		}
		wait := every
		if b.earlierLeft {
			wait = min(wait, earlierEvery)
		}
		t := time.NewTimer(wait + rand.N(wait/4))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			turn.CompareAndSwap(mine, 0)
			return
		}
	}
}

// tend does this process's turn.
func (b *Budgets) tend(all context.Context, suspects map[uint64]suspect, next *int64) {
	if b.c.Leaser == nil {
		return
	}
	ctx, cancel := context.WithTimeout(all, beatEvery)
	defer cancel()
	err := b.beat(ctx)
	if now := fleet.Now(); err == nil && now >= b.earlierAt {
		err = b.releaseEarlier(ctx)
	}
	if now := fleet.Now(); err == nil && now >= *next {
		*next = now + int64(b.c.Idle)
		if b.leasing() {
			*next = now + int64(b.c.Idle/sweepsAnIdle)
		}
		if err = b.sweep(ctx, b.c.Idle, suspects); err == nil {
			b.recycle()
		}
	}
	if err != nil {
		b.failed(all, err)
	} else if !b.held() {
		b.answered()
	}
}

// leasing reports whether this host has leased anything, as far as its table says.
func (b *Budgets) leasing() (some bool) {
	b.bank.Each(func(tag uint64, r *fleet.Record) { some = some || !own(tag) && r.Words[wordLeased].Load() != 0 })
	return some
}

// beat tells the database that this host lives, and looks which one it is and what time it has. Where its leases were released
// meanwhile, it has none: they are forgotten before it may lease again.
func (b *Budgets) beat(ctx context.Context) error {
	released, err := b.c.Leaser.Beat(ctx, bill.Holder{Holder: b.holder, HostID: b.c.HostID, HostName: b.c.HostName})
	if err != nil {
		return err
	}
	if released {
		b.c.Log.Warn("the leases of this host were released while it was out of touch: what it had is forgotten")
		claimed := b.c.Table.Claimed()
		b.bank.Each(func(tag uint64, r *fleet.Record) {
			a := account{r}
			if own(tag) {
				return
			}
			if a.drain() > 0 {
				b.c.Metrics.forgotten.Inc()
			}
			if !claimed[r] && a.available() == 0 {
				a.forget()
			}
		})
		if err := b.c.Leaser.Revive(ctx, b.holder); err != nil {
			return err
		}
	}
	if err := b.compareClocks(ctx); err != nil {
		return err
	}
	if err := b.remember(ctx); err != nil {
		return err
	}
	b.beaten.Store(true)
	return nil
}

// releaseEarlier gives back what earlier lives of this host's table hold, as soon
// as their journals are in the database.
func (b *Budgets) releaseEarlier(ctx context.Context) error {
	holders, err := b.c.Leaser.Holders(ctx, b.c.HostID)
	if err != nil {
		return err
	}
	b.earlierAt, b.earlierLeft = 0, false
	if len(holders) <= 1 { // no earlier life: one that appears is a copy of this host's disk
		b.earlierAt = fleet.Now() + int64(3*b.c.Gone)
	}
	for i := range holders {
		h := &holders[i]
		if h.Holder == b.holder || h.Silent < b.c.Gone {
			continue
		}
		if !b.c.HolderShipped(h.Holder) {
			b.earlierLeft = true
			continue
		}
		amount, leases, err := b.c.Leaser.ReleaseHolder(ctx, h.Holder)
		if err != nil {
			return err
		}
		b.c.Metrics.released.Inc()
		b.c.Log.Info("the leases of an earlier life of this host are given back", slog.String("holder", h.Holder),
			slog.String("amount", amount.String()), slog.Int("budgets", leases))
	}
	return nil
}

// sweep returns what is available of leases that nobody has used for so long, and
// ends those of which nothing is used any more.
func (b *Budgets) sweep(ctx context.Context, idle time.Duration, suspects map[uint64]suspect) error {
	var claimed map[*fleet.Record]bool
	for after := (bill.Lease{}); ; {
		page, err := b.c.Leaser.Leases(ctx, b.holder, idle, after, pageOf)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1]
		if claimed == nil {
			claimed = b.c.Table.Claimed()
		}
		if err := b.sweepPage(ctx, page, idle, claimed, suspects); err != nil {
			return err
		}
	}
}

func (b *Budgets) sweepPage(ctx context.Context, page []bill.Lease, idle time.Duration, claimed map[*fleet.Record]bool, suspects map[uint64]suspect) error {
	var back, end []bill.Lease
	var locked []account
	var locks []uint64
	var ends []uint64 // tags
	defer func() {
		for i, a := range locked {
			a.unlock(locks[i])
		}
	}()
	for i := range page {
		l := &page[i]
		tag := Tag(l.Kind, l.ID, l.Window)
		a, lock := b.idle(tag, idle)
		if lock == 0 {
			delete(suspects, tag)
			continue
		}
		locked, locks = append(locked, a), append(locks, lock)
		n := a.drain()
		if n > 0 {
			back = append(back, bill.Lease{Kind: l.Kind, ID: l.ID, Window: l.Window, Amount: n})
		}
		if b.suspicious(suspects, tag, l.Amount-n, a, claimed[a.Record]) {
			end, ends = append(end, bill.Lease{Kind: l.Kind, ID: l.ID, Window: l.Window, Amount: l.Amount - n}), append(ends, tag)
		}
	}
	if len(back) > 0 {
		if err := b.c.Leaser.ReturnLeases(ctx, b.holder, back); err != nil {
			return err
		}
		for i := range back {
			b.c.Metrics.returned.Add(int(min(back[i].Amount/1000, 1<<31)))
		}
	}
	if len(end) == 0 {
		return nil
	}
	ended, err := b.c.Leaser.EndLeases(ctx, b.holder, end)
	if err != nil {
		return err
	}
	for i, tag := range ends {
		if r := b.bank.Peek(tag); ended[i] && r != nil {
			b.ended(account{r}, end[i].Amount, suspects[tag].available)
		}
		delete(suspects, tag)
	}
	return nil
}

// idle takes the right to lease of a record that nobody has used for so long. A
// lease without a record gets one: it is idle.
func (b *Budgets) idle(tag uint64, idle time.Duration) (account, uint64) {
	now := fleet.Now()
	r := b.bank.Peek(tag)
	if r == nil {
		var shared bool
		if r, shared = b.bank.FindAt(tag, 0); shared {
			return account{}, 0
		}
	}
	if idle > 0 && now/int64(time.Second)-r.Used() < int64(idle/time.Second) {
		return account{}, 0
	}
	a := account{r}
	lock := a.lock(b.c.Table, b.c.Area, now, now+int64(beatEvery+lockExtra))
	if lock != 0 && !r.Is(tag) {
		a.unlock(lock)
		return account{}, 0
	}
	return a, lock
}

// suspicious says whether what is held of a lease can be nothing but a rest that
// nobody will ever use: nothing of it is available, no attempt claims it, it was
// like this some time ago, and what was settled before that time is shipped.
func (b *Budgets) suspicious(suspects map[uint64]suspect, tag uint64, held money.Nano, a account, claimed bool) bool {
	if claimed || a.available() > 0 {
		delete(suspects, tag)
		return false
	}
	s, known := suspects[tag]
	// A lease that was shipped, added to and spent since may hold as much again.
	if !known || s.amount != held || s.available != a.available() || s.used != a.Used() {
		suspects[tag] = suspect{held, a.available(), fleet.Now(), a.Used()}
		return false
	}
	return b.c.Shipped() > s.since
}

// ended makes the record of a lease that was ended free for another account.
func (b *Budgets) ended(a account, amount, available money.Nano) {
	b.c.Metrics.ended.Inc()
	if amount > available {
		b.c.Metrics.recycled.Add(int(min((amount-available)/1000, 1<<31)))
	}
	if a.Words[wordAvailable].CompareAndSwap(uint64(available), 0) {
		a.forget()
	}
}

// recycle frees records of budgets that this host holds nothing of: of which it
// was refused a lease, for one.
func (b *Budgets) recycle() {
	b.bank.Each(func(tag uint64, r *fleet.Record) {
		a := account{r}
		now := fleet.Now()
		if own(tag) || a.available() != 0 || a.Words[wordLeased].Load() != 0 || now/int64(time.Second)-r.Used() < int64(b.c.Idle/time.Second) {
			return
		}
		if lock := a.lock(b.c.Table, b.c.Area, now, now+int64(lockExtra)); lock != 0 {
			if r.Is(tag) && a.available() == 0 && a.Words[wordLeased].Load() == 0 {
				a.forget()
			}
			a.unlock(lock)
		}
	})
}

// Drain returns what is available of all leases, for a host that stops: its
// budgets need not wait for it to come back. Attempts may go on; they lease anew.
func (b *Budgets) Drain(ctx context.Context) error {
	if b.c.Leaser == nil {
		return nil
	}
	return b.sweep(ctx, 0, map[uint64]suspect{})
}
