package route

import "sync/atomic"

// A group may spend one retry for every five requests of the running window of
// 10 s, so that an outage cannot multiply its own load (reliability rule R2).
// The first retries of a window are free: a quiet group must be able to retry
// at all.
const (
	budgetWindow = 10_000_000_000 // nanoseconds
	budgetFree   = 10
	budgetShare  = 5
)

// budget counts the requests and retries of a window. A race at the turn of a
// window may lose a few counts, which only moves the border.
type budget struct {
	now      func() int64
	began    atomic.Int64
	requests atomic.Int64
	retries  atomic.Int64
}

func (b *budget) turn() {
	now, began := b.now(), b.began.Load()
	if now-began >= budgetWindow && b.began.CompareAndSwap(began, now) {
		b.requests.Store(0)
		b.retries.Store(0)
	}
}

// Count counts one request of the group.
func (g *Group) Count() {
	g.budget.turn()
	g.budget.requests.Add(1)
}

// Retry takes one retry out of the group's budget; false means that it is used
// up.
func (g *Group) Retry() bool {
	g.budget.turn()
	if g.budget.retries.Add(1) <= budgetFree+g.budget.requests.Load()/budgetShare {
		return true
	}
	g.budget.retries.Add(-1)
	return false
}
