package admin

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

const (
	longestLogs    = 5000  // rows that /spend/logs answers
	countedLogs    = 10000 // rows that pages are made of
	largestSummary = 50000 // sums that a summary is made of
	lookedBack     = 7     // days in which an id is looked for that is no request's
)

// readSpend reads rows with the aliases of their keys.
func (a *API) readSpend(c *Call, f store.SpendFilter) ([]spendLog, *llm.Error) {
	var found []*store.SpendRow
	err := a.c.Store.EachSpend(c.Ctx, f, func(r *store.SpendRow) error {
		found = append(found, r)
		return nil
	})
	if err != nil {
		return nil, a.failed(err)
	}
	return a.shownSpend(c, found)
}

func (a *API) shownSpend(c *Call, found []*store.SpendRow) ([]spendLog, *llm.Error) {
	keys := map[string]bool{}
	for _, r := range found {
		keys[r.Token] = true
	}
	known, e := a.keysKnown(c, keys)
	if e != nil {
		return nil, e
	}
	out := make([]spendLog, len(found))
	for i, r := range found {
		out[i] = newSpendLog(r, known[r.Token])
	}
	return out, nil
}

// keysKnown are keys by their digests, as far as there are such.
func (a *API) keysKnown(c *Call, digests map[string]bool) (map[string]*identity.Key, *llm.Error) {
	out := map[string]*identity.Key{}
	delete(digests, "")
	if len(digests) == 0 {
		return out, nil
	}
	tokens := make([]string, 0, len(digests))
	for t := range digests {
		tokens = append(tokens, t)
	}
	found, err := store.Find[identity.Key](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.In("token", tokens)}})
	for _, k := range found {
		out[k.Token] = k
	}
	return out, a.failed(err)
}

// spendByID reads the rows of one request, with what was kept of its body. An id
// that is none of a request is that of a call or of a provider's answer, which
// no index knows: it is looked for in the period alone, or the last days.
func (a *API) spendByID(c *Call, f store.SpendFilter, id string) ([]spendLog, *llm.Error) {
	if len(id) > 1024 {
		return nil, badRequest("request_id is too long: no id has more than 1024 bytes.", "request_id")
	}
	tries := make([]store.SpendFilter, 0, 3)
	if raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", "")); err == nil && len(raw) == 16 && len(id) == 36 {
		byID := f
		byID.From, byID.To, byID.RequestID = time.Time{}, time.Time{}, (*[16]byte)(raw)
		tries = append(tries, byID)
	}
	if f.From.IsZero() {
		f.From = c.Now.AddDate(0, 0, -lookedBack)
	}
	byCall, byAnswer := f, f
	byCall.CallID, byAnswer.ProviderRequestID = id, id
	for _, f := range append(tries, byCall, byAnswer) {
		f.Limit, f.Offset = 100, 0
		out, e := a.readSpend(c, f)
		if e != nil {
			return nil, e
		}
		if len(out) == 0 {
			continue
		}
		for i := range out {
			body, err := a.c.Store.BodyOf(c.Ctx, out[i].key)
			if err != nil {
				return nil, a.failed(err)
			}
			out[i].show(body)
		}
		return out, nil
	}
	return []spendLog{}, nil
}

// spendLogs answers rows, or with both dates sums by day.
func (a *API) spendLogs(c *Call) (any, *llm.Error) {
	p, e := c.period()
	if e != nil {
		return nil, e
	}
	scope, e := c.spendScope()
	if e != nil {
		return nil, e
	}
	f := store.SpendFilter{From: p.from, To: p.to, Scope: scope, Token: c.argKey(), UserID: c.Arg("user_id")}
	if id := c.Arg("request_id"); id != "" {
		return a.spendByID(c, f, id)
	}
	if p.given() && (c.Arg("summarize") == "" || c.ArgBool("summarize")) {
		return a.spendSummary(c, f, p)
	}
	if f.Limit = longestLogs + 1; !p.given() {
		f.Limit = longestLogs
	}
	out, e := a.readSpend(c, f)
	if len(out) > longestLogs {
		return nil, badRequest(fmt.Sprintf("The period has more than %d calls. Ask for its pages with /spend/logs/v2, for sums with summarize=true, or for less of it.", longestLogs), "end_date")
	}
	return out, e
}

// spendSummary answers one object a day: what was spent in all, by key under the
// key's digest, by user and by model. Days after the last one that has any are
// there too.
func (a *API) spendSummary(c *Call, f store.SpendFilter, p period) (any, *llm.Error) {
	first, last := p.days()
	q := store.DailyFilter{
		From: first, To: last, Scope: f.Scope, Token: f.Token, Limit: largestSummary + 1,
		By: []string{store.ByDay, store.ByEntity, store.ByToken, store.ByGroup},
	}
	if f.UserID != "" {
		q.IDs = []string{f.UserID}
	}
	sums, _, err := a.c.Store.DailySums(c.Ctx, q)
	if err != nil {
		return nil, a.failed(err)
	}
	if len(sums) > largestSummary {
		return nil, tooManySums()
	}
	type day struct {
		spend         money.Nano
		keys          map[string]money.Nano
		users, models map[string]money.Nano
	}
	days := map[string]*day{}
	newest := ""
	for i := range sums {
		s := &sums[i]
		d := days[s.Day]
		if d == nil {
			d = &day{0, map[string]money.Nano{}, map[string]money.Nano{}, map[string]money.Nano{}}
			days[s.Day] = d
		}
		d.spend += s.Spend
		d.keys[s.Token] += s.Spend
		d.users[s.Entity] += s.Spend
		d.models[s.ModelGroup] += s.Spend
		newest = max(newest, s.Day)
	}
	out := []map[string]any{}
	for at := p.from.Truncate(24 * time.Hour); at.Before(p.to); at = at.AddDate(0, 0, 1) {
		name := at.Format(time.DateOnly)
		d := days[name]
		if d == nil && name <= newest {
			continue
		}
		row := map[string]any{}
		if d == nil {
			d = &day{users: map[string]money.Nano{}, models: map[string]money.Nano{}}
		}
		for key, n := range d.keys {
			row[key] = n
		}
		row["spend"], row["users"], row["models"], row["startTime"] = d.spend, d.users, d.models, name
		out = append(out, row)
	}
	return out, nil
}

func tooManySums() *llm.Error {
	return badRequest(fmt.Sprintf("The period has more than %d sums. Ask for fewer days, or for one key or user.", largestSummary), "end_date")
}

// spendPage is one page of rows. total counts to 10,000; has_more is Sluice's own.
type spendPage struct {
	Data       []spendLog `json:"data"`
	Total      int        `json:"total"`
	Page       int        `json:"page"`
	PageSize   int        `json:"page_size"`
	TotalPages int        `json:"total_pages"`
	HasMore    bool       `json:"has_more"`
}

// unserved are filters that nothing answers: without them a page would have
// other rows than were asked for.
var unserved = []string{"error_message", "search", "span_type", "used_client_oauth_token", "group_by_session", "session_cursor"}

// spendPages answers a page of rows.
func (a *API) spendPages(c *Call) (any, *llm.Error) {
	for _, name := range unserved {
		if on, is := truth(c.Arg(name)); c.Arg(name) != "" && (!is || on) {
			return nil, badRequest(name+" is no filter of this release: leave it out.", name)
		}
	}
	f, e := a.spendAsked(c)
	if e != nil {
		return nil, e
	}
	if id := c.Arg("request_id"); id != "" {
		p, e := c.period()
		if e != nil {
			return nil, e
		}
		f.From, f.To = p.from, p.to
		rows, e := a.spendByID(c, f, id)
		return spendPage{Data: rows, Total: len(rows), Page: 1, PageSize: max(len(rows), 1), TotalPages: pages(len(rows), max(len(rows), 1))}, e
	}
	p, e := c.wholePeriod()
	if e != nil {
		return nil, e
	}
	f.From, f.To = p.from, p.to
	return a.spendPage(c, f)
}

// sessionPages answers a page of a session.
func (a *API) sessionPages(c *Call) (any, *llm.Error) {
	p, e := c.latest(30)
	if e != nil {
		return nil, e
	}
	scope, e := c.spendScope()
	if e != nil {
		return nil, e
	}
	if c.Arg("session_id") == "" {
		return nil, badRequest("session_id is empty: name a session.", "session_id")
	}
	return a.spendPage(c, store.SpendFilter{From: p.from, To: p.to, Scope: scope, SessionID: c.Arg("session_id"), Oldest: true})
}

func (a *API) spendPage(c *Call, f store.SpendFilter) (any, *llm.Error) {
	out := spendPage{Page: c.ArgInt("page", 1), PageSize: c.ArgInt("page_size", 50)}
	f.Limit, f.Offset = out.PageSize, (out.Page-1)*out.PageSize
	if f.Offset+f.Limit > countedLogs {
		return nil, badRequest(fmt.Sprintf("page is behind the first %d calls, which are all that pages are made of. Ask for fewer days.", countedLogs), "page")
	}
	var err error
	if out.Total, err = a.c.Store.CountSpend(c.Ctx, f, countedLogs); err != nil {
		return nil, a.failed(err)
	}
	rows, e := a.readSpend(c, f)
	out.Data, out.TotalPages, out.HasMore = rows, pages(out.Total, out.PageSize), f.Offset+len(rows) < out.Total
	return out, e
}

// spendSorts are what pages are sorted by, by sort_by. startTime is the order in
// which calls were admitted.
var spendSorts = map[string]string{
	"endTime": "ended_at", "spend": "cost", "total_tokens": "total_tokens", "model": "provider_model",
	"request_duration_ms": store.SortDuration, "ttft_ms": store.SortFirstByte,
}

// spendAsked is the filter of the query.
func (a *API) spendAsked(c *Call) (f store.SpendFilter, e *llm.Error) {
	if f.Scope, e = c.spendScope(); e != nil {
		return f, e
	}
	f.Token, f.UserID, f.TeamID, f.EndUser = c.argKey(), c.Arg("user_id"), c.Arg("team_id"), c.Arg("end_user")
	f.SessionID, f.Model, f.ModelID, f.ProviderModel = c.Arg("session_id"), c.Arg("model_group"), c.Arg("model_id"), c.Arg("model")
	f.Status, f.Oldest = c.Arg("status_filter"), c.Arg("sort_order") == "asc"
	f.Sort = spendSorts[c.Arg("sort_by")]
	switch filter := c.Arg("cache_hit_filter"); filter {
	case "hit", "miss":
		hit := filter == "hit"
		f.CacheHit = &hit
	default:
		if hit, ok := truth(filter); ok {
			f.CacheHit = &hit
		}
	}
	if code := c.Arg("error_code"); code != "" {
		n, err := strconv.ParseInt(code, 10, 32)
		if err != nil || n < 100 || n > 999 {
			return f, badRequest("error_code is no HTTP status: write it as in 429.", "error_code")
		}
		f.Status, f.HTTPStatus = "failure", n
	}
	for _, b := range []struct {
		name string
		to   **money.Nano
	}{{"min_spend", &f.Least}, {"max_spend", &f.Most}} {
		if text := c.Arg(b.name); text != "" {
			n, err := money.Parse(text)
			if err != nil {
				return f, badRequest(b.name+" is no amount: write dollars as in 0.25.", b.name)
			}
			*b.to = &n
		}
	}
	if alias := c.Arg("key_alias"); alias != "" {
		keys, err := store.Find[identity.Key](c.Ctx, a.c.Store, store.Query{Where: []store.Cond{store.Eq("key_alias", alias)}, Limit: longestList})
		if err != nil {
			return f, a.failed(err)
		}
		f.Tokens = make([]string, len(keys))
		for i, k := range keys {
			f.Tokens[i] = k.Token
		}
	}
	return f, nil
}
