package ledger

import (
	"runtime"
	"testing"
	"weak"

	"sluice/proxy/journal"
)

// TestShippedAttemptsAreForgotten: a segment that is kept for a while after all
// of it is in the database does not keep its attempts in memory.
func TestShippedAttemptsAreForgotten(t *testing.T) {
	seg := &segment{Segment: &journal.Segment{}, read: 3}
	var kept []weak.Pointer[attempt]
	for off := range int64(3) {
		a := &attempt{intent: place{seg, off}}
		kept = append(kept, weak.Make(a))
		seg.pin(off, a)
		a.shipped = off < 2
	}
	if to := seg.cursor(); to != 2 {
		t.Fatalf("the cursor is at %d, want 2", to)
	}
	runtime.GC()
	for i, p := range kept {
		if gone := p.Value() == nil; gone != (i < 2) {
			t.Errorf("attempt %d is gone: %v", i, gone)
		}
	}
	runtime.KeepAlive(seg)
}
