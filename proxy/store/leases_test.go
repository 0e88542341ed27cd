package store_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

const cent = money.Dollar / 100

func ask(k bill.Kind, id string, maximum, least, want money.Nano) bill.LeaseAsk {
	return bill.LeaseAsk{Kind: k, ID: id, Max: maximum, Least: least, Want: want, First: true}
}

func run(t *testing.T, s *store.Store, statement string) {
	t.Helper()
	if err := store.Run(t.Context(), s, statement); err != nil {
		t.Fatal(err)
	}
}

// literal is a moment as a statement writes it.
func literal(s *store.Store, at time.Time) string {
	if s.Path() != "" {
		return strconv.FormatInt(at.UnixMicro(), 10)
	}
	return "'" + at.Format(time.RFC3339Nano) + "'"
}

func lease(t *testing.T, s *store.Store, holder string, asks ...bill.LeaseAsk) []bill.Granted {
	t.Helper()
	out, err := s.Lease(t.Context(), holder, asks)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// balanced checks that a window's leased is the sum of what holders have of it.
func balanced(t *testing.T, s *store.Store) (leased money.Nano) {
	t.Helper()
	sum := func(column, table string) int64 {
		text, err := store.Text(t.Context(), s, "SELECT CAST(COALESCE(SUM("+column+"), 0) AS TEXT) FROM sluice."+table)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	windows, leases := sum("leased", "budget_windows"), sum("amount", "budget_leases")
	if windows != leases {
		t.Errorf("%d is leased of the windows, and holders have %d", windows, leases)
	}
	return money.Nano(windows)
}

func TestLease(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		if _, err := s.Beat(t.Context(), bill.Holder{Holder: "h1", HostID: "host", HostName: "name"}); err != nil {
			t.Fatal(err)
		}
		got := lease(t, s, "h1", ask(bill.KindTeam, "t", money.Dollar, cent, 50*cent), ask(bill.KindKey, "k", money.Dollar, 20*cent, 50*cent))
		if got[0].Amount != 10*cent || got[1].Amount != 20*cent || got[0].Held != 10*cent || got[1].Leased != 20*cent {
			t.Errorf("a tenth, or the least: %+v", got)
		}
		got = lease(t, s, "h2", ask(bill.KindTeam, "t", money.Dollar, cent, 5*cent), ask(bill.KindKey, "k", money.Dollar, 81*cent, 81*cent))
		if got[0].Amount != 5*cent || got[0].Leased != 15*cent || got[0].Held != 5*cent || got[1].Amount != 0 || got[1].Leased != 20*cent {
			t.Errorf("what is wanted, or nothing: %+v", got)
		}
		got = lease(t, s, "h1", ask(bill.KindKey, "k", money.Dollar, 80*cent, 80*cent))
		if got[0].Amount != 80*cent || got[0].Held != money.Dollar {
			t.Errorf("all that is left: %+v", got)
		}
		if balanced(t, s) != 115*cent {
			t.Error("another sum is leased")
		}
		leases, err := s.Leases(t.Context(), "h1", 0, bill.Lease{}, 10)
		if err != nil || len(leases) != 2 || leases[0].Kind != bill.KindKey || leases[0].ID != "k" || leases[0].Amount != money.Dollar {
			t.Fatalf("%+v %v", leases, err)
		}
		if next, err := s.Leases(t.Context(), "h1", 0, leases[0], 10); err != nil || len(next) != 1 || next[0].ID != "t" {
			t.Errorf("the page after: %+v %v", next, err)
		}
		if idle, err := s.Leases(t.Context(), "h1", time.Hour, bill.Lease{}, 10); err != nil || len(idle) != 0 {
			t.Errorf("idle for an hour: %+v %v", idle, err)
		}
		// A part goes back; the whole only where it is as it was read.
		if err := s.ReturnLeases(t.Context(), "h1", []bill.Lease{{Kind: bill.KindKey, ID: "k", Amount: 30 * cent}, {Kind: bill.KindUser, ID: "none", Amount: 5}}); err != nil {
			t.Fatal(err)
		}
		ended, err := s.EndLeases(t.Context(), "h1", []bill.Lease{leases[0], leases[1]})
		if err != nil || ended[0] || !ended[1] {
			t.Errorf("ended: %v %v", ended, err)
		}
		if balanced(t, s) != 75*cent {
			t.Error("another sum is leased after some went back")
		}
		testRelease(t, s)
	})
}

func testRelease(t *testing.T, s *store.Store) {
	t.Helper()
	holders, err := s.Holders(t.Context(), "host")
	if err != nil || len(holders) != 1 || holders[0].Amount != 70*cent || holders[0].Leases != 1 || holders[0].HostName != "name" || holders[0].Silent > time.Minute {
		t.Fatalf("%+v %v", holders, err)
	}
	for _, want := range []money.Nano{70 * cent, 0} { // the second time there is nothing
		if amount, n, err := s.ReleaseHolder(t.Context(), "h1"); err != nil || amount != want || n > 1 {
			t.Errorf("%s of %d %v", amount, n, err)
		}
	}
	if balanced(t, s) != 5*cent {
		t.Error("another sum is leased after a release")
	}
	if _, err := s.Lease(t.Context(), "h1", []bill.LeaseAsk{ask(bill.KindKey, "k", money.Dollar, 1, 1)}); err == nil || !errors.Is(err, store.ErrReleased) {
		t.Errorf("after the release: %v", err)
	}
	if released, err := s.Beat(t.Context(), bill.Holder{Holder: "h1", HostID: "host"}); err != nil || !released {
		t.Errorf("beat: %v %v", released, err)
	}
	if err := s.Revive(t.Context(), "h1"); err != nil {
		t.Fatal(err)
	}
	if got := lease(t, s, "h1", ask(bill.KindKey, "k", money.Dollar, cent, cent)); got[0].Amount != cent {
		t.Errorf("%+v", got)
	}
}

// A window that begins anew has nothing spent; what is leased stays leased. A
// host whose clock is behind sees the window that is there.
func TestLeaseWindows(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		a := ask(bill.KindTeam, "t", money.Dollar, 60*cent, 60*cent)
		a.Window, a.Start = "1d", 86400*20000
		lease(t, s, "h", a)
		if got := lease(t, s, "h", a); got[0].Amount != 0 {
			t.Errorf("twice 60 cents of a dollar: %+v", got)
		}
		if err := s.ReturnLeases(t.Context(), "h", []bill.Lease{{Kind: bill.KindTeam, ID: "t", Window: "1d", Amount: 20 * cent}}); err != nil {
			t.Fatal(err)
		}
		run(t, s, "UPDATE sluice.budget_windows SET spend = 600000000")
		a.First = false
		if got := lease(t, s, "h", a); got[0].Amount != 0 || got[0].Spend != 60*cent {
			t.Errorf("%+v", got)
		}
		next := a
		next.Start += 86400
		if got := lease(t, s, "h", next); got[0].Amount != 60*cent || got[0].Spend != 0 || got[0].Leased != money.Dollar {
			t.Errorf("the next window: %+v", got)
		}
		if got := lease(t, s, "h", a); got[0].Amount != 0 || got[0].Spend != 0 {
			t.Errorf("the clock of a host is behind: %+v", got)
		}
		run(t, s, "DELETE FROM sluice.budget_windows")
		run(t, s, "DELETE FROM sluice.budget_leases")
		if got := lease(t, s, "h", a); got[0].Amount != 60*cent {
			t.Errorf("the window was removed: %+v", got)
		}
	})
}

// What an object has spent already is taken over by the first lease of its
// window, where it is of that window.
func TestLeaseSeeds(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		due, past := start.AddDate(0, 1, 0), start.AddDate(0, 0, -3)
		own := func(duration string, reset *time.Time) identity.Caps {
			return identity.Caps{BudgetDuration: duration, BudgetResetAt: reset}
		}
		insert(t, s,
			&identity.Budget{ID: "b", Caps: own("30d", &due)}, &identity.Team{ID: "t/x", Spend: 1},
			&identity.Key{Token: "all", Spend: 5 * cent}, &identity.Key{Token: "own", Spend: 6 * cent, Caps: own("30d", &due)},
			&identity.Key{Token: "late", Spend: 7 * cent, Caps: own("30d", &past)}, &identity.Key{Token: "by", Spend: 8 * cent, BudgetID: "b"},
			&identity.Member{TeamID: "t/x", UserID: "u/v", Role: "user", Spend: 9 * cent, BudgetID: "b"},
			&identity.EndUser{ID: "c", Spend: 10 * cent}, &identity.User{ID: "litellm-proxy-budget", Spend: 11 * cent})
		for _, c := range []struct {
			kind     bill.Kind
			id       string
			duration string
			want     money.Nano
		}{
			{bill.KindKey, "all", "", 5 * cent},
			{bill.KindKey, "all", "1d", 0}, // of another window than its own
			{bill.KindKey, "own", "30d", 6 * cent},
			{bill.KindKey, "own", "1d", 0},
			{bill.KindKey, "late", "30d", 0}, // its reset is overdue
			{bill.KindKey, "by", "30d", 8 * cent},
			{bill.KindMember, "t/x/u/v", "30d", 9 * cent},
			{bill.KindCustomer, "c", "30d", 10 * cent}, // by a budget that is none of its own
			{bill.KindProxy, "", "30d", 11 * cent},
			{bill.KindProvider, "openai", "1d", 0},
			{bill.KindKey, "unknown", "", 0},
		} {
			a := ask(c.kind, c.id, money.Dollar, cent, cent)
			if a.Window = c.duration; c.duration != "" {
				a.Start = start.Unix()
			}
			if got := lease(t, s, "h", a); got[0].Spend != c.want || got[0].Amount != cent {
				t.Errorf("%s %s %q: %+v, want %s", c.kind, c.id, c.duration, got[0], c.want)
			}
		}
		// The object knows which window its spend is of, and may know more.
		run(t, s, fmt.Sprintf("UPDATE sluice.keys SET spend = 900000000, spend_from = %s WHERE token = 'late'", literal(s, start)))
		a := ask(bill.KindKey, "late", money.Dollar, 5*cent, cent)
		a.Window, a.Start = "30d", start.Unix()
		if got := lease(t, s, "h", a); got[0].Spend != 90*cent || got[0].Amount != 5*cent {
			t.Errorf("%+v", got[0])
		}
	})
}

// A host gives back what the database has lost the grant of, as after a failover:
// the budget gets no more than its maximum.
func TestReturnOfMoreThanIsKnown(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		lease(t, s, "h", ask(bill.KindTeam, "t", money.Dollar, 10*cent, 10*cent))
		for range 2 { // the second has nothing
			if err := s.ReturnLeases(t.Context(), "h", []bill.Lease{{Kind: bill.KindTeam, ID: "t", Amount: 60 * cent}}); err != nil {
				t.Fatal(err)
			}
		}
		if n := balanced(t, s); n != 0 {
			t.Errorf("%s are leased", n)
		}
		if got := lease(t, s, "h", ask(bill.KindTeam, "t", money.Dollar, 101*cent, 101*cent)); got[0].Amount != 0 {
			t.Errorf("%s of a dollar were leased", got[0].Amount)
		}
		run(t, s, "UPDATE sluice.budget_leases SET amount = -5") // an answer took more than it had reserved
		run(t, s, "UPDATE sluice.budget_windows SET leased = -5")
		if err := s.ReturnLeases(t.Context(), "h", []bill.Lease{{Kind: bill.KindTeam, ID: "t", Amount: cent}}); err != nil {
			t.Fatal(err)
		}
		if n := balanced(t, s); n != -5 {
			t.Errorf("%s are leased", n)
		}
	})
}

// Many ask at the same time for the same budgets, in other orders: together they
// never get more than there is, and all of it.
func TestLeaseNeverTooMuch(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const most = 100 * cent
		var wg sync.WaitGroup
		var mu sync.Mutex
		total := map[string]money.Nano{}
		for w := range 6 {
			wg.Go(func() {
				holder := fmt.Sprint("holder", w%3)
				for i := range 60 {
					asks := []bill.LeaseAsk{ask(bill.KindTeam, "a", most, cent, 3*cent), ask(bill.KindKey, "b", most, cent, cent), ask(bill.KindUser, "c", most, cent, 2*cent)}
					if w%2 == 0 {
						asks[0], asks[2] = asks[2], asks[0]
					}
					for n := range asks {
						asks[n].First = i%10 == 0
					}
					got, err := s.Lease(context.Background(), holder, asks)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for n := range asks {
						total[asks[n].ID] += got[n].Amount
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for _, id := range []string{"a", "b", "c"} {
			if total[id] > most || total[id] <= most-cent {
				t.Errorf("%s of %s were leased of %s", total[id], most, id)
			}
		}
		if got := balanced(t, s); got != total["a"]+total["b"]+total["c"] {
			t.Errorf("%s are leased", got)
		}
	})
}
