package fleet

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// A holder word names what one request in flight holds of one cell, so that
// whoever reaps the generation can give it back:
//
//	bits 62..63  0 free, 1 pending (the CAS on the cell may or may not have happened), 2 held
//	bits 32..61  amount
//	bits  0..31  cell
const (
	holderPending = 1 << 62
	holderHeld    = 2 << 62
	holderState   = 3 << 62
)

// Cell is one counter that all processes of the host share.
func (t *Table) Cell(i int) *atomic.Int64 {
	return (*atomic.Int64)(unsafe.Pointer(&t.mem[cellsAt+i*8]))
}

func (t *Table) holder(area, i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&t.mem[holdersAt+(area*MaxHolders+i)*holderSize]))
}

// Cells that this release uses.
const (
	CellInFlight = 0 // requests in flight on the host, for limit_concurrency
)

// Holders hands out the holder words of one generation. It is safe for
// concurrent use inside the process that owns the generation.
type Holders struct {
	table *Table
	area  int

	mu   sync.Mutex // guards free
	free []uint16
}

// NewHolders takes the holder area that belongs to a generation's area.
func NewHolders(t *Table, area int) *Holders {
	h := &Holders{table: t, area: area, free: make([]uint16, MaxHolders)}
	for i := range h.free {
		h.free[i] = uint16(MaxHolders - 1 - i)
	}
	return h
}

// Hold is what a request holds; the zero value holds nothing.
type Hold struct {
	word *atomic.Uint64
	cell *atomic.Int64
	n    int64
	i    uint16
}

// Acquire adds n to cell unless that would pass limit. It never admits too
// much: the word is marked pending before the cell changes and held after.
func (h *Holders) Acquire(cell int, n, limit int64) (Hold, bool) {
	h.mu.Lock()
	if len(h.free) == 0 {
		h.mu.Unlock()
		return Hold{}, false
	}
	i := h.free[len(h.free)-1]
	h.free = h.free[:len(h.free)-1]
	h.mu.Unlock()

	word, c := h.table.holder(h.area, int(i)), h.table.Cell(cell)
	mark := uint64(n)<<32 | uint64(cell)
	word.Store(holderPending | mark)
	for {
		old := c.Load()
		if old+n > limit {
			word.Store(0)
			h.put(i)
			return Hold{}, false
		}
		if c.CompareAndSwap(old, old+n) {
			break
		}
	}
	word.Store(holderHeld | mark)
	return Hold{word: word, cell: c, n: n, i: i}, true
}

// Release gives back what a request holds. Releasing a zero Hold does nothing.
func (h *Holders) Release(hold Hold) {
	if hold.word == nil {
		return
	}
	hold.word.Store(holderPending | hold.word.Load()&^holderState)
	hold.cell.Add(-hold.n)
	hold.word.Store(0)
	h.put(hold.i)
}

func (h *Holders) put(i uint16) {
	h.mu.Lock()
	h.free = append(h.free, i)
	h.mu.Unlock()
}

// Reap empties a dead generation's area: what it held is recounted from the
// holder words of the living, because a pending word does not say whether the
// cell had changed. The area is free afterwards.
func (t *Table) Reap(area int) {
	touched := map[int]bool{}
	for i := range MaxHolders {
		w := t.holder(area, i)
		v := w.Load()
		if v == 0 {
			continue
		}
		if v&holderState == holderHeld {
			t.Cell(int(uint32(v))).Add(-int64(v >> 32 & (1<<30 - 1)))
		} else {
			touched[int(uint32(v))] = true
		}
		w.Store(0)
	}
	for cell := range touched {
		t.recount(cell)
	}
	t.Generation(area).State.Store(uint32(StateDead))
	t.Generation(area).Number.Store(0)
}

// recount sets a cell to what the living hold of it. A neighbour that changes
// the cell meanwhile makes the CAS fail, and the count is taken again.
func (t *Table) recount(cell int) {
	c := t.Cell(cell)
	for range 1000 {
		old, sum := c.Load(), int64(0)
		for a := range MaxGenerations {
			if t.Generation(a).Number.Load() == 0 {
				continue
			}
			for i := range MaxHolders {
				v := t.holder(a, i).Load()
				if v&holderState != 0 && int(uint32(v)) == cell {
					sum += int64(v >> 32 & (1<<30 - 1))
				}
			}
		}
		if c.CompareAndSwap(old, sum) {
			return
		}
	}
}
