package main

import (
	"log/slog"
	"time"

	"sluice/supervisor/fleet"
)

// answerWithin is how long a worker may take for a reload, in nanoseconds.
const answerWithin = int64(30 * time.Second)

// reloadRound is one reload and the answers to it. Every HUP that comes while
// one is open is answered by one more round after it: the last of them sees
// the file as it was when it came.
type reloadRound struct {
	at       int64 // 0: none is open
	waiting  map[*generation]bool
	applied  bool
	rejected bool
	again    bool // asked for while this one was open
}

// reloadAll has every worker read its configuration again.
func (a *appliance) reloadAll() {
	if a.reload.at != 0 {
		a.reload.again = true
		return
	}
	now := a.now()
	a.reload = reloadRound{at: now, waiting: map[*generation]bool{}}
	a.notify.reloading(now)
	for _, g := range a.gens {
		switch {
		case g.state == fleet.StateStarting:
			g.outdated = true
		case g.state == fleet.StateReady && g.link != nil:
			a.reload.waiting[g] = true
			g.send(fleet.Message{Kind: fleet.KindReload})
		}
	}
	a.reloadStep(now)
}

// reloaded counts one answer: a round is refused or applied once, however
// many workers say so.
func (a *appliance) reloaded(g *generation, m fleet.Message) {
	h := a.table.Header()
	if !a.reload.waiting[g] {
		return
	}
	delete(a.reload.waiting, g)
	if m.Kind == fleet.KindRefused && !a.reload.rejected {
		a.reload.rejected = true
		a.config.Rejected++
		h.ConfigRejected.Store(a.config.Rejected)
		a.log.Warn("configuration refused, the old one stays", slog.String("reason", m.Reason))
	}
	if m.Kind == fleet.KindApplied {
		if !a.reload.applied {
			a.reload.applied = true
			a.config.Applied++
			a.log.Info("configuration applied", slog.Uint64("config", m.Config))
		}
		if m.Config > h.ConfigApplied.Load() {
			h.ConfigApplied.Store(m.Config)
		}
	}
	a.reloadStep(a.now())
}

// reloadStep ends a round that waits for nobody any more: who has died or
// hangs does not answer.
func (a *appliance) reloadStep(now int64) {
	if a.reload.at == 0 {
		return
	}
	for g := range a.reload.waiting {
		if a.gens[g.name] != g || g.link == nil || g.hung || now-a.reload.at > answerWithin {
			delete(a.reload.waiting, g)
		}
	}
	if len(a.reload.waiting) > 0 {
		return
	}
	again := a.reload.again
	a.reload = reloadRound{}
	a.notify.send("READY=1")
	if again {
		a.reloadAll()
	}
}
