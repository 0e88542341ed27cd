package server

import (
	"sync/atomic"
	"time"

	"sluice/supervisor/fleet"
)

// tick is how often the sweeper looks; deadlines are as exact as that.
const tick = 100 * time.Millisecond

// clock is fleet.Now without a system call: Go's monotonic clock is the same
// CLOCK_MONOTONIC, read through the vDSO.
type clock struct {
	base   time.Time
	offset int64
	coarse atomic.Int64 // as of the sweeper's last tick
}

func (k *clock) start() {
	k.base, k.offset = time.Now(), fleet.Now()
	k.coarse.Store(k.offset)
}

// at converts an instant to fleet.Now's scale.
func (k *clock) at(t time.Time) int64 { return k.offset + int64(t.Sub(k.base)) }

// now is the present on fleet.Now's scale.
func (k *clock) now() int64 { return k.offset + int64(time.Since(k.base)) }
