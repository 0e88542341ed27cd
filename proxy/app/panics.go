package app

import (
	"sync"
	"time"
)

// Panics within a window that make a worker drain: a poison request must not
// recycle the fleet, a broken worker must not go on for ever.
const (
	panicLimit  = 5
	panicWithin = int64(time.Minute)
)

// panicWindow remembers the last panics.
type panicWindow struct {
	mu sync.Mutex // guards at and n
	at [panicLimit]int64
	n  int
}

// add notes a panic at an instant of the monotonic clock and reports whether
// it is the fifth within a minute.
func (p *panicWindow) add(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[p.n%panicLimit] = now
	p.n++
	return p.n >= panicLimit && now-p.at[p.n%panicLimit] <= panicWithin
}
