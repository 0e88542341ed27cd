package redis

import (
	"sync/atomic"
	"time"
)

// What a breaker goes by.
const (
	mostFails = 5 // in a row, until it opens
	slowPart  = 2 // of a call's deadline: the 99th percentile of a second may not be above
	slowSpan  = time.Second
	leastSlow = 5 // calls of that second that must have been: one hiccup of a quiet host is none
)

// States of a breaker.
const (
	closed  = iota // calls are made
	suspect        // a call has failed: nobody calls until the keeper has looked, which it does at once
	open           // the server is away or too slow: the keeper looks once a second
)

// breaker decides whether calls are made. A first failure already keeps others
// from waiting for the same silence: an exchange with six limits, or the next
// ones on a quiet host, would otherwise pay the deadline again and again until
// five calls have failed.
type breaker struct {
	slow  time.Duration
	state atomic.Uint32
	fails atomic.Uint32 // in a row

	second atomic.Int64 // instant from which n and late are counted, nanoseconds
	n      atomic.Uint32
	late   atomic.Uint32
}

func (b *breaker) is() uint32 { return b.state.Load() }

// passed notes a call that was answered. It reports whether the calls of the
// last second were so slow that the breaker has just opened.
func (b *breaker) passed(now int64, took time.Duration) bool {
	b.fails.Store(0)
	if since := b.second.Load(); now-since >= int64(slowSpan) && b.second.CompareAndSwap(since, now) {
		n, late := b.n.Swap(0), b.late.Swap(0)
		if since != 0 && now-since < 2*int64(slowSpan) && late >= leastSlow && uint64(late)*100 > uint64(n) {
			return b.state.Swap(open) != open
		}
	}
	b.n.Add(1)
	if took > b.slow {
		b.late.Add(1)
	}
	return false
}

// failed notes a call that was not. first says that it is the keeper's turn
// now, opened that this was the failure that opened the breaker.
func (b *breaker) failed() (first, opened bool) {
	if b.fails.Add(1) >= mostFails {
		return false, b.state.Swap(open) != open
	}
	return b.state.CompareAndSwap(closed, suspect), false
}

// reset closes the breaker.
func (b *breaker) reset() {
	b.fails.Store(0)
	b.n.Store(0)
	b.late.Store(0)
	b.second.Store(0)
	b.state.Store(closed)
}
