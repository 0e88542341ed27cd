//go:build sluicelayout

package limit

import (
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// older is a limiter as the release before this one has it.
func older(table *fleet.Table, area int, window time.Duration) *Limiter {
	l := New(Config{Table: table, Area: area, Holders: fleet.NewRecordHolders(table, area), Window: window})
	l.banks = [maxBanks]*fleet.Bank{table.OlderLimits(), nil}
	l.older.Store(false)
	table.Generation(area).Layouts.Store(1 << 1)
	return l
}

// Generations of two releases that lay the records differently keep to one
// limit, also after the last of the older ones has gone; and then the older
// records are left alone.
func TestLimitsHoldOverAnotherLayout(t *testing.T) {
	table, first, _ := newTable(t)
	second, err := table.Claim(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	const window = 2 * time.Second
	rule := NewRule(ScopeKey, "k", 100, 10_000, None)
	places := NewRule(ScopeUser, "u", None, None, 5)
	pass := func(l *Limiter) (passed int) {
		for {
			h, r := reserve(l, 10, rule)
			if r != nil {
				return passed
			}
			passed++
			l.Settle(h, 10)
		}
	}
	begin := fleet.Now()
	flown := func() int { return 1 + int(100*(fleet.Now()-begin)/int64(window)) }

	was := older(table, first, window)
	passed := 0
	for range 60 {
		if h, r := reserve(was, 10, rule); r == nil {
			was.Settle(h, 10)
			passed++
		}
	}
	var held []*Hold
	for range 3 {
		h, r := reserve(was, 0, places)
		if r != nil {
			t.Fatal(r)
		}
		held = append(held, h)
	}
	is := newLimiter(t, Config{Table: table, Area: second, Window: window})
	if passed += pass(is); passed > 100+flown() || passed < 100 {
		t.Errorf("%d passed of 100 in %v with both", passed, time.Duration(fleet.Now()-begin))
	}
	if passed += pass(was); passed > 100+flown() {
		t.Errorf("%d passed of 100 in %v with both, the older one last", passed, time.Duration(fleet.Now()-begin))
	}
	for i := range 3 {
		if _, r := reserve(is, 0, places); (r == nil) != (i < 2) {
			t.Errorf("place %d after three of five: %+v", i, r)
		}
	}
	was.Settle(held[0], 0)
	if _, r := reserve(is, 0, places); r != nil {
		t.Errorf("after the older one gave a place back: %+v", r)
	}
	table.Reap(first)
	for i := range 3 {
		if _, r := reserve(is, 0, places); (r == nil) != (i < 2) {
			t.Errorf("place %d after the older generation was reaped: %+v", i, r)
		}
	}
	if passed += pass(is); passed > 100+flown() {
		t.Errorf("%d passed of 100 in %v after the older one is gone", passed, time.Duration(fleet.Now()-begin))
	}
	// Born after the last older one has died, and before it is forgotten.
	third, err := table.Claim(0, 3)
	if err != nil {
		t.Fatal(err)
	}
	born := newLimiter(t, Config{Table: table, Area: third, Window: window})
	if !born.older.Load() {
		t.Error("what the older generations have counted is not looked at any more")
	}
	if passed += pass(born); passed > 100+flown() {
		t.Errorf("%d passed of 100 in %v with one that was born later", passed, time.Duration(fleet.Now()-begin))
	}
	for end := fleet.Now() + int64(20*time.Second); is.older.Load(); time.Sleep(50 * time.Millisecond) {
		if fleet.Now() > end {
			t.Fatal("the older records are looked at for ever")
		}
		pass(is)
	}
	before := table.OlderLimits().Peek(rule.Tag).Words[Requests].Load()
	if pass(is) == 0 && pass(is) == 0 {
		time.Sleep(window / 10)
		pass(is)
	}
	if table.OlderLimits().Peek(rule.Tag).Words[Requests].Load() != before {
		t.Error("the older records are written though nobody reads them")
	}
}

// Reaping a generation that holds places in both layouts empties both.
func TestReapEmptiesBothLayouts(t *testing.T) {
	table, first, _ := newTable(t)
	older(table, first, time.Second)
	second, err := table.Claim(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	is := newLimiter(t, Config{Table: table, Area: second, Window: time.Second})
	rule := NewRule(ScopeKey, "k", None, None, 5)
	if _, r := reserve(is, 0, rule); r != nil {
		t.Fatal(r)
	}
	both := func() [2]int64 {
		return [2]int64{fleet.ParallelOf(table.OlderLimits().Peek(rule.Tag)), fleet.ParallelOf(table.Limits().Peek(rule.Tag))}
	}
	if both() != [2]int64{1, 1} {
		t.Errorf("places in both: %v", both())
	}
	table.Reap(second)
	if both() != [2]int64{0, 0} {
		t.Errorf("places in both after the reap: %v", both())
	}
}
