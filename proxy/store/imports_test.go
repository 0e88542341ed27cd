package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"sluice/proxy/store"
)

func TestImport(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		if _, err := s.Import(t.Context(), "litellm"); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		at := time.Date(2026, 11, 21, 1, 2, 3, 4000, time.UTC)
		i := store.Import{System: "litellm", Source: "h/d", State: store.ImportRunning, Run: 1, StartedAt: at}
		change(t, s, func(tx *store.Tx) error { return tx.SaveImport(i) })
		i.State, i.FinishedAt, i.Report = store.ImportDone, &at, json.RawMessage(`{"a": 1}`)
		i.Cursors = map[string]json.RawMessage{"LiteLLM_UserTable": json.RawMessage(`["u\"1"]`)}
		change(t, s, func(tx *store.Tx) error { return tx.SaveImport(i) })
		got, err := s.Import(t.Context(), "litellm")
		if err != nil || got.UpdatedAt.IsZero() {
			t.Fatalf("%+v %v", got, err)
		}
		i.UpdatedAt = got.UpdatedAt
		if !reflect.DeepEqual(*got, i) {
			t.Errorf("%+v", got)
		}
		if n, err := s.Head(t.Context()); n != 0 || err != nil {
			t.Errorf("%d changes, %v", n, err)
		}
	})
}

// TestTakeTables writes rows that are no objects, twice, with other values the
// second time.
func TestTakeTables(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const odd = "ключ 🔑 \"'\\%_$1?1;--\t\n"
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		for run := range int64(2) {
			change(t, s, func(tx *store.Tx) error {
				var documents []store.Document
				var daily []store.DailySpend
				var windows []store.BudgetWindow
				for i := range 1500 {
					id := fmt.Sprint(i, odd)
					documents = append(documents, store.Document{ID: id, JSON: fmt.Appendf(nil, ` {"a" : 1.50, "run":%d, "t":"\u00e9"} `, run)})
					daily = append(daily, store.DailySpend{
						EntityType: "user", RowID: id, EntityID: odd, Day: "2026-02-28", Token: odd, Model: odd, ModelGroup: odd, Provider: odd, Endpoint: odd,
						Tool: odd, PromptTokens: 1 << 60, Spend: -5, Requests: run, FailedRequests: 3,
					})
					windows = append(windows, store.BudgetWindow{EntityType: "key", EntityID: id, Duration: "30d", Start: at, Spend: 7})
				}
				return errors.Join(tx.TakeDocuments("T", documents), tx.TakeDaily(daily), tx.TakeWindows(windows))
			})
		}
		for statement, want := range map[string]string{
			"SELECT count(*) FROM sluice.imported_documents":                                                             "1500",
			"SELECT CAST(document AS TEXT) FROM sluice.imported_documents WHERE object_id LIKE '77ключ%'":                ` {"a" : 1.50, "run":1, "t":"\u00e9"} `,
			"SELECT count(*) FROM sluice.historic_daily_spend WHERE requests = 1 AND spend = -5 AND day >= '2026-02-28'": "1500",
			"SELECT prompt_tokens FROM sluice.historic_daily_spend LIMIT 1":                                              fmt.Sprint(1 << 60),
			"SELECT count(*) FROM sluice.budget_windows WHERE spend = 7":                                                 "1500",
		} {
			if got, err := store.Text(t.Context(), s, statement); err != nil || got != want {
				t.Errorf("%s: %q %v", statement, got, err)
			}
		}
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			return tx.TakeDocuments("T", []store.Document{{ID: "x", JSON: []byte(`{"a":"\u0000"}`)}})
		})
		if !errors.Is(err, store.ErrInvalid) {
			t.Error(err)
		}
	})
}

// TestTakeSpendLogs writes rows that are not there yet.
func TestTakeSpendLogs(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		logs := func(n int, model string) []store.SpendLog {
			var out []store.SpendLog
			for i := range n {
				l := store.SpendLog{
					RequestID: [16]byte{0xff, byte(i >> 8), byte(i)}, Attempt: 1, Status: "success", CallType: "acompletion", StartedAt: at, EndedAt: at, Model: model,
					Cost: 12, CacheHit: true, Tags: []byte(`["a"]`),
				}
				if i%2 == 0 {
					l.FirstByteAt, l.Metadata, l.Streamed = &at, []byte(`{"a":{"b":"'"}}`), true
				}
				out = append(out, l)
			}
			return out
		}
		take := func(logs []store.SpendLog, want int) {
			t.Helper()
			change(t, s, func(tx *store.Tx) error {
				n, err := tx.TakeSpendLogs(logs)
				if n != want {
					t.Errorf("%d written, want %d", n, want)
				}
				return err
			})
		}
		take(logs(1200, "a"), 1200)
		take(logs(1300, "b"), 100)
		for statement, want := range map[string]string{
			"SELECT count(*) FROM sluice.spend WHERE model = 'a' AND cost = 12":                  "1200",
			"SELECT count(*) FROM sluice.spend WHERE first_byte_at IS NULL AND metadata IS NULL": "650",
		} {
			if got, err := store.Text(t.Context(), s, statement); err != nil || got != want {
				t.Errorf("%s: %q %v", statement, got, err)
			}
		}
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			_, err := tx.TakeSpendLogs([]store.SpendLog{{Metadata: []byte(`{"a":"\u0000"}`)}})
			return err
		})
		if !errors.Is(err, store.ErrInvalid) {
			t.Error(err)
		}
	})
}
