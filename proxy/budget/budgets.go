package budget

import (
	"context"
	"log/slog"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// Leaser is the database: the store, with connections of its own for this.
// Errors that mean that it cannot answer now are told by Config.Away.
type Leaser interface {
	Lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error)
	ReturnLeases(ctx context.Context, holder string, leases []bill.Lease, end bool) error
	Leases(ctx context.Context, holder string, idle time.Duration, limit int) ([]bill.Lease, error)
	Beat(ctx context.Context, h bill.Holder) (released bool, err error)
	Holders(ctx context.Context, hostID string) ([]bill.Holder, error)
	ReleaseHolder(ctx context.Context, holder string) (money.Nano, error)
}

// Config is what budgets need.
type Config struct {
	Table    *fleet.Table
	Area     int    // of this process's generation in the host table
	Holder   string // 32 hex digits: the life of the host table
	HostID   string
	HostName string
	Leaser   Leaser // nil: no database, budgets without a maximum only
	// Allowance is what this host may spend beyond its leases while the database
	// does not answer.
	Allowance money.Nano
	// Shipped is the instant of fleet.Now before which everything that was
	// settled on this host is in the database; 0: not known.
	Shipped func() int64
	// HolderShipped says whether the journals of an earlier life of this host's
	// table are in the database to their end.
	HolderShipped func(holder string) bool
	// Exceeded is told once per budget and window that a soft budget was passed.
	Exceeded func(Exceeded)
	Idle     time.Duration // a lease that nobody used for so long is returned; 0: 60 s
	Log      *slog.Logger
}

// Exceeded is the event that more was spent than a soft budget says.
type Exceeded struct {
	Limit *Limit
	Spent money.Nano
	Start int64 // unix seconds of the window, 0 for all time
}

// Budgets is one process's access to the budgets. It is safe for concurrent use.
type Budgets struct{ c Config }

// New makes the budgets; it starts nothing.
func New(c Config) *Budgets { return &Budgets{c: c} }

// Run keeps leases ahead of what is needed, returns idle ones, and gives back
// what earlier lives of the host hold, until ctx ends.
func (b *Budgets) Run(ctx context.Context) { <-ctx.Done() }

// Reserve reserves amount of every limit that has a maximum, or of none: then it
// says which one refused. An amount of 0 reserves nothing and passes every
// budget that is not 0. ref and attempt name the attempt in the journal. now and
// deadline are unix nanoseconds: it waits for the database no longer.
func (b *Budgets) Reserve(h *Hold, limits []*Limit, amount money.Nano, ref [16]byte, attempt int64, now, deadline int64) *Refusal {
	h.n, h.leased, h.claim, h.amount = copy(h.limits[:], limits), 0, 0, amount
	for i := range h.n {
		h.starts[i] = 0
		if limits[i].Max == 0 {
			h.refusal = Refusal{Limit: limits[i]}
			return &h.refusal
		}
	}
	return nil
}

// Settle ends an attempt that cost so much, and gives back the rest. The hold is
// empty afterwards.
func (b *Budgets) Settle(h *Hold, cost money.Nano) { h.n, h.leased, h.claim = 0, 0, 0 }
