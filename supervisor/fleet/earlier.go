package fleet

import (
	"strconv"
	"sync/atomic"
	"time"
)

// earlierMost is how many lives Earlier can name.
const earlierMost = 64

// earlierFresh is how long a word of Earlier is believed: who ships says it each
// second, but for one that ships for the first time, of another release perhaps,
// which does not say it.
const earlierFresh = 10 * time.Second

// Earlier names the lives of the host table before this one of which something is
// left to ship: what their leases were spent on. Whoever ships writes it.
type Earlier struct {
	told atomic.Int64 // Now at which it was said; 0 while it is written, or nobody knows
	left [earlierMost]atomic.Uint64
}

// Forget says that nobody knows.
func (e *Earlier) Forget() { e.told.Store(0) }

// Tell says of which lives something is left. Where they are too many nobody knows.
func (e *Earlier) Tell(holders map[string]struct{}) {
	e.told.Store(0)
	if len(holders) > earlierMost {
		return
	}
	i := 0
	for h := range holders {
		w, ok := lifeWord(h)
		if !ok {
			return
		}
		e.left[i].Store(w)
		i++
	}
	for ; i < earlierMost; i++ {
		e.left[i].Store(0)
	}
	e.told.Store(Now())
}

// known says whether somebody knows at present.
func (e *Earlier) known() bool {
	at := e.told.Load()
	return at != 0 && Now()-at < int64(earlierFresh)
}

// Shipped says whether everything of an earlier life is in the database: holder is
// as Holder has it. False where nobody knows.
func (e *Earlier) Shipped(holder string) bool {
	at := e.told.Load()
	want, ok := lifeWord(holder)
	if !ok || !e.known() {
		return false
	}
	for i := range e.left {
		if e.left[i].Load() == want {
			return false
		}
	}
	return e.told.Load() == at // else it was written meanwhile
}

// lifeWord is the first half of the name of a life.
func lifeWord(holder string) (uint64, bool) {
	if len(holder) != 32 {
		return 0, false
	}
	w, err := strconv.ParseUint(holder[:16], 16, 64)
	return w, err == nil && w != 0
}
