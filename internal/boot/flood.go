package boot

import (
	"hash/maphash"
	"log/slog"
	"time"
)

// Bounds of floods.
const (
	floodMost  = 10          // lines of one message in a second
	floodSlots = 64          // messages watched at once
	floodTime  = time.Second // length of a window
)

// flood counts the lines of each message at warning or above. It is a table of
// fixed size: a message that finds another in its place puts it out.
type flood struct {
	seed  maphash.Seed
	begun bool
	slots [floodSlots]floodSlot
	held  int // slots with lines held back
}

type floodSlot struct {
	message string
	level   slog.Level
	since   time.Time
	count   int
	held    int
}

// admit counts a line and reports whether it may be written. It needs the
// sink's mu.
func (s *sink) admit(at time.Time, level slog.Level, message string) bool {
	f := &s.flood
	if !f.begun {
		f.seed, f.begun = maphash.MakeSeed(), true
	}
	slot := &f.slots[maphash.String(f.seed, message)%floodSlots]
	fresh := slot.message == message && slot.level == level && at.Sub(slot.since) < floodTime
	if !fresh {
		s.summary(slot)
		*slot = floodSlot{message: message, level: level, since: at}
	}
	slot.count++
	if slot.count <= floodMost {
		return true
	}
	if slot.held == 0 {
		f.held++
	}
	slot.held++
	s.suppressed.Add(1)
	return false
}

// summaries writes a line for each window that is over, or for every one, and
// reports whether any is left. It needs mu.
func (s *sink) summaries(all bool) (more bool) {
	if s.flood.held == 0 {
		return false
	}
	now := time.Now()
	for i := range s.flood.slots {
		slot := &s.flood.slots[i]
		if slot.held > 0 && (all || now.Sub(slot.since) >= floodTime) {
			s.summary(slot)
			*slot = floodSlot{}
		}
	}
	return s.flood.held > 0
}

// summary adds a line about what a slot held back. It needs mu.
func (s *sink) summary(slot *floodSlot) {
	if slot.held == 0 {
		return
	}
	line := s.line(slot.level, "message repeated",
		slog.String("repeated", slot.message), slog.Int("suppressed", slot.held))
	if len(s.pending)+s.writing+len(line) <= maxPending {
		s.pending = append(s.pending, line...)
	}
	slot.held = 0
	s.flood.held--
}
