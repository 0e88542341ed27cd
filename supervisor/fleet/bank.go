package fleet

import (
	"sync/atomic"
	"unsafe"
)

// A bank is a set of records in the host table, one for each subject that was
// met lately, found by tag:
//
//	page        of the directory, see region.go
//	page        64 stripes, a cache line each: a lock for who takes, a depth for who looks
//	records     levels of buckets of 8 records of one cache line
//	page        the shared record
//
// A tag is spread over 64 bits; its first 6 bits are its stripe, and its first
// 6, 9, 12, ... bits its bucket in the first, second, third, ... level. A record
// is taken in the first level that has room, and the next is only looked into
// once something was taken there, so few subjects touch few pages however they
// are spread. In the last level the 31 buckets behind one's own serve too.
//
// Looking takes no lock. Taking takes the lock of the stripe, which holds every
// place that a tag of it may have, so that two processes never take two records
// for one subject. All that a taker does is undone or done by one word: until
// the tag stands in the record it is free, whatever its words say. So a taker
// may be killed at any instruction; who finds its lock then breaks it, because
// the process is gone.
//
// A record that was idle for long goes to another subject. Somebody may have
// found it a moment before and change it a moment after; that is why a user
// looks at the tag after each change and begins again where it is another. The
// change has then made the new subject's record too strict, never too lax: the
// words of an idle record are all in the past, and nobody puts them back.

// WordsPerRecord are the words of a record that its user gives a meaning to.
const WordsPerRecord = 6

// WordParallel is the word in records of limits that counts requests at once:
// a cell, changed through Holders of records alone.
const WordParallel = 2

// Record is what the host remembers of one subject, one cache line.
type Record struct {
	tag   atomic.Uint64 // of the subject, 0: free
	used  atomic.Int64  // Now in seconds, of the last use
	Words [WordsPerRecord]atomic.Uint64
}

// Is reports whether the record belongs to the subject of a tag.
func (r *Record) Is(tag uint64) bool { return r.tag.Load() == tag }

// Used is Now in seconds when the record was last found or touched.
func (r *Record) Used() int64 { return r.used.Load() }

// Touch notes that the record is in use; second is Now in seconds.
func (r *Record) Touch(second int64) {
	if r.used.Load() < second {
		r.used.Store(second)
	}
}

// ParallelOf is how many requests at once a record of limits counts.
func ParallelOf(r *Record) int64 { return recordCells.value(r.Words[WordParallel].Load()) }

const (
	recordSize  = 64
	bucketSlots = 8 // records in a bucket
	stripes     = 64
	stripeBits  = 6
	lastProbes  = 32 // buckets of the last level that a tag may be in

	// A bank of each kind has as many records as the sum of its levels.
	limitRecords = (64 + 512 + 4096 + 32768 + 131072) * bucketSlots
	leaseRecords = (64 + 512 + 4096 + 16384) * bucketSlots
	bankPages    = 3 * pageSize
	limitsSize   = bankPages + limitRecords*recordSize
	leasesSize   = bankPages + leaseRecords*recordSize

	defaultIdle = 120   // seconds without use until a limit's record may go to another subject
	leaseIdle   = 3_600 // the same for a lease's, besides that all its words are 0
)

// stripe is the head of one part of a bank.
type stripe struct {
	lock  atomic.Uint64 // see take.go
	depth atomic.Uint64 // buckets of a tag that were ever used here, never less than before
	_     [48]byte
}

// Bank is a set of records. It is safe for concurrent use by all processes.
type Bank struct {
	table   *Table
	slab    unsafe.Pointer // the first record
	stripes *[stripes]stripe
	stride  int    // bytes from one record to the next
	factor  uint64 // odd, spreads the tags
	bits    []uint8
	start   []int // of a level: its first record
	count   int   // the shared record is the one with this number
	number  int   // of the first record among the cells of Holders, -1: none of them is a cell
	pid     uint64
	idle    atomic.Int64 // seconds; 0: words of leases, kept while there is something in them
}

// layout is how a bank lies in the table.
type layout struct {
	at      int // byte offset of the bank
	stride  int
	factor  uint64
	bits    []uint8
	region  int // entry of the directory, -1: none
	pid     int
	isLease bool
}

func newBank(t *Table, l layout) *Bank {
	b := &Bank{
		table: t, slab: unsafe.Pointer(&t.mem[l.at+2*pageSize]), stripes: (*[stripes]stripe)(unsafe.Pointer(&t.mem[l.at+pageSize])),
		stride: l.stride, factor: l.factor, bits: l.bits, number: -1, pid: uint64(l.pid),
	}
	for _, n := range l.bits {
		b.start = append(b.start, b.count)
		b.count += bucketSlots << n
	}
	if l.region >= 0 {
		b.number = l.region << regionBits
	}
	if !l.isLease {
		b.idle.Store(defaultIdle)
	}
	return b
}

// Limits are the records of limits, a million and a third.
func (t *Table) Limits() *Bank { return t.limits }

// Leases are the records of budgets, 168,448. One that holds something is never
// given to another account.
func (t *Table) Leases() *Bank { return t.leases }

// SetIdle says after how many seconds without use a limit's record may go to
// another subject: two windows. All processes say the same.
func (b *Bank) SetIdle(seconds int64) { b.idle.Store(max(seconds, 1)) }

// Size is the number of records, the shared one not counted.
func (b *Bank) Size() int { return b.count }

// At is record i, 0 ≤ i ≤ Size; the last is the shared one.
func (b *Bank) At(i int) *Record { return (*Record)(unsafe.Add(b.slab, i*b.stride)) }

// Index is the number of a record of this bank.
func (b *Bank) Index(r *Record) int {
	return int(uintptr(unsafe.Pointer(r))-uintptr(b.slab)) / b.stride
}

// Cell is what Holders of records know the parallel word of record i by.
func (b *Bank) Cell(i int) int { return b.number + i }

// Shared is the record of all subjects that there was no room for.
func (b *Bank) Shared() *Record { return b.At(b.count) }

// Find returns the record of a subject, and takes one where there is none. The
// shared record stands for all subjects that there is no room for: it is too
// strict with each of them.
func (b *Bank) Find(tag uint64) (r *Record, shared bool) { return b.FindAt(tag, Now()) }

// FindAt is Find for who has read the clock already.
func (b *Bank) FindAt(tag uint64, now int64) (r *Record, shared bool) {
	second := now / 1e9
	if r = b.look(tag); r == nil {
		if r = b.take(tag, second); r == nil {
			r, shared = b.Shared(), true
			b.table.Header().LimitsShared.Add(1)
		}
	}
	r.Touch(second)
	return r, shared
}

// Peek returns the record of a subject, nil if there is none.
func (b *Bank) Peek(tag uint64) *Record { return b.look(tag) }

// Each calls fn for every record that belongs to a subject, in no order, and
// looks only where something was ever taken.
func (b *Bank) Each(fn func(tag uint64, r *Record)) {
	for s := range uint64(stripes) {
		depth := int(b.stripes[s].depth.Load())
		for level := range b.bits {
			if level >= depth {
				break
			}
			n := 1 << (b.bits[level] - stripeBits) * bucketSlots // records of a stripe in this level
			for i := range n {
				r := b.At(b.start[level] + int(s)*n + i)
				if tag := r.tag.Load(); tag != 0 {
					fn(tag, r)
				}
			}
		}
	}
}

func (b *Bank) spread(tag uint64) uint64 {
	h := tag * b.factor
	return (h ^ h>>29) * b.factor
}

// probes is how many buckets a tag may be in.
func (b *Bank) probes() int { return len(b.bits) - 1 + lastProbes }

// bucket is the first record of bucket p of a tag, 0 ≤ p < probes.
func (b *Bank) bucket(h uint64, p int) int {
	last := len(b.bits) - 1
	if p < last {
		return b.start[p] + int(h>>(64-b.bits[p]))*bucketSlots
	}
	inStripe := uint64(1)<<(b.bits[last]-stripeBits) - 1
	n := h >> (64 - b.bits[last])
	return b.start[last] + int(n&^inStripe|(n+uint64(p-last))&inStripe)*bucketSlots
}

func (b *Bank) look(tag uint64) *Record {
	h := b.spread(tag)
	for p := range int(b.stripes[h>>(64-stripeBits)].depth.Load()) {
		first := b.bucket(h, p)
		for i := range bucketSlots {
			if r := b.At(first + i); r.Is(tag) {
				return r
			}
		}
	}
	return nil
}

// firstLayout is that of the first release that has limits.
func firstLayout(pid int) layout {
	return layout{at: limitsAt, stride: recordSize, factor: 0x9e37_79b9_7f4a_7c15, bits: []uint8{6, 9, 12, 15, 17}, region: 0, pid: pid}
}

func leaseLayout(pid int) layout {
	return layout{
		at: leasesAt, stride: recordSize, factor: 0x9e37_79b9_7f4a_7c15, bits: []uint8{6, 9, 12, 14}, region: -1, pid: pid, isLease: true,
	}
}
