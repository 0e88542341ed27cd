package store_test

import (
	"slices"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// An object is deleted while a host has a lease of its budget, and another one of
// its name is made: what the host gives back later was leased of the new window
// too, and nobody gets more than the budget.
func TestDeletedWhileLeased(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		team := &identity.Team{ID: "t"}
		insert(t, s, team)
		had := lease(t, s, "one", ask(bill.KindTeam, "t", money.Dollar, 40*cent, 40*cent))[0].Amount
		if had != 40*cent {
			t.Fatalf("%v were leased", had)
		}
		if err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Delete(team) }); err != nil {
			t.Fatal(err)
		}
		insert(t, s, &identity.Team{ID: "t"})
		if got := lease(t, s, "two", ask(bill.KindTeam, "t", money.Dollar, 61*cent, cent))[0]; got.Amount != 0 || got.Leased != had {
			t.Errorf("beside %v of another host: %+v", had, got)
		}
		if err := s.ReturnLeases(t.Context(), "one", []bill.Lease{{Kind: bill.KindTeam, ID: "t", Amount: had}}); err != nil {
			t.Fatal(err)
		}
		if got := lease(t, s, "two", ask(bill.KindTeam, "t", money.Dollar, money.Dollar+1, cent))[0]; got.Amount != 0 || got.Leased != 0 {
			t.Errorf("more than the budget: %+v", got)
		}
		balanced(t, s)
	})
}

// What was spent of the budgets that a key has for single models stays spent when
// the key gets another secret, and goes with the key.
func TestWindowsOfModels(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		was, is := &identity.Key{Token: "old"}, &identity.Key{Token: "new"}
		insert(t, s, was, &identity.Key{Token: "older"})
		start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		spent := func(id string, n money.Nano) store.BudgetWindow {
			return store.BudgetWindow{EntityType: bill.KindKeyModel.String(), EntityID: id, Duration: "1d", Start: start, Spend: n}
		}
		change := func(fn func(tx *store.Tx) error) {
			t.Helper()
			if err := s.Change(t.Context(), store.Actor{}, fn); err != nil {
				t.Fatal(err)
			}
		}
		change(func(tx *store.Tx) error {
			err := tx.TakeWindows([]store.BudgetWindow{spent("old/gpt", 70), spent("old/a/b", 80), spent("older/gpt", 90), spent("old0", 1), spent("old", 2)})
			if err != nil {
				return err
			}
			return tx.Rekey(store.Rotated, was, is)
		})
		left := func() (out []string) {
			windows, err := s.WindowsOf(t.Context(), bill.KindKeyModel)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range windows {
				if w.Duration != "1d" || !w.Start.Equal(start) {
					t.Errorf("%+v", w)
				}
				out = append(out, w.EntityID+" "+w.Spend.String())
			}
			return out
		}
		others := []string{"old " + money.Nano(2).String(), "old0 " + money.Nano(1).String(), "older/gpt " + money.Nano(90).String()}
		want := append([]string{"new/a/b " + money.Nano(80).String(), "new/gpt " + money.Nano(70).String()}, others...)
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("after the key has another secret: %q", got)
		}
		change(func(tx *store.Tx) error { return tx.Delete(is) })
		if got := left(); !slices.Equal(got, others) {
			t.Errorf("after the key is deleted: %q", got)
		}
	})
}
