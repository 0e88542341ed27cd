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
	dumpTime   = int64(5 * time.Second) // between SIGQUIT, for a goroutine dump, and SIGKILL
)

// watchHangs finds workers that do not answer themselves, and those whose
// accept loop has stopped. The second is seen from outside: over TCP a worker
// cannot pass a request to itself. A hung one no longer counts as serving, so
// its slot is filled and adopted like an empty one.
func (a *appliance) watchHangs(now int64) {
	for _, g := range a.gens {
		if g.state != fleet.StateReady || g.area < 0 || now < a.gracedTill || g.killAt != 0 {
			g.stalledSince = 0
			continue
		}
		page := a.table.Generation(g.area)
		silent := now-max(page.Beat.Load(), g.ready) > fleet.HungAfter
		stalled := a.stalled(g, page, now)
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

// endHung asks a hung worker for a goroutine dump and kills it soon after.
func (a *appliance) endHung(g *generation, now int64) {
	if g.killAt != 0 {
		return
	}
	a.kill(g.name, syscall.SIGQUIT)
	g.killAt = now + dumpTime
}
