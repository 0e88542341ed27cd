package admin

import (
	"encoding/json"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// keyMade is the answer to whoever makes or regenerates a key: the fields of
// the request as they are now, and the key itself, this once.
type keyMade struct {
	Alias                *string           `json:"key_alias"`
	Duration             *string           `json:"duration"` // always null: expires says it
	Models               []string          `json:"models"`
	Spend                money.Nano        `json:"spend"`
	MaxBudget            *money.Nano       `json:"max_budget"`
	UserID               *string           `json:"user_id"`
	TeamID               *string           `json:"team_id"`
	AgentID              *string           `json:"agent_id"`
	MaxParallelRequests  *int64            `json:"max_parallel_requests"`
	Metadata             identity.Fields   `json:"metadata"`
	TPMLimit             *int64            `json:"tpm_limit"`
	RPMLimit             *int64            `json:"rpm_limit"`
	BudgetDuration       *string           `json:"budget_duration"`
	BudgetLimits         json.RawMessage   `json:"budget_limits"`
	AllowedCacheControls json.RawMessage   `json:"allowed_cache_controls"`
	Config               json.RawMessage   `json:"config"`
	Permissions          identity.Fields   `json:"permissions"`
	ModelMaxBudget       identity.Fields   `json:"model_max_budget"`
	BudgetFallbacks      json.RawMessage   `json:"budget_fallbacks"`
	Policies             json.RawMessage   `json:"policies"`
	Blocked              *bool             `json:"blocked"`
	Aliases              map[string]string `json:"aliases"`
	ObjectPermission     json.RawMessage   `json:"object_permission"`
	Key                  string            `json:"key"`
	TPDLimit             json.RawMessage   `json:"tpd_limit"`
	BudgetID             *string           `json:"budget_id"`
	AllowedRoutes        []string          `json:"allowed_routes"`
	RouterSettings       json.RawMessage   `json:"router_settings"`
	AccessGroupIDs       []string          `json:"access_group_ids"`
	Name                 *string           `json:"key_name"`
	Type                 *string           `json:"key_type"`
	Expires              *isoZ             `json:"expires"`
	TokenID              *string           `json:"token_id"`
	OrganizationID       *string           `json:"organization_id"`
	ProjectID            *string           `json:"project_id"`
	Budget               *keyBudget[*isoZ] `json:"litellm_budget_table"`
	Token                *string           `json:"token"`
	CreatedBy            *string           `json:"created_by"`
	UpdatedBy            *string           `json:"updated_by"`
	CreatedAt            *isoZ             `json:"created_at"`
	UpdatedAt            *isoZ             `json:"updated_at"`
	keyMetadataFields
}

// keyMetadataFields are the fields that are kept in the metadata.
type keyMetadataFields struct {
	ModelRPMLimit           json.RawMessage `json:"model_rpm_limit"`
	ModelTPMLimit           json.RawMessage `json:"model_tpm_limit"`
	MCPRPMLimit             json.RawMessage `json:"mcp_rpm_limit"`
	TagRPMLimit             json.RawMessage `json:"tag_rpm_limit"`
	RPMLimitType            json.RawMessage `json:"rpm_limit_type"`
	TPMLimitType            json.RawMessage `json:"tpm_limit_type"`
	Guardrails              json.RawMessage `json:"guardrails"`
	Prompts                 json.RawMessage `json:"prompts"`
	Tags                    json.RawMessage `json:"tags"`
	EnforcedParams          json.RawMessage `json:"enforced_params"`
	DisableGlobalGuardrails json.RawMessage `json:"disable_global_guardrails"`
	EnablePromptCaching     json.RawMessage `json:"enable_prompt_caching"`
	ThrottleOnBudget        json.RawMessage `json:"throttle_on_budget_exceeded"`
	EstimatedTokens         json.RawMessage `json:"default_estimated_output_tokens"`
	EstimatedTokensPerModel json.RawMessage `json:"default_estimated_output_tokens_per_model"`
	EndUserBudgetID         json.RawMessage `json:"end_user_budget_id"`
	AllowedPassthrough      json.RawMessage `json:"allowed_passthrough_routes"`
	DeniedPassthrough       json.RawMessage `json:"denied_passthrough_routes"`
	AllowedVectorStores     json.RawMessage `json:"allowed_vector_store_indexes"`
}

// routerSettings are the settings of the router that a key may carry, in the
// answer to its making.
var routerSettings = []string{
	"routing_strategy_args", "routing_strategy", "routing_groups", "retry_policy", "model_group_retry_policy",
	"model_group_affinity_config", "allowed_fails", "cooldown_time", "num_retries", "timeout", "max_retries", "retry_after",
	"fallbacks", "context_window_fallbacks", "model_group_alias", "enable_tag_filtering", "weights", "tag_routing_prefix",
	"optional_pre_call_checks",
}

// newKeyMade fills the answer from the key as it was written.
func newKeyMade(k *identity.Key, budget *identity.Budget, plain string) keyMade {
	s := k.Settings
	return keyMade{
		Alias: null(k.Alias), Models: list(k.Models), Spend: k.Spend, MaxBudget: k.MaxBudget, UserID: null(k.UserID),
		TeamID: null(k.TeamID), AgentID: null(k.AgentID), MaxParallelRequests: k.MaxParallelRequests, Metadata: fields(k.Metadata),
		TPMLimit: k.TPMLimit, RPMLimit: k.RPMLimit, BudgetDuration: null(k.BudgetDuration),
		BudgetLimits: setting(s, "budget_limits", "null"), AllowedCacheControls: setting(s, "allowed_cache_controls", "[]"),
		Config: setting(s, "config", "{}"), Permissions: fields(k.Permissions), ModelMaxBudget: fields(k.ModelMaxBudget),
		BudgetFallbacks: setting(s, "budget_fallbacks", "{}"), Policies: setting(s, "policies", "null"), Blocked: saidBlocked(k),
		Aliases: object(k.Aliases), ObjectPermission: setting(s, "object_permission", "null"), Key: plain,
		TPDLimit: setting(s, "tpd_limit", "null"), BudgetID: null(k.BudgetID), AllowedRoutes: list(k.AllowedRoutes),
		RouterSettings: filledRouter(settingOf[identity.Fields](s, "router_settings")),
		AccessGroupIDs: list(settingOf[[]string](s, "access_group_ids")), Name: null(k.Name), Type: null(k.Type),
		Expires: zulu(k.Expires), TokenID: null(k.Token), OrganizationID: null(k.OrganizationID), ProjectID: null(k.ProjectID),
		Budget: newKeyBudget(budget, zulu), Token: null(k.Token), CreatedBy: null(k.CreatedBy), UpdatedBy: null(k.UpdatedBy),
		CreatedAt: zuluAt(k.CreatedAt), UpdatedAt: zuluAt(k.UpdatedAt), keyMetadataFields: newKeyMetadata(k.Metadata),
	}
}

func newKeyMetadata(m identity.Fields) keyMetadataFields {
	of := func(name string) json.RawMessage { return setting(m, name, "null") }
	return keyMetadataFields{
		ModelRPMLimit: of("model_rpm_limit"), ModelTPMLimit: of("model_tpm_limit"), MCPRPMLimit: of("mcp_rpm_limit"),
		TagRPMLimit: of("tag_rpm_limit"), RPMLimitType: of("rpm_limit_type"), TPMLimitType: of("tpm_limit_type"),
		Guardrails: of("guardrails"), Prompts: of("prompts"), Tags: of("tags"), EnforcedParams: of("enforced_params"),
		DisableGlobalGuardrails: of("disable_global_guardrails"), EnablePromptCaching: of("enable_prompt_caching"),
		ThrottleOnBudget: of("throttle_on_budget_exceeded"), EstimatedTokens: of("default_estimated_output_tokens"),
		EstimatedTokensPerModel: of("default_estimated_output_tokens_per_model"), EndUserBudgetID: of("end_user_budget_id"),
		AllowedPassthrough: of("allowed_passthrough_routes"), DeniedPassthrough: of("denied_passthrough_routes"),
		AllowedVectorStores: of("allowed_vector_store_indexes"),
	}
}

// filledRouter names every setting of the router, null where it is not given.
func filledRouter(given identity.Fields) json.RawMessage {
	doc := identity.Fields{}
	for _, name := range routerSettings {
		doc[name] = json.RawMessage("null")
	}
	doc["model_group_alias"] = json.RawMessage("{}")
	for name, v := range given {
		doc[name] = v
	}
	return quoted(doc)
}
