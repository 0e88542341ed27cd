package store_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// TestTally: counted by every column, rows come to what they do without the
// database.
func TestTally(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		loadObjects(t, s, 5)
		rows := spentRows(500, 5)
		for i, a := range rows {
			a.CacheHit = i%4 == 0
			if i%7 == 0 {
				a.Status = bill.StatusRejected
			}
		}
		ship(t, s, &store.Batch{Host: "h", Rows: rows}, len(rows))
		period := store.SpendFilter{From: firstSpent, To: firstSpent.AddDate(0, 0, 2)}
		attempted := period
		attempted.Attempted = true
		for name, c := range map[string]struct {
			f   store.SpendFilter
			by  []string
			key func(a *bill.Attempt) store.SpendTally
		}{
			"days": {period, []string{store.TallyDay}, func(a *bill.Attempt) store.SpendTally { return store.SpendTally{Day: dayOf(a)} }},
			"attempts": {attempted, []string{store.TallyDay, store.TallyModelID}, func(a *bill.Attempt) store.SpendTally {
				return store.SpendTally{Day: dayOf(a), ModelID: a.ModelID}
			}},
			"calls": {period, []string{store.TallyToken, store.TallyCallType, store.TallyProviderModel}, func(a *bill.Attempt) store.SpendTally {
				return store.SpendTally{Token: a.Token, CallType: a.CallType, ProviderModel: a.ProviderModel}
			}},
		} {
			want := map[store.SpendTally]store.SpendTally{}
			for _, a := range rows {
				if at := time.Unix(0, a.Intent.At); at.Before(c.f.From) || !at.Before(c.f.To) || c.f.Attempted && a.Status == bill.StatusRejected {
					continue
				}
				w := want[c.key(a)]
				w.Rows++
				if a.Status != bill.StatusSuccess {
					w.Failed++
				}
				if a.CacheHit {
					w.CacheHits, w.CachedTokens = w.CacheHits+1, w.CachedTokens+a.Usage.Output
				} else {
					w.GeneratedTokens += a.Usage.Output
				}
				want[c.key(a)] = w
			}
			found, err := s.Tally(t.Context(), c.f, c.by...)
			if err != nil {
				t.Fatal(name, err)
			}
			got := map[store.SpendTally]store.SpendTally{}
			for _, f := range found {
				k := store.SpendTally{Day: f.Day, Token: f.Token, CallType: f.CallType, ProviderModel: f.ProviderModel, ModelID: f.ModelID}
				f.Day, f.Token, f.CallType, f.ProviderModel, f.ModelID = "", "", "", "", ""
				got[k] = f
			}
			if !maps.Equal(got, want) || len(found) != len(want) || len(want) < 2 {
				t.Errorf("%s: %v, not %v", name, got, want)
			}
		}
		if _, err := s.Tally(t.Context(), period, "nothing"); err == nil {
			t.Error("a column that is none was counted by")
		}
	})
}

// TestDailySumsApart: keys that are not told apart are in one sum, and users are
// told where they are known.
func TestDailySumsApart(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		loadObjects(t, s, 5)
		rows := spentRows(500, 5)
		ship(t, s, &store.Batch{Host: "h", Rows: rows}, len(rows))
		f := store.DailyFilter{From: "2026-11-01", To: "2026-11-30", By: []string{store.ByToken}, Apart: []string{digest(1), digest(2)}}
		want, users := map[string]money.Nano{}, map[string]money.Nano{}
		for _, a := range rows {
			name := a.Token
			if name != digest(1) && name != digest(2) {
				name = ""
			}
			want[name] += a.Cost
			users[a.User] += a.Cost
		}
		read := func(f store.DailyFilter, name func(d *store.DailySum) string) map[string]money.Nano {
			t.Helper()
			sums, _, err := s.DailySums(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]money.Nano{}
			for i := range sums {
				got[name(&sums[i])] += sums[i].Spend
			}
			return got
		}
		byToken := func(d *store.DailySum) string { return d.Token }
		if got := read(f, byToken); !maps.Equal(got, want) || len(want) != 3 {
			t.Errorf("%v, not %v", got, want)
		}
		f.By, f.Apart = []string{store.ByUser}, nil
		if got := read(f, func(d *store.DailySum) string { return d.User }); !maps.Equal(got, users) || len(users) < 2 {
			t.Errorf("%v, not %v", got, users)
		}
		f.By, f.Apart, f.Keyed = []string{store.ByToken}, []string{}, true
		if got := read(f, byToken); fmt.Sprint(len(got), got[""] > 0) != "1 true" {
			t.Error(got)
		}
	})
}
