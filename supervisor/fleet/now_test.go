package fleet

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The runtime's clock is the one that every process of the host reads alike.
func TestNowIsTheMonotonicClock(t *testing.T) {
	monotonic := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	for range 1000 {
		before := monotonic()
		now := Now()
		if after := monotonic(); now < before || now > after {
			t.Fatalf("Now is %d, the clock of the kernel was %d before and %d after", now, before, after)
		}
	}
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}
