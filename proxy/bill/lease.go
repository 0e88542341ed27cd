package bill

import (
	"time"

	"sluice/proxy/money"
)

// LeaseAsk is what a host wants of one budget: a part of what is left of it, to
// be spent without asking again.
type LeaseAsk struct {
	Kind   Kind
	ID     string
	Window string     // duration as configured, "" is all time
	Start  int64      // unix seconds at which the window began; 0 for all time
	Max    money.Nano // of the budget, as the host knows it
	Least  money.Nano // with less than this nothing is granted
	Want   money.Nano // at least Least; no more than a tenth of what is left is granted beyond Least
	// First: this host has not asked for this budget yet. What the object has
	// spent in the window is taken over where that is more than the window knows.
	First bool
}

// Granted is the answer to a LeaseAsk.
type Granted struct {
	Amount money.Nano // 0: there is no room for Least
	Spend  money.Nano // of the window, as rows of spend have come to
	Leased money.Nano // what all hosts hold now, Amount included
	Held   money.Nano // what this host holds now, Amount included
}

// Lease is what one life of a host's table holds of one budget.
type Lease struct {
	Kind    Kind
	ID      string
	Window  string
	Amount  money.Nano
	TakenAt time.Time
}

// Holder is one life of a host's table, which leases are held by.
type Holder struct {
	Holder     string // 32 hex digits
	HostID     string
	HostName   string
	StartedAt  time.Time
	SeenAt     time.Time     // by the database's clock
	Silent     time.Duration // since then
	ReleasedAt *time.Time
	Leases     int        // budgets that it holds a part of
	Amount     money.Nano // the sum of these
}
