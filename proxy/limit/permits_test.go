package limit

import (
	"sync"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// pool is a Share that counts: so many permits of each limit, no time.
type pool struct {
	mu    sync.Mutex
	away  bool
	hosts int64
	block int64 // given beyond what was asked for
	left  map[subject]int64
	asked int
	given []int64
	since []int64
}

func (p *pool) Take(tag uint64, t Type, _, n int64) (Grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.away {
		return Grant{}, false
	}
	s := subject{tag, t}
	if p.left[s] < n {
		return Grant{Reset: 3 * time.Second}, true
	}
	got := min(n+p.block, p.left[s])
	if t == Parallel {
		got = n
	}
	p.left[s] -= got
	return Grant{N: got, Since: fleet.Now()}, true
}

func (p *pool) Give(tag uint64, t Type, _, n, since int64) {
	p.mu.Lock()
	p.left[subject{tag, t}] += n
	p.given, p.since = append(p.given, n), append(p.since, since)
	p.mu.Unlock()
}

func (p *pool) Unspent(tag uint64, t Type, limit, n, since int64) { p.Give(tag, t, limit, n, since) }

func (p *pool) Hosts() int64 { return max(p.hosts, 1) }

func (p *pool) of(r *Rule, t Type) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left[subject{r.Tag, t}]
}

func newPool(rule *Rule, requests, tokens, places int64) *pool {
	return &pool{left: map[subject]int64{{rule.Tag, Requests}: requests, {rule.Tag, Tokens}: tokens, {rule.Tag, Parallel}: places}}
}

// What a record lets through is asked of the other hosts too, and what is not
// used goes back to them.
func TestShareDecides(t *testing.T) {
	rule := NewRule(ScopeKey, "k", 100, 10_000, 100)
	p := newPool(rule, 3, 1000, 2)
	l := newLimiter(t, Config{Window: time.Hour, Share: p})
	before := fleet.Now()
	a, r := reserve(l, 400, rule)
	if r != nil || p.of(rule, Requests) != 2 || p.of(rule, Tokens) != 600 || p.of(rule, Parallel) != 1 {
		t.Fatalf("%+v, %v", r, p.left)
	}
	b, r := reserve(l, 400, rule)
	if r != nil {
		t.Fatal(r)
	}
	for name, c := range map[string]struct {
		tokens int64
		want   Type
	}{"tokens": {400, Tokens}, "parallel": {100, Parallel}} {
		_, r := reserve(l, c.tokens, rule)
		if r == nil || r.Type != c.want {
			t.Errorf("%s: %+v", name, r)
		}
		if p.of(rule, Requests) != 1 || p.of(rule, Tokens) != 200 {
			t.Errorf("%s: a refusal has kept %v", name, p.left)
		}
	}
	l.Settle(a, 100)
	l.Settle(b, 500) // 100 more than were reserved
	if p.of(rule, Tokens) != 400 || p.of(rule, Requests) != 1 || p.of(rule, Parallel) != 2 {
		t.Errorf("after settling 100 and 500 of 1,000: %v", p.left)
	}
	for _, since := range p.since {
		if since < before-tick || since > fleet.Now() {
			t.Errorf("given back of %d, reserved after %d", since, before)
		}
	}
	// The record refuses before anybody is asked.
	small := NewRule(ScopeUser, "u", 1, None, None)
	p.left[subject{small.Tag, Requests}] = 50
	if _, r := reserve(l, 0, small); r != nil {
		t.Fatal(r)
	}
	asked := p.asked
	if _, r := reserve(l, 0, small); r == nil || p.asked != asked {
		t.Errorf("%+v, asked %d times more", r, p.asked-asked)
	}
}

// A block is spent by all who use the table, and goes back when its time is over.
func TestBlocksAreSpentByAllProcesses(t *testing.T) {
	rule := NewRule(ScopeKey, "k", 1000, None, None)
	p := newPool(rule, 500, 0, 0)
	p.block = 9
	table, area, _ := newTable(t)
	l := newLimiter(t, Config{Window: time.Hour, Share: p, Table: table, Area: area})
	other := newLimiter(t, Config{Window: time.Hour, Share: p, Table: table, Area: area, Holders: l.c.Holders})
	start := fleet.Now()
	for i := range 10 {
		at := l
		if i%2 == 1 {
			at = other
		}
		if _, r := reserve(at, 0, rule); r != nil {
			t.Fatal(r)
		}
	}
	quick := fleet.Now()-start < int64(BlockLife)/2 // else the machine was too slow to tell
	if quick && (p.asked != 1 || p.of(rule, Requests) != 490) {
		t.Errorf("asked %d times for 10 of one block, %d left", p.asked, p.of(rule, Requests))
	}
	if _, r := reserve(l, 0, rule); r != nil {
		t.Fatal(r)
	}
	time.Sleep(BlockLife + 5*time.Millisecond)
	left := p.of(rule, Requests)
	asked := p.asked
	h, r := reserve(l, 0, rule)
	if r != nil {
		t.Fatal(r)
	}
	if quick && (len(p.given) != 1 || p.given[0] != 9 || p.asked != asked+1 || p.of(rule, Requests) != left+9-10) {
		t.Errorf("after its time: gave back %v, asked %d more, %d left of %d", p.given, p.asked-asked, p.of(rule, Requests), left)
	}
	// One that was undone goes back on its own.
	left = p.of(rule, Requests)
	l.Cancel(h, 0)
	if p.of(rule, Requests) != left+1 {
		t.Errorf("a request that was undone: %d left of %d", p.of(rule, Requests), left)
	}
}

// The record of all who have none keeps no block: what was taken for one of them
// would be spent by another.
func TestSharedRecordKeepsNoBlock(t *testing.T) {
	a, b := NewRule(ScopeKey, "a", 100, None, None), NewRule(ScopeKey, "b", 100, None, None)
	p := newPool(a, 50, 0, 0)
	p.block = 9
	l := newLimiter(t, Config{Window: time.Hour, Share: p})
	bank := l.banks[0]
	take := func(rule *Rule) *Refusal {
		e := &entry{rule: rule, bank: bank, record: bank.Shared(), shared: true}
		m := l.meter(fleet.Now())
		if r := l.fill(e, 0, &m); r != nil {
			t.Fatal(r)
		}
		return l.agree(e, &m)
	}
	if r := take(a); r != nil || p.of(a, Requests) != 49 {
		t.Errorf("%+v, %d left of 50 after one", r, p.of(a, Requests))
	}
	if take(b) == nil {
		t.Error("a subject that may have none spends what another has taken")
	}
}

// While nobody can be asked a host has its part, of which counts what it has
// used before; and back.
func TestShareAway(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		rule := NewRule(ScopeKey, "k", 90, 9000, 9)
		p := newPool(rule, 1000, 100_000, 100)
		p.hosts = 3
		l := newLimiter(t, Config{Window: time.Hour, Share: p, Fixed: fixed})
		var held []*Hold
		pass := func(n int) (passed int, last *Refusal) {
			for range n {
				h, r := reserve(l, 1, rule)
				if r != nil {
					return passed, r
				}
				passed++
				l.Settle(h, 1)
			}
			return passed, nil
		}
		if n, r := pass(10); n != 10 {
			t.Fatal(r)
		}
		p.away = true
		n, r := pass(100)
		if n != 20 || r.Type != Requests || r.Limit != 90 {
			t.Errorf("fixed %v: %d passed of a third of 90 after 10, %+v", fixed, n, r)
		}
		p.away = false
		if n, _ := pass(100); n < 59 || n > 61 {
			t.Errorf("fixed %v: %d passed of 90 after 30", fixed, n)
		}
		places := NewRule(ScopeUser, "u", None, None, 9)
		p.away = true
		for {
			h, r := reserve(l, 0, places)
			if r != nil {
				break
			}
			held = append(held, h)
		}
		if len(held) != 3 {
			t.Errorf("fixed %v: %d places of a third of 9", fixed, len(held))
		}
		tokens := NewRule(ScopeTeam, "t", None, 900, None)
		if _, r := reserve(l, 700, tokens); r != nil { // clamped to the part
			t.Errorf("fixed %v: more tokens than the part: %+v", fixed, r)
		}
		if _, r := reserve(l, 10, tokens); r == nil {
			t.Errorf("fixed %v: beyond the part of the tokens", fixed)
		}
	}
}
