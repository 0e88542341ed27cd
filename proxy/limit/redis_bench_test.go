package limit

import (
	"fmt"
	"testing"
	"time"

	"sluice/internal/redistest"
)

// BenchmarkShare is Reserve and Settle of three rules with Redis on this
// machine: hot ones, which take blocks, and small ones, which ask each time.
func BenchmarkShare(b *testing.B) {
	s := redistest.New(b)
	for name, limit := range map[string]int64{"hot": 1_000_000_000, "small": small - 1} {
		b.Run(name, func(b *testing.B) {
			h := newHost(b, "host"+name, RedisConfig{}, s.Addr, 5*time.Second)
			rules := make([]*Rule, 3)
			n := int64(0)
			before := h.client.Stats().Calls
			b.ReportAllocs()
			var hold Hold
			for b.Loop() {
				if n%(small-1) == 0 { // before a small one is used up
					for i := range rules {
						rules[i] = NewRule(ScopeKey, fmt.Sprint(name, i, "-", n/limit), limit, None, None)
					}
				}
				n++
				if refused := h.Reserve(&hold, rules, 0); refused != nil {
					b.Fatalf("%+v", refused)
				}
				h.Settle(&hold, 0)
			}
			b.ReportMetric(float64(h.client.Stats().Calls-before)/float64(b.N), "calls/op")
		})
	}
}
