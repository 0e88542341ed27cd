package admin

import (
	"cmp"
	"slices"

	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// mostFirst sorts by a number, the largest first, and keeps so many.
func mostFirst[T any](of []T, by func(v T) int64, most int) []T {
	slices.SortStableFunc(of, func(a, b T) int { return cmp.Compare(by(b), by(a)) })
	return of[:min(len(of), most)]
}

// reported is what was spent with a key on a model.
type reported struct {
	Model  string     `json:"model"`
	Spend  money.Nano `json:"spend"`
	Tokens int64      `json:"total_tokens"`
	APIKey string     `json:"api_key"`
}

// reportedTeam is a team on a day; reportedCustomer a customer.
type reportedTeam struct {
	Name     string     `json:"team_name"`
	Total    money.Nano `json:"total_spend"`
	Metadata []reported `json:"metadata"`
}

type reportedCustomer struct {
	Name     string     `json:"customer"`
	Total    money.Nano `json:"total_spend"`
	Metadata []reported `json:"metadata"`
}

type teamsDay struct {
	Day   string          `json:"group_by_day"`
	Teams []*reportedTeam `json:"teams"`
}

type customersDay struct {
	Day       string              `json:"group_by_day"`
	Customers []*reportedCustomer `json:"customers"`
}

// globalReport answers what was spent, by day and team or customer, or by key.
func (a *API) globalReport(c *Call) (any, *llm.Error) {
	p, e := c.wholePeriod()
	if e != nil {
		return nil, e
	}
	f := store.DailyFilter{Token: c.argKey()}
	f.From, f.To = p.days()
	team, user, customer := c.Arg("team_id"), c.Arg("internal_user_id"), c.Arg("customer_id")
	switch {
	case user != "" && (team != "" || customer != ""):
		return nil, badRequest("internal_user_id and team_id or customer_id exclude each other: give one of them.", "internal_user_id")
	case team != "" && customer != "":
		return a.teamCustomerReport(c, f, team, customer)
	case user != "":
		f.IDs = []string{user}
		return a.keysReport(c, f)
	case team != "":
		f.Entity, f.IDs = store.EntityTeam, []string{team}
		return a.keysReport(c, f)
	case customer != "" || c.Arg("group_by") == "customer":
		f.Entity = store.EntityCustomer
		if customer != "" {
			f.IDs = []string{customer}
		}
		return a.customersReport(c, f)
	case c.Arg("group_by") == "api_key" || f.Token != "":
		return a.keysReport(c, f)
	default:
		f.Entity = store.EntityTeam
		return a.teamsReport(c, f)
	}
}

// reportBy are the sums of reports by day.
var reportBy = []string{store.ByDay, store.ByEntity, store.ByToken, store.ByGroup}

func reportedOf(s *store.DailySum) reported {
	return reported{s.ModelGroup, s.Spend, s.TotalTokens(), s.Token}
}

// dayStart is a day of sums as reports have it, which LiteLLM's database writes as
// the time at which it begins.
func dayStart(day string) string { return day + "T00:00:00+00:00" }

// unassignedTeam is what reports call the team of calls that have none.
const unassignedTeam = "Unassigned Team"

// teamsReport lists days, the first one first, and what their teams have spent.
func (a *API) teamsReport(c *Call, f store.DailyFilter) (any, *llm.Error) {
	f.By = reportBy
	found, e := a.sums(c, f)
	if e != nil {
		return nil, e
	}
	ids := map[string]bool{}
	for i := range found {
		ids[found[i].Entity] = true
	}
	aliases, e := a.teamAliases(c, ids)
	out := []*teamsDay{}
	last := ""
	for i := range found {
		s, start := &found[i], dayStart(found[i].Day)
		if n := len(out); n == 0 || out[n-1].Day != start {
			out = append(out, &teamsDay{Day: start})
		}
		d := out[len(out)-1]
		if len(d.Teams) == 0 || last != s.Entity {
			d.Teams, last = append(d.Teams, &reportedTeam{Name: cmp.Or(aliases[s.Entity], s.Entity, unassignedTeam)}), s.Entity
		}
		t := d.Teams[len(d.Teams)-1]
		t.Total, t.Metadata = t.Total+s.Spend, append(t.Metadata, reportedOf(s))
	}
	slices.Reverse(out)
	return out, e
}

// customersReport is teamsReport for customers.
func (a *API) customersReport(c *Call, f store.DailyFilter) ([]*customersDay, *llm.Error) {
	f.By = reportBy
	found, e := a.sums(c, f)
	out := []*customersDay{}
	for i := range found {
		s, start := &found[i], dayStart(found[i].Day)
		if n := len(out); n == 0 || out[n-1].Day != start {
			out = append(out, &customersDay{Day: start})
		}
		d := out[len(out)-1]
		if n := len(d.Customers); n == 0 || d.Customers[n-1].Name != s.Entity {
			d.Customers = append(d.Customers, &reportedCustomer{Name: s.Entity})
		}
		t := d.Customers[len(d.Customers)-1]
		t.Total, t.Metadata = t.Total+s.Spend, append(t.Metadata, reportedOf(s))
	}
	slices.Reverse(out)
	return out, e
}

// reportedTeamCustomer is a customer of a team on a day.
type reportedTeamCustomer struct {
	Team     string     `json:"team_name"`
	Customer string     `json:"customer"`
	Total    money.Nano `json:"total_spend"`
	Metadata []reported `json:"metadata"`
}

type teamCustomersDay struct {
	Day string                  `json:"group_by_day"`
	Of  []*reportedTeamCustomer `json:"teams_customers"`
}

// teamCustomerReport is customersReport for the calls of one customer in one team.
func (a *API) teamCustomerReport(c *Call, f store.DailyFilter, team, customer string) (any, *llm.Error) {
	f.Entity, f.IDs, f.Scope = store.EntityCustomer, []string{customer}, &store.SpendScope{Teams: []string{team}}
	days, e := a.customersReport(c, f)
	if e != nil {
		return nil, e
	}
	aliases, e := a.teamAliases(c, map[string]bool{team: true})
	out := []teamCustomersDay{}
	for _, d := range days {
		day := teamCustomersDay{Day: d.Day}
		for _, r := range d.Customers {
			day.Of = append(day.Of, &reportedTeamCustomer{cmp.Or(aliases[team], team), r.Name, r.Total, r.Metadata})
		}
		out = append(out, day)
	}
	return out, e
}

// reportedModel is what was spent on a model; reportedKey with a key.
type reportedModel struct {
	Model  string     `json:"model"`
	Cost   money.Nano `json:"total_cost"`
	Input  int64      `json:"total_input_tokens"`
	Output int64      `json:"total_output_tokens"`
}

type reportedKey struct {
	APIKey string          `json:"api_key"`
	Cost   money.Nano      `json:"total_cost"`
	Input  int64           `json:"total_input_tokens"`
	Output int64           `json:"total_output_tokens"`
	Models []reportedModel `json:"model_details"`
}

// keysReport lists keys, what spent most first.
func (a *API) keysReport(c *Call, f store.DailyFilter) (any, *llm.Error) {
	f.By = []string{store.ByToken, store.ByGroup}
	found, e := a.sums(c, f)
	out := []*reportedKey{}
	for i := range found {
		s := &found[i]
		if n := len(out); n == 0 || out[n-1].APIKey != s.Token {
			out = append(out, &reportedKey{APIKey: s.Token})
		}
		k := out[len(out)-1]
		k.Cost, k.Input, k.Output = k.Cost+s.Spend, k.Input+s.PromptTokens, k.Output+s.CompletionTokens
		k.Models = append(k.Models, reportedModel{s.ModelGroup, s.Spend, s.PromptTokens, s.CompletionTokens})
	}
	return mostFirst(out, func(k *reportedKey) int64 { return int64(k.Cost) }, len(out)), e
}

// userReport is keysReport of one user, as far as the caller sees its calls.
func (a *API) userReport(c *Call) (any, *llm.Error) {
	who, e := c.Standing()
	if e != nil {
		return nil, e
	}
	id := cmp.Or(c.Arg("internal_user_id"), who.UserID)
	if id == "" {
		return nil, badRequest("internal_user_id is missing: the calling key has no user.", "internal_user_id")
	}
	return a.ownReport(c, store.DailyFilter{IDs: []string{id}})
}

// teamReport is keysReport of one team, as far as the caller sees its calls.
func (a *API) teamReport(c *Call) (any, *llm.Error) {
	id := cmp.Or(c.Arg("team_id"), c.Caller.Team)
	if id == "" {
		return nil, badRequest("team_id is missing: the calling key has no team.", "team_id")
	}
	return a.ownReport(c, store.DailyFilter{Entity: store.EntityTeam, IDs: []string{id}})
}

// organizationReport is keysReport of one organization, as far as the caller
// sees its calls.
func (a *API) organizationReport(c *Call) (any, *llm.Error) {
	id := cmp.Or(c.Arg("organization_id"), c.Caller.Organization)
	if id == "" {
		return nil, badRequest("organization_id is missing: the calling key has no organization.", "organization_id")
	}
	return a.ownReport(c, store.DailyFilter{Entity: store.EntityOrganization, IDs: []string{id}})
}

// keyReport is keysReport of one key, as far as the caller sees its calls. A key
// sees its own, whoever else may.
func (a *API) keyReport(c *Call) (any, *llm.Error) {
	own, token := c.callingKey(), c.argKey()
	if token != "" && token != own {
		return a.ownReport(c, store.DailyFilter{Token: token})
	}
	p, e := c.wholePeriod()
	if e != nil {
		return nil, e
	}
	f := store.DailyFilter{Token: own}
	f.From, f.To = p.days()
	return a.keysReport(c, f)
}

func (a *API) ownReport(c *Call, f store.DailyFilter) (any, *llm.Error) {
	p, e := c.wholePeriod()
	if e != nil {
		return nil, e
	}
	f.From, f.To = p.days()
	if f.Scope, e = c.spendScope(); e != nil {
		return nil, e
	}
	return a.keysReport(c, f)
}
