package admin

import (
	"encoding/json"
	"fmt"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// userTeam is a team that a new user joins.
type userTeam struct {
	ID     string      `json:"team_id"`
	Budget *money.Nano `json:"max_budget_in_team"`
	Role   string      `json:"user_role"`
}

// userTeams reads the teams of a new user: ids, or objects.
func userTeams(b Body) ([]userTeam, *llm.Error) {
	if !b.Given("teams") {
		return nil, nil
	}
	var elements []json.RawMessage
	if json.Unmarshal(b["teams"], &elements) != nil {
		return nil, validation(Violation{"list_type", []any{"body", "teams"}, "Input should be a valid list"})
	}
	if len(elements) > bulkLimit {
		return nil, countOf(len(elements), "teams", "teams")
	}
	fields := []access.Field{
		{Name: "team_id", Type: access.String, Required: true},
		{Name: "max_budget_in_team", Type: access.Money},
		{Name: "user_role", Type: access.String, Enum: []string{identity.TeamUser, identity.TeamAdmin}},
	}
	out := make([]userTeam, 0, len(elements))
	for i, raw := range elements {
		t := userTeam{Role: identity.TeamUser}
		if raw[0] == '"' {
			t.ID = text(raw)
		} else {
			o, e := sub(raw, fields, "body", "teams", i)
			if e != nil {
				return nil, e
			}
			t.ID, t.Budget = o.Text("team_id"), o.Money("max_budget_in_team")
			if o.Given("user_role") {
				t.Role = o.Text("user_role")
			}
		}
		if !slices.ContainsFunc(out, func(other userTeam) bool { return other.ID == t.ID }) {
			out = append(out, t)
		}
	}
	return out, nil
}

// newUser makes a user with its memberships, and a key for it, in one
// transaction.
func (a *API) newUser(c *Call) (any, *llm.Error) {
	asked := c // without what the configuration fills in, which nobody has to ask for
	c = c.with(defaulted(c.Body, a.c.Defaults.User, "user_role", "max_budget", "budget_duration", "models", "teams"))
	teams, e := userTeams(c.Body)
	if e != nil {
		return nil, e
	}
	organizations := slices.Compact(slices.Sorted(slices.Values(c.Body.Texts("organizations"))))
	if e := c.mayUsersOf(organizations); e != nil {
		return nil, e
	}
	password, e := a.newPassword(c)
	if e != nil {
		return nil, e
	}
	withKey := !c.Body.Given("auto_create_key") || c.Body.Bool("auto_create_key")
	if !withKey && len(c.Body.Fields("model_max_budget")) > 0 {
		return nil, badRequest("model_max_budget is a limit of keys, and none is made: leave out auto_create_key, or model_max_budget.", "model_max_budget")
	}
	var answer userCreated
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		asked.standing = c.standing
		u := &identity.User{ID: c.Body.Text("user_id"), SSOUserID: c.Body.Text("sso_user_id"), Password: password}
		if u.ID == "" {
			u.ID = newID()
		}
		if e := a.mayMakeUser(asked, tx, organizations); e != nil {
			return e
		}
		if e := a.setUser(c, u); e != nil {
			return e
		}
		if e := a.insertUser(c, tx, u); e != nil {
			return e
		}
		if e := a.placeUser(asked, tx, u, organizations, teams); e != nil {
			return e
		}
		answer = newUserCreated(u, c.Body)
		if !withKey {
			return nil
		}
		return a.firstKey(c, tx, u, &answer)
	})
	if e != nil {
		return nil, e
	}
	return answer, nil
}

// mayUsersOf says whether the caller may make users of these organizations.
func (c *Call) mayUsersOf(organizations []string) *llm.Error {
	if len(organizations) == 0 {
		return c.May(access.UserNew, access.Target{})
	}
	for _, id := range organizations {
		if e := c.May(access.UserNew, access.Target{OrganizationID: id}); e != nil {
			return e
		}
	}
	return nil
}

// mayMakeUser says whether the caller may make a user in the organizations. An
// organization's admin makes users of its own organizations, within what these
// may use, and none with a role that sees more than its own.
func (a *API) mayMakeUser(c *Call, tx *store.Tx, organizations []string) *llm.Error {
	if e := c.mayUsersOf(organizations); e != nil {
		return e
	}
	admin, e := c.Admin()
	if e != nil {
		return e
	}
	for _, id := range organizations {
		o, e := refer[identity.Organization](a, c, tx, "Organization", "organizations", id, "")
		if e != nil {
			return e
		}
		if admin {
			continue
		}
		u := &identity.User{}
		if e := a.setUser(c, u); e != nil {
			return e
		}
		if e := a.withinOrganization(c, tx, o, access.Grant{Models: u.Models, MaxBudget: u.MaxBudget, TPM: u.TPMLimit, RPM: u.RPMLimit}); e != nil {
			return e
		}
	}
	if admin {
		return nil
	}
	switch role := c.Body.Text("user_role"); role {
	case "", identity.RoleInternalUser.String(), identity.RoleInternalViewer.String():
		return c.adminFields()
	default:
		return forbidden(fmt.Sprintf("An organization's admin may make users of the roles internal_user and internal_user_viewer, not %s.", role), "user_role")
	}
}

// placeUser makes a new user's memberships.
func (a *API) placeUser(c *Call, tx *store.Tx, u *identity.User, organizations []string, teams []userTeam) *llm.Error {
	for _, id := range organizations {
		m := &identity.OrganizationMember{OrganizationID: id, UserID: u.ID, Role: u.Role}
		if m.Role == "" {
			m.Role = identity.RoleInternalUser.String()
		}
		if err := tx.Insert(m); err != nil {
			return a.failed(err)
		}
	}
	for _, join := range teams {
		t, e := a.findTeam(c, tx, join.ID)
		if t != nil && c.Body.Given("teams") {
			t, e = a.teamFor(c, tx, join.ID, access.TeamMembers, teamMissing(join.ID))
		}
		if e != nil || t == nil {
			return either(e, teamMissing(join.ID))
		}
		body := Body{}
		if join.Budget != nil {
			body["max_budget_in_team"] = quoted(join.Budget)
		}
		if _, e := a.join(c.with(body), tx, t, u, invited{UserID: u.ID, Role: join.Role}); e != nil {
			return e
		}
	}
	return nil
}

// userCreated is the answer to whoever makes a user: the shape of a new key,
// which is empty where none was made.
type userCreated struct {
	keyMade
	Email *string   `json:"user_email"`
	Role  *string   `json:"user_role"`
	Teams *[]string `json:"teams"`
	Alias *string   `json:"user_alias"`

	// What LiteLLM does not tell is told where it is set.
	SSO  string      `json:"sso_user_id,omitempty"`
	Soft *money.Nano `json:"soft_budget,omitempty"`
}

func newUserCreated(u *identity.User, b Body) userCreated {
	s := u.Settings
	out := userCreated{Email: null(u.Email), Role: null(u.Role), Alias: null(u.Alias), SSO: u.SSOUserID, Soft: u.SoftBudget}
	out.keyMade = keyMade{
		UserID: &u.ID, Models: list(u.Models), Spend: u.Spend, MaxBudget: u.MaxBudget, Metadata: fields(u.Metadata),
		MaxParallelRequests: u.MaxParallelRequests, TPMLimit: u.TPMLimit, RPMLimit: u.RPMLimit, BudgetDuration: null(u.BudgetDuration),
		BudgetLimits: s["budget_limits"], AllowedCacheControls: setting(s, "allowed_cache_controls", "[]"),
		Config: setting(s, "config", "{}"), Permissions: fields(settingOf[identity.Fields](s, "permissions")),
		ModelMaxBudget: settingOf[identity.Fields](s, "model_max_budget"), BudgetFallbacks: s["budget_fallbacks"], Policies: s["policies"],
		Aliases: object(settingOf[map[string]string](s, "aliases")), AllowedRoutes: []string{}, ObjectPermission: s["object_permission"],
		AgentID: null(text(s["agent_id"])), keyMetadataFields: newKeyMetadata(u.Metadata),
	}
	if u.Blocked {
		out.Blocked = &u.Blocked
	}
	if teams, _ := userTeams(b); teams != nil {
		ids := make([]string, len(teams))
		for i, t := range teams {
			ids[i] = t.ID
		}
		out.Teams = &ids
	}
	return out
}

// firstKey makes the key that a new user starts with. The user's budget bounds
// it; the limits are the key's own too.
func (a *API) firstKey(c *Call, tx *store.Tx, u *identity.User, answer *userCreated) *llm.Error {
	body := c.only("key_alias", "duration", "models", "aliases", "config", "permissions", "tpm_limit", "rpm_limit", "max_parallel_requests",
		"allowed_cache_controls", "agent_id", "team_id", "model_max_budget", "model_rpm_limit", "model_tpm_limit", "budget_fallbacks").Body
	body["user_id"] = quoted(u.ID)
	k, plain, e := a.keyFor(c.with(body), tx)
	if e != nil {
		return e
	}
	made := newKeyMade(k, nil, plain)
	// What LiteLLM leaves open here stays so: its clients read key and user_id.
	made.Type, made.Token, made.TokenID, made.CreatedBy, made.UpdatedBy = nil, nil, nil, nil, nil
	made.MaxBudget, made.BudgetDuration, made.Metadata, made.Spend = u.MaxBudget, null(u.BudgetDuration), fields(u.Metadata), u.Spend
	made.keyMetadataFields = newKeyMetadata(u.Metadata)
	// These are the user's alone, not its key's.
	user := &answer.keyMade
	made.Blocked, made.Policies, made.ObjectPermission = user.Blocked, user.Policies, user.ObjectPermission
	made.BudgetLimits = user.BudgetLimits
	answer.keyMade = made
	return nil
}

// keyFor makes a key as the body describes it, as /key/generate would.
func (a *API) keyFor(c *Call, tx *store.Tx) (*identity.Key, string, *llm.Error) {
	asked, k, e := a.draftKey(c, false)
	if e != nil {
		return nil, "", e
	}
	o, e := a.owners(c, tx, k, &identity.Key{})
	if e != nil {
		return nil, "", e
	}
	if e := a.mayMake(c, tx, asked, k, o); e != nil {
		return nil, "", e
	}
	if e := a.checkReferences(c, tx, k, &identity.Key{}); e != nil {
		return nil, "", e
	}
	plain, e := a.newKey(tx, c, k)
	return k, plain, e
}
