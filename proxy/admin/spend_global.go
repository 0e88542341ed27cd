package admin

import (
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

const (
	globalDays = 30  // that are looked back where no dates are given
	globalMost = 100 // entries of a list of what spent most
)

// globalSpendHandlers are the handlers of proxy/access/spend_global.go.
func globalSpendHandlers() map[string]handler {
	return map[string]handler{
		"GET /global/spend/logs":          (*API).globalLogs,
		"GET /global/spend/keys":          (*API).globalKeys,
		"GET /global/spend/teams":         (*API).globalTeams,
		"GET /global/spend/models":        (*API).globalModels,
		"GET /global/spend/provider":      (*API).globalProviders,
		"GET /global/spend/tags":          (*API).globalTags,
		"GET /spend/tags":                 (*API).spendTags,
		"GET /global/spend/all_tag_names": (*API).globalTagNames,
		"GET /global/all_end_users":       (*API).globalCustomerNames,
		"GET /global/spend/all_end_users": (*API).globalCustomerNames,
		"POST /global/spend/end_users":    (*API).globalCustomers,
		"GET /global/spend/report":        (*API).globalReport,
		"GET /user/spend/report":          (*API).userReport,
		"GET /team/spend/report":          (*API).teamReport,
		"GET /organization/spend/report":  (*API).organizationReport,
		"GET /key/spend/report":           (*API).keyReport,
		"GET /team/spend/by_user":         (*API).spendByUser,
		"POST /global/spend/reset":        (*API).resetGlobalSpend,
		"GET /global/activity":            (*API).globalActivity,
		"GET /global/activity/model":      (*API).globalModelActivity,

		"GET /global/activity/exceptions":            (*API).globalExceptions,
		"GET /global/activity/exceptions/deployment": (*API).deploymentExceptions,
		"GET /global/activity/cache_hits":            (*API).globalCacheHits,
		"GET /provider/budgets":                      (*API).providerBudgets,
		"GET /spend/capture_rate":                    (*API).captureRate,
	}
}

// sums reads sums of the period that was asked for, the last 30 days by default.
// Without a limit of its own there may be as many as an answer can hold.
func (a *API) sums(c *Call, f store.DailyFilter) ([]store.DailySum, *llm.Error) {
	if f.From == "" {
		p, e := c.latest(globalDays)
		if e != nil {
			return nil, e
		}
		f.From, f.To = p.days()
	}
	bounded := f.Limit == 0
	if bounded {
		f.Limit = largestSummary + 1
	}
	found, _, err := a.c.Store.DailySums(c.Ctx, f)
	if err != nil {
		return nil, a.failed(err)
	}
	if bounded && len(found) > largestSummary {
		return nil, tooManySums()
	}
	return found, nil
}

// spentDay is what was spent on a day.
type spentDay struct {
	Date   string     `json:"date"`
	Spend  money.Nano `json:"spend"`
	APIKey string     `json:"api_key,omitempty"` // where one was named
}

// globalLogs lists days, the first one first.
func (a *API) globalLogs(c *Call) (any, *llm.Error) {
	key := c.argKey()
	found, e := a.sums(c, store.DailyFilter{Token: key, By: []string{store.ByDay}})
	out := make([]spentDay, len(found))
	for i := range found {
		out[len(found)-1-i] = spentDay{found[i].Day, found[i].Spend, key}
	}
	return out, e
}

// globalKeys lists keys, what spent most first.
func (a *API) globalKeys(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{By: []string{store.ByToken}, MostFirst: true, Limit: c.ArgInt("limit", globalMost)})
	if e != nil {
		return nil, e
	}
	tokens := map[string]bool{}
	for i := range found {
		tokens[found[i].Token] = true
	}
	keys, e := a.keysKnown(c, tokens)
	type spent struct {
		APIKey string     `json:"api_key"`
		Alias  *string    `json:"key_alias"`
		Name   *string    `json:"key_name"`
		Total  money.Nano `json:"total_spend"`
	}
	out := make([]spent, len(found))
	for i := range found {
		out[i] = spent{APIKey: found[i].Token, Total: found[i].Spend}
		if k := keys[found[i].Token]; k != nil {
			out[i].Alias, out[i].Name = null(k.Alias), null(k.Name)
		}
	}
	return out, e
}

// globalTeams answers what teams have spent, by day and in all, the most first. A
// team goes by its alias where it has one; calls without a team are in a part of
// their own, so that the parts come to what was spent.
func (a *API) globalTeams(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{Entity: store.EntityTeam, By: []string{store.ByDay, store.ByEntity}})
	if e != nil {
		return nil, e
	}
	ids := map[string]bool{}
	for i := range found {
		ids[found[i].Entity] = true
	}
	aliases, e := a.teamAliases(c, ids)
	type total struct {
		TeamID string     `json:"team_id"`
		Total  money.Nano `json:"total_spend"`
	}
	out := struct {
		Daily  []map[string]any `json:"daily_spend"`
		Teams  []string         `json:"teams"`
		Totals []total          `json:"total_spend_per_team"`
	}{[]map[string]any{}, []string{}, []total{}}
	at := map[string]int{} // in Totals
	for i := len(found) - 1; i >= 0; i-- {
		s := &found[i]
		name := teamName(s.Entity, aliases)
		if n := len(out.Daily); n == 0 || out.Daily[n-1]["date"] != s.Day {
			out.Daily = append(out.Daily, map[string]any{"date": s.Day})
		}
		day := out.Daily[len(out.Daily)-1]
		before, _ := day[name].(money.Nano)
		day[name] = before + s.Spend
		if _, known := at[name]; !known {
			at[name] = len(out.Totals)
			out.Totals = append(out.Totals, total{TeamID: name})
		}
		out.Totals[at[name]].Total += s.Spend
	}
	out.Totals = mostFirst(out.Totals, func(t total) int64 { return int64(t.Total) }, len(out.Totals))
	for _, t := range out.Totals {
		out.Teams = append(out.Teams, t.TeamID)
	}
	return out, e
}

// teamName is a team's alias, or its id where it has none.
func teamName(id string, aliases map[string]string) string {
	if id == "" {
		return unassigned
	}
	if alias := aliases[id]; alias != "" && alias != "date" {
		return alias
	}
	return id
}

// globalModels lists models, what most was spent on first.
func (a *API) globalModels(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{By: []string{store.ByGroup}, MostFirst: true, Limit: c.ArgInt("limit", globalMost)})
	type spent struct {
		Model string     `json:"model"`
		Total money.Nano `json:"total_spend"`
	}
	out := make([]spent, len(found))
	for i := range found {
		out[i] = spent{found[i].ModelGroup, found[i].Spend}
	}
	return out, e
}

// globalProviders lists providers, what most was spent at first.
func (a *API) globalProviders(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{By: []string{store.ByProvider}, MostFirst: true})
	type spent struct {
		Provider string     `json:"provider"`
		Spend    money.Nano `json:"spend"`
	}
	out := make([]spent, len(found))
	for i := range found {
		out[i] = spent{found[i].Provider, found[i].Spend}
	}
	return out, e
}

// globalTags answers what was spent by tag, the most first. A call of two tags
// is in both.
func (a *API) globalTags(c *Call) (any, *llm.Error) {
	f := store.DailyFilter{Entity: store.EntityTag, By: []string{store.ByEntity}, MostFirst: true}
	if tags := c.Args("tags"); len(tags) > 0 && tags[0] != "all-tags" {
		f.IDs = tags
	}
	found, e := a.sums(c, f)
	type spent struct {
		Name  string     `json:"name"`
		Spend money.Nano `json:"spend"`
		Calls int64      `json:"log_count"`
	}
	out := struct {
		Tags []spent `json:"spend_per_tag"`
	}{make([]spent, len(found))}
	for i := range found {
		out.Tags[i] = spent{found[i].Entity, found[i].Spend, found[i].Requests}
	}
	return out, e
}

// spendTags is globalTags for what the caller sees.
func (a *API) spendTags(c *Call) (any, *llm.Error) {
	scope, e := c.spendScope()
	if e != nil {
		return nil, e
	}
	found, e := a.sums(c, store.DailyFilter{Entity: store.EntityTag, By: []string{store.ByEntity}, MostFirst: true, Scope: scope})
	type spent struct {
		Tag   string     `json:"individual_request_tag"`
		Calls int64      `json:"log_count"`
		Total money.Nano `json:"total_spend"`
	}
	out := make([]spent, len(found))
	for i := range found {
		out[i] = spent{found[i].Entity, found[i].Requests, found[i].Spend}
	}
	return out, e
}

// entities are the names of what sums are kept for.
func (a *API) entities(c *Call, entity string) ([]string, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{Entity: entity, Named: true, By: []string{store.ByEntity}})
	out := make([]string, len(found))
	for i := range found {
		out[i] = found[i].Entity
	}
	return out, e
}

func (a *API) globalTagNames(c *Call) (any, *llm.Error) {
	names, e := a.entities(c, store.EntityTag)
	return map[string][]string{"tag_names": names}, e
}

func (a *API) globalCustomerNames(c *Call) (any, *llm.Error) {
	names, e := a.entities(c, store.EntityCustomer)
	return map[string][]string{"end_users": names}, e
}

// globalCustomers lists customers, what was spent for most first.
func (a *API) globalCustomers(c *Call) (any, *llm.Error) {
	f := store.DailyFilter{Entity: store.EntityCustomer, By: []string{store.ByEntity}, MostFirst: true, Limit: globalMost}
	if key := c.Body.Text("api_key"); key != "" {
		f.Token = digestOfKey(key)
	}
	from, to := c.Body.Time("startTime"), c.Body.Time("endTime")
	if (from == nil) != (to == nil) || from != nil && to.Before(*from) {
		return nil, badRequest("startTime and endTime are given together, the first one first.", "startTime")
	}
	if from != nil {
		f.From, f.To = from.UTC().Format(time.DateOnly), to.UTC().Format(time.DateOnly)
	}
	found, e := a.sums(c, f)
	type spent struct {
		Customer string     `json:"end_user"`
		Calls    int64      `json:"total_count"`
		Total    money.Nano `json:"total_spend"`
	}
	out := make([]spent, len(found))
	for i := range found {
		out[i] = spent{found[i].Entity, found[i].Requests, found[i].Spend}
	}
	return out, e
}

// activeDay is the calls of a day.
type activeDay struct {
	Date     string `json:"date"` // Nov 21
	Requests int64  `json:"api_requests"`
	Tokens   int64  `json:"total_tokens"`
}

// active is the calls of a period.
type active struct {
	Daily    []activeDay `json:"daily_data"` // the first one first
	Requests int64       `json:"sum_api_requests"`
	Tokens   int64       `json:"sum_total_tokens"`
}

// shortDay is a day of sums as charts have it: Nov 21.
func shortDay(day string) string {
	at, _ := time.Parse(time.DateOnly, day) // it is one
	return at.Format("Jan 02")
}

func (v *active) add(s *store.DailySum) {
	v.Daily = append(v.Daily, activeDay{shortDay(s.Day), s.Requests, s.TotalTokens()})
	v.Requests, v.Tokens = v.Requests+s.Requests, v.Tokens+s.TotalTokens()
}

func (a *API) globalActivity(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{By: []string{store.ByDay}})
	out := active{Daily: []activeDay{}}
	for i := len(found) - 1; i >= 0; i-- {
		out.add(&found[i])
	}
	return out, e
}

// activeModels is how many models are told of.
const activeModels = 10

// globalModelActivity lists the models that were called most.
func (a *API) globalModelActivity(c *Call) (any, *llm.Error) {
	found, e := a.sums(c, store.DailyFilter{By: []string{store.ByDay, store.ByGroup}})
	type model struct {
		Model string `json:"model"`
		active
	}
	at := map[string]int{}
	out := []*model{}
	for i := len(found) - 1; i >= 0; i-- {
		name := found[i].ModelGroup
		if _, known := at[name]; !known {
			at[name] = len(out)
			out = append(out, &model{Model: name})
		}
		out[at[name]].add(&found[i])
	}
	return mostFirst(out, func(m *model) int64 { return m.Requests }, activeModels), e
}
