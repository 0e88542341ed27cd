package admin

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/price"
	"sluice/proxy/store"
)

// modelEntry is a deployment as lists of models show it.
type modelEntry struct {
	Name   string          `json:"model_name"`
	Params identity.Fields `json:"litellm_params"`
	Info   identity.Fields `json:"model_info"`
}

// listedModel is a deployment, and what it is sorted and chosen by.
type listedModel struct {
	Deployment
	created, updated time.Time
	by               string
}

// viewer is who asks for models.
type viewer struct {
	api   *API
	c     *Call
	who   *access.Standing
	sees  bool                   // everything, addresses included
	known map[string]price.Entry // what the table of prices said in this call
}

func (a *API) viewer(c *Call) (*viewer, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	v := &viewer{api: a, c: c, who: who, known: map[string]price.Entry{}}
	v.sees = who.Master || who.Role == identity.RoleProxyAdmin || who.Role == identity.RoleProxyAdminViewer
	return v, nil
}

// models are all deployments: those of the file, then those of the database as
// it is now, so that what was just stored is read on every host. While the
// database is away it is what this process serves.
func (v *viewer) models() ([]listedModel, *llm.Error) {
	var out, known []listedModel
	if catalog := v.api.c.Models.Catalog; catalog != nil {
		for _, d := range catalog.Deployments() {
			if d.DB {
				known = append(known, listedModel{Deployment: d})
			} else {
				out = append(out, listedModel{Deployment: d})
			}
		}
	}
	if !v.api.c.StoreModels || v.api.c.Store == nil {
		return out, nil
	}
	rows, err := store.Find[identity.Model](v.c.Ctx, v.api.c.Store, store.Query{Order: "created_at"})
	if err != nil {
		if e := v.api.failed(err); e.Kind != llm.KindUnavailable {
			return nil, e
		}
		return append(out, known...), nil
	}
	for _, m := range rows {
		out = append(out, listedModel{Deployment: v.api.deploymentOf(m), created: m.CreatedAt, updated: m.UpdatedAt, by: m.CreatedBy})
	}
	return out, nil
}

// visible are the models that the caller may call, or may see as an admin.
func (v *viewer) visible() ([]listedModel, *llm.Error) {
	all, e := v.models()
	if e != nil || v.sees {
		return all, e
	}
	return slices.DeleteFunc(all, func(m listedModel) bool { return !v.maySee(&m.Deployment) }), nil
}

func (v *viewer) maySee(d *Deployment) bool {
	if d.TeamID != "" {
		return v.inTeam(d.TeamID)
	}
	if may := v.api.c.Models.MayUse; may != nil {
		return may(v.c.Caller, &auth.Model{Name: d.Name, Target: d.Name, Groups: texts(d.Info["access_groups"])})
	}
	key := v.who.Key
	return key == nil || mayName(key.Models, d)
}

func (v *viewer) inTeam(team string) bool {
	if _, ok := v.who.Teams[team]; ok {
		return true
	}
	return v.who.Key != nil && v.who.Key.TeamID == team
}

// mayName says whether a list of models has a deployment. An empty list has all.
func mayName(models []string, d *Deployment) bool {
	if len(models) == 0 || slices.Contains(models, identity.AllProxyModels) || slices.Contains(models, d.Name) {
		return true
	}
	return slices.ContainsFunc(texts(d.Info["access_groups"]), func(group string) bool { return slices.Contains(models, group) })
}

// modelInfo describes deployments: all, or the one with an id.
func (a *API) modelInfo(c *Call) (any, *llm.Error) {
	v, e := a.viewer(c)
	if e != nil {
		return nil, e
	}
	models, e := v.visible()
	if e != nil {
		return nil, e
	}
	id := c.Arg("litellm_model_id")
	if id != "" {
		models = slices.DeleteFunc(models, func(m listedModel) bool { return m.ID != id })
		if len(models) == 0 {
			return nil, notFound("Model id = "+id+" not found on litellm proxy", "litellm_model_id")
		}
	}
	if models, e = v.ofTeam(models); e != nil {
		return nil, e
	}
	if c.ArgBool("healthy_only") {
		models = slices.DeleteFunc(models, func(m listedModel) bool { return m.Blocked })
	}
	data, e := v.entries(models, id != "" || c.ArgBool("include_team_models"))
	if e != nil {
		return nil, e
	}
	return map[string]any{"data": data}, nil
}

// modelPage is the paged list.
func (a *API) modelPage(c *Call) (any, *llm.Error) {
	v, e := a.viewer(c)
	if e != nil {
		return nil, e
	}
	models, e := v.visible()
	if e != nil {
		return nil, e
	}
	if models, e = v.ofTeam(models); e != nil {
		return nil, e
	}
	models = slices.DeleteFunc(models, func(m listedModel) bool { return !v.matches(&m) })
	v.sort(models)
	total, page, size := len(models), c.ArgInt("page", 1), c.ArgInt("size", 50)
	from := min(max(page-1, 0), total/size+1) * size
	models = models[min(from, total):min(from+size, total)]
	data, e := v.entries(models, c.ArgBool("include_team_models"))
	if e != nil {
		return nil, e
	}
	return struct {
		Data    []modelEntry `json:"data"`
		Total   int          `json:"total_count"`
		Current int          `json:"current_page"`
		Pages   int          `json:"total_pages"`
		Size    int          `json:"size"`
	}{data, total, page, pages(total, size), size}, nil
}

// matches says whether a deployment is one of those that the query asks for.
func (v *viewer) matches(m *listedModel) bool {
	c := v.c
	public := cmp.Or(textOf(m.Info["team_public_model_name"]), m.Name)
	search := strings.ToLower(c.Arg("search"))
	switch {
	case c.Arg("model") != "" && c.Arg("model") != m.Name && c.Arg("model") != public,
		c.Arg("modelId") != "" && c.Arg("modelId") != m.ID,
		search != "" && !strings.Contains(strings.ToLower(m.Name), search) && !strings.Contains(strings.ToLower(public), search),
		c.Arg("access_group") != "" && !slices.Contains(texts(m.Info["access_groups"]), c.Arg("access_group")),
		c.ArgBool("user_models_only") && (m.by == "" || m.by != v.who.UserID),
		c.ArgBool("wildcard_only") && !strings.Contains(m.Name, "*"),
		c.ArgBool("exclude_auto_routers") && m.Provider == "auto_router":
		return false
	}
	return true
}

func (v *viewer) sort(models []listedModel) {
	var by func(a, b listedModel) int
	switch v.c.Arg("sortBy") {
	case "model_name":
		by = func(a, b listedModel) int { return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) }
	case "created_at":
		by = func(a, b listedModel) int { return a.created.Compare(b.created) }
	case "updated_at":
		by = func(a, b listedModel) int { return a.updated.Compare(b.updated) }
	case "status":
		by = func(a, b listedModel) int { return compareBool(a.DB, b.DB) }
	case "costs":
		costs := map[string]float64{}
		for i := range models {
			costs[models[i].ID] = decimal(v.costOf(&models[i].Deployment, "input_cost_per_token")) + decimal(v.costOf(&models[i].Deployment, "output_cost_per_token"))
		}
		by = func(a, b listedModel) int { return cmp.Compare(costs[a.ID], costs[b.ID]) }
	default:
		return
	}
	down := v.c.Arg("sortOrder") == "desc"
	slices.SortStableFunc(models, func(a, b listedModel) int {
		if down {
			return by(b, a)
		}
		return by(a, b)
	})
}

// ofTeam keeps what the team in the query may call.
func (v *viewer) ofTeam(models []listedModel) ([]listedModel, *llm.Error) {
	id := v.c.Arg("teamId")
	if id == "" {
		return models, nil
	}
	unknown := notFound("Team not found, passed team id: "+id+".", "teamId")
	if v.api.c.Store == nil || !v.sees && !v.inTeam(id) {
		return nil, unknown
	}
	t, err := store.Get[identity.Team](v.c.Ctx, v.api.c.Store, id)
	if missing(err) {
		return nil, unknown
	}
	if err != nil {
		return nil, v.api.failed(err)
	}
	return slices.DeleteFunc(models, func(m listedModel) bool {
		return m.TeamID != id && (m.TeamID != "" || !mayName(t.Models, &m.Deployment))
	}), nil
}

// entries are the deployments as they are shown.
func (v *viewer) entries(models []listedModel, withTeams bool) ([]modelEntry, *llm.Error) {
	out := make([]modelEntry, 0, len(models))
	for i := range models {
		d := &models[i].Deployment
		e := modelEntry{Name: d.Name, Params: withFlags(v.params(d)), Info: v.described(d)}
		if withTeams {
			teams, err := v.teamsOf(d)
			if err != nil {
				return nil, v.api.failed(err)
			}
			e.Info["access_via_team_ids"] = marshalled(list(teams))
			e.Info["direct_access"] = marshalled(d.TeamID == "" && (v.sees || v.maySee(d)))
		}
		out = append(out, e)
	}
	return out, nil
}

// params are a deployment's parameters as the caller may see them: where the
// provider is stands there for admins, and for admins of the model's team.
func (v *viewer) params(d *Deployment) identity.Fields {
	if v.sees || d.TeamID != "" && v.who.Teams[d.TeamID] == identity.TeamAdmin {
		return d.Params
	}
	out := maps.Clone(d.Params)
	maps.DeleteFunc(out, func(name string, value json.RawMessage) bool {
		return strings.Contains(string(value), "://") || name == "unix_socket" || strings.HasPrefix(name, "ssl_") || name == "extra_headers" || name == "headers"
	})
	return out
}

// teamsOf are the ids of the teams that may call a deployment, of those that the
// caller may know of.
func (v *viewer) teamsOf(d *Deployment) ([]string, error) {
	if d.TeamID != "" {
		return []string{d.TeamID}, nil
	}
	if v.api.c.Store == nil {
		return nil, nil
	}
	may := store.Any(store.Eq("models", "[]"), store.Has("models", d.Name), store.Has("models", identity.AllProxyModels))
	q := store.Query{Where: []store.Cond{may}, Order: "created_at", Limit: longestList}
	if !v.sees {
		q.Where = append(q.Where, store.In("team_id", slices.Sorted(maps.Keys(v.who.Teams))))
	}
	found, err := store.Find[identity.Team](v.c.Ctx, v.api.c.Store, q)
	ids := make([]string, len(found))
	for i, t := range found {
		ids[i] = t.ID
	}
	return ids, err
}

// described is model_info: what the table of prices knows, under what the
// deployment says itself.
func (v *viewer) described(d *Deployment) identity.Fields {
	out := make(identity.Fields, len(tableFields)+16)
	for _, name := range tableFields {
		out[name] = nothing
	}
	key := d.Model
	if d.Provider != "" {
		key, out["litellm_provider"] = d.Provider+"/"+d.Model, marshalled(d.Provider)
	}
	if e := v.priced(d); e.Name != "" {
		key = e.Name
		for _, name := range tableFields {
			if value, ok := e.Fields[name]; ok {
				out[name] = value
			}
		}
	}
	out["key"], out["supported_openai_params"] = marshalled(key), marshalled(openAIParams)
	overrides := []string{}
	for _, own := range []identity.Fields{d.Params, d.Info} {
		for name, value := range own {
			if strings.Contains(name, "cost") && slices.Contains(tableFields, name) {
				out[name] = value
				overrides = append(overrides, name)
			}
		}
	}
	slices.Sort(overrides)
	out["pricing_overrides"] = marshalled(slices.Compact(overrides))
	maps.Copy(out, infoOf(d.ID, d.TeamID, d.Name, d.DB, d.Info))
	out["blocked"] = marshalled(d.Blocked)
	return out
}

// priced is the entry of the table of prices for a deployment; one without a
// name where it has none. Many deployments are of one model, and a look-up
// inflates a part of the table.
func (v *viewer) priced(d *Deployment) price.Entry {
	provider, model := d.modelForPrice()
	key := provider + "/" + model
	e, ok := v.known[key]
	if !ok {
		e, _, _ = v.api.c.Models.Prices.Lookup(model, provider)
		v.known[key] = e
	}
	return e
}
