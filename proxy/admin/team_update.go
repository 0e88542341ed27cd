package admin

import (
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

type teamUpdateAnswer struct {
	ID   string  `json:"team_id"`
	Data teamRow `json:"data"`
}

// updateTeam changes a team. A field that is null is cleared.
func (a *API) updateTeam(c *Call) (any, *llm.Error) {
	row, e := a.changeTeam(c, c.Body.Text("team_id"), nil)
	return answerOr(teamUpdateAnswer{ID: row.ID, Data: row}, e)
}

// patchTeam changes a team as updateTeam does, except that metadata is merged
// into what there is.
func (a *API) patchTeam(c *Call) (any, *llm.Error) {
	id := c.Params["team_id"]
	if named := c.Body.Text("team_id"); named != "" && named != id {
		return nil, badRequest(fmt.Sprintf("team_id of the body must be that of the path, %s, or be left out. Received: %s", clipText(id), clipText(named)), "team_id")
	}
	row, e := a.changeTeam(c, id, mergePatch)
	return answerOr(row, e)
}

// mergePatch lays a JSON merge patch (RFC 7386) over a document.
func mergePatch(old, patch identity.Fields) identity.Fields {
	out := maps.Clone(old)
	if out == nil {
		out = identity.Fields{}
	}
	for name, v := range patch {
		if string(v) == "null" {
			delete(out, name)
			continue
		}
		var inner, before identity.Fields
		if json.Unmarshal(v, &inner) == nil && inner != nil {
			if json.Unmarshal(out[name], &before) != nil {
				before = nil
			}
			v = quoted(mergePatch(before, inner))
		}
		out[name] = v
	}
	return out
}

// changeTeam changes a team as the body says. merge is how metadata of the body
// comes to what there is; nil replaces it.
func (a *API) changeTeam(c *Call, id string, merge func(old, patch identity.Fields) identity.Fields) (teamRow, *llm.Error) {
	var answer teamRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		was, e := a.teamFor(c, tx, id, access.TeamUpdate, unknownTeam(id))
		if e != nil {
			return e
		}
		c := c
		if merge != nil && c.Body.Given("metadata") {
			body := maps.Clone(c.Body)
			patch := c.Body.Fields("metadata")
			body["metadata"] = quoted(merge(was.Metadata, patch))
			for _, name := range teamMetadata { // fields of their own stay unless they are sent: null is
				if string(patch[name]) == "null" && !body.Has(name) {
					body[name] = patch[name]
				}
			}
			c = c.with(body)
		}
		t := copyTeam(was)
		if c.Body.Has("organization_id") {
			t.OrganizationID = c.Body.Text("organization_id")
		}
		if e := a.mayMoveTeam(c, t, was); e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if e := a.mayEditTeam(c, was); e != nil {
			return e
		}
		if e := a.fillTeam(c, tx, t, was); e != nil {
			return e
		}
		if e := a.narrower(c, tx, t, was); e != nil {
			return e
		}
		if err := tx.UpdateAs(blockedAs(was.Blocked, t.Blocked), t); err != nil {
			return a.failed(err)
		}
		var err error
		answer, err = teamAnswer(c.Ctx, tx, t)
		return a.failed(err)
	})
	return answer, e
}

// copyTeam is a team that may be changed without changing the one it was made
// from.
func copyTeam(t *identity.Team) *identity.Team {
	c := *t
	c.Models, c.Metadata, c.Settings = slices.Clone(t.Models), maps.Clone(t.Metadata), maps.Clone(t.Settings)
	return &c
}

// mayMoveTeam refuses to move a team to another organization unless the caller
// has a say over both.
func (a *API) mayMoveTeam(c *Call, t, was *identity.Team) *llm.Error {
	if t.OrganizationID == was.OrganizationID {
		return nil
	}
	if e := c.May(access.TeamNew, teamTarget(was)); e != nil {
		return e
	}
	return c.May(access.TeamNew, teamTarget(t))
}

// byTeamAlone is true for a caller who has a say over the team only as the
// team's own admin.
func (c *Call) byTeamAlone(t *identity.Team) (bool, *llm.Error) {
	ok, e := c.Allowed(access.TeamNew, teamTarget(t))
	return !ok, e
}

// mayEditTeam refuses what a team's own admin may not change: all that the
// configuration does not leave to it.
func (a *API) mayEditTeam(c *Call, t *identity.Team) *llm.Error {
	alone, e := c.byTeamAlone(t)
	if e != nil || !alone {
		return e
	}
	for _, name := range slices.Sorted(maps.Keys(c.Body)) {
		if name != "team_id" && !slices.Contains(a.c.TeamAdminFields, name) && !slices.Contains(c.ignored, name) {
			return forbidden(fmt.Sprintf("The admin of a team may not change its %s. A proxy admin opens fields to admins of teams with team_admin_editable_team_fields.", name), name)
		}
	}
	return nil
}

// narrower refuses a change by a team's own admin that gives the team more than
// it had.
func (a *API) narrower(c *Call, tx *store.Tx, t, was *identity.Team) *llm.Error {
	alone, e := c.byTeamAlone(was)
	if e != nil || !alone {
		return e
	}
	groups, e := a.groupModels(c, tx, slices.Concat(texts(t.Settings["access_group_ids"]), texts(was.Settings["access_group_ids"])))
	if e != nil {
		return e
	}
	granting := access.Granting{Members: func(id string) []string { return groups[id] }}
	field := granting.Excess(teamGrant(t), teamGrant(was))
	for _, name := range []string{"budget_duration", "budget_limits", "model_max_budget", "model_rpm_limit", "model_tpm_limit", "blocked"} {
		if field == "" && c.Body.Has(name) {
			field = name // whether it is more or less cannot be told
		}
	}
	for _, name := range []string{"budget_limits", "model_rpm_limit", "model_tpm_limit"} {
		if field == "" && !sameJSON(t.Metadata[name], was.Metadata[name]) {
			field = "metadata." + name
		}
	}
	if field == "" {
		return nil
	}
	return forbidden(fmt.Sprintf("The admin of a team may lower its %s and not raise it. Ask a proxy admin.", field), field)
}

// teamAction changes one thing of a team as an action of its own, and answers
// the team.
func (a *API) teamAction(c *Call, action access.Action, as store.Action, change func(tx *store.Tx, t *identity.Team) *llm.Error) (any, *llm.Error) {
	var answer teamRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		id := c.Body.Text("team_id")
		t, e := a.teamFor(c, tx, id, action, unknownTeam(id))
		if e != nil {
			return e
		}
		if e := change(tx, t); e != nil {
			return e
		}
		if err := tx.UpdateAs(as, t); err != nil {
			return a.failed(err)
		}
		var err error
		answer, err = teamAnswer(c.Ctx, tx, t)
		return a.failed(err)
	})
	return answerOr(answer, e)
}

func (a *API) blockTeam(c *Call) (any, *llm.Error) {
	return a.teamAction(c, access.TeamNew, store.Blocked, func(_ *store.Tx, t *identity.Team) *llm.Error {
		t.Blocked = true
		return nil
	})
}

func (a *API) unblockTeam(c *Call) (any, *llm.Error) {
	return a.teamAction(c, access.TeamNew, store.Unblocked, func(_ *store.Tx, t *identity.Team) *llm.Error {
		t.Blocked = false
		return nil
	})
}

// addTeamModels adds models to those that a team may call. A team that names
// none may call all; the first that is added makes it a list.
func (a *API) addTeamModels(c *Call) (any, *llm.Error) {
	return a.teamAction(c, access.TeamModels, store.Updated, func(tx *store.Tx, t *identity.Team) *llm.Error {
		models := c.Body.Texts("models")
		if e := a.mayAddModels(c, tx, t, models); e != nil {
			return e
		}
		t.Models = slices.DeleteFunc(t.Models, func(m string) bool { return m == identity.NoDefaultModels })
		for _, m := range models {
			if !slices.Contains(t.Models, m) {
				t.Models = append(t.Models, m)
			}
		}
		return nil
	})
}

// mayAddModels compares models with what the team's organization may call. In a
// team without one, the team's own admin gives what it may call itself.
func (a *API) mayAddModels(c *Call, tx *store.Tx, t *identity.Team, models []string) *llm.Error {
	if len(models) == 0 {
		return badRequest("models must name at least one model.", "models")
	}
	given := access.Grant{Models: models}
	if t.OrganizationID != "" {
		o, err := store.Get[identity.Organization](c.Ctx, tx, t.OrganizationID)
		if err == nil {
			return a.withinOrganization(c, tx, o, given)
		}
		if !missing(err) {
			return a.failed(err)
		}
	}
	alone, e := c.byTeamAlone(t)
	if e != nil || !alone {
		return e
	}
	u, e := a.findUser(c, tx, c.Caller.User)
	if e != nil || u == nil {
		return e
	}
	return a.within(c, tx, given, access.Grant{Models: u.Models}, func(string) *llm.Error {
		return forbidden(fmt.Sprintf("models may only name what you may call yourself. Received: %s", clipText(strings.Join(models, ", "))), "models")
	})
}

// deleteTeamModels takes models from a team. One that loses its last model may
// call none: an empty list would be all of them.
func (a *API) deleteTeamModels(c *Call) (any, *llm.Error) {
	return a.teamAction(c, access.TeamModels, store.Updated, func(_ *store.Tx, t *identity.Team) *llm.Error {
		gone := c.Body.Texts("models")
		if len(t.Models) == 0 {
			return nil
		}
		t.Models = slices.DeleteFunc(t.Models, func(m string) bool { return slices.Contains(gone, m) })
		if len(t.Models) == 0 {
			t.Models = []string{identity.NoDefaultModels}
		}
		return nil
	})
}
