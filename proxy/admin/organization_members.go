package admin

import (
	"encoding/json"
	"fmt"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// organizationMembersAdded is the answer to new members.
type organizationMembersAdded struct {
	OrganizationID string               `json:"organization_id"`
	Users          []userRow            `json:"updated_users"`
	Memberships    []organizationMember `json:"updated_organization_memberships"`
}

// memberNames are the fields of one member in a body.
func memberNames() []access.Field {
	return []access.Field{
		{Name: "role", Type: access.String, Required: true, Enum: access.OrganizationRoles()},
		{Name: "user_id", Type: access.String},
		{Name: "user_email", Type: access.String},
	}
}

// membersOf reads the members of a body: one object, or a list of them.
func membersOf(b Body, name string, fields []access.Field) ([]Body, *llm.Error) {
	var elements []json.RawMessage
	many := b[name][0] == '['
	if many {
		_ = json.Unmarshal(b[name], &elements) // it was checked
	} else {
		elements = append(elements, b[name])
	}
	if e := countOf(len(elements), name, "members"); e != nil {
		return nil, e
	}
	out := make([]Body, len(elements))
	for i, raw := range elements {
		place := []any{"body", name}
		if many {
			place = append(place, i)
		}
		m, e := sub(raw, fields, place...)
		if e != nil {
			return nil, e
		}
		if m.Text("user_id") == "" && m.Text("user_email") == "" {
			return nil, validation(Violation{"value_error", place, "Value error, user_id or user_email must be given"})
		}
		out[i] = m
	}
	return out, nil
}

func (a *API) addOrganizationMembers(c *Call) (any, *llm.Error) {
	members, e := membersOf(c.Body, "member", memberNames())
	if e != nil {
		return nil, e
	}
	var answer organizationMembersAdded
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		o, e := a.organizationFor(c, tx, access.OrganizationUpdate, c.Body.Text("organization_id"), "organization_id")
		if e != nil {
			return e
		}
		if e := a.memberBudgetWithin(c, tx, o); e != nil {
			return e
		}
		answer = organizationMembersAdded{OrganizationID: o.ID, Users: []userRow{}, Memberships: []organizationMember{}}
		for _, m := range members {
			if e := a.addOrganizationMember(c, tx, o, m, &answer); e != nil {
				return e
			}
		}
		return nil
	})
	return answer, e
}

// memberBudgetWithin keeps an organization's admin from giving a member more
// than the organization has.
func (a *API) memberBudgetWithin(c *Call, tx *store.Tx, o *identity.Organization) *llm.Error {
	limit := c.Body.Money("max_budget_in_organization")
	admin, e := c.Admin()
	if e != nil || admin || limit == nil {
		return e
	}
	b, e := a.budget(c, tx, o.BudgetID)
	if e != nil || b == nil || b.MaxBudget == nil || *limit <= *b.MaxBudget {
		return e
	}
	return badRequest(fmt.Sprintf("max_budget_in_organization must be at most the organization's own budget of %s dollars.", b.MaxBudget),
		"max_budget_in_organization")
}

// addOrganizationMember adds one member; a user that does not exist is made.
func (a *API) addOrganizationMember(c *Call, tx *store.Tx, o *identity.Organization, b Body, answer *organizationMembersAdded) *llm.Error {
	u, e := a.userNamed(c, tx, b)
	if e != nil {
		return e
	}
	if u == nil {
		u = &identity.User{ID: b.Text("user_id"), Email: b.Text("user_email"), Role: identity.RoleInternalUser.String()}
		if u.ID == "" {
			u.ID = newID()
		} else if _, e := someID(b, "user_id"); e != nil {
			return e
		}
		if e := a.insertUser(c, tx, u); e != nil {
			return e
		}
	}
	m := &identity.OrganizationMember{OrganizationID: o.ID, UserID: u.ID, Role: b.Text("role")}
	var budget *identity.Budget
	if limit := c.Body.Money("max_budget_in_organization"); limit != nil {
		if budget, e = a.memberBudgetOf(c, tx, m, limit); e != nil {
			return e
		}
		m.BudgetID = budget.ID
	}
	taken := fmt.Sprintf("User %q is a member of organization %q already. Change the membership with PATCH /organization/member_update.", u.ID, o.ID)
	if e := a.inserted(tx, m, taken, "member"); e != nil {
		return e
	}
	teams, err := teamsOf(c.Ctx, tx, u.ID)
	if err != nil {
		return a.failed(err)
	}
	answer.Users = append(answer.Users, userRow{userFields: newUserFields(u, teams[u.ID])})
	answer.Memberships = append(answer.Memberships, newOrganizationMember(m, u, budget))
	return nil
}

// userNamed finds the user that a member is; nil where there is none yet. An
// id and an e-mail address that belong to two users are refused.
func (a *API) userNamed(c *Call, tx *store.Tx, b Body) (*identity.User, *llm.Error) {
	byID, e := a.findUser(c, tx, b.Text("user_id"))
	if e != nil {
		return nil, e
	}
	byEmail, e := a.userWithEmail(c, tx, b.Text("user_email"))
	switch {
	case e != nil:
		return nil, e
	case byEmail == nil:
		return byID, nil
	case b.Text("user_id") != "" && byEmail.ID != b.Text("user_id"):
		return nil, badRequest("user_id and user_email belong to different users. Send one of them.", "user_email")
	}
	return byEmail, nil
}

// placeID is how changes and budgets name a membership.
func placeID(m *identity.OrganizationMember) string { return m.OrganizationID + "/" + m.UserID }

// memberBudgetOf makes the budget of a member.
func (a *API) memberBudgetOf(c *Call, tx *store.Tx, m *identity.OrganizationMember, limit *money.Nano) (*identity.Budget, *llm.Error) {
	return a.ownBudget(c.with(Body{"max_budget": quoted(limit)}), tx, &identity.Budget{}, m, placeID(m))
}

// organizationMemberNamed reads the membership that the body names.
func (a *API) organizationMemberNamed(c *Call, tx *store.Tx, o *identity.Organization) (*identity.OrganizationMember, *identity.User, *llm.Error) {
	if c.Body.Text("user_id") == "" && c.Body.Text("user_email") == "" {
		return nil, nil, badRequest("Send user_id or user_email.", "user_id")
	}
	id := c.Body.Text("user_id")
	u, e := a.userNamed(c, tx, c.Body)
	if e != nil {
		return nil, nil, e
	}
	if u != nil {
		id = u.ID
	}
	m, err := store.Get[identity.OrganizationMember](c.Ctx, tx, o.ID, id)
	if missing(err) {
		return nil, nil, notFound(fmt.Sprintf("The user is no member of organization %q.", o.ID), "user_id")
	}
	return m, u, a.failed(err)
}

func (a *API) updateOrganizationMember(c *Call) (any, *llm.Error) {
	var answer organizationMember
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		o, e := a.organizationFor(c, tx, access.OrganizationUpdate, c.Body.Text("organization_id"), "organization_id")
		if e != nil {
			return e
		}
		if e := a.memberBudgetWithin(c, tx, o); e != nil {
			return e
		}
		m, u, e := a.organizationMemberNamed(c, tx, o)
		if e != nil {
			return e
		}
		if c.Body.Given("role") {
			m.Role = c.Body.Text("role")
		}
		old := m.BudgetID
		budget, e := a.memberBudgetFrom(c, tx, m)
		if e != nil {
			return e
		}
		m.BudgetID = ""
		if budget != nil {
			m.BudgetID = budget.ID
		}
		if err := tx.Update(m); err != nil {
			return a.failed(err)
		}
		answer = newOrganizationMember(m, u, budget)
		if old == m.BudgetID {
			return nil
		}
		return a.dropBudget(c, tx, m, placeID(m), old)
	})
	return answer, e
}

// memberBudgetFrom is the budget that a member has after the body's
// max_budget_in_organization: what is not sent stays, null takes it away.
func (a *API) memberBudgetFrom(c *Call, tx *store.Tx, m *identity.OrganizationMember) (*identity.Budget, *llm.Error) {
	const name = "max_budget_in_organization"
	body := Body{}
	switch {
	case c.Body.Given(name):
		body["max_budget"] = c.Body[name]
	case c.Body.Null(name):
		body["budget_id"] = json.RawMessage("null")
	}
	return a.inlineBudget(c.with(body), tx, m, placeID(m), m.BudgetID)
}

// dropOrganizationMember takes a user out of an organization.
func (a *API) dropOrganizationMember(c *Call, tx *store.Tx, m *identity.OrganizationMember) *llm.Error {
	if err := tx.Delete(m); err != nil {
		return a.failed(err)
	}
	return a.dropBudget(c, tx, m, placeID(m), m.BudgetID)
}

func (a *API) deleteOrganizationMember(c *Call) (any, *llm.Error) {
	var answer organizationMember
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		o, e := a.organizationFor(c, tx, access.OrganizationUpdate, c.Body.Text("organization_id"), "organization_id")
		if e != nil {
			return e
		}
		m, u, e := a.organizationMemberNamed(c, tx, o)
		if e != nil {
			return e
		}
		budget, e := a.budget(c, tx, m.BudgetID)
		if e != nil {
			return e
		}
		answer = newOrganizationMember(m, u, budget)
		if u != nil && u.OrganizationID == o.ID {
			u.OrganizationID = ""
			if err := tx.Update(u); err != nil {
				return a.failed(err)
			}
		}
		return a.dropOrganizationMember(c, tx, m)
	})
	return answer, e
}
