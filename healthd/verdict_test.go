package main

import (
	"slices"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

func healthy() observation {
	return observation{
		state: fleet.StateReady, heartbeatAge: 100 * time.Millisecond,
		slots:    []slotView{{Slot: 0, State: "ready", ready: true}, {Slot: 1, State: "ready", ready: true}},
		database: fleet.DependencyConnected, redis: fleet.DependencyAbsent,
		schema: 1, want: 1, viewAge: time.Second, databaseUp: true,
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *observation)
		live   bool
		ready  bool
		status string
		why    []string
	}{
		{"all is well", func(*observation) {}, true, true, statusHealthy, nil},
		{"newer schema", func(o *observation) { o.schema = 2 }, true, true, statusHealthy, nil},
		{"older schema", func(o *observation) { o.want = 2 }, true, true, statusDegraded, []string{"schema: 1, 2 is wanted"}},
		{"no database configured", func(o *observation) { o.database, o.databaseUp = fleet.DependencyAbsent, false }, true, true, statusHealthy, nil},
		{"database lost", func(o *observation) { o.database = fleet.DependencyDown }, true, true, statusDegraded, []string{"database: disconnected"}},
		{"redis lost", func(o *observation) { o.redis = fleet.DependencyDown }, true, true, statusDegraded, []string{"redis: disconnected"}},
		{"redis too old", func(o *observation) { o.redis = fleet.DependencyUnsupported }, true, true, statusDegraded, []string{"redis: unsupported version"}},
		{"observations stale", func(o *observation) { o.viewAge = time.Minute }, true, true, statusDegraded, []string{"database and redis: not looked at for 1m0s"}},
		{"database lost, needed for readiness", func(o *observation) {
			o.database, o.requireDB = fleet.DependencyDown, true
		}, true, false, statusNotReady, []string{"the database is away and SLUICE_READY_NEEDS_DB is set"}},
		{"first start, database away", func(o *observation) {
			o.database, o.databaseUp, o.needsDatabase = fleet.DependencyDown, false, true
		}, true, false, statusNotReady, []string{"the database has not been reached since the start"}},
		{"first start, nobody has looked", func(o *observation) {
			o.database, o.databaseUp, o.needsDatabase = fleet.DependencyUnknown, false, true
		}, true, false, statusStarting, []string{"the database has not been looked at yet"}},
		{"was up once, away now", func(o *observation) {
			o.database, o.needsDatabase = fleet.DependencyDown, true
		}, true, true, statusDegraded, []string{"database: disconnected"}},
		{
			"journal at its bound", func(o *observation) { o.journalFull = true }, true, false, statusNotReady,
			[]string{"the journal is at its bound: model calls are refused until the database takes what waits"},
		},
		{"starting", func(o *observation) {
			o.state, o.slots[0].ready, o.slots[1].ready = fleet.StateStarting, false, false
		}, true, false, statusStarting, []string{"no worker is ready yet"}},
		{"importing", func(o *observation) {
			o.state, o.slots[0].ready, o.slots[1].ready = fleet.StateStarting, false, false
			o.importing, o.imported, o.of = true, 1200, 5000
		}, true, false, statusStarting, []string{"importing: 1200 of about 5000 rows"}},
		{"importing after an outage", func(o *observation) { o.importing = true }, true, false, statusStarting, []string{"importing: looking at what there is"}},
		{"first of two slots is ready", func(o *observation) {
			o.state, o.slots[1] = fleet.StateStarting, slotView{Slot: 1, State: "starting"}
		}, true, true, statusDegraded, []string{"slot 1: starting"}},
		{"slot failed, adopted", func(o *observation) {
			o.slots[1] = slotView{Slot: 1, State: "failed", AdoptedBy: 4}
		}, true, true, statusDegraded, []string{"slot 1: failed"}},
		{"no slot", func(o *observation) {
			o.slots[0].ready, o.slots[1].ready = false, false
		}, true, false, statusNotReady, []string{"no worker is ready"}},
		{"draining", func(o *observation) { o.state = fleet.StateDraining }, true, false, statusDraining, []string{"the appliance is stopping"}},
		{"stopping", func(o *observation) { o.state = fleet.StateStopping }, true, false, statusDraining, []string{"the appliance is stopping"}},
		{"supervisor dead for a moment", func(o *observation) {
			o.supervisorGone, o.heartbeatAge = true, 59*time.Second
		}, true, true, statusHealthy, nil},
		{"supervisor dead, no successor", func(o *observation) {
			o.supervisorGone, o.heartbeatAge = true, 61*time.Second
		}, false, true, statusHealthy, nil},
		{"supervisor slow", func(o *observation) { o.heartbeatAge = 14 * time.Second }, true, true, statusHealthy, nil},
		{"supervisor hangs", func(o *observation) { o.heartbeatAge = 16 * time.Second }, false, true, statusHealthy, nil},
		{"alone", func(o *observation) {
			o.alone, o.state, o.heartbeatAge = true, fleet.StateNone, time.Hour
			o.slots = []slotView{{State: "none"}}
		}, true, false, statusStarting, []string{"no worker is ready yet"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := healthy()
			tt.change(&o)
			v := judge(o)
			if v.live != tt.live || v.ready != tt.ready || v.status != tt.status || !slices.Equal(v.why, tt.why) {
				t.Errorf("judge = live %v ready %v %s %q, want live %v ready %v %s %q",
					v.live, v.ready, v.status, v.why, tt.live, tt.ready, tt.status, tt.why)
			}
			if v.live == (v.liveWhy != "") {
				t.Errorf("live %v with reason %q", v.live, v.liveWhy)
			}
		})
	}
}
