package budget

import (
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// Limit is one account that attempts are charged to, and what may be spent of
// it. It is made once and never changed. One without Max and Soft only counts.
type Limit struct {
	Kind     bill.Kind
	ID       string
	Max      money.Nano // None: no maximum. 0 refuses always
	Soft     money.Nano // None: no soft budget
	Duration string     // of its window, "" is all time
	Tag      uint64     // of its record in the host table: kind, id and duration
}

// NewLimit prepares a limit. resetAt is when its window is due for a reset, as
// far as it is known (zero: it is not); zone is that of windows (nil: UTC).
func NewLimit(kind bill.Kind, id string, maximum, soft money.Nano, duration string, resetAt time.Time, zone *time.Location) *Limit {
	return &Limit{Kind: kind, ID: id, Max: max(maximum, None), Soft: max(soft, None), Duration: duration}
}
