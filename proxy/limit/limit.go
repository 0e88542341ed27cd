// Package limit keeps callers and deployments to their requests and tokens a
// minute and to their parallel requests: exactly on a host, by the host table,
// and within a stated bound over hosts, by Redis.
//
// A Rule says what one subject may do. Reserve takes a request, tokens by
// estimate and a parallel place of each rule of a request, or nothing at all;
// Settle replaces the tokens by those that were used and gives the places back.
// Requests and tokens are words of the subject's record in the host table (see
// word.go for what stands in them), each changed by one CAS, so they survive
// whoever is killed: what a dead process had reserved stays counted and passes
// with time. Parallel places are exact: whoever reaps the dead gives them back.
//
// Several limits are taken one after the other and given back when one refuses:
// a neighbour may be refused a microsecond too early, nobody is ever admitted
// too much. An admission counts at a moment between call and return of Reserve.
//
// A request that is estimated at more tokens than the limit allows in a whole
// window is reserved as one that takes all of it. Otherwise it would never pass;
// so it passes when nobody else has used any, and is settled by what it took.
package limit

import (
	"slices"
	"sync/atomic"
	"time"

	"sluice/supervisor/fleet"
)

// maxBanks is how many layouts of the records are written at once, while
// generations of two releases live side by side.
const maxBanks = 2

// Config is what a limiter is made of.
type Config struct {
	Table   *fleet.Table
	Area    int            // of this generation in the table
	Holders *fleet.Holders // for parallel requests, one for the process: fleet.NewRecordHolders
	Window  time.Duration  // 0: a minute
	Fixed   bool           // windows aligned to the wall clock instead of GCRA
	Share   Share          // nil: this host is all there is
	Counted TokenType      // which tokens of an answer count
}

// TokenType says which tokens count against limits of tokens.
type TokenType uint8

// What token_rate_limit_type may be.
const (
	CountTotal TokenType = iota
	CountInput
	CountOutput
)

// Counts picks what counts of a request's tokens.
func (t TokenType) Counts(input, output int64) int64 {
	switch t {
	case CountInput:
		return input
	case CountOutput:
		return output
	}
	return input + output
}

// Limiter reserves and settles. It is safe for concurrent use.
type Limiter struct {
	c      Config
	window int64 // ticks
	offset int64 // wall clock less Now, nanoseconds, as all processes of the host agree
	banks  [maxBanks]*fleet.Bank
	older  atomic.Bool  // the second bank is in use
	looked atomic.Int64 // Now when that was found out
}

// New makes a limiter on the host table. Several may live side by side, as the
// generations of a configuration do.
func New(c Config) *Limiter {
	if c.Window <= 0 {
		c.Window = time.Minute
	}
	l := &Limiter{c: c, window: int64(c.Window/tick) &^ 1, offset: c.Table.Header().WallOffset.Load()}
	l.banks = [maxBanks]*fleet.Bank{c.Table.Limits(), c.Table.OlderLimits()}
	for _, b := range l.banks {
		if b != nil {
			b.SetIdle(l.idle())
		}
	}
	if c.Area >= 0 {
		c.Table.WritesLimits(c.Area)
	}
	l.lookAround(fleet.Now())
	return l
}

// idle is how long a record is kept without use, in seconds: its words are over
// after one window.
func (l *Limiter) idle() int64 { return max(2*int64(l.c.Window/time.Second), 2) }

// Counted says which tokens a caller is to reserve and settle.
func (l *Limiter) Counted() TokenType { return l.c.Counted }

// Window is the length of the windows.
func (l *Limiter) Window() time.Duration { return l.c.Window }

// Refusal says which limit was reached.
type Refusal struct {
	Rule  *Rule
	Type  Type
	Limit int64
	Left  int64         // less than what was asked for
	Reset time.Duration // until the same would pass, if nobody else comes; a guess for Parallel
}

// meter is this moment.
func (l *Limiter) meter(now int64) meter {
	wall := (now + l.offset) / tick
	return meter{
		now: now / tick &^ 1, window: l.window, fixed: l.c.Fixed,
		number: wall / l.window, rest: l.window - wall%l.window,
	}
}

// lookAround finds out, once a second, whether generations live that know the
// records of another layout alone.
func (l *Limiter) lookAround(now int64) {
	if l.banks[1] == nil {
		return
	}
	if last := l.looked.Load(); last == 0 || now-last > int64(time.Second) && l.looked.CompareAndSwap(last, now) {
		l.older.Store(l.c.Table.OlderLives(l.idle()))
		l.looked.Store(now)
	}
}

// Reserve takes a request, tokens and a parallel place of every rule, or
// nothing at all. It may be called again on the same Hold for more rules.
func (l *Limiter) Reserve(h *Hold, rules []*Rule, tokens int64) *Refusal {
	mark, now := h.Mark(), fleet.Now()
	l.lookAround(now)
	m, banks := l.meter(now), 1
	h.meter = m
	if l.older.Load() {
		banks = maxBanks
	}
	h.held = slices.Grow(h.held, len(rules)*banks)
	l.approach(rules)
	for _, rule := range rules {
		if rule == nil || !rule.Limits() {
			continue
		}
		for bank := range banks {
			if r := l.reserve(h, rule, bank, max(tokens, 0), &m, now); r != nil {
				l.Cancel(h, mark)
				return r
			}
		}
	}
	return nil
}

// approach reads the records of several rules before the first is changed. What
// is in no cache of the processor is fetched for all of them at once then; a CAS
// would wait for its own before the next one is looked at.
func (l *Limiter) approach(rules []*Rule) {
	bank := l.banks[0]
	for _, rule := range rules {
		if rule == nil {
			continue
		}
		if i := rule.place[0].Load(); i > 0 && int(i) <= bank.Size() {
			bank.At(int(i) - 1).Used()
		}
	}
}

// reserve takes what one rule asks for in one bank. Where the record has gone
// to another subject meanwhile it begins again: what was counted there makes
// that one's record too strict for a moment.
func (l *Limiter) reserve(h *Hold, rule *Rule, bank int, tokens int64, m *meter, now int64) *Refusal {
	e := h.next()
	for range 8 {
		*e = entry{rule: rule, bank: l.banks[bank], older: bank > 0}
		l.find(e, bank, now)
		if r := l.fill(e, tokens, m); r != nil {
			return r
		}
		if e.mine() {
			break
		}
		l.c.Holders.Release(e.place)
		e.place = fleet.Hold{}
	}
	return l.agree(e, m)
}

// find looks a rule's record up, first where it was last time.
func (l *Limiter) find(e *entry, bank int, now int64) {
	place := &e.rule.place[bank]
	if i := place.Load(); i > 0 && int(i) <= e.bank.Size() {
		if r := e.bank.At(int(i) - 1); r.Is(e.rule.Tag) {
			r.Touch(now / int64(time.Second))
			e.record = r
			return
		}
	}
	e.record, e.shared = e.bank.FindAt(e.rule.Tag, now)
	if !e.shared {
		place.Store(uint32(e.bank.Index(e.record)) + 1)
	}
}

// mine reports whether the record still counts for the rule.
func (e *entry) mine() bool {
	if e.shared {
		return e.bank.Peek(e.rule.Tag) == nil
	}
	return e.record.Is(e.rule.Tag)
}

// fill takes all that a rule asks for of its record.
func (l *Limiter) fill(e *entry, tokens int64, m *meter) *Refusal {
	if e.rule.Requests >= 0 {
		if r := l.count(e, Requests, 1, 1, m); r != nil {
			return r
		}
	}
	if e.rule.Tokens >= 0 {
		e.tokens = min(tokens, e.rule.Tokens)
		if r := l.count(e, Tokens, e.tokens, 1, m); r != nil {
			return r
		}
	}
	if e.rule.Parallel >= 0 {
		return l.occupy(e, e.rule.Parallel)
	}
	return nil
}

// count takes n of a limit in a window, of the record alone.
func (l *Limiter) count(e *entry, t Type, n, parts int64, m *meter) *Refusal {
	limit := e.rule.limit(t)
	w := &e.record.Words[t]
	if limit == 0 {
		return &Refusal{Rule: e.rule, Type: t, Reset: m.again(0, n, 0, 1)}
	}
	for {
		if t == Tokens {
			e.given = e.record.Words[wordGiven].Load() // before the word itself
		}
		old := w.Load()
		next, p, passes := m.add(old, n, limit, parts, false)
		if !passes {
			left := m.left(m.level(old, limit, parts), limit, parts)
			return &Refusal{Rule: e.rule, Type: t, Limit: limit, Left: left, Reset: m.again(old, n, limit, parts)}
		}
		if n == 0 || replace(e.record, t, old, next) { // of nothing the headers say how things stand
			e.parts[t] = p
			return nil
		}
	}
}

// occupy takes a parallel place of the record. Who had to take one of the
// shared record before counts too.
func (l *Limiter) occupy(e *entry, limit int64) *Refusal {
	cell := e.bank.Cell(e.bank.Index(e.record))
	most := limit
	if !e.shared {
		most -= fleet.ParallelOf(e.bank.Shared())
	}
	place, ok := l.c.Holders.Acquire(cell, 1, most)
	left := max(most-fleet.ParallelOf(e.record), 0)
	if !ok {
		return &Refusal{Rule: e.rule, Type: Parallel, Limit: limit, Left: left, Reset: parallelAgain}
	}
	e.place, e.places = place, left
	return nil
}

// parallelAgain is when to try again where all places are taken: nobody knows.
const parallelAgain = time.Second
