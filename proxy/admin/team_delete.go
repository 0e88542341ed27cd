package admin

import (
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

type teamsDeleted struct {
	Teams []string `json:"deleted_teams"`
}

// deleteTeams deletes teams with all that belongs to them: all of the teams, or
// none. A team of the same id that is made later inherits nothing.
func (a *API) deleteTeams(c *Call) (any, *llm.Error) {
	named, e := several(c.Body, "team_ids", "teams")
	if e != nil {
		return nil, e
	}
	ids := []string{}
	for _, id := range named {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		teams := make([]*identity.Team, len(ids))
		for i, id := range ids {
			var e *llm.Error
			if teams[i], e = a.teamFor(c, tx, id, access.TeamNew, detailError(404, "Team not found, passed team_id="+id)); e != nil {
				return e
			}
		}
		for _, t := range teams {
			if e := a.dropTeam(c, tx, t); e != nil {
				return e
			}
		}
		return nil
	})
	return answerOr(teamsDeleted{Teams: ids}, e)
}

// dropTeam deletes a team and all that belongs to it, each with a record of its
// own.
func (a *API) dropTeam(c *Call, tx *store.Tx, t *identity.Team) *llm.Error {
	its := store.Eq("team_id", t.ID)
	if e := a.dropKeys(c, tx, its); e != nil {
		return e
	}
	projects, err := store.Find[identity.Project](c.Ctx, tx, store.Query{Where: []store.Cond{its}})
	if err != nil {
		return a.failed(err)
	}
	for _, p := range projects {
		if e := a.dropKeys(c, tx, store.Eq("project_id", p.ID)); e != nil {
			return e
		}
		if err := tx.Delete(p); err != nil {
			return a.failed(err)
		}
		if e := a.dropBudget(c, tx, p, p.ID, p.BudgetID); e != nil {
			return e
		}
	}
	models, err := store.Find[identity.Model](c.Ctx, tx, store.Query{Where: []store.Cond{its}})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range models {
		if err := tx.Delete(m); err != nil {
			return a.failed(err)
		}
	}
	members, err := store.Find[identity.Member](c.Ctx, tx, store.Query{Where: []store.Cond{its}})
	if err != nil {
		return a.failed(err)
	}
	for _, m := range members {
		if e := a.dropMember(c, tx, m); e != nil {
			return e
		}
	}
	if err := tx.Delete(t); err != nil {
		return a.failed(err)
	}
	if e := a.dropBudget(c, tx, t, t.ID, teamBudgetID(t)); e != nil {
		return e
	}
	return a.dropBudget(c, tx, t, t.ID, t.BudgetID)
}

// dropKeys deletes the keys that meet the conditions.
func (a *API) dropKeys(c *Call, tx *store.Tx, where ...store.Cond) *llm.Error {
	keys, err := store.Find[identity.Key](c.Ctx, tx, store.Query{Where: where})
	if err != nil {
		return a.failed(err)
	}
	for _, k := range keys {
		if e := a.dropKey(c, tx, k); e != nil {
			return e
		}
	}
	return nil
}
