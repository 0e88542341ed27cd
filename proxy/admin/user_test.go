package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// TestUsersAndTeamsStory tells the recorded calls of users and teams, with the
// keys that some of them are made with.
func TestUsersAndTeamsStory(t *testing.T) {
	each(t, func(w *world) {
		pick := func(s *scene) bool {
			_, target, _ := strings.Cut(s.Do, " ")
			mine := strings.HasPrefix(target, "/user/") || strings.HasPrefix(target, "/team/") ||
				strings.HasPrefix(target, "/v2/user/") || strings.HasPrefix(target, "/v2/team/")
			return mine || len(s.Save) > 0 && !strings.HasPrefix(target, "/model")
		}
		w.tell(pick, map[string]string{"team/member_update unknown": "status 404"})
	})
}

func TestUserNew(t *testing.T) {
	each(t, func(w *world) {
		w.team("t", "")
		w.organization("o")
		body := M{
			"user_id": "ann", "user_email": "Ann@example.org", "user_alias": "Ann", "user_role": "internal_user", "models": []string{"m"},
			"max_budget": 3, "budget_duration": "30d", "tpm_limit": 5, "metadata": M{"a": 1}, "key_alias": "anns",
			"duration": "1d", "teams": []any{M{"team_id": "t", "max_budget_in_team": 1, "user_role": "admin"}}, "organizations": []string{"o"},
			"password": "correct horse battery",
		}
		made := w.ok("master", "POST", "/user/new", body)
		plain, _ := made["key"].(string)
		if !strings.HasPrefix(plain, "sk-") || made["key_alias"] != "anns" || made["expires"] == nil {
			w.Errorf("the answer: %v", made)
		}
		info := w.ok("master", "GET", "/user/info?user_id=ann", nil)
		user, keys, teams := info["user_info"].(M), info["keys"].([]any), info["teams"].([]any)
		if user["user_email"] != "Ann@example.org" || fmt.Sprint(user["max_budget"]) != "3.0" || user["budget_reset_at"] == nil ||
			fmt.Sprint(user["metadata"]) != "map[a:1]" || len(keys) != 1 || len(teams) != 1 {
			w.Errorf("the next read: %v", info)
		}
		key := keys[0].(M)
		if key["token"] != digestHex(plain) || fmt.Sprint(key["models"]) != "[m]" || key["max_budget"] != nil || key["user_id"] != "ann" {
			w.Errorf("the key: %v", key)
		}
		m, err := store.Get[identity.Member](context.Background(), w.store, "t", "ann")
		if err != nil || m.Role != "admin" || m.BudgetID == "" {
			w.Errorf("the membership: %+v %v", m, err)
		}
		if _, err := store.Get[identity.OrganizationMember](context.Background(), w.store, "o", "ann"); err != nil {
			w.Error(err)
		}
		u, err := store.Get[identity.User](context.Background(), w.store, "ann")
		if err != nil || !strings.HasPrefix(u.Password, "$argon2id$") {
			w.Errorf("the password is kept as %q, %v", u.Password, err)
		}
		changes, _, err := w.store.Changes(context.Background(), store.ChangeFilter{Limit: 100})
		if err != nil {
			w.Fatal(err)
		}
		for _, c := range changes {
			if all := string(c.Before) + string(c.After); strings.Contains(all, "correct horse") || strings.Contains(all, "argon2id") || strings.Contains(all, plain) {
				w.Errorf("a secret is in the record of %s %s", c.Kind, c.ID)
			}
		}
		for _, wrong := range []string{plain, "correct horse"} {
			if strings.Contains(w.log.String(), wrong) {
				w.Error("a secret is in the log")
			}
		}
	})
}

// TestUserRefused sends what must be refused; each time nothing is written.
func TestUserRefused(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.User{ID: "a", Email: "a@example.org", Role: "internal_user", SSOUserID: "sso"})
		w.team("t", "")
		w.key("taken", func(k *identity.Key) { k.Alias = "taken" })
		for _, c := range []struct {
			status int
			text   string
			path   string
			body   M
		}{
			{409, "User with id a already exists", "/user/new", M{"user_id": "a"}},
			{409, "User with email A@EXAMPLE.org already exists", "/user/new", M{"user_email": "A@EXAMPLE.org"}},
			{409, "sso_user_id", "/user/new", M{"user_id": "b", "sso_user_id": "sso"}},
			{422, "literal_error", "/user/new", M{"user_role": "king"}},
			{422, "float_parsing", "/user/new", M{"max_budget": "ten"}},
			{400, "max_budget", "/user/new", M{"max_budget": -1}},
			{400, "rpm_limit", "/user/new", M{"rpm_limit": -1}},
			{400, "budget_duration", "/user/new", M{"budget_duration": "soon"}},
			{400, "model_rpm_limit", "/user/new", M{"model_rpm_limit": M{"mock": -1}}},
			{400, "model_tpm_limit", "/user/update", M{"user_id": "a", "model_tpm_limit": M{"mock": 1.5}}},
			{400, "model_tpm_limit", "/user/update", M{"user_id": "a", "model_tpm_limit": M{"": 1}}},
			{400, "soft_budget", "/user/new", M{"max_budget": 1, "soft_budget": 2}},
			{400, "8 to 128", "/user/new", M{"password": "short"}},
			{404, "Team=nope", "/user/new", M{"user_id": "b", "teams": []string{"t", "nope"}}},
			{404, "Organization", "/user/new", M{"user_id": "b", "organizations": []string{"nope"}}},
			{422, "list_type", "/user/new", M{"teams": "t"}},
			{422, "team_id", "/user/new", M{"teams": []any{M{"user_role": "admin"}}}},
			{400, "alias", "/user/new", M{"user_id": "b", "key_alias": "taken"}},
			{400, "user_alias", "/user/new", M{"user_alias": "a\x00b"}},
			{400, "user_id", "/user/new", M{"user_id": strings.Repeat("x", 1025)}},
			{400, "user_email", "/user/new", M{"user_email": strings.Repeat("x", 5000)}},
			{400, "", "/user/new", M{"metadata": M{"a": "\x00"}}},
			{400, "user_id or user_email", "/user/update", M{"user_alias": "x"}},
			{404, "User not found", "/user/update", M{"user_email": "nobody@example.org"}},
			{409, "already exists", "/user/update", M{"user_id": "new", "user_email": "a@example.org"}},
			{404, "passed user_id=nobody", "/user/delete", M{"user_ids": []string{"a", "nobody"}}},
			{400, "user_ids", "/user/delete", M{"user_ids": []string{}}},
			{422, "missing", "/user/delete", M{}},
			{400, "users", "/user/bulk_update", M{}},
			{400, "passwords", "/user/bulk_update", M{"users": slices.Repeat([]any{M{"user_id": "a", "password": "long enough"}}, 11)}},
			{400, "user_updates", "/user/bulk_update", M{"all_users": true, "user_updates": M{}}},
			{422, "literal_error", "/user/bulk_update", M{"users": []any{M{"user_id": "a", "user_role": "king"}}}},
		} {
			before := w.changes()
			w.refused(c.status, c.text, "master", "POST", c.path, c.body)
			if after := w.changes(); after != before {
				w.Errorf("%s %v was refused and wrote %d changes", c.path, c.body, after-before)
			}
		}
		w.refused(404, "", "master", "GET", "/user/info?user_id=nobody", nil)
		w.refused(404, "", "master", "GET", "/v2/user/info?user_id=nobody", nil)
		w.refused(422, "", "master", "GET", "/user/list?page=0", nil)
		w.refused(422, "", "master", "GET", "/user/list?page_size=101", nil)
		w.refused(400, "sort_by", "master", "GET", "/user/list?sort_by=password", nil)
	})
}

func TestUserUpdate(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("root", "root", identity.RoleProxyAdmin)
		w.userKey("ann", "ann", identity.RoleInternalUser)
		w.ok("root", "POST", "/user/update", M{"user_id": "ann", "user_email": "ann@example.org", "max_budget": 2, "budget_duration": "1d", "metadata": M{"a": 1}})
		data := w.ok("root", "POST", "/user/update", M{"user_email": "ANN@example.org", "max_budget": nil, "budget_duration": nil, "metadata": M{"b": 2}})["data"].(M)
		if data["user_id"] != "ann" || data["user_email"] != "ann@example.org" || data["max_budget"] != nil || data["budget_reset_at"] != nil || data["password"] != nil ||
			fmt.Sprint(data["metadata"]) != "map[b:2]" {
			w.Errorf("null clears, metadata is replaced: %v", data)
		}
		// On oneself it is the alias alone.
		w.ok("ann", "POST", "/user/update", M{"user_id": "ann", "user_alias": "Annie"})
		for field, v := range map[string]any{"user_role": "proxy_admin", "max_budget": 9, "models": []string{}, "rpm_limit": 9, "metadata": M{}, "password": "a long password", "spend": 0, "blocked": false} {
			w.refused(401, "Only proxy admin", "ann", "POST", "/user/update", M{"user_id": "ann", field: v})
		}
		w.refused(401, "Only proxy admin", "ann", "POST", "/user/update", M{"user_id": "root", "user_alias": "x"})
		// The last admin stays one, whatever is tried.
		w.refused(400, "last proxy admin", "root", "POST", "/user/update", M{"user_id": "root", "user_role": "internal_user"})
		w.refused(400, "last proxy admin", "root", "POST", "/user/update", M{"user_id": "root", "blocked": true})
		w.refused(400, "last proxy admin", "root", "POST", "/user/delete", M{"user_ids": []string{"root"}})
		w.ok("root", "POST", "/user/update", M{"user_id": "ann", "user_role": "proxy_admin"})
		w.refused(400, "last proxy admin", "root", "POST", "/user/delete", M{"user_ids": []string{"root", "ann"}})
		w.ok("ann", "POST", "/user/update", M{"user_id": "root", "user_role": "internal_user"})
		// A demotion acts on the key that was issued before.
		w.refused(401, "Only proxy admin", "root", "POST", "/user/update", M{"user_id": "ann", "user_role": "internal_user"})
	})
}

// TestUserModelLimits: limits of single models are kept in the metadata of the
// user, and of the key that is made with it.
func TestUserModelLimits(t *testing.T) {
	each(t, func(w *world) {
		made := w.ok("master", "POST", "/user/new", M{
			"user_id": "ann", "metadata": M{"a": 1}, "model_rpm_limit": M{"mock": 3}, "model_tpm_limit": M{"mock": 4000},
		})
		const kept = `{"a":1,"model_rpm_limit":{"mock":3},"model_tpm_limit":{"mock":4000}}`
		if got := quotedText(made["metadata"]); got != kept || fmt.Sprint(made["model_rpm_limit"], made["model_tpm_limit"]) != "map[mock:3] map[mock:4000]" {
			w.Errorf("answered %s, %v", got, made)
		}
		key := w.ok("master", "GET", "/key/info?key="+made["key"].(string), nil)["info"].(M)
		if got := quotedText(key["metadata"]); got != `{"model_rpm_limit":{"mock":3},"model_tpm_limit":{"mock":4000}}` {
			w.Errorf("the key's metadata is %s", got)
		}
		user := func() string {
			return quotedText(w.ok("master", "GET", "/user/info?user_id=ann", nil)["user_info"].(M)["metadata"])
		}
		if got := user(); got != kept {
			w.Errorf("the user's metadata is %s", got)
		}
		w.ok("master", "POST", "/user/update", M{"user_id": "ann", "model_tpm_limit": nil, "model_rpm_limit": M{"mock": 9, "two": 0}, "metadata": M{"b": 2}})
		if got := user(); got != `{"b":2,"model_rpm_limit":{"mock":9,"two":0}}` {
			w.Errorf("after the change the user's metadata is %s", got)
		}
		w.ok("master", "POST", "/user/new", M{"user_id": "bob", "auto_create_key": false, "model_rpm_limit": M{"mock": 3}})
	})
}

// counts3 is how many of a bulk call were asked for, done and refused.
func counts3(out M) string {
	return fmt.Sprintf("%v %v %v", out["total_requested"], out["successful_updates"], out["failed_updates"])
}

func TestUserBulkUpdate(t *testing.T) {
	each(t, func(w *world) {
		w.user("a", identity.RoleInternalUser)
		w.user("b", identity.RoleInternalUser)
		w.user("boss", identity.RoleProxyAdmin)
		before := w.changes()
		out := w.ok("master", "POST", "/user/bulk_update", M{"users": []any{
			M{"user_id": "a", "max_budget": 1}, M{"user_id": "boss", "user_role": "internal_user"}, M{"user_email": "none@example.org", "max_budget": 1}, M{"user_id": "b", "max_budget": 2},
		}})
		if counts3(out) != "4 2 2" || w.changes() != before+2 {
			w.Errorf("%v, %d changes", out, w.changes()-before)
		}
		before = w.changes()
		out = w.ok("master", "POST", "/user/bulk_update", M{"all_users": true, "user_updates": M{"max_budget": 7}})
		if counts3(out) != "3 3 0" || w.changes() != before+3 {
			w.Errorf("%v, %d changes", out, w.changes()-before)
		}
		for _, id := range []string{"a", "b", "boss"} {
			if u, err := store.Get[identity.User](context.Background(), w.store, id); err != nil || u.MaxBudget.String() != "7.0" {
				w.Errorf("%s: %+v %v", id, u, err)
			}
		}
	})
}

// TestUserDelete deletes what hangs on a user too, each with a record.
func TestUserDelete(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("k", "ann", identity.RoleInternalUser)
		w.user("bob", identity.RoleInternalUser)
		w.organization("o", "ann")
		w.team("t", "", "bob")
		w.ok("master", "POST", "/team/member_add", M{"team_id": "t", "member": M{"role": "user", "user_id": "ann"}, "max_budget_in_team": 1})
		w.ok("master", "POST", "/invitation/new", M{"user_id": "ann"})
		before := w.changes()
		if a := w.call("master", "POST", "/user/delete", M{"user_ids": []string{"ann", "bob"}}); a.Status != 200 || string(a.Raw) != "2" {
			w.Fatalf("%d %s", a.Status, a.Raw)
		}
		// ann, bob, their two memberships, ann's budget, key, invitation and place in the organization.
		if got := w.changes() - before; got != 8 {
			w.Errorf("%d changes", got)
		}
		for name, count := range map[string]func() (int, error){
			"keys":        func() (int, error) { return store.Count[identity.Key](context.Background(), w.store) },
			"members":     func() (int, error) { return store.Count[identity.Member](context.Background(), w.store) },
			"budgets":     func() (int, error) { return store.Count[identity.Budget](context.Background(), w.store) },
			"places":      func() (int, error) { return store.Count[identity.OrganizationMember](context.Background(), w.store) },
			"invitations": func() (int, error) { return store.Count[identity.Invitation](context.Background(), w.store) },
		} {
			if n, err := count(); n != 0 || err != nil {
				w.Errorf("%d %s are left, %v", n, name, err)
			}
		}
	})
}

func TestUserList(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("lead", "lead", identity.RoleInternalUser)
		w.userKey("plain", "plain", identity.RoleInternalUser)
		w.userKey("viewer", "viewer", identity.RoleProxyAdminViewer)
		for i := range 4 {
			w.insert(&identity.User{ID: fmt.Sprint("u", i), Email: fmt.Sprintf("u%d@example.org", i), Role: "internal_user_viewer"})
		}
		w.organization("o", "lead:org_admin", "u0", "u1")
		w.organization("other", "u2")
		w.team("t", "", "u0", "u3:admin")
		ids := func(as, query string) string {
			var out []string
			doc := w.ok(as, "GET", "/user/list"+query, nil)
			for _, u := range doc["users"].([]any) {
				out = append(out, u.(M)["user_id"].(string))
			}
			return fmt.Sprint(out, " of ", doc["total"])
		}
		for _, c := range []struct{ as, query, want string }{
			{"master", "?sort_by=user_id&page_size=3", "[lead plain u0] of 7"},
			{"master", "?sort_by=user_id&page_size=3&page=3", "[viewer] of 7"},
			{"viewer", "?sort_by=user_id&sort_order=desc&page_size=2", "[viewer u3] of 7"},
			{"master", "?role=internal_user_viewer&user_ids=u1,u2,lead&sort_by=user_email", "[u1 u2] of 2"},
			{"master", "?user_email=U3@", "[u3] of 1"},
			{"master", "?search=PLAI", "[plain] of 1"},
			{"master", "?team=t&sort_by=user_id", "[u0 u3] of 2"},
			{"master", "?organization_ids=other", "[u2] of 1"},
			{"lead", "?sort_by=user_id", "[lead u0 u1] of 3"},
			{"lead", "?organization_ids=other", "[] of 0"},
			{"lead", "?user_ids=u2,u1", "[u1] of 1"},
		} {
			if got := ids(c.as, c.query); got != c.want {
				w.Errorf("%s%s: %s, want %s", c.as, c.query, got, c.want)
			}
		}
		w.refused(403, "Only proxy admins and organization admins can list users.", "plain", "GET", "/user/list", nil)
		w.refused(403, "", "plain", "GET", "/user/info?user_id=u0", nil)
		w.refused(404, "", "plain", "GET", "/v2/user/info?user_id=u0", nil)
		w.ok("plain", "GET", "/user/info", nil)
		w.ok("lead", "GET", "/user/info?user_id=u0", nil)
		w.refused(404, "", "lead", "GET", "/user/info?user_id=u2", nil)
		w.refused(404, "", "lead", "GET", "/user/info?user_id=nobody", nil)
		if found := w.call("lead", "GET", "/user/filter/ui?user_id=u", nil); strings.Contains(string(found.Raw), "u2") || !strings.Contains(string(found.Raw), "u0") {
			w.Errorf("filter: %s", found.Raw)
		}
	})
}

// TestOrganizationAdminAndUsers is the column of organization admins over users.
func TestOrganizationAdminAndUsers(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("lead", "lead", identity.RoleInternalUser)
		w.user("both", identity.RoleInternalUser)
		w.user("theirs", identity.RoleInternalUser)
		w.user("chief", identity.RoleProxyAdmin)
		w.user("chief2", identity.RoleProxyAdmin)
		w.user("colead", identity.RoleInternalUser)
		w.organization("o", "lead:org_admin", "both", "chief", "colead:org_admin")
		w.organization("other", "both", "theirs")
		w.ok("master", "POST", "/budget/new", M{"budget_id": "b", "max_budget": 10})
		err := w.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
			o, err := store.Get[identity.Organization](context.Background(), tx, "o")
			if err != nil {
				return err
			}
			o.Models, o.BudgetID = []string{"m"}, "b"
			return tx.Update(o)
		})
		if err != nil {
			w.Fatal(err)
		}
		mine := []string{"o"}
		w.ok("lead", "POST", "/user/new", M{"user_id": "new", "user_role": "internal_user", "organizations": mine, "models": []string{"m"}, "max_budget": 10})
		before := w.changes()
		w.refused(401, "Only proxy admin", "lead", "POST", "/user/new", M{"user_id": "x"})
		w.refused(401, "Only proxy admin", "lead", "POST", "/user/new", M{"user_id": "x", "organizations": []string{"o", "other"}})
		w.refused(403, "proxy_admin", "lead", "POST", "/user/new", M{"user_id": "x", "user_role": "proxy_admin", "organizations": mine})
		w.refused(403, "proxy_admin_viewer", "lead", "POST", "/user/new", M{"user_id": "x", "user_role": "proxy_admin_viewer", "organizations": mine})
		w.refused(403, "permissions", "lead", "POST", "/user/new", M{"user_id": "x", "permissions": M{}, "organizations": mine})
		w.refused(403, "metadata.tags", "lead", "POST", "/user/new", M{"user_id": "x", "metadata": M{"tags": []string{"t"}}, "organizations": mine})
		w.refused(400, "models", "lead", "POST", "/user/new", M{"user_id": "x", "models": []string{"other"}, "organizations": mine})
		w.refused(400, "max_budget", "lead", "POST", "/user/new", M{"user_id": "x", "max_budget": 11, "organizations": mine})
		w.refused(401, "", "lead", "POST", "/user/update", M{"user_id": "new", "max_budget": 1})
		w.refused(404, "theirs", "lead", "POST", "/user/delete", M{"user_ids": []string{"new", "theirs"}})
		w.refused(403, "other organizations", "lead", "POST", "/user/delete", M{"user_ids": []string{"both"}})
		w.refused(403, "proxy_admin", "lead", "POST", "/user/delete", M{"user_ids": []string{"chief"}})
		w.refused(403, "admin of an organization", "lead", "POST", "/user/delete", M{"user_ids": []string{"colead"}})
		if after := w.changes(); after != before {
			w.Errorf("refused calls wrote %d changes", after-before)
		}
		if a := w.call("lead", "POST", "/user/delete", M{"user_ids": []string{"new"}}); a.Status != 200 {
			w.Errorf("%d %s", a.Status, a.Raw)
		}
	})
}

// TestUserMatrix is the rows of the matrix about users, for each caller and
// itself, a user of its team, one of its organization and one of another.
func TestUserMatrix(t *testing.T) {
	callers := []string{"admin", "viewer", "lead", "ta", "tm", "iu", "iv", "tk", "bare"}
	rows := []struct {
		do   string
		body string // {user} is filled in; {self}: the caller's own
		want map[string]string
	}{
		{"GET /user/info?user_id={user}", "", map[string]string{
			"{self}": "200 200 200 200 200 200 200 403 403", "other": "200 200 200 403 403 403 403 403 403", "far": "200 200 404 403 403 403 403 403 403", "nobody": "404 404 404 403 403 403 403 403 403",
		}},
		{"GET /v2/user/info?user_id={user}", "", map[string]string{
			"{self}": "200 200 200 200 200 200 200 403 403", "other": "200 200 200 404 404 404 404 403 403", "far": "200 200 404 404 404 404 404 403 403", "nobody": "404 404 404 404 404 404 404 403 403",
		}},
		{"POST /user/update", `{"user_id":"{user}","user_alias":"x"}`, map[string]string{
			"{self}": "200 403 200 200 200 200 401 401 401", "other": "200 403 401 401 401 401 401 401 401", "far": "200 403 401 401 401 401 401 401 401",
		}},
		{"POST /user/update", `{"user_id":"{user}","max_budget":1}`, map[string]string{
			"{self}": "200 403 401 401 401 401 401 401 401", "other": "200 403 401 401 401 401 401 401 401", "made": "200 403 401 401 401 401 401 401 401",
		}},
		{"POST /user/bulk_update", `{"users":[{"user_id":"{user}","user_alias":"x"}]}`, map[string]string{"{self}": "200 403 401 401 401 401 401 401 401"}},
		{"POST /user/new", `{"auto_create_key":false}`, map[string]string{"": "200 403 401 401 401 401 401 401 401"}},
		{"POST /user/new", `{"auto_create_key":false,"organizations":["o"]}`, map[string]string{"": "200 403 200 401 401 401 401 401 401"}},
		{"POST /user/new", `{"auto_create_key":false,"organizations":["oo"]}`, map[string]string{"": "200 403 401 401 401 401 401 401 401"}},
		// Callers come from the last to the first: who may delete the user does so in the end.
		{"POST /user/delete", `{"user_ids":["{user}"]}`, map[string]string{"far": "200 403 404 401 401 401 401 401 401", "other": "404 403 200 401 401 401 401 401 401"}},
	}
	each(t, func(w *world) {
		w.cast()
		w.user("far", identity.RoleInternalUser)
		w.insert(&identity.OrganizationMember{OrganizationID: "o", UserID: "other", Role: "internal_user"}, &identity.OrganizationMember{OrganizationID: "oo", UserID: "far", Role: "internal_user"})
		for _, row := range rows {
			method, target, _ := strings.Cut(row.do, " ")
			for user, want := range row.want {
				got := make([]string, len(callers))
				for i := len(callers) - 1; i >= 0; i-- {
					fill := strings.NewReplacer("{user}", strings.Replace(user, "{self}", callers[i], 1))
					var body any
					if row.body != "" {
						body = fill.Replace(row.body)
					}
					got[i] = fmt.Sprint(w.call(callers[i], method, fill.Replace(target), body).Status)
				}
				if all := strings.Join(got, " "); all != want {
					w.Errorf("%s %s of %q:\n got %s\nwant %s", row.do, row.body, user, all, want)
				}
			}
		}
	})
}

func TestUserDefaults(t *testing.T) {
	each(t, func(w *world) {
		w.team("t", "")
		made := w.ok("master", "POST", "/user/new", M{"user_id": "a", "auto_create_key": false})
		if made["user_role"] != "internal_user" || fmt.Sprintf("%v %v %v", made["max_budget"], made["models"], made["teams"]) != "4.0 [m] [t]" {
			w.Errorf("%v", made)
		}
		// Users who are made in passing get them too, but no role of an admin.
		w.ok("master", "POST", "/team/member_add", M{"team_id": "t", "member": M{"role": "user", "user_id": "passing"}})
		if u := has[identity.User](w, true, "passing"); u.Role != "internal_user" || u.MaxBudget.String() != "4.0" || fmt.Sprint(u.Models) != "[m]" {
			w.Errorf("%+v", u)
		}
		// Who makes users needs no say over what the configuration fills in.
		w.userKey("lead", "lead", identity.RoleInternalUser)
		w.organization("o", "lead:org_admin")
		w.ok("lead", "POST", "/user/new", M{"user_id": "c", "organizations": []string{"o"}})
		w.refused(404, "Team=t", "lead", "POST", "/user/new", M{"user_id": "d", "organizations": []string{"o"}, "teams": []string{"t"}})
		made = w.ok("master", "POST", "/user/new", M{"user_id": "b", "auto_create_key": false, "user_role": "proxy_admin", "max_budget": 1, "models": []string{"x"}, "teams": []string{}})
		if made["user_role"] != "proxy_admin" || fmt.Sprintf("%v %v %v", made["max_budget"], made["models"], made["teams"]) != "1.0 [x] []" {
			w.Errorf("%v", made)
		}
	}, func(c *Config) {
		c.Defaults.User = identity.Fields{
			"user_role": []byte(`"internal_user"`), "max_budget": []byte("4"), "budget_duration": []byte(`"1d"`), "models": []byte(`["m"]`), "teams": []byte(`["t"]`),
		}
	})
}

// A password is hashed at the cost that OWASP asks for.
func TestPasswordCost(t *testing.T) {
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := a.passwords.hash(t.Context(), "correct horse battery"); err != nil || !strings.HasPrefix(text, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Error(text, err)
	}
}

// Whoever may not set a password is told so before one is hashed, and nobody
// waits for a turn longer than its call may take.
func TestPasswordTurns(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("iu", "u-iu", identity.RoleInternalUser)
		w.organization("o1", "u-iu:org_admin")
		w.api.passwords.one <- struct{}{} // somebody's is being hashed
		for _, path := range []string{"/user/new", "/user/update", "/user/bulk_update"} {
			body := M{"user_id": "u-x", "password": "long enough", "organizations": []string{"o2"}, "users": []M{{"user_id": "u-x", "password": "long enough"}}}
			began := time.Now()
			if a := w.call("iu", "POST", path, body); a.Status != 401 && a.Status != 403 && a.Status != 404 || time.Since(began) > 5*time.Second {
				w.Errorf("%s: %d after %v: %s", path, a.Status, time.Since(began), a.Raw)
			}
		}
		ctx, cancel := context.WithTimeout(w.Context(), 50*time.Millisecond)
		defer cancel()
		route, _ := routeOf("POST", "/user/new")
		reply := w.api.Serve(ctx, &Request{Route: route, Body: []byte(`{"password":"long enough"}`), Caller: w.caller("master")})
		if reply.Status != 503 || reply.Err.RetryAfter == 0 {
			w.Errorf("%d %s", reply.Status, reply.Body)
		}
	})
}
