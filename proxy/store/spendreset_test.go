package store_test

import (
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// TestClearSpend: all of a kind is set to nothing, step by step, with what counts
// against budgets, and nothing else is.
func TestClearSpend(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const keys = 2500
		loadObjects(t, s, keys)
		ship(t, s, &store.Batch{Host: "h", Rows: spentRows(keys, keys)}, keys)
		at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			var windows []store.BudgetWindow
			for n := range keys {
				windows = append(windows, store.BudgetWindow{EntityType: "key", EntityID: digest(n), Duration: "7d", Start: at, Spend: 5})
			}
			windows = append(windows, store.BudgetWindow{EntityType: "team", EntityID: "team-1", Duration: "7d", Start: at, Spend: 5})
			if err := tx.TakeWindows(windows); err != nil {
				return err
			}
			return tx.Note(store.Imported, identity.KindImport, "windows", nil, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		users := value(t, s, "SELECT CAST(SUM(spend) AS BIGINT) FROM sluice.users")
		n, err := s.ClearSpend(t.Context(), bill.KindKey, "somebody")
		if err != nil || n != keys {
			t.Fatal(n, err)
		}
		if n, err := s.ClearSpend(t.Context(), bill.KindKey, "somebody"); err != nil || n != 0 {
			t.Errorf("again: %d %v", n, err)
		}
		for sql, want := range map[string]int64{
			"SELECT COUNT(*) FROM sluice.keys WHERE spend <> 0":                                                                      0,
			"SELECT COUNT(*) FROM sluice.keys WHERE updated_by = 'somebody'":                                                         keys,
			"SELECT COUNT(*) FROM sluice.budget_windows WHERE entity_type = 'key' AND spend <> 0":                                    0,
			"SELECT spend FROM sluice.budget_windows WHERE entity_type = 'team' AND entity_id = 'team-1' AND window_duration = '7d'": 5,
			"SELECT CAST(SUM(spend) AS BIGINT) FROM sluice.users":                                                                    users,
			"SELECT COUNT(*) FROM sluice.teams WHERE spend <> 0":                                                                     10,
		} {
			if got := value(t, s, sql); got != want {
				t.Errorf("%s: %d, not %d", sql, got, want)
			}
		}
		if n, err := s.ClearSpend(t.Context(), bill.KindTeam, "somebody"); err != nil || n != 10 {
			t.Errorf("%d teams, %v", n, err)
		}
		if got := value(t, s, "SELECT CAST(SUM(spend) AS BIGINT) FROM sluice.budget_windows WHERE entity_type = 'team'"); got != 0 {
			t.Errorf("windows of teams: %d", got)
		}
		if _, err := s.ClearSpend(t.Context(), bill.KindMember, ""); err == nil {
			t.Error("members have no spend of one id")
		}
		mustBalance(t, s)
	})
}
