package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// writing is a call that makes or changes an object, without the field that is
// in question: whose it is, and who may make the call so.
type writing struct {
	call string
	rel  relation
	body string
	as   string
}

// writings are all routes by which somebody who is no proxy admin writes an
// object that has fields for proxy admins alone.
var writings = []writing{
	{"POST /key/generate", own, `{}`, "iu"},
	{"POST /key/generate", sameTeam, `{"team_id":"{myteam}"}`, "ta"},
	{"POST /key/service-account/generate", sameTeam, `{"team_id":"{myteam}"}`, "sa"},
	{"POST /key/update", own, `{"key":"{key}"}`, "iu"},
	{"POST /key/update", sameTeam, `{"key":"{key}"}`, "tp"},
	{"POST /key/regenerate", own, `{"key":"{key}"}`, "iu"},
	{"POST /key/regenerate", sameTeam, `{"key":"{key}"}`, "ta"},
	{"POST /key/{key_id}/regenerate", own, `{}`, "iu"},
	{"POST /user/new", sameTeam, `{"organizations":["o1"]}`, "oa"},
	{"POST /user/update", own, `{"user_id":"{user}","user_alias":"a-{n}"}`, "iu"},
	{"POST /team/new", sameTeam, `{"organization_id":"o1"}`, "oa"},
	{"POST /team/update", sameTeam, `{"team_id":"{team}"}`, "ta"},
	{"PATCH /team/{team_id}", sameTeam, `{}`, "oa"},
	{"POST /team/member_update", sameTeam, `{"team_id":"{team}","user_id":"{member}"}`, "ta"},
	{"PATCH /organization/update", sameTeam, `{"organization_id":"{org}"}`, "oa"},
	{"POST /project/new", sameTeam, `{"team_id":"{team}"}`, "ta"},
	{"POST /project/update", sameTeam, `{"project_id":"{project}"}`, "oa"},
}

// forAdmins are the fields of rule 3, and a value for each.
var forAdmins = map[string]any{
	"user_role": "proxy_admin", "spend": 1, "allowed_routes": []string{"/v1/models"}, "permissions": M{"get_spend_routes": true},
	"allowed_passthrough_routes": []string{"/x"}, "budget_id": "b-rich", "config": M{"a": 1}, "router_settings": M{"num_retries": 1},
	"object_permission": M{"mcp_servers": []string{"x"}}, "temp_budget_increase": 1, "temp_budget_expiry": "2099-01-01T00:00:00Z",
	"guardrails": []string{"x"}, "disable_global_guardrails": true, "tags": []string{"x"}, "key_type": "management",
}

// metadataForAdmins are the names in metadata that rule 3 has.
var metadataForAdmins = map[string]any{
	"logging": []any{M{"callback_name": "x"}}, "model_config": M{"a": 1}, "priority": "high", "guardrails": []string{"x"},
	"disable_global_guardrails": true, "opted_out_global_guardrails": []string{"x"}, "allow_client_tags": true, "tags": []string{"x"},
	"user_api_key_user_id": "u-pa", "user_api_key_anything": 1, "team_member_budget_id": "b-rich", "service_account_id": "sa2",
}

// TestFieldsForAdmins sends every field that is for proxy admins alone as
// everybody else, to every route that takes it.
func TestFieldsForAdmins(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		for _, write := range writings {
			method, path, _ := strings.Cut(write.call, " ")
			route := tableRow(method, path)
			fields := map[string]any{}
			for _, f := range route.Body {
				v, listed := forAdmins[f.Name]
				if listed || f.AdminOnly {
					fields[f.Name] = v
				}
				if !listed && f.AdminOnly {
					fields[f.Name] = someValue(f)
				}
				if f.Name == "metadata" {
					for name, v := range metadataForAdmins {
						fields["metadata."+name] = v
					}
				}
			}
			delete(fields, "new_master_key") // nobody's in this release
			if strings.Contains(path, "service-account") {
				delete(fields, "metadata.service_account_id") // what the route is about
			}
			if write.call == "POST /key/generate" || write.call == "POST /key/service-account/generate" {
				fields["key_type"] = "management"
			}
			p.fields(write, path, fields)
		}
	}, permissive(t))
}

// fields makes one call with each of the fields, as everybody who is no proxy
// admin; and without them, to see that it is the field that is refused.
func (p *permits) fields(write writing, path string, fields map[string]any) {
	p.Helper()
	method, _, _ := strings.Cut(write.call, " ")
	send := func(caller, field string, v any) (answer, bool) {
		target := strings.NewReplacer("{key_id}", "{key}", "{team_id}", "{team}").Replace(path)
		target, body := p.fill(target, caller, write.rel), p.fill(write.body, caller, write.rel)
		var doc M
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			p.Fatal(err)
		}
		if inner, ok := strings.CutPrefix(field, "metadata."); ok {
			doc["metadata"] = M{inner: v}
		} else if strings.HasPrefix(field, "temp_budget") {
			doc["temp_budget_increase"], doc["temp_budget_expiry"] = 1, "2099-01-01T00:00:00Z"
		} else if field != "" {
			doc[field] = v
		}
		who := p.who(caller, write.rel, strings.Contains(write.body+path, "{team"))
		before := p.changes()
		a := p.callAs(who, method, target, doc)
		wrote := p.changes() != before
		if wrote {
			clear(p.made)
		}
		return a, wrote
	}
	if a, _ := send(write.as, "", nil); a.Status != 200 {
		p.Errorf("%s without more as %s: %d %s", write.call, write.as, a.Status, a.Raw)
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		for _, caller := range permissionCallers {
			if caller == "pa" {
				continue
			}
			a, wrote := send(caller, field, fields[field])
			if caller == "iu" && a.Status == 400 && strings.Contains(string(a.Raw), "not a member of team") {
				a.Status = 403 // as it was recorded
			}
			if a.Status == 400 && strings.Contains(string(a.Raw), "is not part of this release") {
				a.Status = 403 // nobody's
			}
			if wrote || a.Status != 401 && a.Status != 403 && a.Status != 404 {
				p.Errorf("%s with %s of %s as %s: %d, written %v: %.200s", write.call, field, write.rel, caller, a.Status, wrote, a.Raw)
			}
		}
	}
}

// tableRow is a row of the table.
func tableRow(method, path string) *access.Route {
	for _, r := range access.Routes() {
		if r.Method == method && r.Path == path {
			return &r
		}
	}
	panic("no route " + method + " " + path)
}

func someValue(f access.Field) any {
	switch f.Type {
	case access.Boolean:
		return true
	case access.Integer, access.Number, access.Money:
		return 1
	case access.StringList:
		return []string{"x"}
	case access.Object, access.StringMap:
		return M{"x": "y"}
	case access.ObjectList, access.ObjectOrList:
		return []M{{"x": "y"}}
	case access.Duration:
		return "1d"
	case access.Time:
		return "2099-01-01T00:00:00Z"
	}
	return "sk-somebody-chose-this-one-0123456789"
}

// TestFieldsForAdminsCovered: whatever route takes a field for proxy admins
// alone is among the writings, unless proxy admins alone call it.
func TestFieldsForAdminsCovered(t *testing.T) {
	for _, r := range access.Routes() {
		name := r.Method + " " + r.Path
		special := slices.ContainsFunc(r.Body, func(f access.Field) bool { return f.AdminOnly || forAdmins[f.Name] != nil || f.Name == "metadata" })
		adminsOnly := !slices.ContainsFunc(r.Actions, func(a access.Action) bool {
			for c := access.OrgAdmin; c < access.Columns; c++ {
				if a.Open(c) {
					return true
				}
			}
			return false
		})
		written := slices.ContainsFunc(writings, func(w writing) bool { return w.call == name })
		if strings.Contains(name, "permissions_bulk_update") {
			continue // its permissions are those of members
		}
		if special && !adminsOnly && !written && !r.Edge && r.Method != "GET" {
			t.Errorf("%s has fields for proxy admins alone and is not tried", name)
		}
	}
}

// TestGivenStaysGiven: what a proxy admin gave to an object stays when its owner
// writes the object, clears metadata, or sends null.
func TestGivenStaysGiven(t *testing.T) {
	each(t, func(w *world) {
		p := settled(w)
		given := identity.Fields{"note": quoted(1)}
		for name, v := range metadataForAdmins {
			given[name] = quoted(v)
		}
		token := p.key("given", func(k *identity.Key) {
			k.UserID, k.Metadata, k.Permissions = "u-iu", given, identity.Fields{"a": quoted(1)}
		})
		for _, metadata := range []any{M{"note": 2}, M{}, nil} {
			p.ok("iu", "POST", "/key/update", M{"key": token, "metadata": metadata})
			k, err := store.Get[identity.Key](t.Context(), p.store, token)
			if err != nil {
				p.Fatal(err)
			}
			for name := range metadataForAdmins {
				if !sameJSON(k.Metadata[name], given[name]) {
					p.Errorf("metadata %v took %s away: %s", metadata, name, k.Metadata[name])
				}
			}
		}
		for name := range metadataForAdmins {
			p.refusals("iu", [3]any{"POST /key/update", M{"key": token, "metadata": M{name: nil}}, 403},
				[3]any{"POST /key/regenerate", M{"key": token, "metadata": M{name: "other"}}, 403})
		}
		p.refusals("iu", [3]any{"POST /key/update", M{"key": token, "permissions": nil}, 403},
			[3]any{"POST /key/update", M{"key": token, "guardrails": nil}, 403}, [3]any{"POST /key/update", M{"key": token, "tags": nil}, 403})

		for i, as := range []string{"oa", "ta"} {
			id := fmt.Sprint("given-", i)
			p.insert(&identity.Team{ID: id, OrganizationID: "o1", Metadata: given}, &identity.Member{TeamID: id, UserID: "u-ta", Role: "admin"})
			for _, metadata := range []any{M{"note": 2}, M{}, nil} {
				for _, call := range []string{"POST /team/update", "PATCH /team/" + id} {
					method, target, _ := strings.Cut(call, " ")
					p.call(as, method, target, M{"team_id": id, "metadata": metadata})
				}
				team, err := store.Get[identity.Team](t.Context(), p.store, id)
				if err != nil {
					p.Fatal(err)
				}
				for name := range metadataForAdmins {
					if !sameJSON(team.Metadata[name], given[name]) {
						p.Errorf("%s: metadata %v of a team took %s away: %s", as, metadata, name, team.Metadata[name])
					}
				}
			}
		}
	}, func(c *Config) { c.TeamAdminFields = []string{"metadata"} })
}
