package budget

import (
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// A client names its customer so that the name has the hash of a team's (FNV-1a,
// which the tag once was: found in seconds). The team's budget is not spent beyond
// its maximum with what was leased of the customer's.
func TestNobodySpendsAnothersLease(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		const chosen = "\x0b\x01\x11\x03\x01\x04\n{\x055\x04\x1e\x14\x10\n\x17"
		victim := team("t", money.Dollar)
		customer := NewLimit(bill.KindCustomer, chosen, 100*money.Dollar, None, "", time.Time{}, nil)
		if victim.Tag == customer.Tag {
			t.Fatal("a customer has the tag of a team")
		}
		h := start(t, s, newTable(t), nil)
		admitted := 0
		var hold Hold
		for range 30 {
			h.spend(t, cent, 0, customer)
			if r := h.try(&hold, 10*cent, victim); r == nil {
				admitted++
				accounts := hold.Accounts(nil)
				h.Settle(&hold, 10*cent)
				h.ship(t, 10*cent, accounts)
			}
		}
		if admitted > 10 {
			t.Errorf("%d calls of ten cents were admitted to a budget of a dollar", admitted)
		}
	})
}
