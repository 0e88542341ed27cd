package fleet

import (
	"sync/atomic"
	"unsafe"
)

// The ring of changes tells every process of the host which object of the
// identity data was changed last. An entry is one word, so that no reader ever
// sees half of one:
//
//	bits 50..63  lap of its position, plus 1
//	bits 44..49  kind of the object
//	bits  0..43  hash of its id
//
// A writer fills the entry at the head and then moves the head, and whoever
// finds the entry at the head filled moves it for a writer that was killed in
// between. So an entry below the head is always there, readers never wait, and
// what a killed writer has not published is found by the poller of the change
// feed.
const (
	changeLapAt    = 50
	changeLapMask  = 1<<14 - 1
	changeKindAt   = 44
	changeKindMask = 1<<6 - 1
	changeHashMask = 1<<44 - 1
)

// AnyChange is the kind that stands for "everything may have changed".
const AnyChange = 0

// HashID is what the ring knows an object's id by. The digest of a key is a
// hash already: its first digits are taken, so that a cache of keys finds them.
func HashID(id string) uint64 {
	if h, ok := leading(id); ok {
		return h
	}
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return h>>44 ^ h&changeHashMask
}

// HashDigest is the same for the bytes of a digest.
func HashDigest(digest *[32]byte) uint64 {
	d := digest
	return uint64(d[0])<<36 | uint64(d[1])<<28 | uint64(d[2])<<20 | uint64(d[3])<<12 | uint64(d[4])<<4 | uint64(d[5])>>4
}

// leading reads the first 44 bits of a hexadecimal SHA-256.
func leading(id string) (h uint64, ok bool) {
	if len(id) != 64 {
		return 0, false
	}
	for i := range len(id) {
		var digit uint64
		switch c := id[i]; {
		case '0' <= c && c <= '9':
			digit = uint64(c - '0')
		case 'a' <= c && c <= 'f':
			digit = uint64(c-'a') + 10
		default:
			return 0, false
		}
		if i < 11 {
			h = h<<4 | digit
		}
	}
	return h, true
}

func (t *Table) ringWord(i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&t.mem[changesAt+i*8]))
}

// lapTag is what marks the entries of a lap.
func lapTag(position uint64) uint64 { return (position/MaxChanges + 1) & changeLapMask }

// PublishChange tells all processes of the host that an object has changed.
// When it returns, every reader's Pending is true. kind is an identity.Kind, or
// AnyChange with any id.
func (t *Table) PublishChange(kind uint8, id string) {
	t.publish(uint64(kind)&changeKindMask<<changeKindAt | HashID(id))
}

func (t *Table) publish(what uint64) {
	head := &t.Header().AuthEpoch
	for {
		at := head.Load()
		entry := t.ringWord(int(at % MaxChanges))
		was := entry.Load()
		if head.Load() != at {
			continue
		}
		if was>>changeLapAt == lapTag(at) { // its writer has not moved the head yet
			head.CompareAndSwap(at, at+1)
			continue
		}
		if entry.CompareAndSwap(was, lapTag(at)<<changeLapAt|what) {
			head.CompareAndSwap(at, at+1)
			return
		}
	}
}

// ChangeReader follows the ring. Pending may be called from any goroutine, Next
// from one at a time.
type ChangeReader struct {
	table *Table
	head  *atomic.Uint64
	seen  atomic.Uint64
}

// NewChangeReader makes a reader of what is published from now on.
func NewChangeReader(t *Table) *ChangeReader {
	r := &ChangeReader{table: t, head: &t.Header().AuthEpoch}
	r.seen.Store(r.head.Load())
	return r
}

// Pending reports whether there are changes that Next has not passed on.
func (r *ChangeReader) Pending() bool { return r.head.Load() != r.seen.Load() }

// Next calls fn for every change since the last call. Pending stays true until
// it returns. overrun means that some were missed, or that a writer said so:
// everything may have changed.
func (r *ChangeReader) Next(fn func(kind uint8, idHash uint64)) (overrun bool) {
	at, head := r.seen.Load(), r.head.Load()
	if head-at > MaxChanges {
		overrun, at = true, head
	}
	for ; at != head; at++ {
		v := r.table.ringWord(int(at % MaxChanges)).Load()
		if v>>changeLapAt != lapTag(at) { // written over meanwhile
			overrun, at = true, head
			break
		}
		if kind := uint8(v >> changeKindAt & changeKindMask); kind == AnyChange {
			overrun = true
		} else {
			fn(kind, v&changeHashMask)
		}
	}
	r.seen.Store(at)
	return overrun
}
