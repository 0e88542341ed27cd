package budget

import (
	"math/bits"
	"time"

	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// The words of a budget's record in the host table:
//
//	0  what is available of the host's lease: signed nano-dollars
//	1  who leases now: area (10), generation (14), millisecond of Now until which
//	   (40); 0 nobody
//	2  bits 30..63 unit of Now until which a refusal holds; bits 16..29 digest of
//	   the maximum that it was refused under; bits 0..15 digest of the soft budget
//	   and window that were told of
//	3  what was left, as of that refusal: nano-dollars
//	4  what was spent, as of the last answer of the database: nano-dollars
//	5  bits 30..63 unit of Now of the last lease; bits 16..29 digest of the
//	   maximum; bits 0..15 about how much was available after it
//
// A unit is 64 ms. Only the first two decide anything about money; the others
// are hints, and may be of two moments.
const (
	wordAvailable = fleet.WordAvailable
	wordLease     = 1
	wordRefused   = 2
	wordRoom      = 3
	wordSpent     = 4
	wordLeased    = 5

	unit       = int64(64 * time.Millisecond)
	unitAt     = 30
	digestAt   = 16
	digestMask = 1<<14 - 1
	lowMask    = 1<<16 - 1
)

func units(now int64) uint64 { return uint64(now/unit) << unitAt }

// digest is fourteen bits of a number, never all 0.
func digest(n uint64) uint64 {
	n *= 0x9e37_79b9_7f4a_7c15
	return max(n>>50, 1)
}

// rough is an amount in sixteen bits: ten of them are its first digits.
func rough(n money.Nano) uint64 {
	if n <= 0 {
		return 0
	}
	shift := max(bits.Len64(uint64(n))-10, 0)
	return uint64(shift)<<10 | uint64(n)>>shift
}

// exact is the amount that rough has kept of one, at most 0.2 % less.
func exact(v uint64) money.Nano { return money.Nano(v & (1<<10 - 1) << (v >> 10 & 63)) }

// account is a limit's record, with what its words mean.
type account struct{ *fleet.Record }

func (a account) available() money.Nano { return money.Nano(a.Words[wordAvailable].Load()) }

func (a account) spent() money.Nano { return money.Nano(a.Words[wordSpent].Load()) }

// noteLease keeps when a lease was taken, under which maximum, and what was
// available after it.
func (a account) noteLease(now int64, maximum, available money.Nano) {
	a.Words[wordLeased].Store(units(now) | digest(uint64(maximum))<<digestAt | rough(available))
}

// under says whether the last lease was taken under this maximum, or there was
// none.
func (a account) under(maximum money.Nano) bool {
	v := a.Words[wordLeased].Load()
	return v == 0 || v>>digestAt&digestMask == digest(uint64(maximum))
}

// used is what was used of the last lease, and since when: nanoseconds.
func (a account) used(now int64) (money.Nano, int64) {
	v := a.Words[wordLeased].Load()
	if v == 0 {
		return 0, 0
	}
	since := max(now-int64(v>>unitAt)*unit, unit)
	return max(exact(v&lowMask)-max(a.available(), 0), 0), since
}

// need is what will be used within a time, going by the use since the last lease.
func (a account) need(now int64, within time.Duration) money.Nano {
	used, since := a.used(now)
	if used <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(used), uint64(within))
	if hi >= uint64(since) {
		return endless
	}
	n, _ := bits.Div64(hi, lo, uint64(since))
	return money.Nano(min(n, uint64(endless)))
}

// refuse keeps that there was no room for more than so much.
func (a account) refuse(until int64, maximum, room money.Nano) {
	a.Words[wordRoom].Store(uint64(max(room, 0)))
	for {
		was := a.Words[wordRefused].Load()
		if a.Words[wordRefused].CompareAndSwap(was, units(until)|digest(uint64(maximum))<<digestAt|was&lowMask) {
			return
		}
	}
}

// refused says whether a short while ago there was no room for so much.
func (a account) refused(now int64, maximum, amount money.Nano) bool {
	v := a.Words[wordRefused].Load()
	return int64(v>>unitAt) > now/unit && v>>digestAt&digestMask == digest(uint64(maximum)) &&
		amount > money.Nano(a.Words[wordRoom].Load())+max(a.available(), 0)
}

// tell is true once for a soft budget and window.
func (a account) tell(soft money.Nano, start int64) bool {
	mark := digest(uint64(soft)*31 + uint64(start))
	for {
		was := a.Words[wordRefused].Load()
		if was&lowMask == mark {
			return false
		}
		if a.Words[wordRefused].CompareAndSwap(was, was&^lowMask|mark) {
			return true
		}
	}
}

// lock takes the right to lease until a moment, for the generation of an area of
// the host table. The word is what unlock needs; 0: another process has it. The
// right of one that died ends when it is reaped, or by itself.
func (a account) lock(t *fleet.Table, area int, now, until int64) uint64 {
	w := &a.Words[wordLease]
	was := w.Load()
	if was != 0 && int64(was&lockMillis)*int64(time.Millisecond) > now && owner(t, int(was>>lockAreaAt)) == was>>lockOwnerAt {
		return 0
	}
	mine := owner(t, area)<<lockOwnerAt | uint64(until/int64(time.Millisecond)+1)&lockMillis
	if !w.CompareAndSwap(was, mine) {
		return 0
	}
	return mine
}

const (
	lockAreaAt  = 54
	lockOwnerAt = 40
	lockMillis  = 1<<lockOwnerAt - 1
)

// owner is an area and fourteen bits of the number of its generation.
func owner(t *fleet.Table, area int) uint64 {
	return uint64(area)<<(lockAreaAt-lockOwnerAt) | uint64(t.Generation(area).Number.Load())&(1<<(lockAreaAt-lockOwnerAt)-1)
}

// mine says whether the right to lease is still the one that was taken.
func (a account) mine(lock uint64) bool { return a.Words[wordLease].Load() == lock }

func (a account) unlock(lock uint64) { a.Words[wordLease].CompareAndSwap(lock, 0) }

// busy says whether somebody leases.
func (a account) busy() bool { return a.Words[wordLease].Load() != 0 }

// add adds to what is available.
func (a account) add(n money.Nano) money.Nano {
	return money.Nano(a.Words[wordAvailable].Add(uint64(n)))
}

// drain takes everything that is available.
func (a account) drain() money.Nano {
	w := &a.Words[wordAvailable]
	for {
		v := w.Load()
		if int64(v) <= 0 {
			return 0
		}
		if w.CompareAndSwap(v, 0) {
			return money.Nano(v)
		}
	}
}

// forget makes the record one that another account may have. Nothing is available
// then, and nobody claims it.
func (a account) forget() {
	for i := wordRefused; i <= wordLeased; i++ {
		a.Words[i].Store(0)
	}
}

// told says whether tell was.
func (a account) told(soft money.Nano, start int64) bool {
	return a.Words[wordRefused].Load()&lowMask == digest(uint64(soft)*31+uint64(start))
}
