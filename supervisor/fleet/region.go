package fleet

import (
	"sync/atomic"
	"unsafe"
)

// The records of limits may lie differently in a later release. Each way of
// lying is a layout with a region of its own in the table, and the first page
// of the first region is the directory of them all:
//
//	words  magic, layout, byte offset, bytes from record to record, records,
//	       byte offset of the parallel word in a record, when a generation that
//	       does not write the newest layout was seen last
//
// While generations live that do not know the newest layout, the newer ones
// reserve in both, and for two windows afterwards; then what the older ones have
// counted is over. Each generation says in its area which layouts it writes. The
// words about records serve whoever reaps a generation whose layout it does not
// know: it gives the parallel places back all the same.
const (
	regionMagic = 0x315f_5354_494d_494c // "LIMITS_1"
	regionBits  = 21                    // records of a region are numbered with so many
	maxRegions  = 2                     // what a later layout overwrites is two layouts old
)

type region struct {
	magic, layout, at, stride, records, parallel atomic.Uint64

	olderSeen atomic.Int64 // Now
	_         uint64
}

func (t *Table) region(i int) *region {
	return (*region)(unsafe.Pointer(&t.mem[limitsAt+i*int(unsafe.Sizeof(region{}))]))
}

// describe writes a layout into the directory. Whoever opens the table writes
// the same.
func (t *Table) describe(number uint64, l layout, records int) {
	r := t.region(l.region)
	r.layout.Store(number)
	r.at.Store(uint64(l.at))
	r.stride.Store(uint64(l.stride))
	r.records.Store(uint64(records))
	r.parallel.Store(uint64(unsafe.Offsetof(Record{}.Words) + WordParallel*8))
	r.magic.Store(regionMagic)
}

// recordCell is the parallel word that a holder word names. One that is not
// there, as a damaged or a later table may name it, is a word that nobody uses.
func (t *Table) recordCell(i int) *atomic.Uint64 {
	r, record := t.region(i>>regionBits), uint64(i&(1<<regionBits-1))
	at := r.at.Load() + 2*pageSize + record*r.stride.Load() + r.parallel.Load()
	if r.magic.Load() != regionMagic || record > r.records.Load() || at+8 > uint64(len(t.mem)) || at%8 != 0 {
		return &t.nowhere
	}
	return (*atomic.Uint64)(unsafe.Pointer(&t.mem[at]))
}

// grants is the number of holder words for records that an area ever used.
func (t *Table) grants(area int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&t.mem[grantsAt+area*grantArea]))
}

// OlderLimits are the records of limits as the release before this one lays
// them; nil where it lays them as this one does.
func (t *Table) OlderLimits() *Bank { return t.older }

// WritesLimits says in a generation's area that it reserves limits as this
// release lays them.
func (t *Table) WritesLimits(area int) { t.Generation(area).Layouts.Store(1 << thisLayout) }

// OlderLives reports whether limits must be reserved in OlderLimits too: because
// a generation lives that knows nothing else, or did so less than idle seconds
// ago. It is asked once a second.
func (t *Table) OlderLives(idle int64) bool {
	if t.older == nil {
		return false
	}
	now, seen := Now(), &t.region(thisRegion).olderSeen
	for i := range t.Areas() {
		g := t.Generation(i)
		if l := g.Layouts.Load(); g.Number.Load() != 0 && l != 0 && l&(1<<thisLayout) == 0 {
			seen.Store(now)
			return true
		}
	}
	last := seen.Load()
	return last != 0 && now-last < idle*1e9
}
