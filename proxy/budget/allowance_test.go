package budget

import (
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// The allowance is for one outage: what attempts of the one before give back after
// it has ended is not spent in the next on top of it.
func TestAllowanceOfTwoOutages(t *testing.T) {
	s, err := store.Open(store.Config{SQLite: dbtest.SQLite(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gone := &away{Leaser: s}
	h := start(t, s, newTable(t), func(c *Config) { c.Leaser, c.Allowance, c.Wait = gone, 3*cent, 10*time.Second })
	l := team("t", money.Dollar)
	outage := func() (holds []*Hold) {
		gone.off.Store(true)
		for {
			hold := &Hold{}
			if r := h.try(hold, cent, l); r != nil {
				return holds
			}
			holds = append(holds, hold)
		}
	}
	first := outage()
	if len(first) != 3 {
		t.Fatalf("%d attempts of an allowance for three", len(first))
	}
	gone.off.Store(false)
	var hold Hold
	eventually(t, "the database answers again", func() bool { return h.try(&hold, cent, l) == nil })
	for _, hold := range first {
		h.Settle(hold, 0)
	}
	left := int(account{h.bank.Peek(l.Tag)}.available() / cent) // of the lease
	if n := len(outage()); n != left+3 {
		t.Errorf("%d attempts in the second outage: %d of the lease, and an allowance for three", n, left)
	}
}
