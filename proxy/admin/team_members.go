package admin

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// memberLimitNames are the limits of one member, and what a budget calls them.
var memberLimitNames = map[string]string{
	"max_budget_in_team": "max_budget", "budget_duration": "budget_duration", "allowed_models": "allowed_models", "tpm_limit": "tpm_limit",
	"rpm_limit": "rpm_limit", "temp_budget_increase": "temp_budget_increase", "temp_budget_expiry": "temp_budget_expiry",
}

// memberID is what a member is called in records and by its budget.
func memberID(m *identity.Member) string { return m.TeamID + "/" + m.UserID }

// memberUser finds the user that a member is to be, or makes it. A team's admin
// makes no users but those it invites by e-mail address.
func (a *API) memberUser(c *Call, tx *store.Tx, t *identity.Team, m invited) (*identity.User, *llm.Error) {
	u, e := a.userOf(c, tx, m.UserID, m.Email)
	if u != nil || e != nil {
		return u, e
	}
	makes, e := c.Allowed(access.UserNew, access.Target{OrganizationID: t.OrganizationID})
	if e != nil {
		return nil, e
	}
	// The caller itself may be a user without a row: the master key's.
	if !makes && m.UserID != "" && m.UserID != c.Caller.User {
		return nil, notFound(fmt.Sprintf("User %q does not exist. Ask a proxy admin to create it, or add it by user_email.", m.UserID), "user_id")
	}
	u = &identity.User{ID: m.UserID, Email: m.Email}
	if u.ID == "" {
		u.ID = newID()
	}
	defaults := defaulted(Body{}, a.c.Defaults.User, "user_role", "max_budget", "budget_duration", "models")
	if e := a.setUser(c.with(defaults), u); e != nil {
		return nil, e
	}
	// Whoever is made in passing is an admin of nothing.
	if u.Role != identity.RoleInternalViewer.String() {
		u.Role = identity.RoleInternalUser.String()
	}
	if e := a.insertUser(c, tx, u); e != nil {
		return nil, e
	}
	if t.OrganizationID == "" {
		return u, nil
	}
	// A user who exists for a team of an organization belongs to it.
	return u, a.failed(tx.Insert(&identity.OrganizationMember{OrganizationID: t.OrganizationID, UserID: u.ID, Role: u.Role}))
}

// join makes a user a member of a team, with the limits that the body says.
func (a *API) join(c *Call, tx *store.Tx, t *identity.Team, u *identity.User, as invited) (*identity.Member, *llm.Error) {
	m := &identity.Member{TeamID: t.ID, UserID: u.ID, Role: as.Role}
	_, err := store.Get[identity.Member](c.Ctx, tx, t.ID, u.ID)
	if err == nil {
		return nil, &llm.Error{
			Kind: llm.KindBadRequest, Status: 400, Type: "team_member_already_in_team", Param: "member",
			Message: fmt.Sprintf("User already in team. Member: %s.", as),
		}
	}
	if !missing(err) {
		return nil, a.failed(err)
	}
	limits := c.renamed(memberLimitNames)
	if models := texts(t.Settings["default_team_member_models"]); len(models) > 0 && !limits.Body.Given("allowed_models") {
		limits.Body["allowed_models"] = quoted(models)
	}
	m.BudgetID = teamBudgetID(t)
	if _, given := hasLimits(limits.Body); given {
		if e := a.ownLimits(limits, tx, t, m); e != nil {
			return nil, e
		}
	}
	return m, a.failed(tx.Insert(m))
}

// ownLimits gives a member limits of its own: those that it had, changed as the
// body says.
func (a *API) ownLimits(limits *Call, tx *store.Tx, t *identity.Team, m *identity.Member) *llm.Error {
	if e := a.mayLimit(limits, tx, t); e != nil {
		return e
	}
	b, e := a.budget(limits, tx, m.BudgetID)
	if e != nil {
		return e
	}
	if b != nil && text(b.Settings[madeFor]) == m.Kind().String()+"/"+memberID(m) {
		if e := a.setLimits(limits, b); e != nil {
			return e
		}
		return a.failed(tx.Update(b))
	}
	if b == nil {
		b = &identity.Budget{}
	}
	own, e := a.ownBudget(limits, tx, b, m, memberID(m))
	if e != nil {
		return e
	}
	m.BudgetID = own.ID
	return nil
}

// mayLimit refuses limits of a member beyond the team's own. What a proxy admin
// gives is not bound by them, except that models are the team's for all.
func (a *API) mayLimit(limits *Call, tx *store.Tx, t *identity.Team) *llm.Error {
	b := limits.Body
	if e := ofTeam(t, b.Texts("allowed_models"), "allowed_models"); e != nil {
		return e
	}
	admin, e := limits.Admin()
	if e != nil || admin {
		return e
	}
	given := access.Grant{MaxBudget: b.Money("max_budget"), TPM: b.Int("tpm_limit"), RPM: b.Int("rpm_limit")}
	return a.within(limits, tx, given, teamGrant(t), func(field string) *llm.Error {
		name := field
		if field == "max_budget" {
			name = "max_budget_in_team"
		}
		return forbidden(fmt.Sprintf("%s goes beyond the team's own %s. Ask for less, or ask a proxy admin.", name, field), name)
	})
}

// dropMember takes a member out of a team. Its keys there are not touched.
func (a *API) dropMember(c *Call, tx *store.Tx, m *identity.Member) *llm.Error {
	if err := tx.Delete(m); err != nil {
		return a.failed(err)
	}
	return a.dropBudget(c, tx, m, memberID(m), m.BudgetID)
}

// mayAdd says whether the caller may add these members to the team. Whom no
// right over the team allows it may join by itself, as a user without limits,
// where the configuration lists the team.
func (a *API) mayAdd(c *Call, t *identity.Team, members []invited) *llm.Error {
	e := c.May(access.TeamMembers, teamTarget(t))
	if e == nil {
		if slices.ContainsFunc(members, func(m invited) bool { return m.Role == identity.TeamAdmin }) {
			return c.May(access.TeamMakeAdmin, teamTarget(t))
		}
		return nil
	}
	who, failed := c.Standing()
	if failed != nil {
		return failed
	}
	_, limited := hasLimits(c.renamed(memberLimitNames).Body)
	itself := len(members) == 1 && members[0].UserID != "" && members[0].UserID == who.UserID && members[0].Role == identity.TeamUser
	if !itself || limited || !contains(a.joinable(), t.ID) {
		return e
	}
	return c.May(access.TeamJoin, access.Target{UserID: who.UserID})
}

// joinable are the teams that users may join by themselves.
func (a *API) joinable() []string { return texts(a.c.Defaults.User["available_teams"]) }

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// joined are new members as answers show them.
type joined struct {
	Users       []userRow    `json:"updated_users"`
	Memberships []membership `json:"updated_team_memberships"`
}

type teamJoined struct {
	teamRow
	joined
}

// addMembers adds one member or several to a team: all of them, or none.
func (a *API) addMembers(c *Call) (any, *llm.Error) {
	members, e := invitees(c.Body["member"])
	if e != nil {
		return nil, e
	}
	var answer teamJoined
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		t, e := a.joiningTeam(c, tx, members)
		if e != nil {
			return e
		}
		users, placed := make([]*identity.User, len(members)), make([]*identity.Member, len(members))
		for i, m := range members {
			if users[i], placed[i], e = a.addMember(c, tx, t, m); e != nil {
				return e
			}
		}
		if answer.joined, e = a.joinedAnswer(c, tx, users, placed); e != nil {
			return e
		}
		var err error
		answer.teamRow, err = teamAnswer(c.Ctx, tx, t)
		return a.failed(err)
	})
	return answerOr(answer, e)
}

// addMember adds one member. Where it refuses it has written nothing, once the
// limits of the body were found to be allowed.
func (a *API) addMember(c *Call, tx *store.Tx, t *identity.Team, m invited) (*identity.User, *identity.Member, *llm.Error) {
	u, e := a.memberUser(c, tx, t, m)
	if e != nil {
		return nil, nil, e
	}
	placed, e := a.join(c, tx, t, u, m)
	return u, placed, e
}

// invitees reads the member field: one, or a list.
func invitees(raw json.RawMessage) ([]invited, *llm.Error) {
	if raw[0] == '{' {
		m, e := invitee(raw, "body")
		return []invited{m}, e
	}
	var elements []json.RawMessage
	_ = json.Unmarshal(raw, &elements) // it was checked
	if e := countOf(len(elements), "member", "members"); e != nil {
		return nil, e
	}
	out := make([]invited, len(elements))
	for i, e := range elements {
		var failed *llm.Error
		if out[i], failed = invitee(e, "body", "member", i); failed != nil {
			return nil, failed
		}
	}
	return out, nil
}

// joiningTeam reads the team that members are to be added to, for a caller who
// may add them with the limits of the body.
func (a *API) joiningTeam(c *Call, tx *store.Tx, members []invited) (*identity.Team, *llm.Error) {
	id := c.Body.Text("team_id")
	t, e := a.findTeam(c, tx, id)
	if e != nil {
		return nil, e
	}
	if t == nil {
		return nil, c.unseen(c.May(access.TeamMembers, access.Target{TeamID: id}), teamMissing(id))
	}
	if e := a.mayAdd(c, t, members); e != nil {
		return nil, c.refusedTeam(t, e, teamMissing(id))
	}
	return t, a.mayLimit(c.renamed(memberLimitNames), tx, t)
}

func (a *API) joinedAnswer(c *Call, tx *store.Tx, users []*identity.User, placed []*identity.Member) (joined, *llm.Error) {
	out := joined{Users: []userRow{}, Memberships: []membership{}}
	teams, err := teamsOf(c.Ctx, tx, idsOf(users)...)
	if err != nil {
		return out, a.failed(err)
	}
	budgets, err := budgetsOf(c, tx, budgetIDs(placed))
	if err != nil {
		return out, a.failed(err)
	}
	for i, u := range users {
		out.Users = append(out.Users, userRow{userFields: newUserFields(u, teams[u.ID])})
		out.Memberships = append(out.Memberships, newMembership(placed[i], budgets))
	}
	return out, nil
}

// memberResult is what became of one member of many.
type memberResult struct {
	UserID     *string     `json:"user_id"`
	Email      *string     `json:"user_email"`
	Success    bool        `json:"success"`
	Error      *string     `json:"error"`
	User       *userRow    `json:"updated_user"`
	Membership *membership `json:"updated_team_membership"`
}

type memberResults struct {
	TeamID    string         `json:"team_id"`
	Results   []memberResult `json:"results"`
	Requested int            `json:"total_requested"`
	Succeeded int            `json:"successful_additions"`
	Failed    int            `json:"failed_additions"`
	Team      *teamRow       `json:"updated_team"`
}

// addManyMembers adds many members: one that cannot be added does not keep back
// the others.
func (a *API) addManyMembers(c *Call) (any, *llm.Error) {
	out := memberResults{TeamID: c.Body.Text("team_id"), Results: []memberResult{}}
	members, e := a.manyInvitees(c)
	if e != nil {
		return nil, e
	}
	for part := range slices.Chunk(members, bulkLimit) {
		var page memberResults
		e := a.change(c, func(tx *store.Tx) (e *llm.Error) {
			page, e = a.addPart(c, tx, part)
			return e
		})
		if e != nil {
			return nil, e
		}
		out.Results = append(out.Results, page.Results...)
		out.Requested, out.Succeeded, out.Failed = out.Requested+page.Requested, out.Succeeded+page.Succeeded, out.Failed+page.Failed
	}
	t, e := a.teamFor(c, a.c.Store, out.TeamID, access.TeamMembers, unknownTeam(out.TeamID))
	if e != nil {
		return nil, e
	}
	row, err := teamAnswer(c.Ctx, a.c.Store, t)
	out.Team = &row
	return answerOr(out, a.failed(err))
}

func (a *API) addPart(c *Call, tx *store.Tx, part []invited) (page memberResults, e *llm.Error) {
	t, e := a.joiningTeam(c, tx, part)
	if e != nil {
		return page, e
	}
	for _, m := range part {
		u, placed, e := a.addMember(c, tx, t, m)
		if e != nil {
			if e.HTTPStatus() >= 500 {
				return page, e
			}
			page.add(m, nil, e)
			continue
		}
		answer, e := a.joinedAnswer(c, tx, []*identity.User{u}, []*identity.Member{placed})
		if e != nil {
			return page, e
		}
		page.add(m, &answer, nil)
	}
	return page, nil
}

func (r *memberResults) add(m invited, answer *joined, e *llm.Error) {
	one := memberResult{UserID: null(m.UserID), Email: null(m.Email), Success: e == nil}
	r.Requested++
	if e != nil {
		r.Failed++
		one.Error = &e.Message
	} else {
		r.Succeeded++
		one.User, one.Membership, one.UserID = &answer.Users[0], &answer.Memberships[0], &answer.Users[0].ID
	}
	r.Results = append(r.Results, one)
}

// manyInvitees are the members of a bulk call: those of the body, or all users
// that are not in the team yet.
func (a *API) manyInvitees(c *Call) ([]invited, *llm.Error) {
	id := c.Body.Text("team_id")
	if _, e := a.teamFor(c, a.c.Store, id, access.TeamMembers, unknownTeam(id)); e != nil {
		return nil, e
	}
	if !c.Body.Bool("all_users") {
		if !c.Body.Given("members") {
			return nil, badRequest("members must list the members to add, or all_users be true.", "members")
		}
		return invitees(c.Body["members"])
	}
	// All users is more than a team's admin sees.
	if admin, e := c.Admin(); e != nil || !admin {
		return nil, either(e, forbidden("Only a proxy admin may add all users to a team.", "all_users"))
	}
	q := store.Query{Where: []store.Cond{store.Not(store.Among("user_id", identity.KindMember, "user_id", store.Eq("team_id", id)))}}
	users, e := listed[identity.User](a, c, "page_size", q.Where, q)
	out := make([]invited, len(users))
	for i, u := range users {
		out[i] = invited{UserID: u.ID, Email: u.Email, Role: identity.TeamUser}
	}
	return out, e
}

// unknownTeam is how most routes word that there is no such team.
func unknownTeam(id string) *llm.Error {
	return &llm.Error{
		Kind: llm.KindNotFound, Status: 404, Type: "not_found_error",
		Message: "Team not found, passed team_id=" + strings.TrimSpace(id),
	}
}
