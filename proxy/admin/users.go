package admin

import (
	"fmt"
	"maps"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// userHandlers are the handlers of proxy/access/users.go.
func userHandlers() map[string]handler {
	return map[string]handler{
		"POST /user/new":            (*API).newUser,
		"POST /user/update":         (*API).updateUser,
		"POST /user/bulk_update":    (*API).updateUsers,
		"POST /user/delete":         (*API).deleteUsers,
		"GET /user/info":            (*API).userInfo,
		"GET /v2/user/info":         (*API).userInfoBrief,
		"GET /user/list":            (*API).listUsers,
		"GET /user/filter/ui":       (*API).filterUsers,
		"GET /user/available_roles": (*API).availableRoles,
	}
}

// userSettings are the fields of a user without a column.
var userSettings = []string{
	"budget_limits", "model_max_budget", "budget_fallbacks", "allowed_cache_controls", "config", "permissions",
	"policies", "aliases", "agent_id",
}

// userMetadata are the fields of a user that LiteLLM keeps in its metadata, and
// shows there.
var userMetadata = []string{"model_rpm_limit", "model_tpm_limit", "mcp_rpm_limit", "tag_rpm_limit", "guardrails", "prompts"}

// setUser takes the fields of a user from the body. A field that is sent as null
// is cleared; one that is not sent stays.
func (a *API) setUser(c *Call, u *identity.User) *llm.Error {
	b := c.Body
	if e := checkNames(b, "user_alias", "user_email", "sso_user_id"); e != nil {
		return e
	}
	for name, to := range map[string]*string{"user_alias": &u.Alias, "user_email": &u.Email, "user_role": &u.Role} {
		if b.Has(name) {
			*to = b.Text(name)
		}
	}
	if e := checkKeyBody(b); e != nil {
		return e
	}
	if b.Has("models") {
		u.Models = b.Texts("models")
	}
	if b.Given("blocked") {
		u.Blocked = b.Bool("blocked")
	}
	if amount := b.Money("spend"); amount != nil {
		u.Spend = *amount
	}
	var e *llm.Error
	if u.Metadata, e = c.metadata(u.Metadata, userMetadata); e != nil {
		return e
	}
	u.Settings = keep(maps.Clone(u.Settings), b, userSettings...)
	setPermission(&u.Settings, b)
	return a.setCaps(c, &u.Caps)
}

// capNames are the fields of Caps.
var capNames = []string{"max_budget", "soft_budget", "budget_duration", "max_parallel_requests", "tpm_limit", "rpm_limit", "model_max_budget"}

// setCaps takes the limits of an object from the body, as a budget does.
func (a *API) setCaps(c *Call, caps *identity.Caps) *llm.Error {
	b := identity.Budget{Caps: *caps}
	if e := a.setLimits(c.only(capNames...), &b); e != nil {
		return e
	}
	if b.SoftBudget != nil && b.MaxBudget != nil && *b.SoftBudget >= *b.MaxBudget && (c.Body.Given("soft_budget") || c.Body.Given("max_budget")) {
		return badRequest(fmt.Sprintf("soft_budget (%s) must be less than max_budget (%s).", b.SoftBudget, b.MaxBudget), "soft_budget")
	}
	*caps = b.Caps
	return nil
}

// findUser reads a user; nil if there is none.
func (a *API) findUser(c *Call, r store.Reader, id string) (*identity.User, *llm.Error) {
	if id == "" {
		return nil, nil
	}
	u, err := store.Get[identity.User](c.Ctx, r, id)
	if missing(err) {
		return nil, nil
	}
	return u, a.failed(err)
}

// userWithEmail reads the user of an e-mail address; nil if there is none.
func (a *API) userWithEmail(c *Call, r store.Reader, email string) (*identity.User, *llm.Error) {
	if email == "" {
		return nil, nil
	}
	u, err := store.One[identity.User](c.Ctx, r, store.Fold("user_email", email))
	if missing(err) {
		return nil, nil
	}
	return u, a.failed(err)
}

// freeEmail refuses an e-mail address that another user has.
func (a *API) freeEmail(c *Call, tx *store.Tx, email, id string) *llm.Error {
	u, e := a.userWithEmail(c, tx, email)
	if e != nil || u == nil || u.ID == id {
		return e
	}
	return conflict(fmt.Sprintf("User with email %s already exists", email), "")
}

// insertUser writes a new user; its id, e-mail address and id at the identity
// provider must be free.
func (a *API) insertUser(c *Call, tx *store.Tx, u *identity.User) *llm.Error {
	if e := a.freeEmail(c, tx, u.Email, u.ID); e != nil {
		return e
	}
	old, e := a.findUser(c, tx, u.ID)
	if e != nil {
		return e
	}
	if old != nil {
		return conflict(fmt.Sprintf("User with id %s already exists", u.ID), "")
	}
	return a.inserted(tx, u, "A user with this sso_user_id exists already.", "sso_user_id")
}

// userTarget is whom a user belongs to, for the matrix.
func (a *API) userTarget(c *Call, r store.Reader, id string) (access.Target, *llm.Error) {
	t := access.Target{UserID: id}
	members, err := store.Find[identity.OrganizationMember](c.Ctx, r, store.Query{Where: []store.Cond{store.Eq("user_id", id)}})
	for _, m := range members {
		t.Organizations = append(t.Organizations, m.OrganizationID)
	}
	return t, a.failed(err)
}

// lastAdmin refuses to take away the last proxy admins. Only those who can act
// count: a blocked one is none.
func (a *API) lastAdmin(c *Call, tx *store.Tx, leaving ...*identity.User) *llm.Error {
	ids := []string{}
	for _, u := range leaving {
		if u.Role == identity.RoleProxyAdmin.String() && !u.Blocked {
			ids = append(ids, u.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	left, err := store.Count[identity.User](c.Ctx, tx,
		store.Eq("user_role", identity.RoleProxyAdmin.String()), store.Eq("blocked", false), store.Not(store.In("user_id", ids)))
	if err != nil {
		return a.failed(err)
	}
	if left > 0 {
		return nil
	}
	return badRequest(fmt.Sprintf("User %s is the last proxy admin, who cannot be deleted, blocked or given another role. Make another user a proxy_admin first.", ids[0]), "user_role")
}

// roleText describes a role to people.
type roleText struct {
	Description string `json:"description"`
	Label       string `json:"ui_label"`
}

// availableRoles lists the roles that users may have.
func (a *API) availableRoles(*Call) (any, *llm.Error) {
	return map[string]roleText{
		identity.RoleProxyAdmin.String():       {"may do everything", "Admin (All Permissions)"},
		identity.RoleProxyAdminViewer.String(): {"sees all keys and all spend, changes nothing", "Admin (View Only)"},
		identity.RoleInternalUser.String():     {"makes, sees and deletes its own keys, sees its own spend", "Internal User (Create/Delete/View)"},
		identity.RoleInternalViewer.String():   {"sees its own keys and its own spend", "Internal User (View Only)"},
	}, nil
}
