package admin

import (
	"net/http"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

// everyone are callers of all columns; they share nothing but team t1 in
// organization o1.
func everyone(w *world) map[string]access.Column {
	w.userKey("adm", "u-adm", identity.RoleProxyAdmin)
	w.userKey("pav", "u-pav", identity.RoleProxyAdminViewer)
	w.userKey("org", "u-org", identity.RoleInternalUser)
	w.userKey("lead", "u-lead", identity.RoleInternalUser)
	w.userKey("member", "u-member", identity.RoleInternalUser)
	w.userKey("int", "u-int", identity.RoleInternalUser)
	w.userKey("view", "u-view", identity.RoleInternalViewer)
	w.organization("o1", "u-org:org_admin")
	w.team("t1", "o1", "u-lead:admin", "u-member")
	w.key("team", func(k *identity.Key) { k.TeamID = "t1" })
	w.key("bare", nil)
	w.key("ghost", func(k *identity.Key) { k.UserID = "nobody" })
	return map[string]access.Column{
		"adm": access.ProxyAdmin, "pav": access.AdminViewer, "org": access.OrgAdmin, "lead": access.TeamAdmin, "member": access.TeamMember,
		"int": access.InternalUser, "view": access.InternalViewer, "team": access.TeamKey, "bare": access.BareKey, "ghost": access.BareKey,
	}
}

// bodies are what is sent to every route: nothing, fields that many routes
// know, the same with values that are not to be.
var bodies = []string{
	``,
	`{"key":"sk-x","keys":["sk-x"],"user_id":"u-x","user_ids":["u-x"],"team_id":"t-x","team_ids":["t-x"],"organization_id":"o-x",
	  "organization_ids":["o-x"],"organization_alias":"x","project_id":"p-x","project_ids":["p-x"],"budget_id":"b-x","budgets":["b-x"],"id":"x",
	  "name":"x","names":["x"],"member":{"role":"user","user_id":"u-x"},"members":[{"role":"user","user_id":"u-x"}],"models":["m"],
	  "model_id":"m-x","model_name":"m","litellm_params":{"model":"openai/m"},"model_info":{"id":"m-x"},"credential_name":"c-x",
	  "credential_values":{"api_key":"k"},"credential_info":{},"field_name":"max_parallel_requests","field_value":5,"config_type":"general_settings",
	  "access_group":"g-x","model_names":["m"],"access_group_name":"g-x","reset_to":0,"team_member_permissions":["/key/info"],"role":"user",
	  "users":[{"user_id":"u-x","user_alias":"a"}],"jwt_claim_name":"sub","jwt_claim_value":"x","end_user_id":"x"}`,
	`{"key":"","keys":[],"user_id":"","user_ids":[],"team_id":"","max_budget":-1,"models":"m","metadata":[],"spend":-5}`,
	"{\"key\":\"\\u0000\",\"user_id\":\"\\u0000\",\"team_id\":\"\\u0000\",\"organization_alias\":\"\\u0000\",\"name\":\"\\u0000\",\"budget_id\":\"\\u0000\"}",
}

// TestEveryRouteForEveryone calls every management route as every kind of
// caller. Whom no action of the route is open to is refused and writes nothing;
// nobody gets a server error.
func TestEveryRouteForEveryone(t *testing.T) {
	each(t, func(w *world) {
		callers := everyone(w)
		for _, r := range access.Routes() {
			if r.Edge || r.Public || r.Later != "" || r.Method == access.AnyMethod {
				continue
			}
			path := r.Path
			for _, name := range pathParams(path) {
				path = strings.Replace(path, "{"+name+"}", "x-"+name, 1)
			}
			for as, column := range callers {
				open := len(r.Actions) == 0
				for _, a := range r.Actions {
					open = open || a.Open(column)
				}
				sent := bodies
				switch {
				case r.Method == http.MethodGet:
					sent = bodies[:1]
				case !open: // refused before the body is looked at
					sent = bodies[:2]
				}
				for i, body := range sent {
					w.everyRoute(&r, path, as, column, open, i, body)
				}
			}
		}
	}, func(c *Config) { withModels(t, &catalog{})(c) })
}

func (w *world) everyRoute(r *access.Route, path, as string, column access.Column, open bool, i int, body string) {
	w.Helper()
	before := w.changes()
	a := w.call(as, r.Method, path, body)
	wrote := w.changes() != before
	switch {
	case a.Status >= 500 && a.Status != http.StatusNotImplemented:
		w.Errorf("%s %s as %s with body %d: %d %s", r.Method, r.Path, as, i, a.Status, a.Raw)
	case !open && (a.Status < 400 || a.Status == http.StatusOK):
		w.Errorf("%s %s as %s with body %d is not refused: %d %s", r.Method, r.Path, as, i, a.Status, a.Raw)
	case !open && a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden && a.Status != http.StatusBadRequest:
		w.Errorf("%s %s as %s with body %d: %d, want 401 or 403: %s", r.Method, r.Path, as, i, a.Status, a.Raw)
	}
	if wrote && (!open || a.Status >= 400 || r.Method == http.MethodGet) {
		w.Errorf("%s %s as %s with body %d answered %d and wrote something", r.Method, r.Path, as, i, a.Status)
	}
	if wrote && (column == access.AdminViewer || column == access.InternalViewer) {
		w.Errorf("%s %s: a viewer wrote something", r.Method, r.Path)
	}
}
