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
// The parallel words of the records of limits are cells too. There are more of
// them, and more of what one process holds of them, so they have holder words
// of their own, in which the same things stand elsewhere: the value of a cell
// from bit 35 on, behind 15 bits of the holder word; the sequence of a holder
// word in bits 22..31, behind 22 bits of the cell.
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
	seqMask    = 1<<10 - 1
	signWord   = 10 // where the number of the holder word begins in a signature
)

// counting is one kind of cells and how their words are divided.
type counting struct {
	numbers int  // of cells
	words   int  // holder words in an area
	seqAt   uint // of a holder word: the cell is below
	areaAt  uint // of a signature
	valueAt uint // of a cell: the signature is below
}

// The two kinds. Their numbers are part of the layout.
var (
	hostCells   = counting{numbers: MaxCells, words: MaxHolders, seqAt: 12, areaAt: 23, valueAt: 33}
	recordCells = counting{numbers: 1 << 22, words: MaxGrants, seqAt: 22, areaAt: 25, valueAt: 35}
)

func (k *counting) value(cell uint64) int64    { return int64(cell >> k.valueAt) }
func (k *counting) most() int64                { return 1<<(64-k.valueAt) - 1 }
func (k *counting) sign(cell uint64) uint64    { return cell & (1<<k.valueAt - 1) }
func (k *counting) cellOf(holder uint64) int   { return int(holder & (1<<k.seqAt - 1)) }
func (k *counting) seqOf(holder uint64) uint64 { return holder >> k.seqAt & seqMask }

// signature is what the change that a holder word announces leaves in the cell.
func (k *counting) signature(area, i int, holder uint64) uint64 {
	return uint64(area)<<k.areaAt | uint64(i)<<signWord | k.seqOf(holder)
}

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
func (c *Cell) Load() int64 { return hostCells.value(c.word.Load()) }

// Cell is counter i, 0 ≤ i < MaxCells.
func (t *Table) Cell(i int) *Cell { return (*Cell)(unsafe.Pointer(&t.mem[cellsAt+i*8])) }

// cells are the cells of one kind in a table, and who holds what of them.
type cells struct {
	counting
	table   *Table
	records bool
}

func (c *cells) cell(i int) *atomic.Uint64 {
	if c.records {
		return c.table.recordCell(i)
	}
	return &c.table.Cell(i).word
}

func (c *cells) holder(area, i int) *atomic.Uint64 {
	at := holdersAt + (area*MaxHolders+i)*holderSize
	if c.records {
		at = grantsAt + area*grantArea + (i+1)*holderSize
	}
	return (*atomic.Uint64)(unsafe.Pointer(&c.table.mem[at]))
}

// used is how many holder words of an area may have something in them.
func (c *cells) used(area int) int {
	if c.records {
		return int(min(c.table.grants(area).Load(), MaxGrants))
	}
	return min(int(c.table.Generation(area).Holders.Load()), MaxHolders)
}

// use says how many they are. That a word is used is known to who reaps before
// anything stands in it.
func (c *cells) use(area, n int) {
	if c.records {
		c.table.grants(area).Store(uint64(n))
		return
	}
	c.table.Generation(area).Holders.Store(uint32(n))
}

// announce writes into a holder word what is about to happen to a cell, and
// returns the signature of that change. The sequence is never 0, which signs a
// cell that nobody has changed, nor the one that the cell happens to show.
func (c *cells) announce(area, i int, state uint64, n int64, cell int) (sign uint64) {
	w := c.holder(area, i)
	seq := c.seqOf(w.Load())
	shown := c.sign(c.cell(cell).Load())
	for {
		seq = (seq + 1) & seqMask
		v := state | uint64(n)<<amountAt | seq<<c.seqAt | uint64(cell)
		if sign = c.signature(area, i, v); seq != 0 && sign != shown {
			w.Store(v)
			return sign
		}
	}
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
func (c *cells) complete(sign uint64) {
	i := int(sign >> signWord & (1<<(c.areaAt-signWord) - 1))
	if i >= c.words {
		return
	}
	w := c.holder(int(sign>>c.areaAt), i)
	if v := w.Load(); c.seqOf(v) == sign&seqMask {
		if done := completed(v); done != v {
			w.CompareAndSwap(v, done)
		}
	}
}

// change adds delta to a cell, signed; limit bounds the new value. It reports
// whether the cell was changed.
func (c *cells) change(cell int, delta, limit int64, sign uint64) bool {
	w := c.cell(cell)
	for {
		old := w.Load()
		value := c.value(old) + delta
		if value > limit {
			return false
		}
		c.complete(c.sign(old))
		if w.CompareAndSwap(old, uint64(max(value, 0))<<c.valueAt|sign) {
			return true
		}
	}
}

// give releases what holder word i of an area holds. The caller owns the word,
// or its owner is dead.
func (c *cells) give(area, i int) {
	w := c.holder(area, i)
	n, cell := int64(w.Load()>>amountAt&amountMask), c.cellOf(w.Load())
	c.change(cell, -n, c.most(), c.announce(area, i, stateRemoving, n, cell))
	w.Store(w.Load() &^ stateMask)
}

// settle brings a dead owner's holder word to free or held: to what it was
// before the change that it announces, or to what it is after it.
func (c *cells) settle(area, i int) (held bool) {
	w := c.holder(area, i)
	for {
		v := w.Load()
		switch v & stateMask {
		case stateFree:
			return false
		case stateHeld:
			return true
		}
		if c.sign(c.cell(c.cellOf(v)).Load()) == c.signature(area, i, v) {
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

// reap gives back what an area holds.
func (c *cells) reap(area int) {
	for i := range c.used(area) {
		if c.settle(area, i) {
			c.give(area, i)
		}
	}
}

// Reap empties a dead generation's area and gives back what its requests held.
// The area is free afterwards. Reap may itself be killed at any point and
// called again.
func (t *Table) Reap(area int) {
	t.hosts.reap(area)
	t.parallel.reap(area)
	g := t.Generation(area)
	g.State.Store(uint32(StateDead))
	g.Number.Store(0)
}

// Holders hands out the holder words of one generation. It is safe for
// concurrent use inside the process that owns the generation.
type Holders struct {
	cells *cells
	area  int

	mu   sync.Mutex // guards free and used
	free []uint16
	used int // words from here on were never taken
}

// NewHolders takes the holder words for the cells of the host that belong to a
// generation's area.
func NewHolders(t *Table, area int) *Holders { return &Holders{cells: &t.hosts, area: area} }

// NewRecordHolders takes those for the parallel words of the records of limits,
// see Bank.Cell. It is made once in a process, before anything is held: what the
// words say then is left of a generation that had the area before, and was reaped
// by a supervisor of an earlier release, which knows nothing of them.
func NewRecordHolders(t *Table, area int) *Holders {
	t.parallel.reap(area)
	return &Holders{cells: &t.parallel, area: area}
}

// Hold is what a request holds; the zero value holds nothing.
type Hold struct {
	index int32 // of the holder word, plus 1
}

// Acquire adds n to cell unless that would pass limit, or all holder words of
// the process are in use. It never admits too much: at any instant the value of
// the cell is the sum of what is held. n may be 0 to 1<<30-1; a cell of the host
// holds up to 1<<31-1, one of a record up to 1<<29-1.
func (h *Holders) Acquire(cell int, n, limit int64) (Hold, bool) {
	c := h.cells
	if n < 0 || n > amountMask || cell < 0 || cell >= c.numbers {
		return Hold{}, false
	}
	i := h.take()
	if i < 0 {
		return Hold{}, false
	}
	w := c.holder(h.area, i)
	sign := c.announce(h.area, i, stateAdding, n, cell)
	if !c.change(cell, n, min(limit, c.most()), sign) {
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
	h.cells.give(h.area, i)
	h.put(i)
}

// take returns the index of a free holder word, -1 when there is none.
func (h *Holders) take() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.free); n > 0 {
		i := h.free[n-1]
		h.free = h.free[:n-1]
		return int(i)
	}
	if h.used == h.cells.words {
		return -1
	}
	h.used++
	h.cells.use(h.area, h.used)
	return h.used - 1
}

func (h *Holders) put(i int) {
	h.mu.Lock()
	h.free = append(h.free, uint16(i))
	h.mu.Unlock()
}
