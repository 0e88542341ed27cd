package admin

import (
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/auth"
	"sluice/proxy/identity"
)

// cast is who calls in the tests of teams: an organization with two teams, and
// another one with a team of its own.
func (w *world) cast() {
	w.userKey("admin", "admin", identity.RoleProxyAdmin)
	w.userKey("viewer", "viewer", identity.RoleProxyAdminViewer)
	w.userKey("lead", "lead", identity.RoleInternalUser)
	w.userKey("ta", "ta", identity.RoleInternalUser)
	w.userKey("tm", "tm", identity.RoleInternalUser)
	w.userKey("iu", "iu", identity.RoleInternalUser)
	w.userKey("iv", "iv", identity.RoleInternalViewer)
	w.user("other", identity.RoleInternalUser)
	w.organization("o", "lead:org_admin")
	w.organization("oo")
	w.team("t", "o", "ta:admin", "tm", "other")
	w.team("same", "o")
	w.team("far", "oo", "other:admin")
	w.key("tk", func(k *identity.Key) { k.TeamID = "t" })
	w.key("bare", nil)
}

// TestTeamMatrix is the rows of the matrix about teams, for each caller and the
// own team, another one of the organization and one of another organization.
func TestTeamMatrix(t *testing.T) {
	callers := []string{"admin", "viewer", "lead", "ta", "tm", "iu", "iv", "tk", "bare"}
	rows := []struct {
		do   string
		body string // {team} is filled in
		want string // a status for each caller, for the teams t, same and far
	}{
		{"GET /team/info?team_id={team}", "", "200 200 200 200 200 403 403 200 403, 200 200 200 404 403 403 403 403 403, 200 200 404 404 403 403 403 403 403"},
		{"GET /team/permissions_list?team_id={team}", "", "200 200 200 200 200 403 403 200 403, 200 200 200 404 403 403 403 403 403, 200 200 404 404 403 403 403 403 403"},
		{"POST /team/update", `{"team_id":"{team}","max_budget":1}`, "200 403 200 200 403 403 403 403 403, 200 403 200 404 403 403 403 403 403, 200 403 404 404 403 403 403 403 403"},
		{"POST /team/block", `{"team_id":"{team}"}`, "200 403 200 401 401 401 401 401 401, 200 403 200 401 401 401 401 401 401, 200 403 404 401 401 401 401 401 401"},
		{"POST /team/model/add", `{"team_id":"{team}","models":["m"]}`, "200 403 200 200 403 403 401 401 401, 200 403 200 404 403 403 401 401 401, 200 403 404 404 403 403 401 401 401"},
		{"POST /team/permissions_update", `{"team_id":"{team}","team_member_permissions":[]}`, "200 403 200 200 403 403 401 401 401, 200 403 200 404 403 403 401 401 401, 200 403 404 404 403 403 401 401 401"},
		{"POST /team/member_add", `{"team_id":"{team}","member":{"role":"admin","user_id":"viewer"}}`, "200 403 400 400 403 403 401 401 401, 200 403 400 404 403 403 401 401 401, 200 403 404 404 403 403 401 401 401"},
		{"POST /team/member_update", `{"team_id":"{team}","user_id":"viewer","max_budget_in_team":1}`, "200 403 200 200 403 403 401 401 401, 200 403 200 404 403 403 401 401 401, 200 403 404 404 403 403 401 401 401"},
		// The last row, and from the last caller on: whoever may delete the team.
		{"POST /team/delete", `{"team_ids":["{team}"]}`, "404 403 200 401 401 401 401 401 401, 404 403 200 401 401 401 401 401 401, 200 403 404 401 401 401 401 401 401"},
	}
	each(t, func(w *world) {
		w.cast()
		who := map[string]*auth.Identity{} // as the gateway knew them before: a team takes its key along
		for _, as := range callers {
			who[as] = w.caller(as)
		}
		for _, row := range rows {
			method, target, _ := strings.Cut(row.do, " ")
			var got []string
			for _, team := range []string{"t", "same", "far"} {
				statuses := make([]string, len(callers))
				for i := range callers {
					if target == "/team/delete" {
						i = len(callers) - 1 - i
					}
					fill := strings.NewReplacer("{team}", team)
					var body any
					if row.body != "" {
						body = fill.Replace(row.body)
					}
					statuses[i] = fmt.Sprint(w.callAs(who[callers[i]], method, fill.Replace(target), body).Status)
				}
				got = append(got, strings.Join(statuses, " "))
			}
			if all := strings.Join(got, ", "); all != row.want {
				w.Errorf("%s:\n got %s\nwant %s", row.do, all, row.want)
			}
		}
	}, func(c *Config) { c.TeamAdminFields = []string{"max_budget"} })
}

// TestTeamAdmin is what a team's admin may do beyond the cells of the matrix.
func TestTeamAdmin(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		w.team("free", "", "ta:admin", "tm")
		edit[identity.Team](w, func(t *identity.Team) {
			t.MaxBudget, t.Models, t.TPMLimit = new(dollars(10)), []string{"m", "n"}, new(int64(100))
		}, "free")
		// Fields that the configuration leaves to it, and never more than before.
		w.ok("ta", "POST", "/team/update", M{"team_id": "free", "max_budget": 9, "team_alias": "F"})
		w.ok("ta", "POST", "/team/update", M{"team_id": "free", "models": []string{"m"}})
		w.ok("ta", "PATCH", "/team/free", M{"metadata": M{"note": "x"}})
		limits := M{"model_rpm_limit": M{"m": 5}, "budget_limits": []M{{"max_budget": 1, "budget_duration": "1d"}}}
		w.ok("master", "PATCH", "/team/free", M{"metadata": limits})
		w.ok("ta", "POST", "/team/update", M{"team_id": "free", "metadata": M{"note": "y", "model_rpm_limit": limits["model_rpm_limit"], "budget_limits": limits["budget_limits"]}})
		w.unwritten(func() {
			w.refused(403, "max_budget", "ta", "POST", "/team/update", M{"team_id": "free", "max_budget": 10})
			w.refused(403, "max_budget", "ta", "POST", "/team/update", M{"team_id": "free", "max_budget": nil})
			w.refused(403, "models", "ta", "POST", "/team/update", M{"team_id": "free", "models": []string{}})
			w.refused(403, "models", "ta", "POST", "/team/update", M{"team_id": "free", "models": []string{"m", "n"}})
			w.refused(403, "tpm_limit", "ta", "POST", "/team/update", M{"team_id": "free", "tpm_limit": 1})
			w.refused(403, "router_settings", "ta", "POST", "/team/update", M{"team_id": "free", "router_settings": M{}})
			w.refused(403, "metadata.guardrails", "ta", "POST", "/team/update", M{"team_id": "free", "metadata": M{"guardrails": []string{}}})
			w.refused(403, "model_rpm_limit", "ta", "POST", "/team/update", M{"team_id": "free", "metadata": M{"model_rpm_limit": M{"m": 50}, "budget_limits": limits["budget_limits"]}})
			w.refused(403, "model_tpm_limit", "ta", "PATCH", "/team/free", M{"metadata": M{"model_tpm_limit": M{"m": 50}}})
			w.refused(403, "model_rpm_limit", "ta", "PATCH", "/team/free", M{"metadata": M{"model_rpm_limit": nil}})
			w.refused(403, "budget_limits", "ta", "POST", "/team/update", M{"team_id": "free", "metadata": M{}})
			w.refused(401, "", "ta", "POST", "/team/update", M{"team_id": "free", "organization_id": "o"})
			// Members within the team, users by invitation alone.
			w.refused(404, "nobody", "ta", "POST", "/team/member_add", M{"team_id": "free", "member": M{"role": "user", "user_id": "nobody"}})
			w.refused(403, "max_budget_in_team", "ta", "POST", "/team/member_add", M{"team_id": "free", "member": M{"role": "user", "user_id": "iu"}, "max_budget_in_team": 9.5})
			w.refused(403, "max_budget_in_team", "ta", "POST", "/team/member_update", M{"team_id": "free", "user_id": "tm", "max_budget_in_team": 9.5})
			w.refused(403, "temp_budget_increase", "ta", "POST", "/team/member_update", M{"team_id": "free", "user_id": "tm", "temp_budget_increase": 1, "temp_budget_expiry": "2030-01-01"})
			w.refused(403, "all users", "ta", "POST", "/team/bulk_member_add", M{"team_id": "free", "all_users": true})
		})
		w.ok("ta", "POST", "/team/member_add", M{"team_id": "free", "member": M{"role": "user", "user_email": "guest@example.org"}, "max_budget_in_team": 9})
		w.ok("ta", "POST", "/team/member_update", M{"team_id": "free", "user_id": "tm", "role": "admin"})
		// Models that it may call itself.
		edit[identity.User](w, func(u *identity.User) { u.Models = []string{"m", "p*"} }, "ta")
		w.ok("ta", "POST", "/team/model/add", M{"team_id": "free", "models": []string{"pq"}})
		w.refused(403, "models", "ta", "POST", "/team/model/add", M{"team_id": "free", "models": []string{"q"}})
	}, func(c *Config) {
		c.TeamAdminFields = []string{"max_budget", "team_alias", "models", "metadata", "router_settings"}
	})
}

// TestTeamUpdateClosed is a team's admin where the configuration opens nothing.
func TestTeamUpdateClosed(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		w.refused(403, "team_admin_editable_team_fields", "ta", "POST", "/team/update", M{"team_id": "t", "team_alias": "x"})
		if row := w.ok("ta", "GET", "/team/info?team_id=t", nil)["team_info"].(M); fmt.Sprint(row["caller_edit_access"]) != "map[kind:none]" {
			w.Errorf("%v", row["caller_edit_access"])
		}
	})
}

// TestOrganizationAdminAndTeams is the column of organization admins over teams.
func TestOrganizationAdminAndTeams(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		edit[identity.Organization](w, func(o *identity.Organization) { o.Models = []string{"m"} }, "o")
		w.ok("lead", "POST", "/team/new", M{"team_id": "new", "organization_id": "o", "models": []string{"m"}})
		w.ok("lead", "POST", "/team/member_add", M{"team_id": "new", "member": M{"role": "admin", "user_id": "fresh"}})
		// Whom an organization's admin makes for a team belongs to the organization.
		has[identity.OrganizationMember](w, true, "o", "fresh")
		w.unwritten(func() {
			w.refused(401, "", "lead", "POST", "/team/new", M{"team_id": "x"})
			w.refused(401, "", "lead", "POST", "/team/new", M{"team_id": "x", "organization_id": "oo"})
			w.refused(400, "models", "lead", "POST", "/team/new", M{"team_id": "x", "organization_id": "o", "models": []string{"n"}})
			w.refused(401, "", "lead", "POST", "/team/update", M{"team_id": "t", "organization_id": "oo"})
			w.refused(401, "", "lead", "POST", "/team/update", M{"team_id": "t", "organization_id": nil})
			w.refused(400, "models", "lead", "POST", "/team/model/add", M{"team_id": "t", "models": []string{"n"}})
			w.refused(404, "", "lead", "POST", "/team/delete", M{"team_ids": []string{"new", "far"}})
			w.refused(403, "", "lead", "POST", "/team/permissions_bulk_update", M{"permissions": []string{"/key/list"}, "apply_to_all_teams": true})
		})
		w.ok("lead", "POST", "/team/permissions_bulk_update", M{"permissions": []string{"/key/list"}, "team_ids": []string{"t", "same"}})
		if out := w.ok("master", "POST", "/team/permissions_bulk_update", M{"permissions": []string{"/key/list"}, "apply_to_all_teams": true}); fmt.Sprint(out["teams_updated"]) != "2" {
			w.Errorf("%v", out)
		}
		w.ok("lead", "POST", "/team/delete", M{"team_ids": []string{"new"}})
	})
}

// TestTeamJoin lets users into the teams that the configuration lists, as plain
// members and nobody else.
func TestTeamJoin(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		w.team("open", "")
		self := M{"role": "user", "user_id": "iu"}
		w.unwritten(func() {
			w.refused(403, "", "iu", "POST", "/team/member_add", M{"team_id": "same", "member": self})
			w.refused(403, "", "iu", "POST", "/team/member_add", M{"team_id": "open", "member": M{"role": "admin", "user_id": "iu"}})
			w.refused(403, "", "iu", "POST", "/team/member_add", M{"team_id": "open", "member": M{"role": "user", "user_id": "other"}})
			w.refused(403, "", "iu", "POST", "/team/member_add", M{"team_id": "open", "member": self, "max_budget_in_team": 1})
		})
		if rows := w.call("iu", "GET", "/team/available", nil); !strings.Contains(string(rows.Raw), `"team_id":"open"`) {
			w.Errorf("%s", rows.Raw)
		}
		w.ok("iu", "POST", "/team/member_add", M{"team_id": "open", "member": self})
		if rows := w.call("iu", "GET", "/team/available", nil); string(rows.Raw) != "[]" {
			w.Errorf("%s", rows.Raw)
		}
		if me := w.ok("iu", "GET", "/team/open/members/me", nil); me["role"] != "user" || me["team_alias"] != "open" {
			w.Errorf("%v", me)
		}
		w.refused(404, "not a member", "iu", "GET", "/team/same/members/me", nil)
	}, func(c *Config) { c.Defaults.User = identity.Fields{"available_teams": []byte(`["open","gone"]`)} })
}

func TestTeamLists(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		w.team("solo", "", "iu")
		ids := func(as, path string) string {
			a := w.call(as, "GET", path, nil)
			rows, _ := a.Body.([]any)
			if page, ok := a.Body.(M); ok {
				rows, _ = page["teams"].([]any)
			}
			out := []string{}
			for _, r := range rows {
				out = append(out, r.(M)["team_id"].(string))
			}
			if a.Status != 200 {
				return fmt.Sprint(a.Status)
			}
			return strings.Join(out, " ")
		}
		for _, c := range []struct{ as, query, want string }{
			{"admin", "?sort_by=team_id", "far same solo t"},
			{"viewer", "?sort_by=team_id", "far same solo t"},
			{"lead", "?sort_by=team_id", "same t"},
			{"lead", "?user_id=other&sort_by=team_id", "t"},
			{"ta", "", "401"},
			{"ta", "?user_id=ta", "t"},
			{"ta", "?user_id=other", "401"},
			{"tm", "?user_id=tm", "t"},
			{"iu", "?user_id=iu", "solo"},
			{"iu", "", "401"},
			{"tk", "", "401"},
			{"bare", "", "401"},
			{"admin", "?organization_id=o&sort_by=team_id", "same t"},
			{"admin", "?organization_id=default_organization", "solo"},
		} {
			if got := ids(c.as, "/v2/team/list"+c.query); got != c.want {
				w.Errorf("v2 as %s%s: %s, want %s", c.as, c.query, got, c.want)
			}
			if strings.Contains(c.query, "sort_by") {
				continue // the old list has no order of the caller's
			}
			if got := ids(c.as, "/team/list"+c.query); got != c.want {
				w.Errorf("as %s%s: %s, want %s", c.as, c.query, got, c.want)
			}
		}
		for query, want := range map[string]string{
			"?team_alias=OL": "solo", "?search=s": "solo same", "?search=sa&search_team_id_match=prefix": "same", "?search=far": "far",
			"?sort_by=team_id&sort_order=desc&page_size=1&page=2": "solo", "?team_id=t": "t",
		} {
			got := ids("admin", "/v2/team/list"+query)
			if query == "?search=s" && got == "same solo" {
				continue // both were made in the same moment
			}
			if got != want {
				w.Errorf("%s: %s, want %s", query, got, want)
			}
		}
	})
}

// TestTeamKeysHidden shows members of a team that there are keys, and their own.
func TestTeamKeysHidden(t *testing.T) {
	each(t, func(w *world) {
		w.cast()
		others := w.key("others", func(k *identity.Key) { k.TeamID, k.UserID = "t", "other" })
		mine := w.key("mine", func(k *identity.Key) { k.TeamID, k.UserID = "t", "tm" })
		for as, sees := range map[string]bool{"tm": false, "ta": true, "lead": true, "viewer": true, "tk": false} {
			raw := string(w.call(as, "GET", "/team/info?team_id=t", nil).Raw)
			if strings.Contains(raw, others) != sees || strings.Count(raw, `"key_alias"`) != 3 {
				w.Errorf("%s sees the digest of another's key: %v; %s", as, !sees, raw)
			}
		}
		for _, path := range []string{"/team/info?team_id=t", "/team/list?user_id=tm"} {
			raw := string(w.call("tm", "GET", path, nil).Raw)
			if strings.Contains(raw, others) || !strings.Contains(raw, mine) {
				w.Errorf("%s: %s", path, raw)
			}
		}
		if raw := string(w.call("ta", "GET", "/team/info?team_id=t&key_limit=1", nil).Raw); strings.Count(raw, `"key_alias"`) != 1 {
			w.Errorf("key_limit: %s", raw)
		}
	})
}
