package ledger

import (
	"context"
	"log/slog"
	"time"

	"sluice/proxy/journal"
)

const (
	tidyEvery = 10 * time.Second
	tidyMost  = 1000 // segments that are removed at once: rows wait meanwhile
)

// giveBack trims the segments of the dead, as soon as that may be and before
// anything else is sent: where workers die every second nobody ships for long,
// and each of them has left a whole segment.
func (s *session) giveBack() {
	for _, g := range s.generations {
		if g.closed && !g.trimmed && g.settled() {
			g.trimmed = true
			s.trim(g)
		}
	}
}

// tidy removes segments that are no longer needed to heal what a failover may
// have lost, and trims those of the dead that could not be trimmed before.
func (s *session) tidy(ctx context.Context, now time.Time) {
	if !s.began || s.sending != nil {
		return
	}
	s.giveBack()
	if now.Sub(s.tidied) < tidyEvery {
		return
	}
	s.tidied = now
	var done []*journal.Segment
	for l, g := range s.generations {
		if g.closed && g.settled() {
			s.trim(g)
		}
		for _, seg := range g.segments {
			if seg.ended && seg.Finished && seg.shipped() {
				done = append(done, seg.Segment)
			}
		}
		if len(g.segments) == 0 {
			delete(s.generations, l)
		}
	}
	for _, f := range s.bodies {
		if s.used(f) {
			s.remove(f)
		}
	}
	old := journal.Prune(done, s.l.c.now(), s.l.c.KeepSegments, s.l.c.KeepBytes, keepFiles)
	if len(old) > tidyMost {
		old, s.tidied = old[:tidyMost], time.Time{} // the others after the next batch
	}
	for _, f := range old {
		if s.remove(f) {
			s.forget(f.Name)
			s.removed = append(s.removed, f.Name)
		}
	}
	if len(s.removed) == 0 {
		return
	}
	if err := s.l.c.Database.DropCursors(ctx, s.removed); err != nil {
		s.verify = true
		return // they are forgotten later
	}
	s.removed = nil
}

// used says that nothing more is to be shipped of a segment of bodies.
func (s *session) used(f *journal.Segment) bool {
	if f.Shipped < f.Committed {
		return false
	}
	if f.Finished {
		return true
	}
	if s.alive(&generation{life: life{f.Holder, f.Slot, f.Generation}}) || f.Written() {
		return false
	}
	last, err := journal.Find(f.Path) // it may have been written since it was listed
	return err == nil && last.Problem == nil && f.Shipped >= last.Committed
}

// trim gives back what a dead process had preallocated. Segments without a record
// go.
func (s *session) trim(g *generation) {
	for _, seg := range append([]*segment(nil), g.segments...) {
		switch {
		case seg.end() <= journal.Start:
			if s.remove(seg.Segment) {
				s.forget(seg.Name)
			}
		case !seg.Finished:
			if err := seg.Trim(seg.end()); err != nil {
				s.l.c.Log.Warn("a segment of the journal cannot be trimmed", slog.Any("error", err))
			}
		}
	}
}

func (s *session) remove(f *journal.Segment) bool {
	if err := f.Remove(); err != nil {
		s.l.c.Log.Warn("a segment of the journal cannot be removed", slog.Any("error", err))
		return false
	}
	return true
}

// forget takes a segment that is not there any more out of what is known.
func (s *session) forget(name string) {
	seg := s.segments[name]
	if seg == nil {
		return
	}
	delete(s.segments, name)
	for i, other := range seg.of.segments {
		if other == seg {
			seg.of.segments = append(seg.of.segments[:i], seg.of.segments[i+1:]...)
			return
		}
	}
}
