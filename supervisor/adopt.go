package main

import (
	"slices"
	"time"

	"sluice/supervisor/fleet"
)

// adoptedAfter is how long a slot may be without a serving generation before
// a neighbour accepts on its listeners.
const adoptedAfter = int64(100 * time.Millisecond)

// adoptSlots sees to it that somebody accepts on every listener, and that
// nobody does so longer than needed.
func (a *appliance) adoptSlots(now int64) {
	tasks := map[*generation][]int{}
	var serving []*generation
	for _, g := range a.gens {
		if g.serving() {
			serving = append(serving, g)
		}
	}
	for _, s := range a.slots {
		last := a.stop.last
		if last != nil && last.serving() {
			if s.index != last.slot {
				tasks[last] = append(tasks[last], s.index)
			}
			continue
		}
		if s.emptySince == 0 || now-s.emptySince < adoptedAfter || a.stop.phase >= stopLame {
			if s.emptySince == 0 {
				s.adopter = 0
			}
			continue
		}
		g := a.byNumber(s.adopter)
		if g == nil || !g.serving() {
			g = a.leastLoaded(serving)
		}
		s.adopter = 0
		if g != nil {
			s.adopter = g.number
			tasks[g] = append(tasks[g], s.index)
		}
	}
	for _, g := range serving {
		slots := tasks[g]
		slices.Sort(slots)
		if g.told && slices.Equal(slots, g.adopting) {
			continue
		}
		g.told, g.adopting = true, slots
		g.send(fleet.Message{Kind: fleet.KindAdopt, Slots: slots})
	}
}

func (a *appliance) leastLoaded(among []*generation) *generation {
	var best *generation
	var least int64
	for _, g := range among {
		if g.area < 0 {
			continue
		}
		load := a.table.Generation(g.area).Conns.Load()
		if best == nil || load < least || load == least && g.number < best.number {
			best, least = g, load
		}
	}
	return best
}
