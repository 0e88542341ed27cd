package store_test

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/money"
	"sluice/proxy/store"
)

// TestSpendPlans: a period is a range of the primary key, a request one place in
// it, and a page is read in its order.
func TestSpendPlans(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		rows := spentRows(10_000, 50) // 69 days
		for from := 0; from < len(rows); from += 5000 {
			ship(t, s, &store.Batch{Host: "h", Rows: rows[from : from+5000]}, 5000)
		}
		if s.Path() == "" {
			if err := store.Run(t.Context(), s, "ANALYZE sluice.spend"); err != nil {
				t.Fatal(err)
			}
		}
		day, most := firstSpent.AddDate(0, 0, 30), money.Nano(5000)
		for name, f := range map[string]store.SpendFilter{
			"day": {From: day, To: day.Add(24 * time.Hour)}, "request": {RequestID: &rows[7].RequestID}, "newest": {}, "next page": {After: &store.SpendKey{RequestID: rows[99].RequestID}},
			"a user's day": {From: day, To: day.Add(24 * time.Hour), Scope: &store.SpendScope{UserID: "user-7", Teams: []string{"team-1"}}, Most: &most},
		} {
			plan, err := store.SpendPlan(t.Context(), s, f)
			if err != nil || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "TEMP B-TREE") || name != "newest" && (strings.Contains(plan, "SCAN spend") || strings.Contains(plan, "SCAN r")) {
				t.Errorf("%s: %v\n%s", name, err, plan)
			}
		}
		if plan, err := store.SpendPlan(t.Context(), s, store.SpendFilter{CallID: "call-7"}); err != nil || !strings.Contains(strings.ToUpper(plan), "SCAN") {
			t.Errorf("what no index knows is read whole: %v\n%s", err, plan)
		}
	})
}
