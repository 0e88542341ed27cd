package store_test

import (
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// A window that was begun by a clock which was ahead, by two hours or by a year,
// and has been put right since: what was spent in it counts in the window that
// runs, what is spent now too, and what comes late of the one to come. Nothing is
// leased beyond the budget.
func TestClockWasAhead(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		// Not by one: in the last minute of this hour the next is as good as there.
		for name, ahead := range map[string]time.Duration{"hours": 2 * time.Hour, "year": 365 * 24 * time.Hour} {
			now := time.Now().Truncate(time.Hour)
			insert(t, s, &identity.Key{Token: name})
			spent := 0
			row := func(cost money.Nano, window time.Time) *bill.Attempt {
				spent++
				a := attemptOf(spent, 1)
				copy(a.RequestID[:], name)
				a.Token, a.User, a.Team, a.Cost, a.Holder = name, "", "", cost, "h"
				a.Accounts = []bill.Account{{Kind: bill.KindKey, ID: name, Window: "1h", Start: window.Unix(), Leased: true}}
				return a
			}
			is := func(when string, want money.Nano) {
				t.Helper()
				for table, where := range map[string]string{"keys": "token", "budget_windows": "entity_id"} {
					if got := value(t, s, "SELECT spend FROM sluice."+table+" WHERE "+where+" = '"+name+"'"); money.Nano(got) != want {
						t.Errorf("%s, %s: the spend of %s is %s, want %s", name, when, table, money.Nano(got), want)
					}
				}
			}
			a := ask(bill.KindKey, name, money.Dollar, 60*cent, 60*cent)
			a.Window, a.Start = "1h", now.Add(ahead).Unix()
			lease(t, s, "h", a)
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{row(60*cent, now.Add(ahead))}}, 1)
			is("ahead", 60*cent)

			a.Start, a.First = now.Unix(), false
			if got := lease(t, s, "h", a); got[0].Amount != 0 || got[0].Spend != 60*cent {
				t.Errorf("%s: 60 cents of a dollar, 60 of which are spent: %+v", name, got[0])
			}
			a.Least, a.Want = 30*cent, 30*cent
			if got := lease(t, s, "h", a); got[0].Amount != 30*cent {
				t.Errorf("%s: 30 cents of a dollar, 60 of which are spent: %+v", name, got[0])
			}
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{row(30*cent, now)}}, 1)
			is("put right", 90*cent)
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{row(5*cent, now.Add(ahead))}}, 1)
			is("late", 95*cent)
			if got := lease(t, s, "h", a); got[0].Amount != 0 || got[0].Spend != 95*cent {
				t.Errorf("%s: 30 cents of a dollar, 95 of which are spent: %+v", name, got[0])
			}
			a.Start = now.Add(-2 * time.Hour).Unix() // and a host that is behind opens nothing
			if got := lease(t, s, "h", a); got[0].Amount != 0 || got[0].Spend != 95*cent {
				t.Errorf("%s: an earlier window: %+v", name, got[0])
			}
			if s.Path() != "" { // the clock is this machine's, and a batch may have rows of before and after
				rows := []*bill.Attempt{row(cent, now), row(cent, now.Add(ahead)), row(cent, now)}
				ship(t, s, &store.Batch{Host: "h", Rows: rows}, 3)
				is("in one batch", 98*cent)
			}
		}
	})
}

// A lease that was taken by a clock that was ahead goes back like any other.
func TestLeaseOfAClockThatWasAhead(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		lease(t, s, "h", ask(bill.KindKey, "k", money.Dollar, cent, cent))
		for at, want := range map[time.Time]int{time.Now(): 0, time.Now().Add(time.Hour): 1, time.Now().Add(-time.Hour): 1} {
			run(t, s, "UPDATE sluice.budget_leases SET taken_at = "+literal(s, at))
			if idle, err := s.Leases(t.Context(), "h", time.Minute, bill.Lease{}, 10); err != nil || len(idle) != want {
				t.Errorf("taken at %v: %d leases are idle for a minute, want %d: %v", at, len(idle), want, err)
			}
		}
	})
}
