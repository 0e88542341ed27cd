package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// In a long outage the migrator says once what is wrong, and again when that
// changes.
func TestMigratorRepeatsNothing(t *testing.T) {
	var out bytes.Buffer
	w := onceWriter{to: &out}
	for _, said := range []string{"away\n", "away\n", "away\n", "starting\n", "away\n"} {
		if n, err := fmt.Fprint(&w, said); err != nil || n != len(said) {
			t.Errorf("%d %v", n, err)
		}
	}
	if got := out.String(); got != "away\nstarting\naway\n" {
		t.Errorf("%q", got)
	}
}

// An import is told of while it goes on; one that is interrupted is tried again
// before a worker starts, which would refuse the keys that are still to come.
func TestImportKeepsWorkersFromStarting(t *testing.T) {
	r := newRig(t, 1)
	r.migration.state, r.migration.passed = fleet.MigratorRuns, false
	r.followImport(strings.NewReader("0 0\nno numbers\n1200 5000\n"))
	for range 2 {
		(<-r.actions)()
	}
	h := r.table.Header()
	if h.MigratorState.Load() != fleet.MigratorImports || h.ImportRows.Load() != 1200 || h.ImportOf.Load() != 5000 {
		t.Errorf("state %d, %d of %d", h.MigratorState.Load(), h.ImportRows.Load(), h.ImportOf.Load())
	}
	r.migrated(fleet.ExitTryAgain, errors.New("away"))
	if r.migration.passed || r.migration.state != fleet.MigratorWaits || r.finished {
		t.Errorf("%+v", r.migration)
	}
	r.migration.state = fleet.MigratorImports
	r.pass(2 * time.Minute)
	if len(r.engine.spawned) != 0 || r.stop.phase != stopNone {
		t.Errorf("spawned %v, phase %d", r.engine.spawned, r.stop.phase)
	}
	r.migrated(fleet.ExitOK, nil)
	r.step()
	if len(r.engine.spawned) != 1 {
		t.Errorf("spawned %v", r.engine.spawned)
	}
}
