package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// projectHandlers are the handlers of proxy/access/projects.go.
func projectHandlers() map[string]handler {
	return map[string]handler{
		"POST /project/new":      (*API).newProject,
		"POST /project/update":   (*API).updateProject,
		"DELETE /project/delete": (*API).deleteProjects,
		"GET /project/info":      (*API).projectInfo,
		"GET /project/list":      (*API).listProjects,
	}
}

// projectRow is a project as its routes answer it.
type projectRow struct {
	ID                 string          `json:"project_id"`
	Alias              *string         `json:"project_alias"`
	Description        *string         `json:"description"`
	TeamID             *string         `json:"team_id"`
	BudgetID           *string         `json:"budget_id"`
	Metadata           identity.Fields `json:"metadata"`
	Models             []string        `json:"models"`
	Spend              money.Nano      `json:"spend"`
	ModelSpend         struct{}        `json:"model_spend"` // the ledger counts by model
	ModelRPMLimit      json.RawMessage `json:"model_rpm_limit"`
	ModelTPMLimit      json.RawMessage `json:"model_tpm_limit"`
	Blocked            bool            `json:"blocked"`
	ObjectPermissionID json.RawMessage `json:"object_permission_id"`
	CreatedBy          *string         `json:"created_by"`
	UpdatedBy          *string         `json:"updated_by"`
	CreatedAt          isoZ            `json:"created_at"`
	UpdatedAt          isoZ            `json:"updated_at"`
	Budget             *budgetTable    `json:"litellm_budget_table"`
	ObjectPermission   json.RawMessage `json:"object_permission"`
}

func projectOf(p *identity.Project, b *identity.Budget) projectRow {
	s := p.Settings
	return projectRow{
		ID: p.ID, Alias: null(p.Alias), Description: null(p.Description), TeamID: null(p.TeamID), BudgetID: null(p.BudgetID),
		Metadata: fields(p.Metadata), Models: list(p.Models), Spend: p.Spend, ModelRPMLimit: s["model_rpm_limit"], ModelTPMLimit: s["model_tpm_limit"],
		Blocked: p.Blocked, ObjectPermissionID: setting(s, "object_permission_id", "null"), CreatedBy: null(p.CreatedBy), UpdatedBy: null(p.UpdatedBy),
		CreatedAt: isoZ(p.CreatedAt), UpdatedAt: isoZ(p.UpdatedAt), Budget: tableOf(b), ObjectPermission: setting(s, "object_permission", "null"),
	}
}

// projectMetadata are fields of the API that are kept in metadata.
var projectMetadata = []string{"tags", "guardrails", "policies", "model_itpm_limit", "model_otpm_limit"}

// setProject takes a project's own fields from the body.
func (a *API) setProject(c *Call, p *identity.Project) *llm.Error {
	for name, to := range map[string]*string{"project_alias": &p.Alias, "description": &p.Description} {
		if c.Body.Has(name) {
			*to = c.Body.Text(name)
		}
	}
	if c.Body.Has("models") {
		p.Models = c.Body.Texts("models")
	}
	if c.Body.Given("blocked") {
		p.Blocked = c.Body.Bool("blocked")
	}
	for _, name := range []string{"model_rpm_limit", "model_tpm_limit", "model_itpm_limit", "model_otpm_limit"} {
		if e := modelCounts(c.Body, name); e != nil {
			return e
		}
	}
	var e *llm.Error
	if p.Metadata, e = c.metadata(p.Metadata, projectMetadata); e != nil {
		return e
	}
	p.Settings = keep(maps.Clone(p.Settings), c.Body, "model_rpm_limit", "model_tpm_limit")
	setPermission(&p.Settings, c.Body)
	return nil
}

// modelCounts checks an object of whole numbers by model.
func modelCounts(b Body, name string) *llm.Error {
	for model, raw := range b.Fields(name) {
		var n int64
		if json.Unmarshal(raw, &n) != nil || n < 0 {
			return badRequest(fmt.Sprintf("%s.%s must be a whole number of zero or more.", name, model), name)
		}
	}
	return nil
}

// withinTeam keeps a project within what its team may use. What the project
// leaves open, the team bounds on every request.
func (a *API) withinTeam(c *Call, tx *store.Tx, p *identity.Project, b *identity.Budget, t *identity.Team) *llm.Error {
	if b.SoftBudget != nil && b.MaxBudget != nil && *b.SoftBudget >= *b.MaxBudget {
		return badRequest(fmt.Sprintf("soft_budget (%s) must be less than max_budget (%s).", b.SoftBudget, b.MaxBudget), "soft_budget")
	}
	given := access.Grant{Models: p.Models, MaxBudget: b.MaxBudget, TPM: b.TPMLimit, RPM: b.RPMLimit, Parallel: b.MaxParallelRequests}
	return a.within(c, tx, given, teamGrant(t), func(field string) *llm.Error {
		return badRequest(fmt.Sprintf("%s of the project goes beyond what team %q may use. Give the project less, or the team more.", field, t.ID), field)
	})
}

func noProject(id, param string) *llm.Error {
	return notFound(fmt.Sprintf("Project %q does not exist.", id), param)
}

// projectTarget is whom a project belongs to, for the matrix.
func (a *API) projectTarget(c *Call, r store.Reader, p *identity.Project) (access.Target, *llm.Error) {
	t, e := a.findTeam(c, r, p.TeamID)
	if e != nil || t == nil {
		return access.Target{TeamID: p.TeamID}, e
	}
	return teamTarget(t), nil
}

// projectFor reads a project that the caller wants to do something to. One that
// it does not even see looks like one that is missing.
func (a *API) projectFor(c *Call, r store.Reader, action access.Action, id, param string) (*identity.Project, *llm.Error) {
	p, err := store.Get[identity.Project](c.Ctx, r, id)
	if missing(err) {
		return nil, noProject(id, param)
	}
	if err != nil {
		return nil, a.failed(err)
	}
	t, e := a.projectTarget(c, r, p)
	if e != nil {
		return nil, e
	}
	seen, e := c.Allowed(access.ProjectRead, t)
	if e != nil {
		return nil, e
	}
	if !seen {
		return nil, noProject(id, param)
	}
	return p, c.May(action, t)
}

// projectTeam reads the team that a project is to belong to. The caller must
// be allowed to write projects of it.
func (a *API) projectTeam(c *Call, tx *store.Tx, id string) (*identity.Team, *llm.Error) {
	t, e := a.findTeam(c, tx, id)
	if e != nil {
		return nil, e
	}
	absent := notFound(fmt.Sprintf("Team %q does not exist.", id), "team_id")
	if t == nil {
		return nil, absent
	}
	seen, e := c.Allowed(access.ProjectRead, teamTarget(t))
	if e != nil {
		return nil, e
	}
	if !seen {
		return nil, absent
	}
	return t, c.May(access.ProjectWrite, teamTarget(t))
}

func (a *API) newProject(c *Call) (any, *llm.Error) {
	p := &identity.Project{ID: c.Body.Text("project_id"), TeamID: c.Body.Text("team_id")}
	if p.ID == "" {
		p.ID = newID()
	} else if _, e := someID(c.Body, "project_id"); e != nil {
		return nil, e
	}
	var row projectRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		t, e := a.projectTeam(c, tx, p.TeamID)
		if e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if e := a.setProject(c, p); e != nil {
			return e
		}
		b, e := a.alwaysBudget(c, tx, p, p.ID, "")
		if e != nil {
			return e
		}
		if e := a.withinTeam(c, tx, p, b, t); e != nil {
			return e
		}
		p.BudgetID = b.ID
		if e := a.inserted(tx, p, fmt.Sprintf("Project %q exists already. Change it with /project/update.", p.ID), "project_id"); e != nil {
			return e
		}
		row = projectOf(p, b)
		return nil
	})
	return row, e
}

func (a *API) updateProject(c *Call) (any, *llm.Error) {
	var row projectRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		p, e := a.projectFor(c, tx, access.ProjectWrite, c.Body.Text("project_id"), "project_id")
		if e != nil {
			return e
		}
		if e := c.adminFields(); e != nil {
			return e
		}
		if e := a.moveProject(c, tx, p); e != nil {
			return e
		}
		if e := a.setProject(c, p); e != nil {
			return e
		}
		old := p.BudgetID
		b, e := a.alwaysBudget(c, tx, p, p.ID, old)
		if e != nil {
			return e
		}
		t, e := a.findTeam(c, tx, p.TeamID)
		if e != nil {
			return e
		}
		if t != nil {
			if e := a.withinTeam(c, tx, p, b, t); e != nil {
				return e
			}
		}
		p.BudgetID = b.ID
		if err := tx.Update(p); err != nil {
			return a.failed(err)
		}
		row = projectOf(p, b)
		if old == p.BudgetID {
			return nil
		}
		return a.dropBudget(c, tx, p, p.ID, old)
	})
	return row, e
}

// moveProject gives a project to another team, where the body says so. Its keys
// are keys of its team: it moves without any.
func (a *API) moveProject(c *Call, tx *store.Tx, p *identity.Project) *llm.Error {
	to := c.Body.Text("team_id")
	if to == "" || to == p.TeamID {
		return nil
	}
	if _, e := a.projectTeam(c, tx, to); e != nil {
		return e
	}
	if e := a.keyless(c, tx, p, "team_id"); e != nil {
		return e
	}
	p.TeamID = to
	return nil
}

// keyless refuses a project that has keys.
func (a *API) keyless(c *Call, tx *store.Tx, p *identity.Project, param string) *llm.Error {
	n, err := store.Count[identity.Key](c.Ctx, tx, store.Eq("project_id", p.ID))
	if err != nil {
		return a.failed(err)
	}
	if n > 0 {
		return conflict(fmt.Sprintf("Project %q has %d keys. Delete them, or give them to another project, first.", p.ID, n), param)
	}
	return nil
}

func (a *API) deleteProjects(c *Call) (any, *llm.Error) {
	ids, e := several(c.Body, "project_ids", "projects")
	if e != nil {
		return nil, e
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	rows := []projectRow{}
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		rows = rows[:0]
		for _, id := range ids {
			p, e := a.projectFor(c, tx, access.ProjectWrite, id, "project_ids")
			if e != nil {
				return e
			}
			if e := a.keyless(c, tx, p, "project_ids"); e != nil {
				return e
			}
			b, e := a.budget(c, tx, p.BudgetID)
			if e != nil {
				return e
			}
			rows = append(rows, projectOf(p, b))
			if e := a.dropProject(c, tx, p); e != nil {
				return e
			}
		}
		return nil
	})
	return rows, e
}

// dropProject deletes a project with the budget that was made for it.
func (a *API) dropProject(c *Call, tx *store.Tx, p *identity.Project) *llm.Error {
	if err := tx.Delete(p); err != nil {
		return a.failed(err)
	}
	return a.dropBudget(c, tx, p, p.ID, p.BudgetID)
}

func (a *API) projectInfo(c *Call) (any, *llm.Error) {
	p, e := a.projectFor(c, a.c.Store, access.ProjectRead, c.Arg("project_id"), "project_id")
	if e != nil {
		return nil, e
	}
	b, e := a.budget(c, a.c.Store, p.BudgetID)
	return projectOf(p, b), e
}

func (a *API) listProjects(c *Call) (any, *llm.Error) {
	reach, e := c.Reach(access.ProjectRead)
	if e != nil {
		return nil, e
	}
	var where []store.Cond
	if !reach.All {
		teams, err := store.Find[identity.Team](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{
			store.Any(store.In("team_id", reach.Teams), store.In("organization_id", reach.Organizations)),
		}})
		if err != nil {
			return nil, a.failed(err)
		}
		ids := make([]string, len(teams))
		for i, t := range teams {
			ids[i] = t.ID
		}
		where = append(where, store.In("team_id", ids))
	}
	found, e := listed[identity.Project](a, c, "page_size", where, store.Query{})
	if e != nil {
		return nil, e
	}
	ids := make([]string, len(found))
	for i, p := range found {
		ids[i] = p.BudgetID
	}
	budgets, err := budgetsOf(c, a.c.Store, ids)
	if err != nil {
		return nil, a.failed(err)
	}
	rows := make([]projectRow, len(found))
	for i, p := range found {
		rows[i] = projectOf(p, budgets[p.BudgetID])
	}
	return rows, nil
}
