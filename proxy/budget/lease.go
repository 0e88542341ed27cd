package budget

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

const (
	leaseAhead = 60 * time.Second // the need that a lease is for
	firstLease = 16               // attempts that the first one is for, whose use nobody knows
	flightsMax = 128              // budgets that are leased together
	lockExtra  = time.Second      // that the right to lease holds beyond the wait for the database
	pollLeast  = 200 * time.Microsecond
	pollMost   = 5 * time.Millisecond
)

var errNoDatabase = errors.New("no database is configured")

// flight is one lease that is taken for everybody of the process who waits for
// it. What it came to is there when done is closed.
type flight struct {
	limit *Limit
	account
	start int64
	least money.Nano // that one of those who wait needs
	sum   money.Nano // of what all of them need
	begun bool
	lock  uint64

	done    chan struct{}
	refused bool // there was no room for least
	away    bool // the database does not answer

	passed *Exceeded // the soft budget that this host has to tell of
}

// ask has a lease taken of a budget, for an attempt that needs so much of it.
func (b *Budgets) ask(l *Limit, a account, start int64, need money.Nano) *flight {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.flights[l.Tag]
	if f == nil {
		f = &flight{limit: l, account: a, start: start, done: make(chan struct{})}
		if b.stopped {
			f.away = true
			close(f.done)
			return f
		}
		b.flights[l.Tag] = f
		b.waiting = append(b.waiting, f)
		b.stir()
	}
	if !f.begun {
		f.least, f.sum = max(f.least, need), f.sum+need
	}
	return f
}

func (b *Budgets) stir() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// reserving is an attempt that waits for leases.
type reserving struct {
	b         *Budgets
	h         *Hold
	accounts  []fleet.Claimed
	places    []int8
	amount    money.Nano
	reference uint64
	attempt   int64
}

// wait reserves as soon as there is enough of every lease, until a moment of Now.
func (r *reserving) wait(now, until int64) *Refusal {
	timer := time.NewTimer(time.Duration(max(until-now, 0)))
	defer timer.Stop()
	for {
		waits, refusal := r.lacking(fleet.Now())
		if refusal != nil {
			return refusal
		}
		if len(waits) == 0 {
			claim, failed := r.b.claims.Hold(r.reference, r.attempt, int64(reserved(r.amount)), r.accounts)
			switch {
			case failed < 0:
				r.h.took(claim, r.amount, r.accounts, r.places, fleet.Now())
				return nil
			case failed >= len(r.accounts) || fleet.Now() >= until: // as many attempts are in flight as claims can be
				return r.away(r.h.limits[r.places[0]])
			}
			continue // somebody was quicker
		}
		for _, f := range waits {
			if r.b.outage.Load() { // it is asked, but nobody waits for it
				return r.away(f.limit)
			}
			select {
			case <-f.done:
			case <-timer.C:
				return r.away(f.limit)
			}
			if f.away {
				return r.away(f.limit)
			}
		}
	}
}

// lacking has leases taken of the budgets of which too little is available, or
// says which one has no room.
func (r *reserving) lacking(now int64) ([]*flight, *Refusal) {
	var waits []*flight
	for n := range r.accounts {
		i := r.places[n]
		l, a := r.h.limits[i], account{r.accounts[n].Record}
		if !a.Is(l.Tag) { // idle so long that another budget has it
			if a.Record = l.record(r.b.bank, now); a.Record == nil {
				return nil, r.away(l)
			}
			r.accounts[n].Record = a.Record
		}
		under := a.under(l.most())
		if under && a.available() >= r.amount {
			continue
		}
		if under && a.refused(now, l.most(), r.amount) {
			return nil, r.h.refuse(r.b, Refusal{Limit: l, Spent: a.spent(), Max: l.most()})
		}
		waits = append(waits, r.b.ask(l, a, r.h.starts[i], r.amount))
	}
	return waits, nil
}

// away reserves from what this host may spend while the database does not answer,
// instead of from the leases that are used up; or refuses.
func (r *reserving) away(l *Limit) *Refusal {
	refusal := Refusal{Limit: l, Max: max(l.Max, 0), Away: true, RetryAfter: retryAfter}
	var accounts [MaxLeased]fleet.Claimed
	var places [MaxLeased]int8
	n, lacking, bounded := 0, 0, 0
	for i := range r.accounts {
		if (account{r.accounts[i].Record}).available() >= r.amount {
			accounts[n], places[n] = r.accounts[i], r.places[i]
			n++
			continue
		}
		lacking++
		if r.h.limits[r.places[i]].Max > 0 {
			bounded++
		}
	}
	if bounded > 0 {
		one, ok := r.b.allowance()
		if !ok {
			return r.h.refuse(r.b, refusal)
		}
		accounts[n] = one
		n++
	}
	if n > 0 {
		claim, failed := r.b.claims.Hold(r.reference, r.attempt, int64(reserved(r.amount)), accounts[:n])
		if failed >= 0 {
			return r.h.refuse(r.b, refusal)
		}
		if bounded > 0 {
			n--
			r.b.c.Metrics.allowed.Inc()
		}
		r.h.took(claim, r.amount, accounts[:n], places[:n], fleet.Now())
	}
	return nil
}

// allowance is the account of what may be spent beyond leases in an outage. It is
// whole again when the database has answered.
func (b *Budgets) allowance() (fleet.Claimed, bool) {
	if b.c.Allowance <= 0 {
		return fleet.Claimed{}, false
	}
	r, shared := b.bank.FindAt(allowanceTag, fleet.Now())
	if shared {
		return fleet.Claimed{}, false
	}
	a := account{r}
	if a.Words[wordLeased].CompareAndSwap(0, 1) {
		a.Words[wordAvailable].Store(uint64(b.c.Allowance))
	}
	// What attempts of an earlier outage gave back since it ended is not on top.
	for v := a.available(); v > b.c.Allowance; v = a.available() {
		a.Words[wordAvailable].CompareAndSwap(uint64(v), uint64(b.c.Allowance))
	}
	return fleet.Claimed{Record: r, Tag: allowanceTag}, true
}

// restoreAllowance ends an outage.
func (b *Budgets) restoreAllowance() {
	r := b.bank.Peek(allowanceTag)
	if r == nil {
		return
	}
	if a := (account{r}); a.Words[wordLeased].Load() == 1 && a.available() != b.c.Allowance {
		a.Words[wordAvailable].Store(uint64(b.c.Allowance))
	}
}

var allowanceTag = Tag(bill.KindNone, "allowance", "")

// lead takes the leases that are asked for.
func (b *Budgets) lead(ctx context.Context) {
	poll := pollLeast
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, left := b.begin()
		switch {
		case len(batch) > 0:
			b.fly(ctx, batch)
			poll = pollLeast
			continue
		case left: // another process of the host leases them: it does not say when it is done
			timer.Reset(poll)
			poll = min(2*poll, pollMost)
		default:
			timer.Reset(time.Hour)
			poll = pollLeast
		}
		select {
		case <-b.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// begin picks the flights that this process may lease now. Those that another
// process has leased enough for meanwhile are done.
func (b *Budgets) begin() (batch []*flight, left bool) {
	now := fleet.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	rest := b.waiting[:0]
	for _, f := range b.waiting {
		switch {
		case now < b.paused.Load():
			f.away = true
			b.land(f)
		case len(batch) < flightsMax && b.claim(f, now):
			f.begun = true
			batch = append(batch, f)
		case f.available() >= f.least && f.least > 1 && f.under(f.limit.most()):
			b.land(f)
		default:
			rest = append(rest, f)
		}
	}
	clear(b.waiting[len(rest):])
	b.waiting = rest
	return batch, len(rest) > 0
}

func (b *Budgets) claim(f *flight, now int64) bool {
	f.lock = f.account.lock(b.c.Table, b.c.Area, now, now+int64(b.c.Wait+lockExtra))
	if f.lock != 0 && !f.Is(f.limit.Tag) { // another's by now: who waits finds the right one
		f.unlock(f.lock)
		f.lock = 0
		if r := f.limit.record(b.bank, now); r != nil {
			f.account = account{r}
		}
	}
	return f.lock != 0
}

// land tells those who wait. The caller holds mu.
func (b *Budgets) land(f *flight) {
	delete(b.flights, f.limit.Tag)
	close(f.done)
}

// abandon lets nobody wait any more.
func (b *Budgets) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	for _, f := range b.flights {
		f.away = true
		b.land(f)
	}
	b.waiting = nil
}

// fly leases what a batch of flights needs, with one statement.
func (b *Budgets) fly(ctx context.Context, batch []*flight) {
	began := fleet.Now()
	asking, cancel := context.WithTimeout(ctx, b.c.Wait)
	defer cancel()
	granted, err := b.lease(asking, batch, began)
	b.c.Metrics.took(time.Duration(fleet.Now()-began), err)
	if err != nil {
		b.failed(ctx, err)
	} else {
		b.answered()
	}
	for i, f := range batch {
		if err != nil {
			f.away = true
		} else {
			b.apply(f, &granted[i])
		}
		f.unlock(f.lock)
	}
	b.mu.Lock()
	for _, f := range batch {
		b.land(f)
	}
	if len(b.waiting) > 0 {
		b.stir()
	}
	b.mu.Unlock()
	for _, f := range batch { // nobody waits for this
		if f.passed != nil {
			b.exceeded(ctx, f.passed)
		}
	}
}

func (b *Budgets) lease(ctx context.Context, batch []*flight, now int64) ([]bill.Granted, error) {
	if b.c.Leaser == nil {
		return nil, errNoDatabase
	}
	if !b.beaten.Load() {
		if err := b.beat(ctx); err != nil {
			return nil, err
		}
	}
	if b.held() {
		return nil, errTookOver
	}
	// A maximum that was changed has another room: what was leased under the old
	// one goes back first.
	var back []bill.Lease
	for _, f := range batch {
		if f.under(f.limit.most()) {
			continue
		}
		if n := f.drain(); n > 0 {
			back = append(back, bill.Lease{Kind: f.limit.Kind, ID: f.limit.ID, Window: f.limit.Duration, Amount: n})
		}
	}
	if len(back) > 0 {
		if err := b.c.Leaser.ReturnLeases(ctx, b.holder, back); err != nil {
			return nil, err
		}
	}
	asks := make([]bill.LeaseAsk, len(batch))
	for i, f := range batch {
		asks[i] = f.asks(now)
	}
	return b.c.Leaser.Lease(ctx, b.holder, asks)
}

// asks says how much of a budget is wanted: what those who wait need, and what
// will be used in the next minute, going by the last.
func (f *flight) asks(now int64) bill.LeaseAsk {
	l, available := f.limit, f.available()
	least := max(f.least-available, 1)
	want := f.need(now, leaseAhead)
	first := f.Words[wordLeased].Load() == 0
	if first {
		want = min(f.sum, endless/firstLease) * firstLease
	}
	want = max(want, f.sum) - max(available, 0)
	return bill.LeaseAsk{
		Kind: l.Kind, ID: l.ID, Window: l.Duration, Start: f.start, Max: l.most(), Least: least, Want: max(want, least), First: first,
	}
}

// apply puts what was granted into the host table.
func (b *Budgets) apply(f *flight, g *bill.Granted) {
	now, l := fleet.Now(), f.limit
	if !f.mine(f.lock) { // it took too long, and another process may know more by now
		return
	}
	if beyond := f.available() - (g.Held - g.Amount); beyond > 0 {
		// More is available than the database knows that this host holds: it has
		// lost commits, or released the host. What nobody stands for is not spent.
		f.add(-beyond)
		b.c.Metrics.forgotten.Inc()
		b.c.Log.Warn("the database has lost a lease of this host: what was leased so is not spent", slog.String("scope", l.Kind.String()),
			slog.String("id", l.ID), slog.String("amount", beyond.String()))
	}
	f.Words[wordSpent].Store(uint64(g.Spend + max(g.Held-g.Amount-f.available(), 0)))
	if l.Soft >= 0 && g.Spend >= l.Soft && f.tell(l.Soft, f.start) {
		f.passed = &Exceeded{Limit: l, Spent: g.Spend, Start: f.start}
	}
	if g.Amount > 0 {
		f.noteLease(now, l.most(), f.add(g.Amount))
		b.c.Metrics.leased.Add(int(min(g.Amount/1000, 1<<31)))
		return
	}
	f.refused = true
	f.refuse(now+int64(refusedFor), l.most(), l.most()-g.Spend-g.Leased)
	if !f.under(l.most()) {
		f.noteLease(now, l.most(), f.available())
	}
}

// failed notes that the database does not answer.
func (b *Budgets) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // this process stops
	}
	b.beaten.Store(false) // it may have released this host meanwhile
	b.paused.Store(fleet.Now() + int64(pauseAway))
	if !b.outage.Swap(true) {
		b.c.Log.Warn("budgets cannot be leased now: what this host has leased can be spent, then attempts are refused",
			slog.String("error", err.Error()))
	}
}

func (b *Budgets) answered() {
	if b.outage.Swap(false) {
		b.restoreAllowance()
		b.c.Log.Info("budgets are leased again")
	}
}
