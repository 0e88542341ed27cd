package admin

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// TestCallType: routes are told in LiteLLM's words; what is none stays.
func TestCallType(t *testing.T) {
	for kept, want := range map[string]string{
		"/v1/chat/completions": "acompletion", "/engines/m/chat/completions": "acompletion", "/v1/completions": "atext_completion",
		"/v1/embeddings": "aembedding", "/v1/audio/speech": "aspeech", "/v1/messages": "anthropic_messages",
		"acompletion": "acompletion", "": "", "/v1/other": "/v1/other",
	} {
		if got := callType(kept); got != want {
			t.Errorf("%s is %s, not %s", kept, got, want)
		}
	}
}

// TestGlobalExceptions: attempts that providers refused by their limits, and
// neither other failures nor what the gateway refused itself.
func TestGlobalExceptions(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		var more []*bill.Attempt
		for i, edit := range []func(a *bill.Attempt){
			func(a *bill.Attempt) { a.ModelID = "m-2" },
			func(a *bill.Attempt) { a.Status = bill.StatusRejected },
			func(a *bill.Attempt) { a.HTTPStatus = 500 },
			func(a *bill.Attempt) { a.Model = "other" },
		} {
			a := *s.rows[11]
			a.Attempt, a.Sequence = int64(i+1), int64(1000+i)
			edit(&a)
			more = append(more, &a)
		}
		if _, err := w.store.Ship(w.Context(), &store.Batch{Host: "h", Rows: more}); err != nil {
			w.Fatal(err)
		}
		const of = "?model_group=gpt&start_date=2026-11-18&end_date=2026-11-30"
		count := map[string]int64{}
		for _, a := range append(slices.Clone(s.rows), more[0]) {
			if a.Status == bill.StatusFailure {
				count[time.Unix(0, a.Intent.At).UTC().Format("Jan 02")]++
			}
		}
		doc := w.ok("master", "GET", "/global/activity/exceptions"+of, nil)
		got := map[string]int64{}
		for _, d := range doc["daily_data"].([]any) {
			n, _ := d.(M)["num_rate_limit_exceptions"].(json.Number).Int64()
			got[d.(M)["date"].(string)] = n
		}
		if !maps.Equal(got, count) || doc["sum_num_rate_limit_exceptions"] != json.Number("21") {
			t.Error(doc, count)
		}
		list := w.call("master", "GET", "/global/activity/exceptions/deployment"+of, nil).Body.([]any)
		if len(list) != 2 || list[0].(M)["deployment"] != "m-1" || list[0].(M)["sum_num_rate_limit_exceptions"] != json.Number("20") ||
			fmt.Sprint(list[1]) != "map[daily_data:[map[date:Nov 19 num_rate_limit_exceptions:1]] deployment:m-2 sum_num_rate_limit_exceptions:1]" {
			t.Error(list)
		}
		if none := w.ok("master", "GET", "/global/activity/exceptions?model_group=x&start_date=2026-11-18&end_date=2026-11-30", nil); fmt.Sprint(none) !=
			"map[daily_data:[] sum_num_rate_limit_exceptions:0]" {
			t.Error(none)
		}
		w.refused(400, "start_date", "master", "GET", "/global/activity/exceptions?model_group=gpt", nil)
		w.refused(422, "model_group", "master", "GET", "/global/activity/exceptions?start_date=2026-11-18&end_date=2026-11-30", nil)
	})
}

// TestGlobalCacheHits: by alias, route and model; keys without an alias are one.
func TestGlobalCacheHits(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		hit := *s.rows[2]
		hit.Attempt, hit.Sequence, hit.CacheHit, hit.Usage.Output, hit.CallType = 1, 1000, true, 7, "/v1/embeddings"
		if _, err := w.store.Ship(w.Context(), &store.Batch{Host: "h", Rows: []*bill.Attempt{&hit}}); err != nil {
			w.Fatal(err)
		}
		list := w.call("master", "GET", "/global/activity/cache_hits?start_date=2026-11-18&end_date=2026-11-30", nil).Body
		want := `[map[api_key:Unnamed Key cache_hit_true_rows:0 cached_completion_tokens:0 call_type:acompletion failed_rows:16 generated_completion_tokens:960 model:gpt-2026 total_rows:192]` +
			` map[api_key:alias of tm cache_hit_true_rows:0 cached_completion_tokens:0 call_type:acompletion failed_rows:4 generated_completion_tokens:240 model:gpt-2026 total_rows:48]` +
			` map[api_key:alias of tm cache_hit_true_rows:1 cached_completion_tokens:7 call_type:aembedding failed_rows:0 generated_completion_tokens:0 model:gpt-2026 total_rows:1]]`
		if got := fmt.Sprint(list); got != want {
			t.Error(got)
		}
		w.refused(400, "end_date", "master", "GET", "/global/activity/cache_hits?start_date=2026-11-18", nil)
	})
}

// TestProviderBudgets: what was spent in the windows that run, of the budgets
// that are configured.
func TestProviderBudgets(t *testing.T) {
	each(t, func(w *world) {
		now := time.Now().UTC()
		today := now.Truncate(24 * time.Hour)
		err := w.store.Change(w.Context(), store.Actor{}, func(tx *store.Tx) error {
			if err := tx.TakeWindows([]store.BudgetWindow{
				{EntityType: "provider", EntityID: "openai", Duration: "1d", Start: today, Spend: 5},
				{EntityType: "provider", EntityID: "azure", Duration: "1d", Start: today.AddDate(0, 0, -1), Spend: 7},
				{EntityType: "provider", EntityID: "mock", Duration: "", Spend: 9},
				{EntityType: "provider", EntityID: "none", Duration: "1d", Start: today, Spend: 11},
			}); err != nil {
				return err
			}
			return tx.Note(store.Imported, identity.KindImport, "windows", nil, nil)
		})
		if err != nil {
			w.Fatal(err)
		}
		tomorrow := today.AddDate(0, 0, 1).Format("2006-01-02T15:04:05Z")
		want := "map[providers:map[azure:map[budget_limit:2.0 budget_reset_at:" + tomorrow + " spend:0.0 time_period:1d]" +
			" mock:map[budget_limit:3.0 budget_reset_at:<nil> spend:0.000000009 time_period:<nil>]" +
			" openai:map[budget_limit:1.0 budget_reset_at:" + tomorrow + " spend:0.000000005 time_period:1d]]]"
		if got := fmt.Sprint(w.ok("master", "GET", "/provider/budgets", nil)); got != want {
			t.Error(got)
		}
	}, func(c *Config) {
		c.Providers = map[string]ProviderBudget{"openai": {1e9, "1d"}, "azure": {2e9, "1d"}, "mock": {3e9, ""}}
	})
}

// TestTeamSpendByUser: whoever is in charge of a team sees all of its users.
func TestTeamSpendByUser(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		for as, seen := range sees {
			calls, spend := s.of(seen, func(a *bill.Attempt) bool { return a.Team != "" })
			doc := w.ok(as, "GET", "/team/spend/by_user?start_date=2026-11-18&end_date=2026-11-30", nil)
			var sum money.Nano
			requests := int64(0)
			for _, r := range doc["results"].([]any) {
				n, _ := r.(M)["api_requests"].(json.Number).Int64()
				sum, requests = sum+nano(t, r.(M)["spend"]), requests+n
			}
			if sum != spend || requests != int64(len(calls)) || doc["start_date"] != "2026-11-18" || doc["end_date"] != "2026-11-30" {
				t.Errorf("%s: %v, not %d calls of %s", as, doc, len(calls), spend)
			}
		}
		doc := w.ok("master", "GET", "/team/spend/by_user?team_ids=t1&start_date=2026-11-18&end_date=2026-11-30", nil)
		rows := doc["results"].([]any)
		if row := rows[0].(M); len(rows) != 1 || row["user_id"] != "u-tm" || row["team_alias"] != "t1" || row["failed_requests"] != json.Number("4") {
			t.Error(rows)
		}
	})
}

// TestActivityAggregated: one answer has what all pages have, and no more keys
// than were asked for.
func TestActivityAggregated(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-18&end_date=2026-11-25"
		for as, seen := range sees {
			calls, spend := s.of(seen)
			for _, most := range []int{1, 3, 100} {
				doc := w.ok(as, "GET", fmt.Sprint("/user/daily/activity/aggregated", period, "&api_key_limit=", most), nil)
				meta := doc["metadata"].(M)
				if nano(t, meta["total_spend"]) != spend || meta["total_api_requests"] != json.Number(fmt.Sprint(len(calls))) || meta["has_more"] != false ||
					meta["api_key_limit"] != json.Number(fmt.Sprint(most)) {
					t.Errorf("%s, %d keys: %v, not %d calls of %s", as, most, meta, len(calls), spend)
				}
				keys, models := map[string]bool{}, money.Nano(0)
				for _, d := range doc["results"].([]any) {
					parts := d.(M)["breakdown"].(M)
					for k := range parts["api_keys"].(M) {
						keys[k] = true
					}
					models += nano(t, parts["models"].(M)["gpt-2026"].(M)["metrics"].(M)["spend"])
				}
				all, _ := meta["total_api_keys"].(json.Number).Int64()
				if models != spend || int64(len(keys)) != min(int64(most), all) {
					t.Errorf("%s, %d keys: models come to %s, %d keys of %d", as, most, models, len(keys), all)
				}
			}
		}
		one := w.ok("master", "GET", "/user/daily/activity/aggregated"+period+"&api_key_limit=1", nil)
		by := s.sumBy(func(*bill.Attempt) bool { return true }, func(a *bill.Attempt) string { return a.Token })
		for k := range one["results"].([]any)[1].(M)["breakdown"].(M)["api_keys"].(M) {
			if slices.Max(slices.Collect(maps.Values(by))) != by[k] {
				t.Error("the key that spent most is not the one that is told")
			}
		}
		w.refused(422, "api_key_limit", "master", "GET", "/team/daily/activity/aggregated"+period+"&api_key_limit=0", nil)
	})
}

// TestActivityExport: every type of an export comes to the same, as a table and
// as a list, the first day first.
func TestActivityExport(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		_, inTeams := s.of(func(a *bill.Attempt) bool { return a.Team != "" })
		const period = "?start_date=2026-11-18&end_date=2026-11-25"
		columns := map[string][]string{
			"daily": {"date", "entity_id", "entity_alias"}, "daily_with_keys": {"date", "entity_id", "entity_alias", "api_key", "key_alias", "user_id", "user_email"},
			"daily_with_models": {"date", "entity_id", "entity_alias", "model"}, "daily_with_users": {"date", "entity_id", "entity_alias", "user_id", "user_email"},
		}
		for kind, first := range columns {
			target := "/team/daily/activity/export" + period + "&export_type=" + kind
			reply := w.call("master", "GET", target, nil)
			table, err := csv.NewReader(strings.NewReader(string(reply.Raw))).ReadAll()
			if err != nil || !slices.Equal(table[0], slices.Concat(first, exportCounters)) {
				t.Fatal(kind, table[0], err)
			}
			list := w.call("master", "GET", target+"&format=json", nil).Body.([]any)
			var sum money.Nano
			last := ""
			for i, row := range table[1:] {
				sum += nano(t, row[len(first)])
				for n, name := range table[0] {
					if got := fmt.Sprint(list[i].(M)[name]); got != row[n] && (name != "spend" || nano(t, got) != nano(t, row[n])) {
						t.Errorf("%s: %s is %s in the table and %s in the list", kind, name, row[n], got)
					}
				}
				if row[0] < last {
					t.Errorf("%s: %s comes after %s", kind, row[0], last)
				}
				last = row[0]
			}
			if sum != inTeams || len(list) != len(table)-1 {
				t.Errorf("%s comes to %s, not %s", kind, sum, inTeams)
			}
		}
		if text := string(w.call("master", "GET", "/user/daily/activity/export"+period, nil).Raw); !strings.Contains(text, "2026-11-20,Unassigned,,") {
			t.Error(text)
		}
		w.refused(422, "export_type", "master", "GET", "/tag/daily/activity/export"+period+"&export_type=x", nil)
	})
}

// TestKeyReport: a key sees its own, and others as far as its owner may.
func TestKeyReport(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-18&end_date=2026-11-25"
		by := s.sumBy(func(*bill.Attempt) bool { return true }, func(a *bill.Attempt) string { return a.Token })
		for as, of := range map[string]string{"iu": "iu", "tk": "", "ta": "ta"} {
			list := w.call(as, "GET", "/key/spend/report"+period, nil).Body
			if of == "" {
				continue
			}
			if rows := list.([]any); len(rows) != 1 || nano(t, rows[0].(M)["total_cost"]) != by[s.keys[of]] {
				t.Error(as, list)
			}
		}
		if rows := w.call("ta", "GET", "/key/spend/report"+period+"&api_key="+s.keys["tm"], nil).Body.([]any); len(rows) != 1 {
			t.Error(rows)
		}
		if rows := w.call("iu", "GET", "/key/spend/report"+period+"&api_key="+s.keys["tm"], nil).Body.([]any); len(rows) != 0 {
			t.Error(rows)
		}
		_, inOrganization := s.of(func(a *bill.Attempt) bool { return a.Organization == "o1" })
		rows := w.call("oa", "GET", "/organization/spend/report"+period+"&organization_id=o1", nil).Body.([]any)
		if len(rows) != 1 || nano(t, rows[0].(M)["total_cost"]) != inOrganization {
			t.Error(rows)
		}
		w.refused(400, "organization_id", "iu", "GET", "/organization/spend/report"+period, nil)
	})
}
