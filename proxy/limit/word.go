package limit

import (
	"math/bits"
	"time"
)

// A word of a record counts one limit. What it says does not depend on the
// limit, so a limit may change at any time:
//
//	GCRA   bits 56..63  parts that the limit was divided into, less one: 0 to 253
//	       bits  1..55  the theoretical arrival time, Now in pairs of ticks of 8 ns (18 years)
//	       bit   0      of tokens: turned over whenever some are given back, see given.go
//	fixed  bits 56..63  255
//	       bits 36..55  number of the window, its low bits
//	       bits  0..35  what was counted in it
//
// By GCRA a limit is a bucket that is as large as the limit and empties within a
// window; the arrival time is when it will be empty, and how far it lies ahead is
// how full the bucket is. n pass if it stays within the window with them, so in
// any t seconds at most limit + ⌊limit × t / window⌋ pass. What is charged is
// rounded up, what is given back is rounded down. An arrival time never lies
// further ahead than the bucket is large: who has used more tokens than there
// were has a full bucket, not a debt for hours.
//
// While the hosts of a cluster cannot ask each other each counts to its part
// of the limit. A word that was written with another number of parts, or by the
// other kind of window, is converted by how much of the limit it says is used.
const (
	tick      = 8 // nanoseconds
	partsAt   = 56
	timeMask  = 1<<partsAt - 2
	mostParts = 254
	fixedMark = 255

	numberAt   = 36
	numberMask = 1<<(partsAt-numberAt) - 1
	countMask  = 1<<numberAt - 1
	mostAhead  = 8 // windows that who counts may be late; more is a word of long ago
)

// meter is a moment at which limits are looked at.
type meter struct {
	now    int64 // ticks
	window int64 // ticks
	fixed  bool
	number int64 // of the fixed window
	rest   int64 // ticks until it ends
}

// part is what was added to one word, and to which.
type part struct {
	n     int64
	cost  int64 // ticks by GCRA
	after int64 // arrival time in ticks, or the number of the fixed window
	level int64 // how full it was then: ticks, or what was counted
	parts uint8 // 0: nothing was looked at
}

// mulDiv is a × b ÷ c; up rounds up. What does not fit is the largest number.
func mulDiv(a, b, c int64, up bool) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if up {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(c)-1, 0)
		hi += carry
	}
	if hi >= uint64(c) {
		return 1<<62 - 1
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(q, 1<<62-1))
}

// room is how far an arrival time may lie ahead: a window, and where a part of
// the limit is less than one, as far as one of it takes.
func (m *meter) room(limit, parts int64) int64 {
	if parts <= limit {
		return m.window
	}
	return mulDiv(m.window, parts, limit, true) &^ 1
}

// cost is what n of a part of a limit fill, in ticks, an even number.
func (m *meter) cost(n, limit, parts int64, up bool) int64 {
	c := mulDiv(m.window, n*parts, limit, up)
	if up {
		c++
	}
	return c &^ 1
}

// filled is how full the bucket is that a word describes, in ticks of a limit
// divided into so many parts.
func (m *meter) filled(word uint64, limit, parts int64) int64 {
	was := int64(word >> partsAt)
	var level int64
	if was == fixedMark {
		level = m.cost(m.counted(word), limit, parts, true)
	} else if level = int64(word&timeMask) - m.now; level > 0 && was+1 != parts {
		level = mulDiv(level, parts, was+1, true)
	}
	return min(max(level, 0), m.room(limit, parts))
}

// counted is what a word says was used in the present fixed window.
func (m *meter) counted(word uint64) int64 {
	if word>>partsAt != fixedMark || int64(word>>numberAt&numberMask) != m.present(word)&numberMask {
		return 0
	}
	return int64(word & countMask)
}

// present is the fixed window that it is: that of the meter, or a later one if
// somebody who read the clock after us has begun to count in that. Else who is
// late would begin the earlier window again, and the next one the later.
func (m *meter) present(word uint64) int64 {
	if word>>partsAt == fixedMark {
		if ahead := (int64(word>>numberAt) - m.number) & numberMask; ahead <= mostAhead {
			return m.number + ahead
		}
	}
	return m.number
}

// used is what a word says was used of a whole limit, for a fixed window.
func (m *meter) used(word uint64, limit int64) int64 {
	was := int64(word >> partsAt)
	if was == fixedMark {
		return m.counted(word)
	}
	level := int64(word&timeMask) - m.now
	return min(mulDiv(level, limit, m.window*(was+1), true), limit)
}

func fixedWord(number, count int64) uint64 {
	return fixedMark<<partsAt | uint64(number&numberMask)<<numberAt | uint64(min(max(count, 0), countMask))
}

// arrivalWord is a word in the place of another, no earlier than that one.
func arrivalWord(was uint64, parts, at int64) uint64 {
	next := uint64(parts-1)<<partsAt | uint64(at+1)&timeMask | was&1
	if next < was && next>>partsAt == was>>partsAt {
		return was
	}
	return next
}

// add is a word with n more of a limit's part in it, n at most that part. It
// passes only within the limit; force adds beyond it, as far as full.
func (m *meter) add(word uint64, n, limit, parts int64, force bool) (next uint64, p part, passes bool) {
	p = part{n: n, parts: uint8(parts)}
	if m.fixed {
		p.after, p.level = m.present(word), m.used(word, limit)+n
		return fixedWord(p.after, p.level), p, force || p.level <= max(limit/parts, 1)
	}
	room := m.room(limit, parts)
	p.cost = m.cost(n, limit, parts, true)
	p.level = m.filled(word, limit, parts) + p.cost
	passes = force || p.level <= room
	p.level = min(p.level, room)
	p.after = m.now + p.level
	return arrivalWord(word, parts, p.after), p, passes
}

// take is a word with n fewer of what p has added, as far as that lets nothing
// pass that would not have passed had they never been added: (1) of given.go, with
// what others gave back since, in ticks.
func (m *meter) take(word uint64, p part, n, limit int64, since uint64) uint64 {
	was := int64(word >> partsAt)
	if was == fixedMark {
		if p.cost == 0 && p.after&numberMask == int64(word>>numberAt&numberMask) {
			return word - min(uint64(n), word&countMask)
		}
		return word
	}
	if p.cost == 0 { // added to a fixed window
		return word
	}
	floor := max(p.after-int64(min(since, forgotten)), p.after-p.level+p.cost)
	back := min(m.cost(n, limit, int64(p.parts), false), p.cost)
	if since != 0 || word&timeMask != uint64(p.after) { // else nobody came since
		back = min(back, floor-m.now)
	}
	if was+1 != int64(p.parts) {
		back = mulDiv(back, was+1, int64(p.parts), false)
	}
	if back <= 0 {
		return word
	}
	return word - min(uint64(back)&^1, word&timeMask)
}

// level is what a word says now, as part.level has it.
func (m *meter) level(word uint64, limit, parts int64) int64 {
	if m.fixed {
		return m.used(word, limit)
	}
	return m.filled(word, limit, parts)
}

// left is how many more would pass at a level.
func (m *meter) left(level, limit, parts int64) int64 {
	if m.fixed {
		return max(max(limit/parts, 1)-level, 0)
	}
	return mulDiv(m.room(limit, parts)-level, limit, m.window*parts, false)
}

// again is how long until n would pass.
func (m *meter) again(word uint64, n, limit, parts int64) time.Duration {
	if limit <= 0 {
		return time.Duration(m.window * tick)
	}
	if m.fixed {
		return time.Duration(m.rest * tick)
	}
	return time.Duration(max(m.filled(word, limit, parts)+m.cost(n, limit, parts, true)-m.room(limit, parts), 0) * tick)
}

// whole is how long until all of a limit is there again.
func (m *meter) whole(level int64) time.Duration {
	if m.fixed {
		return time.Duration(m.rest * tick)
	}
	return time.Duration(level * tick)
}
