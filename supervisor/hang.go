package main

import (
	"log/slog"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// Times of a hang, in nanoseconds.
const (
	stalledFor = int64(time.Second)     // connections waited and none was accepted
	dumpTime   = int64(3 * time.Second) // between SIGQUIT and SIGKILL
)

// watchHangs finds workers that do nothing at all, and those whose accept loop
// has stopped. The second is seen from outside: over TCP a worker cannot pass a
// request to itself. A hung one no longer counts as serving, so its slot is
// filled and adopted like an empty one. One that is merely overloaded is late
// with its requests to itself too, but others of its requests end.
func (a *appliance) watchHangs(now int64) {
	for _, g := range a.gens {
		if g.area < 0 || g.killAt != 0 {
			continue
		}
		page := a.table.Generation(g.area)
		g.noteProgress(page, now)
		if g.state != fleet.StateReady || now < a.gracedTill {
			g.stalledSince = 0
			if g.state == fleet.StateLame && g.hung && g.silent(now) && now >= a.gracedTill {
				a.endHung(g, now)
			}
			continue
		}
		silent, stalled := g.silent(now), a.stalled(g, page, now)
		switch {
		case (silent || stalled) && !g.hung:
			g.hung = true
			a.log.Error("worker hangs, replacing it", slog.Int("slot", g.slot), slog.Int("generation", g.number),
				slog.Int("pid", g.pid), slog.Bool("silent", silent), slog.Bool("stalled", stalled))
		case g.hung && !silent && !stalled:
			g.hung = false
			a.log.Info("worker answers again", slog.Int("slot", g.slot), slog.Int("generation", g.number))
		}
		if g.hung {
			a.replaced(g, now)
		}
	}
}

// noteProgress notes the last sign of life: an answered request to itself, any
// other request that ended, a connection that was accepted.
func (g *generation) noteProgress(page *fleet.Generation, now int64) {
	if work := page.Requests.Load() + page.Accepted.Load(); work != g.work {
		g.work, g.lived = work, now
	}
	g.lived = max(g.lived, page.Beat.Load(), g.ready)
}

// silent reports that a worker has given no sign of life for too long.
func (g *generation) silent(now int64) bool { return now-g.lived > fleet.HungAfter }

// replaced ends a hung generation once its slot has another one.
func (a *appliance) replaced(g *generation, now int64) {
	for _, other := range a.inSlot(g.slot) {
		if other.serving() {
			a.endHung(g, now)
			return
		}
	}
}

// stalled compares the queues of a worker's own listeners with what it has
// accepted. Only the newest generation of a slot answers for the queue.
func (a *appliance) stalled(g *generation, page *fleet.Generation, now int64) bool {
	queue := 0
	for _, s := range a.sockets {
		if s.Slot == g.slot && s.Network == "tcp" {
			queue += waiting(s.fd)
		}
	}
	accepted := page.Accepted.Load()
	if queue == 0 || accepted != g.accepted {
		g.accepted, g.stalledSince = accepted, 0
		return false
	}
	if g.stalledSince == 0 {
		g.stalledSince = now
	}
	return now-g.stalledSince >= stalledFor
}

// endHung ends a worker that gives no sign of life. One that does may finish
// what it has, for a while, and is watched on.
func (a *appliance) endHung(g *generation, now int64) {
	if g.killAt != 0 {
		return
	}
	if !g.silent(now) {
		a.recycles["hang"]++
		a.makeLame(g, 0)
		g.windowEnd = now + forcedWindow
		return
	}
	a.kill(g.name, syscall.SIGQUIT)
	g.killAt = now + dumpTime
}
