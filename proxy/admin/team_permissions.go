package admin

import (
	"fmt"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// memberRoutes are the routes that members of a team can be let call for it.
var memberRoutes = []string{
	"/key/generate", "/key/update", "/key/delete", "/key/info", "/key/regenerate", "/key/service-account/generate",
	"/key/{key_id}/regenerate", "/key/list", "/key/block", "/key/unblock", "/key/bulk_update", "/team/key/bulk_update",
	"/team/daily/activity", "/team/daily/activity/aggregated", "/team/daily/activity/aggregated/keys",
	"/team/daily/activity/aggregated/search", "/team/daily/activity/aggregated/model_top_keys", "/team/daily/activity/export",
	"/spend/logs", "/spend/logs/v2", "/key/{key_id}/reset_spend", "/key/aliases", "/key/access_group_assignment", "/auto_router/manage",
}

// checkPermissions refuses routes that members cannot be let call.
func checkPermissions(routes []string, field string) *llm.Error {
	var wrong []Violation
	for i, r := range routes {
		if !slices.Contains(memberRoutes, r) {
			wrong = append(wrong, Violation{"enum", []any{"body", field, i}, "Input should be " + choices(memberRoutes)})
		}
	}
	if len(wrong) > 0 {
		return validation(wrong...)
	}
	return nil
}

type teamPermissionList struct {
	TeamID    string   `json:"team_id"`
	Routes    []string `json:"team_member_permissions"`
	Available []string `json:"all_available_permissions"`
}

// teamPermissions lists which routes members may call for the team, and which
// they could be let call.
func (a *API) teamPermissions(c *Call) (any, *llm.Error) {
	id := c.Arg("team_id")
	t, e := a.teamFor(c, a.c.Store, id, access.TeamInfo, unknownTeam(id))
	if e != nil {
		return nil, e
	}
	return teamPermissionList{TeamID: t.ID, Routes: list(texts(t.Settings["team_member_permissions"])), Available: memberRoutes}, nil
}

// setTeamPermissions sets which routes members may call for the team.
func (a *API) setTeamPermissions(c *Call) (any, *llm.Error) {
	routes := c.Body.Texts("team_member_permissions")
	if e := checkPermissions(routes, "team_member_permissions"); e != nil {
		return nil, e
	}
	return a.teamAction(c, access.TeamPermissions, store.Updated, func(_ *store.Tx, t *identity.Team) *llm.Error {
		put(&t.Settings, "team_member_permissions", quoted(list(routes)))
		return nil
	})
}

type permissionsAdded struct {
	Message string   `json:"message"`
	Teams   int      `json:"teams_updated"`
	Routes  []string `json:"permissions_appended"`
}

// addTeamPermissions adds routes to what members of many teams may call. The
// teams that are named are all changed, or none.
func (a *API) addTeamPermissions(c *Call) (any, *llm.Error) {
	routes, ids := c.Body.Texts("permissions"), c.Body.Texts("team_ids")
	if e := checkPermissions(routes, "permissions"); e != nil {
		return nil, e
	}
	everywhere := c.Body.Bool("apply_to_all_teams")
	if everywhere == (len(ids) > 0) || len(ids) > bulkLimit {
		return nil, badRequest(fmt.Sprintf("Send team_ids with 1 to %d teams, or apply_to_all_teams: one of the two.", bulkLimit), "team_ids")
	}
	out := permissionsAdded{Routes: list(routes)}
	for last, more := "", true; more; {
		var changed int
		var end string
		e := a.change(c, func(tx *store.Tx) *llm.Error {
			changed = 0
			teams, e := a.permittedTeams(c, tx, ids, everywhere, last)
			if e != nil {
				return e
			}
			more = everywhere && len(teams) == bulkLimit
			for _, t := range teams {
				end = t.ID
				if !addRoutes(t, routes) {
					continue
				}
				changed++
				if err := tx.Update(t); err != nil {
					return a.failed(err)
				}
			}
			return nil
		})
		if e != nil {
			return nil, e
		}
		out.Teams, last = out.Teams+changed, end
	}
	out.Message = fmt.Sprintf("The permissions of %d teams were changed.", out.Teams)
	return out, nil
}

// permittedTeams reads the teams of a bulk change, for a caller who may change
// each of them.
func (a *API) permittedTeams(c *Call, tx *store.Tx, ids []string, everywhere bool, last string) ([]*identity.Team, *llm.Error) {
	if everywhere {
		if e := c.May(access.TeamPermissions, access.Target{}); e != nil {
			return nil, e
		}
		teams, err := store.Find[identity.Team](c.Ctx, tx, store.Query{Where: []store.Cond{store.After("team_id", last)}, Limit: bulkLimit})
		return teams, a.failed(err)
	}
	var out []*identity.Team
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		t, e := a.teamFor(c, tx, id, access.TeamPermissions, unknownTeam(id))
		if e != nil {
			return nil, e
		}
		out = append(out, t)
	}
	return out, nil
}

// addRoutes adds routes to a team's permissions; false where it has them all.
func addRoutes(t *identity.Team, routes []string) bool {
	has := texts(t.Settings["team_member_permissions"])
	before := len(has)
	for _, r := range routes {
		if !slices.Contains(has, r) {
			has = append(has, r)
		}
	}
	if len(has) == before {
		return false
	}
	put(&t.Settings, "team_member_permissions", quoted(has))
	return true
}
