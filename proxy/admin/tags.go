package admin

import (
	"fmt"
	"slices"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// tagHandlers are the handlers of proxy/access/tags.go.
func tagHandlers() map[string]handler {
	return map[string]handler{
		"POST /tag/new":    (*API).newTag,
		"POST /tag/update": (*API).updateTag,
		"POST /tag/info":   (*API).tagInfo,
		"GET /tag/list":    (*API).listTags,
		"POST /tag/delete": (*API).deleteTag,
	}
}

// tagRow is a tag as its routes answer it. What follows a budget is there for
// a tag that has one.
type tagRow struct {
	Name        string          `json:"name"`
	Description *string         `json:"description"`
	Models      []string        `json:"models"`
	ModelInfo   identity.Fields `json:"model_info"`
	CreatedAt   isoOffset       `json:"created_at"`
	UpdatedAt   isoOffset       `json:"updated_at"`
	CreatedBy   string          `json:"created_by"`

	BudgetID string           `json:"budget_id,omitempty"`
	Spend    *money.Nano      `json:"spend,omitempty"`
	Budget   *budgetTableFull `json:"litellm_budget_table,omitempty"`
}

// tagChanged is the answer to a change of a tag.
type tagChanged struct {
	Message string  `json:"message"`
	Tag     *tagRow `json:"tag,omitempty"`
}

func tagOf(t *identity.Tag, b *identity.Budget) *tagRow {
	var info identity.Fields
	if raw, ok := t.Settings["model_info"]; ok {
		info = Body{"model_info": raw}.Fields("model_info")
	}
	row := &tagRow{
		Name: t.Name, Description: null(t.Description), Models: list(t.Models), ModelInfo: fields(info),
		CreatedAt: isoOffset(t.CreatedAt), UpdatedAt: isoOffset(t.UpdatedAt), CreatedBy: t.CreatedBy,
	}
	if t.BudgetID != "" {
		row.BudgetID, row.Spend, row.Budget = t.BudgetID, &t.Spend, fullTableOf(b)
	}
	return row
}

func noTag(name, param string) *llm.Error {
	return notFound(fmt.Sprintf("Tag %q does not exist.", name), param)
}

// setTag takes a tag's own fields from the body. The names of models that are
// given by their ids are looked up.
func (a *API) setTag(c *Call, tx *store.Tx, t *identity.Tag) *llm.Error {
	if c.Body.Has("description") {
		t.Description = c.Body.Text("description")
	}
	if c.Body.Given("models") {
		t.Models = c.Body.Texts("models")
		names := identity.Fields{}
		found, err := store.Find[identity.Model](c.Ctx, tx, store.Query{Where: []store.Cond{store.In("model_id", t.Models)}})
		if err != nil {
			return a.failed(err)
		}
		for _, m := range found {
			names[m.ID] = quoted(m.Name)
		}
		t.Settings = keep(t.Settings, Body{"model_info": quoted(names)}, "model_info")
	}
	t.Settings = keep(t.Settings, c.Body, "model_info")
	return nil
}

func (a *API) newTag(c *Call) (any, *llm.Error) {
	name, e := someID(c.Body, "name")
	if e != nil {
		return nil, e
	}
	var row *tagRow
	e = a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		t := &identity.Tag{Name: name}
		if e := a.setTag(c, tx, t); e != nil {
			return e
		}
		b, e := a.inlineBudget(c, tx, t, name, "")
		if e != nil {
			return e
		}
		if b != nil {
			t.BudgetID = b.ID
		}
		if e := a.inserted(tx, t, fmt.Sprintf("Tag %q exists already. Change it with /tag/update.", name), "name"); e != nil {
			return e
		}
		row = tagOf(t, b)
		return nil
	})
	return tagChanged{"Tag " + name + " was created.", row}, e
}

func (a *API) updateTag(c *Call) (any, *llm.Error) {
	name := c.Body.Text("name")
	var row *tagRow
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		t, err := store.Get[identity.Tag](c.Ctx, tx, name)
		if missing(err) {
			return noTag(name, "name")
		}
		if err != nil {
			return a.failed(err)
		}
		if e := a.setTag(c, tx, t); e != nil {
			return e
		}
		old := t.BudgetID
		b, e := a.inlineBudget(c, tx, t, name, old)
		if e != nil {
			return e
		}
		t.BudgetID = ""
		if b != nil {
			t.BudgetID = b.ID
		}
		if err := tx.Update(t); err != nil {
			return a.failed(err)
		}
		row = tagOf(t, b)
		if old == t.BudgetID {
			return nil
		}
		return a.dropBudget(c, tx, t, name, old)
	})
	return tagChanged{"Tag " + name + " was changed.", row}, e
}

func (a *API) deleteTag(c *Call) (any, *llm.Error) {
	name := c.Body.Text("name")
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		t, err := store.Get[identity.Tag](c.Ctx, tx, name)
		if missing(err) {
			return noTag(name, "name")
		}
		if err == nil {
			err = tx.Delete(t)
		}
		if err != nil {
			return a.failed(err)
		}
		return a.dropBudget(c, tx, t, name, t.BudgetID)
	})
	return tagChanged{Message: "Tag " + name + " was deleted."}, e
}

func (a *API) tagInfo(c *Call) (any, *llm.Error) {
	names := c.Body.Texts("names")
	if len(names) == 0 {
		return nil, badRequest("names must name at least one tag.", "names")
	}
	rows, e := a.tags(c, []store.Cond{store.In("tag_name", names)}, store.Query{})
	if e != nil {
		return nil, e
	}
	if len(rows) == 0 {
		return nil, noTag(names[0], "names")
	}
	out := map[string]*tagRow{}
	for _, r := range rows {
		out[r.Name] = r
	}
	return out, nil
}

func (a *API) listTags(c *Call) (any, *llm.Error) {
	return a.tags(c, nil, store.Query{})
}

// tags reads the tags that meet the conditions and that the caller sees.
func (a *API) tags(c *Call, where []store.Cond, q store.Query) ([]*tagRow, *llm.Error) {
	reach, e := c.Reach(access.SpendRead)
	if e != nil {
		return nil, e
	}
	if !reach.All {
		seen, err := a.tagsWithin(c, reach)
		if err != nil {
			return nil, a.failed(err)
		}
		visible := []store.Cond{store.In("tag_name", seen)}
		if reach.UserID != "" {
			visible = append(visible, store.Eq("created_by", reach.UserID))
		}
		where = append(where, store.Any(visible...))
	}
	found, e := listed[identity.Tag](a, c, "page_size", where, q)
	if e != nil {
		return nil, e
	}
	var ids []string
	for _, t := range found {
		if t.BudgetID != "" {
			ids = append(ids, t.BudgetID)
		}
	}
	budgets, err := budgetsOf(c, a.c.Store, ids)
	if err != nil {
		return nil, a.failed(err)
	}
	rows := make([]*tagRow, len(found))
	for i, t := range found {
		rows[i] = tagOf(t, budgets[t.BudgetID])
	}
	return rows, nil
}

// tagsWithin are the tags that the keys and teams of a reach carry in their
// metadata.
func (a *API) tagsWithin(c *Call, reach access.Reach) ([]string, error) {
	ofTeams := []store.Cond{store.In("team_id", reach.Teams), store.In("organization_id", reach.Organizations)}
	teams, err := store.Find[identity.Team](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.Any(ofTeams...)}})
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	ids := make([]string, len(teams))
	for i, t := range teams {
		ids[i] = t.ID
		for _, tag := range texts(t.Metadata["tags"]) {
			seen[tag] = true
		}
	}
	ofKeys := []store.Cond{store.In("team_id", ids), store.In("organization_id", reach.Organizations)}
	if reach.UserID != "" {
		ofKeys = append(ofKeys, store.Eq("user_id", reach.UserID))
	}
	const chunk = 1000
	for last := ""; ; {
		keys, err := store.Find[identity.Key](c.Ctx, a.c.Store, store.Query{
			Where: []store.Cond{store.Any(ofKeys...), store.After("token", last)}, Limit: chunk,
		})
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			last = k.Token
			for _, tag := range texts(k.Metadata["tags"]) {
				seen[tag] = true
			}
		}
		if len(keys) < chunk {
			break
		}
	}
	out := make([]string, 0, len(seen))
	for tag := range seen {
		out = append(out, tag)
	}
	slices.Sort(out)
	return out, nil
}
