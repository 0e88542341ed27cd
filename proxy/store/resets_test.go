package store_test

import (
	"fmt"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// Objects whose reset is due begin their window with nothing, or with what was
// counted in it already; others stay as they are. A second run changes nothing.
func TestResetSpend(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		today, tomorrow := now.Truncate(24*time.Hour), now.Truncate(24*time.Hour).AddDate(0, 0, 1)
		past, ahead := today.AddDate(0, 0, -5), tomorrow
		caps := func(duration string, reset time.Time) identity.Caps {
			return identity.Caps{BudgetDuration: duration, BudgetResetAt: &reset}
		}
		insert(t, s,
			&identity.Key{Token: "due", Spend: cent, Caps: caps("1d", past)}, &identity.Key{Token: "ahead", Spend: cent, Caps: caps("1d", ahead)},
			&identity.Key{Token: "odd", Spend: cent, Caps: caps("often", past)}, &identity.Key{Token: "begun", Spend: cent, Caps: caps("1d", past)},
			&identity.Key{Token: "endless", Spend: cent}, &identity.Key{Token: "shares", Spend: cent, BudgetID: "b"},
			&identity.Key{Token: "both", Spend: cent, BudgetID: "b", Caps: caps("1d", ahead)},
			&identity.User{ID: "u", Spend: cent, Caps: caps("1d", past)}, &identity.Team{ID: "t", Spend: cent, Caps: caps("1d", past)},
			&identity.Budget{ID: "b", Caps: caps("1d", past)}, &identity.Budget{ID: "ahead", Caps: caps("1d", ahead)},
			&identity.Member{TeamID: "t", UserID: "u", Role: "user", Spend: cent, TotalSpend: cent, BudgetID: "b"},
			&identity.Organization{ID: "o", Alias: "o", Spend: cent, BudgetID: "b"}, &identity.Project{ID: "p", Spend: cent, BudgetID: "ahead"},
			&identity.EndUser{ID: "c", Spend: cent, BudgetID: "b"}, &identity.Tag{Name: "tag", Spend: cent, BudgetID: "b"})
		var many []identity.Object
		for i := range 1100 {
			many = append(many, &identity.EndUser{ID: fmt.Sprintf("customer %04d", i), Spend: cent, BudgetID: "b"})
		}
		insert(t, s, many...)
		run(t, s, "UPDATE sluice.keys SET spend_from = "+literal(s, today)+" WHERE token = 'begun'")
		window := func(duration string, reset time.Time) (start, end time.Time) {
			if duration != "1d" || !reset.Equal(past) {
				return time.Time{}, time.Time{}
			}
			return today, tomorrow
		}
		for i, want := range []int{4 + 1 + 1 + 1 + 1 + 1 + 1100, 0} {
			if n, err := s.ResetSpend(t.Context(), now, window); err != nil || n != want {
				t.Fatalf("run %d: %d are reset, want %d: %v", i, n, want, err)
			}
			key := func(token string, want money.Nano, reset time.Time) {
				t.Helper()
				k, err := store.Get[identity.Key](t.Context(), s, token)
				if err != nil || k.Spend != want || !reset.IsZero() && !k.BudgetResetAt.Equal(reset) || k.ChangeNumber == 0 {
					t.Errorf("%s: %+v %v", token, k, err)
				}
			}
			key("due", 0, tomorrow)
			key("begun", cent, tomorrow)
			key("ahead", cent, ahead)
			key("odd", cent, past)
			key("endless", cent, time.Time{})
			key("shares", 0, time.Time{})
			key("both", cent, ahead)
			m, err := store.Get[identity.Member](t.Context(), s, "t", "u")
			if err != nil || m.Spend != 0 || m.TotalSpend != cent {
				t.Errorf("%+v %v", m, err)
			}
			sums := map[string]string{"users": "0", "teams": "0", "organizations": "0", "projects": "10000000", "end_users": "0", "tags": "0"}
			for table, want := range sums {
				if got, err := store.Text(t.Context(), s, "SELECT CAST(SUM(spend) AS TEXT) FROM sluice."+table); err != nil || got != want {
					t.Errorf("%s: %s %v", table, got, err)
				}
			}
			b, err := store.Get[identity.Budget](t.Context(), s, "b")
			if err != nil || !b.BudgetResetAt.Equal(tomorrow) {
				t.Errorf("%+v %v", b, err)
			}
		}
		head, err := s.Head(t.Context())
		if changes, err2 := s.Since(t.Context(), 0, 2000); err != nil || err2 != nil || int64(len(changes)) != head || head != 1116 {
			t.Errorf("%d changes, the head is %d: a reset is none", len(changes), head)
		}
	})
}
