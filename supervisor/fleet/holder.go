package fleet

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// A cell is one counter that all processes of the host share, and a holder
// word says what one request in flight holds of one cell, so that whoever
// reaps the generation can give it back. A process may be killed between any
// two instructions, so a change of a cell leaves its signature in the same
// word:
//
//	cell    bits 33..63 value
//	        bits  0..32 the last change: area (10), holder word (13), sequence (10)
//	holder  bits 62..63 state: 0 free, 1 adding, 2 held, 3 removing
//	        bits 32..61 amount
//	        bits 12..21 sequence: one more with every change that the word announces
//	        bits  0..11 cell
//
// A change is announced in the holder word, made by one CAS on the cell that
// signs it, and completed in the holder word. Who changes a cell next completes
// the change before its own. So an announced change has happened exactly when
// the cell carries its signature: nothing has to be counted again, neither too
// much nor too little is ever given back, and nobody waits for anybody.
const (
	stateFree     = 0 << 62
	stateAdding   = 1 << 62
	stateHeld     = 2 << 62
	stateRemoving = 3 << 62
	stateMask     = 3 << 62

	amountAt   = 32
	amountMask = 1<<30 - 1
	seqAt      = 12
	seqMask    = 1<<10 - 1
	cellMask   = 1<<12 - 1

	valueAt  = 33
	valueMax = 1<<31 - 1
	signMask = 1<<valueAt - 1
	signArea = 23
	signWord = 10
)

// Cells that this release uses.
const (
	CellInFlight = 0 // requests in flight on the host, for limit_concurrency
)

// Cell is one counter of the host.
type Cell struct {
	word atomic.Uint64
}

// Load is the value of the cell: the sum of what all requests of all living
// processes hold of it.
func (c *Cell) Load() int64 { return int64(c.word.Load() >> valueAt) }

// Cell is counter i, 0 ≤ i < MaxCells.
func (t *Table) Cell(i int) *Cell { return (*Cell)(unsafe.Pointer(&t.mem[cellsAt+i*8])) }

func (t *Table) holder(area, i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&t.mem[holdersAt+(area*MaxHolders+i)*holderSize]))
}

// announce writes into a holder word what is about to happen to a cell, and
// returns the signature of that change. The sequence is never 0, which signs a
// cell that nobody has changed, nor the one that the cell happens to show.
func (t *Table) announce(area, i int, state uint64, n int64, cell int) (sign uint64) {
	w := t.holder(area, i)
	seq := w.Load() >> seqAt & seqMask
	shown := t.Cell(cell).word.Load() & signMask
	for {
		seq = (seq + 1) & seqMask
		v := state | uint64(n)<<amountAt | seq<<seqAt | uint64(cell)
		if sign = signature(area, i, v); seq != 0 && sign != shown {
			w.Store(v)
			return sign
		}
	}
}

// signature is what the change that a holder word announces leaves in the cell.
func signature(area, i int, v uint64) uint64 {
	return uint64(area)<<signArea | uint64(i)<<signWord | v>>seqAt&seqMask
}

// completed is a holder word after its change has happened.
func completed(v uint64) uint64 {
	switch v & stateMask {
	case stateAdding:
		return v&^stateMask | stateHeld
	case stateRemoving:
		return v &^ stateMask
	}
	return v
}

// complete finishes the change that a cell shows, on behalf of a process that
// has not come to it yet, or never will.
func (t *Table) complete(sign uint64) {
	w := t.holder(int(sign>>signArea), int(sign>>signWord&(MaxHolders-1)))
	if v := w.Load(); v>>seqAt&seqMask == sign&seqMask {
		if done := completed(v); done != v {
			w.CompareAndSwap(v, done)
		}
	}
}

// change adds delta to a cell, signed; limit bounds the new value. It reports
// whether the cell was changed.
func (t *Table) change(cell int, delta, limit int64, sign uint64) bool {
	c := t.Cell(cell)
	for {
		old := c.word.Load()
		value := int64(old>>valueAt) + delta
		if value > limit {
			return false
		}
		t.complete(old & signMask)
		if c.word.CompareAndSwap(old, uint64(max(value, 0))<<valueAt|sign) {
			return true
		}
	}
}

// give releases what holder word i of an area holds. The caller owns the word,
// or its owner is dead.
func (t *Table) give(area, i int) {
	w := t.holder(area, i)
	n, cell := int64(w.Load()>>amountAt&amountMask), int(w.Load()&cellMask)
	t.change(cell, -n, valueMax, t.announce(area, i, stateRemoving, n, cell))
	w.Store(w.Load() &^ stateMask)
}

// settle brings a dead owner's holder word to free or held: to what it was
// before the change that it announces, or to what it is after it.
func (t *Table) settle(area, i int) (held bool) {
	w := t.holder(area, i)
	for {
		v := w.Load()
		switch v & stateMask {
		case stateFree:
			return false
		case stateHeld:
			return true
		}
		if t.Cell(int(v&cellMask)).word.Load()&signMask == signature(area, i, v) {
			w.CompareAndSwap(v, completed(v))
			continue
		}
		// A neighbour completes the word before it replaces the signature: if
		// the word still is as it was, the change has not happened.
		before := v &^ stateMask
		if v&stateMask == stateRemoving {
			before |= stateHeld
		}
		w.CompareAndSwap(v, before)
	}
}

// Reap empties a dead generation's area and gives back what its requests held.
// The area is free afterwards. Reap may itself be killed at any point and
// called again.
func (t *Table) Reap(area int) {
	g := t.Generation(area)
	for i := range min(int(g.Holders.Load()), MaxHolders) {
		if t.settle(area, i) {
			t.give(area, i)
		}
	}
	g.State.Store(uint32(StateDead))
	g.Number.Store(0)
}

// Holders hands out the holder words of one generation. It is safe for
// concurrent use inside the process that owns the generation.
type Holders struct {
	table *Table
	area  int

	mu   sync.Mutex // guards free and used
	free []uint16
	used int // words from here on were never taken
}

// NewHolders takes the holder words that belong to a generation's area.
func NewHolders(t *Table, area int) *Holders { return &Holders{table: t, area: area} }

// Hold is what a request holds; the zero value holds nothing.
type Hold struct {
	index int32 // of the holder word, plus 1
}

// Acquire adds n to cell unless that would pass limit, or MaxHolders requests
// of this process hold something already. It never admits too much: at any
// instant the value of the cell is the sum of what is held. n may be 0 to
// 1<<30-1; a cell holds up to 1<<31-1.
func (h *Holders) Acquire(cell int, n, limit int64) (Hold, bool) {
	if n < 0 || n > amountMask || cell < 0 || cell >= MaxCells {
		return Hold{}, false
	}
	i := h.take()
	if i < 0 {
		return Hold{}, false
	}
	w := h.table.holder(h.area, i)
	sign := h.table.announce(h.area, i, stateAdding, n, cell)
	if !h.table.change(cell, n, min(limit, valueMax), sign) {
		w.Store(w.Load() &^ stateMask)
		h.put(i)
		return Hold{}, false
	}
	w.Store(w.Load()&^stateMask | stateHeld)
	return Hold{index: int32(i) + 1}, true
}

// Release gives back what a request holds. Releasing a zero Hold does nothing;
// releasing another one twice is a mistake of the caller.
func (h *Holders) Release(hold Hold) {
	if hold.index == 0 {
		return
	}
	i := int(hold.index - 1)
	h.table.give(h.area, i)
	h.put(i)
}

// take returns the index of a free holder word, -1 when there is none. That a
// word is used is known to who reaps before anything stands in it.
func (h *Holders) take() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.free); n > 0 {
		i := h.free[n-1]
		h.free = h.free[:n-1]
		return int(i)
	}
	if h.used == MaxHolders {
		return -1
	}
	h.used++
	h.table.Generation(h.area).Holders.Store(uint32(h.used))
	return h.used - 1
}

func (h *Holders) put(i int) {
	h.mu.Lock()
	h.free = append(h.free, uint16(i))
	h.mu.Unlock()
}
