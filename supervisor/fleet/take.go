package fleet

import (
	"runtime"
	"syscall"
	"time"
)

// The lock of a stripe says who has it and since when:
//
//	bits 41..63  process id
//	bits  0..40  Now in milliseconds
//
// It is held for the few loads and stores of one taking. It is broken when its
// process is gone, or has not run for ten seconds, which the supervisor does not
// let a worker live through. A process that wakes up without its lock sees that,
// and takes back what it has done.
const (
	lockPIDAt = 41
	lockSince = 1<<lockPIDAt - 1

	lockSpins = 64
	lockWait  = 20 * time.Millisecond // then the shared record has to do
	lockStale = 10_000                // milliseconds
)

// take gives a record to a subject that has none; nil when there is no room, or
// somebody holds the stripe for too long.
func (b *Bank) take(tag uint64, second int64) *Record {
	h := b.spread(tag)
	s := &b.stripes[h>>(64-stripeBits)]
	for range 4 {
		mine, ok := b.acquire(s)
		if !ok {
			return nil
		}
		r := b.look(tag) // somebody was faster
		if r == nil {
			r = b.place(s, h, tag, second)
		}
		if s.lock.CompareAndSwap(mine, 0) {
			return r
		}
		// The lock was broken meanwhile: what was placed may stand twice.
		if r != nil {
			r.tag.CompareAndSwap(tag, 0)
		}
	}
	return nil
}

// place finds the first record that is free, or idle for long, and writes the
// tag into it. The caller has the stripe's lock.
func (b *Bank) place(s *stripe, h, tag uint64, second int64) *Record {
	for p := range b.probes() {
		first := b.bucket(h, p)
		for i := range bucketSlots {
			r := b.At(first + i)
			if !b.free(r, second) {
				continue
			}
			b.begin(r, second)
			if s.depth.Load() <= uint64(p) {
				s.depth.Store(uint64(p) + 1) // before the tag: who looks must come as far
			}
			if r.tag.CompareAndSwap(0, tag) {
				if b.idle.Load() > 0 {
					b.table.Header().LimitsTaken.Add(1)
				}
				return r
			}
		}
	}
	return nil
}

// free reports whether a record belongs to nobody, and takes it away from a
// subject that does not use it.
func (b *Bank) free(r *Record, second int64) bool {
	tag := r.tag.Load()
	if tag == 0 {
		return true
	}
	idle := b.idle.Load()
	if idle > 0 {
		if second-r.used.Load() < idle || recordCells.value(r.Words[WordParallel].Load()) > 0 {
			return false
		}
	} else {
		if second-r.used.Load() < leaseIdle {
			return false
		}
		for i := range r.Words {
			if r.Words[i].Load() != 0 {
				return false
			}
		}
	}
	return r.tag.CompareAndSwap(tag, 0)
}

// begin makes a free record that of a new subject. The words of limits expire
// by themselves and stay: a change that somebody makes at this moment, for the
// subject that had the record, is not lost should it get it again. While the
// shared record is in use a new one begins with what stands there, because the
// subject may have used that. Words of leases begin at 0.
func (b *Bank) begin(r *Record, second int64) {
	r.used.Store(second)
	idle := b.idle.Load()
	if idle == 0 {
		for i := range r.Words {
			r.Words[i].Store(0)
		}
		return
	}
	shared := b.Shared()
	if used := shared.used.Load(); used == 0 || second-used >= idle {
		return
	}
	for i := range WordParallel {
		r.Words[i].Store(shared.Words[i].Load())
	}
}

// acquire takes the lock of a stripe and returns what stands in it.
func (b *Bank) acquire(s *stripe) (mine uint64, ok bool) {
	var end int64
	for spins := 0; ; spins++ {
		now := Now()
		mine = b.pid<<lockPIDAt | uint64(now/1e6)&lockSince
		was := s.lock.Load()
		if was == 0 {
			if s.lock.CompareAndSwap(0, mine) {
				return mine, true
			}
			continue
		}
		if spins < lockSpins {
			runtime.Gosched()
			continue
		}
		if broken(was, now) && s.lock.CompareAndSwap(was, mine) {
			return mine, true
		}
		if end == 0 {
			end = now + int64(lockWait)
		}
		if now > end {
			return 0, false
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// broken reports whether nobody will ever give a lock back.
func broken(lock uint64, now int64) bool {
	if now/1e6-int64(lock&lockSince) > lockStale {
		return true
	}
	return syscall.Kill(int(lock>>lockPIDAt), 0) == syscall.ESRCH
}
