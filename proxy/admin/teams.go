package admin

import (
	"fmt"
	"maps"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// teamHandlers are the handlers of proxy/access/teams.go.
func teamHandlers() map[string]handler {
	return map[string]handler{
		"POST /team/new":                                     (*API).newTeam,
		"POST /team/update":                                  (*API).updateTeam,
		"PATCH /team/{team_id}":                              (*API).patchTeam,
		"POST /team/delete":                                  (*API).deleteTeams,
		"POST /team/block":                                   (*API).blockTeam,
		"POST /team/unblock":                                 (*API).unblockTeam,
		"POST /team/model/add":                               (*API).addTeamModels,
		"POST /team/model/delete":                            (*API).deleteTeamModels,
		"POST /team/permissions_update":                      (*API).setTeamPermissions,
		"POST /team/permissions_bulk_update":                 (*API).addTeamPermissions,
		"GET /team/permissions_list":                         (*API).teamPermissions,
		"POST /team/member_add":                              (*API).addMembers,
		"POST /team/bulk_member_add":                         (*API).addManyMembers,
		"POST /team/member_update":                           (*API).updateMember,
		"POST /team/member_delete":                           (*API).deleteMember,
		"POST /team/{team_id}/member/{user_id}/reset_spend":  (*API).resetMemberSpend,
		"POST /team/{team_id}/member/{user_id}/reset_budget": (*API).resetMemberBudget,
		"GET /team/info":                                     (*API).teamInfo,
		"GET /team/list":                                     (*API).listTeams,
		"GET /v2/team/list":                                  (*API).listTeamPage,
		"GET /team/available":                                (*API).availableTeams,
		"GET /team/{team_id}/members/me":                     (*API).myMembership,
	}
}

// teamSettings are the fields of a team without a column.
var teamSettings = []string{
	"tpd_limit", "budget_limits", "model_max_budget", "router_settings", "access_group_ids", "default_team_member_models", "policies",
	"model_aliases", "team_member_permissions",
}

// teamMetadata are the fields of a team that LiteLLM keeps in its metadata, and
// shows there.
var teamMetadata = []string{
	"tags", "guardrails", "prompts", "disable_global_guardrails", "model_rpm_limit", "model_tpm_limit", "rpm_limit_type", "tpm_limit_type",
	"mcp_rpm_limit", "default_estimated_output_tokens", "default_estimated_output_tokens_per_model", "team_member_key_duration",
	"allowed_passthrough_routes", "denied_passthrough_routes", "secret_manager_settings", "allowed_vector_store_indexes",
	"enforced_batch_output_expires_after", "enforced_file_expires_after",
}

// setTeam takes the fields of a team from the body. A field that is sent as null
// is cleared; one that is not sent stays.
func (a *API) setTeam(c *Call, t *identity.Team) *llm.Error {
	b := c.Body
	if e := checkKeyBody(b); e != nil {
		return e
	}
	if e := checkNames(b, "team_alias"); e != nil {
		return e
	}
	if b.Has("team_alias") {
		t.Alias = b.Text("team_alias")
	}
	if b.Has("models") {
		t.Models = b.Texts("models")
	}
	if b.Given("blocked") {
		t.Blocked = b.Bool("blocked")
	}
	if e := checkPermissions(b.Texts("team_member_permissions"), "team_member_permissions"); e != nil {
		return e
	}
	var e *llm.Error
	if t.Metadata, e = c.metadata(t.Metadata, teamMetadata); e != nil {
		return e
	}
	t.Settings = keep(maps.Clone(t.Settings), b, teamSettings...)
	setPermission(&t.Settings, b)
	if e := a.setCaps(c, &t.Caps); e != nil {
		return e
	}
	if b.Has("default_team_member_models") || b.Has("models") {
		return ofTeam(t, texts(t.Settings["default_team_member_models"]), "default_team_member_models")
	}
	return nil
}

// setPermission keeps what an object may use besides models, under an id as
// LiteLLM does.
func setPermission(s *identity.Fields, b Body) {
	if !b.Has("object_permission") {
		return
	}
	given := b.Fields("object_permission")
	if given == nil {
		delete(*s, "object_permission")
		delete(*s, "object_permission_id")
		return
	}
	id := settingOf[string](*s, "object_permission_id")
	if id == "" {
		id = newID()
	}
	permission := maps.Clone(given)
	permission["object_permission_id"] = quoted(id)
	put(s, "object_permission", quoted(permission))
	put(s, "object_permission_id", quoted(id))
}

// ofTeam refuses models that the team may not call itself.
func ofTeam(t *identity.Team, models []string, param string) *llm.Error {
	if len(models) == 0 || access.Everything(t.Models) || len(texts(t.Settings["access_group_ids"])) > 0 {
		return nil
	}
	if (access.Granting{}).Excess(access.Grant{Models: models}, access.Grant{Models: t.Models}) != "" {
		return badRequest(fmt.Sprintf("%s may only name models of the team: %v. Received: %v", param, t.Models, models), param)
	}
	return nil
}

// teamTarget is whom a team belongs to, for the matrix.
func teamTarget(t *identity.Team) access.Target {
	return access.Target{TeamID: t.ID, OrganizationID: t.OrganizationID}
}

// findTeam reads a team; nil if there is none.
func (a *API) findTeam(c *Call, r store.Reader, id string) (*identity.Team, *llm.Error) {
	t, err := store.Get[identity.Team](c.Ctx, r, id)
	if missing(err) {
		return nil, nil
	}
	return t, a.failed(err)
}

// teamMissing is how member_add words that there is no such team.
func teamMissing(id string) *llm.Error {
	return detailError(404, fmt.Sprintf("Team doesn't exist in db. Team=%s. Create team via `/team/new` call.", id))
}

// teamFor reads the team that a call is about, for a caller who may do so.
func (a *API) teamFor(c *Call, r store.Reader, id string, action access.Action, unknown *llm.Error) (*identity.Team, *llm.Error) {
	t, e := a.findTeam(c, r, id)
	if e != nil {
		return nil, e
	}
	if t == nil {
		return nil, c.unseen(c.May(action, access.Target{TeamID: id}), unknown)
	}
	return t, c.refusedTeam(t, c.May(action, teamTarget(t)), unknown)
}

// refusedTeam is the answer to a caller who may not do something to a team: who
// may not even see it is told as if there were none.
func (c *Call) refusedTeam(t *identity.Team, refused, unknown *llm.Error) *llm.Error {
	if refused == nil {
		return nil
	}
	if seen, e := c.Allowed(access.TeamInfo, teamTarget(t)); seen || e != nil {
		return either(e, refused)
	}
	return c.unseen(refused, unknown)
}

// unseen is the answer about a team that there is not or that the caller may not
// see. Who leads a team or an organization asks about its own objects, and
// learns that it is not among them; others may do nothing to any.
func (c *Call) unseen(refused, unknown *llm.Error) *llm.Error {
	who, e := c.Standing()
	if e == nil && len(who.TeamsLed()) > 0 {
		return unknown
	}
	return either(e, c.unseenUser(refused, unknown))
}

// unseenUser is the same about a user: the admin of a team has a say over none.
func (c *Call) unseenUser(refused, unknown *llm.Error) *llm.Error {
	who, e := c.Standing()
	if e != nil || refused != nil && len(who.OrganizationsLed()) == 0 {
		return either(e, refused)
	}
	return unknown
}

// organizationLimits are what an organization may use.
func (a *API) organizationLimits(c *Call, r store.Reader, o *identity.Organization) (access.Grant, *llm.Error) {
	g := access.Grant{Models: o.Models}
	b, e := a.budget(c, r, o.BudgetID)
	if b != nil {
		g.MaxBudget, g.TPM, g.RPM, g.Parallel = b.MaxBudget, b.TPMLimit, b.RPMLimit, b.MaxParallelRequests
	}
	return g, e
}

// within refuses a grant that goes beyond another one. What is not given is not
// compared: the wider object bounds it on every request.
func (a *API) within(c *Call, r store.Reader, given, own access.Grant, beyond func(field string) *llm.Error) *llm.Error {
	if len(given.Models) == 0 && len(given.AccessGroups) == 0 {
		given.Models = own.Models
	}
	given.MaxBudget, given.TPM, given.RPM = or(given.MaxBudget, own.MaxBudget), or(given.TPM, own.TPM), or(given.RPM, own.RPM)
	given.Parallel = or(given.Parallel, own.Parallel)
	groups, e := a.groupModels(c, r, slices.Concat(given.AccessGroups, own.AccessGroups))
	if e != nil {
		return e
	}
	granting := access.Granting{Members: func(id string) []string { return groups[id] }}
	if field := granting.Excess(given, own); field != "" {
		return beyond(field)
	}
	return nil
}

func or[N money.Nano | int64](v, otherwise *N) *N {
	if v == nil {
		return otherwise
	}
	return v
}

// groupModels are the models of access groups, by id.
func (a *API) groupModels(c *Call, r store.Reader, ids []string) (map[string][]string, *llm.Error) {
	out := map[string][]string{}
	if len(ids) == 0 {
		return out, nil
	}
	groups, err := store.Find[identity.AccessGroup](c.Ctx, r, store.Query{Where: []store.Cond{store.In("access_group_id", ids)}})
	for _, g := range groups {
		out[g.ID] = g.Models
	}
	return out, a.failed(err)
}

// withinOrganization refuses a grant beyond what the organization may use.
func (a *API) withinOrganization(c *Call, r store.Reader, o *identity.Organization, given access.Grant) *llm.Error {
	own, e := a.organizationLimits(c, r, o)
	if e != nil {
		return e
	}
	return a.within(c, r, given, own, func(field string) *llm.Error {
		return badRequest(fmt.Sprintf("%s goes beyond what organization %s may use. Ask for less, or raise the organization's bounds first.", field, o.ID), field)
	})
}

// teamGrant is what a team may use.
func teamGrant(t *identity.Team) access.Grant {
	return access.Grant{
		Models: t.Models, AccessGroups: texts(t.Settings["access_group_ids"]), MaxBudget: t.MaxBudget,
		TPM: t.TPMLimit, RPM: t.RPMLimit, Parallel: t.MaxParallelRequests,
	}
}
