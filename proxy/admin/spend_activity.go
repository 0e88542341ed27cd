package admin

import (
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// spendMetrics are the counters of a sum.
type spendMetrics struct {
	Spend         money.Nano `json:"spend"`
	Prompt        int64      `json:"prompt_tokens"`
	Completion    int64      `json:"completion_tokens"`
	CacheRead     int64      `json:"cache_read_input_tokens"`
	CacheCreation int64      `json:"cache_creation_input_tokens"`
	Total         int64      `json:"total_tokens"`
	Successful    int64      `json:"successful_requests"`
	Failed        int64      `json:"failed_requests"`
	Requests      int64      `json:"api_requests"`
}

func (m *spendMetrics) add(d *store.DailySum) {
	m.Spend += d.Spend
	m.Prompt += d.PromptTokens
	m.Completion += d.CompletionTokens
	m.CacheRead += d.CacheReadTokens
	m.CacheCreation += d.CacheWriteTokens
	m.Total += d.TotalTokens()
	m.Successful += d.Successful
	m.Failed += d.Failed
	m.Requests += d.Requests
}

// keyMetrics are the counters of a key.
type keyMetrics struct {
	Metrics  spendMetrics `json:"metrics"`
	Metadata activityKey  `json:"metadata"`
}

// activityKey says which key a digest is of, as far as it is still there.
type activityKey struct {
	Alias  *string `json:"key_alias"`
	TeamID *string `json:"team_id"`
	UserID *string `json:"user_id"`
	Exists bool    `json:"key_exists"`
}

// partMetrics are the counters of a model, a provider, an entity and so on.
type partMetrics struct {
	Metrics  spendMetrics           `json:"metrics"`
	Metadata map[string]string      `json:"metadata"`
	Keys     map[string]*keyMetrics `json:"api_key_breakdown"`
}

type parts map[string]*partMetrics

// breakdown is what a day's sum is made of.
type breakdown struct {
	MCPServers parts                  `json:"mcp_servers"` // none
	Models     parts                  `json:"models"`
	Groups     parts                  `json:"model_groups"`
	Providers  parts                  `json:"providers"`
	Endpoints  parts                  `json:"endpoints"`
	Keys       map[string]*keyMetrics `json:"api_keys"`
	Entities   parts                  `json:"entities"`
}

// activityDay is the sums of a day.
type activityDay struct {
	Date      string       `json:"date"`
	Metrics   spendMetrics `json:"metrics"`
	Breakdown breakdown    `json:"breakdown"`
}

// activityPage is one page of sums. As with LiteLLM a page has so many sums, not
// days: a day may go on on the next page, and the totals are those of the page.
type activityPage struct {
	Results  []*activityDay `json:"results"`
	Metadata struct {
		Spend         money.Nano `json:"total_spend"`
		Prompt        int64      `json:"total_prompt_tokens"`
		Completion    int64      `json:"total_completion_tokens"`
		Total         int64      `json:"total_tokens"`
		Requests      int64      `json:"total_api_requests"`
		Successful    int64      `json:"total_successful_requests"`
		Failed        int64      `json:"total_failed_requests"`
		CacheRead     int64      `json:"total_cache_read_input_tokens"`
		CacheCreation int64      `json:"total_cache_creation_input_tokens"`
		Page          int        `json:"page"`
		TotalPages    int        `json:"total_pages"`
		HasMore       bool       `json:"has_more"`
		KeyLimit      *int       `json:"api_key_limit"`         // nil: all keys are there
		Keys          *int       `json:"total_api_keys"`        // beside api_key_limit
		EntityKeys    *struct{}  `json:"entity_total_api_keys"` // not counted
	} `json:"metadata"`
}

// unassigned is the entity of calls that have none.
const unassigned = "Unassigned"

// activityBy is what sums of the breakdown of a day are told apart by.
var activityBy = []string{store.ByDay, store.ByEntity, store.ByToken, store.ByGroup, store.ByModel, store.ByProvider, store.ByEndpoint}

// spentBy is a sort of entity that calls are of, and the names of the arguments
// that say which ones are asked for, or all but which ("": no such argument).
type spentBy struct{ entity, ids, not string }

// asked is the filter of the query.
func (by spentBy) asked(c *Call) (f store.DailyFilter, e *llm.Error) {
	p, e := c.wholePeriod()
	if e != nil {
		return f, e
	}
	f = store.DailyFilter{
		Entity: by.entity, Token: c.argKey(), Model: c.Arg("model"), Named: by.entity == store.EntityTeam || by.entity == store.EntityOrganization,
	}
	f.From, f.To = p.days()
	if f.Scope, e = c.spendScope(); e != nil {
		return f, e
	}
	if named := c.Args(by.ids); len(named) > 0 {
		f.IDs = named
	}
	if by.not != "" {
		f.Not = c.Args(by.not)
	}
	return f, nil
}

// activity is the handler of the sums of one sort of entity, page by page.
func (by spentBy) activity(a *API, c *Call) (any, *llm.Error) {
	f, e := by.asked(c)
	if e != nil {
		return nil, e
	}
	page, size := c.ArgInt("page", 1), c.ArgInt("page_size", 50)
	f.By, f.Limit, f.Offset = activityBy, size, (page-1)*size
	sums, total, err := a.c.Store.DailySums(c.Ctx, f)
	if err != nil {
		return nil, a.failed(err)
	}
	out, e := a.activityOf(c, by.entity, sums)
	if e != nil {
		return nil, e
	}
	out.Metadata.Page, out.Metadata.TotalPages, out.Metadata.HasMore = page, pages(total, size), f.Offset+len(sums) < total
	return out, nil
}

// keysApart is how many keys a whole period is told apart by where the caller
// does not say.
const keysApart = 100

// aggregated is the handler of the sums of one sort of entity in one answer. The
// keys that spent most are told apart; the others are in all sums but those of
// keys, so that the answer does not grow with the number of keys.
func (by spentBy) aggregated(a *API, c *Call) (any, *llm.Error) {
	f, e := by.asked(c)
	if e != nil {
		return nil, e
	}
	most := c.ArgInt("api_key_limit", keysApart)
	keyed := f
	keyed.Keyed, keyed.By, keyed.MostFirst, keyed.Limit = true, []string{store.ByToken}, true, most
	keys, total, err := a.c.Store.DailySums(c.Ctx, keyed)
	if err != nil {
		return nil, a.failed(err)
	}
	f.By, f.Apart = activityBy, make([]string, len(keys))
	for i := range keys {
		f.Apart[i] = keys[i].Token
	}
	sums, e := a.sums(c, f)
	if e != nil {
		return nil, e
	}
	out, e := a.activityOf(c, by.entity, sums)
	if e != nil {
		return nil, e
	}
	out.Metadata.Page, out.Metadata.TotalPages, out.Metadata.KeyLimit, out.Metadata.Keys = 1, 1, &most, &total
	return out, nil
}

// activityOf groups sums by their days, which come one after the other.
func (a *API) activityOf(c *Call, entity string, sums []store.DailySum) (*activityPage, *llm.Error) {
	tokens, teams := map[string]bool{}, map[string]bool{}
	for i := range sums {
		tokens[sums[i].Token] = true
		if entity == store.EntityTeam {
			teams[sums[i].Entity] = true
		}
	}
	keys, e := a.keysKnown(c, tokens)
	if e != nil {
		return nil, e
	}
	aliases, e := a.teamAliases(c, teams)
	if e != nil {
		return nil, e
	}
	out := &activityPage{Results: []*activityDay{}}
	var whole spendMetrics
	for i := range sums {
		s := &sums[i]
		whole.add(s)
		if n := len(out.Results); n == 0 || out.Results[n-1].Date != s.Day {
			out.Results = append(out.Results, &activityDay{Date: s.Day, Breakdown: breakdown{
				MCPServers: parts{}, Models: parts{}, Groups: parts{}, Providers: parts{}, Endpoints: parts{}, Keys: map[string]*keyMetrics{}, Entities: parts{},
			}})
		}
		d := out.Results[len(out.Results)-1]
		d.Metrics.add(s)
		k := keys[s.Token]
		d.Breakdown.Models.add(s.Model, s, k)
		d.Breakdown.Groups.add(s.ModelGroup, s, k)
		d.Breakdown.Providers.add(s.Provider, s, k)
		d.Breakdown.Endpoints.add(s.Endpoint, s, k)
		addKey(d.Breakdown.Keys, s, k)
		name := s.Entity
		if name == "" {
			name = unassigned
		}
		d.Breakdown.Entities.add(name, s, k)
		if alias := aliases[s.Entity]; alias != "" {
			d.Breakdown.Entities[name].Metadata["team_alias"] = alias
		}
	}
	m := &out.Metadata
	m.Spend, m.Prompt, m.Completion, m.Total, m.CacheRead, m.CacheCreation = whole.Spend, whole.Prompt, whole.Completion, whole.Total, whole.CacheRead, whole.CacheCreation
	m.Requests, m.Successful, m.Failed = whole.Requests, whole.Successful, whole.Failed
	return out, nil
}

// teamAliases are the names of teams, as far as there are such.
func (a *API) teamAliases(c *Call, ids map[string]bool) (map[string]string, *llm.Error) {
	out := map[string]string{}
	delete(ids, "")
	if len(ids) == 0 {
		return out, nil
	}
	named := make([]string, 0, len(ids))
	for id := range ids {
		named = append(named, id)
	}
	found, err := store.Find[identity.Team](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("team_id", named)}})
	for _, t := range found {
		out[t.ID] = t.Alias
	}
	return out, a.failed(err)
}

// add adds a sum to the part that is named; what has no name is in none.
func (p parts) add(name string, s *store.DailySum, k *identity.Key) {
	if name == "" {
		return
	}
	m := p[name]
	if m == nil {
		m = &partMetrics{Metadata: map[string]string{}, Keys: map[string]*keyMetrics{}}
		p[name] = m
	}
	m.Metrics.add(s)
	addKey(m.Keys, s, k)
}

func addKey(keys map[string]*keyMetrics, s *store.DailySum, k *identity.Key) {
	if s.Token == "" {
		return
	}
	m := keys[s.Token]
	if m == nil {
		m = &keyMetrics{}
		if k != nil {
			m.Metadata = activityKey{Alias: null(k.Alias), TeamID: null(k.TeamID), UserID: null(k.UserID), Exists: true}
		}
		keys[s.Token] = m
	}
	m.Metrics.add(s)
}
