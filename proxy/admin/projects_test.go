package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

func TestProjects(t *testing.T) {
	each(t, func(w *world) {
		w.shaped(w.call("master", "GET", "/project/list", nil), 200, "[]")
		w.team("t1", "")
		w.team("t2", "")
		made := w.call("master", "POST", "/project/new", M{
			"project_id": "p1", "team_id": "t1", "project_alias": "flights", "description": "d", "models": []string{"mock"}, "max_budget": 5, "soft_budget": 1,
			"model_rpm_limit": M{"mock": 3}, "tags": []string{"x"}, "metadata": M{"a": 1}, "budget_duration": "1mo",
		})
		const schema = "blocked budget_id created_at created_by description litellm_budget_table metadata model_rpm_limit model_spend model_tpm_limit models " +
			"object_permission object_permission_id project_alias project_id spend team_id updated_at updated_by"
		if made.Status != 200 || names(made.Body) != schema {
			w.Fatalf("%d %s\n%s", made.Status, made.Raw, schema)
		}
		if fmt.Sprint(at1(made.Body, "metadata")) != "map[a:1 tags:[x]]" || fmt.Sprint(at1(made.Body, "model_rpm_limit")) != "map[mock:3]" || at1(made.Body, "model_tpm_limit") != nil {
			w.Errorf("%s", made.Raw)
		}
		if read := w.call("master", "GET", "/project/info?project_id=p1", nil); string(read.Raw) != string(made.Raw) {
			w.Errorf("made %s\nread %s", made.Raw, read.Raw)
		}
		doc := w.ok("master", "POST", "/project/update", M{"project_id": "p1", "description": nil, "max_budget": 6, "blocked": true, "model_rpm_limit": nil})
		if doc["description"] != nil || doc["blocked"] != true || doc["model_rpm_limit"] != nil || fmt.Sprint(at1(doc, "litellm_budget_table", "max_budget")) != "6.0" ||
			doc["project_alias"] != "flights" || fmt.Sprint(at1(doc, "metadata", "tags")) != "[x]" {
			w.Errorf("%v", doc)
		}
		w.key("k", func(k *identity.Key) { k.TeamID, k.ProjectID = "t1", "p1" })
		before := w.changes()
		w.refused(409, "1 keys", "master", "DELETE", "/project/delete", M{"project_ids": []string{"p1"}})
		w.refused(409, "1 keys", "master", "POST", "/project/update", M{"project_id": "p1", "team_id": "t2"})
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		w.ok("master", "POST", "/project/new", M{"project_id": "p2", "team_id": "t1"})
		if doc = w.ok("master", "POST", "/project/update", M{"project_id": "p2", "team_id": "t2"}); doc["team_id"] != "t2" {
			w.Errorf("%v", doc)
		}
		before = w.changes()
		gone := w.call("master", "DELETE", "/project/delete", M{"project_ids": []string{"p2", "p2"}})
		if rows, _ := gone.Body.([]any); gone.Status != 200 || len(rows) != 1 || names(rows[0]) != schema {
			w.Errorf("%d %s", gone.Status, gone.Raw)
		}
		if got := w.actions(before); len(got) != 2 || got[0] != "deleted project p2" || !strings.HasPrefix(got[1], "deleted budget ") {
			w.Errorf("%q", got)
		}
	}, onSaturday)
}

func TestProjectsRefuse(t *testing.T) {
	each(t, func(w *world) {
		ten, five := 10*money.Dollar, int64(5)
		w.insert(&identity.Team{ID: "t1", OrganizationID: "o1", Models: []string{"mock"}, Caps: identity.Caps{MaxBudget: &ten, RPMLimit: &five}})
		w.insert(&identity.Budget{ID: "b1"})
		w.organization("o1", "u-head:org_admin")
		w.organization("o2", "u-far:org_admin")
		w.insert(&identity.Member{TeamID: "t1", UserID: "u-lead", Role: "admin"}, &identity.Member{TeamID: "t1", UserID: "u-int", Role: "user"})
		for name, role := range map[string]identity.Role{
			"head": identity.RoleInternalUser, "far": identity.RoleInternalUser, "lead": identity.RoleInternalUser, "int": identity.RoleInternalUser,
			"view": identity.RoleProxyAdminViewer, "none": identity.RoleInternalUser,
		} {
			w.userKey(name, "u-"+name, role)
		}
		w.key("team", func(k *identity.Key) { k.TeamID = "t1" })
		w.ok("lead", "POST", "/project/new", M{"project_id": "p1", "team_id": "t1", "max_budget": 10, "rpm_limit": 5, "models": []string{"mock"}})
		before := w.changes()
		for _, c := range []struct {
			status int
			text   string
			body   M
		}{
			{400, "max_budget", M{"max_budget": 11}},
			{400, "rpm_limit", M{"rpm_limit": 6}},
			{400, "models", M{"models": []string{"mock", "gpt-4o-mini"}}},
			{400, "soft_budget", M{"soft_budget": 4, "max_budget": 4}},
			{400, "max_budget", M{"max_budget": -1}},
			{400, "model_rpm_limit.mock", M{"model_rpm_limit": M{"mock": -1}}},
			{400, "model_tpm_limit.mock", M{"model_tpm_limit": M{"mock": "many"}}},
			{400, "budget_id", M{"budget_id": "b1", "max_budget": 1}},
			{404, "nope", M{"budget_id": "nope"}},
			{422, "models", M{"models": "mock"}},
		} {
			c.body["team_id"], c.body["project_id"] = "t1", "p9"
			w.refused(c.status, c.text, "master", "POST", "/project/new", c.body)
			c.body["project_id"] = "p1"
			w.refused(c.status, c.text, "master", "POST", "/project/update", c.body)
		}
		w.refused(409, "p1", "master", "POST", "/project/new", M{"project_id": "p1", "team_id": "t1"})
		w.refused(422, "team_id", "master", "POST", "/project/new", M{})
		w.refused(404, "t9", "master", "POST", "/project/new", M{"team_id": "t9"})
		w.refused(404, "p9", "master", "POST", "/project/update", M{"project_id": "p9"})
		w.refused(404, "p9", "master", "GET", "/project/info?project_id=p9", nil)
		w.refused(404, "p9", "master", "DELETE", "/project/delete", M{"project_ids": []string{"p1", "p9"}})
		for name, v := range (M{"tags": []string{"x"}, "guardrails": []string{}, "budget_id": "b1", "object_permission": M{}, "temp_budget_increase": 1}) {
			w.refused(403, name, "lead", "POST", "/project/update", M{"project_id": "p1", name: v})
		}
		w.refused(403, "metadata", "lead", "POST", "/project/update", M{"project_id": "p1", "metadata": M{"tags": []string{"x"}}})
		for as, status := range map[string]int{"far": 404, "none": 401, "int": 401, "view": 403, "team": 401} {
			w.refused(status, "", as, "POST", "/project/new", M{"team_id": "t1"})
			w.refused(status, "", as, "POST", "/project/update", M{"project_id": "p1", "max_budget": 1})
			w.refused(status, "", as, "DELETE", "/project/delete", M{"project_ids": []string{"p1"}})
		}
		for as, sees := range map[string]bool{"master": true, "head": true, "lead": true, "int": true, "view": true, "team": true, "far": false} {
			rows, _ := w.call(as, "GET", "/project/list", nil).Body.([]any)
			info := w.call(as, "GET", "/project/info?project_id=p1", nil).Status
			if (len(rows) == 1) != sees || info != map[bool]int{true: 200, false: 404}[sees] {
				w.Errorf("%s sees %v, %d", as, rows, info)
			}
		}
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		w.ok("head", "POST", "/project/update", M{"project_id": "p1", "max_budget": 1})
		w.call("lead", "DELETE", "/project/delete", M{"project_ids": []string{"p1"}})
		w.refused(404, "p1", "master", "GET", "/project/info?project_id=p1", nil)
		if slices.Contains(w.actions(before), "deleted budget b1") {
			w.Error("a budget of others was deleted")
		}
	})
}
