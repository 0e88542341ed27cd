package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// adminKeyFields are the fields of a key that proxy admins alone may change.
var adminKeyFields = []string{
	"spend", "user_id", "allowed_routes", "permissions", "key_type", "config", "router_settings", "object_permission",
}

// adminMetadata are the fields of the metadata that decide over more than the
// key itself, and those that only proxy admins are to give.
var adminMetadata = []string{
	"logging", "model_config", "priority", "guardrails", "disable_global_guardrails", "opted_out_global_guardrails",
	"allow_client_tags", "tags", "team_member_budget_id", "service_account_id", "allowed_passthrough_routes",
	"denied_passthrough_routes", "allowed_vector_store_indexes", "temp_budget_increase", "temp_budget_expiry",
}

// budgetKeyFields are what a team's admin may change of another's key only
// where the configuration says so.
var budgetKeyFields = []string{
	"max_budget", "budget_id", "budget_duration", "budget_limits", "budget_fallbacks", "model_max_budget", "soft_budget",
}

// memberKeyBudgets is what team_admin_editable_team_fields calls them.
const memberKeyBudgets = "member_key_budgets"

// keyTargets says whom keys belong to, by token.
func (a *API) keyTargets(c *Call, r store.Reader, keys ...*identity.Key) (map[string]access.Target, *llm.Error) {
	var teams []string
	for _, k := range keys {
		if k.TeamID != "" && !slices.Contains(teams, k.TeamID) {
			teams = append(teams, k.TeamID)
		}
	}
	organizations := map[string]string{}
	if len(teams) > 0 {
		found, err := store.Find[identity.Team](c.Ctx, r, store.Query{Where: []store.Cond{store.In("team_id", teams)}})
		if err != nil {
			return nil, a.failed(err)
		}
		for _, t := range found {
			organizations[t.ID] = t.OrganizationID
		}
	}
	out := make(map[string]access.Target, len(keys))
	for _, k := range keys {
		t := access.Target{
			UserID: k.UserID, TeamID: k.TeamID, OrganizationID: k.OrganizationID,
			Self: k.Token != "" && k.Token == c.callingKey(),
		}
		if of := organizations[k.TeamID]; of != "" {
			t.Organizations = []string{of}
		}
		out[k.Token] = t
	}
	return out, nil
}

// callingKey is the digest that the calling key has now: whoever calls with an
// old secret in its time of grace calls with the key that replaced it.
func (c *Call) callingKey() string {
	if c.Caller.Key != nil {
		return c.Caller.Key.Token
	}
	return string(c.Caller.KeyHash[:])
}

// keyTarget says whom one key belongs to.
func (a *API) keyTarget(c *Call, r store.Reader, k *identity.Key) (access.Target, *llm.Error) {
	all, e := a.keyTargets(c, r, k)
	return all[k.Token], e
}

// keyChanges names the fields of the API in which two keys differ, those of the
// metadata as metadata.name, sorted.
func keyChanges(was, is *identity.Key) []string {
	out := differences(fieldsOf(newKeyRow(was, nil, zulu)), fieldsOf(newKeyRow(is, nil, zulu)), "")
	out = slices.DeleteFunc(out, func(name string) bool {
		switch name {
		case "metadata", "total_spend", "budget_reset_at", "object_permission_id", "key_rotation_at":
			return true // told by another field
		}
		return false
	})
	out = append(out, differences(was.Metadata, is.Metadata, "metadata.")...)
	slices.Sort(out)
	return out
}

func fieldsOf(row any) identity.Fields {
	var f identity.Fields
	_ = json.Unmarshal(quoted(row), &f) // it was marshalled just now
	return f
}

func differences(was, is identity.Fields, prefix string) []string {
	var out []string
	for name, v := range is {
		if !sameJSON(was[name], v) {
			out = append(out, prefix+name)
		}
	}
	for name := range was {
		if _, ok := is[name]; !ok {
			out = append(out, prefix+name)
		}
	}
	return out
}

// sameJSON compares two values whatever their spaces and the order of names.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return bytes.Equal(quoted(x), quoted(y))
}

// adminField is the first of the changes that only a proxy admin may make; ""
// where there is none.
func adminField(changes []string) string {
	for _, name := range changes {
		inner, ok := strings.CutPrefix(name, "metadata.")
		switch {
		case !ok && slices.Contains(adminKeyFields, name):
			return name
		case ok && (slices.Contains(adminMetadata, inner) || strings.HasPrefix(inner, "user_api_key_")):
			return name
		}
	}
	return ""
}

// mayAdmin refuses a field that only proxy admins may write.
func (c *Call) mayAdmin(field string, t access.Target) *llm.Error {
	if field == "" {
		return nil
	}
	e := c.May(access.KeySetRoutes, t)
	if e == nil || e.Status != 403 {
		return e
	}
	return forbidden(fmt.Sprintf("Only a proxy admin may set %s of a key. Leave it out, or ask an admin.", field), strings.TrimPrefix(field, "metadata."))
}

// mayMake says whether the caller may make a key. asked is the key as the body
// alone describes it, k the one that is to be made.
func (a *API) mayMake(c *Call, tx *store.Tx, asked, k *identity.Key, o *keyOwners) *llm.Error {
	who, e := c.Standing()
	if e != nil {
		return e
	}
	t := o.home(k)
	other := k.UserID != "" && k.UserID != who.UserID
	if k.TeamID != "" || who.ServiceAccount() {
		if e := c.May(access.KeyGenerateTeam, t); e != nil {
			return e
		}
	}
	if other {
		if e := c.May(access.KeyGenerateOther, t); e != nil {
			return e
		}
	}
	if k.TeamID == "" && !other {
		if e := c.May(access.KeyGenerateOwn, t); e != nil {
			return e
		}
	}
	admin, e := c.Admin()
	if e != nil || admin {
		return e
	}
	if other && k.TeamID != "" && o.member == nil {
		return noMember(k)
	}
	if a.c.NoPersonalKeys && k.TeamID == "" {
		return badRequest("Keys without a team are switched off here (default_team_disabled). Send the team_id of one of your teams.", "team_id")
	}
	changes := keyChanges(&identity.Key{UserID: asked.UserID}, asked)
	if asked.Type == "llm_api" || asked.Type == "read_only" || asked.Type == "default" {
		changes = slices.DeleteFunc(changes, func(name string) bool {
			return name == "key_type" || name == "allowed_routes" && slices.Equal(asked.AllowedRoutes, keyTypeRoutes[asked.Type])
		})
	}
	if e := c.mayAdmin(adminField(changes), t); e != nil {
		return e
	}
	if e := mayRoutes(who, k); e != nil {
		return e
	}
	return a.mayGrant(c, tx, asked, k, o, changes, t)
}

// noMember refuses a key in a team for a user who has no place in it.
func noMember(k *identity.Key) *llm.Error {
	return badRequest(fmt.Sprintf("User %q is not a member of team %q. Add the user to the team first.", k.UserID, k.TeamID), "user_id")
}

// mayGrant compares what a key is given with what its owners have themselves,
// and with the end of the calling key. asked is the key as the caller wants it,
// k as it is to be.
func (a *API) mayGrant(c *Call, tx *store.Tx, asked, k *identity.Key, o *keyOwners, changes []string, t access.Target) *llm.Error {
	who, e := c.Standing()
	if e != nil {
		return e
	}
	if slices.Contains(changes, "budget_id") && asked.BudgetID != "" && !o.ownBudget(asked.BudgetID) {
		if e := c.mayAdmin("budget_id", t); e != nil {
			return e
		}
	}
	if k.OrganizationID != "" && slices.Contains(changes, "organization_id") && who.Organizations[k.OrganizationID] == "" &&
		(o.team == nil || o.team.OrganizationID != k.OrganizationID) {
		return forbidden(fmt.Sprintf("You are not a member of organization %q, so you may not give it keys.", k.OrganizationID), "organization_id")
	}
	if end, e := c.ownEnd(); e != nil || slices.Contains(changes, "expires") && outlives(asked, end) {
		return either(e, tooLong(end))
	}
	bounds, e := a.keyBounds(c, tx, o)
	if e != nil {
		return e
	}
	granting, e := a.granting(c, tx, asked, bounds)
	if e != nil {
		return e
	}
	for _, b := range bounds {
		if field := granting.Excess(explicit(asked, b.grant, changes), b.grant); field != "" {
			if e := c.May(access.KeyExceed, t); e != nil && e.Status != 403 {
				return e
			}
			return forbidden(fmt.Sprintf("%s of the key goes beyond what %s has. Ask for less, or ask a proxy admin.", field, b.of), field)
		}
	}
	return nil
}

// explicit is what a key is given in so many words by these changes. In all else
// it is like its owner, by whom it is bound anyway.
func explicit(k *identity.Key, own access.Grant, changes []string) access.Grant {
	g := access.Grant{
		Models: k.Models, AccessGroups: settingOf[[]string](k.Settings, "access_group_ids"), MaxBudget: k.MaxBudget,
		TPM: k.TPMLimit, RPM: k.RPMLimit, Parallel: k.MaxParallelRequests,
	}
	moved := slices.ContainsFunc(changes, func(name string) bool {
		return name == "team_id" || name == "organization_id" || name == "project_id"
	})
	given := func(name string) bool { return moved || slices.Contains(changes, name) }
	if len(g.Models) == 0 && len(g.AccessGroups) == 0 || !given("models") && !given("access_group_ids") {
		g.Models, g.AccessGroups = own.Models, own.AccessGroups
	}
	if g.MaxBudget == nil || !given("max_budget") {
		g.MaxBudget = own.MaxBudget
	}
	if g.TPM == nil || !given("tpm_limit") {
		g.TPM = own.TPM
	}
	if g.RPM == nil || !given("rpm_limit") {
		g.RPM = own.RPM
	}
	if g.Parallel == nil || !given("max_parallel_requests") {
		g.Parallel = own.Parallel
	}
	return g
}

// granting knows the models of the access groups that are compared.
func (a *API) granting(c *Call, tx *store.Tx, k *identity.Key, bounds []keyBound) (access.Granting, *llm.Error) {
	ids := map[string]bool{}
	for _, id := range settingOf[[]string](k.Settings, "access_group_ids") {
		ids[id] = true
	}
	for _, b := range bounds {
		for _, id := range b.grant.AccessGroups {
			ids[id] = true
		}
	}
	models := map[string][]string{}
	if len(ids) > 0 {
		groups, err := store.Find[identity.AccessGroup](c.Ctx, tx, store.Query{
			Where: []store.Cond{store.In("access_group_id", slices.Sorted(maps.Keys(ids)))},
		})
		if err != nil {
			return access.Granting{}, a.failed(err)
		}
		for _, g := range groups {
			models[g.ID] = g.Models
		}
	}
	return access.Granting{Members: func(group string) []string { return models[group] }}, nil
}

// mayChange says whether the caller may change a key: was is how it is, is how
// it is to be.
func (a *API) mayChange(c *Call, tx *store.Tx, was, is *identity.Key, o *keyOwners) *llm.Error {
	admin, e := c.Admin()
	if e != nil || admin {
		return e
	}
	who, e := c.Standing()
	if e != nil {
		return e
	}
	t, e := a.keyTarget(c, tx, was)
	if e != nil {
		return e
	}
	changes := keyChanges(was, is)
	if c.Body.Has("soft_budget") { // it lives in a budget of its own
		changes = append(changes, "soft_budget")
	}
	if e := a.mayTouch(c, who, t, was, is, changes); e != nil {
		return e
	}
	if e := c.mayAdmin(adminField(changes), t); e != nil {
		return e
	}
	if slices.Contains(changes, "blocked") {
		if e := c.May(access.KeyBlock, t); e != nil {
			return e
		}
	}
	if is.TeamID != was.TeamID || is.OrganizationID != was.OrganizationID {
		to := o.home(is)
		if is.TeamID == "" {
			to.OrganizationID, to.Organizations = is.OrganizationID, nil
		} else if e := c.May(access.KeyGenerateTeam, to); e != nil {
			return e
		}
		if is.TeamID != "" && is.UserID != "" && o.member == nil {
			return noMember(is)
		}
		// Whoever gives a key away must have a say over it where it goes, too.
		if e := c.May(access.KeyUpdateLimits, to); e != nil {
			return e
		}
	}
	return a.mayGrant(c, tx, is, is, o, changes, t)
}

// mayTouch is the part of the matrix about updates: an own key may be narrowed,
// another's may be changed where the caller has a say over it.
func (a *API) mayTouch(c *Call, who *access.Standing, t access.Target, was, is *identity.Key, changes []string) *llm.Error {
	switch {
	case was.UserID != "" && was.UserID == who.UserID:
		return c.mayOwn(t, was, is, changes)
	case was.TeamID == "":
		return c.May(access.KeyUpdateLimits, t)
	}
	if e := c.May(access.KeyUpdateTeam, t); e != nil {
		return e
	}
	field := slices.IndexFunc(changes, func(name string) bool { return slices.Contains(budgetKeyFields, name) })
	if field < 0 || slices.Contains(a.c.TeamAdminFields, memberKeyBudgets) {
		return nil
	}
	organizations := append([]string{t.OrganizationID}, t.Organizations...)
	if slices.ContainsFunc(organizations, func(id string) bool { return slices.Contains(who.OrganizationsLed(), id) }) {
		return nil
	}
	return forbidden(fmt.Sprintf("%s of a team's keys may be changed by proxy admins and organization admins. A proxy admin opens it to "+
		"admins of teams with %s in team_admin_editable_team_fields.", changes[field], memberKeyBudgets), changes[field])
}

// mayOwn is the part of the matrix about a key of one's own.
func (c *Call) mayOwn(t access.Target, was, is *identity.Key, changes []string) *llm.Error {
	wide := slices.IndexFunc(changes, func(name string) bool { return widens(name, was, is) })
	if wide < 0 {
		return c.May(access.KeyUpdateOwn, t)
	}
	field := changes[wide]
	if admin := adminField(changes); admin != "" {
		return c.mayAdmin(admin, t)
	}
	e := c.May(access.KeyUpdateLimits, t)
	if e == nil || e.Status != 403 {
		return e
	}
	return forbidden(fmt.Sprintf("You may change the name and the notes of your key, let it end earlier and take models from it. "+
		"For a change of %s ask an admin.", field), strings.TrimPrefix(field, "metadata."))
}

// widens says whether a change of an own key is more than a name, a note, an
// earlier end or fewer models.
func widens(name string, was, is *identity.Key) bool {
	inner, ok := strings.CutPrefix(name, "metadata.")
	switch {
	case ok:
		return slices.Contains(keyMetadata, inner)
	case name == "key_alias":
		return false
	case name == "expires":
		return is.Expires == nil || was.Expires != nil && is.Expires.After(*was.Expires)
	case name == "models":
		return access.Granting{}.Excess(access.Grant{Models: is.Models}, access.Grant{Models: was.Models}) != ""
	default:
		return true
	}
}
