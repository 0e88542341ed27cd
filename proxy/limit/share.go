package limit

import "time"

// Share is what the hosts of a cluster agree on: Redis. Its methods are called
// on the request path by many goroutines at once and do not wait longer than
// their own deadline; one that cannot be asked says so at once.
//
// The record of the host table counts what this host has used, with and without
// a Share, so that a switch between the two is no new beginning: a limit is
// first reserved on the host, under the whole limit, and then here. While the
// Share is away it is reserved on the host alone, under limit ÷ Hosts; what was
// used before is counted against that part.
type Share interface {
	// Take asks for n permits of a limit (a number in a window, or of requests
	// at once for Parallel). ok is false when nobody could be asked, or for a
	// type that is not shared. Otherwise fewer than n are a refusal of the whole,
	// of which nothing is kept, and Reset says when to try again. More than n are a
	// block: the limiter spends what is over within BlockLife, by any process
	// of this host, or gives it back; a block that nobody comes back to is lost.
	Take(tag uint64, t Type, limit, n int64) (g Grant, ok bool)

	// Give returns permits that were taken and not used: of a reservation that was
	// undone, of tokens that were estimated and not used, of a parallel request
	// that has ended. A negative n are tokens that were
	// used and not taken: they are charged even beyond the limit. taken is
	// fleet.Now at the Take that they came from, or earlier: what was paid off
	// since then does not come back. Give does not wait.
	Give(tag uint64, t Type, limit, n, taken int64)

	// Unspent returns what nobody wanted of a block: the next may be smaller.
	Unspent(tag uint64, t Type, limit, n, taken int64)

	// Hosts is how many hosts share the limits, as last known; at least 1.
	Hosts() int64
}

// Grant is what a Share answers.
type Grant struct {
	N     int64         // permits
	Since int64         // fleet.Now when they were asked for; of windows only
	Reset time.Duration // until there may be more
}

// BlockLife is how long permits that were taken in a block may be spent.
const BlockLife = 100 * time.Millisecond
