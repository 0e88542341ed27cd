package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/identity"
)

// TestGrantsAreSubsets: nobody but a proxy admin gives what it does not have.
func TestGrantsAreSubsets(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		five, ten := dollars(5), int64(10)
		p.insert(&identity.AccessGroup{ID: "g-small", Name: "small", Models: []string{"mock"}}, &identity.AccessGroup{ID: "g-big", Name: "big", Models: []string{"m9"}},
			&identity.User{ID: "u-small", Role: "internal_user", Models: []string{"mock", "gpt-*"}, Caps: identity.Caps{MaxBudget: &five, TPMLimit: &ten, RPMLimit: &ten, MaxParallelRequests: &ten}},
			&identity.Team{ID: "t-small", OrganizationID: "o1", Models: []string{"mock"}, Caps: identity.Caps{MaxBudget: &five, TPMLimit: &ten, RPMLimit: &ten, MaxParallelRequests: &ten}},
			&identity.Member{TeamID: "t-small", UserID: "u-ta", Role: "admin"})
		p.key("small", func(k *identity.Key) { k.UserID = "u-small" })
		for _, beyond := range []M{
			{"max_budget": 6},
			{"tpm_limit": 11},
			{"rpm_limit": 11},
			{"max_parallel_requests": 11},
			{"models": []string{"m3"}},
			{"models": []string{"*"}},
			{"models": []string{"mock", "m3"}},
			{"models": []string{"all-proxy-models"}},
			{"access_group_ids": []string{"g-big"}},
			{"budget_id": "b-rich"},
			{"organization_id": "o2"},
			{"team_id": "t3"},
		} {
			p.refusals("small", [3]any{"POST /key/generate", beyond, nil})
			if beyond["team_id"] == nil {
				beyond["team_id"] = "t-small"
			}
			p.refusals("ta", [3]any{"POST /key/generate", beyond, nil}, [3]any{"POST /key/service-account/generate", beyond, nil})
		}
		for _, within := range []M{
			{"max_budget": 5}, {"tpm_limit": 10}, {"models": []string{"mock"}}, {"models": []string{"gpt-5"}}, {"access_group_ids": []string{"g-small"}, "models": []string{"mock"}},
		} {
			p.ok("small", "POST", "/key/generate", within)
		}

		// An empty list is all, and null clears: both are more than was there.
		own := p.key("own", func(k *identity.Key) {
			k.UserID, k.Models, k.MaxBudget, k.RPMLimit = "u-iu", []string{"mock"}, &five, &ten
		})
		for _, wider := range []M{
			{"models": []string{}},
			{"models": nil},
			{"models": []string{"*"}},
			{"max_budget": nil},
			{"max_budget": 6},
			{"rpm_limit": nil},
			{"rpm_limit": 11},
			{"access_group_ids": []string{"g-big"}},
			{"aliases": M{"mock": "m9"}},
			{"organization_id": "o1"},
			{"team_id": "t1"},
		} {
			call := M{"key": own}
			for name, v := range wider {
				call[name] = v
			}
			p.refusals("iu", [3]any{"POST /key/update", call, 403}, [3]any{"POST /key/regenerate", call, 403})
		}
		// A team's admin lowers what the setting opens and raises nothing.
		p.refusals("ta", [3]any{"POST /team/update", M{"team_id": "t-small", "models": []string{"*"}}, nil})
		for _, wider := range []M{{"max_budget": nil}, {"max_budget": 6}, {"models": []string{}}, {"models": nil}, {"models": []string{"mock", "m3"}}} {
			wider["team_id"] = "t-small"
			p.refusals("ta", [3]any{"POST /team/update", wider, 403}, [3]any{"PATCH /team/t-small", wider, 403})
		}
		// The last model that is taken leaves none, not all.
		p.ok("ta", "POST", "/team/model/delete", M{"team_id": "t-small", "models": []string{"mock"}})
		if models := p.ok("pa", "GET", "/team/info?team_id=t-small", nil)["team_info"].(map[string]any)["models"]; quotedText(models) != `["no-default-models"]` {
			p.Errorf("a team without its last model has %v", models)
		}
	}, permissive(t))
}

// TestKeysDoNotOutlive: what a key makes is bounded by the key's own routes and
// end.
func TestKeysDoNotOutlive(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		hour := time.Now().Add(time.Hour)
		p.key("short", func(k *identity.Key) { k.UserID, k.Expires = "u-iu", &hour })
		lasting := p.key("lasting", func(k *identity.Key) { k.UserID = "u-iu" })
		p.refusals("short", [3]any{"POST /key/generate", M{"duration": "1d"}, 403}, [3]any{"POST /key/generate", M{"duration": "-1"}, 403},
			[3]any{"POST /key/regenerate", M{"key": lasting}, 403})
		for _, body := range []M{{}, {"duration": "10m"}} {
			if at, err := time.Parse(time.RFC3339, p.ok("short", "POST", "/key/generate", body)["expires"].(string)); err != nil || at.After(hour.Add(time.Second)) {
				p.Errorf("%v: the key is good until %v (%v)", body, at, err)
			}
		}
		p.ok("short", "POST", "/key/"+digestHex(p.plain("short"))+"/regenerate", M{})
		p.key("some", func(k *identity.Key) { k.UserID, k.AllowedRoutes = "u-iu", []string{"management_routes"} })
		p.key("kind", func(k *identity.Key) { k.UserID, k.Type = "u-iu", "management" })
		for _, caller := range []string{"some", "kind"} {
			p.refusals(caller, [3]any{"POST /key/generate", M{}, 403}, [3]any{"POST /key/generate", M{"key_type": "llm_api"}, 403},
				[3]any{"POST /key/regenerate", M{"key": lasting}, 403})
		}
	})
}

// TestChangesOfUsersActAtOnce: block, demotion and deletion of a user, and loss
// of a place, act on keys that were issued before.
func TestChangesOfUsersActAtOnce(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		p.userKey("second", "u-second", identity.RoleProxyAdmin)
		who := map[string]*auth.Identity{} // as a worker knew them before
		for _, name := range []string{"second", "ta", "oa"} {
			who[name] = p.caller(name)
		}
		may := func(as, target string, body any, want int) {
			p.Helper()
			if a := p.callAs(who[as], "POST", target, body); a.Status != want {
				p.Errorf("%s as %s: %d %s, want %d", target, as, a.Status, a.Raw, want)
			}
		}
		may("second", "/budget/new", M{"budget_id": "b1"}, 200)
		p.ok("pa", "POST", "/user/update", M{"user_id": "u-second", "user_role": "internal_user"})
		may("second", "/budget/new", M{"budget_id": "b2"}, 401)
		p.ok("pa", "POST", "/user/update", M{"user_id": "u-second", "user_role": "proxy_admin"})
		p.ok("pa", "POST", "/user/update", M{"user_id": "u-second", "blocked": true})
		may("second", "/budget/new", M{"budget_id": "b3"}, 401)
		p.ok("pa", "POST", "/user/update", M{"user_id": "u-second", "blocked": false})
		p.ok("pa", "POST", "/user/delete", M{"user_ids": []string{"u-second"}})
		may("second", "/budget/new", M{"budget_id": "b4"}, 401)

		may("ta", "/team/model/add", M{"team_id": "t1", "models": []string{"mock"}}, 200)
		p.ok("pa", "POST", "/team/member_update", M{"team_id": "t1", "user_id": "u-ta", "role": "user"})
		may("ta", "/team/model/add", M{"team_id": "t1", "models": []string{"mock"}}, 403)
		may("oa", "/team/block", M{"team_id": "t1"}, 200)
		p.ok("pa", "PATCH", "/organization/member_update", M{"organization_id": "o1", "user_id": "u-oa", "role": "internal_user"})
		may("oa", "/team/unblock", M{"team_id": "t1"}, 401)

		// A key that has ended, or whose team is blocked, is none any more.
		soon := time.Now().Add(200 * time.Millisecond)
		p.key("ending", func(k *identity.Key) { k.UserID, k.Expires = "u-pa", &soon })
		who["ending"], who["sa"] = p.caller("ending"), p.caller("sa")
		time.Sleep(time.Until(soon))
		may("ending", "/budget/new", M{"budget_id": "b5"}, 401)
		may("sa", "/key/generate", M{"team_id": "t1"}, 401)
		p.ok("pa", "POST", "/team/unblock", M{"team_id": "t1"})
		may("sa", "/key/generate", M{"team_id": "t1"}, 200)

		// The last proxy admins stay.
		p.ok("pa", "POST", "/user/delete", M{"user_ids": []string{"u-pa2"}})
		p.refusals("pa", [3]any{"POST /user/delete", M{"user_ids": []string{"u-pa"}}, 400}, [3]any{"POST /user/update", M{"user_id": "u-pa", "user_role": "internal_user"}, 400},
			[3]any{"POST /user/update", M{"user_id": "u-pa", "blocked": true}, 400}, [3]any{"POST /user/update", M{"user_id": "u-pa", "user_role": nil}, 400})
	})
}

// TestUnseenIsMissing: what one may not see answers like what there is not, but
// where LiteLLM's 403 was recorded.
func TestUnseenIsMissing(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		for _, c := range []struct{ as, method, target, body, there, missing string }{
			{"oa", "GET", "/team/info?team_id={id}", "", "t3", "t-none"},
			{"oa", "GET", "/team/permissions_list?team_id={id}", "", "t3", "t-none"},
			{"ta", "GET", "/team/info?team_id={id}", "", "t2", "t-none"},
			{"ta", "POST", "/team/update", `{"team_id":"{id}","team_alias":"x"}`, "t2", "t-none"},
			{"ta", "PATCH", "/team/{id}", `{"team_alias":"x"}`, "t2", "t-none"},
			{"ta", "POST", "/team/member_add", `{"team_id":"{id}","member":{"role":"user","user_id":"u-w"}}`, "t2", "t-none"},
			{"ta", "POST", "/team/member_delete", `{"team_id":"{id}","user_id":"u-y"}`, "t2", "t-none"},
			{"ta", "POST", "/team/model/add", `{"team_id":"{id}","models":["m"]}`, "t2", "t-none"},
			{"ta", "POST", "/team/permissions_update", `{"team_id":"{id}","team_member_permissions":[]}`, "t2", "t-none"},
			{"oa", "POST", "/team/delete", `{"team_ids":["{id}"]}`, "t3", "t-none"},
			{"oa", "POST", "/team/block", `{"team_id":"{id}"}`, "t3", "t-none"},
			{"iu", "GET", "/team/info?team_id={id}", "", "t2", "t-none"},
			{"iu", "POST", "/team/update", `{"team_id":"{id}","team_alias":"x"}`, "t2", "t-none"},
			{"oa", "GET", "/user/info?user_id={id}", "", "u-z", "u-none"},
			{"oa", "GET", "/v2/user/info?user_id={id}", "", "u-z", "u-none"},
			{"iu", "GET", "/user/info?user_id={id}", "", "u-z", "u-none"},
			{"iu", "GET", "/v2/user/info?user_id={id}", "", "u-z", "u-none"},
			{"oa", "POST", "/user/delete", `{"user_ids":["{id}"]}`, "u-z", "u-none"},
			{"ta", "POST", "/user/delete", `{"user_ids":["{id}"]}`, "u-z", "u-none"},
			{"oa", "POST", "/invitation/new", `{"user_id":"{id}"}`, "u-z", "u-none"},
			{"iu", "POST", "/user/update", `{"user_id":"{id}","user_alias":"x"}`, "u-z", "u-none"},
			{"oa", "GET", "/organization/info?organization_id={id}", "", "o2", "o-none"},
			{"iu", "GET", "/organization/info?organization_id={id}", "", "o2", "o-none"},
			{"oa", "PATCH", "/organization/update", `{"organization_id":"{id}","organization_alias":"x"}`, "o2", "o-none"},
			{"oa", "POST", "/organization/member_add", `{"organization_id":"{id}","member":{"role":"internal_user","user_id":"u-w"}}`, "o2", "o-none"},
			{"oa", "DELETE", "/organization/member_delete", `{"organization_id":"{id}","user_id":"u-z"}`, "o2", "o-none"},
			{"ta", "GET", "/project/info?project_id={id}", "", p.object("project", "ta", otherTeam), "p-none"},
			{"ta", "POST", "/project/update", `{"project_id":"{id}","description":"x"}`, p.object("project", "ta", otherTeam), "p-none"},
			{"oa", "DELETE", "/project/delete", `{"project_ids":["{id}"]}`, p.object("project", "oa", otherOrganization), "p-none"},
			{"ta", "POST", "/model/block", `{"model_id":"{id}"}`, p.object("model", "ta", otherTeam), "m-none"},
			{"ta", "PATCH", "/model/{id}/update", `{"blocked":true}`, p.object("model", "ta", otherTeam), "m-none"},
			{"ta", "POST", "/model/delete", `{"id":"{id}"}`, p.object("model", "ta", otherTeam), "m-none"},
			{"iu", "GET", "/model/info?litellm_model_id={id}", "", p.object("model", "ta", otherTeam), "m-none"},
			{"iu", "POST", "/tag/info", `{"names":["{id}"]}`, p.object("tag", "iu", own), "tag-none"},
		} {
			said := map[string]string{}
			for _, id := range []string{c.there, c.missing} {
				fill := func(s string) string { return strings.ReplaceAll(s, "{id}", id) }
				var body any
				if c.body != "" {
					body = fill(c.body)
				}
				a := p.call(c.as, c.method, fill(c.target), body)
				if a.Status < 400 {
					p.Errorf("%s %s of %s as %s: %d", c.method, c.target, id, c.as, a.Status)
				}
				said[id] = fmt.Sprint(a.Status, " ", strings.ReplaceAll(string(a.Raw), id, "{id}"))
			}
			if said[c.there] != said[c.missing] {
				p.Errorf("%s %s as %s tells\n what it may not see: %s\n from what is missing: %s", c.method, c.target, c.as, said[c.there], said[c.missing])
			}
		}
	}, permissive(t))
}

// TestListsShowWhatMayBeSeen reads every list page by page: what is on it, each
// once, is what its caller may see, and the total counts that.
func TestListsShowWhatMayBeSeen(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		ids := map[string]string{} // digest → name
		for i, of := range []struct{ user, team string }{{"u-x", "t1"}, {"u-y", "t2"}, {"u-z", "t3"}, {"", "t1"}, {"", "t2"}, {"", "t3"}, {"u-x", ""}, {"u-z", ""}} {
			name := fmt.Sprint("k", i)
			ids[p.key(name, func(k *identity.Key) { k.UserID, k.TeamID, k.Alias = of.user, of.team, name })] = name
		}
		for _, team := range []string{"t1", "t2", "t3"} {
			p.insert(&identity.Project{ID: "p-" + team, TeamID: team})
		}
		// With the keys go those of the callers themselves, by their names.
		for _, name := range strings.Fields("pa av oa ta tm tp iu iv x y z tk sa bk") {
			ids[digestHex(p.plain(name))] = name
		}
		everything := "pa av oa ta tm tp iu iv x y z tk sa bk k0 k1 k2 k3 k4 k5 k6 k7"
		ofO1 := "k0 k1 k3 k4 tk sa oa"
		for _, c := range []struct{ as, target, size, field, total, id, want string }{
			{"pa", "/key/list?return_full_object=true", "size", "keys", "total_count", "token", everything},
			{"av", "/key/list?return_full_object=true", "size", "keys", "total_count", "token", everything},
			{"oa", "/key/list?return_full_object=true&substring_matching=true&key_alias=k", "size", "keys", "total_count", "token", "k0 k1 k3 k4"},
			{"ta", "/key/list?return_full_object=true&team_id=t1", "size", "keys", "total_count", "token", "k0 k3 tk sa"},
			{"ta", "/key/list?return_full_object=true&organization_id=o1", "size", "keys", "total_count", "token", ""},
			{"tm", "/key/list?return_full_object=true&team_id=t1", "size", "keys", "total_count", "token", ""},
			{"iu", "/key/list?return_full_object=true", "size", "keys", "total_count", "token", "iu"},
			{"iu", "/key/list?return_full_object=true&user_id=u-x", "size", "keys", "total_count", "token", ""},
			{"pa", "/user/list", "page_size", "users", "total", "user_id", "u-av u-iu u-iv u-oa u-pa u-pa2 u-ta u-tm u-tp u-w u-x u-y u-z"},
			{"oa", "/user/list", "page_size", "users", "total", "user_id", "u-iu u-iv u-oa u-ta u-tm u-tp u-x u-y"},
			{"oa", "/user/list?organization_ids=o2", "page_size", "users", "total", "user_id", ""},
			{"oa", "/user/list?team=t3", "page_size", "users", "total", "user_id", ""},
			{"pa", "/v2/team/list", "page_size", "teams", "total", "team_id", "t1 t1p t2 t3 t4"},
			{"oa", "/v2/team/list", "page_size", "teams", "total", "team_id", "t1 t1p t2"},
			{"oa", "/v2/team/list?organization_id=o2", "page_size", "teams", "total", "team_id", ""},
			{"ta", "/v2/team/list?user_id=u-ta", "page_size", "teams", "total", "team_id", "t1"},
			{"iu", "/v2/team/list?user_id=u-iu", "page_size", "teams", "total", "team_id", ""},
			{"tm", "/v2/team/list?user_id=u-tm&search=t", "page_size", "teams", "total", "team_id", "t1"},
			{"pa", "/organization/list", "page_size", "", "", "organization_id", "o1 o2"},
			{"iu", "/organization/list", "page_size", "", "", "organization_id", "o1"},
			{"oa", "/organization/list?org_id=o2", "page_size", "", "", "organization_id", ""},
			{"pa", "/project/list", "page_size", "", "", "project_id", "p-t1 p-t2 p-t3"},
			{"oa", "/project/list", "page_size", "", "", "project_id", "p-t1 p-t2"},
			{"ta", "/project/list", "page_size", "", "", "project_id", "p-t1"},
			{"tk", "/project/list", "page_size", "", "", "project_id", "p-t1"},
			{"oa", "/spend/keys", "", "", "", "token", ofO1},
			{"ta", "/spend/keys", "", "", "", "token", "k0 k3 tk sa ta"},
			{"tm", "/spend/keys", "", "", "", "token", "tm"},
			{"iu", "/spend/users", "", "", "", "user_id", "u-iu"},
			{"oa", "/spend/users", "", "", "", "user_id", "u-iu u-iv u-oa u-ta u-tm u-tp u-x u-y"},
			{"oa", "/spend/users?user_id=u-z", "", "", "", "user_id", ""},
			{"oa", "/user/filter/ui?user_id=u-", "", "", "", "user_id", "u-iu u-iv u-oa u-ta u-tm u-tp u-x u-y"},
		} {
			got := p.pages(c.as, c.target, c.size, c.field, c.total, c.id)
			for i, id := range got {
				if ids[id] != "" {
					got[i] = ids[id]
				}
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(strings.Fields(c.want))); !slices.Equal(got, want) {
				p.Errorf("%s as %s: %v, want %v", c.target, c.as, got, want)
			}
		}
	})
}

// pages reads a list two at a time, where it has pages, and checks its total.
func (p *permits) pages(as, target, size, field, total, id string) (got []string) {
	p.Helper()
	for page := 1; page < 100; page++ {
		at := target
		if size != "" {
			mark := "?"
			if strings.Contains(target, "?") {
				mark = "&"
			}
			at += fmt.Sprintf("%spage=%d&%s=2", mark, page, size)
		}
		a := p.call(as, "GET", at, nil)
		if a.Status != 200 {
			p.Fatalf("%s as %s: %d %s", at, as, a.Status, a.Raw)
		}
		rows, _ := a.Body.([]any)
		if field != "" {
			rows, _ = a.Body.(map[string]any)[field].([]any)
		}
		for _, row := range rows {
			got = append(got, row.(map[string]any)[id].(string))
		}
		if len(rows) == 2 && size != "" {
			continue
		}
		if total != "" && quotedText(a.Body.(map[string]any)[total]) != fmt.Sprint(len(got)) {
			p.Errorf("%s as %s: %v of %d", at, as, a.Body.(map[string]any)[total], len(got))
		}
		break
	}
	return got
}
