package gateway

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// gauges are what is left of budgets and limits, as LiteLLM's dashboards know
// it. Amounts are written as exact decimals, which is why the metrics library
// does not write them.
type gauges struct {
	mu    sync.Mutex
	known map[string]*gauge // by name and labels
}

type gauge struct{ value atomic.Int64 } // nano-dollars or a number, by the name

// maxGauges bounds the series of budgets and limits; what is beyond is not shown.
const maxGauges = 4096

// gaugeEvery is how often those of a caller are set, in nanoseconds.
const gaugeEvery = int64(time.Second)

func (g *gauges) set(name, set string, value int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		g.known = map[string]*gauge{}
	}
	key := name + "{" + set + "}"
	at := g.known[key]
	if at == nil {
		if len(g.known) >= maxGauges {
			return
		}
		at = &gauge{}
		g.known[key] = at
	}
	at.value.Store(value)
}

// budgetGauges are the names of a kind of budget, by what it is of.
var budgetGauges = map[bill.Kind]struct{ left, most string }{
	bill.KindKey:          {"litellm_remaining_api_key_budget_metric", "litellm_api_key_max_budget_metric"},
	bill.KindUser:         {"litellm_remaining_user_budget_metric", "litellm_user_max_budget_metric"},
	bill.KindTeam:         {"litellm_remaining_team_budget_metric", "litellm_team_max_budget_metric"},
	bill.KindOrganization: {"litellm_remaining_org_budget_metric", "litellm_org_max_budget_metric"},
}

// leftOfModel are the names of what is left of a key's limits for a model, by
// type.
var leftOfModel = [2]string{"litellm_remaining_api_key_requests_for_model", "litellm_remaining_api_key_tokens_for_model"}

// left shows what is left of the budgets and limits of an exchange's caller.
func (m *Metrics) left(x *Exchange, s *series, now int64) {
	if last := s.shown.Load(); now-last < gaugeEvery || !s.shown.CompareAndSwap(last, now) {
		return
	}
	m.bounds(x)
	m.providersLeft(x, s)
	for _, b := range x.g.keys.Left(&x.Caller) {
		names, ok := budgetGauges[b.Limit.Kind]
		if !ok {
			continue
		}
		var set string
		switch b.Limit.Kind {
		case bill.KindKey:
			set = labels("hashed_api_key", b.Limit.ID, "api_key_alias", orNone(b.Alias))
		case bill.KindUser:
			set = labels("user", b.Limit.ID)
		case bill.KindTeam:
			set = labels("team", b.Limit.ID, "team_alias", orNone(b.Alias))
		default:
			set = labels("org_id", b.Limit.ID, "org_alias", orNone(b.Alias))
		}
		m.gauges.set(names.left, set, int64(b.Limit.Max-b.Spend))
		m.gauges.set(names.most, set, int64(b.Limit.Max))
		if ends := b.Limit.Ends(time.Now()); !ends.IsZero() {
			m.gauges.set(hoursNames[b.Limit.Kind], set, hours(time.Until(ends)))
		}
	}
	for t, left := range x.ofModel {
		if !left.known {
			continue
		}
		w := x.who()
		m.gauges.set(leftOfModel[t], labels("hashed_api_key", orNone(w.hash), "api_key_alias", orNone(w.alias), "model", x.Model,
			"model_id", x.Deployment.ID), left.left)
	}
}

// writeSpend writes what was spent, and what is left to spend.
func (m *Metrics) writeSpend(w io.Writer) {
	var out []byte
	for _, s := range *m.series.Load() {
		if n := s.spend.Load(); n != 0 {
			out = append(append(append(out, "litellm_spend_metric_total"...), s.spendLabels...), ' ')
			out = append(money.Nano(n).Append(out), '\n')
		}
	}
	m.gauges.mu.Lock()
	for _, key := range slices.Sorted(maps.Keys(m.gauges.known)) {
		out = append(append(out, key...), ' ')
		n := m.gauges.known[key].value.Load()
		if name := key[:strings.IndexByte(key, '{')]; strings.HasSuffix(name, "_budget_metric") || strings.HasSuffix(name, "_hours_metric") {
			out = append(money.Nano(n).Append(out), '\n')
		} else {
			out = append(strconv.AppendInt(out, n, 10), '\n')
		}
	}
	m.gauges.mu.Unlock()
	_, _ = w.Write(out)
}
