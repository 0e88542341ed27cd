package admin

import (
	"encoding/json"
	"fmt"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// invited is a member that a body names: by id, or by e-mail address.
type invited struct {
	UserID string
	Email  string
	Role   string
}

func (m invited) String() string {
	if m.UserID != "" {
		return "user_id=" + m.UserID
	}
	return "user_email=" + m.Email
}

// memberFields are the fields of a member in a body.
func memberFields() []access.Field {
	return []access.Field{
		{Name: "role", Type: access.String, Required: true, Enum: []string{identity.TeamAdmin, identity.TeamUser}},
		{Name: "user_id", Type: access.String},
		{Name: "user_email", Type: access.String},
	}
}

// invitee reads a member of a body.
func invitee(raw json.RawMessage, place ...any) (invited, *llm.Error) {
	b, e := sub(raw, memberFields(), place...)
	if e != nil {
		return invited{}, e
	}
	m := invited{UserID: b.Text("user_id"), Email: b.Text("user_email"), Role: b.Text("role")}
	if m.UserID == "" && m.Email == "" {
		return m, badRequest("A member needs a user_id or a user_email; neither was given.", "member")
	}
	return m, checkNames(b, "user_id", "user_email")
}

// teamDefaults are the fields of default_team_params that a new team takes.
var teamDefaults = []string{
	"max_budget", "budget_duration", "tpm_limit", "rpm_limit", "team_member_permissions", "models", "max_parallel_requests", "soft_budget",
}

// founders are the members that a new team is made with. Its creator is its
// admin unless the body says another role for it, or the caller is nobody.
func founders(c *Call) ([]invited, *llm.Error) {
	var elements []json.RawMessage
	if c.Body.Given("members_with_roles") {
		_ = json.Unmarshal(c.Body["members_with_roles"], &elements) // it was checked
	}
	var out []invited
	for i, raw := range elements {
		m, e := invitee(raw, "body", "members_with_roles", i)
		if e != nil {
			return nil, e
		}
		out = append(out, m)
	}
	for _, id := range c.Body.Texts("admins") {
		out = append(out, invited{UserID: id, Role: identity.TeamAdmin})
	}
	for _, id := range c.Body.Texts("members") {
		out = append(out, invited{UserID: id, Role: identity.TeamUser})
	}
	if len(out) > bulkLimit {
		return nil, countOf(len(out), "members_with_roles", "members")
	}
	for _, m := range out {
		if e := checkName(m.UserID, "members_with_roles"); e != nil {
			return nil, e
		}
	}
	if c.Caller.User != "" {
		for _, m := range out {
			if m.UserID == c.Caller.User {
				return out, nil
			}
		}
		out = append([]invited{{UserID: c.Caller.User, Role: identity.TeamAdmin}}, out...)
	}
	return out, nil
}

// newTeam makes a team with its members.
func (a *API) newTeam(c *Call) (any, *llm.Error) {
	c = c.with(defaulted(c.Body, a.c.Defaults.Team, teamDefaults...))
	if e := checkKeyBody(c.Body); e != nil {
		return nil, e
	}
	members, e := founders(c)
	if e != nil {
		return nil, e
	}
	var answer teamRow
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		t := &identity.Team{ID: c.Body.Text("team_id"), OrganizationID: c.Body.Text("organization_id")}
		if t.ID == "" {
			t.ID = newID()
		}
		if e := c.May(access.TeamNew, access.Target{OrganizationID: t.OrganizationID}); e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if e := a.freeTeam(c, tx, t.ID); e != nil {
			return e
		}
		if e := a.fillTeam(c, tx, t, &identity.Team{}); e != nil {
			return e
		}
		if err := tx.Insert(t); err != nil {
			return a.failed(err)
		}
		alone := c.with(Body{}) // the limits of the body are the team's, not its members'
		for _, m := range members {
			if _, _, e := a.addMember(alone, tx, t, m); e != nil {
				return e
			}
		}
		var err error
		answer, err = teamAnswer(c.Ctx, tx, t)
		return a.failed(err)
	})
	return answerOr(answer, e)
}

// freeTeam refuses the id of a team that there is.
func (a *API) freeTeam(c *Call, tx *store.Tx, id string) *llm.Error {
	old, e := a.findTeam(c, tx, id)
	if e != nil || old == nil {
		return e
	}
	return &llm.Error{
		Kind: llm.KindBadRequest, Status: 400, Type: "invalid_request_error",
		Message: fmt.Sprintf("Team id = %s already exists. Please use a different team id.", id),
	}
}

// fillTeam takes the team's fields from the body, checks them against its
// organization and makes or changes the budget of its members. was is the team
// before the change.
func (a *API) fillTeam(c *Call, tx *store.Tx, t, was *identity.Team) *llm.Error {
	if e := a.setTeam(c, t); e != nil {
		return e
	}
	if e := a.checkGroups(c, tx, t, was); e != nil {
		return e
	}
	if t.OrganizationID != "" {
		o, err := store.Get[identity.Organization](c.Ctx, tx, t.OrganizationID)
		switch {
		case missing(err) && t.OrganizationID == was.OrganizationID: // an old reference stays what it is
		case missing(err):
			return notFound(fmt.Sprintf("Organization %q does not exist. Create it with /organization/new first.", t.OrganizationID), "organization_id")
		case err != nil:
			return a.failed(err)
		default:
			if e := a.withinOrganization(c, tx, o, a.changed(c, t, was)); e != nil {
				return e
			}
		}
	}
	return a.setMemberBudget(c, tx, t)
}

// changed is what a team is granted anew: all of it where it moves to another
// organization, else what the body says.
func (a *API) changed(c *Call, t, was *identity.Team) access.Grant {
	g := teamGrant(t)
	if t.OrganizationID != was.OrganizationID {
		return g
	}
	if !c.Body.Has("models") && !c.Body.Has("access_group_ids") {
		g.Models, g.AccessGroups = nil, nil
	}
	if !c.Body.Has("max_budget") {
		g.MaxBudget = nil
	}
	if !c.Body.Has("tpm_limit") {
		g.TPM = nil
	}
	if !c.Body.Has("rpm_limit") {
		g.RPM = nil
	}
	if !c.Body.Has("max_parallel_requests") {
		g.Parallel = nil
	}
	return g
}

// checkGroups refuses new references to access groups that there are not.
func (a *API) checkGroups(c *Call, tx *store.Tx, t, was *identity.Team) *llm.Error {
	had := texts(was.Settings["access_group_ids"])
	ids := texts(t.Settings["access_group_ids"])
	known, e := a.groupModels(c, tx, ids)
	if e != nil {
		return e
	}
	for _, id := range ids {
		if _, ok := known[id]; !ok && !contains(had, id) {
			return notFound(fmt.Sprintf("Access group %q does not exist.", clipText(id)), "access_group_ids")
		}
	}
	return nil
}

// memberBudgetNames are the fields of a team that are limits of each member,
// and what a budget calls them.
var memberBudgetNames = map[string]string{
	"team_member_budget": "max_budget", "team_member_budget_duration": "budget_duration",
	"team_member_rpm_limit": "rpm_limit", "team_member_tpm_limit": "tpm_limit",
}

// renamed is the call with some fields of its body under other names.
func (c *Call) renamed(names map[string]string) *Call {
	b := Body{}
	for from, to := range names {
		if c.Body.Has(from) {
			b[to] = c.Body[from]
		}
	}
	return c.with(b)
}

// setMemberBudget makes or changes the budget that all members of a team share
// the shape of. Its id stands in the team's metadata, where LiteLLM has it.
func (a *API) setMemberBudget(c *Call, tx *store.Tx, t *identity.Team) *llm.Error {
	limits := c.renamed(memberBudgetNames)
	sent, given := hasLimits(limits.Body)
	if !sent {
		return nil
	}
	old, e := a.budget(c, tx, teamBudgetID(t))
	if e != nil || old == nil && !given {
		return e
	}
	if old != nil {
		if e := a.setLimits(limits, old); e != nil {
			return e
		}
		return a.failed(tx.Update(old))
	}
	b, e := a.ownBudget(limits, tx, &identity.Budget{}, t, t.ID)
	if e != nil {
		return e
	}
	put(&t.Metadata, "team_member_budget_id", quoted(b.ID))
	members, err := store.Find[identity.Member](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("team_id", t.ID), store.Null("budget_id")}})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range members {
		m.BudgetID = b.ID
		if err := tx.Update(m); err != nil {
			return a.failed(err)
		}
	}
	return nil
}

// teamBudgetID is the budget of each member of a team; "" for none.
func teamBudgetID(t *identity.Team) string { return text(t.Metadata["team_member_budget_id"]) }
