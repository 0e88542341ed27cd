// Package identity is who there is: keys, users, teams, organizations and what
// hangs on them, as the database keeps them. It is data only. The tag db names
// the column ("null": an empty value is stored as NULL; "json": stored as a
// JSON document; "key": part of the primary key); package store does the rest.
package identity

import (
	"encoding/json"
	"time"

	"sluice/proxy/money"
)

// Fields is a JSON object whose values nobody here looks into.
type Fields map[string]json.RawMessage

// Stamp is who wrote a row and when, and the number of the change that did. The
// store fills it in.
type Stamp struct {
	ChangeNumber int64     `db:"change_number"`
	CreatedAt    time.Time `db:"created_at"`
	CreatedBy    string    `db:"created_by"`
	UpdatedAt    time.Time `db:"updated_at"`
	UpdatedBy    string    `db:"updated_by"`
}

// Caps are the limits that most objects may carry. nil means no limit.
type Caps struct {
	MaxBudget           *money.Nano `db:"max_budget"`
	SoftBudget          *money.Nano `db:"soft_budget"`
	BudgetDuration      string      `db:"budget_duration,null"`
	BudgetResetAt       *time.Time  `db:"budget_reset_at"`
	MaxParallelRequests *int64      `db:"max_parallel_requests"`
	TPMLimit            *int64      `db:"tpm_limit"`
	RPMLimit            *int64      `db:"rpm_limit"`
}

// Key is a virtual key. Token is the lower-case hex SHA-256 of the whole key
// string; the key itself is stored nowhere.
type Key struct {
	Token          string            `db:"token,key"`
	Name           string            `db:"key_name,null"` // sk-...abcd
	Alias          string            `db:"key_alias,null"`
	Type           string            `db:"key_type"`
	UserID         string            `db:"user_id,null"`
	TeamID         string            `db:"team_id,null"`
	OrganizationID string            `db:"organization_id,null"`
	ProjectID      string            `db:"project_id,null"`
	AgentID        string            `db:"agent_id,null"`
	BudgetID       string            `db:"budget_id,null"`
	Models         []string          `db:"models,json"`
	Aliases        map[string]string `db:"aliases,json"`
	AllowedRoutes  []string          `db:"allowed_routes,json"`
	Permissions    Fields            `db:"permissions,json"`
	Metadata       Fields            `db:"metadata,json"`
	Blocked        bool              `db:"blocked"`
	Expires        *time.Time        `db:"expires"`
	LastActive     *time.Time        `db:"last_active"`
	Spend          money.Nano        `db:"spend"`
	ModelMaxBudget Fields            `db:"model_max_budget,json"`
	Caps
	Settings Fields `db:"settings,json"` // every other field of the API, by its name there
	Stamp
}

// RetiredKey is the old digest of a regenerated key. It works until RevokeAt.
type RetiredKey struct {
	Token    string    `db:"token,key"`
	Active   string    `db:"active_token"` // the key's digest now
	RevokeAt time.Time `db:"revoke_at"`
	Stamp
}

// User is a person or a service.
type User struct {
	ID             string     `db:"user_id,key"`
	Alias          string     `db:"user_alias,null"`
	Email          string     `db:"user_email,null"`
	SSOUserID      string     `db:"sso_user_id,null"`
	Role           string     `db:"user_role,null"`
	Password       string     `db:"password,null"` // a salted hash
	OrganizationID string     `db:"organization_id,null"`
	BudgetID       string     `db:"budget_id,null"`
	Models         []string   `db:"models,json"`
	Metadata       Fields     `db:"metadata,json"`
	Blocked        bool       `db:"blocked"`
	Spend          money.Nano `db:"spend"`
	Caps
	Settings Fields `db:"settings,json"`
	Stamp
}

// Team is a group of users that shares keys, models and budgets.
type Team struct {
	ID             string     `db:"team_id,key"`
	Alias          string     `db:"team_alias,null"`
	OrganizationID string     `db:"organization_id,null"`
	BudgetID       string     `db:"budget_id,null"`
	Models         []string   `db:"models,json"`
	Metadata       Fields     `db:"metadata,json"`
	Blocked        bool       `db:"blocked"`
	Spend          money.Nano `db:"spend"`
	Caps
	Settings Fields `db:"settings,json"`
	Stamp
}

// Member is a user's place in a team. Role is "admin" or "user".
type Member struct {
	TeamID     string     `db:"team_id,key"`
	UserID     string     `db:"user_id,key"`
	Role       string     `db:"role"`
	BudgetID   string     `db:"budget_id,null"`
	Spend      money.Nano `db:"spend"`
	TotalSpend money.Nano `db:"total_spend"`
	Settings   Fields     `db:"settings,json"`
	Stamp
}

// Organization is a group of teams.
type Organization struct {
	ID       string     `db:"organization_id,key"`
	Alias    string     `db:"organization_alias"`
	BudgetID string     `db:"budget_id,null"`
	Models   []string   `db:"models,json"`
	Metadata Fields     `db:"metadata,json"`
	Spend    money.Nano `db:"spend"`
	Settings Fields     `db:"settings,json"`
	Stamp
}

// OrganizationMember is a user's place in an organization. Role is one of the
// user roles or "org_admin".
type OrganizationMember struct {
	OrganizationID string     `db:"organization_id,key"`
	UserID         string     `db:"user_id,key"`
	Role           string     `db:"user_role,null"`
	BudgetID       string     `db:"budget_id,null"`
	Spend          money.Nano `db:"spend"`
	Stamp
}

// Project is a share of a team with its own models and budget.
type Project struct {
	ID          string     `db:"project_id,key"`
	Alias       string     `db:"project_alias,null"`
	Description string     `db:"description,null"`
	TeamID      string     `db:"team_id,null"`
	BudgetID    string     `db:"budget_id,null"`
	Models      []string   `db:"models,json"`
	Metadata    Fields     `db:"metadata,json"`
	Blocked     bool       `db:"blocked"`
	Spend       money.Nano `db:"spend"`
	Settings    Fields     `db:"settings,json"`
	Stamp
}

// EndUser is a customer of the application that calls: what it sends as `user`.
type EndUser struct {
	ID                 string     `db:"user_id,key"`
	Alias              string     `db:"alias,null"`
	Blocked            bool       `db:"blocked"`
	AllowedModelRegion string     `db:"allowed_model_region,null"`
	DefaultModel       string     `db:"default_model,null"`
	BudgetID           string     `db:"budget_id,null"`
	Spend              money.Nano `db:"spend"`
	Settings           Fields     `db:"settings,json"`
	Stamp
}

// Budget is a set of limits that others refer to.
type Budget struct {
	ID string `db:"budget_id,key"`
	Caps
	ModelMaxBudget Fields   `db:"model_max_budget,json"`
	AllowedModels  []string `db:"allowed_models,json"`
	Settings       Fields   `db:"settings,json"`
	Stamp
}

// Tag is a name that requests carry, with models and a budget.
type Tag struct {
	Name        string     `db:"tag_name,key"`
	Description string     `db:"description,null"`
	BudgetID    string     `db:"budget_id,null"`
	Models      []string   `db:"models,json"`
	Spend       money.Nano `db:"spend"`
	Settings    Fields     `db:"settings,json"`
	Stamp
}

// AccessGroup is a named set of models (and, kept only, of tools and agents)
// that keys and teams are given by its id.
type AccessGroup struct {
	ID          string   `db:"access_group_id,key"`
	Name        string   `db:"access_group_name"` // unique
	Description string   `db:"description,null"`
	Models      []string `db:"models,json"`
	Settings    Fields   `db:"settings,json"`
	Stamp
}

// Model is a deployment that the API made. Strings inside Params are sealed.
type Model struct {
	ID         string `db:"model_id,key"`
	Name       string `db:"model_name"`
	TeamID     string `db:"team_id,null"`
	Params     Fields `db:"params,json"`
	Info       Fields `db:"info,json"`
	SealedWith string `db:"sealed_with"` // id of the ring entry
	Blocked    bool   `db:"blocked"`
	Stamp
}

// Credential is a named set of provider settings. Its values are sealed.
type Credential struct {
	ID         string            `db:"credential_id,key"`
	Name       string            `db:"credential_name"` // unique
	Values     map[string]string `db:"credential_values,json"`
	Info       Fields            `db:"credential_info,json"`
	SealedWith string            `db:"sealed_with"`
	Stamp
}

// ConfigItem is a section of the configuration that the API changed, laid over
// the file where store_model_in_db is on. Name is the section, for example
// general_settings. The values of environment_variables are sealed.
type ConfigItem struct {
	Name       string `db:"param_name,key"`
	Value      Fields `db:"param_value,json"`
	SealedWith string `db:"sealed_with"` // id of the ring entry; "": nothing in it is sealed
	Stamp
}

// Invitation lets a user set a password, once, until it expires.
type Invitation struct {
	ID         string     `db:"invitation_id,key"`
	UserID     string     `db:"user_id"`
	Accepted   bool       `db:"is_accepted"`
	AcceptedAt *time.Time `db:"accepted_at"`
	ExpiresAt  time.Time  `db:"expires_at"`
	Stamp
}

// JWTMapping binds the value of a claim to a key. Issuer is whose claims it is
// about; "" means any.
type JWTMapping struct {
	ID          string `db:"mapping_id,key"`
	Issuer      string `db:"jwt_issuer"`
	ClaimName   string `db:"jwt_claim_name"`
	ClaimValue  string `db:"jwt_claim_value"` // unique with Issuer and ClaimName
	Token       string `db:"token"`
	Description string `db:"description,null"`
	Active      bool   `db:"is_active"`
	Stamp
}
