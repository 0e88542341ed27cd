package app

import (
	"runtime"
	"runtime/debug"

	"sluice/internal/boot"
)

// Limits of trimming: a worker that answers at most trimQuiet requests in the
// second between two beats has the time for a collection.
const (
	trimQuiet  = 100
	trimGrowth = 8 << 20 // bytes beyond a quarter
	trimSlack  = 4 << 20 // bytes
	trimAgain  = 5       // looks
	trimCalm   = 4       // looks
)

// trimmer gives the memory of a burst back when the burst is over. Without it
// the buffers of the busiest moment stay until the runtime collects by itself,
// which an idle process does every two minutes, and returns pages at leisure.
// It belongs to the goroutine that beats. What it looks at is the memory of the
// process's own: code comes back into the resident set as it is used, and that
// is no burst.
type trimmer struct {
	floor    uint64 // bytes after the last trim
	requests uint64 // answered at the last look
	again    int    // looks until a second trim; 0 for none
	last     uint64 // bytes at the last look
	calm     int    // looks since it was quiet and the memory did not change
}

// due reports whether a trim is worth its while: the worker is quiet, and has
// grown by a quarter since the last one, or by less and stays so: of streams that
// all began at once the last trim may have found half. The first look always is:
// it returns what the start needed.
func (t *trimmer) due(own, requests uint64) bool {
	quiet := requests-t.requests <= trimQuiet
	t.requests = requests
	t.floor = min(t.floor, own)
	if t.calm++; !quiet || max(own, t.last)-min(own, t.last) > trimSlack {
		t.calm = 0
	}
	t.last = own
	if t.again > 0 {
		t.again--
	}
	return quiet && (t.floor == 0 || t.again == 1 || own > t.floor+t.floor/4+trimGrowth ||
		t.calm == trimCalm && own > t.floor+t.floor/16+trimSlack)
}

// trim collects, returns what is free to the system, and remembers what is
// left: growth counts from there. One that gave a lot back is followed by
// another, because the last of a burst may not have ended yet. Pools let go of
// what they hold at the second collection only.
func (t *trimmer) trim(before memory) (after memory) {
	runtime.GC()
	debug.FreeOSMemory()
	boot.ForgetStart()
	after = memoryNow()
	t.trimmed(before.own, after.own)
	return after
}

// trimmed notes what a trim has brought. The first one is followed by another
// too: a start goes on for a while behind what serves.
func (t *trimmer) trimmed(before, after uint64) {
	first := t.floor == 0
	t.floor, t.again = after, 0
	if first || after+trimSlack < before {
		t.again = trimAgain
	}
}
