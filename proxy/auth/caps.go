package auth

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
	"sluice/proxy/money"
)

// capped is what limits an object that may carry limits and budgets: its own
// words, beside those of the budget object that it names. What a request needs of
// both is made when it is first asked for, and again when the budget object has
// changed: budget objects change by themselves. It is immutable but for since and
// ready.
type capped struct {
	id       string
	kind     bill.Kind
	scope    limit.Scope
	perModel limit.Scope // of limits for a model; 0 where the object has none

	alias    string
	spend    money.Nano   // when it was read
	since    atomic.Int64 // nano-dollars that calls of this process have cost since then
	caps     identity.Caps
	more     []windowed // budget_limits: further windows
	requests map[string]int64
	tokens   map[string]int64
	perMax   map[string]windowed // model_max_budget
	raise    raise

	ready atomic.Pointer[prepared]
}

// windowed is an amount over a window.
type windowed struct {
	max      money.Nano
	duration string // "": for all time
}

// raise is temp_budget_increase: it is added to a budget until its expiry.
type raise struct {
	by    money.Nano
	until int64 // unix nanoseconds
}

// prepared is what requests are judged by. It is immutable.
type prepared struct {
	budget *object
	zone   *time.Location
	until  int64 // unix nanoseconds after which it does not hold; 0: for good

	rule     *limit.Rule            // nil: no limits
	rules    map[string]*limit.Rule // by model
	accounts []*budget.Limit        // what the object may spend. The first is its own spend, bounded or not
	counted  *budget.Limit          // the first of them, refusing nothing
	budgets  map[string]*budget.Limit

	// defaults are limits for models that deployments give to every key that has
	// none; copied when one is added.
	defaults atomic.Pointer[map[string]*limit.Rule]
}

// of is what holds for the object together with its budget object, which may be
// nil. now is asked for only where something expires.
func (c *capped) of(b *object, zone *time.Location, now func() time.Time) *prepared {
	p := c.ready.Load()
	if p != nil && p.budget == b && p.zone == zone && (p.until == 0 || now().UnixNano() < p.until) {
		return p
	}
	p = c.prepare(b, zone, now())
	c.ready.Store(p)
	return p
}

// prepare lays what the object says over what its budget object says.
func (c *capped) prepare(b *object, zone *time.Location, now time.Time) *prepared {
	p := &prepared{budget: b, zone: zone}
	caps, raised := c.caps, c.raise
	if b != nil && b.capped != nil {
		caps = fill(caps, &b.capped.caps)
		if raised.by == 0 || now.UnixNano() >= raised.until {
			raised = b.capped.raise
		}
	}
	top := bound(caps.MaxBudget)
	if top >= 0 && raised.by > 0 && now.UnixNano() < raised.until {
		top, p.until = top+min(raised.by, math.MaxInt64-top), raised.until
	}
	p.rule = newRule(c.scope, c.id, caps.RPMLimit, caps.TPMLimit, caps.MaxParallelRequests)
	soft, reset := bound(caps.SoftBudget), moment(caps.BudgetResetAt)
	for _, w := range c.more {
		if w.duration == caps.BudgetDuration && (top < 0 || w.max < top) {
			top = w.max
		}
	}
	own := budget.NewLimit(c.kind, c.id, top, soft, caps.BudgetDuration, reset, zone)
	p.accounts = append(p.accounts, own)
	p.counted = own
	if top >= 0 || soft >= 0 {
		p.counted = budget.NewLimit(c.kind, c.id, -1, -1, caps.BudgetDuration, reset, zone)
	}
	for _, w := range c.more {
		if w.duration == caps.BudgetDuration {
			continue
		}
		p.accounts = append(p.accounts, budget.NewLimit(c.kind, c.id, w.max, -1, w.duration, time.Time{}, zone))
	}
	p.rules = perModelRules(c, b)
	perMax := c.perMax
	if len(perMax) == 0 && b != nil && b.capped != nil {
		perMax = b.capped.perMax
	}
	if len(perMax) > 0 && c.kind == bill.KindKey {
		p.budgets = map[string]*budget.Limit{}
		for model, w := range perMax {
			p.budgets[model] = budget.NewLimit(bill.KindKeyModel, c.id+"/"+model, w.max, -1, w.duration, time.Time{}, zone)
		}
	}
	return p
}

// perModelRules are the limits of single models: the object's own, and of a key
// that has none those of its budget object.
func perModelRules(c *capped, b *object) map[string]*limit.Rule {
	requests, tokens := c.requests, c.tokens
	if c.kind == bill.KindKey && b != nil && b.capped != nil {
		if requests == nil {
			requests = b.capped.requests
		}
		if tokens == nil {
			tokens = b.capped.tokens
		}
	}
	if len(requests)+len(tokens) == 0 {
		return nil
	}
	out := map[string]*limit.Rule{}
	add := func(model string) {
		if out[model] == nil {
			out[model] = newRule(c.perModel, c.id+"/"+model, lookUp(requests, model), lookUp(tokens, model), nil)
		}
	}
	for model := range requests {
		add(model)
	}
	for model := range tokens {
		add(model)
	}
	return out
}

func lookUp(m map[string]int64, name string) *int64 {
	if n, ok := m[name]; ok {
		return &n
	}
	return nil
}

// newRule is nil where nothing is limited.
func newRule(scope limit.Scope, id string, requests, tokens, parallel *int64) *limit.Rule {
	if requests == nil && tokens == nil && parallel == nil {
		return nil
	}
	return limit.NewRule(scope, id, none(requests), none(tokens), none(parallel))
}

// none is a limit as package limit has it. A negative one, which only an import
// can have brought, is none.
func none(n *int64) int64 {
	if n == nil || *n < 0 {
		return -1
	}
	return *n
}

func bound(n *money.Nano) money.Nano {
	if n == nil || *n < 0 {
		return -1
	}
	return *n
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// fill gives an object what its budget object says and it does not say itself.
// A window belongs to its amount: it is taken from where the amount is.
func fill(own identity.Caps, b *identity.Caps) identity.Caps {
	own.MaxParallelRequests = cmp.Or(own.MaxParallelRequests, b.MaxParallelRequests)
	own.TPMLimit, own.RPMLimit = cmp.Or(own.TPMLimit, b.TPMLimit), cmp.Or(own.RPMLimit, b.RPMLimit)
	if own.MaxBudget == nil {
		own.MaxBudget = b.MaxBudget
		if own.BudgetDuration == "" {
			own.BudgetDuration, own.BudgetResetAt = b.BudgetDuration, b.BudgetResetAt
		}
	}
	own.SoftBudget = cmp.Or(own.SoftBudget, b.SoftBudget)
	return own
}

// counts reads a map of models to whole numbers: of the settings, else of the
// metadata, where LiteLLM's clients keep it. One that cannot be read, as an import
// may bring it, is none, and takes no other away.
func counts(name string, fields ...identity.Fields) map[string]int64 {
	for _, f := range fields {
		var out identity.Fields
		if len(f[name]) == 0 || json.Unmarshal(f[name], &out) != nil || len(out) == 0 {
			continue
		}
		kept := map[string]int64{}
		for model, raw := range out {
			var n *int64
			if json.Unmarshal(raw, &n) == nil && n != nil && *n >= 0 {
				kept[model] = *n
			}
		}
		return kept
	}
	return nil
}

// within reads a limit out of the budgets of models (model_max_budget), where
// LiteLLM looks when there is no map of that limit.
func within(name string, budgets identity.Fields) map[string]int64 {
	var out map[string]int64
	for model, raw := range budgets {
		var of map[string]json.RawMessage
		var n *int64
		if json.Unmarshal(raw, &of) != nil || len(of[name]) == 0 || json.Unmarshal(of[name], &n) != nil || n == nil || *n < 0 {
			continue
		}
		if out == nil {
			out = map[string]int64{}
		}
		out[model] = *n
	}
	return out
}

// amounts reads a map of models to budgets: each a number of dollars, or an
// object with an amount and a window, under LiteLLM's two spellings.
func amounts(f identity.Fields) map[string]windowed {
	if len(f) == 0 {
		return nil
	}
	out := map[string]windowed{}
	for model, raw := range f {
		if w, ok := amount(raw); ok {
			out[model] = w
		}
	}
	return out
}

func amount(raw json.RawMessage) (windowed, bool) {
	var n money.Nano
	if json.Unmarshal(raw, &n) == nil && string(raw) != "null" {
		return windowed{max: n}, n >= 0
	}
	var w struct {
		Max      *money.Nano `json:"max_budget"`
		Limit    *money.Nano `json:"budget_limit"`
		Duration string      `json:"budget_duration"`
		Period   string      `json:"time_period"`
	}
	if json.Unmarshal(raw, &w) != nil {
		return windowed{}, false
	}
	most := cmp.Or(w.Max, w.Limit)
	if most == nil || *most < 0 {
		return windowed{}, false
	}
	return windowed{max: *most, duration: cmp.Or(w.Duration, w.Period)}, true
}

// windows reads budget_limits. Of two with one window the smaller counts.
func windows(name string, fields ...identity.Fields) []windowed {
	var out []windowed
	for _, f := range fields {
		var list []json.RawMessage
		if len(f[name]) == 0 || json.Unmarshal(f[name], &list) != nil {
			continue
		}
		for _, raw := range list {
			w, ok := amount(raw)
			if !ok {
				continue
			}
			if i := slices.IndexFunc(out, func(o windowed) bool { return o.duration == w.duration }); i >= 0 {
				out[i].max = min(out[i].max, w.max)
			} else {
				out = append(out, w)
			}
		}
		break
	}
	return out
}

// expiries are the forms of the end of an increase, as the management API takes
// times.
var expiries = [...]string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

// raiseOf reads temp_budget_increase and its end.
func raiseOf(fields ...identity.Fields) raise {
	for _, f := range fields {
		var by money.Nano
		var until time.Time
		if len(f["temp_budget_increase"]) == 0 || json.Unmarshal(f["temp_budget_increase"], &by) != nil || by <= 0 {
			continue
		}
		var text string
		if json.Unmarshal(f["temp_budget_expiry"], &text) != nil {
			continue
		}
		for _, layout := range expiries {
			if t, err := time.Parse(layout, text); err == nil {
				until = t
				break
			}
		}
		if !until.IsZero() {
			return raise{by: by, until: until.UnixNano()}
		}
	}
	return raise{}
}
