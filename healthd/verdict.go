package main

import (
	"fmt"
	"time"

	"sluice/supervisor/fleet"
)

// Status words of a verdict.
const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusStarting = "starting"
	statusDraining = "draining"
	statusNotReady = "not_ready"
)

const (
	hungSupervisor = 15 * time.Second                 // a living supervisor that does not turn its loop
	goneSupervisor = time.Duration(fleet.OrphanDrain) // a dead one without a successor
	staleBeat      = 10 * time.Second                 // with no supervisor to judge, a worker silent for so long counts as gone
	staleView      = 10 * time.Second                 // observations of dependencies are made every second
)

// slotView is one slot as a verdict sees it.
type slotView struct {
	Slot       int    `json:"slot"`
	State      string `json:"state"`
	Generation int    `json:"generation"`
	AdoptedBy  int    `json:"adopted_by,omitempty"`

	ready bool
}

// observation is everything that a verdict depends on.
type observation struct {
	alone          bool // no supervisor was ever there
	state          fleet.State
	supervisorGone bool
	heartbeatAge   time.Duration
	slots          []slotView
	database       fleet.Dependency
	redis          fleet.Dependency
	schema, want   uint32
	viewAge        time.Duration // of database, redis and schema; negative: never observed
	databaseUp     bool          // seen connected since the appliance started
	needsDatabase  bool          // at first start
	requireDB      bool          // SLUICE_READY_NEEDS_DB
	importing      bool          // the migrator takes over another system's data
	imported, of   uint64        // rows of it
	journalFull    bool          // no more of what calls cost can be written down
}

// verdict is what probes are told.
type verdict struct {
	live    bool
	liveWhy string
	ready   bool
	status  string
	why     []string
}

// judge turns an observation into a verdict. It is a pure function: the same
// observation always gives the same answer.
func judge(o observation) verdict {
	v := verdict{live: true, status: statusHealthy}
	switch {
	case o.alone:
	case o.supervisorGone && o.heartbeatAge > goneSupervisor:
		v.live, v.liveWhy = false, "the supervisor is gone and no successor came"
	case !o.supervisorGone && o.heartbeatAge > hungSupervisor:
		v.live, v.liveWhy = false, "the supervisor hangs"
	}
	if !admits(o, &v) {
		return v
	}
	v.ready = true
	v.why = complaints(o)
	if len(v.why) > 0 {
		v.status = statusDegraded
	}
	return v
}

// admits decides whether this host can take traffic, and says why not.
func admits(o observation, v *verdict) bool {
	refuse := func(status, why string) bool {
		v.status, v.why = status, []string{why}
		return false
	}
	if o.state == fleet.StateDraining || o.state == fleet.StateStopping {
		return refuse(statusDraining, "the appliance is stopping")
	}
	switch { // also with workers, which were started while the database was away: they know no key yet
	case o.importing && o.of > 0:
		return refuse(statusStarting, fmt.Sprintf("importing: %d of about %d rows", o.imported, o.of))
	case o.importing:
		return refuse(statusStarting, "importing: looking at what there is")
	}
	ready := 0
	for _, s := range o.slots {
		if s.ready {
			ready++
		}
	}
	if ready == 0 {
		if o.state == fleet.StateStarting || o.state == fleet.StateNone {
			return refuse(statusStarting, "no worker is ready yet")
		}
		return refuse(statusNotReady, "no worker is ready")
	}
	if o.journalFull {
		return refuse(statusNotReady, "the journal is at its bound: model calls are refused until the database takes what waits")
	}
	if o.needsDatabase && !o.databaseUp {
		if o.database == fleet.DependencyUnknown {
			return refuse(statusStarting, "the database has not been looked at yet")
		}
		if o.database != fleet.DependencyAbsent && o.database != fleet.DependencyConnected {
			return refuse(statusNotReady, "the database has not been reached since the start")
		}
	}
	if o.requireDB && o.database != fleet.DependencyConnected && o.database != fleet.DependencyAbsent {
		return refuse(statusNotReady, "the database is away and SLUICE_READY_NEEDS_DB is set")
	}
	return true
}

// complaints lists what is wrong with a host that takes traffic all the same.
func complaints(o observation) []string {
	var why []string
	switch o.database {
	case fleet.DependencyDown:
		why = append(why, "database: disconnected")
	case fleet.DependencyUnsupported:
		why = append(why, "database: unsupported version")
	}
	switch o.redis {
	case fleet.DependencyDown:
		why = append(why, "redis: disconnected")
	case fleet.DependencyUnsupported:
		why = append(why, "redis: unsupported version")
	case fleet.DependencyUnusable:
		why = append(why, "redis: refuses what is needed of it")
	}
	if o.database == fleet.DependencyConnected && o.schema < o.want {
		why = append(why, fmt.Sprintf("schema: %d, %d is wanted", o.schema, o.want))
	}
	if o.database != fleet.DependencyUnknown && o.database != fleet.DependencyAbsent && o.viewAge > staleView {
		why = append(why, "database and redis: not looked at for "+o.viewAge.Round(time.Second).String())
	}
	for _, s := range o.slots {
		if !s.ready {
			why = append(why, fmt.Sprintf("slot %d: %s", s.Slot, s.State))
		}
	}
	return why
}
