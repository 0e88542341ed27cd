package main

import (
	"log/slog"
	"math"
	"time"

	"sluice/supervisor/fleet"
)

// Caps of draining: beyond them a recycle waits.
const (
	drainingMost   = 3 // generations of one slot
	drainingMemory = 4 // a quarter of the memory over all slots
	heavyFor       = int64(30 * time.Second)
	forcedWindow   = int64(30 * time.Second)
	defaultJitter  = 0.2
	reasonMemory   = "memory"
	reasonTakeover = "takeover"
	reasonUpgrade  = "upgrade"
	reasonRequests = "requests"
)

// want asks for a successor in a slot. A forced recycle passes floor and caps.
func (a *appliance) want(s *slot, reason string, forced bool) {
	if reason == "" {
		reason = reasonRequests
	}
	if s.wanted == "" || forced && !s.forced {
		s.wanted, s.forced = reason, forced
	}
}

// recycleStep starts at most one successor: one slot is recycled at a time.
func (a *appliance) recycleStep(now int64) {
	if a.stop.phase != stopNone || !a.migration.passed {
		return
	}
	for _, s := range a.slots {
		if s.successor != 0 {
			return
		}
	}
	for _, s := range a.slots {
		if s.wanted == "" || s.emptySince != 0 || now < s.retryAt || a.starting(s.index) {
			continue
		}
		if !a.mayRecycle(s, now) {
			continue
		}
		g := a.launch(s, now)
		if g == nil {
			return
		}
		s.successor, s.reason = g.number, s.wanted
		s.wanted, s.forced, s.lastRecycle = "", false, now
		a.table.Slot(s.index).LastRecycle.Store(now)
		a.log.Info("recycling", slog.Int("slot", s.index), slog.String("reason", s.reason), slog.Int("successor", g.number))
		return
	}
}

func (a *appliance) starting(index int) bool {
	for _, g := range a.inSlot(index) {
		if g.state == fleet.StateStarting {
			return true
		}
	}
	return false
}

// mayRecycle holds a recycle back as long as the floor and the caps say.
// Memory in need does not wait: the oldest draining generation's window ends.
func (a *appliance) mayRecycle(s *slot, now int64) bool {
	var oldest *generation
	draining, memory := 0, uint64(0)
	for _, g := range a.gens {
		if g.state != fleet.StateLame {
			continue
		}
		if g.area >= 0 {
			memory += a.table.Generation(g.area).RSS.Load()
		}
		if g.slot == s.index {
			draining++
			if oldest == nil || g.lamed < oldest.lamed {
				oldest = g
			}
		}
	}
	full := draining >= drainingMost || memory > a.plan.memory/drainingMemory
	operator := s.wanted == reasonTakeover || s.wanted == reasonUpgrade
	switch {
	case s.forced && full && oldest != nil:
		if oldest.windowEnd == 0 || oldest.windowEnd > now+forcedWindow {
			oldest.windowEnd = now + forcedWindow
			a.log.Warn("draining worker has 30 s left, its place is needed", slog.Int("slot", s.index),
				slog.Int("generation", oldest.number), slog.String("reason", s.wanted))
		}
		return true
	case s.forced:
		return true
	case full:
		return false
	case operator:
		return true
	}
	return s.lastRecycle == 0 || now-s.lastRecycle >= int64(a.plan.recycleFloor)
}

// recycled counts a recycle whose successor serves.
func (a *appliance) recycled(s *slot, now int64) {
	s.successor = 0
	a.recycles[s.reason]++
	a.table.Slot(s.index).Recycles.Add(1)
	a.table.Slot(s.index).LastRecycle.Store(now)
}

// recycleAfter is the number of requests after which the next generation asks
// for its successor: spread, so that no two slots go together. 0 is never.
func (a *appliance) recycleAfter() int {
	n := a.plan.recycleAfter
	switch {
	case n == 0:
		return 0
	case a.plan.recycleJitter > 0:
		return n + int(a.random()*float64(a.plan.recycleJitter))
	}
	return max(1, int(math.Round(float64(n)*(1+defaultJitter*(2*a.random()-1)))))
}

// watchMemory asks for a successor of a worker that has been too large for
// 30 s.
func (a *appliance) watchMemory(now int64) {
	if a.plan.maxRSS == 0 {
		return
	}
	for _, g := range a.gens {
		if !g.serving() || g.area < 0 {
			continue
		}
		if a.table.Generation(g.area).RSS.Load() <= a.plan.maxRSS {
			g.heavySince = 0
			continue
		}
		if g.heavySince == 0 {
			g.heavySince = now
		}
		if now-g.heavySince >= heavyFor && a.slots[g.slot].successor == 0 {
			a.want(a.slots[g.slot], reasonMemory, true)
		}
	}
}
