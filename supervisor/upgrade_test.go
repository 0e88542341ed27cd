package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// TestUpgradeWaits: nobody is executed anew while a worker is half started, also
// where that worker began while the binary was tried.
func TestUpgradeWaits(t *testing.T) {
	r := newRig(t, 1)
	// It tells its version; in our place it fails.
	r.self = filepath.Join(t.TempDir(), "supervisor")
	if err := os.WriteFile(r.self, []byte("#!/bin/sh\n[ \"$1\" = --version ]\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	r.upgrade = true
	r.upgradeStep()
	if r.upgrade {
		t.Fatal("the binary is not tried")
	}
	r.gens["g"] = &generation{name: "g", state: fleet.StateStarting}
	select {
	case act := <-r.actions:
		act()
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes of the try")
	}
	if !r.upgrade {
		t.Fatal("the upgrade is forgotten, or was done beside a worker that is half started")
	}
	r.upgradeStep()
	if !r.upgrade {
		t.Error("the binary is tried while a worker is half started")
	}
}
