package admin

import (
	"context"
	"encoding/json"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// teamRow is a team as every answer shows it.
type teamRow struct {
	Alias               *string         `json:"team_alias"`
	ID                  string          `json:"team_id"`
	OrganizationID      *string         `json:"organization_id"`
	Admins              []string        `json:"admins"`
	Members             []string        `json:"members"`
	MembersWithRoles    []teamPerson    `json:"members_with_roles"`
	Permissions         json.RawMessage `json:"team_member_permissions"`
	Metadata            identity.Fields `json:"metadata"`
	TPMLimit            *int64          `json:"tpm_limit"`
	RPMLimit            *int64          `json:"rpm_limit"`
	TPDLimit            json.RawMessage `json:"tpd_limit"`
	MaxBudget           *money.Nano     `json:"max_budget"`
	SoftBudget          *money.Nano     `json:"soft_budget"`
	BudgetDuration      *string         `json:"budget_duration"`
	BudgetLimits        json.RawMessage `json:"budget_limits"`
	Models              []string        `json:"models"`
	Blocked             bool            `json:"blocked"`
	RouterSettings      json.RawMessage `json:"router_settings"`
	AccessGroupIDs      []string        `json:"access_group_ids"`
	DefaultMemberModels json.RawMessage `json:"default_team_member_models"`
	Spend               money.Nano      `json:"spend"`
	MaxParallelRequests *int64          `json:"max_parallel_requests"`
	BudgetResetAt       *isoZ           `json:"budget_reset_at"`
	ModelID             *int64          `json:"model_id"`
	ModelSpend          struct{}        `json:"model_spend"` // the ledger counts by model
	ModelMaxBudget      json.RawMessage `json:"model_max_budget"`
	Policies            json.RawMessage `json:"policies"`
	AllowTeamGuardrails bool            `json:"allow_team_guardrail_config"`
	ModelTable          *teamModels     `json:"litellm_model_table"`
	ObjectPermission    json.RawMessage `json:"object_permission"`
	ObjectPermissionID  json.RawMessage `json:"object_permission_id"`
	UpdatedAt           *isoZ           `json:"updated_at"`
	CreatedAt           *isoZ           `json:"created_at"`
}

// teamModels are the aliases of models of a team.
type teamModels struct {
	ID        *int64          `json:"id"`
	Aliases   json.RawMessage `json:"model_aliases"`
	CreatedBy string          `json:"created_by"`
	UpdatedBy string          `json:"updated_by"`
	Team      *struct{}       `json:"team"`
}

// teamPerson is a member as a team shows it.
type teamPerson struct {
	UserID string  `json:"user_id"`
	Email  *string `json:"user_email"`
	Role   string  `json:"role"`
}

// teamPersonNamed is a member in /team/info.
type teamPersonNamed struct {
	teamPerson
	Alias *string `json:"user_alias"`
}

// membership is a member's place in a team with its budget.
type membership struct {
	UserID     string           `json:"user_id"`
	TeamID     string           `json:"team_id"`
	BudgetID   *string          `json:"budget_id"`
	Spend      money.Nano       `json:"spend"`
	TotalSpend money.Nano       `json:"total_spend"`
	Budget     *budgetTableFull `json:"litellm_budget_table"`
}

func newMembership(m *identity.Member, budgets map[string]*identity.Budget) membership {
	return membership{
		UserID: m.UserID, TeamID: m.TeamID, BudgetID: null(m.BudgetID), Spend: m.Spend, TotalSpend: m.TotalSpend,
		Budget: fullTableOf(budgets[m.BudgetID]),
	}
}

// roster is who is in some teams, with what their answers show of it.
type roster struct {
	members map[string][]*identity.Member // by team, in the order that they joined
	users   map[string]*identity.User     // by id; members without a user row are not in it
}

// rosterOf reads who is in some teams.
func rosterOf(ctx context.Context, r store.Reader, teams ...string) (*roster, error) {
	out := &roster{members: map[string][]*identity.Member{}, users: map[string]*identity.User{}}
	members, err := store.Find[identity.Member](ctx, r, store.Query{Where: []store.Cond{store.In("team_id", teams)}})
	if err != nil {
		return nil, err
	}
	inOrder(members)
	for _, m := range members {
		out.members[m.TeamID] = append(out.members[m.TeamID], m)
	}
	users, err := store.Find[identity.User](ctx, r, store.Query{Where: []store.Cond{
		store.Among("user_id", identity.KindMember, "user_id", store.In("team_id", teams)),
	}})
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		out.users[u.ID] = u
	}
	return out, nil
}

// person is a member as its team shows it.
func (r *roster) person(m *identity.Member) teamPerson {
	p := teamPerson{UserID: m.UserID, Role: m.Role}
	if u := r.users[m.UserID]; u != nil {
		p.Email = null(u.Email)
	}
	return p
}

// row is a team with its members.
func (r *roster) row(t *identity.Team) teamRow {
	s := t.Settings
	row := teamRow{
		Alias: null(t.Alias), ID: t.ID, OrganizationID: null(t.OrganizationID), Admins: []string{}, Members: []string{},
		MembersWithRoles: []teamPerson{}, Permissions: setting(s, "team_member_permissions", "[]"), Metadata: fields(t.Metadata),
		TPMLimit: t.TPMLimit, RPMLimit: t.RPMLimit, TPDLimit: setting(s, "tpd_limit", "null"), MaxBudget: t.MaxBudget,
		SoftBudget: t.SoftBudget, BudgetDuration: null(t.BudgetDuration), BudgetLimits: setting(s, "budget_limits", "null"),
		Models: list(t.Models), Blocked: t.Blocked, RouterSettings: setting(s, "router_settings", "{}"),
		AccessGroupIDs: list(settingOf[[]string](s, "access_group_ids")), DefaultMemberModels: setting(s, "default_team_member_models", "[]"),
		Spend: t.Spend, MaxParallelRequests: t.MaxParallelRequests, BudgetResetAt: zulu(t.BudgetResetAt),
		ModelMaxBudget: setting(s, "model_max_budget", "{}"), Policies: setting(s, "policies", "[]"),
		AllowTeamGuardrails: settingOf[bool](s, "allow_team_guardrail_config"),
		ObjectPermission:    setting(s, "object_permission", "null"), ObjectPermissionID: setting(s, "object_permission_id", "null"),
		UpdatedAt: zuluAt(t.UpdatedAt), CreatedAt: zuluAt(t.CreatedAt),
	}
	for _, m := range r.members[t.ID] {
		row.MembersWithRoles = append(row.MembersWithRoles, r.person(m))
	}
	if aliases := setting(s, "model_aliases", "{}"); string(aliases) != "{}" {
		row.ModelTable = &teamModels{Aliases: aliases, CreatedBy: t.CreatedBy, UpdatedBy: t.UpdatedBy}
	}
	return row
}

// teamAnswer reads a team's members and makes its row.
func teamAnswer(ctx context.Context, r store.Reader, t *identity.Team) (teamRow, error) {
	who, err := rosterOf(ctx, r, t.ID)
	if err != nil {
		return teamRow{}, err
	}
	return who.row(t), nil
}

// budgetIDs are the budgets of members.
func budgetIDs(members []*identity.Member) []string {
	var out []string
	for _, m := range members {
		if m.BudgetID != "" {
			out = append(out, m.BudgetID)
		}
	}
	return out
}
