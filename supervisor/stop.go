package main

import (
	"log/slog"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// Phases of a whole stop, in their order.
type stopPhase int

const (
	stopNone    stopPhase = iota
	stopPrestop           // readiness says draining, all is served
	stopLame              // workers finish
	stopCut               // workers end what is left
	stopHealthd           // only healthd is left
)

const (
	secondWindow = int64(30 * time.Second) // after a second signal
	quietFor     = int64(time.Second)
	quietMost    = int64(5 * time.Second)
)

// stopping is how far a stop has come.
type stopping struct {
	phase       stopPhase
	at          int64 // of the present phase
	prestopEnd  int64
	windowEnd   int64
	last        *generation // accepts for all until the queues are empty
	quietSince  int64
	cut         uint64 // streams and requests that did not end by themselves
	code        int
	err         error
	healthRetry int64
	now         bool // QUIT: healthd is not kept alive either
}

// askStop is TERM or INT: the first begins the stop, the second shortens it.
func (a *appliance) askStop() {
	a.starts.forget()
	if a.stop.phase == stopNone {
		a.beginStop(a.plan.prestop, a.plan.window)
		return
	}
	now := a.now()
	end := now + secondWindow
	a.stop.prestopEnd = min(a.stop.prestopEnd, now)
	if a.stop.windowEnd > end {
		a.stop.windowEnd = end
		a.log.Warn("told again to stop, 30 s are left")
	}
}

// beginStop starts the stop. Readiness answers draining from the next step on;
// liveness stays well.
func (a *appliance) beginStop(prestop, window time.Duration) {
	now := a.now()
	a.stop.phase, a.stop.at = stopPrestop, now
	a.stop.prestopEnd = now + int64(prestop)
	a.stop.windowEnd = a.stop.prestopEnd + int64(window)
	a.table.Header().State.Store(uint32(fleet.StateDraining))
	a.noteStop(true)
	if a.migration.cancel != nil {
		a.migration.cancel()
	}
	a.notify.send("STOPPING=1\nSTATUS=draining")
	a.notify.extended = 0
	a.log.Info("stopping", slog.Duration("prestop", prestop), slog.Duration("window", window))
}

// quit is the end now: nothing is waited for but the ends of the processes.
func (a *appliance) quit() {
	a.starts.forget()
	now := a.now()
	if a.stop.phase == stopNone {
		a.beginStop(0, 0)
	}
	a.stop.phase, a.stop.at, a.stop.last, a.stop.now = stopCut, now, nil, true
	for _, g := range a.gens {
		g.killAt = now
	}
	for _, d := range a.daemons {
		d.killAt = now
	}
}

// stopStep moves the stop on.
func (a *appliance) stopStep(now int64) {
	st := &a.stop
	switch st.phase {
	case stopNone:
	case stopPrestop:
		if now >= st.prestopEnd {
			a.beginLame(now)
		}
	case stopLame:
		a.endAccepting(now)
		if len(a.gens) == 0 {
			a.beginHealthdStop(now)
		} else if now >= st.windowEnd {
			a.beginCut(now)
		}
	case stopCut:
		if len(a.gens) == 0 {
			a.beginHealthdStop(now)
		}
	case stopHealthd:
		// The migrator ends the batch that it writes, and says how to go on.
		if len(a.daemons) == 0 && (!a.migration.runs() || st.now || now-st.at > int64(migratorStops)) {
			a.stopped()
		}
	}
}

// beginLame makes all workers lame but one, which takes over the queues: what
// has connected is answered.
func (a *appliance) beginLame(now int64) {
	st := &a.stop
	st.phase, st.at = stopLame, now
	a.closeDoors()
	var serving []*generation
	for _, g := range a.gens {
		if g.serving() {
			serving = append(serving, g)
		}
	}
	st.last = a.leastLoaded(serving)
	for _, g := range a.gens {
		switch {
		case g == st.last, g.state == fleet.StateStarting && g.link != nil:
		case g.state == fleet.StateStarting:
			g.killAt = now // has not even asked for a listener
		case g.hung:
			a.endHung(g, now)
		default:
			a.makeLame(g, max(st.windowEnd-now, 1))
		}
	}
}

// endAccepting makes the last worker lame when no queue has held anything for
// a second, or after five seconds. From then on a new connection is refused:
// one that nobody will accept would hang as long as the slowest stream.
func (a *appliance) endAccepting(now int64) {
	st := &a.stop
	if st.last == nil {
		return
	}
	queued := 0
	for _, s := range a.sockets {
		if s.Slot >= 0 {
			queued += pending(s)
		}
	}
	if queued > 0 || st.quietSince == 0 {
		st.quietSince = now
	}
	if now-st.quietSince < quietFor && now-st.at < quietMost && st.last.serving() {
		return
	}
	if a.gens[st.last.name] == st.last {
		a.makeLame(st.last, max(st.windowEnd-now, 1))
	}
	st.last = nil
	for _, s := range a.ownSockets() {
		if err := refuse(s.fd); err != nil {
			a.log.Debug("refuse new connections", slog.String("listener", s.Name), slog.String("error", err.Error()))
		}
	}
}

// closeDoors has the kernel drop the first packet of new connections, so that
// the queues run empty while the last worker accepts.
func (a *appliance) closeDoors() {
	for _, s := range a.ownSockets() {
		if s.Network != "tcp" {
			continue
		}
		if err := closeDoor(s.fd); err != nil {
			a.log.Debug("drop new connections", slog.String("listener", s.Name), slog.String("error", err.Error()))
		}
	}
}

// ownSockets are the workers' listeners that live no longer than the appliance:
// one that systemd bound is systemd's, and others may be asked on it next.
func (a *appliance) ownSockets() []socket {
	var out []socket
	for _, s := range a.sockets {
		if s.Slot >= 0 && !s.Lent {
			out = append(out, s)
		}
	}
	return out
}

// beginCut ends what is left with an error event in each stream.
func (a *appliance) beginCut(now int64) {
	const last = int64(5 * time.Second)
	a.stop.phase, a.stop.at, a.stop.last = stopCut, now, nil
	for _, g := range a.gens {
		g.send(fleet.Message{Kind: fleet.KindCut, Window: last})
		if g.killAt == 0 {
			g.killAt = now + last + int64(time.Second)
		}
	}
	a.log.Warn("stop window has ended", slog.Int("workers", len(a.gens)))
}

// beginHealthdStop closes the listeners and lets healthd go.
func (a *appliance) beginHealthdStop(now int64) {
	a.stop.phase, a.stop.at = stopHealthd, now
	seen := map[int]bool{}
	for _, s := range a.sockets {
		if s.Slot >= 0 && !seen[s.fd] {
			seen[s.fd] = true
			_ = syscall.Close(s.fd)
		}
	}
	a.sockets = nil
	a.notify.forget()
	for _, d := range a.daemons {
		a.kill(d.name, syscall.SIGTERM)
		if d.killAt == 0 {
			d.killAt = now + int64(2*time.Second)
		}
	}
}

// stopped is the end: 0 as asked, 1 when anything was cut.
func (a *appliance) stopped() {
	code := a.stop.code
	if a.stop.cut > 0 {
		a.log.Warn("stopped, and cut what had not ended", slog.Uint64("cut", a.stop.cut))
		if code == fleet.ExitOK {
			code = fleet.ExitFailed
		}
	} else {
		a.log.Info("stopped")
	}
	a.dirty = false
	a.writeProcesses()
	a.finish(code, a.stop.err)
}
