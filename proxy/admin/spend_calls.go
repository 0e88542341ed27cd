package admin

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/proxy/window"
)

// callTypes are what LiteLLM calls the functions behind routes, by what routes
// end with.
var callTypes = []struct{ ending, name string }{
	{"/chat/completions", "acompletion"},
	{"/completions", "atext_completion"},
	{"/embeddings", "aembedding"},
	{"/images/generations", "aimage_generation"},
	{"/images/edits", "aimage_edit"},
	{"/images/variations", "aimage_variation"},
	{"/audio/speech", "aspeech"},
	{"/audio/transcriptions", "atranscription"},
	{"/moderations", "amoderation"},
	{"/rerank", "arerank"},
	{"/messages", "anthropic_messages"},
	{"/responses", "aresponses"},
}

// callType is a row's call_type in LiteLLM's words. What is kept is the route;
// rows that came from LiteLLM have its words already.
func callType(kept string) string {
	if !strings.HasPrefix(kept, "/") {
		return kept
	}
	for _, t := range callTypes {
		if strings.HasSuffix(kept, t.ending) {
			return t.name
		}
	}
	return kept
}

// tally counts rows of the period that was asked for, which has to be given.
func (a *API) tally(c *Call, f store.SpendFilter, by ...string) ([]store.SpendTally, *llm.Error) {
	p, e := c.wholePeriod()
	if e != nil {
		return nil, e
	}
	f.From, f.To, f.Limit = p.from, p.to, largestSummary+1
	found, err := a.c.Store.Tally(c.Ctx, f, by...)
	if err != nil {
		return nil, a.failed(err)
	}
	if len(found) > largestSummary {
		return nil, tooManySums()
	}
	return found, nil
}

// exceptionDay is how many calls were refused on a day.
type exceptionDay struct {
	Date  string `json:"date"` // Nov 21
	Count int64  `json:"num_rate_limit_exceptions"`
}

// exceptions are the calls of a period that providers refused by their rate
// limits.
type exceptions struct {
	Daily []exceptionDay `json:"daily_data"` // the first one first
	Sum   int64          `json:"sum_num_rate_limit_exceptions"`
}

func (x *exceptions) add(t *store.SpendTally) {
	x.Daily, x.Sum = append(x.Daily, exceptionDay{shortDay(t.Day), t.Rows}), x.Sum+t.Rows
}

// limited names the attempts at a model's providers that these refused.
func limited(c *Call) store.SpendFilter {
	return store.SpendFilter{Model: c.Arg("model_group"), HTTPStatus: 429, Attempted: true}
}

func (a *API) globalExceptions(c *Call) (any, *llm.Error) {
	found, e := a.tally(c, limited(c), store.TallyDay)
	out := exceptions{Daily: []exceptionDay{}}
	for i := range found {
		out.add(&found[i])
	}
	return out, e
}

// deploymentExceptions is globalExceptions by deployment, the one with most
// first. LiteLLM names a deployment by its address, which is not kept here.
func (a *API) deploymentExceptions(c *Call) (any, *llm.Error) {
	found, e := a.tally(c, limited(c), store.TallyDay, store.TallyModelID)
	type deployment struct {
		ID string `json:"deployment"`
		exceptions
	}
	at := map[string]*deployment{}
	out := []*deployment{}
	for i := range found {
		id := found[i].ModelID
		if at[id] == nil {
			at[id] = &deployment{ID: id}
			out = append(out, at[id])
		}
		at[id].add(&found[i])
	}
	return mostFirst(out, func(d *deployment) int64 { return d.Sum }, len(out)), e
}

// unnamedKey is what LiteLLM calls the keys without an alias, all of them.
const unnamedKey = "Unnamed Key"

// cacheHits counts the calls of keys of one alias to one route of one model.
type cacheHits struct {
	Key       string `json:"api_key"` // its alias
	CallType  string `json:"call_type"`
	Model     string `json:"model"` // of the provider
	Rows      int64  `json:"total_rows"`
	Hits      int64  `json:"cache_hit_true_rows"`
	Failed    int64  `json:"failed_rows"`
	Cached    int64  `json:"cached_completion_tokens"`
	Generated int64  `json:"generated_completion_tokens"`
}

func (a *API) globalCacheHits(c *Call) (any, *llm.Error) {
	found, e := a.tally(c, store.SpendFilter{}, store.TallyToken, store.TallyCallType, store.TallyProviderModel)
	if e != nil {
		return nil, e
	}
	tokens := map[string]bool{}
	for i := range found {
		tokens[found[i].Token] = true
	}
	keys, e := a.keysKnown(c, tokens)
	if e != nil {
		return nil, e
	}
	type group struct{ key, call, model string }
	at := map[group]*cacheHits{}
	out := []*cacheHits{}
	for i := range found {
		t := &found[i]
		g := group{unnamedKey, callType(t.CallType), t.ProviderModel}
		if k := keys[t.Token]; k != nil {
			g.key = cmp.Or(k.Alias, unnamedKey)
		}
		h := at[g]
		if h == nil {
			h = &cacheHits{Key: g.key, CallType: g.call, Model: g.model}
			at[g], out = h, append(out, h)
		}
		h.Rows, h.Hits, h.Failed = h.Rows+t.Rows, h.Hits+t.CacheHits, h.Failed+t.Failed
		h.Cached, h.Generated = h.Cached+t.CachedTokens, h.Generated+t.GeneratedTokens
	}
	return mostFirst(out, func(h *cacheHits) int64 { return h.Rows }, len(out)), nil
}

// ProviderBudget is what may be spent at a provider in a window.
type ProviderBudget struct {
	Max      money.Nano
	Duration string // "": for all time
}

// providerBudgets answers the budgets of providers and what was spent of them in
// the windows that run. What is in flight, and what journals have not shipped, is
// not in it.
func (a *API) providerBudgets(c *Call) (any, *llm.Error) {
	windows, err := a.c.Store.WindowsOf(c.Ctx, bill.KindProvider)
	if err != nil {
		return nil, a.failed(err)
	}
	type budget struct {
		Limit  money.Nano `json:"budget_limit"`
		Period *string    `json:"time_period"`
		Spend  money.Nano `json:"spend"`
		Reset  *isoZ      `json:"budget_reset_at"`
	}
	out := map[string]budget{}
	for name, of := range a.c.Providers {
		b := budget{Limit: of.Max, Period: null(of.Duration)}
		grid := window.New(of.Duration, time.Time{}, a.c.Zone)
		from, to := grid.At(c.Now)
		if !grid.Endless() {
			to = to.UTC()
			b.Reset = zulu(&to)
		}
		for i := range windows {
			w := &windows[i]
			if w.EntityID == name && w.Duration == of.Duration && (grid.Endless() || !w.Start.Before(from)) {
				b.Spend = w.Spend
			}
		}
		out[name] = b
	}
	return map[string]any{"providers": out}, nil
}

// userSpend is what a user of a team has spent. A call of a key that belongs to
// the team alone is in a row without a user.
type userSpend struct {
	TeamID     string     `json:"team_id"`
	TeamAlias  *string    `json:"team_alias"`
	UserID     string     `json:"user_id"`
	Email      *string    `json:"user_email"`
	Alias      *string    `json:"user_alias"`
	Spend      money.Nano `json:"spend"`
	Prompt     int64      `json:"prompt_tokens"`
	Completion int64      `json:"completion_tokens"`
	Total      int64      `json:"total_tokens"`
	Requests   int64      `json:"api_requests"`
	Successful int64      `json:"successful_requests"`
	Failed     int64      `json:"failed_requests"`
}

// spendByUser answers what the users of teams have spent, as far as the caller
// sees their calls, the most first.
func (a *API) spendByUser(c *Call) (any, *llm.Error) {
	f, e := spentBy{store.EntityTeam, "team_ids", ""}.asked(c)
	if e != nil {
		return nil, e
	}
	f.By, f.MostFirst = []string{store.ByEntity, store.ByUser}, true
	found, e := a.sums(c, f)
	if e != nil {
		return nil, e
	}
	ids, teams := []string{}, map[string]bool{}
	for i := range found {
		teams[found[i].Entity] = true
		ids = append(ids, found[i].User)
	}
	aliases, e := a.teamAliases(c, teams)
	if e != nil {
		return nil, e
	}
	users, e := a.usersKnown(c, ids)
	if e != nil {
		return nil, e
	}
	rows := make([]userSpend, len(found))
	for i := range found {
		s := &found[i]
		rows[i] = userSpend{
			TeamID: s.Entity, TeamAlias: null(aliases[s.Entity]), UserID: s.User, Spend: s.Spend, Prompt: s.PromptTokens, Completion: s.CompletionTokens,
			Total: s.TotalTokens(), Requests: s.Requests, Successful: s.Successful, Failed: s.Failed,
		}
		if u := users[s.User]; u != nil {
			rows[i].Email, rows[i].Alias = null(u.Email), null(u.Alias)
		}
	}
	return struct {
		From    string      `json:"start_date"`
		To      string      `json:"end_date"`
		Results []userSpend `json:"results"`
	}{f.From, f.To, rows}, nil
}

// usersKnown are users by their ids, as far as there are such.
func (a *API) usersKnown(c *Call, ids []string) (map[string]*identity.User, *llm.Error) {
	out := map[string]*identity.User{}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return id == "" })
	if len(ids) == 0 {
		return out, nil
	}
	found, err := store.Find[identity.User](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("user_id", ids)}})
	for _, u := range found {
		out[u.ID] = u
	}
	return out, a.failed(err)
}
