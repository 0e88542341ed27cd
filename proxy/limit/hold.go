package limit

import (
	"time"

	"sluice/supervisor/fleet"
)

// Hold is what a request holds of its limits. The zero value holds nothing. It
// must not be copied, and belongs to one goroutine at a time.
type Hold struct {
	held  []entry // as many as a caller has limits; the memory stays with the hold
	meter meter   // of the last reservation
}

// entry is what is held of one rule in one bank.
type entry struct {
	rule   *Rule
	record *fleet.Record
	bank   *fleet.Bank
	tokens int64  // reserved of the rule's tokens
	given  uint64 // what had come back of the record's tokens before, see given.go
	word   uint64 // of the tokens, as it was before the clock was read to settle

	older  bool     // in the bank of another layout, beside the one in the newest
	shared bool     // record is that of all subjects without one
	taken  [3]bool  // by type: permits of the share
	since  [3]int64 // of those: Now when they were asked for
	place  fleet.Hold
	parts  [2]part // by type: Requests, Tokens
	places int64   // parallel ones that were left
}

// Mark is where the hold stands now, for Drop and Cancel.
func (h *Hold) Mark() int { return len(h.held) }

// next makes room for an entry.
func (h *Hold) next() *entry {
	h.held = append(h.held, entry{})
	return &h.held[len(h.held)-1]
}

// Counters calls fn for every limit that is held, as of its reservation: what
// was left and how long until all of it is there again.
func (h *Hold) Counters(fn func(rule *Rule, t Type, limit, left int64, reset time.Duration)) {
	for i := range h.held {
		e := &h.held[i]
		if e.older {
			continue
		}
		for t := Requests; t <= Tokens; t++ {
			if limit := e.rule.limit(t); limit >= 0 {
				p := &e.parts[t]
				fn(e.rule, t, limit, h.meter.left(p.level, limit, int64(p.parts)), h.meter.whole(p.level))
			}
		}
		if limit := e.rule.Parallel; limit >= 0 {
			fn(e.rule, Parallel, limit, e.places, parallelAgain)
		}
	}
}
