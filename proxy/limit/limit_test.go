package limit

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// newTable is a host table of the test's own, an area in it, and its descriptor.
func newTable(t testing.TB) (table *fleet.Table, area, fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if table, err = fleet.NewTable(fd, 1); err != nil {
		t.Fatal(err)
	}
	if area, err = table.Claim(0, 1); err != nil {
		t.Fatal(err)
	}
	table.Generation(area).PID.Store(uint32(os.Getpid()))
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	return table, area, fd
}

func newLimiter(t testing.TB, c Config) *Limiter {
	t.Helper()
	if c.Table == nil {
		c.Table, c.Area, _ = newTable(t)
	}
	if c.Holders == nil {
		c.Holders = fleet.NewRecordHolders(c.Table, c.Area)
	}
	return New(c)
}

// reserve is Reserve with a hold of its own, for tests that look at the answer.
func reserve(l *Limiter, tokens int64, rules ...*Rule) (*Hold, *Refusal) {
	h := new(Hold)
	return h, l.Reserve(h, rules, tokens)
}

func left(h *Hold, t Type) (out int64) {
	out = -1
	h.Counters(func(_ *Rule, of Type, _, left int64, _ time.Duration) {
		if of == t {
			out = left
		}
	})
	return out
}

func TestRequestsPassUntilTheLimit(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		l := newLimiter(t, Config{Window: time.Hour, Fixed: fixed})
		rule := NewRule(ScopeKey, "abc", 10, None, None)
		for i := range int64(10) {
			h, r := reserve(l, 5, rule)
			if r != nil {
				t.Fatalf("fixed %v: request %d refused: %+v", fixed, i, r)
			}
			if got := left(h, Requests); got != 9-i {
				t.Errorf("fixed %v: %d left after %d", fixed, got, i+1)
			}
			l.Settle(h, 5)
			if h.Mark() != 0 {
				t.Error("a settled hold is not empty")
			}
		}
		_, r := reserve(l, 5, rule)
		if r == nil || r.Rule != rule || r.Type != Requests || r.Limit != 10 || r.Left != 0 || r.Reset <= 0 || r.Reset > time.Hour {
			t.Errorf("fixed %v: beyond the limit: %+v", fixed, r)
		}
		if !fixed && (r.Reset > 6*time.Minute || r.Reset < 5*time.Minute) {
			t.Errorf("one of 10 an hour comes back in %v", r.Reset)
		}
		// Another subject, and the same one under a limit that was raised.
		if _, r := reserve(l, 5, NewRule(ScopeKey, "abd", 10, None, None), NewRule(ScopeTeam, "abc", 10, None, None)); r != nil {
			t.Errorf("fixed %v: another subject is refused: %+v", fixed, r)
		}
		raised := NewRule(ScopeKey, "abc", 20, None, None)
		passed := 0
		for range 30 {
			if _, r := reserve(l, 5, raised); r == nil {
				passed++
			}
		}
		// GCRA knows how full the bucket is, a fixed window how many there were.
		want := 10
		if !fixed {
			want = 0
		}
		if passed != want {
			t.Errorf("fixed %v: %d passed after the limit was doubled, want %d", fixed, passed, want)
		}
	}
}

func TestTokensSettle(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		l := newLimiter(t, Config{Window: time.Hour, Fixed: fixed})
		rule := NewRule(ScopeTeam, "t", None, 1000, None)
		h, r := reserve(l, 600, rule)
		if r != nil || left(h, Tokens) != 400 {
			t.Fatalf("fixed %v: %+v, %d left", fixed, r, left(h, Tokens))
		}
		if _, r := reserve(l, 600, rule); r == nil || r.Type != Tokens || r.Left < 400 || r.Left > 401 || r.Limit != 1000 {
			t.Errorf("fixed %v: %+v", fixed, r)
		}
		l.Settle(h, 100)
		if h, r = reserve(l, 600, rule); r != nil || left(h, Tokens) < 299 || left(h, Tokens) > 301 {
			t.Fatalf("fixed %v: %+v, %d left after 100 and 600", fixed, r, left(h, Tokens))
		}
		l.Settle(h, 900) // more than was reserved
		if _, r := reserve(l, 10, rule); r == nil || r.Left > 1 {
			t.Errorf("fixed %v: %+v after 1,000", fixed, r)
		}
	}
}

func TestMoreTokensThanTheLimitTakesAll(t *testing.T) {
	l := newLimiter(t, Config{Window: time.Hour})
	rule := NewRule(ScopeKey, "k", None, 100, None)
	h, r := reserve(l, 5000, rule)
	if r != nil || left(h, Tokens) != 0 {
		t.Fatalf("%+v, %d left", r, left(h, Tokens))
	}
	if _, r := reserve(l, 1, rule); r == nil {
		t.Error("beside one that takes all another passes")
	}
	l.Settle(h, 40)
	if _, r := reserve(l, 59, rule); r != nil {
		t.Errorf("after it took 40: %+v", r)
	}
}

func TestParallelPlaces(t *testing.T) {
	l := newLimiter(t, Config{})
	rule := NewRule(ScopeKey, "k", None, None, 2)
	a, _ := reserve(l, 0, rule)
	b, r := reserve(l, 0, rule)
	if r != nil || left(b, Parallel) != 0 {
		t.Fatalf("%+v, %d left", r, left(b, Parallel))
	}
	if _, r := reserve(l, 0, rule); r == nil || r.Type != Parallel || r.Limit != 2 || r.Reset <= 0 {
		t.Errorf("a third passes: %+v", r)
	}
	l.Settle(a, 0)
	l.Settle(a, 0) // an empty hold: nothing
	if _, r := reserve(l, 0, rule); r != nil {
		t.Errorf("after one has ended: %+v", r)
	}
	if _, r := reserve(l, 0, rule); r == nil {
		t.Error("settling twice gave two places back")
	}
}

func TestAllOrNothing(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		l := newLimiter(t, Config{Window: time.Hour, Fixed: fixed})
		wide := NewRule(ScopeKey, "wide", 10, 1000, 10)
		for name, narrow := range map[string]*Rule{
			"requests": NewRule(ScopeUser, "a", 0, None, None), "tokens": NewRule(ScopeUser, "b", None, 0, None),
			"parallel": NewRule(ScopeUser, "c", None, None, 0),
		} {
			h, r := reserve(l, 100, wide, nil, NewRule(ScopeProxy, "", None, None, None), narrow)
			if r == nil || r.Rule != narrow || h.Mark() != 0 {
				t.Errorf("%s: %+v, held %d", name, r, h.Mark())
			}
		}
		h, r := reserve(l, 100, wide)
		if r != nil || left(h, Requests) != 9 || left(h, Tokens) < 899 || left(h, Parallel) != 9 {
			t.Errorf("fixed %v: after three refusals elsewhere %+v, %d %d %d left", fixed, r, left(h, Requests), left(h, Tokens), left(h, Parallel))
		}
	}
}

func TestDropAndCancel(t *testing.T) {
	l := newLimiter(t, Config{Window: time.Hour})
	key, deployment := NewRule(ScopeKey, "k", 10, 1000, 10), NewRule(ScopeDeployment, "d", 10, 1000, 10)
	var h Hold
	if r := l.Reserve(&h, []*Rule{key}, 100); r != nil {
		t.Fatal(r)
	}
	state := func(rule *Rule) string {
		p, r := reserve(l, 0, rule)
		if r != nil {
			return fmt.Sprint(r)
		}
		out := fmt.Sprint(left(p, Requests), left(p, Tokens), left(p, Parallel))
		l.Cancel(p, 0)
		return out
	}
	mark := h.Mark()
	if r := l.Reserve(&h, []*Rule{deployment}, 100); r != nil {
		t.Fatal(r)
	}
	if got := state(deployment); got != "8 900 8" {
		t.Errorf("deployment with one and me: %s", got)
	}
	l.Drop(&h, mark) // the request counts
	if got := state(deployment); got != "8 1000 9" {
		t.Errorf("deployment after a failure: %s", got)
	}
	if r := l.Reserve(&h, []*Rule{deployment}, 100); r != nil {
		t.Fatal(r)
	}
	l.Cancel(&h, mark)
	if got := state(deployment); got != "8 1000 9" {
		t.Errorf("deployment after one that was cancelled: %s", got)
	}
	if got := state(key); got != "8 900 8" {
		t.Errorf("key: %s", got)
	}
	l.Settle(&h, 300)
	if got := state(key); got != "8 700 9" {
		t.Errorf("key, settled: %s", got)
	}
}

// A record that went to another subject is left to it: neither what passes next
// nor what is settled late counts there.
func TestRecordThatChangedHands(t *testing.T) {
	l := newLimiter(t, Config{Window: time.Minute})
	bank := l.banks[0]
	rule := NewRule(ScopeKey, "k", 10, 1000, None)
	h, r := reserve(l, 500, rule)
	if r != nil {
		t.Fatal(r)
	}
	was := bank.Peek(rule.Tag)
	later := fleet.Now() + int64(10*time.Minute)
	for tag := uint64(1); was.Is(rule.Tag); tag++ { // long after, others take what is idle
		bank.FindAt(tag*0x9e3779b97f4a7c15, later)
		if tag > 100_000 {
			t.Fatal("an idle record is not reused")
		}
	}
	was.Words[Tokens].Store(1 << 50) // what the new owner has
	l.Settle(h, 700)
	if got := was.Words[Tokens].Load(); got != 1<<50 {
		t.Errorf("settling has changed another subject's word to %d", got)
	}
	is := bank.Peek(rule.Tag)
	if is == nil || is == was || is.Words[Tokens].Load() == 0 {
		t.Fatalf("what was used beyond the reservation is not counted")
	}
	if h, r = reserve(l, 100, rule); r != nil || left(h, Requests) != 9 || left(h, Tokens) < 699 || left(h, Tokens) > 705 {
		t.Errorf("%+v, %d requests and %d tokens left", r, left(h, Requests), left(h, Tokens))
	}
	if got := was.Words[Requests].Load(); bank.Peek(rule.Tag) == was || got == 0 {
		t.Error("the next request counts on the record that it had before")
	}
}

// Subjects that there is no room for share a record, which is too strict.
func TestSharedRecordIsTooStrict(t *testing.T) {
	l := newLimiter(t, Config{Window: time.Hour})
	bank := l.banks[0]
	a, b := NewRule(ScopeKey, "a", 10, None, 3), NewRule(ScopeKey, "b", 10, None, 3)
	full := func(rule *Rule) *entry {
		e := &entry{rule: rule, bank: bank, record: bank.Shared(), shared: true}
		bank.Shared().Touch(fleet.Now() / 1e9)
		m := l.meter(fleet.Now())
		if r := l.fill(e, 0, &m); r != nil {
			t.Fatal(r)
		}
		return e
	}
	for range 2 {
		full(a)
	}
	full(b)
	// Now there is room: what was used in common counts for each.
	passed := 0
	for range 20 {
		if _, r := reserve(l, 0, NewRule(ScopeKey, "a", 10, None, None)); r == nil {
			passed++
		}
	}
	if passed != 7 {
		t.Errorf("%d of 10 pass after 3 in common", passed)
	}
	if _, r := reserve(l, 0, NewRule(ScopeKey, "b", None, None, 3)); r == nil || r.Type != Parallel {
		t.Errorf("a place beside three in common: %+v", r)
	}
}

func TestAdmissionAllocatesNothing(t *testing.T) {
	l := newLimiter(t, Config{})
	rules := []*Rule{
		NewRule(ScopeKey, "k", 1e9, 1e9, 100), NewRule(ScopeTeam, "t", 1e9, 1e9, None), NewRule(ScopeUser, "u", 1e9, None, None),
	}
	var h Hold
	if n := testing.AllocsPerRun(1000, func() {
		if r := l.Reserve(&h, rules, 500); r != nil {
			t.Fatal(r)
		}
		l.Settle(&h, 300)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDescriptorsAndTags(t *testing.T) {
	seen := map[uint64]Scope{}
	for s := Scope(0); s < scopes; s++ {
		if s.Descriptor() == "" {
			t.Errorf("scope %d has no name", s)
		}
		r := NewRule(s, "x", 1, 1, 1)
		if other, ok := seen[r.Tag]; ok || r.Tag == 0 {
			t.Errorf("scopes %d and %d have one tag", s, other)
		}
		seen[r.Tag] = s
	}
	if Scope(200).Descriptor() != "limit" || Requests.String() != "requests" || Parallel.String() != "max_parallel_requests" {
		t.Error("names")
	}
	// The tag is what all hosts of a cluster know the subject by.
	if got := NewRule(ScopeKey, "abc", 1, 1, 1).Tag; got != 0xe5006d424c83181e {
		t.Errorf("tag of api_key abc is %#x", got)
	}
	r := NewRule(ScopeKey, "abc", -5, 1<<50, None)
	if r.Requests != None || r.Tokens != Most || !r.Limits() || NewRule(ScopeKey, "abc", -1, -1, -1).Limits() {
		t.Errorf("%+v", r)
	}
	if CountTotal.Counts(3, 4) != 7 || CountInput.Counts(3, 4) != 3 || CountOutput.Counts(3, 4) != 4 {
		t.Error("token types")
	}
}

// The clock of a host is set, by an hour or a year, after its table was made: what
// was used stays used, for processes that are born afterwards too, and the windows
// of all of them are those that the table says.
func TestClockIsSet(t *testing.T) {
	for _, fixed := range []bool{false, true} {
		for _, set := range []time.Duration{time.Hour, -time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
			table, area, _ := newTable(t)
			table.Header().WallOffset.Add(-int64(set)) // as if the clock had been so when the table was made
			rule := NewRule(ScopeKey, "abc", 10, None, None)
			before := newLimiter(t, Config{Table: table, Area: area, Window: 24 * time.Hour, Fixed: fixed})
			for range 10 {
				if _, r := reserve(before, 0, rule); r != nil {
					t.Fatalf("set by %v, fixed %v: refused: %+v", set, fixed, r)
				}
			}
			after := newLimiter(t, Config{Table: table, Area: area, Window: 24 * time.Hour, Fixed: fixed})
			if _, r := reserve(after, 0, rule); r == nil {
				t.Errorf("set by %v, fixed %v: a limit is whole again", set, fixed)
			}
			now := fleet.Now()
			if want := (now + table.Header().WallOffset.Load()) / tick / after.window; after.meter(now).number != want {
				t.Errorf("set by %v, fixed %v: it is window %d, by the table %d", set, fixed, after.meter(now).number, want)
			}
		}
	}
}
