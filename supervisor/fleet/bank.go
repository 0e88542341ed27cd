package fleet

import (
	"sync/atomic"
	"unsafe"
)

// WordsPerRecord are the words of a record that its user gives a meaning to.
const WordsPerRecord = 6

// Record is what the host remembers of one subject, one cache line. Find gives
// it to a subject, and who has changed a word of it looks afterwards whether it
// still is that subject's: an idle one may have gone to another meanwhile.
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

const (
	recordSize  = 64
	bucketSlots = 8 // records in a bucket
	limitsSize  = 3*pageSize + (64+512+4096+32768+131072)*bucketSlots*recordSize
	leasesSize  = 3*pageSize + (64+512+4096+16384)*bucketSlots*recordSize
)

// Bank is a set of records, found by tag.
type Bank struct {
	table *Table
	at    int
}

// Limits are the records of limits.
func (t *Table) Limits() *Bank { return &Bank{table: t, at: limitsAt} }

// Leases are the records of budgets.
func (t *Table) Leases() *Bank { return &Bank{table: t, at: leasesAt} }

func (b *Bank) record(i int) *Record {
	return (*Record)(unsafe.Pointer(&b.table.mem[b.at+2*pageSize+i*recordSize]))
}

// Find returns the record of a subject, and takes one where there is none.
func (b *Bank) Find(tag uint64) (r *Record, shared bool) {
	r = b.record(int(tag % 512))
	r.tag.Store(tag)
	return r, false
}

// Peek returns the record of a subject, nil if there is none.
func (b *Bank) Peek(tag uint64) *Record {
	if r := b.record(int(tag % 512)); r.Is(tag) {
		return r
	}
	return nil
}

// NewRecordHolders takes the holder words of an area for the records of limits.
func NewRecordHolders(t *Table, area int) *Holders { return NewHolders(t, area) }
