package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// assigned is the field of keys and teams that names their access groups. Whom
// a group is given to is kept there alone.
const assigned = "access_group_ids"

// accessGroupRow is an access group as its routes answer it.
type accessGroupRow struct {
	ID            string     `json:"access_group_id"`
	Name          string     `json:"access_group_name"`
	Description   *string    `json:"description"`
	ModelNames    []string   `json:"access_model_names"`
	ServerIDs     []string   `json:"access_mcp_server_ids"`
	AgentIDs      []string   `json:"access_agent_ids"`
	AssignedTeams []string   `json:"assigned_team_ids"`
	AssignedKeys  []string   `json:"assigned_key_ids"`
	ServersNamed  []resource `json:"access_mcp_servers"`
	AgentsNamed   []resource `json:"access_agents"`
	TeamsNamed    []resource `json:"assigned_teams"`
	KeysNamed     []resource `json:"assigned_keys"`
	CreatedAt     isoZ       `json:"created_at"`
	CreatedBy     *string    `json:"created_by"`
	UpdatedAt     isoZ       `json:"updated_at"`
	UpdatedBy     *string    `json:"updated_by"`
}

// resource is something by its id and name; the name of what is kept only is
// not known.
type resource struct {
	ID   string  `json:"id"`
	Name *string `json:"name"`
}

func unnamed(ids []string) []resource {
	out := make([]resource, len(ids))
	for i, id := range ids {
		out[i].ID = id
	}
	return out
}

// accessGroupsOf shows groups with whom they are given to.
func accessGroupsOf(ctx context.Context, r store.Reader, groups ...*identity.AccessGroup) ([]*accessGroupRow, error) {
	ids := make([]string, len(groups))
	for i, g := range groups {
		ids[i] = g.ID
	}
	teams, keys, err := givenTo(ctx, r, ids...)
	if err != nil {
		return nil, err
	}
	rows := make([]*accessGroupRow, len(groups))
	for i, g := range groups {
		row := &accessGroupRow{
			ID: g.ID, Name: g.Name, Description: null(g.Description), ModelNames: list(g.Models),
			ServerIDs: list(texts(g.Settings["access_mcp_server_ids"])), AgentIDs: list(texts(g.Settings["access_agent_ids"])),
			AssignedTeams: []string{}, AssignedKeys: []string{}, TeamsNamed: []resource{}, KeysNamed: []resource{},
			CreatedAt: isoZ(g.CreatedAt), CreatedBy: null(g.CreatedBy), UpdatedAt: isoZ(g.UpdatedAt), UpdatedBy: null(g.UpdatedBy),
		}
		row.ServersNamed, row.AgentsNamed = unnamed(row.ServerIDs), unnamed(row.AgentIDs)
		for _, t := range teams {
			if slices.Contains(texts(t.Settings[assigned]), g.ID) {
				row.AssignedTeams = append(row.AssignedTeams, t.ID)
				row.TeamsNamed = append(row.TeamsNamed, resource{t.ID, null(t.Alias)})
			}
		}
		for _, k := range keys {
			if slices.Contains(texts(k.Settings[assigned]), g.ID) {
				row.AssignedKeys = append(row.AssignedKeys, k.Token)
				row.KeysNamed = append(row.KeysNamed, resource{k.Token, null(k.Alias)})
			}
		}
		rows[i] = row
	}
	return rows, nil
}

// givenTo are the teams and keys that name one of the groups.
func givenTo(ctx context.Context, r store.Reader, groups ...string) ([]*identity.Team, []*identity.Key, error) {
	if len(groups) == 0 {
		return nil, nil, nil
	}
	var names []store.Cond
	for _, id := range groups {
		names = append(names, store.HasIn("settings", assigned, id))
	}
	q := store.Query{Where: []store.Cond{store.Any(names...)}}
	teams, err := store.Find[identity.Team](ctx, r, q)
	if err != nil {
		return nil, nil, err
	}
	keys, err := store.Find[identity.Key](ctx, r, q)
	return teams, keys, err
}

// setAccessGroup takes a group's own fields from the body.
func setAccessGroup(c *Call, g *identity.AccessGroup) *llm.Error {
	if c.Body.Given("access_group_name") {
		name, e := someID(c.Body, "access_group_name")
		if e != nil {
			return e
		}
		g.Name = name
	}
	if c.Body.Has("description") {
		g.Description = c.Body.Text("description")
	}
	if c.Body.Has("access_model_names") {
		g.Models = c.Body.Texts("access_model_names")
	}
	g.Settings = keep(g.Settings, c.Body, "access_mcp_server_ids", "access_agent_ids")
	return nil
}

// assign gives a group to exactly the teams and keys that the body names, where
// it names any.
func (a *API) assign(c *Call, tx *store.Tx, id string) *llm.Error {
	teams, keys, err := givenTo(c.Ctx, tx, id)
	if err != nil {
		return a.failed(err)
	}
	if c.Body.Has("assigned_team_ids") {
		want := c.Body.Texts("assigned_team_ids")
		more, err := store.Find[identity.Team](c.Ctx, tx, store.Query{Where: []store.Cond{store.In("team_id", want)}})
		if err != nil {
			return a.failed(err)
		}
		for _, team := range want {
			if !slices.ContainsFunc(more, func(t *identity.Team) bool { return t.ID == team }) {
				return notFound(fmt.Sprintf("Team %q does not exist.", team), "assigned_team_ids")
			}
		}
		for _, t := range unique(append(teams, more...), func(t *identity.Team) string { return t.ID }) {
			var changed bool
			if t.Settings, changed = named(t.Settings, id, slices.Contains(want, t.ID)); changed {
				if err := tx.Update(t); err != nil {
					return a.failed(err)
				}
			}
		}
	}
	if !c.Body.Has("assigned_key_ids") {
		return nil
	}
	want := c.Body.Texts("assigned_key_ids")
	for i := range want {
		want[i] = digestOfKey(want[i])
	}
	more, err := store.Find[identity.Key](c.Ctx, tx, store.Query{Where: []store.Cond{store.In("token", want)}})
	if err != nil {
		return a.failed(err)
	}
	for i, token := range want {
		if !slices.ContainsFunc(more, func(k *identity.Key) bool { return k.Token == token }) {
			return notFound(fmt.Sprintf("The key at place %d of assigned_key_ids does not exist.", i+1), "assigned_key_ids")
		}
	}
	for _, k := range unique(append(keys, more...), func(k *identity.Key) string { return k.Token }) {
		var changed bool
		if k.Settings, changed = named(k.Settings, id, slices.Contains(want, k.Token)); changed {
			if err := tx.Update(k); err != nil {
				return a.failed(err)
			}
		}
	}
	return nil
}

// unique keeps the first of those that share an id.
func unique[T any](of []T, id func(T) string) []T {
	seen := map[string]bool{}
	return slices.DeleteFunc(of, func(v T) bool {
		known := seen[id(v)]
		seen[id(v)] = true
		return known
	})
}

// named puts a group among those that settings name, or takes it out.
func named(settings identity.Fields, id string, want bool) (identity.Fields, bool) {
	ids := texts(settings[assigned])
	if slices.Contains(ids, id) == want {
		return settings, false
	}
	if want {
		ids = append(ids, id)
	} else {
		ids = slices.DeleteFunc(ids, func(v string) bool { return v == id })
	}
	return keep(settings, Body{assigned: quoted(list(ids))}, assigned), true
}

func (a *API) newAccessGroup(c *Call) (any, *llm.Error) {
	var row *accessGroupRow
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		g := &identity.AccessGroup{ID: newID()}
		if e := setAccessGroup(c, g); e != nil {
			return e
		}
		if e := a.inserted(tx, g, nameTaken(g.Name), "access_group_name"); e != nil {
			return e
		}
		return a.assignedRow(c, tx, g, &row)
	})
	if e != nil {
		return nil, e
	}
	doc, err := json.Marshal(row)
	if err != nil {
		return nil, a.failed(err)
	}
	return Reply{Status: 201, Body: doc}, nil
}

func nameTaken(name string) string {
	return fmt.Sprintf("An access group called %q exists already. Choose another access_group_name.", name)
}

func (a *API) assignedRow(c *Call, tx *store.Tx, g *identity.AccessGroup, row **accessGroupRow) *llm.Error {
	if e := a.assign(c, tx, g.ID); e != nil {
		return e
	}
	rows, err := accessGroupsOf(c.Ctx, tx, g)
	if err != nil {
		return a.failed(err)
	}
	*row = rows[0]
	return nil
}

// accessGroup reads the group that the path names.
func (a *API) accessGroup(c *Call, r store.Reader) (*identity.AccessGroup, *llm.Error) {
	id := c.Params["access_group_id"]
	g, err := store.Get[identity.AccessGroup](c.Ctx, r, id)
	if missing(err) {
		return nil, notFound(fmt.Sprintf("Access group %q does not exist.", id), "access_group_id")
	}
	return g, a.failed(err)
}

func (a *API) listAccessGroups(c *Call) (any, *llm.Error) {
	found, e := listed[identity.AccessGroup](a, c, "page_size", nil, store.Query{})
	if e != nil {
		return nil, e
	}
	rows, err := accessGroupsOf(c.Ctx, a.c.Store, found...)
	return list(rows), a.failed(err)
}

func (a *API) accessGroupInfo(c *Call) (any, *llm.Error) {
	g, e := a.accessGroup(c, a.c.Store)
	if e != nil {
		return nil, e
	}
	rows, err := accessGroupsOf(c.Ctx, a.c.Store, g)
	if err != nil {
		return nil, a.failed(err)
	}
	return rows[0], nil
}

func (a *API) updateAccessGroup(c *Call) (any, *llm.Error) {
	var row *accessGroupRow
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		g, e := a.accessGroup(c, tx)
		if e != nil {
			return e
		}
		if e := setAccessGroup(c, g); e != nil {
			return e
		}
		if err := tx.Update(g); errors.Is(err, store.ErrExists) {
			return conflict(nameTaken(g.Name), "access_group_name")
		} else if err != nil {
			return a.failed(err)
		}
		return a.assignedRow(c, tx, g, &row)
	})
	return row, e
}

// deleteAccessGroup takes the group from the keys and teams that have it: what
// it gave them they had beside their own models.
func (a *API) deleteAccessGroup(c *Call) (any, *llm.Error) {
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		g, e := a.accessGroup(c, tx)
		if e != nil {
			return e
		}
		c.Body = Body{"assigned_team_ids": quoted([]string{}), "assigned_key_ids": quoted([]string{})}
		if e := a.assign(c, tx, g.ID); e != nil {
			return e
		}
		return a.failed(tx.Delete(g))
	})
	return Reply{Status: 204, Body: []byte{}}, e
}
