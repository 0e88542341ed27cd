package fleet

import "sync/atomic"

// Reason says why a generation was replaced. The numbers are part of the
// layout of the host table.
type Reason uint32

// Reasons. Whatever has no number of its own counts as ReasonOther.
const (
	ReasonOther       Reason = iota
	ReasonRequests           // has answered as many requests as it should
	ReasonMemory             // was too large for too long
	ReasonHang               // did not answer itself, or accepted nothing
	ReasonPanics             // too many panics in a minute
	ReasonCrash              // died while it served
	ReasonStartFailed        // died before it served, or within a second of it
	ReasonOperator           // somebody asked for it
	ReasonTakeover           // belonged to a supervisor that died
	ReasonUpgrade            // ran an older program

	maxReasons = 16
)

var reasonNames = [...]string{
	"other", "requests", "memory", "hang", "panics", "crash", "start_failed", "operator", "takeover", "upgrade",
}

// Reasons is how many reasons have a name: 0 to Reasons-1.
const Reasons = len(reasonNames)

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return reasonNames[ReasonOther]
}

// ParseReason is the reason of that name, ReasonOther when there is none.
func ParseReason(name string) Reason {
	for i, known := range reasonNames {
		if name == known {
			return Reason(i)
		}
	}
	return ReasonOther
}

// Recycled is the count of generations that were replaced for a reason.
func (t *Table) Recycled(r Reason) *atomic.Uint64 { return &t.Header().Recycles[r] }
