package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// accessGroupHandlers are the handlers of proxy/access/access_groups.go.
func accessGroupHandlers() map[string]handler {
	return map[string]handler{
		"POST /access_group/new":                     (*API).newModelGroup,
		"GET /access_group/list":                     (*API).listModelGroups,
		"GET /access_group/{access_group}/info":      (*API).modelGroupInfo,
		"PUT /access_group/{access_group}/update":    (*API).updateModelGroup,
		"DELETE /access_group/{access_group}/delete": (*API).deleteModelGroup,

		"POST /v1/access_group":                     (*API).newAccessGroup,
		"GET /v1/access_group":                      (*API).listAccessGroups,
		"GET /v1/access_group/{access_group_id}":    (*API).accessGroupInfo,
		"PUT /v1/access_group/{access_group_id}":    (*API).updateAccessGroup,
		"DELETE /v1/access_group/{access_group_id}": (*API).deleteAccessGroup,
	}
}

// modelGroupChanged is the answer to a change of the models of a group.
type modelGroupChanged struct {
	AccessGroup   string   `json:"access_group"`
	ModelNames    []string `json:"model_names"`
	ModelIDs      []string `json:"model_ids"`
	ModelsUpdated int      `json:"models_updated"`
}

// modelGroupDeleted is the answer to a deletion.
type modelGroupDeleted struct {
	AccessGroup   string `json:"access_group"`
	ModelsUpdated int    `json:"models_updated"`
	Message       string `json:"message"`
}

// modelGroupRow is a group of models in the database.
type modelGroupRow struct {
	AccessGroup     string       `json:"access_group"`
	ModelNames      []string     `json:"model_names"`
	DeploymentCount int          `json:"deployment_count"`
	Spend           money.Nano   `json:"spend"`
	Budget          *budgetTable `json:"budget"`
}

type modelGroupRows struct {
	AccessGroups []*modelGroupRow `json:"access_groups"`
}

// groupsOf are the groups that a model in the database is in.
func groupsOf(m *identity.Model) []string { return texts(m.Info["access_groups"]) }

func noModelGroup(name string) *llm.Error {
	return detailError(404, fmt.Sprintf("Access group %q does not exist among the models in the database.", name))
}

// modelGroups collects the groups of all models in the database, by name.
func (a *API) modelGroups(c *Call, r store.Reader) (map[string]*modelGroupRow, []*identity.Model, *llm.Error) {
	models, err := store.Find[identity.Model](c.Ctx, r, store.Query{Order: "model_name"})
	if err != nil {
		return nil, nil, a.failed(err)
	}
	groups := map[string]*modelGroupRow{}
	for _, m := range models {
		for _, name := range groupsOf(m) {
			g := groups[name]
			if g == nil {
				g = &modelGroupRow{AccessGroup: name}
				groups[name] = g
			}
			g.DeploymentCount++
			if !slices.Contains(g.ModelNames, m.Name) {
				g.ModelNames = append(g.ModelNames, m.Name)
			}
		}
	}
	return groups, models, nil
}

// chosen are the models that the body names. Every name and id must be in the
// database.
func chosen(b Body, models []*identity.Model) (map[*identity.Model]bool, *llm.Error) {
	names, ids := b.Texts("model_names"), b.Texts("model_ids")
	if len(names)+len(ids) == 0 {
		return nil, detailError(400, "Name the group's models in model_names or model_ids.")
	}
	out := map[*identity.Model]bool{}
	find := func(what, wanted string, is func(*identity.Model) bool) *llm.Error {
		found := false
		for _, m := range models {
			if is(m) {
				out[m], found = true, true
			}
		}
		if found {
			return nil
		}
		return detailError(400, fmt.Sprintf("%s %q is not in the database. Only models in the database can be put into an access group here; "+
			"one of the configuration file names its groups in model_info.access_groups.", what, wanted))
	}
	for _, name := range names {
		if e := find("Model", name, func(m *identity.Model) bool { return m.Name == name }); e != nil {
			return nil, e
		}
	}
	for _, id := range ids {
		if e := find("Deployment", id, func(m *identity.Model) bool { return m.ID == id }); e != nil {
			return nil, e
		}
	}
	return out, nil
}

// regroup puts exactly the models that are wanted into a group.
func regroup(tx *store.Tx, group string, models []*identity.Model, want map[*identity.Model]bool) (changed int, err error) {
	for _, m := range models {
		groups := groupsOf(m)
		if slices.Contains(groups, group) == want[m] {
			continue
		}
		if want[m] {
			groups = append(groups, group)
		} else {
			groups = slices.DeleteFunc(groups, func(g string) bool { return g == group })
		}
		info := maps.Clone(m.Info)
		if info == nil {
			info = identity.Fields{}
		}
		info["access_groups"] = quoted(groups)
		m.Info = info
		if err := tx.Update(m); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

func (a *API) newModelGroup(c *Call) (any, *llm.Error) {
	name, e := someID(c.Body, "access_group")
	if e != nil {
		return nil, e
	}
	out := modelGroupChanged{AccessGroup: strings.TrimSpace(name), ModelNames: c.Body.Texts("model_names"), ModelIDs: c.Body.Texts("model_ids")}
	e = a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		groups, models, e := a.modelGroups(c, tx)
		if e != nil {
			return e
		}
		want, e := chosen(c.Body, models)
		if e != nil {
			return e
		}
		if groups[out.AccessGroup] != nil {
			return detailError(409, fmt.Sprintf("Access group %q exists already. Change it with PUT /access_group/%s/update.", out.AccessGroup, out.AccessGroup))
		}
		var err error
		out.ModelsUpdated, err = regroup(tx, out.AccessGroup, models, want)
		return a.failed(err)
	})
	return out, e
}

func (a *API) listModelGroups(c *Call) (any, *llm.Error) {
	groups, _, e := a.modelGroups(c, a.c.Store)
	out := modelGroupRows{AccessGroups: []*modelGroupRow{}}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		out.AccessGroups = append(out.AccessGroups, groups[name])
	}
	return out, e
}

func (a *API) modelGroupInfo(c *Call) (any, *llm.Error) {
	groups, _, e := a.modelGroups(c, a.c.Store)
	if e != nil {
		return nil, e
	}
	g := groups[c.Params["access_group"]]
	if g == nil {
		return nil, noModelGroup(c.Params["access_group"])
	}
	return g, nil
}

func (a *API) updateModelGroup(c *Call) (any, *llm.Error) {
	out := modelGroupChanged{AccessGroup: c.Params["access_group"], ModelNames: c.Body.Texts("model_names"), ModelIDs: c.Body.Texts("model_ids")}
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		groups, models, e := a.modelGroups(c, tx)
		if e != nil {
			return e
		}
		if groups[out.AccessGroup] == nil {
			return noModelGroup(out.AccessGroup)
		}
		want, e := chosen(c.Body, models)
		if e != nil {
			return e
		}
		out.ModelsUpdated = len(want)
		_, err := regroup(tx, out.AccessGroup, models, want)
		return a.failed(err)
	})
	return out, e
}

func (a *API) deleteModelGroup(c *Call) (any, *llm.Error) {
	out := modelGroupDeleted{AccessGroup: c.Params["access_group"]}
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		groups, models, e := a.modelGroups(c, tx)
		if e != nil {
			return e
		}
		if groups[out.AccessGroup] == nil {
			return noModelGroup(out.AccessGroup)
		}
		var err error
		out.ModelsUpdated, err = regroup(tx, out.AccessGroup, models, nil)
		return a.failed(err)
	})
	out.Message = "Access group " + out.AccessGroup + " was taken off its models."
	return out, e
}
