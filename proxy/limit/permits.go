package limit

import (
	"sync/atomic"
	"time"

	"sluice/supervisor/fleet"
)

// A block of permits that the host has taken and not spent stands in a word of
// the record, for all its processes:
//
//	bits 24..63  Now in milliseconds until which they may be spent
//	bits  0..23  permits
const (
	blockAt    = 24
	blockMask  = 1<<blockAt - 1
	firstBlock = 3 // word of the block of Requests; that of Tokens is the next
)

// agree takes of the share what the record has let through. While nobody can
// be asked the record itself is looked at again, for this host's part of each
// limit.
func (l *Limiter) agree(e *entry, m *meter) *Refusal {
	if l.c.Share == nil || e.older || e.rule.Scope == ScopeProxy { // what a process can bear is its host's own business
		return nil
	}
	for t := Requests; t <= Tokens; t++ {
		n := e.parts[t].n
		if n == 0 {
			continue
		}
		if r := l.permits(e, t, n, m); r != nil {
			return r
		}
	}
	if e.place == (fleet.Hold{}) {
		return nil
	}
	limit := e.rule.Parallel
	g, ok := l.c.Share.Take(e.rule.Tag, Parallel, limit, 1)
	switch {
	case ok && g.N >= 1:
		e.taken[Parallel], e.since[Parallel] = true, m.now*tick
	case ok:
		return &Refusal{Rule: e.rule, Type: Parallel, Limit: limit, Reset: max(g.Reset, parallelAgain)}
	default:
		part := max(limit/l.parts(), 1)
		if have := fleet.ParallelOf(e.record); have > part {
			return &Refusal{Rule: e.rule, Type: Parallel, Limit: limit, Reset: parallelAgain}
		}
	}
	return nil
}

// parts is into how many parts a limit is divided while the share is away.
func (l *Limiter) parts() int64 { return min(max(l.c.Share.Hosts(), 1), mostParts) }

// permits takes n permits for what was counted, of the host's block or of the
// share itself.
func (l *Limiter) permits(e *entry, t Type, n int64, m *meter) *Refusal {
	// The record of all who have none keeps no block: it would be spent for
	// another subject than it was taken for.
	if !e.shared && l.spend(e, t, n) {
		return nil
	}
	limit := e.rule.limit(t)
	g, ok := l.c.Share.Take(e.rule.Tag, t, limit, n)
	if !ok {
		// Counted once more, in parts; what stood there as a part of the whole
		// is converted with the rest of the word.
		l.giveBack(e, t, n, m)
		e.parts[t] = part{}
		if t == Tokens {
			n = min(n, max(limit/l.parts(), 1))
			e.tokens = n
		}
		return l.count(e, t, n, l.parts(), m)
	}
	if g.N < n {
		return &Refusal{Rule: e.rule, Type: t, Limit: limit, Reset: g.Reset}
	}
	e.taken[t], e.since[t] = true, g.Since
	switch over := g.N - n; {
	case over <= 0:
	case e.shared:
		l.c.Share.Unspent(e.rule.Tag, t, limit, over, g.Since)
	default:
		l.keep(e, &e.record.Words[firstBlock+t], t, over, g.Since)
	}
	return nil
}

// spend takes n permits of the host's block, and gives back a block whose time
// is over.
func (l *Limiter) spend(e *entry, t Type, n int64) bool {
	w := &e.record.Words[firstBlock+t]
	if w.Load() == 0 {
		return false
	}
	now := fleet.Now() / int64(time.Millisecond)
	for {
		old := w.Load()
		have := int64(old & blockMask)
		switch {
		case have == 0:
			return false
		case int64(old>>blockAt) <= now:
			if w.CompareAndSwap(old, 0) {
				l.c.Share.Unspent(e.rule.Tag, t, e.rule.limit(t), have, blockSince(old))
				return false
			}
		case have < n:
			return false
		case w.CompareAndSwap(old, old-uint64(n)):
			e.taken[t], e.since[t] = true, blockSince(old)
			return true
		}
	}
}

// blockSince is Now when a block was asked for.
func blockSince(word uint64) int64 {
	return int64(word>>blockAt)*int64(time.Millisecond) - int64(BlockLife)
}

// keep adds what a block has too many to what the host has. All of it lives no
// longer than the oldest.
func (l *Limiter) keep(e *entry, w *atomic.Uint64, t Type, n, asked int64) {
	now, limit := asked/int64(time.Millisecond), e.rule.limit(t)
	for {
		old := w.Load()
		have, until := int64(old&blockMask), int64(old>>blockAt)
		stale := int64(0)
		if have == 0 || until <= now {
			stale, have, until = have, 0, now+int64(BlockLife/time.Millisecond)
		}
		put := min(n, blockMask-have)
		if !w.CompareAndSwap(old, uint64(until)<<blockAt|uint64(have+put)) {
			continue
		}
		if stale > 0 {
			l.c.Share.Unspent(e.rule.Tag, t, limit, stale, blockSince(old))
		}
		if n > put {
			l.c.Share.Unspent(e.rule.Tag, t, limit, n-put, asked)
		}
		return
	}
}
