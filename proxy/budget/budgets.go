package budget

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// Leaser is the database: the store, with connections of its own for this.
type Leaser interface {
	Lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error)
	ReturnLeases(ctx context.Context, holder string, leases []bill.Lease) error
	EndLeases(ctx context.Context, holder string, leases []bill.Lease) ([]bool, error)
	Leases(ctx context.Context, holder string, idle time.Duration, after bill.Lease, limit int) ([]bill.Lease, error)
	Beat(ctx context.Context, h bill.Holder) (released bool, err error)
	Revive(ctx context.Context, holder string) error
	Holders(ctx context.Context, hostID string) ([]bill.Holder, error)
	ReleaseHolder(ctx context.Context, holder string) (amount money.Nano, leases int, err error)
}

// Config is what budgets need.
type Config struct {
	Table    *fleet.Table
	Area     int    // of this process's generation in the host table
	Holder   string // the life of the host table, 32 hexadecimal digits; "": as the table says
	HostID   string
	HostName string
	Leaser   Leaser // with a pool of its own: its transactions must not wait for others of this process
	// Shipped is the instant of fleet.Now before which everything that was settled
	// on this host is in the database, 0 for not known; nil: as the host table says.
	Shipped func() int64
	// HolderShipped says whether the journals of an earlier life of the table are
	// in the database to their end; nil: as the host table says.
	HolderShipped func(holder string) bool
	// History names the history that the database has: another one after a standby
	// that may lack commits has taken over; "": it does not say. nil: it has but one.
	History func(ctx context.Context) (string, error)
	// Clock is the time as the database tells it: windows go by that where this
	// host's clock says another one. nil: they go by this host's.
	Clock func(ctx context.Context) (time.Time, error)
	// Allowance is what this host may spend beyond its leases in one outage of the
	// database.
	Allowance money.Nano
	// FirstPast says whether nobody has told of a soft budget in the window of an
	// account; whoever hears so does. nil: each host tells for itself.
	FirstPast func(ctx context.Context, a bill.Account, soft money.Nano) (bool, error)
	// Exceeded is told of a soft budget that was passed, once per window.
	Exceeded func(Exceeded)
	Metrics  *Metrics      // nil: none
	Idle     time.Duration // a lease that nobody used for so long is returned; 0: 60 s
	Gone     time.Duration // an earlier life of this host that was silent so long has ended; 0: 20 s
	Wait     time.Duration // for the database, at most; 0: 2 s
	Settle   time.Duration // that nothing is leased at least when History is another one; 0: 5 s
	Log      *slog.Logger
}

// Defaults of Config, and what follows from it.
const (
	idleAfter  = 60 * time.Second
	waitAtMost = 2 * time.Second
	retryAfter = time.Second            // that a client is told while the database is away
	pauseAway  = 500 * time.Millisecond // between two asks of a database that does not answer
	refusedFor = 500 * time.Millisecond // a refusal is repeated without asking
)

// Budgets is one process's access to the budgets. It is safe for concurrent use.
type Budgets struct {
	c      Config
	bank   *fleet.Bank
	claims *fleet.Claims
	holder string

	mu      sync.Mutex
	flights map[uint64]*flight // of the budgets that are leased or about to be, by tag
	waiting []*flight          // not begun
	soft    map[uint64]soft    // budgets that may have passed their soft one, by tag
	stopped bool
	wake    chan struct{}
	paused  atomic.Int64 // Now until which the database is not asked
	outage  atomic.Bool  // the database did not answer when it was asked last
	beaten  atomic.Bool  // the database knows this holder
	astray  atomic.Int64 // how far the clocks differ as the log says, nanoseconds; 0: it says nothing

	earlierAt   int64 // Now of the next look for earlier lives of this host; the sweeping goroutine's
	earlierLeft bool  // one of them waits for its journals to be shipped
}

// New makes the budgets; Run has to be running for them.
func New(c Config) *Budgets {
	if c.Idle <= 0 {
		c.Idle = idleAfter
	}
	if c.Gone <= 0 {
		c.Gone = holderGone
	}
	if c.Wait <= 0 {
		c.Wait = waitAtMost
	}
	if c.Settle <= 0 {
		c.Settle = settleAfter
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	h := c.Table.Header()
	if c.Holder == "" {
		c.Holder = Holder(c.Table)
	}
	if c.Shipped == nil {
		c.Shipped = h.JournalShipped.Load
	}
	if c.HolderShipped == nil {
		c.HolderShipped = h.Earlier.Shipped
	}
	return &Budgets{
		c: c, bank: c.Table.Leases(), claims: fleet.NewClaims(c.Table, c.Area), holder: c.Holder,
		flights: map[uint64]*flight{}, soft: map[uint64]soft{}, wake: make(chan struct{}, 1),
	}
}

// Holder is the life of a host table as leases and journals name it: 32
// hexadecimal digits.
func Holder(t *fleet.Table) string {
	h := t.Header()
	return fmt.Sprintf("%016x%016x", h.Holder[0].Load(), h.Holder[1].Load())
}

// Run leases what attempts need, returns what nobody uses, and gives back what
// earlier lives of the host hold, until ctx ends.
func (b *Budgets) Run(ctx context.Context) {
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { b.lead(ctx) })
	}
	running.Go(func() { b.sweepOn(ctx) })
	running.Wait()
	b.abandon()
}

// Reference is the part of a request's id that claims are known by.
func Reference(id [16]byte) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// Reserve reserves amount of every limit that has a maximum, or of none: then it
// says which one refused. An amount of 0 reserves nothing and passes every
// budget that is not 0. id and attempt name the attempt in the journal. now and
// deadline are unix nanoseconds: it waits for the database no longer. What the
// Hold held before must be settled; limits stay as they are until this is.
func (b *Budgets) Reserve(h *Hold, limits []*Limit, amount money.Nano, id [16]byte, attempt, now, deadline int64) *Refusal {
	h.empty()
	if len(limits) > MaxLimits {
		return h.refuse(b, Refusal{Limit: limits[MaxLimits], Max: max(limits[MaxLimits].Max, 0), Away: true, RetryAfter: retryAfter})
	}
	var accounts [MaxLeased]fleet.Claimed
	var places [MaxLeased]int8
	n := 0
	at := fleet.Now()
	moment := b.moment(now, at)
	h.limits, h.starts = limits, slices.Grow(h.starts, len(limits))
	for i, l := range limits {
		if l.Max == 0 {
			return h.refuse(b, Refusal{Limit: l})
		}
		h.starts = append(h.starts, l.start(moment))
		if amount <= 0 || !l.leased() {
			continue
		}
		if n == MaxLeased {
			return h.refuse(b, Refusal{Limit: l, Max: max(l.Max, 0), Away: true, RetryAfter: retryAfter})
		}
		r := l.record(b.bank, at)
		if r == nil { // more budgets are in use than the host table has room for
			return h.refuse(b, Refusal{Limit: l, Max: max(l.Max, 0), Away: true, RetryAfter: retryAfter})
		}
		accounts[n], places[n] = fleet.Claimed{Record: r, Tag: l.Tag}, int8(i)
		n++
	}
	if n == 0 {
		return nil
	}
	if b.fits(h, accounts[:n], places[:n]) {
		if claim, failed := b.claims.Hold(Reference(id), attempt, int64(reserved(amount)), accounts[:n]); failed < 0 {
			h.took(claim, amount, accounts[:n], places[:n], at)
			b.prefetch(h, accounts[:n], places[:n], at)
			return nil
		}
	}
	r := reserving{ // copies: what is on the stack stays there for those who need not wait
		b: b, h: h, accounts: slices.Clone(accounts[:n]), places: slices.Clone(places[:n]), amount: amount, reference: Reference(id), attempt: attempt,
	}
	return r.wait(at, at+max(min(deadline-now, int64(b.c.Wait)), 0))
}

// fits says whether all leases were taken under the maxima that hold now.
func (b *Budgets) fits(h *Hold, accounts []fleet.Claimed, places []int8) bool {
	for n := range accounts {
		if !(account{accounts[n].Record}).under(h.limits[places[n]].most()) {
			return false
		}
	}
	return true
}

func (h *Hold) took(claim uint32, amount money.Nano, accounts []fleet.Claimed, places []int8, now int64) {
	h.claim, h.amount = claim, amount
	for n, i := range places {
		h.leased |= 1 << i
		accounts[n].Record.Touch(now / int64(time.Second))
	}
}

func (h *Hold) refuse(b *Budgets, r Refusal) *Refusal {
	h.empty()
	h.refusal = r
	b.c.Metrics.refusal(&r)
	return &h.refusal
}

// Settle ends an attempt that cost so much, and gives back the rest. Settling an
// empty Hold does nothing. The Hold is empty afterwards.
func (b *Budgets) Settle(h *Hold, cost money.Nano) {
	if h.claim != 0 {
		b.claims.Give(h.claim, int64(cost))
		for i, l := range h.limits {
			if l.Soft >= 0 && h.leased&(1<<i) != 0 {
				b.watch(l, h.starts[i])
			}
		}
	}
	h.empty()
}

// prefetch asks for more of a lease that will be used up soon.
func (b *Budgets) prefetch(h *Hold, accounts []fleet.Claimed, places []int8, now int64) {
	for n := range accounts {
		a := account{accounts[n].Record}
		used, since := a.used(now)
		left := a.available()
		if used <= left || since < int64(100*time.Millisecond) || a.busy() || left >= a.need(now, soonUsed) {
			continue
		}
		l := h.limits[places[n]]
		if !a.refused(now, l.most(), left+1) {
			b.ask(l, a, h.starts[places[n]], 1)
		}
	}
}

// soonUsed is how long a lease should last at least when it is not asked for more.
const soonUsed = 5 * time.Second
