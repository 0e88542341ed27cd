package app

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/proxy/config"
	"sluice/proxy/store"
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

// TestOverlayIsWoken: a worker that keeps nothing in the database looks at
// nothing, and at once when that changes.
func TestOverlayIsWoken(t *testing.T) {
	h := newHost(t, store.Config{SQLite: dbtest.SQLite(t)}, "a", "sk-right-secret")
	w := h.w
	w.overlaying = newOverlaying()
	w.followed = fleet.NewChangeReader(w.table)
	h.d.done.Go(func() { w.followOverlay(h.d.ctx) })
	time.Sleep(5 * overlayLook) // its first look, and some that it should not take
	at := &w.table.Generation(w.area).Overlay
	if at.Load() != 0 {
		t.Fatal("it follows an overlay that there is not")
	}
	file := &config.File{}
	file.General.StoreModels = true
	w.setStoring(file)
	for end := time.Now().Add(20 * time.Second); at.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not woken")
		}
	}
}
