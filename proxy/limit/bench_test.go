package limit

import (
	"strconv"
	"testing"
)

// benchRules are the limits of one ordinary caller.
func benchRules(i int) []*Rule {
	id := strconv.Itoa(i)
	return []*Rule{
		NewRule(ScopeKey, id, Most, Most, None), NewRule(ScopeTeam, id, Most, Most, None), NewRule(ScopeUser, id, Most, Most, None),
	}
}

func BenchmarkReserveSettle(b *testing.B) {
	l, rules := newLimiter(b, Config{}), benchRules(0)
	var h Hold
	b.ReportAllocs()
	for b.Loop() {
		if r := l.Reserve(&h, rules, 500); r != nil {
			b.Fatal(r)
		}
		l.Settle(&h, 300)
	}
}

func BenchmarkReserveSettleParallel(b *testing.B) {
	l := newLimiter(b, Config{})
	rules := []*Rule{NewRule(ScopeKey, "k", Most, Most, 100), NewRule(ScopeTeam, "t", Most, Most, None), NewRule(ScopeUser, "u", Most, Most, None)}
	var h Hold
	b.ReportAllocs()
	for b.Loop() {
		if r := l.Reserve(&h, rules, 500); r != nil {
			b.Fatal(r)
		}
		l.Settle(&h, 300)
	}
}

// A million subjects in the table, of which the same thousand callers come: as
// they do on a table that has nobody else.
func BenchmarkThousandCallers(b *testing.B) {
	for _, others := range []int{0, 1_000_000} {
		b.Run(strconv.Itoa(others), func(b *testing.B) {
			l := newLimiter(b, Config{})
			for i := range others {
				if _, shared := l.banks[0].Find(tag(ScopeCustomer, strconv.Itoa(i))); shared {
					b.Fatalf("no room for subject %d", i)
				}
			}
			var callers [1000][]*Rule
			for i := range callers {
				callers[i] = benchRules(i)
			}
			var h Hold
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if r := l.Reserve(&h, callers[i%len(callers)], 500); r != nil {
					b.Fatal(r)
				}
				l.Settle(&h, 300)
			}
		})
	}
}

// Finding a subject that this process has not met: one of a million.
func BenchmarkFindOfMillion(b *testing.B) {
	l := newLimiter(b, Config{})
	tags := make([]uint64, 1_000_000)
	for i := range tags {
		tags[i] = tag(ScopeCustomer, strconv.Itoa(i))
		l.banks[0].Find(tags[i])
	}
	for i := 0; b.Loop(); i++ {
		l.banks[0].Find(tags[i*7919%len(tags)])
	}
}

func BenchmarkTakeMillion(b *testing.B) {
	for b.Loop() {
		l := newLimiter(b, Config{})
		for i := range 1_000_000 {
			if _, shared := l.banks[0].Find(uint64(i)*0x9e3779b97f4a7c15 + 1); shared {
				b.Fatalf("no room for subject %d", i)
			}
		}
	}
}
