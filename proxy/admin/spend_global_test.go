package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// sumBy adds up the rows that meet the condition by what name says; "" is
// nothing.
func (s *spendWorld) sumBy(is attempts, name func(a *bill.Attempt) string) map[string]money.Nano {
	out := map[string]money.Nano{}
	for _, a := range s.rows {
		if n := name(a); n != "" && is(a) {
			out[n] += a.Cost
		}
	}
	return out
}

// listed reads name and amount out of a list of objects, and says whether the
// largest amounts come first.
func listedBy(t *testing.T, list any, name, amount string) (out map[string]money.Nano, mostFirst bool) {
	t.Helper()
	out, mostFirst = map[string]money.Nano{}, true
	last := money.Nano(-1)
	for _, row := range list.([]any) {
		n := nano(t, row.(M)[amount])
		out[fmt.Sprint(row.(M)[name])] += n
		mostFirst = mostFirst && (last < 0 || n <= last)
		last = n
	}
	return out, mostFirst
}

func TestGlobalSpend(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-19&end_date=2026-11-20"
		within := func(a *bill.Attempt) bool {
			d := time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly)
			return d == "2026-11-19" || d == "2026-11-20"
		}
		byKey := func(a *bill.Attempt) string { return a.Token }
		byDay := func(a *bill.Attempt) string { return time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly) }
		get := func(path string) any { return w.call("master", "GET", path+period, nil).Body }
		check := func(what string, list any, name, amount string, want map[string]money.Nano, ordered bool) {
			t.Helper()
			got, most := listedBy(t, list, name, amount)
			if !maps.Equal(got, want) || ordered && !most || len(want) == 0 {
				t.Errorf("%s: %v, not %v (most first: %t)", what, got, want, most)
			}
		}
		check("days", get("/global/spend/logs"), "date", "spend", s.sumBy(within, byDay), false)
		tm := func(a *bill.Attempt) bool { return within(a) && a.Token == s.keys["tm"] }
		check("days of a key", w.call("master", "GET", "/global/spend/logs"+period+"&api_key="+w.plain("tm"), nil).Body, "date", "spend", s.sumBy(tm, byDay), false)
		check("keys", get("/global/spend/keys"), "api_key", "total_spend", s.sumBy(within, byKey), true)
		check("models", get("/global/spend/models"), "model", "total_spend", s.sumBy(within, func(a *bill.Attempt) string { return a.Model }), true)
		check("providers", get("/global/spend/provider"), "provider", "spend", s.sumBy(within, func(a *bill.Attempt) string { return a.Provider }), true)
		tags := s.sumBy(within, func(a *bill.Attempt) string { return fmt.Sprint(append(a.Tags, "")[0]) })
		check("tags", get("/global/spend/tags").(M)["spend_per_tag"], "name", "spend", tags, true)
		check("tags", get("/spend/tags"), "individual_request_tag", "total_spend", tags, true)
		if seen := w.call("iu", "GET", "/spend/tags"+period, nil).Body.([]any); len(seen) != 0 {
			t.Error(seen)
		}
		teams := s.sumBy(within, func(a *bill.Attempt) string { return cmp.Or(a.Team, "Unassigned") })
		doc := get("/global/spend/teams").(M)
		check("teams", doc["total_spend_per_team"], "team_id", "total_spend", teams, true)
		if _, all := s.of(within); teams["t1"]+teams["t2"]+teams["Unassigned"] != all {
			t.Errorf("%v is not all of %s", teams, all)
		}
		check("a team's days", doc["daily_spend"], "date", "t1", s.sumBy(tm, byDay), false)
		if names := fmt.Sprint(get("/global/spend/all_tag_names"), get("/global/all_end_users"), get("/global/spend/all_end_users")); names !=
			"map[tag_names:[red]] map[end_users:[customer]] map[end_users:[customer]]" {
			t.Error(names)
		}
		customers := w.call("master", "POST", "/global/spend/end_users", M{"startTime": "2026-11-19", "endTime": "2026-11-20", "api_key": s.keys["tm"]}).Body
		check("customers", customers, "end_user", "total_spend", s.sumBy(tm, func(a *bill.Attempt) string { return a.EndUser }), true)
		w.refused(400, "startTime", "master", "POST", "/global/spend/end_users", M{"startTime": "2026-11-19"})

		calls, _ := s.of(within)
		activity := get("/global/activity").(M)
		if daily := activity["daily_data"].([]any); activity["sum_api_requests"] != json.Number(fmt.Sprint(len(calls))) ||
			activity["sum_total_tokens"] != json.Number(fmt.Sprint(15*len(calls))) || len(daily) != 2 || daily[0].(M)["date"] != "Nov 19" || daily[0].(M)["api_requests"] != json.Number("72") {
			t.Error(activity)
		}
		if models := get("/global/activity/model").([]any); len(models) != 1 || models[0].(M)["model"] != "gpt" || fmt.Sprint(models[0].(M)["daily_data"]) != fmt.Sprint(activity["daily_data"]) {
			t.Error(models)
		}
		if first := get("/global/spend/keys").([]any)[0].(M); first["api_key"] == s.keys["tm"] && first["key_alias"] != "alias of tm" || first["key_name"] != "sk-...6789" {
			t.Error(first)
		}
		if one := w.call("master", "GET", "/global/spend/keys"+period+"&limit=1", nil).Body.([]any); len(one) != 1 {
			t.Error(one)
		}
		for _, path := range []string{"/global/spend/logs", "/global/spend/keys", "/global/spend/teams", "/global/activity", "/spend/tags"} {
			w.refused(400, `"param":"start_date"`, "master", "GET", path+"?start_date=x", nil)
		}
	})
}

func TestSpendReports(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-18&end_date=2026-11-25"
		all := func(*bill.Attempt) bool { return true }
		get := func(as, target string) any { return w.call(as, "GET", target, nil).Body }
		byDay := map[string]money.Nano{}
		of := map[string]string{"teams": "team_name", "customers": "customer"}
		for part, target := range map[string]string{"teams": "", "customers": "&group_by=customer"} {
			clear(byDay)
			names := map[string]money.Nano{}
			var days []string
			for _, d := range get("master", "/global/spend/report"+period+target).([]any) {
				days = append(days, d.(M)["group_by_day"].(string))
				if _, err := time.Parse("2006-01-02T00:00:00+00:00", days[len(days)-1]); err != nil {
					t.Error(err)
				}
				for _, e := range d.(M)[part].([]any) {
					var parts money.Nano
					for _, m := range e.(M)["metadata"].([]any) {
						parts += nano(t, m.(M)["spend"])
						if m.(M)["model"] != "gpt" || m.(M)["api_key"] == "" {
							t.Error(m)
						}
					}
					total := nano(t, e.(M)["total_spend"])
					if parts != total {
						t.Errorf("%v comes to %s", e, parts)
					}
					names[e.(M)[of[part]].(string)] += total
				}
			}
			want := s.sumBy(all, func(a *bill.Attempt) string {
				if part == "teams" {
					return cmp.Or(a.Team, "Unassigned Team")
				}
				return a.EndUser
			})
			if !maps.Equal(names, want) || !slices.IsSorted(days) || len(days) < 4 {
				t.Errorf("%s: %v, not %v; %v", part, names, want, days)
			}
		}
		user := func(id string) attempts { return func(a *bill.Attempt) bool { return a.User == id } }
		for name, c := range map[string]struct {
			as, target string
			is         attempts
		}{
			"keys":           {"master", "/global/spend/report" + period + "&group_by=api_key", all},
			"a key":          {"master", "/global/spend/report" + period + "&api_key=" + s.keys["ta"], user("u-ta")},
			"a user":         {"av", "/global/spend/report" + period + "&internal_user_id=u-tm", user("u-tm")},
			"a team":         {"av", "/global/spend/report" + period + "&team_id=t2", func(a *bill.Attempt) bool { return a.Team == "t2" }},
			"oneself":        {"iu", "/user/spend/report" + period, user("u-iu")},
			"another":        {"master", "/user/spend/report" + period + "&internal_user_id=u-iu", user("u-iu")},
			"nobody's":       {"iu", "/user/spend/report" + period + "&internal_user_id=u-tm", func(*bill.Attempt) bool { return false }},
			"team's member":  {"tm", "/team/spend/report" + period, user("u-tm")},
			"not its team":   {"tm", "/team/spend/report" + period + "&team_id=t2", func(*bill.Attempt) bool { return false }},
			"team's admin":   {"ta", "/team/spend/report" + period + "&team_id=t1", func(a *bill.Attempt) bool { return a.Team == "t1" }},
			"organization's": {"oa", "/team/spend/report" + period + "&team_id=t1", func(a *bill.Attempt) bool { return a.Team == "t1" }},
		} {
			got, most := listedBy(t, get(c.as, c.target), "api_key", "total_cost")
			if want := s.sumBy(c.is, func(a *bill.Attempt) string { return a.Token }); !maps.Equal(got, want) || !most {
				t.Errorf("%s: %v, not %v", name, got, want)
			}
		}
		// A customer's calls in one team.
		got := map[string]money.Nano{}
		for _, d := range get("master", "/global/spend/report"+period+"&team_id=t1&customer_id=customer").([]any) {
			e := d.(M)["teams_customers"].([]any)[0].(M)
			got[d.(M)["group_by_day"].(string)[:10]] = nano(t, e["total_spend"])
			if e["team_name"] != "t1" || e["customer"] != "customer" || nano(t, e["metadata"].([]any)[0].(M)["spend"]) != nano(t, e["total_spend"]) {
				t.Error(e)
			}
		}
		tm := func(a *bill.Attempt) bool { return a.Team == "t1" }
		if want := s.sumBy(tm, func(a *bill.Attempt) string { return time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly) }); !maps.Equal(got, want) {
			t.Errorf("%v, not %v", got, want)
		}
		if none := get("master", "/global/spend/report"+period+"&team_id=t2&customer_id=customer").([]any); len(none) != 0 {
			t.Error(none)
		}
		w.refused(400, `"param":"start_date"`, "master", "GET", "/global/spend/report", nil)
		w.refused(400, "exclude each other", "master", "GET", "/global/spend/report"+period+"&internal_user_id=x&team_id=y", nil)
		w.refused(400, `"param":"team_id"`, "iu", "GET", "/team/spend/report"+period, nil)
	})
}

// TestSpendOfBefore: sums that came from another system are in the answers.
func TestSpendOfBefore(t *testing.T) {
	each(t, func(w *world) {
		err := w.store.Change(w.Context(), store.Actor{}, func(tx *store.Tx) error {
			rows := []store.DailySpend{
				{EntityType: "user", RowID: "1", EntityID: "u", Day: "2026-01-05", Token: "t", ModelGroup: "old", Spend: 7, Requests: 2, SuccessfulRequests: 2},
				{EntityType: "team", RowID: "1", EntityID: "team", Day: "2026-01-05", Token: "t", ModelGroup: "old", Spend: 7, Requests: 2, SuccessfulRequests: 2},
			}
			if err := tx.TakeDaily(rows); err != nil {
				return err
			}
			return tx.Note(store.Imported, identity.KindImport, "daily", nil, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		const period = "?start_date=2026-01-01&end_date=2026-01-31"
		for _, path := range []string{"/user/daily/activity", "/team/daily/activity"} {
			if meta := w.ok("master", "GET", path+period, nil)["metadata"].(M); nano(t, meta["total_spend"]) != 7 || meta["total_api_requests"] != json.Number("2") {
				t.Error(path, meta)
			}
		}
		if days := w.call("master", "GET", "/global/spend/logs"+period, nil).Body.([]any); len(days) != 1 || nano(t, days[0].(M)["spend"]) != 7 {
			t.Error(days)
		}
	})
}

// TestSpendReset: the master key alone sets all to nothing, budgets with it.
func TestSpendReset(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		w.userKey("pa", "u-pa", identity.RoleProxyAdmin)
		_, all := s.of(sees["master"])
		for _, as := range []string{"pa", "av", "iu"} {
			before := w.changes()
			if a := w.call(as, "POST", "/global/spend/reset", nil); a.Status != 401 && a.Status != 403 || w.changes() != before {
				t.Errorf("%s: %d %s", as, a.Status, a.Raw)
			}
		}
		if got := nano(t, w.ok("master", "GET", "/global/spend", nil)["spend"]); got != all {
			t.Fatal(got, all)
		}
		if got := w.ok("master", "POST", "/global/spend/reset", nil); got["status"] != "success" {
			t.Error(got)
		}
		if got := nano(t, w.ok("master", "GET", "/global/spend", nil)["spend"]); got != 0 {
			t.Error(got)
		}
		for _, id := range []string{"t1", "t2"} {
			team, err := store.Get[identity.Team](w.Context(), w.store, id)
			if err != nil || team.Spend != 0 {
				t.Error(team, err)
			}
		}
		user, err := store.Get[identity.User](w.Context(), w.store, "u-iu")
		if _, spent := s.of(sees["iu"]); err != nil || user.Spend != spent {
			t.Errorf("%+v, not %s: %v", user, spent, err)
		}
		noted := w.ok("master", "GET", "/audit?object_id=*", nil)["audit_logs"].([]any)
		if len(noted) != 2 || nano(t, noted[1].(M)["before_value"].(M)["spend"]) != all || noted[1].(M)["table_name"] != "LiteLLM_VerificationToken" {
			t.Error(noted)
		}
	})
}
