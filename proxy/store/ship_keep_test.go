package store_test

import (
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/store"
)

// TestDeleteSlim: rows that are kept only to count once go, all of them, however
// long nothing was deleted and however many steps that takes; others stay.
func TestDeleteSlim(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		rows := spentRows(3000, 5) // 144 a day
		var slim, whole []*bill.Attempt
		for i, a := range rows {
			if i%5 == 0 {
				whole = append(whole, a)
			} else {
				slim = append(slim, a)
			}
		}
		ship(t, s, &store.Batch{Host: "h", Rows: slim, Slim: true}, len(slim))
		ship(t, s, &store.Batch{Host: "h", Rows: whole}, len(whole))
		left := func(day int) {
			t.Helper()
			cut := firstSpent.AddDate(0, 0, day)
			want := int64(0)
			for _, a := range slim {
				if !time.Unix(0, a.Intent.At).Before(cut) {
					want++
				}
			}
			if n := value(t, s, "SELECT COUNT(*) FROM sluice.spend WHERE call_type = ''"); n != want {
				t.Errorf("%d rows are left behind day %d, not %d", n, day, want)
			}
			if n := value(t, s, "SELECT COUNT(*) FROM sluice.spend WHERE call_type <> ''"); n != int64(len(whole)) {
				t.Errorf("%d of %d whole rows are left", n, len(whole))
			}
		}
		step := func(day int) int {
			t.Helper()
			n, err := s.DeleteSpend(t.Context(), time.Time{}, firstSpent.AddDate(0, 0, day), 100)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		step(3) // and no more: the time was up
		for _, day := range []int{6, 7, 15} {
			for n := 1; n > 0; {
				n = step(day)
			}
			left(day)
		}
	})
}
