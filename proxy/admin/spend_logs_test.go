package admin

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// spendWorld is a world in which several have called.
type spendWorld struct {
	*world
	rows []*bill.Attempt
	keys map[string]string // name → digest
}

// newSpendWorld makes 240 calls over three days, twenty minutes from each other.
func newSpendWorld(w *world) *spendWorld {
	w.Helper()
	s := &spendWorld{world: w, keys: map[string]string{}}
	w.organization("o1", "u-oa:org_admin")
	w.team("t1", "o1", "u-ta:admin", "u-tm")
	w.team("t2", "")
	w.insert(&identity.Member{TeamID: "t2", UserID: "u-tm", Role: identity.TeamUser})
	for _, u := range []string{"u-oa", "u-ta", "u-tm", "u-iu"} {
		w.user(u, identity.RoleInternalUser)
	}
	w.user("u-av", identity.RoleProxyAdminViewer)
	for name, edit := range map[string]func(k *identity.Key){
		"oa": func(k *identity.Key) { k.UserID = "u-oa" },
		"ta": func(k *identity.Key) { k.UserID = "u-ta" },
		"tm": func(k *identity.Key) { k.UserID, k.TeamID, k.Alias = "u-tm", "t1", "alias of tm" },
		"iu": func(k *identity.Key) { k.UserID = "u-iu" },
		"av": func(k *identity.Key) { k.UserID = "u-av" },
		"tk": func(k *identity.Key) { k.TeamID = "t2" },
	} {
		s.keys[name] = w.key(name, edit)
	}
	for n := range 240 {
		a := &bill.Attempt{Host: "h", Sequence: int64(n)}
		at := time.Date(2026, 11, 18, 23, 0, 0, 0, time.UTC).Add(time.Duration(n) * 20 * time.Minute)
		binary.BigEndian.PutUint64(a.RequestID[:8], uint64(at.UnixMilli())<<16|0x7000)
		binary.BigEndian.PutUint64(a.RequestID[8:], 1<<63|uint64(n))
		a.Intent.At, a.Settle.At, a.FirstByteAt = at.UnixNano(), at.Add(3*time.Second).UnixNano(), at.Add(time.Second).UnixNano()
		a.Settle.At += int64(n/3%5) * int64(time.Millisecond)
		a.FirstByteAt += int64(n/3*7%5) * int64(time.Millisecond)
		a.CallType, a.Model, a.ModelID, a.Provider, a.ProviderModel = "/v1/chat/completions", "gpt", "m-1", "openai", "gpt-2026"
		a.Status, a.HTTPStatus, a.Cost, a.CallID, a.ProviderID = bill.StatusSuccess, 200, money.Nano(100+n), fmt.Sprint("call-", n), fmt.Sprint("chatcmpl-", n)
		a.Usage.Input, a.Usage.Output, a.Usage.Total, a.Session = 10, 5, 15, fmt.Sprint("s-", n%7)
		name := []string{"oa", "ta", "tm", "iu", "tk"}[n%5]
		a.Token = s.keys[name]
		if name != "tk" {
			a.User = "u-" + name
		} else {
			a.Team = "t2"
		}
		if name == "tm" {
			a.Team, a.Organization, a.Tags, a.EndUser = "t1", "o1", []string{"red"}, "customer"
		}
		if n%12 == 11 {
			a.Status, a.HTTPStatus, a.ErrorKind, a.Cost, a.FirstByteAt = bill.StatusFailure, 429, "rate_limit", 0, 0
		}
		s.rows = append(s.rows, a)
	}
	body := store.SpendBody{RequestID: s.rows[2].RequestID, Messages: []byte(`[{"role":"user"}]`), Response: []byte(`{"id":"x"}`)}
	if _, err := w.store.Ship(w.Context(), &store.Batch{Host: "h", Rows: s.rows, Bodies: []store.SpendBody{body}}); err != nil {
		w.Fatal(err)
	}
	return s
}

// attempts says which attempts are meant.
type attempts = func(a *bill.Attempt) bool

// sees says which rows callers see: their own, and what they are in charge of.
var sees = map[string]attempts{
	"master": func(*bill.Attempt) bool { return true },
	"av":     func(*bill.Attempt) bool { return true },
	"oa":     func(a *bill.Attempt) bool { return a.User == "u-oa" || a.Organization == "o1" },
	"ta":     func(a *bill.Attempt) bool { return a.User == "u-ta" || a.Team == "t1" },
	"tm":     func(a *bill.Attempt) bool { return a.User == "u-tm" },
	"iu":     func(a *bill.Attempt) bool { return a.User == "u-iu" },
}

// of adds up the rows that meet all conditions.
func (s *spendWorld) of(is ...func(a *bill.Attempt) bool) (calls []string, spend money.Nano) {
	for _, a := range s.rows {
		if !slices.ContainsFunc(is, func(f func(*bill.Attempt) bool) bool { return !f(a) }) {
			calls, spend = append(calls, a.CallID), spend+a.Cost
		}
	}
	return calls, spend
}

// nano is an amount of an answer.
func nano(t *testing.T, v any) money.Nano {
	t.Helper()
	n, err := money.Parse(fmt.Sprint(v))
	if err != nil {
		t.Fatal(v, err)
	}
	return n
}

// callsOf are the calls of a list of rows.
func callsOf(rows any) (out []string) {
	for _, r := range rows.([]any) {
		out = append(out, r.(M)["metadata"].(M)["litellm_call_id"].(string))
	}
	return out
}

func TestSpendLogs(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		third := func(a *bill.Attempt) bool {
			return time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly) == "2026-11-20"
		}
		for as, seen := range sees {
			list := func(target string) []string { return callsOf(w.call(as, "GET", target, nil).Body) }
			want, _ := s.of(seen)
			slices.Reverse(want)
			if got := list("/spend/logs"); !slices.Equal(got, want) {
				t.Errorf("%s sees %d calls, not %d", as, len(got), len(want))
			}
			want, spend := s.of(seen, third)
			slices.Reverse(want)
			if got := list("/spend/logs?start_date=2026-11-20&end_date=2026-11-20&summarize=false"); !slices.Equal(got, want) {
				t.Errorf("%s sees %d calls of a day, not %d", as, len(got), len(want))
			}
			days := w.call(as, "GET", "/spend/logs?start_date=2026-11-20&end_date=2026-11-21", nil).Body.([]any)
			if first := days[0].(M); first["startTime"] != "2026-11-20" || nano(t, first["spend"]) != spend || len(days) != 2 {
				t.Errorf("%s: %v of %s", as, days, spend)
			}
			byKey, inKey := s.of(seen, third, func(a *bill.Attempt) bool { return a.Token == s.keys["tm"] })
			if got := days[0].(M)[s.keys["tm"]]; len(byKey) > 0 && nano(t, got) != inKey {
				t.Errorf("%s: %v, not %s", as, got, inKey)
			}
			want, _ = s.of(seen, third)
			slices.Reverse(want)
			page := w.ok(as, "GET", "/spend/logs/v2?start_date=2026-11-20&end_date=2026-11-20&page=2&page_size=5", nil)
			if got := callsOf(page["data"]); !slices.Equal(got, want[min(5, len(want)):min(10, len(want))]) || page["total"] != json.Number(fmt.Sprint(len(want))) {
				t.Errorf("%s: page %v of %v", as, got, page["total"])
			}
			// What somebody does not see is not found by any id.
			foreign := s.rows[4] // of a team's key
			for _, id := range []string{"call-4", "chatcmpl-4", requestText(foreign)} {
				if got := list("/spend/logs?start_date=2026-11-18&request_id=" + id); len(got) == 1 != seen(foreign) {
					t.Errorf("%s asks for %s: %v", as, id, got)
				}
			}
		}
		w.refused(401, "Only proxy admin", "tk", "GET", "/spend/logs", nil)
		for target, is := range map[string]attempts{
			"api_key=" + s.keys["iu"]:               func(a *bill.Attempt) bool { return a.User == "u-iu" },
			"api_key=" + w.plain("iu"):              func(a *bill.Attempt) bool { return a.User == "u-iu" },
			"key_alias=alias%20of%20tm":             func(a *bill.Attempt) bool { return a.User == "u-tm" },
			"key_alias=none":                        func(*bill.Attempt) bool { return false },
			"user_id=u-ta&status_filter=success":    func(a *bill.Attempt) bool { return a.User == "u-ta" && a.Status == bill.StatusSuccess },
			"error_code=429&team_id=t1":             func(a *bill.Attempt) bool { return a.HTTPStatus == 429 && a.Team == "t1" },
			"min_spend=0.0000002&end_user=customer": func(a *bill.Attempt) bool { return a.Cost >= 200 && a.EndUser == "customer" },
			"max_spend=0.0000002&model=gpt-2026&model_group=gpt&model_id=m-1&session_id=s-3": func(a *bill.Attempt) bool { return a.Cost <= 200 && a.Session == "s-3" },
			"cache_hit_filter=True": func(*bill.Attempt) bool { return false },
		} {
			want, _ := s.of(is)
			page := w.ok("master", "GET", "/spend/logs/v2?start_date=2026-11-01&end_date=2026-11-30&page_size=100&sort_order=asc&"+target, nil)
			if got := callsOf(page["data"]); !slices.Equal(got, want) {
				t.Errorf("%s: %d calls, not %d", target, len(got), len(want))
			}
		}
		session := w.ok("master", "GET", "/spend/logs/session/ui?session_id=s-3&start_date=2026-11-18&end_date=2026-11-23&page_size=100", nil)
		if want, _ := s.of(func(a *bill.Attempt) bool { return a.Session == "s-3" }); !slices.Equal(callsOf(session["data"]), want) {
			t.Error(session)
		}
		dear := w.ok("master", "GET", "/spend/logs/v2?start_date=2026-11-01&end_date=2026-11-30&page_size=1&sort_by=spend", nil)
		if got := callsOf(dear["data"]); got[0] != "call-238" || dear["has_more"] != true {
			t.Error(got, dear["has_more"])
		}
	})
}

func requestText(a *bill.Attempt) string {
	id := a.RequestID
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// TestSpendLogShape: one row, with what was kept of its body.
func TestSpendLogShape(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		row := w.call("tm", "GET", "/spend/logs?request_id="+requestText(s.rows[2]), nil).Body.([]any)[0].(M)
		for name, want := range map[string]any{
			"request_id": requestText(s.rows[2]), "call_type": "acompletion", "api_key": s.keys["tm"], "spend": json.Number("0.000000102"),
			"total_tokens": json.Number("15"), "prompt_tokens": json.Number("10"), "completion_tokens": json.Number("5"),
			"startTime": "2026-11-18T23:40:00Z", "endTime": "2026-11-18T23:40:03Z", "completionStartTime": "2026-11-18T23:40:01Z",
			"model": "gpt-2026", "model_id": "m-1", "model_group": "gpt", "custom_llm_provider": "openai", "user": "u-tm", "cache_hit": "False",
			"team_id": "t1", "organization_id": "o1", "end_user": "customer", "session_id": "s-2", "status": "success", "requester_ip_address": nil,
		} {
			if row[name] != want {
				t.Errorf("%s is %v, not %v", name, row[name], want)
			}
		}
		meta := row["metadata"].(M)
		if meta["user_api_key_alias"] != "alias of tm" || meta["attempt"] != json.Number("0") || meta["status"] != "success" || meta["error_information"] != nil {
			t.Error(meta)
		}
		if text := fmt.Sprint(row["request_tags"], row["messages"], row["response"]); text != "[red] [map[role:user]] map[id:x]" {
			t.Error(text)
		}
		row = w.call("master", "GET", "/spend/logs?request_id="+requestText(s.rows[11]), nil).Body.([]any)[0].(M)
		if info := row["metadata"].(M)["error_information"].(M); row["status"] != "failure" || info["error_code"] != "429" || info["error_class"] != "rate_limit" {
			t.Error(row)
		}
	})
}

// TestSpendDates: what is no date is named.
func TestSpendDates(t *testing.T) {
	each(t, func(w *world) {
		w.user("u", identity.RoleInternalUser)
		for query, name := range map[string]string{
			"start_date=yesterday&end_date=2026-11-20":  "start_date",
			"start_date=2026-11-20&end_date=2026-13-01": "end_date",
			"start_date=2026-11-20&end_date=2026-11-19": "end_date",
			"start_date=2016-11-20&end_date=2026-11-19": "start_date",
		} {
			for _, path := range []string{"/spend/logs", "/spend/logs/v2", "/spend/logs/session/ui", "/user/daily/activity", "/tag/daily/activity"} {
				w.refused(400, `"param":"`+name+`"`, "master", "GET", path+"?session_id=s&"+query, nil)
			}
		}
		for target, name := range map[string]string{
			"/spend/logs/v2":                       "start_date",
			"/spend/logs/v2?start_date=2026-11-20": "end_date",
			"/team/daily/activity":                 "start_date",
			"/spend/logs/v2?start_date=2026-11-20&end_date=2026-11-20&page=201&page_size=50": "page",
			"/spend/logs/v2?start_date=2026-11-20&end_date=2026-11-20&search=x":              "search",
			"/spend/logs/v2?start_date=2026-11-20&end_date=2026-11-20&error_code=x":          "error_code",
			"/spend/logs/session/ui?session_id=":                                             "session_id",
			"/spend/logs?request_id=" + strings.Repeat("x", 2000):                            "request_id",
		} {
			w.refused(400, `"param":"`+name+`"`, "master", "GET", target, nil)
		}
	})
}

func TestDailyActivity(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		const period = "?start_date=2026-11-18&end_date=2026-11-25"
		has := func(of func(a *bill.Attempt) string) func(a *bill.Attempt) bool {
			return func(a *bill.Attempt) bool { return of(a) != "" }
		}
		for path, is := range map[string]attempts{
			"/user/daily/activity":                                   func(*bill.Attempt) bool { return true },
			"/user/daily/activity#user_id=u-tm":                      func(a *bill.Attempt) bool { return a.User == "u-tm" },
			"/team/daily/activity":                                   has(func(a *bill.Attempt) string { return a.Team }),
			"/team/daily/activity#exclude_team_ids=t2":               func(a *bill.Attempt) bool { return a.Team == "t1" },
			"/team/daily/activity#team_ids=t2,t3":                    func(a *bill.Attempt) bool { return a.Team == "t2" },
			"/organization/daily/activity":                           has(func(a *bill.Attempt) string { return a.Organization }),
			"/tag/daily/activity#tags=red,blue":                      func(a *bill.Attempt) bool { return len(a.Tags) > 0 },
			"/customer/daily/activity":                               has(func(a *bill.Attempt) string { return a.EndUser }),
			"/end_user/daily/activity#end_user_ids=customer":         has(func(a *bill.Attempt) string { return a.EndUser }),
			"/user/daily/activity#model=gpt&api_key=" + s.keys["tm"]: func(a *bill.Attempt) bool { return a.Token == s.keys["tm"] },
		} {
			for as, seen := range sees {
				calls, spend := s.of(is, seen)
				target, filter, _ := strings.Cut(path, "#")
				var sum money.Nano
				var requests, days int64
				for page := 1; ; page++ {
					doc := w.ok(as, "GET", fmt.Sprint(target, period, "&", filter, "&page_size=4&page=", page), nil)
					meta := doc["metadata"].(M)
					n, _ := meta["total_api_requests"].(json.Number).Int64()
					sum, requests = sum+nano(t, meta["total_spend"]), requests+n
					var inDays money.Nano
					for _, d := range doc["results"].([]any) {
						days++
						inDays += nano(t, d.(M)["metrics"].(M)["spend"])
						for _, part := range []string{"models", "model_groups", "providers", "endpoints", "api_keys", "entities"} {
							var of money.Nano
							for _, p := range d.(M)["breakdown"].(M)[part].(M) {
								of += nano(t, p.(M)["metrics"].(M)["spend"])
							}
							if of != nano(t, d.(M)["metrics"].(M)["spend"]) {
								t.Errorf("%s as %s: %s come to %s: %v", path, as, part, of, d)
							}
						}
					}
					if inDays != nano(t, meta["total_spend"]) {
						t.Errorf("%s as %s: days come to %s: %v", path, as, inDays, meta)
					}
					if meta["has_more"] != true {
						break
					}
				}
				if sum != spend || requests != int64(len(calls)) {
					t.Errorf("%s as %s: %d requests, %s; not %d, %s", path, as, requests, sum, len(calls), spend)
				}
			}
		}
		doc := w.ok("master", "GET", "/team/daily/activity?start_date=2026-11-20&end_date=2026-11-20", nil)
		day := doc["results"].([]any)[0].(M)
		entity := day["breakdown"].(M)["entities"].(M)["t1"].(M)
		key := entity["api_key_breakdown"].(M)[s.keys["tm"]].(M)
		if day["date"] != "2026-11-20" || entity["metadata"].(M)["team_alias"] != "t1" || key["metadata"].(M)["key_alias"] != "alias of tm" ||
			key["metadata"].(M)["key_exists"] != true {
			t.Error(day)
		}
	})
}
