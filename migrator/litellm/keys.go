package litellm

import (
	"strings"

	"sluice/proxy/identity"
)

// keyRow is a row of LiteLLM_VerificationToken.
type keyRow struct {
	Token          text   `json:"token"`
	Name           text   `json:"key_name"`
	Alias          text   `json:"key_alias"`
	Type           text   `json:"key_type"`
	UserID         text   `json:"user_id"`
	TeamID         text   `json:"team_id"`
	OrganizationID text   `json:"organization_id"`
	ProjectID      text   `json:"project_id"`
	AgentID        text   `json:"agent_id"`
	BudgetID       text   `json:"budget_id"`
	Models         list   `json:"models"`
	Aliases        object `json:"aliases"`
	AllowedRoutes  list   `json:"allowed_routes"`
	Permissions    object `json:"permissions"`
	Metadata       object `json:"metadata"`
	Blocked        *bool  `json:"blocked"`
	Expires        moment `json:"expires"`
	LastActive     moment `json:"last_active"`
	Spend          amount `json:"spend"`
	TotalSpend     amount `json:"total_spend"`
	ModelMaxBudget object `json:"model_max_budget"`
	caps

	BudgetLimits         raw    `json:"budget_limits"`
	BudgetFallbacks      raw    `json:"budget_fallbacks"`
	AllowedCacheControls list   `json:"allowed_cache_controls"`
	Config               raw    `json:"config"`
	Policies             list   `json:"policies"`
	TPDLimit             count  `json:"tpd_limit"`
	RouterSettings       raw    `json:"router_settings"`
	AccessGroupIDs       list   `json:"access_group_ids"`
	AutoRotate           *bool  `json:"auto_rotate"`
	RotationInterval     text   `json:"rotation_interval"`
	RotationCount        count  `json:"rotation_count"`
	LastRotationAt       moment `json:"last_rotation_at"`
	KeyRotationAt        moment `json:"key_rotation_at"`
	SettingsUpdatedAt    moment `json:"settings_updated_at"`
	SoftBudgetCooldown   bool   `json:"soft_budget_cooldown"`
	ModelSpend           raw    `json:"model_spend"`
	missing
	permission
	trail
}

// isDigest reports whether a token is the lower-case hex SHA-256 of a key.
func isDigest(s text) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// jwtMark begins the tokens of those who came with a JWT and have no key.
const jwtMark = "hashed-jwt-"

// takenToken reports whether a token is one that can be kept: a digest. A row
// whose is not holds a key in plain text, or something else that opens nothing.
func takenToken(t text) bool {
	return isDigest(t) || strings.HasPrefix(string(t), jwtMark) && isDigest(t[len(jwtMark):])
}

// shownToken is a token as reports may have it: they go into logs.
func shownToken(t text) string {
	if takenToken(t) {
		return string(t)
	}
	return "a token that is no digest"
}

func convertKey(r *row, k *keyRow) error {
	switch {
	case k.TeamID == dashboardTeam:
		r.skip("a session of the dashboard")
		return nil
	case !takenToken(k.Token):
		r.skip("the token is no SHA-256 digest, so that no key leads to it")
		return nil
	}
	out := &identity.Key{
		Token: string(k.Token), Name: r.name("key_name", k.Name), Alias: r.name("key_alias", k.Alias), Type: r.name("key_type", k.Type),
		UserID: r.reference("user_id", k.UserID), TeamID: r.reference("team_id", k.TeamID),
		OrganizationID: r.reference("organization_id", k.OrganizationID), ProjectID: r.reference("project_id", k.ProjectID),
		AgentID: r.reference("agent_id", k.AgentID), BudgetID: r.reference("budget_id", k.BudgetID),
		Models: r.names("models", k.Models), Aliases: r.texts("aliases", k.Aliases), AllowedRoutes: r.names("allowed_routes", k.AllowedRoutes),
		Permissions: r.object("permissions", k.Permissions), Metadata: r.object("metadata", k.Metadata),
		Blocked: k.Blocked != nil && *k.Blocked, Expires: k.Expires.pointer(), LastActive: k.LastActive.pointer(),
		Spend: r.spent("spend", k.Spend), ModelMaxBudget: r.object("model_max_budget", k.ModelMaxBudget), Caps: r.caps(&k.caps),
		Stamp: r.stamp(&k.trail),
	}
	// A list that could not be taken would be an empty one, which allows everything.
	if out.Models == nil && len(k.Models) > 0 || out.AllowedRoutes == nil && len(k.AllowedRoutes) > 0 || k.Permissions.odd ||
		lost(string(k.UserID), out.UserID) || lost(string(k.TeamID), out.TeamID) || lost(string(k.OrganizationID), out.OrganizationID) ||
		lost(string(k.ProjectID), out.ProjectID) || lost(string(k.BudgetID), out.BudgetID) {
		out.Blocked = true
		r.report("what limits the key could not be taken, so that it is blocked")
	}
	r.keySettings(&out.Settings, k)
	out.Settings = r.fits(out.Settings)
	r.effectless(out.Settings, out.Metadata)
	if err := r.owners(&k.missing, out); err != nil {
		return err
	}
	return r.c.Sink.Object(out)
}

// lost reports whether a reference was there and was not taken.
func lost(was, is string) bool { return was != "" && is == "" }

// keySettings are the fields that have no column here.
func (r *row) keySettings(s *identity.Fields, k *keyRow) {
	if k.Blocked != nil {
		put(s, "blocked", quoted(*k.Blocked)) // before somebody says it, the API has null
	}
	r.keep(s, "budget_limits", k.BudgetLimits)
	r.keep(s, "budget_fallbacks", k.BudgetFallbacks)
	put(s, "allowed_cache_controls", k.AllowedCacheControls.json())
	r.keep(s, "config", k.Config)
	put(s, "policies", k.Policies.json())
	put(s, "tpd_limit", k.TPDLimit.json())
	r.keep(s, "router_settings", k.RouterSettings)
	put(s, "access_group_ids", k.AccessGroupIDs.json())
	if k.AutoRotate != nil && *k.AutoRotate {
		put(s, "auto_rotate", quoted(true))
	}
	if k.RotationInterval != "" {
		put(s, "rotation_interval", quoted(string(k.RotationInterval)))
	}
	if k.RotationCount.value != 0 {
		put(s, "rotation_count", k.RotationCount.json())
	}
	put(s, "last_rotation_at", k.LastRotationAt.json())
	put(s, "key_rotation_at", k.KeyRotationAt.json())
	put(s, "settings_updated_at", k.SettingsUpdatedAt.json())
	if k.SoftBudgetCooldown {
		put(s, "soft_budget_cooldown", quoted(true))
	}
	r.keep(s, "model_spend", k.ModelSpend)
	if total := r.spent("total_spend", k.TotalSpend); total > 0 && total != k.Spend.value {
		put(s, "total_spend", quoted(total))
	}
	r.permission(s, &k.permission)
}

// retiredRow is a row of LiteLLM_DeprecatedVerificationToken.
type retiredRow struct {
	ID       text   `json:"id"`
	Token    text   `json:"token"`
	Active   text   `json:"active_token_id"`
	RevokeAt moment `json:"revoke_at"`
	trail
}

// convertRetired takes the old digest of a regenerated key while its time of
// grace runs.
func convertRetired(r *row, k *retiredRow) error {
	switch {
	case !r.after(k.RevokeAt):
		r.skip("its time of grace is over")
		return nil
	case !isDigest(k.Token) || !isDigest(k.Active):
		r.skip("the token is no SHA-256 digest, so that no key leads to it")
		return nil
	}
	return r.c.Sink.Object(&identity.RetiredKey{Token: string(k.Token), Active: string(k.Active), RevokeAt: k.RevokeAt.at, Stamp: r.stamp(&k.trail)})
}

func keyTables() []Table {
	return []Table{
		{
			Name: tableKeys, Key: []string{"token"}, Needs: []string{"token", "models", "spend"}, From: permitted(tableKeys, ownerJoins()...),
			Convert: converting(tableKeys, func(k *keyRow) string { return shownToken(k.Token) }, convertKey),
		},
		{
			Name: tableRetired, Key: []string{"id"}, Needs: []string{"id", "token", "active_token_id", "revoke_at"}, From: whole(tableRetired),
			Convert: converting(tableRetired, func(k *retiredRow) string { return string(k.ID) }, convertRetired),
		},
	}
}
