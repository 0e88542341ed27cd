package admin

import (
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// hiddenToken stands for the digest of a key that is not the caller's.
const hiddenToken = "hidden"

// teamKeys are the keys of teams as the caller may see them, by team. Members see
// that there are others' keys, and not their digests, by which keys are managed.
func (a *API) teamKeys(c *Call, keys []*identity.Key, teams ...*identity.Team) (map[string][]keyListedPlain, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	out := map[string][]keyListedPlain{}
	for _, t := range teams {
		out[t.ID] = []keyListedPlain{}
	}
	for _, k := range keys {
		row := keyListedPlain{k.Token, newKeyRow(k, nil, zulu)}
		full := c.seesKeys(who, teams, k)
		if !full {
			row.Token, row.Metadata = hiddenToken, identity.Fields{}
		}
		out[k.TeamID] = append(out[k.TeamID], row)
	}
	return out, nil
}

// seesKeys says whether the caller may see all of a team's key.
func (c *Call) seesKeys(who *access.Standing, teams []*identity.Team, k *identity.Key) bool {
	i := slices.IndexFunc(teams, func(t *identity.Team) bool { return t.ID == k.TeamID })
	t := access.Target{UserID: k.UserID, TeamID: k.TeamID, OrganizationID: teams[i].OrganizationID, Route: c.Route.Path}
	t.Self = who.Key != nil && who.Key.Token == k.Token
	action := access.KeyInfo
	if t.Self {
		action = access.KeyInfoSelf
	}
	return access.Decide(action, who, t).Allowed
}

// teamInfoRow is a team in /team/info.
type teamInfoRow struct {
	teamRow
	MembersWithRoles []teamPersonNamed `json:"members_with_roles"`
	MemberBudget     *budgetTableFull  `json:"team_member_budget_table"`
	groupFields
	AccessGroups        *[]groupBrief `json:"access_group_details"`
	OrganizationModels  *[]string     `json:"organization_models"`
	ModelMaxBudgetUsage struct{}      `json:"model_max_budget_usage"`
	EditAccess          editAccess    `json:"caller_edit_access"`
}

// groupFields are what a team's access groups give it; null without any.
type groupFields struct {
	Models     *[]string `json:"access_group_models"`
	MCPServers *[]string `json:"access_group_mcp_server_ids"`
	Agents     *[]string `json:"access_group_agent_ids"`
}

type groupBrief struct {
	ID   string `json:"access_group_id"`
	Name string `json:"access_group_name"`
}

// editAccess is what of a team the caller may change: all, none, or some fields.
type editAccess struct {
	Kind   string   `json:"kind"`
	Fields []string `json:"fields,omitempty"`
}

type membershipSourced struct {
	membership
	Source string `json:"budget_source"`
}

type teamInfo struct {
	ID          string              `json:"team_id"`
	Team        teamInfoRow         `json:"team_info"`
	Keys        []keyListedPlain    `json:"keys"`
	Memberships []membershipSourced `json:"team_memberships"`
}

// teamInfo answers a team with its keys and memberships.
func (a *API) teamInfo(c *Call) (any, *llm.Error) {
	id := c.Arg("team_id")
	t, e := a.teamFor(c, a.c.Store, id, access.TeamInfo, &llm.Error{
		Kind: llm.KindNotFound, Status: 404, Type: "auth_error", Param: "None", Message: "Team not found, passed team id: " + id + ".",
	})
	if e != nil {
		return nil, e
	}
	who, err := rosterOf(c.Ctx, a.c.Store, t.ID)
	if err != nil {
		return nil, a.failed(err)
	}
	out := teamInfo{ID: t.ID, Team: teamInfoRow{teamRow: who.row(t), MembersWithRoles: []teamPersonNamed{}}, Memberships: []membershipSourced{}}
	budgets, err := budgetsOf(c, a.c.Store, append(budgetIDs(who.members[t.ID]), teamBudgetID(t)))
	if err != nil {
		return nil, a.failed(err)
	}
	for _, m := range who.members[t.ID] {
		p := teamPersonNamed{teamPerson: who.person(m)}
		if u := who.users[m.UserID]; u != nil {
			p.Alias = null(u.Alias)
		}
		out.Team.MembersWithRoles = append(out.Team.MembersWithRoles, p)
		out.Memberships = append(out.Memberships, membershipSourced{newMembership(m, budgets), budgetSource(t, m)})
	}
	out.Team.MemberBudget = fullTableOf(budgets[teamBudgetID(t)])
	if e := a.fillTeamInfo(c, t, &out.Team); e != nil {
		return nil, e
	}
	q := store.Query{Order: "created_at", Limit: c.ArgInt("key_limit", longestList), Where: []store.Cond{store.Eq("team_id", t.ID)}}
	keys, err := store.Find[identity.Key](c.Ctx, a.c.Store, q)
	if err != nil {
		return nil, a.failed(err)
	}
	byTeam, e := a.teamKeys(c, keys, t)
	out.Keys = byTeam[t.ID]
	return answerOr(out, e)
}

// fillTeamInfo adds what the team's organization and access groups give it, and
// what the caller may change.
func (a *API) fillTeamInfo(c *Call, t *identity.Team, row *teamInfoRow) *llm.Error {
	groups, e := a.groupsOf(c, t)
	if e != nil {
		return e
	}
	row.groupFields = newGroupFields(t, groups)
	if len(groups) > 0 {
		brief := make([]groupBrief, 0, len(groups))
		for _, g := range groups {
			brief = append(brief, groupBrief{g.ID, g.Name})
		}
		row.AccessGroups = &brief
	}
	if t.OrganizationID != "" {
		o, err := store.Get[identity.Organization](c.Ctx, a.c.Store, t.OrganizationID)
		if err == nil {
			models := list(o.Models)
			row.OrganizationModels = &models
		} else if !missing(err) {
			return a.failed(err)
		}
	}
	row.EditAccess, e = a.editAccess(c, t)
	return e
}

func (a *API) editAccess(c *Call, t *identity.Team) (editAccess, *llm.Error) {
	if ok, e := c.Allowed(access.TeamUpdate, teamTarget(t)); e != nil || !ok {
		return editAccess{Kind: "none"}, e
	}
	alone, e := c.byTeamAlone(t)
	switch {
	case e != nil || !alone:
		return editAccess{Kind: "all"}, e
	case len(a.c.TeamAdminFields) == 0:
		return editAccess{Kind: "none"}, nil
	default:
		return editAccess{Kind: "fields", Fields: a.c.TeamAdminFields}, nil
	}
}

// groupsOf reads the access groups of teams.
func (a *API) groupsOf(c *Call, teams ...*identity.Team) ([]*identity.AccessGroup, *llm.Error) {
	var ids []string
	for _, t := range teams {
		ids = append(ids, texts(t.Settings["access_group_ids"])...)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	groups, err := store.Find[identity.AccessGroup](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("access_group_id", ids)}})
	return groups, a.failed(err)
}

// newGroupFields are what the groups of a team give it.
func newGroupFields(t *identity.Team, groups []*identity.AccessGroup) (out groupFields) {
	ids := texts(t.Settings["access_group_ids"])
	if len(ids) == 0 {
		return out
	}
	models, servers, agents := []string{}, []string{}, []string{}
	for _, g := range groups {
		if slices.Contains(ids, g.ID) {
			models = append(models, g.Models...)
			servers = append(servers, texts(g.Settings["access_mcp_server_ids"])...)
			agents = append(agents, texts(g.Settings["access_agent_ids"])...)
		}
	}
	slices.Sort(models)
	models = slices.Compact(models)
	return groupFields{Models: &models, MCPServers: &servers, Agents: &agents}
}

// teamListed is a team in /team/list.
type teamListed struct {
	teamRow
	Memberships []membership     `json:"team_memberships"`
	Keys        []keyListedPlain `json:"keys"`
}

// teamsSeen are the teams that a list may show, as conditions. Who is no admin
// says whose teams it means: its own.
func (c *Call) teamsSeen() ([]store.Cond, *llm.Error) {
	var where []store.Cond
	user := c.Arg("user_id")
	if user != "" {
		where = append(where, store.Among("team_id", identity.KindMember, "team_id", store.Eq("user_id", user)))
	}
	switch organization := c.Arg("organization_id"); organization {
	case "":
	case "default_organization":
		where = append(where, store.Null("organization_id"))
	default:
		where = append(where, store.Eq("organization_id", organization))
	}
	reach, e := c.Reach(access.TeamList)
	if e != nil || reach.All {
		return where, e
	}
	if user != "" && user == reach.UserID {
		return where, nil // one's own teams, whatever organization they belong to
	}
	if len(reach.Organizations) == 0 {
		if e := c.May(access.TeamList, access.Target{UserID: user}); e != nil {
			return nil, e
		}
	}
	return append(where, store.In("organization_id", reach.Organizations)), nil
}

// listTeams answers all teams that the caller may see, whole.
func (a *API) listTeams(c *Call) (any, *llm.Error) {
	where, e := c.teamsSeen()
	if e != nil {
		return nil, e
	}
	teams, e := listed[identity.Team](a, c, "page_size", where, store.Query{Order: "created_at"})
	if e != nil {
		return nil, e
	}
	ids := teamIDs(teams)
	who, err := rosterOf(c.Ctx, a.c.Store, ids...)
	if err != nil {
		return nil, a.failed(err)
	}
	var members []*identity.Member
	for _, id := range ids {
		members = append(members, who.members[id]...)
	}
	budgets, err := budgetsOf(c, a.c.Store, budgetIDs(members))
	if err != nil {
		return nil, a.failed(err)
	}
	keys, e := a.keysOfTeams(c, ids)
	if e != nil {
		return nil, e
	}
	byTeam, e := a.teamKeys(c, keys, teams...)
	if e != nil {
		return nil, e
	}
	out := []teamListed{}
	for _, t := range teams {
		row := teamListed{teamRow: who.row(t), Memberships: []membership{}, Keys: byTeam[t.ID]}
		for _, m := range who.members[t.ID] {
			if user := c.Arg("user_id"); user == "" || user == m.UserID {
				row.Memberships = append(row.Memberships, newMembership(m, budgets))
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// keysOfTeams reads all keys of some teams, if an answer can hold them.
func (a *API) keysOfTeams(c *Call, teams []string) ([]*identity.Key, *llm.Error) {
	q := store.Query{Where: []store.Cond{store.In("team_id", teams)}, Order: "created_at", Limit: longestList + 1}
	keys, err := store.Find[identity.Key](c.Ctx, a.c.Store, q)
	if len(keys) > longestList {
		return nil, badRequest(fmt.Sprintf("The teams have more than %d keys, more than one answer holds. Use /v2/team/list and /key/list.", longestList), "")
	}
	return keys, a.failed(err)
}

func teamIDs(teams []*identity.Team) []string {
	out := make([]string, len(teams))
	for i, t := range teams {
		out[i] = t.ID
	}
	return out
}

// teamPaged is a team in /v2/team/list.
type teamPaged struct {
	teamRow
	MembersCount int `json:"members_count"`
	KeysCount    int `json:"keys_count"`
	groupFields
}

type teamPage struct {
	Teams []teamPaged `json:"teams"`
	Total int         `json:"total"`
	Page  int         `json:"page"`
	Size  int         `json:"page_size"`
	Pages int         `json:"total_pages"`
}

// teamOrder are the columns that teams can be sorted by.
var teamOrder = []string{"team_id", "team_alias", "spend", "max_budget", "created_at", "updated_at"}

// listTeamPage answers a page of the teams that the caller may see.
func (a *API) listTeamPage(c *Call) (any, *llm.Error) {
	if c.Arg("status") != "" {
		return nil, badRequest("status is not supported: deleted teams are not kept. /audit has a record of each.", "status")
	}
	where, e := c.teamsSeen()
	if e != nil {
		return nil, e
	}
	out := teamPage{Teams: []teamPaged{}, Page: c.ArgInt("page", 1), Size: c.ArgInt("page_size", 10)}
	q := store.Query{Where: append(where, c.teamFilters()...), Limit: out.Size, Offset: (out.Page - 1) * out.Size}
	if e := c.order(&q, teamOrder); e != nil {
		return nil, e
	}
	teams, total, e := counted[identity.Team](a, c, q)
	if e != nil {
		return nil, e
	}
	out.Total, out.Pages = total, pages(total, out.Size)
	ids := teamIDs(teams)
	who, err := rosterOf(c.Ctx, a.c.Store, ids...)
	if err != nil {
		return nil, a.failed(err)
	}
	keys, err := store.CountBy[identity.Key](c.Ctx, a.c.Store, "team_id", store.In("team_id", ids))
	if err != nil {
		return nil, a.failed(err)
	}
	groups, e := a.groupsOf(c, teams...)
	if e != nil {
		return nil, e
	}
	for _, t := range teams {
		out.Teams = append(out.Teams, teamPaged{
			teamRow: who.row(t), MembersCount: len(who.members[t.ID]), KeysCount: keys[t.ID], groupFields: newGroupFields(t, groups),
		})
	}
	return out, nil
}

// teamFilters are the conditions that the query of a list names.
func (c *Call) teamFilters() []store.Cond {
	var where []store.Cond
	if id := c.Arg("team_id"); id != "" {
		where = append(where, store.Eq("team_id", id))
	}
	if part := c.Arg("team_alias"); part != "" {
		where = append(where, store.Contains("team_alias", part))
	}
	if part := c.Arg("search"); part != "" {
		id := store.Eq("team_id", part)
		if c.Arg("search_team_id_match") == "prefix" {
			// Ids are compared by their bytes: what begins so lies in between.
			id = store.Any(id, store.All(store.After("team_id", part), store.Before("team_id", part+"\U0010FFFF")))
		}
		where = append(where, store.Any(id, store.Contains("team_alias", part)))
	}
	return where
}

// availableTeams lists the teams that the caller may join by itself.
func (a *API) availableTeams(c *Call) (any, *llm.Error) {
	out := []teamRow{}
	ids := a.joinable()
	if len(ids) == 0 {
		return out, nil
	}
	where := []store.Cond{store.In("team_id", ids)}
	if user := c.Caller.User; user != "" {
		where = append(where, store.Not(store.Among("team_id", identity.KindMember, "team_id", store.Eq("user_id", user))))
	}
	teams, err := store.Find[identity.Team](c.Ctx, a.c.Store, store.Query{Where: where, Order: "team_alias"})
	if err != nil {
		return nil, a.failed(err)
	}
	// Who is in a team is for its members to see.
	nobody := &roster{}
	for _, t := range teams {
		row := nobody.row(t)
		row.Metadata = identity.Fields{}
		out = append(out, row)
	}
	return out, nil
}

// myPlace is the caller's own place in a team.
type myPlace struct {
	membership
	Role      string  `json:"role"`
	Email     *string `json:"user_email"`
	TeamAlias *string `json:"team_alias"`
}

// myMembership answers the caller's own place in a team.
func (a *API) myMembership(c *Call) (any, *llm.Error) {
	id, user := c.Params["team_id"], c.Caller.User
	unknown := notFound("You are not a member of team "+strings.TrimSpace(clipText(id))+".", "team_id")
	if user == "" {
		return nil, unknown
	}
	m, err := store.Get[identity.Member](c.Ctx, a.c.Store, id, user)
	if missing(err) {
		return nil, unknown
	}
	if err != nil {
		return nil, a.failed(err)
	}
	t, e := a.findTeam(c, a.c.Store, id)
	if t == nil {
		return nil, either(e, unknown)
	}
	who, err := rosterOf(c.Ctx, a.c.Store, id)
	if err != nil {
		return nil, a.failed(err)
	}
	budgets, err := budgetsOf(c, a.c.Store, budgetIDs([]*identity.Member{m}))
	return answerOr(myPlace{newMembership(m, budgets), m.Role, who.person(m).Email, null(t.Alias)}, a.failed(err))
}
