package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

const (
	recordedCustomer = `{"user_id":"c1","blocked":false,"alias":"acme","spend":0.0,"allowed_model_region":null,"default_model":null,"models":[],
		"budget_id":"ee277ee5","litellm_budget_table":{"budget_id":"ee277ee5","soft_budget":null,"max_budget":4.0,"max_parallel_requests":null,
		"tpm_limit":null,"rpm_limit":null,"tpd_limit":null,"model_max_budget":null,"budget_duration":null,"allowed_models":[],
		"temp_budget_increase":null,"temp_budget_expiry":null,"budget_reset_at":null,"created_at":"2026-11-21T07:19:10.501000Z"},
		"object_permission_id":null,"object_permission":null}`
	recordedShared = `{"user_id":"c2","blocked":false,"alias":null,"spend":0.0,"allowed_model_region":null,"default_model":null,"models":[],
		"budget_id":"b1","litellm_budget_table":{"budget_id":"b1","soft_budget":1.0,"max_budget":3.0,"max_parallel_requests":null,
		"tpm_limit":null,"rpm_limit":5,"tpd_limit":null,"model_max_budget":null,"budget_duration":"7d","allowed_models":[],
		"temp_budget_increase":null,"temp_budget_expiry":null,"budget_reset_at":"2026-11-23T00:00:00Z","created_at":"2026-11-21T07:19:10.423000Z"},
		"object_permission_id":null,"object_permission":null}`
)

func TestCustomers(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b1", "max_budget": 3, "soft_budget": 1, "budget_duration": "7d", "rpm_limit": 5})
		w.shaped(w.call("master", "POST", "/customer/new", M{"user_id": "c1", "alias": "acme", "max_budget": 4}), 200, recordedCustomer)
		w.shaped(w.call("master", "POST", "/customer/new", M{"user_id": "c2", "budget_id": "b1"}), 200, recordedShared)
		w.refused(409, "c1", "master", "POST", "/customer/new", M{"user_id": "c1"})
		w.shaped(w.call("master", "GET", "/customer/info?end_user_id=c1", nil), 200, recordedCustomer)
		w.shaped(w.call("master", "GET", "/end_user/list", nil), 200, "["+recordedCustomer+","+recordedShared+"]")
		w.shaped(w.call("master", "POST", "/customer/update", M{"user_id": "c1", "alias": "acme2"}), 200, recordedCustomer)
		blocked := w.call("master", "POST", "/customer/block", M{"user_ids": []string{"c1"}})
		w.shaped(blocked, 200, `{"blocked_users":[{"user_id":"c1","blocked":true,"alias":"acme2","spend":0.0,"allowed_model_region":null,"default_model":null,
			"models":[],"budget_id":"ee277ee5","litellm_budget_table":null,"object_permission_id":null,"object_permission":null}]}`)
		deleted := w.call("master", "POST", "/customer/delete", M{"user_ids": []string{"c2"}})
		w.shaped(deleted, 200, `{"deleted_customers":1,"message":"gone"}`)
		w.ok("master", "POST", "/budget/info", M{"budgets": []string{"b1"}})

		// What a create answers is what the next read answers.
		made := w.call("master", "POST", "/end_user/new", M{
			"user_id": "c3", "models": []string{"mock"}, "allowed_model_region": "eu", "default_model": "mock", "tpm_limit": 10, "budget_duration": "1mo",
			"spend": 0.5, "object_permission": M{"agents": []string{"a"}},
		})
		read := w.call("master", "GET", "/customer/info?end_user_id=c3", nil)
		if made.Status != 200 || string(made.Raw) != string(read.Raw) {
			w.Errorf("made %s\nread %s", made.Raw, read.Raw)
		}
		if at1(read.Body, "object_permission", "object_permission_id") != at1(read.Body, "object_permission_id") || fmt.Sprint(at1(read.Body, "spend")) != "0.5" {
			w.Errorf("%s", read.Raw)
		}

		// Blocking makes customers that are not known, and unblocking keeps the rest.
		w.ok("master", "POST", "/customer/block", M{"user_ids": []string{"new", "new", "c3"}})
		left := w.ok("master", "POST", "/customer/unblock", M{"user_ids": []string{"c3"}})
		if fmt.Sprint(left["blocked_users"]) != "[c1 new]" {
			w.Errorf("still blocked: %v", left)
		}
		if doc := w.ok("master", "GET", "/customer/info?end_user_id=new", nil); doc["blocked"] != true {
			w.Errorf("%v", doc)
		}
	}, onSaturday)
}

// A customer's own budget goes with it; one that it shares stays as it is.
func TestCustomerBudgets(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b1", "max_budget": 3, "rpm_limit": 5})
		w.ok("master", "POST", "/customer/new", M{"user_id": "c1", "budget_id": "b1"})
		w.ok("master", "POST", "/customer/new", M{"user_id": "c2", "budget_id": "b1"})
		doc := w.ok("master", "POST", "/customer/update", M{"user_id": "c1", "max_budget": 9})
		if doc["budget_id"] == "b1" || fmt.Sprint(at1(doc, "litellm_budget_table", "max_budget")) != "9.0" || fmt.Sprint(at1(doc, "litellm_budget_table", "rpm_limit")) != "5" {
			w.Errorf("own copy: %v", doc)
		}
		own := doc["budget_id"]
		if doc = w.ok("master", "GET", "/customer/info?end_user_id=c2", nil); fmt.Sprint(at1(doc, "litellm_budget_table", "max_budget")) != "3.0" {
			w.Errorf("the other one changed: %v", doc)
		}
		if doc = w.ok("master", "POST", "/customer/update", M{"user_id": "c1", "max_budget": 10}); doc["budget_id"] != own {
			w.Errorf("another budget: %v", doc)
		}
		// Back to the shared one: the own one is not needed any more.
		w.ok("master", "POST", "/customer/update", M{"user_id": "c1", "budget_id": "b1"})
		if found := w.call("master", "POST", "/budget/info", M{"budgets": []any{own}}); string(found.Raw) != "[]" {
			w.Errorf("the own budget stays: %s", found.Raw)
		}
		// Somebody else uses an own budget by now: it stays.
		own = w.ok("master", "POST", "/customer/new", M{"user_id": "c3", "max_budget": 1})["budget_id"]
		w.key("k", func(k *identity.Key) { k.BudgetID = own.(string) })
		w.ok("master", "POST", "/customer/delete", M{"user_ids": []string{"c3"}})
		if found := w.call("master", "POST", "/budget/info", M{"budgets": []any{own}}); string(found.Raw) == "[]" {
			w.Error("a budget that a key uses is gone")
		}
		if doc = w.ok("master", "POST", "/customer/update", M{"user_id": "c2", "budget_id": nil}); doc["budget_id"] != nil {
			w.Errorf("%v", doc)
		}
		w.ok("master", "POST", "/customer/new", M{"user_id": "c4", "max_budget": 1})
		before := w.changes()
		w.ok("master", "POST", "/customer/delete", M{"user_ids": []string{"c4", "c1"}})
		got := w.actions(before)
		if len(got) != 3 || !slices.Contains(got, "deleted customer c1") || !slices.Contains(got, "deleted customer c4") || !strings.HasPrefix(got[2], "deleted budget ") {
			w.Errorf("%q", got)
		}
	})
}

func TestCustomersRefuse(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/customer/new", M{"user_id": "c1", "max_budget": 4})
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b1"})
		w.userKey("internal", "u1", identity.RoleInternalUser)
		w.userKey("viewer", "u2", identity.RoleProxyAdminViewer)
		before := w.changes()
		for _, c := range []struct {
			status int
			text   string
			body   M
		}{
			{400, "budget_id", M{"max_budget": 1, "budget_id": "b1"}},
			{404, "nope", M{"budget_id": "nope"}},
			{400, "max_budget", M{"max_budget": -1}},
			{400, "tpm_limit", M{"tpm_limit": -1}},
			{400, "budget_duration", M{"budget_duration": "1y"}},
			{422, "Input should be 'eu' or 'us'", M{"allowed_model_region": "mars"}},
			{422, "blocked", M{"blocked": "perhaps"}},
			{422, "models", M{"models": "mock"}},
		} {
			c.body["user_id"] = "c9"
			w.refused(c.status, c.text, "master", "POST", "/customer/new", c.body)
			c.body["user_id"] = "c1"
			w.refused(c.status, c.text, "master", "POST", "/customer/update", c.body)
		}
		w.refused(422, "user_id", "master", "POST", "/customer/new", M{})
		w.refused(400, "user_id", "master", "POST", "/customer/new", M{"user_id": " "})
		w.refused(400, "control", "master", "POST", "/customer/new", M{"user_id": "a\nb"})
		w.refused(404, "c9", "master", "POST", "/customer/update", M{"user_id": "c9", "alias": "x"})
		w.refused(404, "c9", "master", "GET", "/customer/info?end_user_id=c9", nil)
		w.refused(422, "end_user_id", "master", "GET", "/customer/info", nil)
		w.refused(404, "c9", "master", "POST", "/customer/delete", M{"user_ids": []string{"c1", "c9"}})
		w.refused(404, "c9", "master", "POST", "/customer/unblock", M{"user_ids": []string{"c9"}})
		w.refused(400, "user_ids", "master", "POST", "/customer/delete", M{"user_ids": []string{}})
		w.refused(400, "user_ids", "master", "POST", "/customer/block", M{"user_ids": []string{"c1", ""}})
		w.refused(401, "Only proxy admin", "internal", "GET", "/customer/list", nil)
		w.refused(401, "Only proxy admin", "internal", "POST", "/customer/block", M{"user_ids": []string{"c1"}})
		w.refused(403, "proxy_admin_viewer", "viewer", "POST", "/end_user/new", M{"user_id": "c9"})
		if a := w.call("viewer", "GET", "/customer/list", nil); a.Status != 200 {
			w.Errorf("viewer: %d %s", a.Status, a.Raw)
		}
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
	})
}

// Updates of one customer at the same time leave one own budget, not several.
func TestCustomerTogether(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/customer/new", M{"user_id": "c1"})
		statuses := w.together(8, func(i int) answer {
			return w.call("master", "POST", "/customer/update", M{"user_id": "c1", "max_budget": i + 1})
		})
		if statuses[200] != 8 {
			w.Errorf("%v", statuses)
		}
		if n, err := store.Count[identity.Budget](context.Background(), w.store); err != nil || n != 1 {
			w.Errorf("%d budgets, %v", n, err)
		}
	})
}
