package admin

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// exportedSum is a row of an export of sums by day. What it is split by beside
// whom it is of is there in those exports alone.
type exportedSum struct {
	Date   string `json:"date"`
	Entity string `json:"entity_id"`
	Alias  string `json:"entity_alias"`

	APIKey   *string `json:"api_key,omitempty"`
	KeyAlias *string `json:"key_alias,omitempty"`
	Model    *string `json:"model,omitempty"`
	UserID   *string `json:"user_id,omitempty"`
	Email    *string `json:"user_email,omitempty"`

	Spend         money.Nano `json:"spend"`
	Requests      int64      `json:"api_requests"`
	Successful    int64      `json:"successful_requests"`
	Failed        int64      `json:"failed_requests"`
	Total         int64      `json:"total_tokens"`
	Prompt        int64      `json:"prompt_tokens"`
	Completion    int64      `json:"completion_tokens"`
	CacheRead     int64      `json:"cache_read_input_tokens"`
	CacheCreation int64      `json:"cache_creation_input_tokens"`
}

// exportSplits are what the rows of an export are split by, by its type, and the
// columns that say so.
var exportSplits = map[string]struct {
	by      string
	columns []string
}{
	access.ExportTypes[0]: {},
	access.ExportTypes[1]: {store.ByToken, []string{"api_key", "key_alias", "user_id", "user_email"}},
	access.ExportTypes[2]: {store.ByModel, []string{"model"}},
	access.ExportTypes[3]: {store.ByUser, []string{"user_id", "user_email"}},
}

// exportCounters are the last columns of a table.
var exportCounters = []string{
	"spend", "api_requests", "successful_requests", "failed_requests", "total_tokens", "prompt_tokens", "completion_tokens",
	"cache_read_input_tokens", "cache_creation_input_tokens",
}

// export is the handler of the sums of one sort of entity as a file, the first
// day first.
func (by spentBy) export(a *API, c *Call) (any, *llm.Error) {
	f, e := by.asked(c)
	if e != nil {
		return nil, e
	}
	kind := c.Arg("export_type")
	if kind == "" {
		kind = access.ExportTypes[0]
	}
	split := exportSplits[kind]
	f.By = []string{store.ByDay, store.ByEntity}
	if split.by != "" {
		f.By = append(f.By, split.by)
	}
	sums, e := a.sums(c, f)
	if e != nil {
		return nil, e
	}
	slices.SortStableFunc(sums, func(a, b store.DailySum) int { return strings.Compare(a.Day, b.Day) })
	rows, e := a.exported(c, by.entity, split.by, sums)
	if e != nil {
		return nil, e
	}
	entity := by.entity
	if c.Arg("format") == "json" {
		return rows, nil
	}
	var out bytes.Buffer
	table := csv.NewWriter(&out)
	_ = table.Write(slices.Concat([]string{"date", "entity_id", "entity_alias"}, split.columns, exportCounters)) // into memory
	for i := range rows {
		_ = table.Write(rows[i].cells())
	}
	table.Flush()
	return Reply{Type: "text/csv; charset=utf-8", Body: out.Bytes(), Headers: []llm.Field{
		{Name: []byte("content-disposition"), Value: fmt.Appendf(nil, `attachment; filename="%s_%s_%s_%s.csv"`, entity, kind, f.From, f.To)},
	}}, nil
}

// cells are a row of a table.
func (r *exportedSum) cells() []string {
	out := []string{r.Date, harmless(r.Entity), harmless(r.Alias)}
	for _, text := range []*string{r.APIKey, r.KeyAlias, r.Model, r.UserID, r.Email} {
		if text != nil {
			out = append(out, harmless(*text))
		}
	}
	out = append(out, r.Spend.String())
	for _, n := range []int64{r.Requests, r.Successful, r.Failed, r.Total, r.Prompt, r.Completion, r.CacheRead, r.CacheCreation} {
		out = append(out, strconv.FormatInt(n, 10))
	}
	return out
}

// exported are sums as rows of an export that is split by a dimension.
func (a *API) exported(c *Call, entity, by string, sums []store.DailySum) ([]exportedSum, *llm.Error) {
	tokens, entities := map[string]bool{}, map[string]bool{}
	for i := range sums {
		tokens[sums[i].Token] = true
		entities[sums[i].Entity] = true
	}
	keys, e := a.keysKnown(c, tokens)
	if e != nil {
		return nil, e
	}
	aliases, e := a.entityAliases(c, entity, entities)
	if e != nil {
		return nil, e
	}
	users := make([]string, 0, len(sums))
	for i := range sums {
		if k := keys[sums[i].Token]; k != nil && by == store.ByToken {
			sums[i].User = k.UserID // of the key, as it is now
		}
		users = append(users, sums[i].User)
	}
	known, e := a.usersKnown(c, users)
	if e != nil {
		return nil, e
	}
	out := make([]exportedSum, len(sums))
	for i := range sums {
		s := &sums[i]
		r := &out[i]
		*r = exportedSum{
			Date: s.Day, Entity: s.Entity, Alias: aliases[s.Entity], Spend: s.Spend, Requests: s.Requests, Successful: s.Successful, Failed: s.Failed,
			Total: s.TotalTokens(), Prompt: s.PromptTokens, Completion: s.CompletionTokens, CacheRead: s.CacheReadTokens, CacheCreation: s.CacheWriteTokens,
		}
		if s.Entity == "" {
			r.Entity = unassigned
		}
		email := ""
		if u := known[s.User]; u != nil {
			email = u.Email
		}
		switch by {
		case store.ByToken:
			alias := ""
			if k := keys[s.Token]; k != nil {
				alias = k.Alias
			}
			r.APIKey, r.KeyAlias, r.UserID, r.Email = &s.Token, &alias, &s.User, &email
		case store.ByModel:
			r.Model = &s.Model
		case store.ByUser:
			r.UserID, r.Email = &s.User, &email
		}
	}
	return out, nil
}

// entityAliases are the names of what sums are of, where it has any.
func (a *API) entityAliases(c *Call, entity string, ids map[string]bool) (map[string]string, *llm.Error) {
	out := map[string]string{}
	switch entity {
	case store.EntityTeam:
		return a.teamAliases(c, ids)
	case store.EntityUser:
		users, e := a.usersKnown(c, slices.Collect(maps.Keys(ids)))
		for id, u := range users {
			out[id] = u.Alias
		}
		return out, e
	case store.EntityOrganization:
		found, err := store.Find[identity.Organization](c.Ctx, a.c.Store, store.Query{
			Where: []store.Cond{store.In("organization_id", slices.Collect(maps.Keys(ids)))},
		})
		for _, o := range found {
			out[o.ID] = o.Alias
		}
		return out, a.failed(err)
	}
	return out, nil
}
