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

// fieldsOf lists LiteLLM's names of an organization's fields, from its schema.
const organizationSchema = "budget_id created_at created_by litellm_budget_table metadata model_spend models object_permission object_permission_id " +
	"organization_alias organization_id spend updated_at updated_by users"

func names(doc any) string {
	m, _ := doc.(map[string]any)
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestOrganizations(t *testing.T) {
	each(t, func(w *world) {
		made := w.ok("master", "POST", "/organization/new", M{
			"organization_id": "o1", "organization_alias": "Acme", "models": []string{"mock"}, "max_budget": 10, "budget_duration": "7d",
			"metadata": M{"a": 1}, "model_rpm_limit": M{"mock": 5},
		})
		if names(made) != organizationSchema {
			w.Errorf("fields %s\nschema %s", names(made), organizationSchema)
		}
		if fmt.Sprint(at1(made, "litellm_budget_table", "max_budget")) != "10.0" || fmt.Sprint(made["metadata"]) != "map[a:1 model_rpm_limit:map[mock:5]]" {
			w.Errorf("%v", made)
		}
		w.refused(409, "o1", "master", "POST", "/organization/new", M{"organization_id": "o1", "organization_alias": "again"})
		// One without limits has a budget all the same, and an id of its own.
		plain := w.ok("master", "POST", "/organization/new", M{"organization_alias": "Plain"})
		if plain["organization_id"] == "" || plain["budget_id"] == nil || at1(plain, "litellm_budget_table", "max_budget") != nil {
			w.Errorf("%v", plain)
		}

		w.user("u1", identity.RoleInternalUser)
		w.team("t1", "o1", "u1")
		w.insert(&identity.OrganizationMember{OrganizationID: "o1", UserID: "u1", Role: "internal_user"})
		info := w.ok("master", "GET", "/organization/info?organization_id=o1", nil)
		if want := strings.Replace(strings.Replace(organizationSchema, "metadata", "members metadata", 1), "updated_at", "teams updated_at", 1); names(info) != want {
			w.Errorf("fields %s\nschema %s", names(info), want)
		}
		members, _ := info["members"].([]any)
		teams, _ := info["teams"].([]any)
		const member = "budget_id created_at litellm_budget_table organization_id spend updated_at user user_email user_id user_role"
		if len(members) != 1 || names(members[0]) != member || len(teams) != 1 || at1(teams[0], "team_id") != "t1" {
			w.Errorf("%v", info)
		}
		for name, v := range made {
			if fmt.Sprint(info[name]) != fmt.Sprint(v) {
				w.Errorf("%s was made as %v and is read as %v", name, v, info[name])
			}
		}
		list, _ := w.call("master", "GET", "/organization/list?org_alias=ACM", nil).Body.([]any)
		if len(list) != 1 || fmt.Sprint(list[0]) != fmt.Sprint(info) {
			w.Errorf("%v", list)
		}
		if list, _ = w.call("master", "POST", "/organization/info", M{"organizations": []string{"o1", "nope"}}).Body.([]any); len(list) != 1 {
			w.Errorf("%v", list)
		}
		if list, _ = w.call("master", "GET", "/organization/list?org_id=nope", nil).Body.([]any); list == nil || len(list) != 0 {
			w.Errorf("%v", list)
		}

		doc := w.ok("master", "PATCH", "/organization/update", M{"organization_id": "o1", "organization_alias": "New", "max_budget": nil, "rpm_limit": 3, "spend": 2})
		if doc["organization_alias"] != "New" || at1(doc, "litellm_budget_table", "max_budget") != nil || fmt.Sprint(at1(doc, "litellm_budget_table", "rpm_limit")) != "3" ||
			doc["budget_id"] != made["budget_id"] || fmt.Sprint(doc["models"]) != "[mock]" || fmt.Sprint(doc["spend"]) != "2.0" || names(doc) != names(info) {
			w.Errorf("%v", doc)
		}
	}, onSaturday)
}

func TestOrganizationsRefuse(t *testing.T) {
	each(t, func(w *world) {
		w.organization("o1", "u-head:org_admin", "u-int")
		w.organization("o2", "u-far:org_admin")
		w.userKey("head", "u-head", identity.RoleInternalUser)
		w.userKey("far", "u-far", identity.RoleInternalUser)
		w.userKey("internal", "u-int", identity.RoleInternalUser)
		w.userKey("viewer", "u-view", identity.RoleProxyAdminViewer)
		w.key("bare", nil)
		before := w.changes()
		for _, c := range []struct {
			status int
			text   string
			body   M
		}{
			{400, "max_budget", M{"max_budget": -1}},
			{400, "tpm_limit", M{"tpm_limit": -1}},
			{400, "model_rpm_limit", M{"model_rpm_limit": M{"mock": -5}}},
			{400, "organization_alias", M{"organization_alias": ""}},
			{400, "budget_id", M{"budget_id": "b", "max_budget": 1}},
			{404, "nope", M{"budget_id": "nope"}},
			{422, "models", M{"models": "mock"}},
			{422, "metadata", M{"metadata": 1}},
		} {
			c.body["organization_id"] = "o1"
			w.refused(c.status, c.text, "master", "PATCH", "/organization/update", c.body)
			c.body["organization_id"] = "o9"
			if _, ok := c.body["organization_alias"]; !ok {
				c.body["organization_alias"] = "nine"
			}
			w.refused(c.status, c.text, "master", "POST", "/organization/new", c.body)
		}
		w.refused(422, "organization_alias", "master", "POST", "/organization/new", M{})
		w.refused(422, "organization_id", "master", "PATCH", "/organization/update", M{})
		w.refused(404, "o9", "master", "PATCH", "/organization/update", M{"organization_id": "o9"})
		w.refused(404, "o9", "master", "GET", "/organization/info?organization_id=o9", nil)
		w.refused(404, "o9", "master", "DELETE", "/organization/delete", M{"organization_ids": []string{"o1", "o9"}})

		alias := M{"organization_id": "o1", "organization_alias": "x"}
		w.refused(404, "o1", "far", "PATCH", "/organization/update", alias)
		w.refused(404, "o1", "far", "GET", "/organization/info?organization_id=o1", nil)
		w.refused(401, "", "internal", "PATCH", "/organization/update", alias)
		w.refused(403, "", "viewer", "PATCH", "/organization/update", alias)
		w.refused(401, "", "bare", "GET", "/organization/list", nil)
		w.refused(401, "", "head", "POST", "/organization/new", M{"organization_alias": "mine"})
		w.refused(401, "", "head", "DELETE", "/organization/delete", M{"organization_ids": []string{"o1"}})
		wide := M{"max_budget": 1e6, "models": []string{}, "budget_id": nil, "spend": 0, "metadata": M{}, "rpm_limit": nil}
		for name, v := range wide {
			w.refused(403, name, "head", "PATCH", "/organization/update", M{"organization_id": "o1", name: v})
		}
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		if doc := w.ok("head", "PATCH", "/organization/update", alias); doc["organization_alias"] != "x" {
			w.Errorf("%v", doc)
		}
	})
}

// Everybody sees the organizations that it belongs to, and of these its own
// part unless it is their admin.
func TestOrganizationsSeen(t *testing.T) {
	each(t, func(w *world) {
		w.organization("o1", "u-head:org_admin", "u-int", "u-other")
		w.organization("o2", "u-far:org_admin")
		w.team("t1", "o1", "u-int")
		w.team("t2", "o1", "u-other")
		for name, role := range map[string]identity.Role{
			"head": identity.RoleInternalUser, "far": identity.RoleInternalUser, "int": identity.RoleInternalUser, "view": identity.RoleProxyAdminViewer,
		} {
			w.userKey(name, "u-"+name, role)
		}
		for as, want := range map[string]string{
			"master": "o1: u-head u-int u-other; t1 t2 o2: u-far;", "view": "o1: u-head u-int u-other; t1 t2 o2: u-far;",
			"head": "o1: u-head u-int u-other; t1 t2", "far": "o2: u-far;", "int": "o1: u-int; t1",
		} {
			rows, _ := w.call(as, "GET", "/organization/list", nil).Body.([]any)
			var parts []string
			for _, r := range rows {
				var members, teams []string
				for _, m := range at1(r, "members").([]any) {
					members = append(members, at1(m, "user_id").(string))
				}
				for _, m := range at1(r, "teams").([]any) {
					teams = append(teams, at1(m, "team_id").(string))
				}
				slices.Sort(members)
				slices.Sort(teams)
				parts = append(parts, strings.TrimSpace(fmt.Sprintf("%v: %s; %s", at1(r, "organization_id"), strings.Join(members, " "), strings.Join(teams, " "))))
			}
			slices.Sort(parts)
			if got := strings.Join(parts, " "); got != want {
				w.Errorf("%s sees %q, want %q", as, got, want)
			}
		}
	})
}

// With an organization goes all that is in it, each with its own row in the
// record, and nothing else.
func TestOrganizationCascade(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/organization/new", M{"organization_id": "o1", "organization_alias": "o", "max_budget": 1})
		w.organization("o2", "u1")
		w.team("t1", "o1", "u1:admin")
		w.team("t2", "o2", "u1")
		w.insert(&identity.User{ID: "u1", OrganizationID: "o1"})
		w.key("ofteam", func(k *identity.Key) { k.TeamID, k.Token = "t1", digestHex("1") })
		w.key("oforg", func(k *identity.Key) { k.OrganizationID, k.Token = "o1", digestHex("2") })
		w.key("far", func(k *identity.Key) { k.TeamID, k.OrganizationID, k.Token = "t2", "o2", digestHex("3") })
		w.ok("master", "POST", "/project/new", M{"project_id": "p1", "team_id": "t1"})
		w.ok("master", "POST", "/organization/member_add", M{"organization_id": "o1", "member": M{"role": "internal_user", "user_id": "u1"}, "max_budget_in_organization": 1})
		before := w.changes()
		w.refused(404, "o9", "master", "DELETE", "/organization/delete", M{"organization_ids": []string{"o1", "o9"}})
		if after := w.changes(); after != before {
			w.Errorf("half a deletion: %d changes", after-before)
		}
		a := w.call("master", "DELETE", "/organization/delete", M{"organization_ids": []string{"o1"}})
		rows, _ := a.Body.([]any)
		if a.Status != 200 || len(rows) != 1 || at1(rows[0], "organization_id") != "o1" || len(at1(rows[0], "teams").([]any)) != 1 {
			w.Errorf("%d %s", a.Status, a.Raw)
		}
		got := w.actions(before)
		budgets := 0
		got = slices.DeleteFunc(got, func(s string) bool {
			if strings.HasPrefix(s, "deleted budget ") {
				budgets++
				return true
			}
			return false
		})
		slices.Sort(got)
		want := []string{
			"deleted key " + digestHex("1"), "deleted key " + digestHex("2"), "deleted organization o1", "deleted organization_member o1/u1",
			"deleted project p1", "deleted team t1", "deleted team_member t1/u1", "updated user u1",
		}
		slices.Sort(want)
		if !slices.Equal(got, want) || budgets != 3 {
			w.Errorf("%d budgets and\n%q, want\n%q", budgets, got, want)
		}
		ctx := context.Background()
		teams, err := store.Count[identity.Team](ctx, w.store, store.Eq("organization_id", "o1"))
		keys, err2 := store.Count[identity.Key](ctx, w.store, store.Eq("organization_id", "o1"))
		if err != nil || err2 != nil || teams+keys != 0 {
			w.Errorf("%d teams and %d keys are left, %v %v", teams, keys, err, err2)
		}
	})
}
