package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/window"
)

// keyColumns are the fields of the API that are columns of a key; what is null
// is cleared.
var keyColumns = map[string]func(k *identity.Key, b Body, name string){
	"key_alias":             func(k *identity.Key, b Body, name string) { k.Alias = b.Text(name) },
	"models":                func(k *identity.Key, b Body, name string) { k.Models = b.Texts(name) },
	"user_id":               func(k *identity.Key, b Body, name string) { k.UserID = b.Text(name) },
	"team_id":               func(k *identity.Key, b Body, name string) { k.TeamID = b.Text(name) },
	"organization_id":       func(k *identity.Key, b Body, name string) { k.OrganizationID = b.Text(name) },
	"project_id":            func(k *identity.Key, b Body, name string) { k.ProjectID = b.Text(name) },
	"agent_id":              func(k *identity.Key, b Body, name string) { k.AgentID = b.Text(name) },
	"budget_id":             func(k *identity.Key, b Body, name string) { k.BudgetID = b.Text(name) },
	"aliases":               func(k *identity.Key, b Body, name string) { k.Aliases = b.Map(name) },
	"allowed_routes":        func(k *identity.Key, b Body, name string) { k.AllowedRoutes = b.Texts(name) },
	"permissions":           func(k *identity.Key, b Body, name string) { k.Permissions = b.Fields(name) },
	"model_max_budget":      func(k *identity.Key, b Body, name string) { k.ModelMaxBudget = b.Fields(name) },
	"max_budget":            func(k *identity.Key, b Body, name string) { k.MaxBudget = b.Money(name) },
	"max_parallel_requests": func(k *identity.Key, b Body, name string) { k.MaxParallelRequests = b.Int(name) },
	"tpm_limit":             func(k *identity.Key, b Body, name string) { k.TPMLimit = b.Int(name) },
	"rpm_limit":             func(k *identity.Key, b Body, name string) { k.RPMLimit = b.Int(name) },
	"spend": func(k *identity.Key, b Body, name string) {
		if amount := b.Money(name); amount != nil {
			k.Spend = *amount
		}
	},
	"blocked": func(k *identity.Key, b Body, name string) {
		if b.Given(name) {
			setBlocked(k, b.Bool(name))
		}
	},
}

// keySettings are the fields that a key keeps as they were given.
var keySettings = []string{
	"budget_limits", "budget_fallbacks", "allowed_cache_controls", "config", "policies", "tpd_limit", "router_settings",
	"access_group_ids", "auto_rotate", "rotation_interval",
}

// keyMetadata are the fields that live in a key's metadata, where LiteLLM's
// clients look for them.
var keyMetadata = []string{
	"model_rpm_limit", "model_tpm_limit", "mcp_rpm_limit", "tag_rpm_limit", "rpm_limit_type", "tpm_limit_type", "guardrails",
	"prompts", "tags", "enforced_params", "disable_global_guardrails", "enable_prompt_caching", "throttle_on_budget_exceeded",
	"default_estimated_output_tokens", "default_estimated_output_tokens_per_model", "end_user_budget_id",
	"allowed_passthrough_routes", "denied_passthrough_routes", "allowed_vector_store_indexes", "temp_budget_increase",
	"temp_budget_expiry",
}

// keyTypeRoutes are the routes that a type of key stands for.
var keyTypeRoutes = map[string][]string{
	"llm_api": {"llm_api_routes"}, "management": {"management_routes"}, "read_only": {"info_routes"}, "default": nil,
}

// setBlocked blocks or unblocks a key. That it was said is kept: before that,
// blocked is null in the API.
func setBlocked(k *identity.Key, blocked bool) {
	k.Blocked = blocked
	put(&k.Settings, "blocked", quoted(blocked))
}

// copyKey is a key that may be changed without changing the one it was made from.
func copyKey(k *identity.Key) *identity.Key {
	c := *k
	c.Models, c.AllowedRoutes = slices.Clone(k.Models), slices.Clone(k.AllowedRoutes)
	c.Aliases, c.Permissions, c.Metadata = maps.Clone(k.Aliases), maps.Clone(k.Permissions), maps.Clone(k.Metadata)
	c.ModelMaxBudget, c.Settings = maps.Clone(k.ModelMaxBudget), maps.Clone(k.Settings)
	return &c
}

// lay lays the fields of a body over a key. With merge, metadata is merged, as
// it is for all but proxy admins; else it is replaced.
func (a *API) lay(c *Call, k *identity.Key, b Body, merge bool) *llm.Error {
	if e := checkKeyBody(b); e != nil {
		return e
	}
	for name, set := range keyColumns {
		if b.Has(name) {
			set(k, b, name)
		}
	}
	for _, name := range keySettings {
		if b.Has(name) {
			put(&k.Settings, name, b[name])
		}
	}
	if e := checkMetadata(b.Fields("metadata"), k.Metadata); e != nil {
		return e
	}
	layMetadata(k, b, merge)
	setPermission(&k.Settings, b)
	if b.Given("key_type") {
		k.Type = b.Text("key_type")
		if !b.Given("allowed_routes") || len(b.Texts("allowed_routes")) == 0 {
			k.AllowedRoutes = keyTypeRoutes[k.Type]
		}
	}
	if e := a.layWindow(c, k, b); e != nil {
		return e
	}
	return a.layRotation(c, k)
}

func layMetadata(k *identity.Key, b Body, merge bool) {
	if b.Has("metadata") {
		given := b.Fields("metadata")
		if !merge {
			k.Metadata = nil
		}
		for name, v := range given {
			put(&k.Metadata, name, v)
		}
	}
	for _, name := range keyMetadata {
		if b.Has(name) {
			put(&k.Metadata, name, b[name])
		}
	}
}

// layWindow sets when the key ends and when its budget counts anew.
func (a *API) layWindow(c *Call, k *identity.Key, b Body) *llm.Error {
	if b.Has("duration") {
		end, e := keyEnd(b.Text("duration"), c.Now)
		if e != nil {
			return e
		}
		k.Expires = end
	}
	// The same duration again does not move the end of the running window.
	if duration := b.Text("budget_duration"); b.Has("budget_duration") && duration != k.BudgetDuration {
		k.BudgetDuration, k.BudgetResetAt = duration, nil
	}
	if k.BudgetDuration != "" && k.BudgetResetAt == nil {
		at, err := window.Next(k.BudgetDuration, c.Now, a.c.Zone)
		if err != nil {
			return badRequest("budget_duration "+err.Error()+".", "budget_duration")
		}
		k.BudgetResetAt = &at
	}
	return nil
}

// keyEnd is when a key made now with a duration ends; nil is never.
func keyEnd(duration string, now time.Time) (*time.Time, *llm.Error) {
	if duration == "" || duration == "-1" {
		return nil, nil
	}
	s, err := window.Parse(duration)
	if err != nil {
		return nil, badRequest(fmt.Sprintf("duration %s, or -1 for a key that never ends. Received: %q", err, clipText(duration)), "duration")
	}
	end := s.After(now).Truncate(time.Microsecond)
	return &end, nil
}

func clipText(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// layRotation says when a key is due for a new secret.
func (a *API) layRotation(c *Call, k *identity.Key) *llm.Error {
	if !settingOf[bool](k.Settings, "auto_rotate") {
		delete(k.Settings, "key_rotation_at")
		return nil
	}
	s, err := window.Parse(settingOf[string](k.Settings, "rotation_interval"))
	if err != nil {
		return badRequest("auto_rotate needs a rotation_interval, which "+err.Error()+".", "rotation_interval")
	}
	if k.Settings["key_rotation_at"] == nil {
		put(&k.Settings, "key_rotation_at", quoted(s.After(c.Now).UTC()))
	}
	return nil
}

// checkKeyBody checks what the types of the fields do not say.
func checkKeyBody(b Body) *llm.Error {
	for _, name := range []string{"key_alias", "user_id", "team_id", "organization_id", "project_id", "agent_id", "budget_id"} {
		if s := b.Text(name); len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return badRequest(name+" must be a text of at most 1024 bytes without control characters.", name)
		}
	}
	if e := checkModelBudgets(b.Fields("model_max_budget")); e != nil {
		return e
	}
	for _, name := range []string{"model_rpm_limit", "model_tpm_limit", "mcp_rpm_limit", "tag_rpm_limit"} {
		for model, raw := range b.Fields(name) {
			if model == "" {
				return badRequest(name+" has a limit that names no model.", name)
			}
			if n := settingOf[*int64](identity.Fields{"n": raw}, "n"); n == nil || *n < 0 {
				return badRequest(fmt.Sprintf("%s of %q must be a whole number of zero or more.", name, clipText(model)), name)
			}
		}
	}
	if b.Given("temp_budget_increase") != b.Given("temp_budget_expiry") {
		return badRequest(raisedTogether, "temp_budget_expiry")
	}
	return checkBudgetLimits(b["budget_limits"])
}

// checkBudgetLimits checks budgets over several windows at once.
func checkBudgetLimits(raw json.RawMessage) *llm.Error {
	var limits []struct {
		MaxBudget *money.Nano `json:"max_budget"`
		Duration  string      `json:"budget_duration"`
	}
	if len(raw) == 0 {
		return nil
	}
	const shape = "Each of budget_limits must have a max_budget of zero dollars or more and a budget_duration such as 1d."
	if json.Unmarshal(raw, &limits) != nil {
		return badRequest(shape, "budget_limits")
	}
	for i, l := range limits {
		for _, other := range limits[:i] {
			if other.Duration == l.Duration {
				return badRequest("Two of budget_limits have the budget_duration "+clipText(l.Duration)+": one budget of a window holds.", "budget_limits")
			}
		}
		if l.MaxBudget == nil || *l.MaxBudget < 0 {
			return badRequest(shape, "budget_limits")
		}
		if _, err := window.Parse(l.Duration); err != nil {
			return badRequest("The budget_duration in budget_limits "+err.Error()+".", "budget_limits")
		}
	}
	return nil
}
