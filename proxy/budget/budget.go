// Package budget keeps what is spent within budgets. The truth of a budget is in
// the database; a host leases a part of what is left of it, and an attempt
// reserves the most that it may cost from what the host has leased before a byte
// goes to a provider, and gives back what it did not cost. Amounts are
// nano-dollars. What is leased is in the host table, so that every worker of the
// host uses it and no death of a process loses it.
package budget

import (
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// None is a budget without a maximum, or without a soft one.
const None money.Nano = -1

// MaxLimits is how many accounts one attempt may be charged to; MaxLeased how
// many of them may have a maximum or a soft budget.
const (
	MaxLimits = 48
	MaxLeased = fleet.MaxClaimAccounts
)

// Refusal is why an attempt may not be made. It is good until the next call with
// the same Hold.
type Refusal struct {
	Limit *Limit
	Spent money.Nano // as far as this host knows
	Max   money.Nano
	// Away: nobody knows whether there is room, the database does not answer.
	// The caller may try again in RetryAfter.
	Away       bool
	RetryAfter time.Duration
}

// Hold is what one attempt has reserved; the zero value is ready for use. It
// belongs to one goroutine at a time.
type Hold struct {
	leased  uint64 // bit i: limits[i] was reserved from a lease
	claim   uint32
	amount  money.Nano
	limits  []*Limit // of whoever reserved
	starts  []int64  // of their windows; the memory stays with the hold
	refusal Refusal
}

// empty makes the hold one that holds nothing.
func (h *Hold) empty() {
	h.limits, h.starts = nil, h.starts[:0]
	h.leased, h.claim, h.amount = 0, 0, 0
}

// Claim finds in the host table what is held for the attempt; 0 for nothing.
func (h *Hold) Claim() uint32 { return h.claim }

// Amount is what was reserved of each leased account.
func (h *Hold) Amount() money.Nano { return h.amount }

// Accounts appends what the attempt is charged to, in the order of the limits
// that it was reserved with.
func (h *Hold) Accounts(dst []bill.Account) []bill.Account {
	for i, l := range h.limits {
		dst = append(dst, bill.Account{Kind: l.Kind, ID: l.ID, Window: l.Duration, Start: h.starts[i], Leased: h.leased&(1<<i) != 0})
	}
	return dst
}
