package admin

import (
	"fmt"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// keyOwners are the objects that a key refers to; nil for what it does not
// refer to, and for what an old key refers to and is gone.
type keyOwners struct {
	user         *identity.User
	memberships  []*identity.OrganizationMember // of the user
	team         *identity.Team
	member       *identity.Member // the user in the team
	organization *identity.Organization
	project      *identity.Project
	budget       *identity.Budget
}

// ownBudget says whether a budget is one of the key's owners already.
func (o *keyOwners) ownBudget(id string) bool {
	return o.user != nil && o.user.BudgetID == id || o.team != nil && o.team.BudgetID == id ||
		o.member != nil && o.member.BudgetID == id || o.project != nil && o.project.BudgetID == id
}

// home is where a key that refers to these objects is made: in the organization
// of its team or, without a team, in those of its user. What the request says
// of the organization does not count.
func (o *keyOwners) home(k *identity.Key) access.Target {
	t := access.Target{UserID: k.UserID, TeamID: k.TeamID}
	switch {
	case o.team != nil:
		t.OrganizationID = o.team.OrganizationID
	case k.TeamID == "":
		for _, m := range o.memberships {
			t.Organizations = append(t.Organizations, m.OrganizationID)
		}
	}
	return t
}

// refer reads an object that a key refers to. One that is not there is an
// error where the reference is new.
func refer[T any, P objects[T]](a *API, c *Call, tx *store.Tx, what, field, id, was string) (*T, *llm.Error) {
	if id == "" {
		return nil, nil
	}
	o, err := store.Get[T, P](c.Ctx, tx, id)
	if missing(err) && id == was {
		return nil, nil
	}
	if missing(err) {
		return nil, notFound(fmt.Sprintf("%s %q does not exist, so no key can refer to it.", what, clipText(id)), field)
	}
	return o, a.failed(err)
}

// owners reads what a key refers to. was is the key before a change.
func (a *API) owners(c *Call, tx *store.Tx, k, was *identity.Key) (*keyOwners, *llm.Error) {
	var o keyOwners
	var e *llm.Error
	if o.project, e = refer[identity.Project](a, c, tx, "Project", "project_id", k.ProjectID, was.ProjectID); e != nil {
		return nil, e
	}
	if e := fitProject(k, o.project); e != nil {
		return nil, e
	}
	if o.user, e = refer[identity.User](a, c, tx, "User", "user_id", k.UserID, was.UserID); e != nil {
		return nil, e
	}
	if o.team, e = refer[identity.Team](a, c, tx, "Team", "team_id", k.TeamID, was.TeamID); e != nil {
		return nil, e
	}
	if o.budget, e = refer[identity.Budget](a, c, tx, "Budget", "budget_id", k.BudgetID, was.BudgetID); e != nil {
		return nil, e
	}
	organization := k.OrganizationID
	if organization == "" && o.team != nil {
		organization = o.team.OrganizationID
	}
	if o.team != nil && k.OrganizationID != was.OrganizationID && k.OrganizationID != "" && o.team.OrganizationID != "" &&
		k.OrganizationID != o.team.OrganizationID {
		return nil, badRequest(fmt.Sprintf("Team %q belongs to organization %q. Leave organization_id out, or name that one.",
			k.TeamID, o.team.OrganizationID), "organization_id")
	}
	if k.OrganizationID == "" { // one that only the team names may be gone
		was = &identity.Key{OrganizationID: organization}
	}
	o.organization, e = refer[identity.Organization](a, c, tx, "Organization", "organization_id", organization, was.OrganizationID)
	if e != nil {
		return nil, e
	}
	return &o, a.places(c, tx, k, &o)
}

// fitProject gives a key the team of its project, and refuses another team.
func fitProject(k *identity.Key, p *identity.Project) *llm.Error {
	switch {
	case p == nil || p.TeamID == "" || p.TeamID == k.TeamID:
		return nil
	case k.TeamID == "":
		k.TeamID = p.TeamID
		return nil
	default:
		return badRequest(fmt.Sprintf("Project %q belongs to team %q, not to team %q.", p.ID, p.TeamID, k.TeamID), "project_id")
	}
}

// places reads where the key's user has a place.
func (a *API) places(c *Call, tx *store.Tx, k *identity.Key, o *keyOwners) *llm.Error {
	if k.UserID == "" {
		return nil
	}
	var err error
	o.memberships, err = store.Find[identity.OrganizationMember](c.Ctx, tx, store.Query{Where: []store.Cond{store.Eq("user_id", k.UserID)}})
	if err != nil || k.TeamID == "" {
		return a.failed(err)
	}
	o.member, err = store.Get[identity.Member](c.Ctx, tx, k.TeamID, k.UserID)
	if missing(err) {
		return nil
	}
	return a.failed(err)
}

// checkReferences refuses new references in settings to objects that there are
// not: access groups, and the budget of end users.
func (a *API) checkReferences(c *Call, tx *store.Tx, k, was *identity.Key) *llm.Error {
	had := settingOf[[]string](was.Settings, "access_group_ids")
	for _, id := range settingOf[[]string](k.Settings, "access_group_ids") {
		if slices.Contains(had, id) {
			continue
		}
		if _, e := refer[identity.AccessGroup](a, c, tx, "Access group", "access_group_ids", id, ""); e != nil {
			return e
		}
	}
	id := settingOf[string](k.Metadata, "end_user_budget_id")
	_, e := refer[identity.Budget](a, c, tx, "Budget", "end_user_budget_id", id, settingOf[string](was.Metadata, "end_user_budget_id"))
	return e
}

// keyBound is what one of a key's owners has itself.
type keyBound struct {
	of    string
	grant access.Grant
}

// keyBounds are the bounds of a key's owners. A key of a team is paid by the
// team, so its user's own bounds do not count for it.
func (a *API) keyBounds(c *Call, tx *store.Tx, o *keyOwners) ([]keyBound, *llm.Error) {
	var out []keyBound
	add := func(of, budget string, models []string, caps identity.Caps, groups []string) *llm.Error {
		g := access.Grant{
			Models: models, AccessGroups: groups, MaxBudget: caps.MaxBudget, TPM: caps.TPMLimit, RPM: caps.RPMLimit,
			Parallel: caps.MaxParallelRequests,
		}
		b, e := a.budget(c, tx, budget)
		if b != nil {
			narrow(&g.MaxBudget, b.MaxBudget)
			narrow(&g.TPM, b.TPMLimit)
			narrow(&g.RPM, b.RPMLimit)
			narrow(&g.Parallel, b.MaxParallelRequests)
		}
		out = append(out, keyBound{of, g})
		return e
	}
	if u := o.user; u != nil && o.team == nil {
		if e := add(fmt.Sprintf("user %q", u.ID), u.BudgetID, u.Models, u.Caps, settingOf[[]string](u.Settings, "access_group_ids")); e != nil {
			return nil, e
		}
	}
	if t := o.team; t != nil {
		if e := add(fmt.Sprintf("team %q", t.ID), t.BudgetID, t.Models, t.Caps, settingOf[[]string](t.Settings, "access_group_ids")); e != nil {
			return nil, e
		}
	}
	if p := o.project; p != nil {
		if e := add(fmt.Sprintf("project %q", p.ID), p.BudgetID, p.Models, identity.Caps{}, nil); e != nil {
			return nil, e
		}
	}
	if g := o.organization; g != nil {
		if e := add(fmt.Sprintf("organization %q", g.ID), g.BudgetID, g.Models, identity.Caps{}, nil); e != nil {
			return nil, e
		}
	}
	return out, nil
}

// narrow takes the lower of two bounds.
func narrow[N ~int64](to **N, other *N) {
	if other != nil && (*to == nil || *other < **to) {
		*to = other
	}
}
