package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// userFields are the fields that all shapes of a user have.
type userFields struct {
	ID                    string          `json:"user_id"`
	Alias                 *string         `json:"user_alias"`
	TeamID                *string         `json:"team_id"`
	SSOUserID             *string         `json:"sso_user_id"`
	OrganizationID        *string         `json:"organization_id"`
	ObjectPermissionID    json.RawMessage `json:"object_permission_id"`
	PasswordResetRequired *bool           `json:"password_reset_required"`
	LastBreachCheckAt     *isoZ           `json:"last_breach_check_at"`
	Teams                 []string        `json:"teams"`
	Role                  *string         `json:"user_role"`
	MaxBudget             *money.Nano     `json:"max_budget"`
	Spend                 money.Nano      `json:"spend"`
	Email                 *string         `json:"user_email"`
	Models                []string        `json:"models"`
	Metadata              identity.Fields `json:"metadata"`
	MaxParallelRequests   *int64          `json:"max_parallel_requests"`
	TPMLimit              *int64          `json:"tpm_limit"`
	RPMLimit              *int64          `json:"rpm_limit"`
	BudgetDuration        *string         `json:"budget_duration"`
	BudgetResetAt         *isoZ           `json:"budget_reset_at"`
	AllowedCacheControls  json.RawMessage `json:"allowed_cache_controls"`
	Policies              json.RawMessage `json:"policies"`
	ModelSpend            struct{}        `json:"model_spend"` // the ledger counts by model
	ModelMaxBudget        json.RawMessage `json:"model_max_budget"`
	CreatedAt             *isoZ           `json:"created_at"`
	UpdatedAt             *isoZ           `json:"updated_at"`
	ObjectPermission      json.RawMessage `json:"object_permission"`
	userExtras
}

// userExtras are what a user may be given and LiteLLM's reads do not tell. They
// are told where they are set, so that a client finds what it asked for.
type userExtras struct {
	Blocked         bool            `json:"blocked,omitempty"`
	SoftBudget      *money.Nano     `json:"soft_budget,omitempty"`
	BudgetLimits    json.RawMessage `json:"budget_limits,omitempty"`
	BudgetFallbacks json.RawMessage `json:"budget_fallbacks,omitempty"`
	Aliases         json.RawMessage `json:"aliases,omitempty"`
	Config          json.RawMessage `json:"config,omitempty"`
	Permissions     json.RawMessage `json:"permissions,omitempty"`
	AgentID         json.RawMessage `json:"agent_id,omitempty"`
}

func newUserExtras(u *identity.User) userExtras {
	s := u.Settings
	return userExtras{
		Blocked: u.Blocked, SoftBudget: u.SoftBudget, BudgetLimits: s["budget_limits"], BudgetFallbacks: s["budget_fallbacks"],
		Aliases: s["aliases"], Config: s["config"], Permissions: s["permissions"], AgentID: s["agent_id"],
	}
}

// userRow is a user as reads answer it.
type userRow struct {
	userFields
	OrganizationMemberships *struct{} `json:"organization_memberships"` // /organization/info lists them
}

// userListed is a user in /user/list.
type userListed struct {
	userRow
	KeyCount int `json:"key_count"`
}

// userUpdated is a user as changes answer it. The place of the password is
// always null.
type userUpdated struct {
	userFields
	Password *struct{} `json:"password"`
}

// userBrief is a user in /v2/user/info.
type userBrief struct {
	ID                  string          `json:"user_id"`
	Email               *string         `json:"user_email"`
	Alias               *string         `json:"user_alias"`
	Role                *string         `json:"user_role"`
	Spend               money.Nano      `json:"spend"`
	MaxBudget           *money.Nano     `json:"max_budget"`
	TPMLimit            *int64          `json:"tpm_limit"`
	RPMLimit            *int64          `json:"rpm_limit"`
	Models              []string        `json:"models"`
	BudgetDuration      *string         `json:"budget_duration"`
	BudgetResetAt       *isoZ           `json:"budget_reset_at"`
	Metadata            identity.Fields `json:"metadata"`
	CreatedAt           *isoZ           `json:"created_at"`
	UpdatedAt           *isoZ           `json:"updated_at"`
	SSOUserID           *string         `json:"sso_user_id"`
	Teams               []string        `json:"teams"`
	ObjectPermission    json.RawMessage `json:"object_permission"`
	ModelMaxBudget      json.RawMessage `json:"model_max_budget"`
	ModelMaxBudgetUsage struct{}        `json:"model_max_budget_usage"`

	// Told where they are set, as the extras are.
	MaxParallelRequests  *int64          `json:"max_parallel_requests,omitempty"`
	AllowedCacheControls json.RawMessage `json:"allowed_cache_controls,omitempty"`
	Policies             json.RawMessage `json:"policies,omitempty"`
	userExtras
}

func newUserFields(u *identity.User, teams []string) userFields {
	s := u.Settings
	return userFields{
		ID: u.ID, Alias: null(u.Alias), TeamID: null(text(s["team_id"])), SSOUserID: null(u.SSOUserID), OrganizationID: null(u.OrganizationID),
		PasswordResetRequired: settingOf[*bool](s, "password_reset_required"), LastBreachCheckAt: zulu(settingTime(s, "last_breach_check_at")),
		ObjectPermissionID: setting(s, "object_permission_id", "null"), Teams: list(teams), Role: null(u.Role),
		MaxBudget: u.MaxBudget, Spend: u.Spend, Email: null(u.Email), Models: list(u.Models), Metadata: fields(u.Metadata),
		MaxParallelRequests: u.MaxParallelRequests, TPMLimit: u.TPMLimit, RPMLimit: u.RPMLimit,
		BudgetDuration: null(u.BudgetDuration), BudgetResetAt: zulu(u.BudgetResetAt),
		AllowedCacheControls: setting(s, "allowed_cache_controls", "[]"), Policies: setting(s, "policies", "[]"),
		ModelMaxBudget: setting(s, "model_max_budget", "{}"), CreatedAt: zuluAt(u.CreatedAt), UpdatedAt: zuluAt(u.UpdatedAt),
		ObjectPermission: setting(s, "object_permission", "null"), userExtras: newUserExtras(u),
	}
}

func newUserBrief(u *identity.User, teams []string) userBrief {
	return userBrief{
		ID: u.ID, Email: null(u.Email), Alias: null(u.Alias), Role: null(u.Role), Spend: u.Spend, MaxBudget: u.MaxBudget,
		TPMLimit: u.TPMLimit, RPMLimit: u.RPMLimit, Models: list(u.Models), BudgetDuration: null(u.BudgetDuration),
		BudgetResetAt: zulu(u.BudgetResetAt), Metadata: fields(u.Metadata), CreatedAt: zuluAt(u.CreatedAt), UpdatedAt: zuluAt(u.UpdatedAt),
		SSOUserID: null(u.SSOUserID), Teams: list(teams), ObjectPermission: setting(u.Settings, "object_permission", "null"),
		ModelMaxBudget: setting(u.Settings, "model_max_budget", "{}"), MaxParallelRequests: u.MaxParallelRequests,
		AllowedCacheControls: u.Settings["allowed_cache_controls"], Policies: u.Settings["policies"], userExtras: newUserExtras(u),
	}
}

// teamsOf lists the teams of some users, by user, in the order that they joined.
func teamsOf(ctx context.Context, r store.Reader, users ...string) (map[string][]string, error) {
	members, err := store.Find[identity.Member](ctx, r, store.Query{Where: []store.Cond{store.In("user_id", users)}})
	if err != nil {
		return nil, err
	}
	inOrder(members)
	out := map[string][]string{}
	for _, m := range members {
		out[m.UserID] = append(out[m.UserID], m.TeamID)
	}
	return out, nil
}

// inOrder sorts members by when they joined.
func inOrder(members []*identity.Member) {
	slices.SortFunc(members, func(a, b *identity.Member) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.TeamID, b.TeamID), cmp.Compare(a.UserID, b.UserID))
	})
}

// idsOf are the ids of users.
func idsOf(users []*identity.User) []string {
	out := make([]string, len(users))
	for i, u := range users {
		out[i] = u.ID
	}
	return out
}
