package fleet

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// A claim says what one attempt in flight has reserved of leased budgets, so that
// it can be given back when the process that made the attempt is dead and its
// journal says what the attempt cost. It is 16 words:
//
//	0      bits 62..63 state: 0 free, 1 taking, 2 held, 3 giving
//	       bits 32..39 step: accounts that were begun in this state
//	       bits  0..31 generation of the owner
//	1      reference: the last 64 bits of the request's id
//	2      bits 8..63 attempt, bits 0..7 number of accounts
//	3      amount, taken from each account
//	4      difference, given to each account: amount less cost
//	5..15  accounts, three in a word: the index of the record in the bank of leases
//
// Word 0 is written last, so that what it says is there. A process may be killed
// between any two instructions: of the account whose step has begun nobody knows
// whether its word was changed. It is never given anything then, so that at
// worst a part of the lease lies idle until the lease as a whole is returned;
// only a difference below zero is given all the same. Every other account is
// known. Claims of a generation outlive its area: they are free again once the
// ledger has recovered them.
const (
	claimFree   = 0 << 62
	claimTaking = 1 << 62
	claimHeld   = 2 << 62
	claimGiving = 3 << 62
	claimStates = 3 << 62

	claimStepAt    = 32
	claimStepMask  = 1<<8 - 1
	claimOwnerMask = 1<<32 - 1

	claimWords     = ClaimSize / 8
	claimAccountAt = 5
	claimIndexBits = 21
	claimIndexMask = 1<<claimIndexBits - 1

	// MaxClaimAccounts is how many accounts one claim can name.
	MaxClaimAccounts = (claimWords - claimAccountAt) * 3
)

// WordAvailable is the word of a record of a lease that claims take from: signed
// nano-dollars.
const WordAvailable = 0

// Claimed is an account that a claim takes from: its record in the bank of
// leases, and the tag that it was found by.
type Claimed struct {
	Record *Record
	Tag    uint64
}

// claim is a claim in the table. Words but the first are the owner's alone, or
// whose who recovers a dead owner's.
type claim struct {
	control atomic.Uint64
	words   [claimWords - 1]uint64
}

func (c *claim) set(i int, v uint64) { c.words[i-1] = v }

func (c *claim) get(i int) uint64 { return c.words[i-1] }

func (c *claim) accounts() int { return min(int(c.get(2)&0xff), MaxClaimAccounts) }

func (c *claim) account(i int) int {
	return int(c.get(claimAccountAt+i/3) >> (i % 3 * claimIndexBits) & claimIndexMask)
}

func (c *claim) enter(state uint64, step int, owner uint32) {
	c.control.Store(state | uint64(step)<<claimStepAt | uint64(owner))
}

func (t *Table) claim(area, i int) *claim {
	return (*claim)(unsafe.Pointer(&t.mem[claimsAt+(area*MaxClaims+i)*ClaimSize]))
}

// claimsUsed is the number of claims of an area that were ever used, its own
// page's first word: index 0 is no claim.
func (t *Table) claimsUsed(area int) *atomic.Uint64 { return &t.claim(area, 0).control }

// Claims hands out the claims of one generation. It is safe for concurrent use
// inside the process that owns the generation.
type Claims struct {
	table      *Table
	area       int
	generation uint32

	mu   sync.Mutex // guards what follows
	free []uint16
	left []uint16 // of an earlier generation, until they are recovered
	used int
}

// NewClaims takes the claims of an area for its generation. What is left there
// of an earlier one stays until it is recovered, and is handed out again then.
func NewClaims(t *Table, area int) *Claims {
	c := &Claims{table: t, area: area, generation: t.Generation(area).Number.Load()}
	c.used = min(int(t.claimsUsed(area).Load()), MaxClaims-1)
	for i := c.used; i > 0; i-- {
		c.left = append(c.left, uint16(i))
	}
	c.sort()
	return c
}

// sort moves what has been recovered of the claims that were left.
func (c *Claims) sort() {
	left := c.left[:0]
	for _, i := range c.left {
		if c.table.claim(c.area, int(i)).control.Load()&claimStates == claimFree {
			c.free = append(c.free, i)
		} else {
			left = append(left, i)
		}
	}
	c.left = left
}

// Hold takes amount from every account, or from none: then failed is the index of
// one that has too little, or len(accounts) where MaxClaims attempts are in
// flight. ref and attempt name the attempt in the journal. The claim is a number
// that is not 0. It allocates nothing.
func (c *Claims) Hold(ref uint64, attempt, amount int64, accounts []Claimed) (held uint32, failed int) {
	i := c.take()
	if i == 0 || len(accounts) > MaxClaimAccounts {
		c.put(i)
		return 0, len(accounts)
	}
	cl, leases := c.table.claim(c.area, i), c.table.Leases()
	cl.set(1, ref)
	cl.set(2, uint64(attempt)<<8|uint64(len(accounts)))
	cl.set(3, uint64(amount))
	for n := 0; n < len(accounts); n += 3 {
		w := uint64(0)
		for k := n; k < min(n+3, len(accounts)); k++ {
			w |= uint64(leases.Index(accounts[k].Record)) << (k % 3 * claimIndexBits)
		}
		cl.set(claimAccountAt+n/3, w)
	}
	for n := range accounts {
		cl.enter(claimTaking, n+1, c.generation)
		if !accounts[n].take(amount) {
			c.table.undo(cl, n)
			c.put(i)
			return 0, n
		}
	}
	cl.enter(claimHeld, 0, c.generation)
	return uint32(c.area*MaxClaims + i), -1
}

// Give ends a claim: each of its accounts gets what was taken from it, less cost.
func (c *Claims) Give(held uint32, cost int64) {
	i := int(held % MaxClaims)
	cl := c.table.claim(c.area, i)
	cl.set(4, uint64(int64(cl.get(3))-cost))
	c.table.giveFrom(cl, 0, c.generation)
	c.put(i)
}

// take is the index of a free claim, 0 when there is none.
func (c *Claims) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 && c.used == MaxClaims-1 {
		c.sort()
	}
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return int(i)
	}
	if c.used == MaxClaims-1 {
		return 0
	}
	c.used++
	c.table.claimsUsed(c.area).Store(uint64(c.used))
	return c.used
}

func (c *Claims) put(i int) {
	if i == 0 {
		return
	}
	c.mu.Lock()
	c.free = append(c.free, uint16(i))
	c.mu.Unlock()
}

// take takes amount from the record where that much is available and the record
// is still the account's.
func (a *Claimed) take(amount int64) bool {
	w := &a.Record.Words[WordAvailable]
	for {
		v := int64(w.Load())
		if v < amount || !a.Record.Is(a.Tag) {
			return false
		}
		if w.CompareAndSwap(uint64(v), uint64(v-amount)) {
			break
		}
	}
	if !a.Record.Is(a.Tag) { // it changed hands: what was taken was another's
		w.Add(uint64(amount))
		return false
	}
	return true
}

// undo gives back what the first n accounts of a claim were taken, and frees it.
func (t *Table) undo(cl *claim, n int) {
	owner := uint32(cl.control.Load() & claimOwnerMask)
	cl.set(4, cl.get(3))
	cl.set(2, cl.get(2)&^uint64(0xff)|uint64(n))
	t.giveFrom(cl, 0, owner)
}

// giveFrom gives the accounts of a claim, from one on, their difference, and frees
// the claim.
func (t *Table) giveFrom(cl *claim, from int, owner uint32) {
	leases, difference := t.Leases(), cl.get(4)
	for n := from; n < cl.accounts(); n++ {
		cl.enter(claimGiving, n+1, owner)
		leases.At(cl.account(n)).Words[WordAvailable].Add(difference)
	}
	cl.enter(claimFree, 0, owner)
}

// ClaimInfo is a claim as others see it.
type ClaimInfo struct {
	Generation uint32
	Reference  uint64
	Attempt    int64
	Amount     int64
	Held       bool // whole: what it cost is asked for
	accounts   []int
}

// EachClaim calls fn for every claim that is not free, of all generations. The
// value is good until fn returns.
func (t *Table) EachClaim(fn func(c *ClaimInfo)) {
	var info ClaimInfo
	for area := range t.Areas() {
		for i := 1; i <= min(int(t.claimsUsed(area).Load()), MaxClaims-1); i++ {
			cl := t.claim(area, i)
			control := cl.control.Load()
			if control&claimStates == claimFree {
				continue
			}
			info = ClaimInfo{
				Generation: uint32(control & claimOwnerMask), Reference: cl.get(1), Attempt: int64(cl.get(2) >> 8), Amount: int64(cl.get(3)),
				Held: control&claimStates == claimHeld, accounts: info.accounts[:0],
			}
			for n := range cl.accounts() {
				info.accounts = append(info.accounts, cl.account(n))
			}
			fn(&info)
		}
	}
}

// Claimed are the records that any claim names.
func (t *Table) Claimed() map[*Record]bool {
	out := map[*Record]bool{}
	leases := t.Leases()
	t.EachClaim(func(c *ClaimInfo) {
		for _, i := range c.accounts {
			out[leases.At(i)] = true
		}
	})
	return out
}

// RecoverClaims ends the claims of dead generations whose journals have been read
// to the end. cost is what an attempt came to: 0 for one that the journals do not
// know, which never left the gateway. It returns how many claims it ended. One
// process of the host calls it at a time; killed at any point, it may be called
// again.
func (t *Table) RecoverClaims(dead func(generation uint32) bool, cost func(reference uint64, attempt int64) int64) int {
	recovered := 0
	for area := range t.Areas() {
		for i := 1; i <= min(int(t.claimsUsed(area).Load()), MaxClaims-1); i++ {
			cl := t.claim(area, i)
			control := cl.control.Load()
			owner := uint32(control & claimOwnerMask)
			if control&claimStates == claimFree || !dead(owner) {
				continue
			}
			t.recover(cl, control, owner, cost)
			recovered++
		}
	}
	return recovered
}

func (t *Table) recover(cl *claim, control uint64, owner uint32, cost func(reference uint64, attempt int64) int64) {
	step := int(control >> claimStepAt & claimStepMask)
	switch control & claimStates {
	case claimTaking: // of the last account that it began nobody knows
		t.undo(cl, max(step-1, 0))
	case claimHeld:
		cl.set(4, uint64(int64(cl.get(3))-cost(cl.get(1), int64(cl.get(2)>>8))))
		t.giveFrom(cl, 0, owner)
	case claimGiving:
		from := step
		if int64(cl.get(4)) < 0 {
			from = max(step-1, 0)
		}
		t.giveFrom(cl, from, owner)
	}
}
