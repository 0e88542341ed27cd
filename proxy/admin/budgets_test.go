package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// shape is the names and JSON types of a document, as recordings are compared.
func shape(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "text"
	case bool:
		return "bool"
	case json.Number:
		return "number"
	case []any:
		var parts []string
		for _, e := range v {
			if s := shape(e); !slices.Contains(parts, s) {
				parts = append(parts, s)
			}
		}
		return "[" + strings.Join(parts, " ") + "]"
	case map[string]any:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, name+":"+shape(v[name]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// shaped fails where an answer has another status or shape than recorded.
func (w *world) shaped(a answer, status int, recorded string) {
	w.Helper()
	var want any
	d := json.NewDecoder(strings.NewReader(recorded))
	d.UseNumber()
	if err := d.Decode(&want); err != nil {
		w.Fatal(err)
	}
	if a.Status != status || shape(a.Body) != shape(want) {
		w.Errorf("%d %s\n has the shape %s\n recorded %d  %s", a.Status, a.Raw, shape(a.Body), status, shape(want))
	}
}

// at is what a document has at a path of names.
func at1(doc any, names ...string) any {
	for _, name := range names {
		m, _ := doc.(map[string]any)
		doc = m[name]
	}
	return doc
}

const (
	recordedBudget = `{"budget_id":"b1","max_budget":1.5,"soft_budget":1.0,"max_parallel_requests":null,"tpm_limit":null,"rpm_limit":5,"model_max_budget":null,
		"budget_duration":"7d","budget_reset_at":"2026-11-23T00:00:00Z","created_at":"2026-11-21T07:19:10.423000Z","created_by":"default_user_id",
		"updated_at":"2026-11-21T07:19:10.422000Z","updated_by":"default_user_id","allowed_models":[],"tpd_limit":null,"temp_budget_increase":null,
		"temp_budget_expiry":null,"litellm_budget_table":null}`
	recordedBudgetNew = `{"budget_id":"3611b022","max_budget":2.0,"soft_budget":null,"max_parallel_requests":null,"tpm_limit":null,"rpm_limit":null,
		"model_max_budget":null,"budget_duration":null,"budget_reset_at":null,"created_at":"2026-11-21T07:19:10.441000Z","created_by":"default_user_id",
		"updated_at":"2026-11-21T07:19:10.441000Z","updated_by":"default_user_id","allowed_models":[],"tpd_limit":null,"temp_budget_increase":null,
		"temp_budget_expiry":null,"litellm_budget_table":null}`
)

// saturday is when the recordings were made.
var saturday = time.Date(2026, 11, 21, 7, 19, 10, 0, time.UTC)

func onSaturday(c *Config) { c.Now = func() time.Time { return saturday } }

func TestBudgets(t *testing.T) {
	each(t, func(w *world) {
		made := w.call("master", "POST", "/budget/new", M{"budget_id": "b1", "max_budget": 1.5, "soft_budget": 1, "budget_duration": "7d", "rpm_limit": 5})
		w.shaped(made, 200, recordedBudget)
		if got := at1(made.Body, "budget_reset_at"); got != "2026-11-23T00:00:00Z" {
			w.Errorf("reset at %v", got)
		}
		w.shaped(w.call("master", "POST", "/budget/new", M{"max_budget": 2}), 200, recordedBudgetNew)
		w.shaped(w.call("master", "POST", "/budget/info", M{"budgets": []string{"b1", "nope", "b1"}}), 200, "["+recordedBudget+"]")
		w.shaped(w.call("master", "POST", "/budget/update", M{"budget_id": "b1", "max_budget": 3}), 200, recordedBudget)
		w.shaped(w.call("master", "POST", "/budget/update", M{"budget_id": "nope", "max_budget": 3}), 200, "null")
		w.shaped(w.call("master", "GET", "/budget/list", nil), 200, "["+recordedBudget+","+recordedBudgetNew+"]")
		seen := map[any]bool{}
		for page := range 2 {
			rows, _ := w.call("master", "GET", fmt.Sprintf("/budget/list?page=%d&page_size=1", page+1), nil).Body.([]any)
			for _, r := range rows {
				seen[at1(r, "budget_id")] = true
			}
		}
		if len(seen) != 2 || !seen["b1"] {
			w.Errorf("pages: %v", seen)
		}
		w.shaped(w.call("master", "GET", "/budget/list?page=3&page_size=1", nil), 200, "[]")
		settings := w.call("master", "GET", "/budget/settings?budget_id=b1", nil)
		if rows, _ := settings.Body.([]any); settings.Status != 200 || len(rows) != 6 || fmt.Sprint(at1(rows[0], "field_value")) != "3.0" {
			w.Errorf("settings: %d %s", settings.Status, settings.Raw)
		}

		// An update changes what it names; null clears.
		doc := w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "rpm_limit": nil, "tpm_limit": 7, "model_max_budget": M{"mock": M{"max_budget": 1, "budget_duration": "1d"}}})
		if doc["rpm_limit"] != nil || fmt.Sprint(doc["max_budget"]) != "3.0" || fmt.Sprint(doc["tpm_limit"]) != "7" || doc["budget_reset_at"] == nil {
			w.Errorf("%v", doc)
		}
		if doc = w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "budget_duration": "1mo"}); doc["budget_reset_at"] != "2026-12-01T00:00:00Z" {
			w.Errorf("a new duration: %v", doc["budget_reset_at"])
		}
		if doc = w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "budget_reset_at": "2027-01-01"}); doc["budget_reset_at"] != "2027-01-01T00:00:00Z" {
			w.Errorf("a given reset: %v", doc["budget_reset_at"])
		}
		if doc = w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "budget_duration": "1mo"}); doc["budget_reset_at"] != "2027-01-01T00:00:00Z" {
			w.Errorf("the same duration: %v", doc["budget_reset_at"])
		}
		if doc = w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "budget_duration": nil}); doc["budget_reset_at"] != nil || doc["budget_duration"] != nil {
			w.Errorf("no duration: %v", doc)
		}

		w.key("k", func(k *identity.Key) { k.BudgetID = "b1" })
		w.refused(409, "1 keys", "master", "POST", "/budget/delete", M{"id": "b1"})
		w.call("master", "POST", "/customer/new", M{"user_id": "c", "budget_id": "b1"})
		w.refused(409, "1 keys, 1 customers", "master", "POST", "/budget/delete", M{"id": "b1"})
		w.refused(404, "nope", "master", "POST", "/budget/delete", M{"id": "nope"})
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b2"})
		w.ok("master", "POST", "/budget/delete", M{"id": "b2"})
		w.refused(404, "b2", "master", "POST", "/budget/delete", M{"id": "b2"})
	}, onSaturday)
}

// A budget that somebody who comes is given is used, though nobody has come yet.
func TestBudgetsOfThoseToCome(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b-all", "max_budget": 1})
		w.refused(409, "max_end_user_budget_id", "master", "POST", "/budget/delete", M{"id": "b-all"})
		w.ok("master", "POST", "/team/new", M{"team_id": "t1", "team_member_budget": 5})
		team, err := store.Get[identity.Team](t.Context(), w.store, "t1")
		if err != nil {
			w.Fatal(err)
		}
		id := teamBudgetID(team)
		w.ok("master", "POST", "/team/member_delete", M{"team_id": "t1", "user_id": "default_user_id"}) // who made it
		w.refused(409, "team_member_budget", "master", "POST", "/budget/delete", M{"id": id})
		w.ok("master", "POST", "/team/delete", M{"team_ids": []string{"t1"}})
		if a := w.call("master", "POST", "/budget/delete", M{"id": id}); a.Status != 200 && a.Status != 404 {
			w.Errorf("without the team: %d %s", a.Status, a.Raw)
		}
	}, func(c *Config) { c.CustomerBudget = "b-all" })
}

func TestBudgetsRefuse(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b1", "max_budget": 1})
		w.userKey("internal", "u1", identity.RoleInternalUser)
		w.userKey("viewer", "u2", identity.RoleProxyAdminViewer)
		before := w.changes()
		w.refused(409, "b1", "master", "POST", "/budget/new", M{"budget_id": "b1"})
		for _, c := range []struct {
			status int
			text   string
			body   any
		}{
			{400, "max_budget", M{"max_budget": -1}},
			{400, "soft_budget", M{"soft_budget": -0.5}},
			{400, "rpm_limit", M{"rpm_limit": -1}},
			{400, "tpd_limit", M{"tpd_limit": -1}},
			{400, "budget_duration", M{"budget_duration": "often"}},
			{400, "model_max_budget.m", M{"model_max_budget": M{"m": M{"max_budget": -1}}}},
			{400, "model_max_budget.m", M{"model_max_budget": M{"m": "much"}}},
			{400, "budget_duration", M{"model_max_budget": M{"m": M{"budget_duration": "0d"}}}},
			{400, "rpm_limit", M{"model_max_budget": M{"m": M{"rpm_limit": -4}}}},
			{400, "model_max_budget.m", M{"model_max_budget": M{"m": M{"limit": 4}}}},
			{422, `"loc":["body","max_budget"]`, M{"max_budget": "ten"}},
			{422, `"loc":["body","rpm_limit"]`, M{"rpm_limit": 1.5}},
			{422, `"loc":["body","model_max_budget"]`, M{"model_max_budget": []int{1}}},
			{422, `"loc":["body","budget_reset_at"]`, M{"budget_reset_at": "soon"}},
		} {
			w.refused(c.status, c.text, "master", "POST", "/budget/new", c.body)
			if body, ok := c.body.(M); ok {
				body["budget_id"] = "nope"
				w.refused(c.status, c.text, "master", "POST", "/budget/update", body)
				body["budget_id"] = "b1"
				w.refused(c.status, c.text, "master", "POST", "/budget/update", body)
			}
		}
		w.refused(422, "budget_id", "master", "POST", "/budget/update", M{"max_budget": 1})
		w.refused(400, "budgets", "master", "POST", "/budget/info", M{"budgets": []string{}})
		w.refused(404, "nope", "master", "GET", "/budget/settings?budget_id=nope", nil)
		w.refused(422, "budget_id", "master", "GET", "/budget/settings", nil)
		w.refused(422, "page", "master", "GET", "/budget/list?page=0", nil)
		for _, as := range []string{"internal", "viewer"} {
			status := map[string]int{"internal": 401, "viewer": 403}[as]
			w.refused(status, "", as, "POST", "/budget/new", M{"max_budget": 1})
			w.refused(status, "", as, "POST", "/budget/update", M{"budget_id": "b1", "max_budget": 100})
			w.refused(status, "", as, "POST", "/budget/delete", M{"id": "b1"})
		}
		w.refused(401, "Only proxy admin", "internal", "GET", "/budget/list", nil)
		w.refused(401, "Only proxy admin", "internal", "POST", "/budget/info", M{"budgets": []string{"b1"}})
		if a := w.call("viewer", "GET", "/budget/list", nil); a.Status != 200 {
			w.Errorf("viewer: %d %s", a.Status, a.Raw)
		}
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
	})
}

// Two that make the same budget: one does.
func TestBudgetOnce(t *testing.T) {
	each(t, func(w *world) {
		statuses := w.together(8, func(int) answer {
			return w.call("master", "POST", "/budget/new", M{"budget_id": "same", "max_budget": 1})
		})
		if statuses[200] != 1 || statuses[409] != 7 {
			w.Errorf("%v", statuses)
		}
		changes, err := w.store.Since(context.Background(), 0, 100)
		if err != nil || len(changes) != 1 {
			w.Errorf("%v %v", changes, err)
		}
	})
}

// together makes calls at the same time and counts their statuses.
func (w *world) together(n int, call func(i int) answer) map[int]int {
	var wait sync.WaitGroup
	var mu sync.Mutex
	out := map[int]int{}
	for i := range n {
		wait.Add(1)
		go func() {
			defer wait.Done()
			a := call(i)
			mu.Lock()
			defer mu.Unlock()
			out[a.Status]++
		}()
	}
	wait.Wait()
	return out
}

// kinds lists what was changed, oldest first, as kind and id.
func (w *world) kinds(after int64) []string {
	w.Helper()
	changes, err := w.store.Since(context.Background(), after, 1000)
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, c := range changes {
		out = append(out, c.Kind.String()+" "+c.ID)
	}
	return out
}

// actions are the changes as action, kind and id, oldest first.
func (w *world) actions(after int64) []string {
	w.Helper()
	changes, _, err := w.store.Changes(context.Background(), store.ChangeFilter{Oldest: true})
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, c := range changes {
		if c.Number > after {
			out = append(out, string(c.Action)+" "+c.Kind.String()+" "+c.ID)
		}
	}
	return out
}
