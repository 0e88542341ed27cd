package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestOrganizationMembers(t *testing.T) {
	each(t, func(w *world) {
		w.organization("o1")
		w.insert(&identity.User{ID: "u1", Email: "One@example.org", Role: "internal_user"})
		const member = "budget_id created_at litellm_budget_table organization_id spend updated_at user user_email user_id user_role"
		doc := w.ok("master", "POST", "/organization/member_add", M{
			"organization_id": "o1", "max_budget_in_organization": 5,
			"member": []M{{"role": "org_admin", "user_email": "one@example.org"}, {"role": "internal_user", "user_email": "two@example.org"}, {"role": "internal_user_viewer", "user_id": "u3"}},
		})
		memberships, _ := doc["updated_organization_memberships"].([]any)
		users, _ := doc["updated_users"].([]any)
		if len(memberships) != 3 || len(users) != 3 || names(memberships[0]) != member || at1(users[0], "user_id") != "u1" || at1(users[2], "user_id") != "u3" ||
			at1(memberships[1], "user_email") != "two@example.org" || fmt.Sprint(at1(memberships[2], "litellm_budget_table", "max_budget")) != "5.0" {
			w.Fatalf("%v", doc)
		}
		if u, err := store.Get[identity.User](context.Background(), w.store, "u3"); err != nil || u.Role != "internal_user" {
			w.Errorf("%+v %v", u, err)
		}

		a := w.ok("master", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_email": "ONE@example.org", "role": "internal_user"})
		if names(a) != member || a["user_role"] != "internal_user" || fmt.Sprint(at1(a, "litellm_budget_table", "max_budget")) != "5.0" {
			w.Errorf("%v", a)
		}
		budget := a["budget_id"]
		if a = w.ok("master", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u1", "max_budget_in_organization": 7}); a["budget_id"] != budget ||
			fmt.Sprint(at1(a, "litellm_budget_table", "max_budget")) != "7.0" || a["user_role"] != "internal_user" {
			w.Errorf("%v", a)
		}
		if a = w.ok("master", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u1", "max_budget_in_organization": nil}); a["budget_id"] != nil {
			w.Errorf("%v", a)
		}
		if found := w.call("master", "POST", "/budget/info", M{"budgets": []any{budget}}); string(found.Raw) != "[]" {
			w.Errorf("the budget stays: %s", found.Raw)
		}

		before := w.changes()
		w.refused(409, "u1", "master", "POST", "/organization/member_add", M{"organization_id": "o1", "member": []M{
			{"role": "internal_user", "user_id": "u9"}, {"role": "internal_user", "user_id": "u1"},
		}})
		w.refused(404, "o9", "master", "POST", "/organization/member_add", M{"organization_id": "o9", "member": M{"role": "internal_user", "user_id": "u9"}})
		w.refused(422, "'org_admin', 'internal_user' or 'internal_user_viewer'", "master", "POST", "/organization/member_add",
			M{"organization_id": "o1", "member": M{"role": "proxy_admin", "user_id": "u9"}})
		w.refused(422, `"loc":["body","member",1,"role"]`, "master", "POST", "/organization/member_add",
			M{"organization_id": "o1", "member": []M{{"role": "internal_user", "user_id": "u9"}, {"user_id": "u8"}}})
		w.refused(422, "user_email", "master", "POST", "/organization/member_add", M{"organization_id": "o1", "member": M{"role": "internal_user"}})
		w.refused(422, "member", "master", "POST", "/organization/member_add", M{"organization_id": "o1", "member": "u9"})
		w.refused(400, "member", "master", "POST", "/organization/member_add", M{"organization_id": "o1", "member": []M{}})
		w.refused(400, "max_budget_in_organization", "master", "POST", "/organization/member_add",
			M{"organization_id": "o1", "member": M{"role": "internal_user", "user_id": "u9"}, "max_budget_in_organization": -1})
		w.refused(400, "different users", "master", "POST", "/organization/member_add",
			M{"organization_id": "o1", "member": M{"role": "internal_user", "user_id": "u9", "user_email": "one@example.org"}})
		w.refused(404, "member", "master", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u9", "role": "org_admin"})
		w.refused(422, "role", "master", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u1", "role": "proxy_admin"})
		w.refused(404, "member", "master", "DELETE", "/organization/member_delete", M{"organization_id": "o1", "user_id": "u9"})
		w.refused(400, "user_id", "master", "DELETE", "/organization/member_delete", M{"organization_id": "o1"})
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		w.ok("master", "DELETE", "/organization/member_delete", M{"organization_id": "o1", "user_email": "two@example.org"})
		if got := w.actions(before); len(got) != 2 || !strings.HasPrefix(got[0], "deleted organization_member o1/") || !strings.HasPrefix(got[1], "deleted budget ") {
			w.Errorf("%q", got)
		}
	})
}

func TestOrganizationMembersByAdmins(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/organization/new", M{"organization_id": "o1", "organization_alias": "one", "max_budget": 10})
		w.organization("o2", "u-far:org_admin")
		w.insert(&identity.OrganizationMember{OrganizationID: "o1", UserID: "u-head", Role: identity.OrgAdmin})
		w.insert(&identity.OrganizationMember{OrganizationID: "o1", UserID: "u-int", Role: "internal_user"})
		w.userKey("head", "u-head", identity.RoleInternalUser)
		w.userKey("far", "u-far", identity.RoleInternalUser)
		w.userKey("int", "u-int", identity.RoleInternalUser)
		w.userKey("view", "u-view", identity.RoleProxyAdminViewer)
		add := func(role string, budget any) M {
			return M{"organization_id": "o1", "member": M{"role": role, "user_id": "u-new"}, "max_budget_in_organization": budget}
		}
		before := w.changes()
		w.refused(404, "o1", "far", "POST", "/organization/member_add", add("internal_user", nil))
		w.refused(401, "", "int", "POST", "/organization/member_add", add("internal_user", nil))
		w.refused(403, "", "view", "POST", "/organization/member_add", add("internal_user", nil))
		w.refused(400, "max_budget_in_organization", "head", "POST", "/organization/member_add", add("internal_user", 11))
		w.refused(404, "o1", "far", "DELETE", "/organization/member_delete", M{"organization_id": "o1", "user_id": "u-int"})
		w.refused(401, "", "int", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u-int", "role": "org_admin"})
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
		w.ok("head", "POST", "/organization/member_add", add("internal_user", 10))
		w.ok("head", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u-int", "role": "org_admin"})
		w.ok("int", "DELETE", "/organization/member_delete", M{"organization_id": "o1", "user_id": "u-head"})
		w.refused(401, "", "head", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u-new", "role": "org_admin"})
	})
}

// One user added twice at the same time is a member once.
func TestOrganizationMemberOnce(t *testing.T) {
	each(t, func(w *world) {
		w.organization("o1")
		statuses := w.together(6, func(int) answer {
			return w.call("master", "POST", "/organization/member_add", M{
				"organization_id": "o1", "member": M{"role": "internal_user", "user_email": "x@example.org"}, "max_budget_in_organization": 1,
			})
		})
		users, err := store.Count[identity.User](context.Background(), w.store)
		budgets, err2 := store.Count[identity.Budget](context.Background(), w.store)
		if statuses[200] != 1 || statuses[409] != 5 || users != 1 || budgets != 1 || err != nil || err2 != nil {
			w.Errorf("%v, %d users, %d budgets, %v %v", statuses, users, budgets, err, err2)
		}
	})
}
