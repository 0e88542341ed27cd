package fleet

import (
	"time"
	_ "unsafe" // for go:linkname
)

// nanotime is the runtime's own reading of CLOCK_MONOTONIC, through the page
// that the kernel maps into every process. The system call costs ten times as
// much, and limits read the clock in every request.
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

// Now is CLOCK_MONOTONIC in nanoseconds: the only clock of the host table,
// read alike in every process of the host.
func Now() int64 { return nanotime() }

// Since is the time between an instant of Now and the present.
func Since(instant int64) time.Duration { return time.Duration(Now() - instant) }
