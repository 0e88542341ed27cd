package admin

import (
	"encoding/json"
	"slices"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// modelHandlers are the handlers of proxy/access/models.go.
func modelHandlers() map[string]handler {
	return map[string]handler{
		"POST /model/new":                (*API).newModel,
		"POST /model/update":             (*API).updateModel,
		"PATCH /model/{model_id}/update": (*API).patchModel,
		"POST /model/delete":             (*API).deleteModel,
		"POST /model/block":              (*API).blockModel,
		"POST /model/unblock":            (*API).unblockModel,
		"GET /model/info":                (*API).modelInfo,
		"GET /v1/model/info":             (*API).modelInfo,
		"GET /v2/model/info":             (*API).modelPage,
		"GET /model_group/info":          (*API).describeGroups,
	}
}

// modelRow is a model as changes of it are answered: its parameters sealed.
type modelRow struct {
	ID        string          `json:"model_id"`
	Name      string          `json:"model_name"`
	Params    identity.Fields `json:"litellm_params"`
	Info      identity.Fields `json:"model_info"`
	CreatedAt *isoZ           `json:"created_at"`
	CreatedBy string          `json:"created_by"`
	UpdatedAt *isoZ           `json:"updated_at"`
	UpdatedBy string          `json:"updated_by"`
	Blocked   bool            `json:"blocked"`
	Table     json.RawMessage `json:"litellm_model_table"`
}

func modelRowOf(m *identity.Model) modelRow {
	info := infoOf(m.ID, m.TeamID, m.Name, false, m.Info)
	return modelRow{
		ID: m.ID, Name: m.Name, Params: withFlags(m.Params), Info: info, Blocked: m.Blocked,
		CreatedAt: zuluAt(m.CreatedAt), CreatedBy: m.CreatedBy, UpdatedAt: zuluAt(m.UpdatedAt), UpdatedBy: m.UpdatedBy,
	}
}

// infoOf is model_info with what the gateway says itself.
func infoOf(id, team, name string, inDatabase bool, own identity.Fields) identity.Fields {
	out := make(identity.Fields, len(own)+5)
	out["member_auto_router"] = no
	for field, v := range own {
		out[field] = v
	}
	out["id"], out["db_model"] = marshalled(id), marshalled(inDatabase)
	if team != "" {
		out["team_id"] = marshalled(team)
		if out["team_public_model_name"] == nil {
			out["team_public_model_name"] = marshalled(name)
		}
	}
	return out
}

// modelAsked is what a body says of a model.
type modelAsked struct {
	name      string
	params    identity.Fields
	info      identity.Fields // without what has a place of its own
	id        string
	team      string
	teamGiven bool // null included
	blocked   *bool
}

// derived are the fields of model_info that answers have and nobody sets.
var derived = strings.Fields(`id db_model key team_id blocked pricing_overrides access_via_team_ids direct_access
	supported_openai_params created_at created_by updated_at updated_by`)

func (c *Call) modelAsked() (modelAsked, *llm.Error) {
	asked := modelAsked{name: strings.TrimSpace(c.Body.Text("model_name")), params: c.Body.Fields("litellm_params"), info: identity.Fields{}}
	all := c.Body.Fields("model_info")
	for _, field := range []string{"id", "team_id"} {
		if v := all[field]; len(v) > 0 && v[0] != '"' && v[0] != 'n' {
			return asked, badRequest("model_info."+field+" is "+string(clip(v))+". Send a text.", "model_info."+field)
		}
	}
	asked.id, asked.team = textOf(all["id"]), textOf(all["team_id"])
	asked.teamGiven = len(all["team_id"]) > 0
	blocked := all["blocked"]
	if c.Body.Given("blocked") {
		blocked = c.Body["blocked"]
	}
	if len(blocked) > 0 && blocked[0] != 'n' && json.Unmarshal(blocked, &asked.blocked) != nil {
		return asked, badRequest("model_info.blocked is "+string(clip(blocked))+". Send true or false.", "model_info.blocked")
	}
	for field, v := range all {
		if !slices.Contains(derived, field) {
			asked.info[field] = v
		}
	}
	return asked, nil
}

func (a *API) newModel(c *Call) (any, *llm.Error) {
	asked, e := c.modelAsked()
	if e != nil {
		return nil, e
	}
	if e := c.May(access.ModelWrite, access.Target{TeamID: asked.team}); e != nil {
		return nil, e
	}
	if e := a.stores(); e != nil {
		return nil, e
	}
	if !c.Body.Given("litellm_params") {
		return nil, badRequest("litellm_params is missing. Send an object with at least model, as in {\"model\": \"openai/gpt-4o\"}.", "litellm_params")
	}
	params, info := given(asked.params), given(asked.info)
	if e := a.checkModel(asked.name, params, info); e != nil {
		return nil, e
	}
	m := &identity.Model{ID: asked.id, Name: asked.name, TeamID: asked.team, Info: info}
	if asked.blocked != nil {
		m.Blocked = *asked.blocked
	}
	if m.ID == "" {
		m.ID = newID()
	}
	e = a.change(c, func(tx *store.Tx) *llm.Error {
		if e := a.sealParams(m, nil, params); e != nil {
			return e
		}
		if e := a.mayModel(c, tx, m.TeamID); e != nil {
			return e
		}
		if e := a.teamRules(c, nil, params, asked); e != nil {
			return e
		}
		if e := a.teamName(c, tx, m); e != nil {
			return e
		}
		_, err := store.Get[identity.Model](c.Ctx, tx, m.ID)
		if err == nil || a.inFile(m.ID) {
			return conflict("A model with the id "+m.ID+" exists already. Change it with PATCH /model/"+m.ID+"/update, or send another model_info.id.", "model_info.id")
		}
		if !missing(err) {
			return a.failed(err)
		}
		if e := a.teamGains(c, tx, m); e != nil {
			return e
		}
		return a.failed(tx.Insert(m))
	})
	if e != nil {
		return nil, e
	}
	return modelRowOf(m), nil
}

// mayModel judges again inside the transaction, and finds the team.
func (a *API) mayModel(c *Call, tx *store.Tx, team string) *llm.Error {
	if e := c.May(access.ModelWrite, access.Target{TeamID: team}); e != nil {
		return e
	}
	if team == "" {
		return nil
	}
	_, err := store.Get[identity.Team](c.Ctx, tx, team)
	if missing(err) {
		return notFound("Team not found, passed team_id="+team+". Make it with /team/new, or leave model_info.team_id out.", "model_info.team_id")
	}
	return a.failed(err)
}

// inFile says whether a deployment of the configuration file has the id.
func (a *API) inFile(id string) bool {
	if a.c.Models.Catalog == nil {
		return false
	}
	return slices.ContainsFunc(a.c.Models.Catalog.Deployments(), func(d Deployment) bool { return d.ID == id && !d.DB })
}

// ownedModel reads a model that the caller may change. One that it may not even
// see is missing.
func (a *API) ownedModel(c *Call, tx *store.Tx, id string, unknown *llm.Error) (*identity.Model, *llm.Error) {
	m, err := store.Get[identity.Model](c.Ctx, tx, id)
	if missing(err) {
		if a.inFile(id) {
			return nil, badRequest("The model "+id+" stands in the configuration file. Change it there; models of the API are added with /model/new.", "model_id")
		}
		return nil, unknown
	}
	if err != nil {
		return nil, a.failed(err)
	}
	e := c.May(access.ModelWrite, access.Target{TeamID: m.TeamID})
	if e == nil {
		return m, nil
	}
	who, failed := c.Standing()
	if failed != nil {
		return nil, failed
	}
	if _, member := who.Teams[m.TeamID]; m.TeamID != "" && !member && who.Role != identity.RoleProxyAdminViewer {
		return nil, unknown
	}
	return nil, e
}

func unknownModel(id string) *llm.Error { return notFound("Model "+id+" not found on proxy.", "") }

func (a *API) updateModel(c *Call) (any, *llm.Error) {
	asked, e := c.modelAsked()
	if e != nil {
		return nil, e
	}
	if asked.id == "" {
		return nil, badRequest("model_info.id is missing. Send the id of the deployment, as /model/info shows it.", "model_info.id")
	}
	return a.reviseModel(c, asked, false)
}

func (a *API) patchModel(c *Call) (any, *llm.Error) {
	asked, e := c.modelAsked()
	if e != nil {
		return nil, e
	}
	id := c.Params["model_id"]
	if asked.id != "" && asked.id != id {
		return nil, badRequest("model_info.id is not the id in the path. The id of a deployment cannot be changed.", "model_info.id")
	}
	asked.id = id
	return a.reviseModel(c, asked, true)
}

// reviseModel puts what was asked over what there is.
func (a *API) reviseModel(c *Call, asked modelAsked, nullClears bool) (any, *llm.Error) {
	if e := a.stores(); e != nil {
		return nil, e
	}
	var m *identity.Model
	e := a.change(c, func(tx *store.Tx) (e *llm.Error) {
		if m, e = a.ownedModel(c, tx, asked.id, unknownModel(asked.id)); e != nil {
			return e
		}
		before := *m
		old, e := a.mustOpen(m)
		if e != nil {
			return e
		}
		params, info := overlaid(old, asked.params, nullClears), overlaid(m.Info, asked.info, nullClears)
		if asked.name != "" {
			m.Name = asked.name
		}
		if asked.blocked != nil {
			m.Blocked = *asked.blocked
		}
		if asked.teamGiven && (nullClears || asked.team != "") {
			m.TeamID = asked.team
		}
		if e := a.checkModel(m.Name, params, info); e != nil {
			return e
		}
		moved := m.TeamID != before.TeamID || m.Name != before.Name
		if moved {
			if e := a.mayModel(c, tx, m.TeamID); e != nil {
				return e
			}
			if e := a.teamName(c, tx, m); e != nil {
				return e
			}
		}
		if e := a.teamRules(c, old, params, asked); e != nil {
			return e
		}
		if e := a.sealParams(m, old, params); e != nil {
			return e
		}
		m.Info = info
		if e := a.failed(tx.Update(m)); e != nil {
			return e
		}
		if !moved {
			return nil
		}
		if e := a.teamLoses(c, tx, &before); e != nil {
			return e
		}
		return a.teamGains(c, tx, m)
	})
	if e != nil {
		return nil, e
	}
	return modelRowOf(m), nil
}

func (a *API) deleteModel(c *Call) (any, *llm.Error) {
	id := c.Body.Text("id")
	if e := a.stores(); e != nil {
		return nil, e
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		m, e := a.ownedModel(c, tx, id, badRequest("Model with id="+id+" not found in db.", "id"))
		if e != nil {
			return e
		}
		if e := a.failed(tx.Delete(m)); e != nil {
			return e
		}
		return a.teamLoses(c, tx, m)
	})
	if e != nil {
		return nil, e
	}
	return map[string]string{"message": "Model: " + id + " deleted successfully"}, nil
}

func (a *API) blockModel(c *Call) (any, *llm.Error) { return a.setBlocked(c, true, store.Blocked) }

func (a *API) unblockModel(c *Call) (any, *llm.Error) { return a.setBlocked(c, false, store.Unblocked) }

func (a *API) setBlocked(c *Call, blocked bool, as store.Action) (any, *llm.Error) {
	id := c.Body.Text("model_id")
	if e := a.stores(); e != nil {
		return nil, e
	}
	var m *identity.Model
	e := a.change(c, func(tx *store.Tx) (e *llm.Error) {
		if m, e = a.ownedModel(c, tx, id, unknownModel(id)); e != nil {
			return e
		}
		m.Blocked = blocked
		return a.failed(tx.UpdateAs(as, m))
	})
	if e != nil {
		return nil, e
	}
	return modelRowOf(m), nil
}
