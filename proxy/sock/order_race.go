//go:build race

package sock

import "sync/atomic"

var calls atomic.Uint32

// order tells the race detector that what happened before a call on a socket
// happened before what follows later calls, as the standard library does.
func order() { calls.Add(1) }
