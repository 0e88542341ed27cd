//go:build !race

package journal

import "testing"

// A record allocates nothing, in any mode.
func TestAllocations(t *testing.T) {
	for _, sync := range []Sync{SyncNone, SyncInterval} {
		c := config(t)
		c.Sync = sync
		w := open(t, c)
		in, s := intent(1), settle(1)
		got := testing.AllocsPerRun(5000, func() {
			must(t, w.Intent(in, priced))
			must(t, w.Progress(in.RequestID, 0, 256))
			must(t, w.Settle(in.RequestID, 0, s))
			must(t, w.Reject(in, s))
		})
		// Segments, flushes and looks allocate a little now and then.
		if got > 0.5 {
			t.Errorf("%v allocations for four records, want none", got)
		}
	}
}
