package store_test

import (
	"context"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// A call that was in flight when its key was regenerated is one of the key that
// it became: its spend, the windows of its budgets, its rows and sums by day. The
// lease of the old digest is settled.
func TestShipFollowsRegeneratedKeys(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		was, is := digest(1), digest(2)
		insert(t, s, &identity.Key{Token: is}, &identity.RetiredKey{Token: was, Active: is, RevokeAt: time.Now().Add(-time.Hour)})
		ask := []bill.LeaseAsk{
			{Kind: bill.KindKey, ID: is, Max: money.Dollar, Least: 1, Want: 1, First: true},
			{Kind: bill.KindKeyModel, ID: is + "/gpt", Max: money.Dollar, Least: 1, Want: 1, First: true},
			{Kind: bill.KindKey, ID: was, Max: money.Dollar, Least: 100, Want: 100, First: true},
		}
		if _, err := s.Lease(t.Context(), "holder", ask); err != nil {
			t.Fatal(err)
		}
		row := spentRows(1, 1)[0]
		row.Token, row.Cost, row.Holder = was, 70, "holder"
		row.Accounts = []bill.Account{{Kind: bill.KindKey, ID: was, Leased: true}, {Kind: bill.KindKeyModel, ID: was + "/gpt"}, {Kind: bill.KindTeam, ID: "t"}}
		batch := &store.Batch{Host: "h", Rows: []*bill.Attempt{row}}
		for range 2 { // the second time as after an answer that was lost
			if _, err := s.Ship(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		k, err := store.Get[identity.Key](t.Context(), s, is)
		if err != nil || k.Spend != 70 {
			t.Errorf("the key has spent %v: %v", k.Spend, err)
		}
		for _, kind := range []bill.Kind{bill.KindKey, bill.KindKeyModel} {
			windows, err := s.WindowsOf(t.Context(), kind)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range windows {
				if w.EntityID != was && w.Spend != 70 {
					t.Errorf("%s %s has spent %v", kind, w.EntityID, w.Spend)
				}
			}
		}
		leases, err := s.Leases(t.Context(), "holder", 0, bill.Lease{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range leases {
			if want := map[string]money.Nano{was: 30, is: 1, is + "/gpt": 1}[l.ID]; l.Amount != want {
				t.Errorf("the lease of %s is %v, not %v", l.ID, l.Amount, want)
			}
		}
		sums, _, err := s.DailySums(t.Context(), store.DailyFilter{From: "2026-11-01", To: "2026-11-30", Token: is, By: []string{store.ByToken}})
		if err != nil || len(sums) != 1 || sums[0].Spend != 70 || sums[0].Requests != 1 {
			t.Errorf("%v: %v", sums, err)
		}
		if got := spendOf(t, s, store.SpendFilter{Token: is}); len(got) != 1 {
			t.Errorf("%d rows of the key", len(got))
		}
	})
}

// A key that is regenerated while a batch is on its way into the database is
// found out in time.
func TestShipBesideRegeneration(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		was, is := &identity.Key{Token: digest(1), Spend: 5}, &identity.Key{Token: digest(2), Spend: 5}
		insert(t, s, was)
		ask := bill.LeaseAsk{Kind: bill.KindKey, ID: was.Token, Max: money.Dollar, Least: 100, Want: 100, First: true}
		if _, err := s.Lease(t.Context(), "holder", []bill.LeaseAsk{ask}); err != nil {
			t.Fatal(err)
		}
		row := spentRows(1, 1)[0]
		row.Token, row.Cost, row.Holder, row.Accounts = was.Token, 70, "holder", []bill.Account{{Kind: bill.KindKey, ID: was.Token, Leased: true}}
		shipped := make(chan error, 1)
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			if err := tx.Rekey(store.Rotated, was, is); err != nil {
				return err
			}
			if err := tx.Insert(&identity.RetiredKey{Token: was.Token, Active: is.Token, RevokeAt: time.Now()}); err != nil {
				return err
			}
			go func() {
				_, err := s.Ship(context.WithoutCancel(t.Context()), &store.Batch{Host: "h", Rows: []*bill.Attempt{row}})
				shipped <- err
			}()
			time.Sleep(300 * time.Millisecond) // it waits for the key, or for the file
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-shipped; err != nil {
			t.Fatal(err)
		}
		k, err := store.Get[identity.Key](t.Context(), s, is.Token)
		if err != nil || k.Spend != 75 {
			t.Errorf("the key has spent %v: %v", k.Spend, err)
		}
		windows, err := s.WindowsOf(t.Context(), bill.KindKey)
		if err != nil || len(windows) != 1 || windows[0].EntityID != is.Token || windows[0].Spend != 75 {
			t.Errorf("%+v: %v", windows, err)
		}
		if got := spendOf(t, s, store.SpendFilter{Token: is.Token}); len(got) != 1 {
			t.Errorf("%d rows of the key", len(got))
		}
	})
}
