package admin

import (
	"cmp"
	"encoding/json"
	"slices"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// organizationFields are the fields that all shapes of an organization have.
type organizationFields struct {
	ID                 string          `json:"organization_id"`
	Alias              string          `json:"organization_alias"`
	BudgetID           string          `json:"budget_id"`
	Spend              money.Nano      `json:"spend"`
	Metadata           identity.Fields `json:"metadata"`
	Models             []string        `json:"models"`
	ModelSpend         struct{}        `json:"model_spend"` // the ledger counts by model
	CreatedBy          string          `json:"created_by"`
	UpdatedBy          string          `json:"updated_by"`
	Users              *struct{}       `json:"users"` // members tells them
	Budget             *budgetTable    `json:"litellm_budget_table"`
	ObjectPermission   json.RawMessage `json:"object_permission"`
	ObjectPermissionID json.RawMessage `json:"object_permission_id"`
	CreatedAt          isoZ            `json:"created_at"`
	UpdatedAt          isoZ            `json:"updated_at"`
}

// organizationRow is an organization with who and what belongs to it.
type organizationRow struct {
	organizationFields
	Members []organizationMember `json:"members"`
	Teams   []teamRow            `json:"teams"`
}

// organizationMember is a user's place in an organization.
type organizationMember struct {
	UserID         string       `json:"user_id"`
	OrganizationID string       `json:"organization_id"`
	Role           *string      `json:"user_role"`
	Spend          money.Nano   `json:"spend"`
	BudgetID       *string      `json:"budget_id"`
	CreatedAt      isoZ         `json:"created_at"`
	UpdatedAt      isoZ         `json:"updated_at"`
	User           *userRow     `json:"user"`
	Budget         *budgetTable `json:"litellm_budget_table"`
	Email          *string      `json:"user_email"`
}

func newOrganizationFields(o *identity.Organization, b *identity.Budget) organizationFields {
	return organizationFields{
		ID: o.ID, Alias: o.Alias, BudgetID: o.BudgetID, Spend: o.Spend, Metadata: fields(o.Metadata), Models: list(o.Models),
		CreatedBy: o.CreatedBy, UpdatedBy: o.UpdatedBy, Budget: tableOf(b), ObjectPermission: setting(o.Settings, "object_permission", "null"),
		ObjectPermissionID: setting(o.Settings, "object_permission_id", "null"), CreatedAt: isoZ(o.CreatedAt), UpdatedAt: isoZ(o.UpdatedAt),
	}
}

func newOrganizationMember(m *identity.OrganizationMember, u *identity.User, b *identity.Budget) organizationMember {
	out := organizationMember{
		UserID: m.UserID, OrganizationID: m.OrganizationID, Role: null(m.Role), Spend: m.Spend, BudgetID: null(m.BudgetID),
		CreatedAt: isoZ(m.CreatedAt), UpdatedAt: isoZ(m.UpdatedAt), Budget: tableOf(b),
	}
	if u != nil {
		out.Email = null(u.Email)
	}
	return out
}

// organizationRows reads who and what belongs to some organizations. What only
// is restricts it to: nil for all of it, else to what the caller has a part in.
func organizationRows(c *Call, r store.Reader, found []*identity.Organization, only func(organization string) *part) ([]organizationRow, error) {
	ids := make([]string, len(found))
	for i, o := range found {
		ids[i] = o.ID
	}
	of := []store.Cond{store.In("organization_id", ids)}
	members, err := store.Find[identity.OrganizationMember](c.Ctx, r, store.Query{Where: of})
	if err != nil {
		return nil, err
	}
	teams, err := store.Find[identity.Team](c.Ctx, r, store.Query{Where: of})
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(m *identity.OrganizationMember) bool { return !only(m.OrganizationID).hasUser(m.UserID) })
	teams = slices.DeleteFunc(teams, func(t *identity.Team) bool { return !only(t.OrganizationID).hasTeam(t.ID) })
	slices.SortFunc(members, func(a, b *identity.OrganizationMember) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.UserID, b.UserID))
	})

	teamIDs, userIDs, budgetIDs := make([]string, len(teams)), make([]string, len(members)), []string{}
	for i, t := range teams {
		teamIDs[i] = t.ID
	}
	for i, m := range members {
		userIDs[i] = m.UserID
		budgetIDs = append(budgetIDs, m.BudgetID)
	}
	for _, o := range found {
		budgetIDs = append(budgetIDs, o.BudgetID)
	}
	budgets, err := budgetsOf(c, r, budgetIDs)
	if err != nil {
		return nil, err
	}
	roster, err := rosterOf(c.Ctx, r, teamIDs...)
	if err != nil {
		return nil, err
	}
	users, err := usersByID(c, r, userIDs)
	if err != nil {
		return nil, err
	}

	rows := make([]organizationRow, len(found))
	for i, o := range found {
		rows[i] = organizationRow{
			organizationFields: newOrganizationFields(o, budgets[o.BudgetID]), Members: []organizationMember{}, Teams: []teamRow{},
		}
		for _, m := range members {
			if m.OrganizationID == o.ID {
				rows[i].Members = append(rows[i].Members, newOrganizationMember(m, users[m.UserID], budgets[m.BudgetID]))
			}
		}
		for _, t := range teams {
			if t.OrganizationID == o.ID {
				rows[i].Teams = append(rows[i].Teams, roster.row(t))
			}
		}
	}
	return rows, nil
}

func usersByID(c *Call, r store.Reader, ids []string) (map[string]*identity.User, error) {
	out := map[string]*identity.User{}
	found, err := store.Find[identity.User](c.Ctx, r, store.Query{Where: []store.Cond{store.In("user_id", ids)}})
	for _, u := range found {
		out[u.ID] = u
	}
	return out, err
}

// part is what a plain member sees of its organization: itself and its teams.
// nil is everything.
type part struct {
	user  string
	teams map[string]string
}

func (p *part) hasUser(id string) bool { return p == nil || p.user == id }

func (p *part) hasTeam(id string) bool {
	if p == nil {
		return true
	}
	_, ok := p.teams[id]
	return ok
}

// seenOf says what the caller sees of organizations: admins of one see it
// whole, its members their own part.
func (c *Call) seenOf() (func(organization string) *part, error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	admin := who.Master || who.Role == identity.RoleProxyAdmin || who.Role == identity.RoleProxyAdminViewer
	own := &part{user: who.UserID, teams: who.Teams}
	return func(organization string) *part {
		if admin || who.Organizations[organization] == identity.OrgAdmin {
			return nil
		}
		return own
	}, nil
}
