package limit

import (
	"sluice/supervisor/fleet"
)

// Settle replaces the reserved tokens by those that were used, gives the
// parallel places back, and empties the hold. The requests stay counted.
func (l *Limiter) Settle(h *Hold, tokens int64) {
	l.end(h, 0, max(tokens, 0), false)
}

// Drop gives back tokens and places of what was reserved since the mark: an
// attempt that failed has used none. The requests stay counted.
func (l *Limiter) Drop(h *Hold, mark int) { l.end(h, mark, 0, false) }

// Cancel gives back everything since the mark, requests too: of a request that
// was refused before anything was done.
func (l *Limiter) Cancel(h *Hold, mark int) { l.end(h, mark, 0, true) }

func (l *Limiter) end(h *Hold, mark int, tokens int64, requests bool) {
	if mark >= len(h.held) {
		return
	}
	for i := mark; i < len(h.held); i++ {
		h.held[i].look()
	}
	m := l.meter(fleet.Now())
	for i := len(h.held) - 1; i >= mark; i-- {
		e := &h.held[i]
		if e.place != (fleet.Hold{}) {
			l.c.Holders.Release(e.place)
		}
		if e.taken[Parallel] {
			l.c.Share.Give(e.rule.Tag, Parallel, e.rule.Parallel, 1, e.since[Parallel])
		}
		if requests {
			l.giveRequests(e, e.parts[Requests].n, &m)
		}
		if e.rule.Tokens > 0 {
			l.settleTokens(e, tokens, &m)
		}
		*e = entry{} // keeps nothing alive
	}
	h.held = h.held[:mark]
}

// settleTokens makes what is counted of what was reserved.
func (l *Limiter) settleTokens(e *entry, tokens int64, m *meter) {
	switch over := tokens - e.tokens; {
	case over < 0:
		if e.parts[Tokens].parts > 0 {
			l.giveTokens(e, -over, m)
		}
		if e.taken[Tokens] {
			l.c.Share.Give(e.rule.Tag, Tokens, e.rule.Tokens, -over, e.since[Tokens])
		}
	case over > 0:
		l.charge(e, over, m)
	}
}

// giveRequests returns n of the requests that an entry has reserved, as far as
// they have not passed with time: what came first is what passes first. That is
// (1) of given.go with nothing that others gave back, because requests come back
// at once or not at all; it is wrong by no more than the age of the reservation. A
// record that belongs to another subject by now is left alone.
func (l *Limiter) giveRequests(e *entry, n int64, m *meter) {
	if p := e.parts[Requests]; p.parts > 0 && n > 0 {
		w := &e.record.Words[Requests]
		for {
			old := w.Load()
			if !e.shared && !e.record.Is(e.rule.Tag) {
				break
			}
			if next := m.take(old, p, n, e.rule.Requests, 0); next == old || w.CompareAndSwap(old, next) {
				break
			}
		}
	}
	if e.taken[Requests] {
		l.c.Share.Give(e.rule.Tag, Requests, e.rule.Requests, n, e.since[Requests])
	}
}

// giveBack returns n of what an entry has reserved at m.
func (l *Limiter) giveBack(e *entry, t Type, n int64, m *meter) {
	if t == Requests {
		l.giveRequests(e, n, m)
		return
	}
	e.look()
	now := l.meter(fleet.Now())
	l.giveTokens(e, n, &now)
}

// charge counts tokens that were used and not reserved, within the limit or
// not, in the record that the subject has now.
func (l *Limiter) charge(e *entry, n int64, m *meter) {
	r := e.record
	if !e.mine() {
		r, _ = e.bank.FindAt(e.rule.Tag, m.now*tick)
	}
	for {
		old := r.Words[Tokens].Load()
		parts := int64(1)
		if p := e.parts[Tokens].parts; p > 0 {
			parts = int64(p)
		}
		if next, _, _ := m.add(old, n, e.rule.Tokens, parts, true); replace(r, Tokens, old, next) {
			break
		}
	}
	if e.taken[Tokens] {
		l.c.Share.Give(e.rule.Tag, Tokens, e.rule.Tokens, -n, e.since[Tokens])
	}
}
