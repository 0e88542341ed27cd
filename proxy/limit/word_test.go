package limit

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// bucket is the reference: exact fractions, one limit, any moments.
type bucket struct {
	empty         *big.Rat // when it will be, in ticks
	limit, window int64
}

func (b *bucket) passes(now, n int64) bool {
	at := new(big.Rat).SetInt64(now)
	if b.empty == nil || b.empty.Cmp(at) < 0 {
		b.empty = at
	}
	next := new(big.Rat).Add(b.empty, new(big.Rat).Mul(big.NewRat(b.window, b.limit), new(big.Rat).SetInt64(n)))
	if new(big.Rat).Sub(next, at).Cmp(new(big.Rat).SetInt64(b.window)) > 0 {
		return false
	}
	b.empty = next
	return true
}

// Words admit what exact arithmetic admits, never more, and less by no more than
// the rounding of each admission makes.
func TestGCRAAgainstFractions(t *testing.T) {
	for seed := range uint64(300) {
		dice := rand.New(rand.NewPCG(seed, 7))
		limit := 1 + dice.Int64N([]int64{3, 100, 1e5, Most - 1}[dice.IntN(4)])
		m := meter{window: 2 * (1 + dice.Int64N(4_000_000_000)), now: 2 * dice.Int64N(1<<49)}
		want := &bucket{limit: limit, window: m.window}
		word, admitted := uint64(0), int64(0)
		for range 400 {
			m.now += 2 * dice.Int64N(1+m.window/[]int64{2, 20, 2000}[dice.IntN(3)])
			n := 1 + dice.Int64N(1+limit/[]int64{1, 10, 50}[dice.IntN(3)])
			n = min(n, limit)
			next, _, passes := m.add(word, n, limit, 1, false)
			if !passes {
				// The reference may pass by the sum of what was rounded.
				loose := &bucket{limit: limit, window: m.window, empty: want.empty}
				if loose.passes(m.now, n) {
					over := new(big.Rat).Sub(loose.empty, new(big.Rat).SetInt64(m.now+m.window))
					if over.Neg(over).Cmp(new(big.Rat).SetInt64(2*(admitted+1))) > 0 {
						t.Fatalf("seed %d: %d of %d refused, %s ticks too early after %d admissions", seed, n, limit, over.FloatString(2), admitted)
					}
				}
				if again := m.again(word, n, limit, 1); again <= 0 {
					t.Fatalf("seed %d: refused, passes again in %v", seed, again)
				} else {
					later := m
					later.now += int64(again) / tick
					if _, _, ok := later.add(word, n, limit, 1, false); !ok {
						t.Fatalf("seed %d: does not pass when the refusal said", seed)
					}
					later.now -= 4
					if _, _, ok := later.add(word, n, limit, 1, false); ok {
						t.Fatalf("seed %d: passes before the refusal said", seed)
					}
				}
				continue
			}
			if !want.passes(m.now, n) {
				t.Fatalf("seed %d: %d of %d admitted beyond the limit", seed, n, limit)
			}
			word = next
			admitted++
		}
	}
}

// What is given back never lets more pass than if it had not been reserved.
func TestGivingBackIsNeverTooMuch(t *testing.T) {
	for seed := range uint64(500) {
		dice := rand.New(rand.NewPCG(seed, 8))
		const limit = 1000
		m := meter{window: 1_000_000, now: 1 << 40}
		var with, without uint64 // words with what is given back later, and without it ever
		with, p, passes := m.add(with, 1+dice.Int64N(limit), limit, 1, false)
		if !passes {
			t.Fatal("an empty bucket refuses")
		}
		for range dice.IntN(20) {
			m.now += dice.Int64N(m.window / 5)
			n := 1 + dice.Int64N(limit/4)
			if next, _, ok := m.add(with, n, limit, 1, false); ok {
				with = next
				without, _, _ = m.add(without, n, limit, 1, false)
			}
		}
		m.now += dice.Int64N(m.window)
		back := m.take(with, p, p.n, limit, 0)
		if a, b := m.filled(back, limit, 1), m.filled(without, limit, 1); a < b-30 {
			t.Fatalf("seed %d: %d ticks full after giving back, %d had it never been taken", seed, a, b)
		}
		if m.filled(back, limit, 1) > m.filled(with, limit, 1) {
			t.Fatalf("seed %d: giving back has filled the bucket", seed)
		}
	}
}

// In each fixed window exactly the limit passes, whoever gives back what.
func TestFixedWindows(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 9))
	m := meter{window: 1000, fixed: true}
	word, passed := uint64(0), map[int64]int64{}
	const limit = 50
	var held []part
	for wall := int64(0); wall < 200_000; wall += dice.Int64N(20) {
		m.now, m.number, m.rest = wall, wall/m.window, m.window-wall%m.window
		if dice.IntN(5) == 0 && len(held) > 0 {
			p := held[0]
			held = held[1:]
			if p.after == m.number {
				passed[m.number] -= p.n
			}
			word = m.take(word, p, p.n, limit, 0)
			continue
		}
		n := 1 + dice.Int64N(3)
		next, p, ok := m.add(word, n, limit, 1, false)
		if want := passed[m.number]+n <= limit; ok != want {
			t.Fatalf("at %d: %v after %d of this window, want %v", wall, ok, passed[m.number], want)
		}
		if ok {
			word = next
			passed[m.number] += n
			held = append(held, p)
		}
	}
}

// Who has read the clock before a window began does not begin the last one again.
func TestLateCountersDoNotReopenAWindow(t *testing.T) {
	late, m := meter{window: 1000, fixed: true, number: 7}, meter{window: 1000, fixed: true, number: 8}
	word, _, _ := m.add(0, 9, 10, 1, false)
	next, p, ok := late.add(word, 1, 10, 1, false)
	if !ok || m.counted(next) != 10 {
		t.Errorf("the tenth passes %v, counted %d", ok, m.counted(next))
	}
	if _, _, ok := late.add(next, 1, 10, 1, false); ok {
		t.Error("one that is late passes beyond the limit")
	}
	if word = m.take(next, p, 1, 10, 0); m.counted(word) != 9 {
		t.Errorf("after giving back %d", m.counted(word))
	}
	long := meter{window: 1000, fixed: true, number: 8 + numberMask - mostAhead}
	if _, _, ok := long.add(word, 10, 10, 1, false); !ok {
		t.Error("a word of long ago is taken for one of the future")
	}
}

// A word that another kind of window has written, or another number of parts,
// is read by how much of the limit it says is used.
func TestWordsAreConverted(t *testing.T) {
	const limit = 100
	g := meter{window: 6000, now: 1 << 40, number: 77, rest: 3000}
	f := meter{window: 6000, now: 1 << 40, fixed: true, number: 77, rest: 3000}
	word, _, _ := g.add(0, 60, limit, 1, false)
	if used := f.used(word, limit); used != 60 {
		t.Errorf("60 by GCRA are %d in a fixed window", used)
	}
	if _, _, ok := f.add(word, 41, limit, 1, false); ok {
		t.Error("41 after 60 pass")
	}
	word, p, _ := f.add(0, 60, limit, 1, false)
	if left := g.left(g.level(word, limit, 1), limit, 1); left != 40 {
		t.Errorf("after 60 in a fixed window %d are left by GCRA", left)
	}
	if next := g.take(0, p, 60, limit, 0); next != 0 {
		t.Error("what a fixed window counted is given back to GCRA")
	}
	// A third of the limit, of which this host has used 20 of 33.
	word, _, _ = g.add(0, 20, limit, 1, false)
	if left := g.left(g.level(word, limit, 3), limit, 3); left != 13 {
		t.Errorf("%d left of a third after 20", left)
	}
	word, _, ok := g.add(word, 13, limit, 3, false)
	if _, _, more := g.add(word, 1, limit, 3, false); !ok || more {
		t.Errorf("13 more pass %v, then one %v", ok, more)
	}
	if left := g.left(g.level(word, limit, 1), limit, 1); left < 66 || left > 67 {
		t.Errorf("%d left of the whole after 33", left)
	}
	// One of a limit that is less than one a host passes, at the right rate.
	word, _, ok = g.add(0, 1, 2, 5, false)
	if _, _, more := g.add(word, 1, 2, 5, false); !ok || more {
		t.Errorf("the first of two for five hosts passes %v, the second %v", ok, more)
	}
	later := g
	later.now += 6000*5/2 - 1
	if _, _, ok := later.add(word, 1, 2, 5, false); ok {
		t.Error("the second passes too early")
	}
	later.now++
	if _, _, ok := later.add(word, 1, 2, 5, false); !ok {
		t.Error("the second does not pass after 2.5 windows")
	}
}

func TestMulDiv(t *testing.T) {
	for _, c := range []struct {
		a, b, c int64
		up      bool
		want    int64
	}{
		{7, 10, 3, false, 23},
		{7, 10, 3, true, 24},
		{0, 10, 3, true, 0},
		{-4, 10, 3, true, 0},
		{1 << 62, 1 << 62, 1, false, 1<<62 - 1},
		{1 << 62, 1 << 62, 1 << 62, true, 1<<62 - 1},
		{6, 4, 8, true, 3},
	} {
		if got := mulDiv(c.a, c.b, c.c, c.up); got != c.want {
			t.Errorf("%d × %d ÷ %d is %d, want %d", c.a, c.b, c.c, got, c.want)
		}
	}
}

func FuzzWord(f *testing.F) {
	f.Add(uint64(0), int64(1), int64(100), uint8(0), int64(1), false)
	f.Add(uint64(255)<<56|5, int64(1<<40), int64(1), uint8(253), int64(1<<33), true)
	f.Fuzz(func(t *testing.T, word uint64, now, limit int64, parts uint8, n int64, fixed bool) {
		limit = min(max(limit, 1), Most)
		of := min(int64(parts)+1, mostParts)
		n = min(max(n, 1), limit)
		m := meter{now: min(max(now, 0), 1<<52), window: 7_500_000_000, fixed: fixed, number: 5, rest: 1}
		next, p, ok := m.add(word, n, limit, of, false)
		level := m.level(word, limit, of)
		if left := m.left(level, limit, of); left < 0 || left > limit {
			t.Errorf("%d of %d left", left, limit)
		}
		if ok {
			if after := m.level(next, limit, of); after < level {
				t.Errorf("%d before, %d after an admission", level, after)
			}
			if before := m.level(m.take(next, p, n, limit, 0), limit, of); before > m.level(next, limit, of) {
				t.Error("giving back has filled it")
			}
		}
		if again := m.again(word, n, limit, of); again < 0 {
			t.Errorf("again in %v", again)
		}
	})
}
