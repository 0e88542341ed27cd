package admin

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
)

// callers are the columns of the matrix, in the order of the tables below: proxy
// admin, admin viewer, organization admin, team admin, team member, internal
// user, internal viewer, key of a team, service account, key of nobody.
var callers = strings.Fields("pa av oa ta tm iu iv tk sa bk")

// society is one of each caller. Team t1 is of organization o1, t2 of none, t3
// of o2; the team admin, member and keys are of t1, the organization admin of o1.
func society(w *world) {
	w.Helper()
	w.userKey("pa", "u-pa", identity.RoleProxyAdmin)
	w.userKey("av", "u-av", identity.RoleProxyAdminViewer)
	for _, name := range []string{"oa", "ta", "tm", "iu"} {
		w.userKey(name, "u-"+name, identity.RoleInternalUser)
	}
	w.userKey("iv", "u-iv", identity.RoleInternalViewer)
	w.user("u-x", identity.RoleInternalUser)
	w.organization("o1", "u-oa:org_admin", "u-x")
	w.organization("o2")
	w.team("t1", "o1", "u-ta:admin", "u-tm", "u-x")
	w.team("t2", "", "u-x")
	w.team("t3", "o2", "u-x")
	w.key("tk", func(k *identity.Key) { k.TeamID = "t1" })
	w.key("sa", func(k *identity.Key) {
		k.TeamID, k.Metadata = "t1", identity.Fields{"service_account_id": quoted("sa")}
	})
	w.key("bk", nil)
}

// target makes a fresh key for a cell of the matrix.
func (w *world) target(n int, caller, whose string) string {
	w.Helper()
	return w.key(fmt.Sprintf("target-%d", n), func(k *identity.Key) {
		k.Spend = 1
		switch whose {
		case "own":
			switch caller {
			case "tk", "sa":
				k.TeamID = "t1"
			case "bk":
			default:
				k.UserID = "u-" + caller
			}
		case "same team":
			k.UserID, k.TeamID = "u-x", "t1"
		case "other team":
			k.UserID, k.TeamID = "u-x", "t2"
		case "other organization":
			k.UserID, k.TeamID = "u-x", "t3"
		}
	})
}

// keyCells are the statuses of calls about a key: for each caller, own, same
// team, other team, other organization.
var keyCells = []struct {
	what, method, path string
	body               M // the key is added
	cells              string
}{
	{"info", "GET", "/key/info?key={key}", nil, `
		pa 200 200 200 200   av 200 200 200 200   oa 200 200 403 403   ta 200 200 403 403   tm 200 403 403 403
		iu 200 403 403 403   iv 200 403 403 403   tk 403 403 403 403   sa 403 403 403 403   bk 403 403 403 403`},
	{"alias", "POST", "/key/update", M{"key_alias": "alias-{n}"}, `
		pa 200 200 200 200   av 403 403 403 403   oa 200 200 403 403   ta 200 200 403 403   tm 200 401 403 403
		iu 200 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 200 200 401 401   bk 401 401 401 401`},
	{"budget", "POST", "/key/update", M{"max_budget": 1}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 200 403 403   ta 403 403 403 403   tm 403 401 403 403
		iu 403 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 403 403 401 401   bk 401 401 401 401`},
	{"limit", "POST", "/key/update", M{"rpm_limit": 1}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 200 403 403   ta 403 200 403 403   tm 403 401 403 403
		iu 403 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 200 200 401 401   bk 401 401 401 401`},
	{"routes", "POST", "/key/update", M{"allowed_routes": []string{"management_routes"}}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 403 403 403   ta 403 403 403 403   tm 403 401 403 403
		iu 403 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"user", "POST", "/key/update", M{"user_id": "u-iu"}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 403 403 403   ta 403 403 403 403   tm 403 401 403 403
		iu 200 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"delete", "POST", "/key/delete", M{}, `
		pa 200 200 200 200   av 403 403 403 403   oa 200 200 403 403   ta 200 200 403 403   tm 200 403 403 403
		iu 200 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"regenerate", "POST", "/key/{key}/regenerate", M{}, `
		pa 200 200 200 200   av 403 403 403 403   oa 200 200 403 403   ta 200 200 403 403   tm 200 403 403 403
		iu 200 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"block", "POST", "/key/block", M{}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 200 403 403   ta 403 200 403 403   tm 403 403 403 403
		iu 403 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"blocked", "POST", "/key/update", M{"blocked": true}, `
		pa 200 200 200 200   av 403 403 403 403   oa 403 200 403 403   ta 403 200 403 403   tm 403 401 403 403
		iu 403 403 403 403   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
	{"reset_spend", "POST", "/key/{key}/reset_spend", M{"reset_to": 0}, `
		pa 200 200 200 200   av 403 403 403 403   oa 401 200 401 401   ta 401 200 401 401   tm 401 401 401 401
		iu 401 401 401 401   iv 401 401 401 401   tk 401 401 401 401   sa 401 401 401 401   bk 401 401 401 401`},
}

func TestKeyMatrix(t *testing.T) {
	each(t, func(w *world) {
		society(w)
		whose := []string{"own", "same team", "other team", "other organization"}
		n := 0
		for _, row := range keyCells {
			cells := strings.Fields(row.cells)
			if len(cells) != 5*len(callers) {
				t.Fatalf("%s has %d cells", row.what, len(cells))
			}
			for i, caller := range callers {
				if cells[5*i] != caller {
					t.Fatalf("%s: %s stands where %s is expected", row.what, cells[5*i], caller)
				}
				for j, target := range whose {
					n++
					token := w.target(n, caller, target)
					body := M{"key": token, "keys": []string{token}}
					for name, v := range row.body {
						if s, ok := v.(string); ok {
							v = strings.ReplaceAll(s, "{n}", fmt.Sprint(n))
						}
						body[name] = v
					}
					before := w.changes()
					a := w.call(caller, row.method, strings.ReplaceAll(row.path, "{key}", token), body)
					if got := fmt.Sprint(a.Status); got != cells[5*i+1+j] {
						t.Errorf("%s of a key of %s as %s: %s, want %s: %s", row.what, target, caller, got, cells[5*i+1+j], a.Raw)
					}
					if a.Status != 200 && w.changes() != before {
						t.Errorf("%s of a key of %s as %s was refused and changed something", row.what, target, caller)
					}
				}
			}
		}
	})
}

func TestKeyMatrixGenerate(t *testing.T) {
	each(t, func(w *world) {
		society(w)
		for _, row := range []struct {
			what, path string
			body       M
			cells      string // in the order of callers
		}{
			{"for oneself", "/key/generate", M{}, "200 403 200 200 200 200 401 401 403 401"},
			{"in t1", "/key/generate", M{"team_id": "t1"}, "200 403 200 200 401 400 401 401 200 401"},
			{"in t2", "/key/generate", M{"team_id": "t2"}, "200 403 400 400 400 400 401 401 403 401"},
			{"in t3", "/key/generate", M{"team_id": "t3"}, "200 403 400 400 400 400 401 401 403 401"},
			{"for u-x in t1", "/key/generate", M{"team_id": "t1", "user_id": "u-x"}, "200 403 200 200 401 400 401 401 401 401"},
			{"for u-iu in t1, no member", "/key/generate", M{"team_id": "t1", "user_id": "u-iu"}, "200 403 400 400 401 400 401 401 401 401"},
			{"for u-x of o1", "/key/generate", M{"user_id": "u-x"}, "200 403 200 403 403 403 401 401 403 401"},
			{"for u-av of nothing", "/key/generate", M{"user_id": "u-av"}, "200 403 403 403 403 403 401 401 403 401"},
			{"service account in t1", "/key/service-account/generate", M{"team_id": "t1"}, "200 403 200 200 401 400 401 401 200 401"},
			{"service account in t2", "/key/service-account/generate", M{"team_id": "t2"}, "200 403 400 400 400 400 401 401 403 401"},
			{"with routes", "/key/generate", M{"allowed_routes": []string{"/x"}}, "200 403 403 403 403 403 401 401 403 401"},
			{"of type management", "/key/generate", M{"key_type": "management"}, "200 403 403 403 403 403 401 401 403 401"},
			{"of type llm_api", "/key/generate", M{"key_type": "llm_api"}, "200 403 200 200 200 200 401 401 403 401"},
			{"with spend", "/key/generate", M{"spend": 1}, "200 403 403 403 403 403 401 401 403 401"},
			{"with permissions", "/key/generate", M{"permissions": M{"get_spend_routes": true}}, "200 403 403 403 403 403 401 401 403 401"},
			{"with tags", "/key/generate", M{"tags": []string{"x"}}, "200 403 403 403 403 403 401 401 403 401"},
			{"with guardrails in metadata", "/key/generate", M{"metadata": M{"guardrails": []string{"x"}}}, "200 403 403 403 403 403 401 401 403 401"},
			{"with user_api_key_x in metadata", "/key/generate", M{"metadata": M{"user_api_key_x": 1}}, "200 403 403 403 403 403 401 401 403 401"},
			{"with a harmless note", "/key/generate", M{"metadata": M{"x": 1}}, "200 403 200 200 200 200 401 401 403 401"},
			{"with a chosen secret", "/key/generate", M{"key": "sk-chosen-by-the-caller-0001"}, "200 403 403 403 403 403 401 401 401 401"},
			{"in t2, said to be of o1", "/key/generate", M{"team_id": "t2", "organization_id": "o1"}, "200 403 400 400 400 400 401 401 403 401"},
			{"in t3, said to be of o1", "/key/generate", M{"team_id": "t3", "organization_id": "o1"}, "400 403 400 400 400 400 401 401 400 401"},
			{"for u-av, said to be of o1", "/key/generate", M{"user_id": "u-av", "organization_id": "o1"}, "200 403 403 403 403 403 401 401 403 401"},
			{"in no organization of one's own", "/key/generate", M{"organization_id": "o2"}, "200 403 403 403 403 403 401 401 403 401"},
		} {
			cells := strings.Fields(row.cells)
			for i, caller := range callers {
				before := w.changes()
				a := w.call(caller, "POST", row.path, row.body)
				if got := fmt.Sprint(a.Status); got != cells[i] {
					t.Errorf("%s as %s: %s, want %s: %s", row.what, caller, got, cells[i], a.Raw)
				}
				if a.Status != 200 && w.changes() != before {
					t.Errorf("%s as %s was refused and changed something", row.what, caller)
				}
			}
		}
		// Whom a key belongs to where nobody was named.
		if doc := w.ok("iu", "POST", "/key/generate", M{}); doc["user_id"] != "u-iu" || doc["created_by"] != "u-iu" {
			t.Errorf("%v", doc)
		}
		if doc := w.ok("ta", "POST", "/key/service-account/generate", M{"team_id": "t1"}); doc["user_id"] != nil ||
			doc["metadata"].(map[string]any)["service_account_id"] == nil {
			t.Errorf("%v", doc)
		}
	})
}

// TestKeyTeamPermissions opens routes to the members of a team.
func TestKeyTeamPermissions(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("tm", "u-tm", identity.RoleInternalUser)
		w.insert(&identity.Team{ID: "t1", Settings: identity.Fields{"team_member_permissions": quoted([]string{
			"/key/generate", "/key/update", "/key/delete", "/key/{key_id}/regenerate", "/key/list",
		})}}, &identity.Member{TeamID: "t1", UserID: "u-tm", Role: "user"})
		w.ok("tm", "POST", "/key/generate", M{"team_id": "t1"})
		w.refused(401, "", "tm", "POST", "/key/service-account/generate", M{"team_id": "t1"})
		token := w.key("other", func(k *identity.Key) { k.UserID, k.TeamID = "u-x", "t1" })
		w.ok("tm", "POST", "/key/update", M{"key": token, "key_alias": "x"})
		w.refused(403, "team_admin_editable_team_fields", "tm", "POST", "/key/update", M{"key": token, "max_budget": 1})
		w.refused(403, "Only a proxy admin may set", "tm", "POST", "/key/update", M{"key": token, "spend": 0.5})
		w.refused(403, "", "tm", "POST", "/key/block", M{"key": token})
		if doc := w.ok("tm", "GET", "/key/list?team_id=t1", nil); quotedText(doc["total_count"]) != "2" {
			t.Errorf("%v", doc)
		}
		doc := w.ok("tm", "POST", "/key/"+token+"/regenerate", nil)
		w.refused(403, "", "tm", "POST", "/key/regenerate", M{"key": doc["token"]})
		w.ok("tm", "POST", "/key/delete", M{"keys": []any{doc["token"]}})
	})
}

func TestKeyTeamAdminBudgets(t *testing.T) {
	each(t, func(w *world) {
		society(w)
		token := w.target(1, "ta", "same team")
		w.ok("ta", "POST", "/key/update", M{"key": token, "max_budget": 1})
		w.refused(403, "", "ta", "POST", "/key/update", M{"key": w.target(2, "ta", "own"), "max_budget": 1})
	}, func(c *Config) { c.TeamAdminFields = []string{memberKeyBudgets} })
}

// TestKeyGrants gives what one does not have.
func TestKeyGrants(t *testing.T) {
	each(t, func(w *world) {
		ten, hundred := dollars(10), int64(100)
		w.insert(&identity.User{
			ID: "u-int", Role: "internal_user", Models: []string{"mock", "gpt-*"}, BudgetID: "b-own",
			Caps: identity.Caps{MaxBudget: &ten, RPMLimit: &hundred},
		}, &identity.Budget{ID: "b-own"}, &identity.Budget{ID: "b-other"}, &identity.AccessGroup{ID: "g1", Name: "g1", Models: []string{"secret"}})
		w.key("int", func(k *identity.Key) { k.UserID = "u-int" })
		w.key("narrow", func(k *identity.Key) { k.UserID, k.AllowedRoutes = "u-int", []string{"management_routes"} })
		for _, body := range []M{
			{},
			{"max_budget": 10},
			{"models": []string{"mock", "gpt-4o"}},
			{"rpm_limit": 100},
			{"models": []string{"no-default-models"}},
			{"budget_id": "b-own"},
			{"duration": "1d"},
		} {
			w.ok("int", "POST", "/key/generate", body)
		}
		for field, body := range map[string]M{
			"max_budget": {"max_budget": 10.01}, "models": {"models": []string{"mock", "claude"}}, "rpm_limit": {"rpm_limit": 101},
			"budget_id": {"budget_id": "b-other"},
		} {
			w.refused(403, field, "int", "POST", "/key/generate", body)
		}
		w.refused(403, "models", "int", "POST", "/key/generate", M{"models": []string{"all-proxy-models"}})
		w.refused(403, "models", "int", "POST", "/key/generate", M{"access_group_ids": []string{"g1"}})
		w.refused(403, "may call management_routes alone", "narrow", "POST", "/key/generate", M{})
		w.refused(403, "may call management_routes alone", "narrow", "POST", "/key/"+keyDigest(w.plain("int"))+"/regenerate", M{})

		// An own key may be narrowed and not widened again.
		made := w.ok("int", "POST", "/key/generate", M{"models": []string{"mock", "gpt-4o"}, "duration": "7d", "metadata": M{"a": 1}})
		key := made["key"]
		w.ok("int", "POST", "/key/update", M{"key": key, "models": []string{"mock"}})
		w.refused(403, "", "int", "POST", "/key/update", M{"key": key, "models": []string{"mock", "gpt-4o"}})
		w.refused(403, "", "int", "POST", "/key/update", M{"key": key, "models": nil})
		w.ok("int", "POST", "/key/update", M{"key": key, "duration": "1d"})
		w.refused(403, "", "int", "POST", "/key/update", M{"key": key, "duration": "2d"})
		w.refused(403, "", "int", "POST", "/key/update", M{"key": key, "duration": "-1"})
		w.refused(403, "", "int", "POST", "/key/update", M{"key": key, "metadata": M{"model_rpm_limit": M{"mock": 1000}}})
		w.refused(403, "soft_budget", "int", "POST", "/key/update", M{"key": key, "soft_budget": 1})
		w.refused(403, "tags", "int", "POST", "/key/update", M{"key": key, "metadata": M{"tags": []string{"x"}}})

		// Others' metadata is merged, an admin's stays.
		w.ok("master", "POST", "/key/update", M{"key": key, "metadata": M{"a": 1, "guardrails": []string{"pii"}}})
		doc := w.ok("int", "POST", "/key/update", M{"key": key, "metadata": M{"b": 2}})
		if s := quotedText(doc["metadata"]); s != `{"a":1,"b":2,"guardrails":["pii"]}` {
			t.Errorf("metadata is %s", s)
		}
		w.refused(403, "guardrails", "int", "POST", "/key/update", M{"key": key, "metadata": M{"guardrails": nil}})
		w.refused(403, "guardrails", "int", "POST", "/key/"+made["token"].(string)+"/regenerate", M{"guardrails": nil})
		w.refused(403, "user_id", "int", "POST", "/key/regenerate", M{"key": key, "user_id": nil})

		// What an admin gave beyond that stays, whatever else is changed.
		w.ok("master", "POST", "/key/update", M{"key": key, "max_budget": 50})
		w.ok("int", "POST", "/key/update", M{"key": key, "key_alias": "x", "max_budget": 50})
	})
}

// TestKeyOwnersBound gives keys of a team more than its owners have.
func TestKeyOwnersBound(t *testing.T) {
	each(t, func(w *world) {
		five, three, eight := dollars(5), dollars(3), dollars(8)
		w.insert(&identity.Budget{ID: "b3", Caps: identity.Caps{MaxBudget: &three}}, &identity.Budget{ID: "b8", Caps: identity.Caps{MaxBudget: &eight}},
			&identity.Organization{ID: "o1", Alias: "o1", Models: []string{"mock", "m2"}},
			&identity.Team{ID: "t1", OrganizationID: "o1", Caps: identity.Caps{MaxBudget: &five}, BudgetID: "b8"},
			&identity.Project{ID: "p1", TeamID: "t1", BudgetID: "b3", Models: []string{"mock"}},
			&identity.Member{TeamID: "t1", UserID: "u-ta", Role: "admin"})
		w.userKey("ta", "u-ta", identity.RoleInternalUser)
		w.ok("ta", "POST", "/key/generate", M{"team_id": "t1", "max_budget": 5, "models": []string{"m2"}})
		w.refused(403, "max_budget of the key goes beyond what team", "ta", "POST", "/key/generate", M{"team_id": "t1", "max_budget": 6})
		w.refused(403, "models of the key goes beyond what organization", "ta", "POST", "/key/generate", M{"team_id": "t1", "models": []string{"m3"}})
		w.ok("ta", "POST", "/key/generate", M{"project_id": "p1", "max_budget": 3})
		w.refused(403, "max_budget of the key goes beyond what project", "ta", "POST", "/key/generate", M{"project_id": "p1", "max_budget": 4})
		w.refused(403, "models of the key goes beyond what project", "ta", "POST", "/key/generate", M{"project_id": "p1", "models": []string{"m2"}})
		w.ok("ta", "POST", "/key/generate", M{"team_id": "t1", "budget_id": "b8"})
		w.refused(403, "budget_id", "ta", "POST", "/key/generate", M{"team_id": "t1", "budget_id": "b3"})
	})
}

func TestKeyConfiguredBounds(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("int", "u-int", identity.RoleInternalUser)
		w.team("t1", "", "u-int:admin")
		doc := w.ok("master", "POST", "/key/generate", M{})
		if quotedText(doc["max_budget"]) != "100.0" || quotedText(doc["models"]) != `["mock"]` || doc["expires"] == nil || doc["budget_duration"] != "30d" {
			t.Errorf("%v", doc)
		}
		w.refused(400, "max_budget", "master", "POST", "/key/generate", M{"max_budget": 100.5})
		w.refused(400, "budget_duration", "master", "POST", "/key/generate", M{"budget_duration": "31d"})
		w.refused(400, "duration must be at most 90d", "master", "POST", "/key/generate", M{"duration": "91d"})
		w.refused(400, "duration must be at most 90d", "master", "POST", "/key/generate", M{"duration": "-1"})
		w.refused(400, "max_budget", "master", "POST", "/key/update", M{"key": doc["key"], "max_budget": 101})
		w.refused(400, "duration", "master", "POST", "/key/update", M{"key": doc["key"], "duration": nil})
		if cleared := w.ok("master", "POST", "/key/update", M{"key": doc["key"], "max_budget": nil}); quotedText(cleared["max_budget"]) != "100.0" {
			t.Errorf("a bound was cleared: %v", cleared["max_budget"])
		}
		w.refused(400, "default_team_disabled", "int", "POST", "/key/generate", M{})
		w.ok("int", "POST", "/key/generate", M{"team_id": "t1"})
		w.ok("master", "POST", "/key/generate", M{"key": "sk-short"})
		if made := w.ok("master", "POST", "/key/generate", M{}); len(made["key"].(string)) != 3+22 {
			t.Errorf("%d characters of a key of 16 bytes", len(made["key"].(string)))
		}
	}, func(c *Config) {
		c.MaxKeyDays, c.NoPersonalKeys, c.ShortKeys, c.KeyLength = 90, true, true, 16
		c.Defaults.Key = identity.Fields{"models": quoted([]string{"mock"})}
		c.UpperBounds = identity.Fields{"max_budget": quoted(100), "budget_duration": quoted("30d")}
	})
}

// TestKeyMoves moves keys between teams and organizations.
func TestKeyMoves(t *testing.T) {
	each(t, func(w *world) {
		society(w)
		w.team("t1b", "o1", "u-ta:admin", "u-x")
		w.team("t1c", "o1")
		token := w.target(1, "oa", "same team")
		w.refused(400, "", "oa", "POST", "/key/update", M{"key": token, "team_id": "t2"})
		w.refused(400, "", "oa", "POST", "/key/update", M{"key": token, "team_id": "t2", "organization_id": "o1"})
		w.refused(403, "", "oa", "POST", "/key/update", M{"key": token, "team_id": nil})
		w.refused(400, "organization_id", "oa", "POST", "/key/update", M{"key": token, "organization_id": "o2"})
		w.refused(403, "", "oa", "POST", "/key/update", M{"key": token, "team_id": nil, "organization_id": "o2"})
		w.refused(403, "", "ta", "POST", "/key/update", M{"key": token, "team_id": "t1b"})
		w.refused(400, "not a member", "oa", "POST", "/key/update", M{"key": token, "team_id": "t1c"})
		w.ok("oa", "POST", "/key/update", M{"key": token, "team_id": "t1b"})
		w.ok("oa", "POST", "/key/update", M{"key": token, "team_id": nil, "organization_id": "o1"})
		w.ok("master", "POST", "/key/update", M{"key": token, "team_id": "t2", "organization_id": nil})
		w.refused(403, "", "oa", "POST", "/key/update", M{"key": token, "key_alias": "x"})
	})
}

func TestKeyLists(t *testing.T) {
	each(t, func(w *world) {
		society(w)
		var all []string
		for i, whose := range []string{"own", "same team", "other team", "other organization"} {
			all = append(all, w.target(i, "ta", whose))
		}
		w.key("alone", func(k *identity.Key) { k.TeamID, k.Alias = "t1", "no user" })
		count := func(as, query string, want int) {
			t.Helper()
			doc := w.ok(as, "GET", "/key/list?size=100"+query, nil)
			if n := len(doc["keys"].([]any)); n != want || quotedText(doc["total_count"]) != strconv.Itoa(want) {
				t.Errorf("list%s as %s: %d keys of %v, want %d", query, as, n, doc["total_count"], want)
			}
		}
		every := len(callers) + len(all) + 1
		for _, as := range []string{"master", "pa", "av"} {
			count(as, "", every)
			count(as, "&team_id=t1", 4)
			count(as, "&user_id=u-x", 3)
			count(as, "&organization_id=o2", 0)
		}
		count("ta", "", 2)
		count("ta", "&include_team_keys=true", 6)
		count("ta", "&team_id=t1", 4)
		count("ta", "&team_id=t2", 0)
		count("ta", "&user_id=u-x", 1)
		count("ta", "&user_id=u-iu", 0)
		count("oa", "", 1)
		count("oa", "&team_id=t1", 4)
		count("oa", "&team_id=t3", 0)
		count("tm", "&team_id=t1", 0)
		count("tm", "&user_id=u-tm", 1)
		count("iu", "", 1)
		count("iu", "&user_id=u-x", 0)
		count("iu", "&key_hash="+all[1], 0)
		count("iv", "", 1)
		count("pa", "&key_hash="+all[1], 1)
		count("pa", "&search=NO", 1)
		count("pa", "&key_alias=no", 0)
		count("pa", "&key_alias=no&substring_matching=true", 1)
		count("pa", "&user_id=U-T&substring_matching=true", 3)
		count("pa", "&status=revoked", 0)
		w.ok("master", "POST", "/key/block", M{"key": all[1]})
		count("pa", "&status=revoked", 1)
		count("pa", "&status=active", every-1)
		count("pa", "&expires=expired", 0)
		w.refused(422, "literal_error", "pa", "GET", "/key/list?status=deleted", nil)
		past := time.Now().Add(-time.Hour)
		w.key("past", func(k *identity.Key) { k.Expires = &past })
		every++
		count("pa", "&expires=expired", 1)
		count("pa", "&expires=active", every-1)
		count("pa", "&status=expired", 1)
		count("pa", "&status=active", every-2)
		for _, as := range []string{"tk", "sa", "bk"} {
			w.refused(403, "No 'user_id' is associated", as, "GET", "/key/list", nil)
		}

		// Pages cover all, each once, in both orders.
		for _, order := range []string{"asc", "desc"} {
			seen := map[string]bool{}
			last := ""
			for page := 1; page <= 4; page++ {
				doc := w.ok("master", "GET", fmt.Sprintf("/key/list?page=%d&size=4&sort_by=key_alias&return_full_object=true&sort_order=%s", page, order), nil)
				if quotedText(doc["total_pages"]) != "4" || quotedText(doc["current_page"]) != strconv.Itoa(page) {
					t.Errorf("page %d: %v of %v", page, doc["current_page"], doc["total_pages"])
				}
				for _, k := range doc["keys"].([]any) {
					k := k.(map[string]any)
					seen[k["token"].(string)] = true
					last, _ = k["key_alias"].(string)
				}
			}
			if len(seen) != every || last != "" {
				t.Errorf("%s: the pages have %d of %d keys; the last alias is %q", order, len(seen), every, last)
			}
		}
		doc := w.ok("master", "GET", "/key/list?return_full_object=true&expand=user&user_id=u-iu", nil)
		if user := doc["keys"].([]any)[0].(map[string]any)["user"]; quotedText(user) != `{"user_alias":null,"user_email":null,"user_id":"u-iu"}` {
			t.Errorf("%v", user)
		}

		if doc := w.ok("ta", "GET", "/key/aliases?search=USER", nil); quotedText(doc["aliases"]) != `["no user"]` {
			t.Errorf("%v", doc)
		}
		if doc := w.ok("iu", "GET", "/key/aliases", nil); quotedText(doc["aliases"]) != `[]` || quotedText(doc["total_count"]) != "0" {
			t.Errorf("%v", doc)
		}

		// Of several keys only those that the caller may see are shown.
		shown := w.ok("ta", "POST", "/v2/key/info", M{"keys": append(all, "sk-nobody")})
		if n := len(shown["info"].([]any)); n != 2 {
			t.Errorf("%d keys are shown to a team admin", n)
		}
	})
}
