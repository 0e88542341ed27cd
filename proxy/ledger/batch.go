package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/store"
)

// sending is a batch on its way.
type sending struct {
	batch    store.Batch
	attempts []*attempt
	segments []*segment // of the cursors
	bodies   []bodies
}

// bodies is how far a segment of bodies was read for a batch.
type bodies struct {
	segment *journal.Segment
	to      int64
}

const (
	cursorsEvery = 10 * time.Second // where nothing but cursors is to be written
	priceEvery   = time.Hour        // a price is said to be in use
	mostBodies   = 2 << 20          // bytes of bodies in a batch
	firstMost    = 500              // rows in the first batch of a session
)

// first says that nothing was sent yet. The first batch is small and does not
// wait: who is killed soon would have read a long backlog in vain, and so would
// the next one.
func (s *session) first() bool { return s.shippedAt.IsZero() }

// most is how many rows the next batch has at most.
func (s *session) most() int {
	most := s.l.c.Most
	if s.fewer > 0 {
		most = s.fewer
	}
	if s.first() {
		return min(most, firstMost)
	}
	return most
}

// pick makes a batch where one is due.
func (s *session) pick(now time.Time, all bool) {
	c := &s.l.c
	n := min(len(s.ready), s.most())
	due := all || n == s.most() || n > 0 && (s.first() || now.Sub(s.ready[0].since) >= c.Batch)
	if n == 0 && now.Sub(s.shippedAt) >= cursorsEvery {
		s.free = nil
	}
	if !due && (n > 0 || now.Sub(s.cursorsAt) < cursorsEvery) {
		return
	}
	b := &sending{attempts: s.ready[:n]}
	b.batch = store.Batch{Host: c.HostID, Slim: c.DisableRows, Uncounted: c.DisableSpend, Rows: make([]*bill.Attempt, n)}
	for i, a := range b.attempts {
		b.batch.Rows[i] = &a.Attempt
		a.shipped = true // a session in which it is not is thrown away
		s.usePrice(b, a.Price, now)
	}
	for _, seg := range s.segments {
		if seg.due() {
			b.segments = append(b.segments, seg)
			b.batch.Cursors = append(b.batch.Cursors, store.Cursor{Segment: seg.Name, From: seg.was, To: seg.cursor()})
		}
	}
	s.pickBodies(b)
	s.cursorsAt = now
	if n == 0 && len(b.segments) == 0 && len(b.bodies) == 0 {
		return
	}
	s.ready = s.ready[n:]
	s.sending = b
}

// usePrice puts a price into the batch that the database was not told of lately.
func (s *session) usePrice(b *sending, version int64, now time.Time) {
	p := s.prices[version]
	if p == nil || now.Sub(p.wrote) < priceEvery {
		return
	}
	p.wrote = now
	b.batch.Prices = append(b.batch.Prices, store.PriceVersion{Version: version, Document: p.document})
}

// pickBodies adds what was kept of requests and answers. Where none is to be in
// the database, it is passed over.
func (s *session) pickBodies(b *sending) {
	size := 0
	for _, f := range s.bodies {
		from := max(f.Shipped, journal.Start)
		if from >= f.Committed {
			continue
		}
		next, err := f.Read(from, func(_, _ int64, r journal.Record) error {
			body, ok := r.(*journal.Body)
			if !ok || s.l.c.DisableRows {
				return nil
			}
			if size += len(body.Messages) + len(body.Response) + len(body.Metadata); size > mostBodies && len(b.batch.Bodies) > 0 {
				return errEnough
			}
			b.batch.Bodies = append(b.batch.Bodies, store.SpendBody{
				RequestID: body.RequestID, Attempt: body.Attempt, Messages: body.Messages, Response: body.Response, Metadata: body.Metadata,
			})
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			s.l.c.Log.Warn("bodies of requests cannot be read: they are passed over", slog.Any("error", err))
			next = f.Committed
		}
		b.bodies = append(b.bodies, bodies{f, next})
		if size > mostBodies {
			return
		}
	}
}

// sent notes that a batch is in the database.
func (s *session) sent(b *sending) {
	s.sending = nil
	s.reuse(b.attempts)
	clear(b.attempts) // s.ready goes on in the same memory
	for i, seg := range b.segments {
		seg.was = b.batch.Cursors[i].To
		seg.floor = seg.was
		s.mark(seg.Segment, seg.was)
	}
	for _, f := range b.bodies {
		s.mark(f.segment, f.to)
	}
}

// mark tells the writer of a segment what waits no more. It is a hint: where it
// cannot be given the journal is taken to be fuller than it is.
func (s *session) mark(f *journal.Segment, to int64) {
	if err := f.MarkShipped(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.l.c.Metrics.unmarked.Inc()
		s.l.c.Log.Warn("a segment of the journal cannot be marked as shipped", slog.Any("error", err))
	}
}

// apart ships the rows of a batch in halves, because the database does not take
// one of them: that one goes into a file, the others into the database, and the
// cursors last.
func (s *session) apart(ctx context.Context, b *sending) error {
	if err := s.halves(ctx, &b.batch, b.batch.Rows); err != nil {
		return err
	}
	cursors := b.batch
	cursors.Rows = nil
	_, err := s.l.c.Database.Ship(ctx, &cursors)
	if errors.Is(err, store.ErrInvalid) && len(cursors.Bodies)+len(cursors.Prices) > 0 {
		s.l.c.Log.Error("the database does not take bodies or prices: they are left out", slog.Any("error", err))
		cursors.Bodies, cursors.Prices = nil, nil
		_, err = s.l.c.Database.Ship(ctx, &cursors)
	}
	return err
}

func (s *session) halves(ctx context.Context, of *store.Batch, rows []*bill.Attempt) error {
	if len(rows) == 0 {
		return nil
	}
	part := store.Batch{Host: of.Host, Slim: of.Slim, Uncounted: of.Uncounted, Rows: rows}
	out, err := s.l.c.Database.Ship(ctx, &part)
	switch {
	case err == nil:
		s.l.c.Metrics.shipped(len(rows), out, 0)
		return nil
	case !errors.Is(err, store.ErrInvalid):
		return err
	case len(rows) == 1:
		return s.refused(rows[0], err)
	}
	half := len(rows) / 2
	if err := s.halves(ctx, of, rows[:half]); err != nil {
		return err
	}
	return s.halves(ctx, of, rows[half:])
}

// refused puts a row that the database does not take aside, once.
func (s *session) refused(r *bill.Attempt, cause error) error {
	fresh, err := s.aside.put(s.l.c.Dirs[0], r)
	if err != nil {
		return fmt.Errorf("write a refused row down: %w", err)
	}
	if fresh {
		s.l.c.Metrics.refused.Inc()
		s.l.c.Log.Error("the database does not take a row of spend: it was put aside", slog.String("file", filepath.Join(s.l.c.Dirs[0], asideName)),
			slog.String("request_id", fmt.Sprintf("%x", r.RequestID)), slog.Int64("attempt", r.Attempt), slog.Any("error", cause))
	}
	return nil
}

// opened are the open attempts in the order in which they began.
func (g *generation) opened() []*attempt {
	return slices.SortedFunc(maps.Values(g.open), func(a, b *attempt) int { return cmp.Compare(a.Sequence, b.Sequence) })
}
