package admin

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// The recorded story of budgets, customers, tags, access groups, invitations,
// projects and the record.
func TestStoryOfNouns(t *testing.T) {
	each(t, func(w *world) {
		w.tell(func(s *scene) bool {
			for _, noun := range []string{"budget/", "customer/", "tag/", "access_group", "invitation/", "project/", "audit", "user/new internal_user u-int"} {
				if strings.HasPrefix(s.Name, noun) {
					return true
				}
			}
			return false
		}, map[string]string{"customer/new duplicate": "status 409, recorded 500"})
	})
}

// Settings and the record are the proxy admins' to write and the admin viewers'
// to read; nobody else reaches them, whatever it belongs to.
func TestSettingsMatrix(t *testing.T) {
	each(t, func(w *world) {
		w.organization("o1", "u-oa:org_admin")
		w.team("t1", "o1", "u-ta:admin", "u-tm")
		for name, role := range map[string]identity.Role{
			"pa": identity.RoleProxyAdmin, "av": identity.RoleProxyAdminViewer, "oa": identity.RoleInternalUser, "ta": identity.RoleInternalUser,
			"tm": identity.RoleInternalUser, "iu": identity.RoleInternalUser, "iv": identity.RoleInternalViewer,
		} {
			w.userKey(name, "u-"+name, role)
		}
		w.key("tk", func(k *identity.Key) { k.TeamID = "t1" })
		w.key("bk", nil)
		before := w.changes()
		called := 0
		for _, r := range access.Routes() {
			ours := slices.Contains([]string{"budget management", "Customer Management", "tag management", "access groups", "jwt_mappings", "Audit Logging"}, r.Tag)
			if !ours || r.Later != "" || !slices.Contains([]access.Action{access.SettingsWrite, access.SettingsRead, access.AuditRead}, r.Actions[0]) {
				continue
			}
			target := strings.NewReplacer("{access_group}", "x", "{access_group_id}", "x", "{id}", "x").Replace(r.Path)
			for _, as := range []string{"pa", "av", "oa", "ta", "tm", "iu", "iv", "tk", "bk"} {
				called++
				want := 401
				switch {
				case as == "pa", as == "av" && r.Actions[0] != access.SettingsWrite:
					want = 0 // it gets as far as what is wrong with the call
				case as == "av":
					want = 403
				}
				got := w.call(as, r.Method, target, nil)
				if want == 0 && (got.Status == 401 || got.Status == 403) || want != 0 && got.Status != want {
					w.Errorf("%s %s as %s: %d %s", r.Method, r.Path, as, got.Status, got.Raw)
				}
			}
		}
		if called < 9*30 {
			w.Errorf("only %d calls", called)
		}
		// A budget without limits is the one thing that an empty body makes.
		if got := w.kinds(before); len(got) != 1 || !strings.HasPrefix(got[0], "budget ") {
			w.Errorf("changed %q", got)
		}
	})
}

// An admin who is demoted while its call waits for its turn writes nothing,
// whatever the route: the last look at its role is under the lock.
func TestRecheck(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("pa", "u-pa", identity.RoleProxyAdmin)
		role := func(r identity.Role) {
			err := w.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
				return tx.Update(&identity.User{ID: "u-pa", Role: r.String()})
			})
			if err != nil {
				w.Fatal(err)
			}
		}
		refused := 0
		for _, r := range access.Routes() {
			if r.Edge || r.Public || r.Later != "" || r.Method == "GET" || len(r.Actions) == 0 {
				continue
			}
			if slices.Contains(r.Actions, access.SpendReset) {
				continue // the master key's alone, which nobody can demote
			}
			role(identity.RoleProxyAdmin)
			body, e := decode([]byte(bodies[1]))
			if e != nil {
				w.Fatal(e)
			}
			maps.DeleteFunc(body, func(name string, _ json.RawMessage) bool {
				return !slices.ContainsFunc(r.Body, func(f access.Field) bool { return f.Name == name })
			})
			c := &Call{Request: Request{Route: &r, Caller: w.caller("pa"), Params: map[string]string{}}, Ctx: context.Background(), Now: saturday, Body: body, api: w.api}
			if e := c.mayCall(); e != nil {
				w.Fatal(r.Path, e)
			}
			role(identity.RoleInternalViewer)
			before := w.changes()
			_, e = w.api.handlers[r.Method+" "+r.Path](w.api, c)
			if e != nil && (e.HTTPStatus() == 401 || e.HTTPStatus() == 403) {
				refused++
			}
			if w.changes() != before {
				w.Errorf("%s %s: a demoted admin wrote something", r.Method, r.Path)
			}
		}
		if refused < 50 {
			w.Errorf("only %d routes refused for the sake of the role", refused)
		}
	}, withModels(t, &catalog{}))
}
