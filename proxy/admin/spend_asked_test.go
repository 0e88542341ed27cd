package admin

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice/proxy/bill"
)

// TestSpendLastDays: a period may end with the last day that a date can name.
func TestSpendLastDays(t *testing.T) {
	each(t, func(w *world) {
		newSpendWorld(w)
		days := w.call("iu", "GET", "/spend/logs?start_date=9999-12-30&end_date=9999-12-31", nil).Body.([]any)
		if len(days) != 2 || days[1].(M)["startTime"] != "9999-12-31" {
			t.Errorf("%d days", len(days))
		}
		// Times are of the days that they are on.
		days = w.call("iu", "GET", "/spend/logs?start_date=2030-01-01T23:00:00Z&end_date=2030-01-03T01:00:00Z", nil).Body.([]any)
		if len(days) != 3 || days[2].(M)["startTime"] != "2030-01-03" {
			t.Error(days)
		}
	})
}

// TestSpendByIDDates: an id that is none of a request is looked for in the period
// that was asked for, page by page as in one list.
func TestSpendByIDDates(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		for _, path := range []string{"/spend/logs/v2", "/spend/logs/ui"} {
			for query, want := range map[string]int{
				"request_id=call-4&start_date=2026-11-18&end_date=2026-11-25": 1,
				"request_id=chatcmpl-4&start_date=2026-11-18%2000:00:00":      1,
				"request_id=call-4&start_date=2026-11-21&end_date=2026-11-25": 0,
				"request_id=call-4":                                                                 0, // of the last days
				"request_id=" + requestText(s.rows[4]):                                              1,
				"request_id=" + requestText(s.rows[4]) + "&start_date=2027-01-01":                   1, // its place is known
				"request_id=" + requestText(s.rows[4]) + "&user_id=u-iu&start_date=2026-11-18":      0,
				"request_id=call-4&start_date=2026-11-18&end_date=2026-11-25&status_filter=failure": 0,
			} {
				if page := w.ok("master", "GET", path+"?"+query, nil); len(page["data"].([]any)) != want {
					t.Errorf("%s: %v", query, page)
				}
			}
			w.refused(400, `"param":"start_date"`, "master", "GET", path+"?request_id=call-4&start_date=x", nil)
		}
	}, func(c *Config) { c.Now = func() time.Time { return time.Date(2027, 1, 20, 0, 0, 0, 0, time.UTC) } })
}

// TestSpendPagesAsked: what clients of LiteLLM ask pages for.
func TestSpendPagesAsked(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-01&end_date=2026-11-30&page_size=1000&"
		for filter, is := range map[string]attempts{
			"":                      func(*bill.Attempt) bool { return true },
			"cache_hit_filter=hit":  func(*bill.Attempt) bool { return false },
			"cache_hit_filter=miss": func(*bill.Attempt) bool { return true },
		} {
			want, _ := s.of(is)
			slices.Reverse(want)
			for _, path := range []string{"/spend/logs/v2", "/spend/logs/ui"} {
				if page := w.ok("master", "GET", path+period+filter, nil); !slices.Equal(callsOf(page["data"]), want) {
					t.Errorf("%s: %v of %d", filter, page["total"], len(want))
				}
			}
		}
		for by, value := range map[string]func(a *bill.Attempt) string{
			"model":               func(a *bill.Attempt) string { return a.ProviderModel },
			"request_duration_ms": func(a *bill.Attempt) string { return fmt.Sprintf("%020d", a.Settle.At-a.Intent.At) },
			"ttft_ms":             func(a *bill.Attempt) string { return fmt.Sprintf("%020d", max(a.FirstByteAt-a.Intent.At, 0)) }, // never: the last ones
		} {
			want := slices.Clone(s.rows)
			slices.SortFunc(want, func(a, b *bill.Attempt) int {
				return cmp.Or(cmp.Compare(value(b), value(a)), cmp.Compare(b.Sequence, a.Sequence))
			})
			got := callsOf(w.ok("master", "GET", "/spend/logs/v2"+period+"sort_by="+by, nil)["data"])
			if !slices.EqualFunc(got, want, func(call string, a *bill.Attempt) bool { return call == a.CallID }) {
				t.Errorf("sorted by %s: %v", by, got)
			}
		}
	})
}
