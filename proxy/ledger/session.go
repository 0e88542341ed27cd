package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/price"
	"sluice/proxy/store"
)

// session is what the holder of the lock knows. It is thrown away, and made
// again from the cursors, whenever the database turns out to be at another place
// than it thought.
type session struct {
	l *Ledger

	began       bool // the cursors have been read
	generations map[life]*generation
	segments    map[string]*segment // by name
	strangers   map[string]bool     // segments that are left alone, told once
	unreadable  map[string]bool     // those of them that could not be read for long
	confirmed   map[string]int64    // offsets up to which this process has shipped segments, of the session before
	rowsFrom    time.Time           // rows that began earlier may have been deleted
	lost        map[uint32]int      // dead generations without a journal: the scan after which they were seen
	prices      map[int64]*priced
	bodies      []*journal.Segment

	ready   []*attempt // whole, in the order in which they ended
	sending *sending   // a batch of which nobody knows what became
	free    []*attempt // of the last batch, to be used again
	aside   aside      // rows that the database does not take

	failures  int // in a row
	fewer     int // rows that a batch has at most, 0: as many as usual
	since     time.Time
	verify    bool      // the database was away: the cursors are looked at
	verified  time.Time // when they were
	shippedAt time.Time // when rows were shipped last
	scanned   time.Time
	scans     int
	clear     time.Time // what was settled before it has been read
	cursorsAt time.Time // when cursors alone were shipped last
	claimsAt  time.Time
	tidied    time.Time
	removed   []string // segments whose cursors the database still has

	holders   []bill.Holder // of this host's earlier lives
	holdersAt time.Time
}

// life is one generation of a worker: segments of it are one journal.
type life struct {
	holder     string
	slot       int
	generation int64
}

// generation is the journal of a life, and what of it is open.
type generation struct {
	life
	segments []*segment // in order
	open     map[key]*attempt
	known    map[key]struct{}     // open ones whose intent says that they are in the database
	early    map[key]*bill.Settle // settlements whose intent may still come
	gone     bool                 // nobody writes it: seen before it was read
	closed   bool                 // read to the end, nothing is open
	trimmed  bool                 // what had been preallocated was given back, or could not be
	// recovered says that what it held of leases was given back.
	recovered bool
}

type key struct {
	id [16]byte
	n  int64
}

// attempt is one attempt from its intent to the database.
type attempt struct {
	bill.Attempt
	output  int64 // tokens, by the last progress
	shipped bool
	since   time.Time // it is ready
	after   time.Time // it was settled later than this

	intent, progress, settle place
}

// place is where a record stands.
type place struct {
	segment *segment
	off     int64
}

// segment is a file of a journal and how far it was read.
type segment struct {
	*journal.Segment
	of    *generation
	was   int64 // the cursor in the database
	floor int64 // what stands before it is in the database, as far as this process can know
	read  int64 // offset to go on at
	ended bool  // its last record was read

	failing time.Time // since when it cannot be read

	pins    []pin // records of attempts that are not shipped, in order
	compact int   // more pins than these are looked through
}

type pin struct {
	off int64
	a   *attempt
}

// priced is a price that rows were computed with.
type priced struct {
	document []byte
	price    *price.Price
	wrote    time.Time // into the database
}

func newSession(l *Ledger) *session {
	return &session{
		l: l, generations: map[life]*generation{}, segments: map[string]*segment{}, strangers: map[string]bool{},
		unreadable: map[string]bool{}, prices: map[int64]*priced{}, lost: map[uint32]int{},
	}
}

// again begins anew from the cursors in the database, where these say less than
// what this process has shipped itself. Where they say more, somebody else ships a
// segment of the same name: the same one, or one of a machine that was resumed
// from the memory of this one, which went on otherwise. What stands before such a
// cursor here is shipped too; what is there already counts once.
func (s *session) again() {
	told, unreadable, removed, failures, since, fewer := s.strangers, s.unreadable, s.removed, s.failures, s.since, s.fewer
	confirmed := make(map[string]int64, len(s.segments))
	for name, seg := range s.segments {
		confirmed[name] = seg.floor
	}
	*s = *newSession(s.l)
	s.strangers, s.unreadable, s.removed, s.confirmed = told, unreadable, removed, confirmed
	s.failures, s.since, s.fewer = failures, since, fewer
}

// turn does what there is to do, and reports whether there is more. With all,
// nothing waits for others to be shipped with.
func (s *session) turn(ctx context.Context, all bool) (more bool, err error) {
	now := s.l.c.Now()
	if err := s.lessen(ctx); err != nil {
		return false, err
	}
	if s.sending == nil {
		if err := s.look(ctx, now, all); err != nil {
			return false, err
		}
		more = s.follow(now)
		if !s.unread() {
			s.clear = s.scanned
		}
		s.finish(ctx, now)
		s.giveBack()
		s.pick(now, all)
	}
	if s.sending != nil {
		if err := s.send(ctx); err != nil {
			return false, err
		}
		more = true
	}
	if err := s.check(ctx, now); err != nil {
		return false, err
	}
	s.recoverClaims(now)
	s.tell()
	s.tidy(ctx, now)
	s.report(now)
	return more, nil
}

// look finds new segments, and who is gone.
func (s *session) look(ctx context.Context, now time.Time, all bool) error {
	if !s.began {
		cursors, err := s.l.c.Database.Cursors(ctx, s.l.c.HostID)
		if err != nil {
			return err
		}
		if s.rowsFrom, err = s.l.c.Database.RowsFrom(ctx); err != nil {
			return err
		}
		s.began = true
		if err := s.scan(cursors, now); err != nil {
			return err
		}
		return s.scan(nil, now) // who is gone is known from the second look on
	}
	if all || now.Sub(s.scanned) >= s.l.c.idleEvery() {
		return s.scan(nil, now)
	}
	return nil
}

// send ships the batch that was picked. When nobody knows whether it was
// written, the same one is sent again: where it was, the cursors have moved.
func (s *session) send(ctx context.Context) error {
	c, b := &s.l.c, s.sending
	began := c.Now()
	out, err := c.Database.Ship(ctx, &b.batch)
	apart := errors.Is(err, store.ErrInvalid)
	if apart {
		err = s.apart(ctx, b)
	}
	switch {
	case errors.Is(err, store.ErrMoved):
		c.Log.Warn("the database has another place in the journals: they are read again from there", slog.Any("error", err))
		c.Metrics.moved.Inc()
		s.answered()
		s.again()
		return nil
	case err != nil:
		return err
	}
	s.answered()
	s.shippedAt = c.Now()
	if s.fewer += s.fewer/8 + min(s.fewer, 1); s.fewer >= c.Most {
		s.fewer = 0
	}
	if !apart { // which has counted them
		c.Metrics.shipped(len(b.batch.Rows), out, c.Now().Sub(began))
	}
	s.sent(b)
	return nil
}

// answered notes that the database answers.
func (s *session) answered() {
	if s.failures > 0 {
		s.l.c.Log.Info("the journals are shipped again", slog.Duration("after", s.l.c.Now().Sub(s.since)))
		s.failures, s.verify = 0, true
	}
}

// lessen makes a smaller batch of one that was sent in vain again and again, by a
// database that answers: perhaps that takes no more in the time that it has.
func (s *session) lessen(ctx context.Context) error {
	const often = 3
	if s.sending == nil || s.failures == 0 || s.failures%often != 0 || len(s.sending.batch.Rows) < 2 {
		return nil
	}
	if _, err := s.l.c.Database.Cursors(ctx, s.l.c.HostID); err != nil {
		return err
	}
	fewer := len(s.sending.batch.Rows) / 2
	s.again()
	s.fewer = fewer
	return nil
}

// failed notes that the database did not answer, tells it once, and says how
// long to wait.
func (s *session) failed(err error) time.Duration {
	c := &s.l.c
	c.Metrics.retries.Inc()
	s.verify = true
	if s.failures++; s.failures == 1 {
		s.since = c.Now()
		c.Log.Warn("the journals cannot be shipped now: they grow until they can", slog.Any("error", err))
	}
	s.report(c.Now())
	const most = 5 * time.Second
	wait := min(s.l.c.Tick*2/5<<min(s.failures, 8), most)
	return wait/2 + rand.N(wait/2)
}

// check compares the cursors in the database with what was shipped, after an
// outage, every ten seconds while something is shipped, else every minute: a
// standby that took over may lack commits, and a pooler in between does not tell.
func (s *session) check(ctx context.Context, now time.Time) error {
	every := 10 * time.Second
	if now.Sub(s.shippedAt) > 3*time.Minute { // idle leases were looked at since
		every = time.Minute
	}
	if s.sending != nil || !s.verify && now.Sub(s.verified) < every {
		return nil
	}
	cursors, err := s.l.c.Database.Cursors(ctx, s.l.c.HostID)
	if err != nil {
		return err
	}
	s.verify, s.verified = false, now
	for name, seg := range s.segments {
		if cursors[name] != seg.was {
			s.l.c.Log.Warn("the database has lost what was shipped: it is shipped again", slog.String("segment", name),
				slog.Int64("shipped", seg.was), slog.Int64("found", cursors[name]))
			s.l.c.Metrics.moved.Inc()
			s.again()
			return nil
		}
	}
	return nil
}

// idle says that nothing waits.
func (s *session) idle() bool { return len(s.ready) == 0 && s.sending == nil }

// drained says that everything that processes which are gone have written is in
// the database, and what they left open.
func (s *session) drained() bool {
	if s.scans < 2 || s.sending != nil || s.verify { // who is gone is known from the second look on
		return false
	}
	for _, g := range s.generations {
		if g.gone && !s.foreign(g) && (!g.closed || !g.settled()) {
			return false
		}
		for _, seg := range g.segments {
			if g.gone && (seg.read < seg.Committed || seg.due()) {
				return false
			}
		}
	}
	return true
}

// foreign: of another life of the host table, here or on another machine.
func (s *session) foreign(g *generation) bool { return g.holder != s.l.c.Holder }

// unshipped is how many bytes of the journals wait.
func (s *session) unshipped() int64 {
	var n int64
	for _, seg := range s.segments {
		n += max(seg.Committed-max(seg.was, journal.Start), 0)
	}
	return n
}

func (s *session) report(now time.Time) {
	var lag time.Duration
	if s.failures > 0 { // where nothing has been read, nobody knows what waits
		lag = now.Sub(s.since)
	}
	for _, a := range s.ready[:min(len(s.ready), 1)] {
		lag = now.Sub(time.Unix(0, a.Settle.At))
	}
	if s.sending != nil && len(s.sending.attempts) > 0 {
		lag = now.Sub(time.Unix(0, s.sending.attempts[0].Settle.At))
	}
	open := 0
	for _, g := range s.generations {
		open += len(g.open)
	}
	s.l.c.Metrics.state(max(lag, 0), len(s.segments), open, s.unshipped())
}

func (l life) String() string {
	return fmt.Sprintf("%.8s slot %d generation %d", l.holder, l.slot, l.generation)
}
