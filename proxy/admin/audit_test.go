package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
)

func TestAudit(t *testing.T) {
	each(t, func(w *world) {
		w.shaped(w.call("master", "GET", "/audit", nil), 200, `{"audit_logs":[],"total":0,"page":1,"page_size":10,"total_pages":0}`)

		route, params := routeOf("POST", "/budget/new")
		reply := w.api.Serve(context.Background(), &Request{
			Route: route, Params: params, Body: []byte(`{"budget_id":"b1","max_budget":1}`), Caller: w.caller("master"), ID: "req-7", Remote: "192.0.2.9",
			ChangedBy: "somebody", Reason: "quarter end",
		})
		if reply.Status != 200 {
			w.Fatalf("%d %s", reply.Status, reply.Body)
		}
		w.ok("master", "POST", "/budget/update", M{"budget_id": "b1", "max_budget": 2})
		w.ok("master", "POST", "/customer/block", M{"user_ids": []string{"c1"}})
		w.ok("master", "POST", "/budget/delete", M{"id": "b1"})

		page := w.ok("master", "GET", "/audit?page_size=3&page=2", nil)
		rows, _ := page["audit_logs"].([]any)
		if fmt.Sprintf("%v %v %v %v", page["total"], page["page"], page["page_size"], page["total_pages"]) != "4 2 3 2" || len(rows) != 1 {
			w.Fatalf("%v", page)
		}
		first := rows[0]
		for name, want := range (M{
			"id": "1", "changed_by": "default_user_id", "changed_by_api_key": digestHex("sk-master"), "action": "created", "table_name": "LiteLLM_BudgetTable",
			"object_id": "b1", "before_value": nil, "claimed_by": "somebody", "source": "192.0.2.9", "request_id": "req-7", "reason": "quarter end",
		}) {
			if got := at1(first, name); got != want {
				w.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if got := fmt.Sprint(at1(first, "updated_values", "max_budget")); got != "1.0" {
			w.Errorf("the budget was recorded as %s", got)
		}
		if one := w.ok("master", "GET", "/audit/1", nil); fmt.Sprint(one) != fmt.Sprint(first) {
			w.Errorf("%v\n%v", one, first)
		}

		today := url.QueryEscape(time.Now().UTC().Format(time.DateOnly))
		tomorrow := url.QueryEscape(time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly))
		for query, want := range map[string]string{
			"action=blocked": "3", "action=updated": "2", "object_id=b1": "4 2 1", "table_name=LiteLLM_EndUserTable": "3", "table_name=budget": "4 2 1",
			"table_name=nothing": "", "changed_by=default_user_id": "4 3 2 1", "changed_by=u": "", "changed_by_api_key=" + digestHex("sk-master"): "4 3 2 1",
			"sort_order=asc": "1 2 3 4", "start_date=" + today: "4 3 2 1", "end_date=" + today: "4 3 2 1", "start_date=" + tomorrow: "", "end_date=2020-01-01": "",
			"action=created&object_id=b1&table_name=litellm_budgettable": "1", "claimed_by=somebody": "1", "claimed_by=else": "", "request_id=req-7": "1",
			"source=192.0.2.9": "1", "source=192.0.2": "", "search=b1": "4 2 1", "search=3": "3", "search=default_user_id": "4 3 2 1", "search=x%27+OR+1%3D1": "",
			"search=" + digestHex("sk-master"): "4 3 2 1", "object_team_id=t": "", "object_key_hash=k": "", "table_name=import": "", "action=imported": "",
		} {
			var ids []string
			page := w.ok("master", "GET", "/audit?"+query, nil)
			for _, r := range page["audit_logs"].([]any) {
				ids = append(ids, at1(r, "id").(string))
			}
			if got := strings.Join(ids, " "); got != want || fmt.Sprint(page["total"]) != fmt.Sprint(len(ids)) {
				w.Errorf("%s: %q of %v, want %q", query, got, page["total"], want)
			}
		}
	})
}

func TestAuditRefuses(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("viewer", "u1", identity.RoleProxyAdminViewer)
		w.userKey("internal", "u2", identity.RoleInternalUser)
		w.organization("o1", "u2:org_admin")
		w.key("bare", nil)
		w.refused(401, "", "internal", "GET", "/audit", nil)
		w.refused(401, "", "internal", "GET", "/audit/1", nil)
		w.refused(401, "", "bare", "GET", "/audit", nil)
		w.refused(422, "page", "master", "GET", "/audit?page=0", nil)
		w.refused(422, "page_size", "master", "GET", "/audit?page_size=101", nil)
		w.refused(422, "start_date", "master", "GET", "/audit?start_date=yesterday", nil)
		w.refused(422, "sort_order", "master", "GET", "/audit?sort_order=up", nil)
		for _, id := range []string{"0", "-1", "999", "x", "99999999999999999999"} {
			w.refused(404, "", "master", "GET", "/audit/"+id, nil)
		}
		if doc := w.ok("viewer", "GET", "/audit?page_size=100", nil); fmt.Sprint(doc["total"]) == "0" {
			w.Errorf("%v", doc)
		}
	})
}

// What is recorded has no secret in it: not the password, the key or the sealed
// text of a user, a key, a credential or a model.
func TestAuditTellsNoSecret(t *testing.T) {
	each(t, func(w *world) {
		const canary = "canary-5f1d"
		w.insert(
			&identity.User{ID: "u1", Password: canary}, &identity.Credential{ID: "c", Name: "c", Values: map[string]string{"api_key": canary}, SealedWith: "x"},
			&identity.Model{ID: "m", Name: "m", Params: identity.Fields{"api_key": json.RawMessage(`"` + canary + `"`)}, SealedWith: "x"},
		)
		a := w.call("master", "GET", "/audit?page_size=100", nil)
		if rows, _ := at1(a.Body, "audit_logs").([]any); len(rows) != 3 || strings.Contains(string(a.Raw), canary) {
			w.Errorf("%s", a.Raw)
		}
	})
}
