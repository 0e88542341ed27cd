package ledger

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/price"
)

// scan lists the segments. cursors are given after the beginning alone.
func (s *session) scan(cursors map[string]int64, now time.Time) error {
	s.scanned = now
	s.scans++
	// Who is gone is asked first: what it wrote is there then, and is read after.
	for _, g := range s.generations {
		g.gone = g.gone || !s.alive(g)
	}
	found, err := journal.Rescan(s.known, s.l.c.Dirs...)
	if err != nil {
		return err
	}
	s.bodies = s.bodies[:0]
	for _, f := range found {
		switch {
		case s.unreadable[f.Name]:
		case f.Problem != nil || f.Host != s.l.c.HostID:
			s.stranger(f)
		case f.Body:
			s.bodies = append(s.bodies, f)
		case s.segments[f.Name] == nil:
			s.add(f, cursors[f.Name])
		default:
			s.segments[f.Name].Segment = f
		}
	}
	if cursors != nil {
		for _, g := range s.generations {
			g.skip()
		}
	}
	return nil
}

// known is the segment of that name as the last look found it, nil for none.
func (s *session) known(name string) *journal.Segment {
	if seg := s.segments[name]; seg != nil {
		return seg.Segment
	}
	return nil
}

// stranger tells once of a segment that is left alone.
func (s *session) stranger(f *journal.Segment) {
	if s.strangers[f.Name] {
		return
	}
	s.strangers[f.Name] = true
	if f.Problem != nil && f.Blank() && !f.Written() && s.remove(f) {
		s.l.c.Log.Info("a segment of the journal in which nothing stands was removed: the power went before it was on the disk", slog.String("segment", f.Path))
		return
	}
	s.l.c.Metrics.strangers.Inc()
	if f.Problem != nil {
		s.l.c.Log.Error("a segment of the journal cannot be read and is left alone: it is another version's or damaged",
			slog.String("segment", f.Path), slog.Any("error", f.Problem))
		return
	}
	s.l.c.Log.Error("a segment of the journal is another host's and is left alone: put it into that host's state directory",
		slog.String("segment", f.Path), slog.String("segment_host", f.Host), slog.String("host", s.l.c.HostID))
}

func (s *session) add(f *journal.Segment, was int64) {
	l := life{f.Holder, f.Slot, f.Generation}
	g := s.generations[l]
	if g == nil {
		g = &generation{life: l, open: map[key]*attempt{}, known: map[key]struct{}{}, early: map[key]*bill.Settle{}}
		s.generations[l] = g
	}
	seg := &segment{Segment: f, of: g, was: was, floor: was, read: journal.Start}
	if was > f.Committed { // not of this file: it is another one's of the same name, or its end was lost with the power
		seg.floor = 0
	}
	if seg.floor == 0 && s.confirmed == nil && f.Modified.Before(s.rowsFrom) {
		// It came back from a snapshot after its rows had gone with time: what it says itself was shipped would count once more. A database
		// that goes back beside us is another matter.
		seg.floor = f.Shipped
	}
	if at, ok := s.confirmed[f.Name]; ok {
		seg.floor = min(seg.floor, at)
	}
	if seg.floor > max(f.Shipped, journal.Start) { // who shipped it died before it said so, or the power went
		s.mark(f, seg.floor)
	}
	s.segments[f.Name] = seg
	g.segments = append(g.segments, seg)
	// It was written, or came back, after it was asked who writes the journal: that
	// is asked again.
	g.gone, g.closed, g.trimmed = false, false, false
}

// skip passes over the segments at the beginning of a journal that are wholly
// in the database. From the first that is not, all are read: what one says was
// begun may have ended in the next.
func (g *generation) skip() {
	for i, seg := range g.segments {
		last := i == len(g.segments)-1
		if seg.floor < seg.Committed || last && !seg.Finished {
			return
		}
		seg.read, seg.ended = seg.Committed, true
	}
}

// alive says whether a process may still write a journal.
func (s *session) alive(g *generation) bool {
	if t := s.l.c.Table; t != nil && g.holder == s.l.c.Holder && t.Find(int(g.generation)) >= 0 {
		return true
	}
	return slices.ContainsFunc(g.segments, func(seg *segment) bool { return !seg.Left && seg.Written() })
}

// errEnough ends the reading of a segment before its end: memory, or the batch,
// is full, and what follows is read with the next one.
var errEnough = errors.New("enough has been read")

// enough says that nothing more is read before something was sent.
func (s *session) enough() bool { return len(s.ready) >= 2*s.most() }

// follow reads what is new, as far as there is room for it in memory.
func (s *session) follow(now time.Time) (more bool) {
	for _, g := range s.generations {
		for i, seg := range g.segments {
			if seg.ended {
				continue
			}
			if s.enough() {
				return true
			}
			from := seg.read
			if err := s.read(seg, now); err != nil {
				s.fails(seg, err, now)
				break
			}
			seg.failing = time.Time{}
			more = more || seg.read > from
			if !seg.ended && seg.read >= seg.Committed && (i+1 < len(g.segments) || g.gone) {
				seg.ended = true
			}
			if !seg.ended {
				break // the next one goes on where this one ends
			}
		}
	}
	return more
}

// unreadableFor is how long a segment is waited for that cannot be read, and what
// follows it in its journal.
const unreadableFor = time.Minute

// fails waits with a segment that cannot be read. Others go on: a bad sector must
// not keep the rows of the whole host. Where it lasts the segment is left alone, by
// this process; the next one tries again.
func (s *session) fails(seg *segment, err error, now time.Time) {
	switch {
	case seg.failing.IsZero():
		seg.failing = now
		s.l.c.Log.Warn("a segment of the journal cannot be read now: it is tried again", slog.String("segment", seg.Path), slog.Any("error", err))
	case now.Sub(seg.failing) >= unreadableFor:
		s.l.c.Log.Error("a segment of the journal cannot be read and is left alone: what it holds is not in the database",
			slog.String("segment", seg.Path), slog.Any("error", err))
		s.l.c.Metrics.strangers.Inc()
		s.unreadable[seg.Name] = true
		s.forget(seg.Name)
	}
}

func (s *session) read(seg *segment, now time.Time) error {
	n := 0
	next, err := seg.Read(seg.read, func(off, end int64, r journal.Record) error {
		if n++; n%chunk == 0 {
			runtime.Gosched()
		}
		if s.enough() {
			return errEnough
		}
		s.record(seg, off, end, r, now)
		return nil
	})
	seg.read = max(seg.read, next)
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// chunk is how many records are read before others of the process may run.
const chunk = 250

// record takes one record. Below the floor stands what is in the database: it
// only tells what is not open any more.
func (s *session) record(seg *segment, off, end int64, r journal.Record, now time.Time) {
	g, shipped := seg.of, off < seg.floor
	switch r := r.(type) {
	case *journal.Intent:
		s.intent(seg, off, r, now)
	case *journal.Progress:
		a := g.open[key{r.RequestID, r.Attempt}]
		if a == nil {
			return
		}
		a.output = max(a.output, r.Output)
		if !shipped {
			a.progress = place{seg, off}
			seg.pin(off, a)
		}
	case *journal.Settle:
		k := key{r.RequestID, r.Attempt}
		a := g.open[k]
		if a == nil {
			g.orphan(k, &r.Settle)
			return
		}
		delete(g.open, k)
		if shipped {
			a.shipped = true
			return
		}
		a.Settle, a.settle = r.Settle, place{seg, off}
		seg.pin(off, a)
		s.whole(a, now)
	case *journal.Reject:
		if shipped {
			return
		}
		a := s.fresh()
		a.intent = place{seg, off}
		a.Intent, a.Settle, a.Sequence = r.Intent, r.Settle, r.Sequence
		seg.pin(off, a)
		s.whole(a, now)
	case *journal.PriceDoc:
		s.price(r)
	case *journal.Finish:
		seg.ended = true
		if r.Last {
			g.gone = true
		}
	case *journal.Damaged:
		s.l.c.Metrics.damaged.Inc()
		s.l.c.Log.Error("a part of the journal is damaged and was passed over", slog.String("segment", seg.Path),
			slog.Int64("offset", off), slog.Int64("bytes", end-off))
	}
}

// intent takes the beginning of an attempt.
func (s *session) intent(seg *segment, off int64, r *journal.Intent, now time.Time) {
	g, k := seg.of, key{r.RequestID, r.Attempt}
	if a := g.open[k]; a != nil && off >= seg.floor { // written once more: what this segment holds is the better one
		a.intent = place{seg, off}
		seg.pin(off, a)
		return
	}
	settled := g.early[k]
	delete(g.early, k)
	if off < seg.floor {
		if settled == nil {
			g.known[k] = struct{}{}
		}
		return
	}
	a := s.fresh()
	a.intent = place{seg, off}
	a.Intent, a.Sequence = r.Intent, r.Sequence
	seg.pin(off, a)
	if settled != nil {
		a.Settle = *settled
		s.whole(a, now)
		return
	}
	g.open[k] = a
}

// fresh is memory for an attempt: what the last batch had, if there is some left.
// Each is a kilobyte full of pointers, which the garbage collector would follow.
func (s *session) fresh() *attempt {
	n := len(s.free)
	if n == 0 {
		return &attempt{}
	}
	a := s.free[n-1]
	s.free[n-1] = nil
	s.free = s.free[:n-1]
	a.shipped = false
	return a
}

// reuse takes the attempts of a batch that is in the database. Pins may still name
// them: a pin holds where a record of its attempt stands there, and no two records
// stand at one place.
func (s *session) reuse(attempts []*attempt) {
	clear(s.free)
	s.free = append(s.free[:0], attempts...)
	for _, a := range s.free {
		*a = attempt{shipped: true}
	}
}

// orphan takes a settlement whose intent was not read. Mostly that is in the
// database. But the records of a segment that could not be brought to the disk are
// written once more, behind what was written meanwhile: an intent can come after
// its settlement.
func (g *generation) orphan(k key, settled *bill.Settle) {
	const most = 10_000 // where a whole segment is damaged, few intents will come
	if _, ok := g.known[k]; ok {
		delete(g.known, k)
		return
	}
	if len(g.early) < most {
		c := *settled
		g.early[k] = &c
	}
}

func (s *session) price(r *journal.PriceDoc) {
	if s.prices[r.Version] != nil {
		return
	}
	p := &priced{document: r.Document}
	var err error
	if p.price, err = price.Read(r.Document); err != nil {
		s.l.c.Log.Error("a price in the journal cannot be read: what is interrupted at it costs nothing", slog.Int64("price_version", r.Version),
			slog.Any("error", err))
	}
	s.prices[r.Version] = p
}

// whole takes an attempt that has ended.
func (s *session) whole(a *attempt, now time.Time) {
	if s.l.c.DisableErrors && a.Cost == 0 && (a.Status == bill.StatusRejected || a.Status == bill.StatusFailure) {
		a.shipped = true
		return
	}
	seg := a.intent.segment
	a.Host, a.Holder, a.since, a.after = seg.Host, seg.Holder, now, s.clear
	s.ready = append(s.ready, a)
}

// finish ends what dead processes left open.
func (s *session) finish(ctx context.Context, now time.Time) {
	for _, g := range s.generations {
		if !g.gone || g.closed || !g.ended() {
			continue
		}
		twin := len(g.open) > 0 && s.foreign(g) && !s.silent(ctx, g.holder, now)
		if twin && !s.old(g) {
			continue
		}
		g.closed = true
		clear(g.early) // their intents are in the database, or cannot be read
		clear(g.known)
		if len(g.open) == 0 {
			continue
		}
		s.l.c.Log.Warn("a process died with attempts at providers open: they are charged by what is known of them",
			slog.String("journal", g.String()), slog.Int("attempts", len(g.open)))
		for _, a := range g.opened() {
			if a.shipped = twin && time.Unix(0, a.Intent.At).Before(s.rowsFrom); a.shipped {
				continue // its row may have been deleted
			}
			s.interrupt(a)
			s.whole(a, now)
		}
		s.l.c.Metrics.interrupted.Add(len(g.open))
		clear(g.open)
	}
}

// old says that all that a journal has open began so long ago that another machine
// which has the same one has ended it, and has told the database. Until that is
// said the cursor stays where the first began, and each process ships what stands
// behind once more: rows that are there, until they are deleted.
func (s *session) old(g *generation) bool {
	before := s.l.c.now().Add(-s.l.c.KeepSegments).UnixNano()
	for _, a := range g.open {
		if a.Intent.At > before {
			return false
		}
	}
	return true
}

// silent says whether nobody has heard of the holder of another host table for a
// while. Two machines that were made from one disk have the same host id, and
// segments of the other one seem to be of a dead process here.
func (s *session) silent(ctx context.Context, holder string, now time.Time) bool {
	const quiet, fresh = 30 * time.Second, 5 * time.Second // it tells that it lives every 10 s
	if now.Sub(s.holdersAt) >= fresh {
		holders, err := s.l.c.Database.Holders(ctx, s.l.c.HostID)
		if err != nil {
			s.verify = true
			return false
		}
		s.holders, s.holdersAt = holders, now
	}
	for i := range s.holders {
		if h := &s.holders[i]; h.Holder == holder && h.ReleasedAt == nil && h.Silent < quiet {
			return false
		}
	}
	return true
}

// ended says that every segment was read to its end.
func (g *generation) ended() bool {
	for _, seg := range g.segments {
		if !seg.ended || seg.read < seg.Committed {
			return false
		}
	}
	return true
}

// interrupt settles an attempt whose process died: the prompt as it was counted,
// and what had come of the answer.
func (s *session) interrupt(a *attempt) {
	a.Status = bill.StatusInterrupted
	a.Settle.At = a.Intent.At // nobody knows when it ended
	a.Usage.Input, a.Usage.Output, a.Usage.Total, a.Usage.Estimated = a.Prompt, a.output, a.Prompt+a.output, true
	if p := s.prices[a.Price]; p != nil && p.price != nil {
		a.Cost, _ = p.price.Cost(&a.Usage)
	}
}

// pin keeps the cursor at a record until its attempt is in the database.
func (seg *segment) pin(off int64, a *attempt) { seg.pins = append(seg.pins, pin{off, a}) }

// holds says that the cursor may not pass the record: its attempt is not in the
// database, and the record is one of those that tell of it. Of its records of
// progress that is the last one: a long stream must not keep what stands
// between.
func (p pin) holds(seg *segment) bool {
	at := place{seg, p.off}
	return !p.a.shipped && (p.a.intent == at || p.a.progress == at || p.a.settle == at)
}

// cursor is the oldest record whose attempt is not in the database, or how far
// the segment was read.
func (seg *segment) cursor() int64 {
	n := 0
	for _, p := range seg.pins {
		if p.holds(seg) {
			break
		}
		n++
	}
	seg.pins = slices.Delete(seg.pins, 0, n)   // which clears what is behind: a segment is kept long after its attempts
	if len(seg.pins) > max(seg.compact, 256) { // one long stream must not keep all that came after it in memory
		seg.pins = slices.DeleteFunc(seg.pins, func(p pin) bool { return !p.holds(seg) })
		seg.compact = 2 * len(seg.pins)
	}
	if len(seg.pins) > 0 {
		return seg.pins[0].off
	}
	if seg.ended {
		seg.pins = nil
	}
	return max(seg.read, seg.floor)
}

// due says that the cursor in the database is behind.
func (seg *segment) due() bool {
	to := seg.cursor()
	return to != seg.was && (to > journal.Start || seg.was > 0)
}

// end is where its records end, as far as is known. A power cut may have taken the
// last word about that and left the records.
func (seg *segment) end() int64 { return max(seg.Committed, seg.read) }

// shipped says that the whole segment is in the database.
func (seg *segment) shipped() bool { return seg.cursor() >= seg.end() && !seg.due() }
