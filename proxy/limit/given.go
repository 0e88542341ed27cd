package limit

import "sluice/supervisor/fleet"

// Tokens that come back
//
// A reservation i of c ticks came at x(i) and left the arrival time at A(i). It
// used less, and b of its ticks are to be taken off again. What must not happen
// is that more passes than if it had asked for c-b in the first place.
//
// Had it asked for that, every arrival time since would be b earlier, unless the
// bucket had been empty in between: each later reservation k, at x(k), begins at
// the later one of x(k) and the arrival time that it finds. So b may come back
// if that arrival time, by what is known now, was at x(k)+b or later, for each k.
// Two things are certain of it, because reservations only add to it:
//
//	it was never before x(i) + c, which i itself has added;
//	it was never before A(i) - g, g being all that has come back since i came.
//
// x(k) is not after the present, if the clock was read after the word that k has
// changed. Hence
//
//	b <= max(A(i)-g, x(i)+c) - now                                      (1)
//
// or all of it where nobody came since, which the word and the sum tell. And
// by induction the word is what it would be had everybody asked for what he
// was charged in the end. So in any t seconds what was used, and what is reserved
// and not settled, is at most limit + limit × t / window. What an answer took
// beyond its reservation is one more reservation, at its end, as far as there is
// room. What (1) withholds flows off by itself within the window.
//
// g is the sum of all that was ever given back, less what that was at i. The
// sum is a word beside the tokens', and who gives back changes both, one after
// the other:
//
//	tokens, lowest bit  turned over by each giving back
//	given back, ticks   lowest bit as in the word of tokens, once what was taken
//	                    off there has been added here
//
// While the bits differ something was taken off that the sum does not have yet,
// and nobody else gives back. Who reserves reads the sum first: it has no more
// in it then than was taken off the tokens before the reservation, and less makes
// g too large, never too small. Who was killed between the two changes is not
// waited for long: somebody else adds more than there can have been.
const (
	wordGiven = 5       // of the record
	patience  = 200     // looks at a sum that is behind; it is two instructions long where nobody is held up
	forgotten = 1 << 48 // ticks: more than any bucket is large, with it (1) is x(i)+c alone
)

// sumOf is what a word of what was given back says, in ticks.
func sumOf(word uint64) uint64 { return word &^ 1 }

// look reads the word of tokens, before the clock is read to settle.
func (e *entry) look() { e.word = e.record.Words[Tokens].Load() }

// giveTokens takes n tokens of an entry's reservation off again. e.word is the
// word of tokens as it was before the clock of m was read.
func (l *Limiter) giveTokens(e *entry, n int64, m *meter) {
	p, w, sum := e.parts[Tokens], &e.record.Words[Tokens], &e.record.Words[wordGiven]
	for looks := 0; ; {
		old, given := e.word, sum.Load()
		if !e.shared && !e.record.Is(e.rule.Tag) {
			return // it belongs to another subject by now: all that was in it has passed
		}
		next := m.take(old, p, n, e.rule.Tokens, sumOf(given)-sumOf(e.given))
		switch {
		case next == old:
			return
		case old>>partsAt == fixedMark:
			if w.CompareAndSwap(old, next) {
				return
			}
		case (old^given)&1 != 0:
			if looks++; looks >= patience {
				sum.CompareAndSwap(given, sumOf(given)+forgotten|old&1)
				looks = 0
			}
		case w.CompareAndSwap(old, next^1):
			// Where this fails somebody has lost patience, and added more.
			sum.CompareAndSwap(given, (given+old-next)^1)
			return
		}
		e.look()
		*m = l.meter(fleet.Now())
	}
}

// replace changes a word. An arrival time of tokens that is converted says
// nothing about those before.
func replace(r *fleet.Record, t Type, old, next uint64) bool {
	if (old^next)>>partsAt != 0 && old != 0 && t == Tokens {
		r.Words[wordGiven].Add(forgotten)
	}
	return r.Words[t].CompareAndSwap(old, next)
}
