package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// has reads an object that must be there, or must not.
func has[T any, P objects[T]](w *world, want bool, key ...any) *T {
	w.Helper()
	o, err := store.Get[T, P](context.Background(), w.store, key...)
	if (err == nil) != want {
		w.Errorf("%s %v: %v, want it there: %v", P(nil).Kind(), key, err, want)
	}
	return o
}

// unwritten makes calls that must be refused without a change.
func (w *world) unwritten(f func()) {
	w.Helper()
	before := w.changes()
	f()
	if after := w.changes(); after != before {
		w.Errorf("refused calls wrote %d changes", after-before)
	}
}

// edit changes an object as it is in the database.
func edit[T any, P objects[T]](w *world, change func(o *T), key ...any) {
	w.Helper()
	err := w.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
		o, err := store.Get[T, P](context.Background(), tx, key...)
		if err != nil {
			return err
		}
		change(o)
		return tx.Update(P(o))
	})
	if err != nil {
		w.Fatal(err)
	}
}

// TestTeamNew compares what a create answers with what the next read does.
func TestTeamNew(t *testing.T) {
	each(t, func(w *world) {
		w.user("ann", identity.RoleInternalUser)
		w.insert(&identity.AccessGroup{ID: "g", Name: "g", Models: []string{"gm"}})
		made := w.ok("master", "POST", "/team/new", M{
			"team_id": "t", "team_alias": "T", "models": []string{"m", "n"}, "max_budget": 5, "soft_budget": 4, "budget_duration": "1d", "tpm_limit": 1,
			"rpm_limit": 2, "max_parallel_requests": 4, "metadata": M{"a": 1}, "model_rpm_limit": M{"m": 1}, "tags": []string{"x"},
			"model_aliases": M{"gpt": "m"}, "access_group_ids": []string{"g"}, "team_member_permissions": []string{"/key/generate"},
			"team_member_budget": 1.5, "team_member_budget_duration": "7d", "team_member_rpm_limit": 9, "default_team_member_models": []string{"m"},
			"members_with_roles": []any{M{"role": "admin", "user_id": "ann"}, M{"role": "user", "user_email": "new@example.org"}},
			"router_settings":    M{"num_retries": 1}, "object_permission": M{"vector_stores": []string{"v"}}, "guardrails": []string{"g1"},
		})
		info := w.ok("master", "GET", "/team/info?team_id=t", nil)
		read := info["team_info"].(M)
		for name, v := range made {
			if name == "members_with_roles" {
				continue // the read tells the aliases of users too
			}
			if fmt.Sprint(read[name]) != fmt.Sprint(v) {
				w.Errorf("%s: made %v, read %v", name, v, read[name])
			}
		}
		if members := made["members_with_roles"].([]any); len(members) != 3 {
			w.Errorf("members: %v", members)
		}
		if got := fmt.Sprint(read["access_group_models"], read["litellm_model_table"].(M)["model_aliases"], read["caller_edit_access"]); got != "[gm] map[gpt:m] map[kind:all]" {
			w.Errorf("%s", got)
		}
		budget := read["team_member_budget_table"].(M)
		if got := fmt.Sprint(budget["max_budget"].(interface{ String() string }).String(), budget["budget_duration"], budget["rpm_limit"]); got != "1.57d9" {
			w.Errorf("the members' budget: %v", budget)
		}
		for _, m := range info["team_memberships"].([]any) {
			table := m.(M)["litellm_budget_table"].(M)
			if fmt.Sprint(table["allowed_models"]) != "[m]" || fmt.Sprint(table["max_budget"]) != "1.5" || m.(M)["budget_source"] != "custom" {
				w.Errorf("a member's budget: %v", m)
			}
		}
		if u, err := store.One[identity.User](context.Background(), w.store, store.Eq("user_email", "new@example.org")); err != nil || u.Role != "internal_user" {
			w.Errorf("the invited user: %+v %v", u, err)
		}
	})
}

// TestTeamRefused sends what must be refused; nothing is written.
func TestTeamRefused(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.Budget{ID: "b", Caps: identity.Caps{MaxBudget: new(dollars(10)), TPMLimit: new(int64(100))}})
		w.insert(&identity.Organization{ID: "o", Alias: "o", Models: []string{"m"}, BudgetID: "b"})
		w.user("ann", identity.RoleInternalUser)
		w.team("t", "", "ann")
		edit[identity.Team](w, func(t *identity.Team) { t.Models = []string{"m"} }, "t")
		member := func(role, id string) M { return M{"role": role, "user_id": id} }
		for _, c := range []struct {
			status int
			text   string
			do     string
			body   M
		}{
			{400, "already exists", "POST /team/new", M{"team_id": "t"}},
			{404, "Organization", "POST /team/new", M{"organization_id": "nope"}},
			{400, "models goes beyond", "POST /team/new", M{"organization_id": "o", "models": []string{"other"}}},
			{400, "max_budget goes beyond", "POST /team/new", M{"organization_id": "o", "max_budget": 11}},
			{400, "tpm_limit goes beyond", "POST /team/new", M{"organization_id": "o", "tpm_limit": 101}},
			{400, "soft_budget", "POST /team/new", M{"max_budget": 1, "soft_budget": 1}},
			{400, "max_budget", "POST /team/new", M{"max_budget": -1}},
			{400, "team_member_budget", "POST /team/new", M{"team_member_budget": -1}},
			{400, "default_team_member_models", "POST /team/new", M{"models": []string{"m"}, "default_team_member_models": []string{"x"}}},
			{404, "Access group", "POST /team/new", M{"access_group_ids": []string{"nope"}}},
			{422, "enum", "POST /team/new", M{"team_member_permissions": []string{"/config/update"}}},
			{422, "literal_error", "POST /team/new", M{"members_with_roles": []any{member("boss", "ann")}}},
			{400, "already in team", "POST /team/new", M{"members_with_roles": []any{member("user", "ann"), member("user", "ann")}}},
			{400, "team_alias", "POST /team/new", M{"team_alias": strings.Repeat("x", 5000)}},
			{400, "user_id", "POST /team/new", M{"members_with_roles": []any{member("user", "a\nb")}}},
			{400, "", "POST /team/new", M{"models": []string{"a\x00"}}},
			{422, "team_id", "POST /team/update", M{"max_budget": 1}},
			{404, "passed team_id=nope", "POST /team/update", M{"team_id": "nope"}},
			{404, "Organization", "POST /team/update", M{"team_id": "t", "organization_id": "nope"}},
			{404, "passed team_id=nope", "PATCH /team/nope", M{"max_budget": 1}},
			{400, "team_id", "PATCH /team/t", M{"team_id": "u"}},
			{404, "passed team_id=nope", "POST /team/delete", M{"team_ids": []string{"t", "nope"}}},
			{404, "passed team_id=nope", "POST /team/block", M{"team_id": "nope"}},
			{404, "passed team_id=nope", "POST /team/model/add", M{"team_id": "nope", "models": []string{"m"}}},
			{400, "models", "POST /team/model/add", M{"team_id": "t", "models": []string{}}},
			{404, "Team=nope", "POST /team/member_add", M{"team_id": "nope", "member": member("user", "ann")}},
			{400, "User already in team. Member: user_id=ann.", "POST /team/member_add", M{"team_id": "t", "member": member("user", "ann")}},
			{400, "already in team", "POST /team/member_add", M{"team_id": "t", "member": []any{member("user", "new"), member("user", "ann")}}},
			{400, "user_id or a user_email", "POST /team/member_add", M{"team_id": "t", "member": M{"role": "user"}}},
			{422, `"loc":["body","role"]`, "POST /team/member_add", M{"team_id": "t", "member": member("boss", "new")}},
			{422, `"loc":["body","member",0,"role"]`, "POST /team/member_add", M{"team_id": "t", "member": []any{M{"user_id": "new"}}}},
			{400, "allowed_models", "POST /team/member_add", M{"team_id": "t", "member": member("user", "new"), "allowed_models": []string{"x"}}},
			{400, "max_budget_in_team", "POST /team/member_add", M{"team_id": "t", "member": member("user", "new"), "max_budget_in_team": -1}},
			{404, "User not found in team t", "POST /team/member_update", M{"team_id": "t", "user_id": "nobody", "max_budget_in_team": 1}},
			{404, "user_email=no@example.org", "POST /team/member_delete", M{"team_id": "t", "user_email": "no@example.org"}},
			{400, "user_id or user_email", "POST /team/member_delete", M{"team_id": "t"}},
			{400, "reset_to", "POST /team/t/member/ann/reset_spend", M{"reset_to": 1}},
			{400, "members", "POST /team/bulk_member_add", M{"team_id": "t"}},
			{422, "enum", "POST /team/permissions_update", M{"team_id": "t", "team_member_permissions": []string{"nope"}}},
			{400, "team_ids", "POST /team/permissions_bulk_update", M{"permissions": []string{"/key/list"}}},
			{404, "nope", "POST /team/permissions_bulk_update", M{"permissions": []string{"/key/list"}, "team_ids": []string{"t", "nope"}}},
		} {
			method, path, _ := strings.Cut(c.do, " ")
			w.unwritten(func() { w.refused(c.status, c.text, "master", method, path, c.body) })
		}
		w.refused(404, "passed team id: nope", "master", "GET", "/team/info?team_id=nope", nil)
		w.refused(422, "missing", "master", "GET", "/team/info", nil)
		w.refused(400, "sort_by", "master", "GET", "/v2/team/list?sort_by=metadata", nil)
		w.refused(400, "/audit", "master", "GET", "/v2/team/list?status=deleted", nil)
		if n, err := store.Count[identity.User](context.Background(), w.store); n != 1 || err != nil {
			w.Errorf("%d users, %v: a refused call made one", n, err)
		}
	})
}

func TestTeamUpdate(t *testing.T) {
	each(t, func(w *world) {
		w.user("ann", identity.RoleInternalUser)
		w.organization("o")
		w.ok("master", "POST", "/team/new", M{"team_id": "t", "max_budget": 5, "budget_duration": "1d", "metadata": M{"a": M{"x": 1, "y": 2}, "b": 1}, "model_rpm_limit": M{"m": 1}})
		data := w.ok("master", "POST", "/team/update", M{"team_id": "t", "max_budget": nil, "organization_id": "o", "team_member_budget": 2})["data"].(M)
		if data["max_budget"] != nil || data["organization_id"] != "o" || data["budget_duration"] != "1d" {
			w.Errorf("%v", data)
		}
		budget := data["metadata"].(M)["team_member_budget_id"]
		row := w.ok("master", "PATCH", "/team/t", M{"metadata": M{"a": M{"x": nil, "z": 3}, "b": nil, "c": true}})
		if got := fmt.Sprint(row["metadata"].(M)["a"], row["metadata"].(M)["b"], row["metadata"].(M)["c"], row["metadata"].(M)["model_rpm_limit"], row["metadata"].(M)["team_member_budget_id"] == budget); got != "map[y:2 z:3] <nil> true map[m:1] true" {
			w.Errorf("a merge patch: %s", got)
		}
		w.ok("master", "POST", "/team/update", M{"team_id": "t", "model_tpm_limit": M{"m": 1}})
		if row := w.ok("master", "PATCH", "/team/t", M{"metadata": M{"model_tpm_limit": nil}}); strings.Contains(fmt.Sprint(row["metadata"]), "model_tpm_limit") {
			w.Errorf("a merge patch takes away: %v", row["metadata"])
		}
		data = w.ok("master", "POST", "/team/update", M{"team_id": "t", "metadata": M{"d": 1}, "organization_id": nil, "team_member_budget": 3})["data"].(M)
		meta := data["metadata"].(M)
		if fmt.Sprint(meta["d"], meta["a"], meta["model_rpm_limit"]) != "1<nil> map[m:1]" || meta["team_member_budget_id"] != budget || data["organization_id"] != nil {
			w.Errorf("metadata is replaced but for fields of their own: %v", data)
		}
		if b := has[identity.Budget](w, true, budget); b.MaxBudget.String() != "3.0" {
			w.Errorf("%+v", b)
		}
		// All members share that budget until one has limits of its own.
		w.ok("master", "POST", "/team/member_add", M{"team_id": "t", "member": M{"role": "user", "user_id": "ann"}})
		if m := has[identity.Member](w, true, "t", "ann"); m.BudgetID != budget {
			w.Errorf("%+v", m)
		}
		w.ok("master", "POST", "/team/member_update", M{"team_id": "t", "user_id": "ann", "rpm_limit": 7, "role": "admin"})
		m := has[identity.Member](w, true, "t", "ann")
		if own := has[identity.Budget](w, true, m.BudgetID); m.Role != "admin" || m.BudgetID == budget || own.MaxBudget.String() != "3.0" || *own.RPMLimit != 7 {
			w.Errorf("%+v %+v", m, own)
		}
		answer := w.ok("master", "POST", "/team/member_update", M{"team_id": "t", "user_id": "ann", "max_budget_in_team": 1, "allowed_models": []string{"m"}})
		if again := has[identity.Member](w, true, "t", "ann"); again.BudgetID != m.BudgetID || fmt.Sprintf("%v %v %v", answer["max_budget_in_team"], answer["rpm_limit"], answer["allowed_models"]) != "1.0 7 [m]" {
			w.Errorf("%+v %v", again, answer)
		}
		reset := w.ok("master", "POST", "/team/t/member/ann/reset_budget", nil)
		if reset["budget_source"] != "team_default" || reset["budget_id"] != budget || reset["previous_budget_id"] != m.BudgetID {
			w.Errorf("%v", reset)
		}
		has[identity.Budget](w, false, m.BudgetID)
		edit[identity.Member](w, func(m *identity.Member) { m.Spend = dollars(2) }, "t", "ann")
		if spend := w.ok("master", "POST", "/team/t/member/ann/reset_spend", M{"reset_to": 0.5}); fmt.Sprintf("%v %v", spend["spend"], spend["previous_spend"]) != "0.5 2.0" {
			w.Errorf("%v", spend)
		}
	})
}

func TestTeamBlockAndModels(t *testing.T) {
	each(t, func(w *world) {
		w.team("t", "")
		w.ok("master", "POST", "/team/block", M{"team_id": "t"})
		if !has[identity.Team](w, true, "t").Blocked {
			w.Error("not blocked")
		}
		w.ok("master", "POST", "/team/unblock", M{"team_id": "t"})
		changes, _, err := w.store.Changes(context.Background(), store.ChangeFilter{Limit: 2})
		if err != nil || len(changes) != 2 || !slices.Contains([]store.Action{changes[0].Action, changes[1].Action}, store.Blocked) || !slices.Contains([]store.Action{changes[0].Action, changes[1].Action}, store.Unblocked) {
			w.Errorf("%+v %v", changes, err)
		}
		models := func(path string, names ...string) string {
			return fmt.Sprint(w.ok("master", "POST", path, M{"team_id": "t", "models": names})["models"])
		}
		if got := models("/team/model/add", "a", "b", "a"); got != "[a b]" {
			w.Error(got)
		}
		if got := models("/team/model/delete", "a"); got != "[b]" {
			w.Error(got)
		}
		// No model is not every model.
		if got := models("/team/model/delete", "b"); got != "[no-default-models]" {
			w.Error(got)
		}
		if got := models("/team/model/add", "c"); got != "[c]" {
			w.Error(got)
		}
	})
}

// TestTeamDelete deletes what belongs to a team, each with a record.
func TestTeamDelete(t *testing.T) {
	each(t, func(w *world) {
		w.user("ann", identity.RoleInternalUser)
		w.ok("master", "POST", "/team/new", M{"team_id": "t", "team_member_budget": 1, "members_with_roles": []any{M{"role": "user", "user_id": "ann"}}})
		w.ok("master", "POST", "/team/member_update", M{"team_id": "t", "user_id": "ann", "max_budget_in_team": 2})
		teams := w.key("team key", func(k *identity.Key) { k.TeamID = "t" })
		anns := w.key("ann's", func(k *identity.Key) { k.TeamID, k.UserID = "t", "ann" })
		own := w.key("own", func(k *identity.Key) { k.UserID = "ann" })
		w.insert(&identity.Project{ID: "p", TeamID: "t"}, &identity.Model{ID: "m", Name: "m", TeamID: "t", Params: identity.Fields{}})
		w.insert(&identity.RetiredKey{Token: "old", Active: teams, RevokeAt: w.api.c.Now()})
		before := w.changes()
		w.ok("master", "POST", "/team/delete", M{"team_ids": []string{"t", "t"}})
		// The team, two members, two keys, an old digest, a project, a model, two budgets.
		if got := w.changes() - before; got != 10 {
			w.Errorf("%d changes", got)
		}
		has[identity.Team](w, false, "t")
		has[identity.Key](w, false, teams)
		has[identity.Key](w, false, anns)
		has[identity.Key](w, true, own)
		has[identity.RetiredKey](w, false, "old")
		has[identity.Project](w, false, "p")
		has[identity.Model](w, false, "m")
		has[identity.Member](w, false, "t", "ann")
		has[identity.User](w, true, "ann")
		if n, err := store.Count[identity.Budget](context.Background(), w.store); n != 0 || err != nil {
			w.Errorf("%d budgets are left, %v", n, err)
		}
	})
}

// TestMemberDelete takes the member's keys of the team along, by either name.
func TestMemberDelete(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.User{ID: "ann", Email: "Ann@example.org"})
		w.team("t", "", "ann")
		in := w.key("in", func(k *identity.Key) { k.TeamID, k.UserID = "t", "ann" })
		out := w.key("out", func(k *identity.Key) { k.UserID = "ann" })
		row := w.ok("master", "POST", "/team/member_delete", M{"team_id": "t", "user_email": "ann@example.org"})
		if fmt.Sprint(row["members_with_roles"]) != "[]" {
			w.Errorf("%v", row)
		}
		has[identity.Member](w, false, "t", "ann")
		has[identity.Key](w, false, in)
		has[identity.Key](w, true, out)
	})
}

func TestBulkMembers(t *testing.T) {
	each(t, func(w *world) {
		for i := range 5 {
			w.user(fmt.Sprint("u", i), identity.RoleInternalUser)
		}
		w.team("t", "", "u0")
		out := w.ok("master", "POST", "/team/bulk_member_add", M{"team_id": "t", "max_budget_in_team": 2, "members": []any{
			M{"role": "user", "user_id": "u0"}, M{"role": "admin", "user_id": "u1"}, M{"role": "user", "user_email": "x@example.org"},
		}})
		if fmt.Sprintf("%v %v %v", out["total_requested"], out["successful_additions"], out["failed_additions"]) != "3 2 1" || len(out["updated_team"].(M)["members_with_roles"].([]any)) != 3 {
			w.Errorf("%v", out)
		}
		first, second := out["results"].([]any)[0].(M), out["results"].([]any)[1].(M)
		if first["success"] != false || first["error"] == nil || second["success"] != true || second["updated_team_membership"].(M)["litellm_budget_table"] == nil {
			w.Errorf("%v %v", first, second)
		}
		out = w.ok("master", "POST", "/team/bulk_member_add", M{"team_id": "t", "all_users": true})
		if fmt.Sprintf("%v %v", out["successful_additions"], out["failed_additions"]) != "3 0" {
			w.Errorf("%v", out)
		}
	})
}

// TestMembersAtOnce adds the same member many times at once, and others: each is
// there once and each call says what it did.
func TestMembersAtOnce(t *testing.T) {
	each(t, func(w *world) {
		w.team("t", "")
		var wg sync.WaitGroup
		statuses := make([]int, 12)
		for i := range statuses {
			wg.Go(func() {
				statuses[i] = w.call("master", "POST", "/team/member_add", M{"team_id": "t", "member": M{"role": "user", "user_id": fmt.Sprint("u", i%3)}}).Status
			})
		}
		wg.Wait()
		slices.Sort(statuses)
		if got := fmt.Sprint(statuses); got != "[200 200 200 400 400 400 400 400 400 400 400 400]" {
			w.Error(got)
		}
		if n, err := store.Count[identity.Member](context.Background(), w.store); n != 3 || err != nil {
			w.Errorf("%d members, %v", n, err)
		}
	})
}

// TestDeleteWhileAdding deletes a team while members are added: in the end
// nothing of it is left.
func TestDeleteWhileAdding(t *testing.T) {
	each(t, func(w *world) {
		w.team("t", "")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i == 4 {
					w.call("master", "POST", "/team/delete", M{"team_ids": []string{"t"}})
					return
				}
				a := w.call("master", "POST", "/team/member_add", M{"team_id": "t", "member": M{"role": "user", "user_id": fmt.Sprint("u", i)}, "max_budget_in_team": 1})
				if a.Status != 200 && a.Status != 404 {
					w.Errorf("%d %s", a.Status, a.Raw)
				}
			})
		}
		wg.Wait()
		members, err := store.Count[identity.Member](context.Background(), w.store)
		budgets, failed := store.Count[identity.Budget](context.Background(), w.store)
		if members != 0 || budgets != 0 || err != nil || failed != nil {
			w.Errorf("%d members and %d budgets are left, %v %v", members, budgets, err, failed)
		}
	})
}

// TestLastAdminsAtOnce demotes the two proxy admins by each other at once: one
// of them stays.
func TestLastAdminsAtOnce(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("a", "a", identity.RoleProxyAdmin)
		w.userKey("b", "b", identity.RoleProxyAdmin)
		var wg sync.WaitGroup
		for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}} {
			who := w.caller(pair[0])
			wg.Go(func() {
				w.callAs(who, "POST", "/user/update", M{"user_id": pair[1], "user_role": "internal_user"})
			})
		}
		wg.Wait()
		if n, err := store.Count[identity.User](context.Background(), w.store, store.Eq("user_role", "proxy_admin")); n != 1 || err != nil {
			w.Errorf("%d proxy admins, %v", n, err)
		}
	})
}
