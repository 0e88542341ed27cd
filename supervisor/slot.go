package main

import (
	"log/slog"
	"math/rand/v2"
	"strconv"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// Limits of one generation's start, and of starting again.
const (
	settled      = int64(time.Second)      // READY for so long: its death counts towards nothing
	readyWithin  = int64(20 * time.Second) // without READY it is killed
	backoffLeast = int64(500 * time.Millisecond)
	backoffMost  = int64(30 * time.Second)
	failedAfter  = 5 // deaths in a row before READY or within a second of it
)

// slot is one CPU position. Its listeners outlive its generations.
type slot struct {
	index       int
	failures    int   // in a row
	failed      bool  // tried every 30 s only
	retryAt     int64 // no start before
	emptySince  int64 // no generation serves since; 0 one does
	adopter     int   // number of the generation that accepts here instead
	wanted      string
	forced      bool // the recycle passes floor and caps
	successor   int  // number of the generation that a recycle started
	reason      string
	lastRecycle int64
}

// generation is one process life in a slot.
type generation struct {
	name    string
	number  int
	slot    int
	area    int // in the host table; -1 when it has another table
	pid     int
	ticks   uint64
	state   fleet.State
	link    *link
	version string
	adopted bool // by this supervisor from an earlier one

	launched, ready, lamed int64

	windowEnd int64 // a lame one is cut then; 0 never
	killAt    int64 // 0 never
	hung      bool
	told      bool  // adopting is what it was told
	adopting  []int // other slots that it accepts on

	outdated     bool   // has perhaps read a configuration from before a reload
	work         uint64 // requests and connections at the last look
	lived        int64  // last sign of life
	quiet        int64  // what it had waited for a processor soon after; 0 while it lives
	accepted     uint64 // at the last look
	stalledSince int64  // connections wait and none is accepted since
	stalledWait  int64  // what it had waited for a processor then
	heavySince   int64  // above its memory since
}

// serving says that connections may be left to it.
func (g *generation) serving() bool { return g.state == fleet.StateReady && !g.hung }

func random() float64 { return rand.Float64() }

// inSlot lists the living generations of a slot, in no order.
func (a *appliance) inSlot(index int) []*generation {
	var out []*generation
	for _, g := range a.gens {
		if g.slot == index {
			out = append(out, g)
		}
	}
	return out
}

func (a *appliance) byNumber(number int) *generation {
	for _, g := range a.gens {
		if g.number == number {
			return g
		}
	}
	return nil
}

// fillSlots starts a generation in each slot that has none to count on.
func (a *appliance) fillSlots(now int64) {
	if a.stop.phase >= stopLame {
		return
	}
	for _, s := range a.slots {
		serving, starting := false, false
		for _, g := range a.inSlot(s.index) {
			serving = serving || g.serving()
			starting = starting || g.state == fleet.StateStarting
			if g.serving() && now-g.ready >= settled {
				s.failures, s.failed = 0, false
			}
		}
		if serving {
			s.emptySince = 0
			continue
		}
		if s.emptySince == 0 {
			s.emptySince = now
		}
		if !starting && now >= s.retryAt && a.migration.passed {
			a.launch(s, now)
		}
	}
}

// launch starts the next generation of a slot.
func (a *appliance) launch(s *slot, now int64) *generation {
	number := a.nextNumber
	a.nextNumber++
	g := &generation{
		name: "proxy-" + strconv.Itoa(s.index) + "-g" + strconv.Itoa(number), number: number,
		slot: s.index, area: -1, state: fleet.StateStarting, launched: now,
	}
	path, err := a.binary("proxy")
	if err == nil {
		g.area, err = a.table.Claim(s.index, number)
	}
	if err == nil {
		err = a.engine.spawn(childSpec{name: g.name, path: path, env: []string{
			fleet.EnvSlot + "=" + strconv.Itoa(s.index),
			fleet.EnvGeneration + "=" + strconv.Itoa(number),
			fleet.EnvMemoryScore + "=" + workerScore(),
			"GOMAXPROCS=" + strconv.Itoa(a.plan.maxprocs),
			"GOMEMLIMIT=" + strconv.FormatUint(a.plan.memLimit, 10),
		}})
	}
	if err != nil {
		if g.area >= 0 {
			a.table.Reap(g.area)
		}
		a.log.Error("start worker", slog.Int("slot", s.index), slog.String("error", err.Error()))
		a.failedStart(s, now)
		return nil
	}
	a.gens[g.name] = g
	a.dirty = true
	return g
}

// failedStart counts a life that never served and sets when to try again.
func (a *appliance) failedStart(s *slot, now int64) {
	s.failures++
	wait := min(backoffLeast<<min(s.failures-1, 10), backoffMost)
	if s.failures >= failedAfter {
		wait = backoffMost
		if !s.failed {
			s.failed = true
			a.log.Error("slot failed, tried every 30 s from now on", slog.Int("slot", s.index))
		}
	}
	s.retryAt = now + wait/2 + int64(a.random()*float64(wait/2))
}

// child acts on what the engine tells of a process.
func (a *appliance) child(ev childEvent) {
	a.dirty = true
	if _, ok := a.strays[ev.name]; ok && ev.exited {
		delete(a.strays, ev.name)
		return
	}
	if d := a.daemonByName(ev.name); d != nil {
		a.daemonChanged(d, ev)
		return
	}
	g := a.gens[ev.name]
	switch {
	case g == nil:
	case ev.exited:
		a.died(g, ev.status)
	default:
		g.pid, g.ticks = ev.pid, startTicks(ev.pid)
		a.table.Generation(g.area).PID.Store(uint32(ev.pid))
		if err := lower(ev.pid); err != nil {
			a.log.Debug("priority of worker", slog.String("error", err.Error()))
		}
	}
}

// died takes a generation off the books and gives back what it held.
func (a *appliance) died(g *generation, status int) {
	now := a.now()
	delete(a.gens, g.name)
	if g.link != nil {
		g.link.close()
	}
	s := a.slots[g.slot]
	if g.area >= 0 {
		page := a.table.Generation(g.area)
		if a.stop.phase >= stopLame {
			// What a killed one had in flight was cut as well.
			a.stop.cut += page.Cut.Load() + uint64(max(page.InFlight.Load(), 0))
		}
		a.table.Reap(g.area)
	}
	if g.number == s.successor {
		s.successor = 0
	}
	lived := g.ready != 0 && now-g.ready >= settled
	attrs := []any{slog.Int("slot", g.slot), slog.Int("generation", g.number), slog.Int("pid", g.pid), slog.Int("status", status)}
	switch {
	case g.state == fleet.StateLame:
		a.log.Info("worker has drained", attrs...)
	case a.stop.phase >= stopLame:
		a.log.Info("worker has ended", attrs...)
	case lived:
		a.log.Error("worker died, replacing it", attrs...)
		a.table.Slot(g.slot).Restarts.Add(1)
		a.recycles[crashReason(g)]++
		s.retryAt = 0
	default:
		a.log.Error("worker died at its start", attrs...)
		a.recycles["start_failed"]++
		a.failedStart(s, now)
		if g.ready != 0 && s.failures == 1 {
			s.retryAt = 0 // it could serve; only the next such death waits
		}
		if status == fleet.ExitConfig && !a.everReady && a.stop.phase == stopNone {
			a.log.Error("the configuration cannot be used")
			a.stop.code = fleet.ExitConfig
			a.beginStop(0, time.Second)
		}
	}
}

func crashReason(g *generation) string {
	if g.hung {
		return "hang"
	}
	return "crash"
}

// isReady makes a generation the one that serves its slot: those before it
// become lame only now.
func (a *appliance) isReady(g *generation) {
	if g.state != fleet.StateStarting {
		return
	}
	now := a.now()
	g.state, g.ready, g.told = fleet.StateReady, now, true
	page := a.table.Generation(g.area)
	page.Ready.CompareAndSwap(0, now)
	page.State.CompareAndSwap(uint32(fleet.StateStarting), uint32(fleet.StateReady))
	a.log.Info("worker ready", slog.Int("slot", g.slot), slog.Int("generation", g.number), slog.Int("pid", g.pid),
		slog.Duration("took", time.Duration(now-g.launched)))
	s := a.slots[g.slot]
	if s.successor == g.number {
		a.recycled(s, now)
	}
	s.emptySince = 0
	if g.outdated {
		g.outdated = false
		g.send(fleet.Message{Kind: fleet.KindReload})
	}
	for _, old := range a.inSlot(g.slot) {
		if old == g || old.state != fleet.StateReady {
			continue
		}
		if old.hung {
			a.endHung(old, now)
		} else {
			a.makeLame(old, 0)
		}
	}
	if a.stop.phase >= stopLame {
		a.makeLame(g, max(a.stop.windowEnd-now, 1))
	}
	a.dirty = true
}

// makeLame tells a generation to accept nothing more and finish. window is in
// nanoseconds, 0 for no end.
func (a *appliance) makeLame(g *generation, window int64) {
	quiet := int64(0)
	if a.stop.phase != stopNone {
		quiet = fleet.StopQuiet // no successor waits for what idle connections may still ask
	}
	if g.state != fleet.StateLame {
		g.state, g.lamed = fleet.StateLame, a.now()
	} else if quiet == 0 {
		return // it knows; of the quiet one that was recycled before a stop does not
	}
	g.send(fleet.Message{Kind: fleet.KindLame, Window: window, Quiet: quiet})
	a.dirty = true
}

// send passes a message to a generation, if it is connected.
func (g *generation) send(m fleet.Message) {
	if g.link != nil {
		g.link.send(m, -1, false)
	}
}

// deadlines acts on what has taken too long.
func (a *appliance) deadlines(now int64) {
	for _, g := range a.gens {
		switch {
		case g.state == fleet.StateStarting && now-g.launched > readyWithin && g.killAt == 0:
			a.log.Error("worker is not ready in time", slog.Int("slot", g.slot), slog.Int("generation", g.number))
			g.killAt = now
		case g.windowEnd != 0 && now >= g.windowEnd && g.killAt == 0:
			const last = int64(5 * time.Second)
			a.log.Warn("window of draining worker has ended", slog.Int("slot", g.slot), slog.Int("generation", g.number))
			g.send(fleet.Message{Kind: fleet.KindCut, Window: last})
			g.killAt = now + last + int64(time.Second)
		}
		if g.killAt != 0 && now >= g.killAt {
			a.kill(g.name, syscall.SIGKILL)
			g.killAt = now + int64(time.Second)
		}
	}
	for name, at := range a.strays {
		if now >= at {
			a.kill(name, syscall.SIGKILL)
			a.strays[name] = now + int64(time.Second)
		}
	}
}

func (a *appliance) kill(name string, sig syscall.Signal) {
	if err := a.engine.signal(name, sig); err != nil {
		a.log.Debug("signal", slog.String("name", name), slog.String("error", err.Error()))
	}
}
