package budget

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// Another server has taken over that knows nothing of this host's leases: what is
// available of them is not spent, and nothing is leased until this host's
// journals are in it, and some time has passed. Processes that are born meanwhile
// hold to it too.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		var history atomic.Pointer[string]
		var shipped atomic.Int64
		first, second := "00000001", "00000002"
		history.Store(&first)
		table := newTable(t)
		with := func(c *Config) {
			c.Settle, c.Shipped = 300*time.Millisecond, shipped.Load
			c.History = func(context.Context) (string, error) { return *history.Load(), nil }
		}
		h := start(t, s, table, with)
		l := NewLimit(bill.KindKey, "purse", money.Dollar, None, "", time.Time{}, nil)
		h.spend(t, cent, cent, l)
		had := account{h.bank.Peek(l.Tag)}.available()
		if had <= 0 {
			t.Fatal("nothing was leased")
		}
		leases := h.leases(t)
		if err := s.ReturnLeases(t.Context(), h.holder, leases); err != nil { // behind its back: as if never committed
			t.Fatal(err)
		}
		history.Store(&second)
		h.beaten.Store(false) // the connection broke
		began := fleet.Now()
		refused := func(by *host, why string) {
			t.Helper()
			var hold Hold
			if r := by.try(&hold, had+cent, l); r == nil || !r.Away {
				t.Fatalf("%s: %+v", why, r)
			}
		}
		refused(h, "just taken over")
		if left := (account{h.bank.Peek(l.Tag)}).available(); left != 0 {
			t.Errorf("%s of a lease that the database does not know can be spent", left)
		}
		refused(start(t, s, table, with), "a process that was born after it")
		shipped.Store(fleet.Now() + int64(time.Hour))
		refused(h, "shipped, but others of the cluster may not have yet")
		shipped.Store(began)
		for fleet.Now() < began+int64(400*time.Millisecond) {
			time.Sleep(10 * time.Millisecond)
		}
		refused(h, "what was settled before is not shipped")
		shipped.Store(fleet.Now() + int64(time.Hour))
		eventually(t, "budgets are leased again", func() bool {
			var hold Hold
			r := h.try(&hold, cent, l)
			h.Settle(&hold, 0)
			return r == nil
		})
	})
}
