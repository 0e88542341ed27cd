package admin

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// permits is a world for the matrix: organization o1 with the teams t1, t1p and
// t2, organization o2 with t3 and t4, and one of each caller. Members of t1p may
// manage keys of their team, those of t1 may not.
type permits struct {
	*world
	n    int
	open int               // teams that anybody may join, so far
	made map[string]string // objects that calls are about, until one of them writes

	known map[string]*auth.Identity // callers
}

// permissive is the configuration of the matrix.
func permissive(t *testing.T) func(c *Config) {
	return func(c *Config) {
		withModels(t, &catalog{})(c)
		c.Billers = map[string]Biller{"openai": {Bill: &paper{}}}
		c.TeamAdminFields = []string{"team_alias", "max_budget", "models"}
		var open []string
		for i := range 400 {
			open = append(open, "open-"+strconv.Itoa(i))
		}
		c.Defaults.User = identity.Fields{"available_teams": quoted(open)}
	}
}

// memberKeyRoutes are the team_member_permissions of t1p.
var memberKeyRoutes = []string{
	"/key/generate", "/key/service-account/generate", "/key/update", "/key/delete", "/key/regenerate", "/key/{key_id}/regenerate",
	"/key/list", "/key/aliases", "/key/info", "/key/block", "/key/unblock", "/key/bulk_update", "/key/{key_id}/reset_spend",
}

var orgModels = []string{"mock", "gpt-4o-mini", "m3"}

// settled makes the world.
func settled(w *world) *permits {
	w.Helper()
	p := &permits{world: w, made: map[string]string{}, known: map[string]*auth.Identity{}}
	thousand := dollars(1000)
	w.insert(
		&identity.Budget{ID: "b-o1", Caps: identity.Caps{MaxBudget: &thousand}}, &identity.Budget{ID: "b-o2", Caps: identity.Caps{MaxBudget: &thousand}},
		&identity.Budget{ID: "b-rich", Caps: identity.Caps{MaxBudget: &thousand}},
		&identity.Organization{ID: "o1", Alias: "o1", BudgetID: "b-o1", Models: orgModels},
		&identity.Organization{ID: "o2", Alias: "o2", BudgetID: "b-o2", Models: orgModels},
		&identity.User{ID: "u-pa2", Role: "proxy_admin"}, &identity.User{ID: "u-w", Role: "internal_user"},
	)
	for name, role := range map[string]identity.Role{
		"pa": identity.RoleProxyAdmin, "av": identity.RoleProxyAdminViewer, "oa": identity.RoleInternalUser, "ta": identity.RoleInternalUser,
		"tm": identity.RoleInternalUser, "tp": identity.RoleInternalUser, "iu": identity.RoleInternalUser, "iv": identity.RoleInternalViewer,
		"x": identity.RoleInternalUser, "y": identity.RoleInternalUser, "z": identity.RoleInternalUser,
	} {
		w.userKey(name, "u-"+name, role)
	}
	p.places("o1", "oa:org_admin", "ta", "tm", "tp", "iu", "iv", "x", "y")
	p.places("o2", "z")
	w.team("t1", "o1", "u-ta:admin", "u-tm", "u-x")
	w.team("t1p", "o1", "u-tp", "u-x")
	w.ok("master", "POST", "/team/permissions_update", M{"team_id": "t1p", "team_member_permissions": memberKeyRoutes})
	w.team("t2", "o1", "u-y")
	w.team("t3", "o2", "u-z:admin")
	w.team("t4", "o2")
	w.key("tk", func(k *identity.Key) { k.TeamID = "t1" })
	w.key("sa", func(k *identity.Key) { k.TeamID, k.Metadata = "t1", serviceAccount })
	w.key("bk", nil)
	return p
}

var serviceAccount = identity.Fields{"service_account_id": quoted("sa")}

// places makes members of an organization, each "name" or "name:org_admin".
func (p *permits) places(organization string, names ...string) {
	p.Helper()
	var all []identity.Object
	for _, n := range names {
		name, role, _ := strings.Cut(n, ":")
		if role == "" {
			role = "internal_user"
		}
		all = append(all, &identity.OrganizationMember{OrganizationID: organization, UserID: "u-" + name, Role: role})
	}
	p.insert(all...)
}

// home is whom an object of a relation belongs to.
func home(caller string, rel relation) (user, team, organization string) {
	switch rel {
	case sameTeam:
		if caller == "tp" {
			return "u-x", "t1p", "o1"
		}
		return "u-x", "t1", "o1"
	case otherTeam:
		return "u-y", "t2", "o1"
	case otherOrganization:
		return "u-z", "t3", "o2"
	}
	if caller == "tk" || caller == "sa" {
		return "", "t1", ""
	}
	if caller == "bk" {
		return "", "", ""
	}
	return "u-" + caller, "", ""
}

// object is the id of an object in a relation to the caller. It is made anew
// once a call has written anything.
func (p *permits) object(kind, caller string, rel relation) string {
	p.Helper()
	switch kind {
	case "n":
		p.n++
		return strconv.Itoa(p.n)
	case "self":
		return "u-" + caller
	case "myteam":
		_, team, _ := home(caller, sameTeam)
		return team
	case "member", "place":
		user, _, _ := home(caller, rel)
		return user
	}
	user, team, organization := home(caller, rel)
	at := fmt.Sprint(kind, "/", rel, "/", user, "/", team, "/", organization)
	if id := p.made[at]; id != "" {
		return id
	}
	p.n++
	id := p.make(kind, strconv.Itoa(p.n), caller, rel)
	p.made[at] = id
	return id
}

// make makes one object and returns its id.
func (p *permits) make(kind, n, caller string, rel relation) string {
	p.Helper()
	user, team, organization := home(caller, rel)
	switch kind {
	case "key", "teamkey":
		return p.makeKey(kind, n, caller, rel)
	case "user":
		if rel == own {
			return user
		}
		id := "user-" + n
		p.insert(&identity.User{ID: id, Role: "internal_user"}, &identity.Member{TeamID: team, UserID: id, Role: "user"},
			&identity.OrganizationMember{OrganizationID: organization, UserID: id, Role: "internal_user"})
		return id
	case "guest":
		p.ok("oa", "POST", "/user/new", M{"user_id": "guest-" + n, "organizations": []string{"o1"}, "auto_create_key": false})
		return "guest-" + n
	case "invitee":
		p.team("free-"+n, "", "u-ta:admin")
		member := M{"role": "user", "user_email": "invitee-" + n + "@example.org"}
		doc := p.ok("ta", "POST", "/team/member_add", M{"team_id": "free-" + n, "member": member})
		return doc["updated_users"].([]any)[0].(map[string]any)["user_id"].(string)
	case "team":
		return p.makeTeam("team-"+n, caller, rel)
	case "open":
		id := "open-" + strconv.Itoa(p.open)
		p.open++
		p.team(id, "")
		return id
	case "org":
		id := "org-" + n
		p.insert(&identity.Organization{ID: id, Alias: id, Models: orgModels})
		if rel == otherOrganization {
			p.places(id, "z")
		} else {
			p.places(id, "oa:org_admin", "ta", "tm", "tp", "iu", "iv", "x")
		}
		return id
	case "project":
		p.insert(&identity.Project{ID: "project-" + n, TeamID: team})
		return "project-" + n
	case "invitation":
		of := p.object("user", caller, rel)
		p.insert(&identity.Invitation{ID: "invitation-" + n, UserID: of, ExpiresAt: time.Now().Add(time.Hour)})
		return "invitation-" + n
	}
	return p.makeSetting(kind, n, caller, rel)
}

func (p *permits) makeKey(kind, n, caller string, rel relation) string {
	user, team, _ := home(caller, rel)
	if kind == "teamkey" {
		user = ""
	}
	in30 := time.Now().Add(30 * 24 * time.Hour)
	ten := dollars(10)
	return p.key("target-"+n, func(k *identity.Key) {
		k.UserID, k.TeamID, k.Models, k.Expires, k.Spend = user, team, orgModels[:2], &in30, 1
		k.MaxBudget = &ten
	})
}

// makeTeam makes a team with the caller in its place, and keys of its own.
func (p *permits) makeTeam(id, caller string, rel relation) string {
	user, _, organization := home(caller, rel)
	hundred := dollars(100)
	t := &identity.Team{ID: id, Alias: id, OrganizationID: organization, Models: orgModels[:2], Caps: identity.Caps{MaxBudget: &hundred}}
	all := []identity.Object{t, &identity.Member{TeamID: id, UserID: user, Role: "user", Spend: money.Nano(1)}}
	if rel == sameTeam {
		role := map[string]string{"ta": "admin", "tm": "user", "tp": "user"}
		for name, r := range role {
			if (name == "tp") == (caller == "tp") {
				all = append(all, &identity.Member{TeamID: id, UserID: "u-" + name, Role: r})
			}
		}
		if caller == "tp" {
			t.Settings = identity.Fields{"team_member_permissions": quoted(memberKeyRoutes)}
		}
	}
	p.insert(all...)
	if rel == sameTeam && caller != "tp" {
		p.key("tk@"+id, func(k *identity.Key) { k.TeamID = id })
		p.key("sa@"+id, func(k *identity.Key) { k.TeamID, k.Metadata = id, serviceAccount })
	}
	return id
}

// makeSetting makes what belongs to the gateway as a whole, and models.
func (p *permits) makeSetting(kind, n, caller string, rel relation) string {
	_, team, _ := home(caller, rel)
	id := kind + "-" + n
	switch kind {
	case "model", "dbname", "modelgroup":
		info := M{"id": id}
		if kind == "model" && rel != own {
			info["team_id"] = team
		}
		p.ok("master", "POST", "/model/new", M{"model_name": id, "litellm_params": M{"model": "openai/x", "api_key": "k"}, "model_info": info})
		if kind == "modelgroup" {
			id = "in-" + id
			p.ok("master", "POST", "/access_group/new", M{"access_group": id, "model_ids": []string{kind + "-" + n}})
		}
	case "credential":
		p.ok("master", "POST", "/credentials", M{"credential_name": id, "credential_values": M{"api_key": "k"}, "credential_info": M{}})
	case "setting":
		id = "max_parallel_requests"
		p.ok("master", "POST", "/config/field/update", M{"field_name": id, "field_value": 7, "config_type": "general_settings"})
	case "budget":
		p.insert(&identity.Budget{ID: id})
	case "customer":
		p.insert(&identity.EndUser{ID: id})
	case "tag":
		p.insert(&identity.Tag{Name: id})
	case "group":
		p.insert(&identity.AccessGroup{ID: id, Name: id})
	case "mapping":
		p.insert(&identity.JWTMapping{ID: id, ClaimName: "sub", ClaimValue: id, Token: p.object("key", caller, rel), Active: true})
	case "change":
		rows := p.ok("master", "GET", "/audit?page_size=1", nil)["audit_logs"].([]any)
		return rows[0].(map[string]any)["id"].(string)
	default:
		p.Fatalf("what is a %s?", kind)
	}
	return id
}
