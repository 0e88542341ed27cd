package app

import (
	"testing"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// TestEverywhere: a change is waited for in every worker that may answer a
// request, and in no other one.
func TestEverywhere(t *testing.T) {
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	w := &worker{table: table}
	if w.area, err = table.Claim(0, 2); err != nil {
		t.Fatal(err)
	}
	g := table.Generation(w.area)
	for _, c := range []struct {
		state   fleet.State
		at      uint64 // position of the overlay in force; 0 follows none
		inForce bool
	}{
		{fleet.StateStarting, 5, false},
		{fleet.StateReady, 5, false},
		{fleet.StateLame, 5, false},
		{fleet.StateLame, 7, true},
		{fleet.StateReady, 8, true},
		{fleet.StateReady, 0, true},
		{fleet.StateDead, 5, true},
	} {
		g.State.Store(uint32(c.state))
		g.Overlay.Store(0)
		if c.at != 0 {
			w.overlayAt(c.at)
		}
		if got := w.everywhere(7); got != c.inForce {
			t.Errorf("%v at %d: change 7 is in force everywhere: %v", c.state, c.at, got)
		}
	}
}
