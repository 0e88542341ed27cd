package main

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// observer reads the host table. What needs a system call is refreshed once a
// second by watch; the rest is read at each probe.
type observer struct {
	table     atomic.Pointer[fleet.Table]
	alone     bool
	requireDB bool
	lost      atomic.Bool // the control socket is closed
	gone      atomic.Bool // the supervisor's process is gone
}

// fullFor is how long a worker is believed that said that the journal is full:
// it says so twice a second while that is so.
const fullFor = 3 * time.Second

// look takes an observation: some thousand loads from memory.
func (o *observer) look() observation {
	t := o.table.Load()
	h := t.Header()
	now := fleet.Now()
	ob := observation{
		alone: o.alone, state: fleet.State(h.State.Load()), supervisorGone: o.gone.Load(),
		heartbeatAge: time.Duration(now - h.Heartbeat.Load()),
		database:     fleet.Dependency(h.Database.Load()), redis: fleet.Dependency(h.Redis.Load()),
		schema: h.Schema.Load(), want: h.SchemaWant.Load(), viewAge: -1,
		databaseUp: h.DatabaseUp.Load() == 1, needsDatabase: h.NeedsDatabase.Load() == 1, requireDB: o.requireDB,
	}
	if h.MigratorState.Load() == fleet.MigratorImports {
		ob.importing, ob.imported, ob.of = true, h.ImportRows.Load(), h.ImportOf.Load()
	}
	if at := h.JournalFull.Load(); at != 0 {
		ob.journalFull = time.Duration(now-at) < fullFor
	}
	if at := h.ObservedAt.Load(); at != 0 {
		ob.viewAge = time.Duration(now - at)
	}
	ob.slots = slots(t, now, ob.supervisorGone)
	return ob
}

// slots views every slot. A slot is ready while one of its generations is:
// that is read from the generations, because nobody writes the slots' pages
// while there is no supervisor.
func slots(t *fleet.Table, now int64, unjudged bool) []slotView {
	views := make([]slotView, t.Slots())
	for i := range views {
		s := t.Slot(i)
		views[i] = slotView{
			Slot: i, State: fleet.State(s.State.Load()).String(),
			Generation: int(s.Generation.Load()), AdoptedBy: int(s.AdoptedBy.Load()),
		}
	}
	for i := range t.Areas() {
		g := t.Generation(i)
		number, slot := int(g.Number.Load()), int(g.Slot.Load())
		if number == 0 || slot >= len(views) || fleet.State(g.State.Load()) != fleet.StateReady {
			continue
		}
		if unjudged && now-g.Beat.Load() > int64(staleBeat) && now-g.Ready.Load() > int64(staleBeat) {
			continue
		}
		v := &views[slot]
		v.Generation = max(v.Generation, number)
		v.ready, v.State = true, fleet.StateReady.String()
	}
	for i := range views {
		if v := &views[i]; !v.ready && v.State == fleet.StateReady.String() {
			v.State = fleet.StateStarting.String()
		}
	}
	return views
}

// watch asks whether the supervisor's process lives.
func (o *observer) watch() {
	if o.alone {
		return
	}
	o.gone.Store(o.lost.Load() || !alive(int(o.table.Load().Header().SupervisorPID.Load())))
}

// workersAlive is true while a generation of the table still runs.
func (o *observer) workersAlive() bool {
	t := o.table.Load()
	for i := range t.Areas() {
		if g := t.Generation(i); g.Number.Load() != 0 && alive(int(g.PID.Load())) {
			return true
		}
	}
	return false
}

// alive asks the kernel; a process of another user lives too.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
