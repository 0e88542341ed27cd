package admin

import (
	"encoding/json"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// keyFields are the fields that all shapes of a key have. LiteLLM writes its
// times in two forms, so the shapes are generic over that.
type keyFields[T any] struct {
	Name                *string           `json:"key_name"`
	Alias               *string           `json:"key_alias"`
	SoftBudgetCooldown  bool              `json:"soft_budget_cooldown"`
	Spend               money.Nano        `json:"spend"`
	TotalSpend          money.Nano        `json:"total_spend"`
	Expires             T                 `json:"expires"`
	Models              []string          `json:"models"`
	Aliases             map[string]string `json:"aliases"`
	Config              json.RawMessage   `json:"config"`
	UserID              *string           `json:"user_id"`
	TeamID              *string           `json:"team_id"`
	AgentID             *string           `json:"agent_id"`
	ProjectID           *string           `json:"project_id"`
	Permissions         identity.Fields   `json:"permissions"`
	MaxParallelRequests *int64            `json:"max_parallel_requests"`
	Metadata            identity.Fields   `json:"metadata"`
	Blocked             *bool             `json:"blocked"`
	TPMLimit            *int64            `json:"tpm_limit"`
	RPMLimit            *int64            `json:"rpm_limit"`
	TPDLimit            json.RawMessage   `json:"tpd_limit"`
	MaxBudget           *money.Nano       `json:"max_budget"`
	BudgetDuration      *string           `json:"budget_duration"`
	BudgetResetAt       T                 `json:"budget_reset_at"`
	BudgetID            *string           `json:"budget_id"`
	BudgetLimits        json.RawMessage   `json:"budget_limits"`
	BudgetFallbacks     json.RawMessage   `json:"budget_fallbacks"`
	Budget              *keyBudget[T]     `json:"litellm_budget_table"`
	AllowedCacheControl json.RawMessage   `json:"allowed_cache_controls"`
	AllowedRoutes       []string          `json:"allowed_routes"`
	Type                *string           `json:"key_type"`
	ModelSpend          struct{}          `json:"model_spend"` // the ledger counts by model
	ModelMaxBudget      identity.Fields   `json:"model_max_budget"`
	CreatedAt           T                 `json:"created_at"`
	CreatedBy           *string           `json:"created_by"`
	UpdatedAt           T                 `json:"updated_at"`
	UpdatedBy           *string           `json:"updated_by"`
	SettingsUpdatedAt   T                 `json:"settings_updated_at"`
	LastActive          T                 `json:"last_active"`
	ObjectPermissionID  json.RawMessage   `json:"object_permission_id"`
	ObjectPermission    json.RawMessage   `json:"object_permission"`
	AccessGroupIDs      []string          `json:"access_group_ids"`
	AutoRotate          bool              `json:"auto_rotate"`
	RotationCount       int64             `json:"rotation_count"`
	RotationInterval    json.RawMessage   `json:"rotation_interval"`
	LastRotationAt      T                 `json:"last_rotation_at"`
	KeyRotationAt       T                 `json:"key_rotation_at"`
	RouterSettings      json.RawMessage   `json:"router_settings"`
}

// keyRow is a key as its row: what reads, updates and unblocking answer.
type keyRow[T any] struct {
	keyFields[T]
	OrganizationID *string         `json:"organization_id"`
	Policies       json.RawMessage `json:"policies"`
}

// keyToken is a key as blocking answers it.
type keyToken[T any] struct {
	Token string `json:"token"`
	keyFields[T]
	OrganizationID *string `json:"org_id"`
}

// keyListed is a key in a list of whole objects. The list has places for all
// that a caller is judged by; they are filled on the way of a request only.
type keyListed[T any] struct {
	keyToken[T]
	User          *listedUser
	CreatedByUser *listedUser
}

// listedUser is whom a key belongs to, in lists that expand users.
type listedUser struct {
	ID    string  `json:"user_id"`
	Email *string `json:"user_email"`
	Alias *string `json:"user_alias"`
}

// listedRest are the places of a listed key that stay empty.
const listedRest = `,"team_spend":null,"team_alias":null,"team_tpm_limit":null,"team_rpm_limit":null,"team_tpd_limit":null,` +
	`"team_max_budget":null,"team_soft_budget":null,"team_model_max_budget":null,"team_models":[],"team_blocked":false,` +
	`"soft_budget":null,"team_model_aliases":null,"team_member":null,"team_metadata":null,"team_object_permission_id":null,` +
	`"team_member_spend":null,"team_member_tpm_limit":null,"team_member_rpm_limit":null,"end_user_id":null,` +
	`"end_user_tpm_limit":null,"end_user_rpm_limit":null,"end_user_tpd_limit":null,"end_user_max_budget":null,` +
	`"end_user_model_max_budget":null,"organization_alias":null,"organization_max_budget":null,"organization_tpm_limit":null,` +
	`"organization_rpm_limit":null,"organization_metadata":null,"project_alias":null,"project_metadata":null,` +
	`"last_refreshed_at":null,"api_key":null,"user_role":null,"allowed_model_region":null,"parent_otel_span":null,` +
	`"rpm_limit_per_model":null,"tpm_limit_per_model":null,"user_tpm_limit":null,"user_rpm_limit":null,"user_email":null,` +
	`"user_spend":null,"user_max_budget":null,"user_model_max_budget":null,"request_route":null,"is_session_token":false,` +
	`"end_user_object_permission":null,"team_object_permission":null,"jwt_claims":null,"user":`

// MarshalJSON writes the key and its empty places.
func (k keyListed[T]) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(k.keyToken)
	if err != nil {
		return nil, err
	}
	user, err := json.Marshal(k.User)
	if err != nil {
		return nil, err
	}
	creator, err := json.Marshal(k.CreatedByUser)
	if err != nil {
		return nil, err
	}
	text = append(append(text[:len(text)-1], listedRest...), user...)
	text = append(append(text, `,"created_by_user":`...), creator...)
	return append(text, '}'), nil
}

// keyBudget is the budget that a key refers to.
type keyBudget[T any] struct {
	ID                  string          `json:"budget_id"`
	MaxBudget           *money.Nano     `json:"max_budget"`
	SoftBudget          *money.Nano     `json:"soft_budget"`
	MaxParallelRequests *int64          `json:"max_parallel_requests"`
	TPMLimit            *int64          `json:"tpm_limit"`
	RPMLimit            *int64          `json:"rpm_limit"`
	TPDLimit            json.RawMessage `json:"tpd_limit"`
	ModelMaxBudget      identity.Fields `json:"model_max_budget"`
	BudgetDuration      *string         `json:"budget_duration"`
	BudgetResetAt       T               `json:"budget_reset_at"`
	CreatedAt           T               `json:"created_at"`
	CreatedBy           string          `json:"created_by"`
	UpdatedAt           T               `json:"updated_at"`
	UpdatedBy           string          `json:"updated_by"`
	AllowedModels       []string        `json:"allowed_models"`
	TempBudgetIncrease  json.RawMessage `json:"temp_budget_increase"`
	TempBudgetExpiry    json.RawMessage `json:"temp_budget_expiry"`
	Budget              *struct{}       `json:"litellm_budget_table"`
}

// newKeyFields fills the common fields; at writes a time in the shape's form.
func newKeyFields[T any](k *identity.Key, budget *identity.Budget, at func(*time.Time) T) keyFields[T] {
	s := k.Settings
	return keyFields[T]{
		Name: null(k.Name), Alias: null(k.Alias), Spend: k.Spend,
		TotalSpend:         max(k.Spend, settingOf[money.Nano](s, "total_spend")), // an imported key has spent before its window
		SoftBudgetCooldown: settingOf[bool](s, "soft_budget_cooldown"),
		Expires:            at(k.Expires), Models: list(k.Models), Aliases: object(k.Aliases), Config: setting(s, "config", "{}"),
		UserID: null(k.UserID), TeamID: null(k.TeamID), AgentID: null(k.AgentID), ProjectID: null(k.ProjectID),
		Permissions: object(k.Permissions), Metadata: object(k.Metadata), Blocked: saidBlocked(k),
		MaxParallelRequests: k.MaxParallelRequests, TPMLimit: k.TPMLimit, RPMLimit: k.RPMLimit,
		TPDLimit: setting(s, "tpd_limit", "null"), MaxBudget: k.MaxBudget, BudgetDuration: null(k.BudgetDuration),
		BudgetResetAt: at(k.BudgetResetAt), BudgetID: null(k.BudgetID), BudgetLimits: setting(s, "budget_limits", "null"),
		BudgetFallbacks: setting(s, "budget_fallbacks", "{}"), Budget: newKeyBudget(budget, at),
		AllowedCacheControl: setting(s, "allowed_cache_controls", "[]"), AllowedRoutes: list(k.AllowedRoutes),
		Type: null(k.Type), ModelMaxBudget: object(k.ModelMaxBudget),
		CreatedAt: at(&k.CreatedAt), CreatedBy: null(k.CreatedBy), UpdatedAt: at(&k.UpdatedAt), UpdatedBy: null(k.UpdatedBy),
		SettingsUpdatedAt: at(settingTime(s, "settings_updated_at")), LastActive: at(k.LastActive),
		ObjectPermissionID: setting(s, "object_permission_id", "null"),
		ObjectPermission:   setting(s, "object_permission", "null"),
		AccessGroupIDs:     list(settingOf[[]string](s, "access_group_ids")),
		AutoRotate:         settingOf[bool](s, "auto_rotate"),
		RotationCount:      settingOf[int64](s, "rotation_count"),
		RotationInterval:   setting(s, "rotation_interval", "null"),
		LastRotationAt:     at(settingTime(s, "last_rotation_at")),
		KeyRotationAt:      at(settingTime(s, "key_rotation_at")),
		RouterSettings:     setting(s, "router_settings", "{}"),
	}
}

func newKeyRow[T any](k *identity.Key, budget *identity.Budget, at func(*time.Time) T) keyRow[T] {
	return keyRow[T]{
		keyFields: newKeyFields(k, budget, at), OrganizationID: null(k.OrganizationID),
		Policies: setting(k.Settings, "policies", "[]"),
	}
}

func newKeyToken[T any](k *identity.Key, budget *identity.Budget, at func(*time.Time) T) keyToken[T] {
	return keyToken[T]{Token: k.Token, keyFields: newKeyFields(k, budget, at), OrganizationID: null(k.OrganizationID)}
}

func newKeyBudget[T any](b *identity.Budget, at func(*time.Time) T) *keyBudget[T] {
	if b == nil {
		return nil
	}
	return &keyBudget[T]{
		ID: b.ID, MaxBudget: b.MaxBudget, SoftBudget: b.SoftBudget, MaxParallelRequests: b.MaxParallelRequests,
		TPMLimit: b.TPMLimit, RPMLimit: b.RPMLimit, TPDLimit: setting(b.Settings, "tpd_limit", "null"),
		ModelMaxBudget: object(b.ModelMaxBudget), BudgetDuration: null(b.BudgetDuration), BudgetResetAt: at(b.BudgetResetAt),
		CreatedAt: at(&b.CreatedAt), CreatedBy: b.CreatedBy, UpdatedAt: at(&b.UpdatedAt), UpdatedBy: b.UpdatedBy,
		AllowedModels:      list(b.AllowedModels),
		TempBudgetIncrease: setting(b.Settings, "temp_budget_increase", "null"),
		TempBudgetExpiry:   setting(b.Settings, "temp_budget_expiry", "null"),
	}
}

// saidBlocked is nil for a key that nobody ever blocked or unblocked.
func saidBlocked(k *identity.Key) *bool {
	if _, said := k.Settings["blocked"]; !said && !k.Blocked {
		return nil
	}
	return &k.Blocked
}
