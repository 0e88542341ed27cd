package gateway

import (
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"sluice/proxy/llm"
)

// buckets are LiteLLM's classic histogram bounds, in seconds, which dashboards
// name.
var buckets = []float64{
	.005, .00625, .0125, .025, .05, .1, .5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5, 9, 9.5, 10,
	15, 20, 25, 30, 60, 120, 180, 240, 300,
}

// Bounds of what is told apart; what is beyond them shares one name. A scrape
// of a full worker stays below 10 MB: each histogram is 38 lines, and a set of
// labels has five.
const (
	maxSeries  = 1024 // sets of labels
	maxCallers = 2048 // callers that failures are counted for
	maxTimed   = 64   // callers with histograms of their own
)

// Metrics counts exchanges for the life of a process, over all generations of
// the configuration. Names and labels are LiteLLM's; label values are bounded:
// models by the configuration, callers by number. End users are not told apart,
// because clients make their names up.
type Metrics struct {
	set     *metrics.Set
	buckets []float64
	mu      sync.Mutex                            // guards making series, and states
	states  map[string]*health                    // by labels
	callers map[string]struct{}                   // hashes of the keys that failures are counted for
	timed   map[who]struct{}                      // callers with histograms of their own
	series  atomic.Pointer[map[seriesKey]*series] // copied when one is added
	rejects rejects
	gauges  gauges

	unwritten  *metrics.Counter // records that the journal did not take
	unrecorded *metrics.Counter // refused requests that were not written down
}

// seriesKey is what tells the label sets of successful exchanges apart.
type seriesKey struct {
	id, group, route string
	who              who
}

// who are the labels of a caller; "" is shown as None.
type who struct{ hash, alias, team, teamAlias, org, orgAlias, user, email string }

// others stands for the callers that there is no room for.
var others = who{
	hash: "other", alias: "other", team: "other", teamAlias: "other", org: "other", orgAlias: "other", user: "other", email: "other",
}

const masterHash = "litellm_proxy_master_key" // the master key has no hash in metrics

func (x *Exchange) who() who {
	c := &x.Caller
	w := who{
		alias: c.Alias, team: c.Team, teamAlias: c.TeamAlias, org: c.Organization, orgAlias: c.OrganizationAlias,
		user: c.User, email: c.UserEmail,
	}
	switch {
	case c.Key != nil:
		w.hash = c.Key.Token
	case c.Master:
		w.hash = masterHash
	case c.Unavailable:
		w.hash = c.Alias // a stranger's hashes are not counted one by one
	}
	return w
}

func orNone(s string) string {
	if s == "" {
		return "None"
	}
	return s
}

// series are the handles of one label set.
type series struct {
	requests, apiRequests       *metrics.Counter
	total, success              *metrics.Counter
	tokens, input, output       *metrics.Counter
	cached, reasoning           *metrics.Counter
	latency, provider, overhead *metrics.PrometheusHistogram
	first, perToken             *metrics.PrometheusHistogram
	health                      *health

	spend       atomic.Int64 // nano-dollars
	spendLabels string
	overLabels  string       // without braces
	shown       atomic.Int64 // when the gauges of the caller were set
}

// NewMetrics makes the metrics of a process. bounds replaces the histograms'
// bounds (prometheus_latency_buckets); nil keeps LiteLLM's.
func NewMetrics(bounds []float64) *Metrics {
	if bounds == nil {
		bounds = buckets
	}
	m := &Metrics{set: metrics.NewSet(), buckets: bounds, states: map[string]*health{}, callers: map[string]struct{}{}, timed: map[who]struct{}{}}
	m.series.Store(&map[seriesKey]*series{})
	m.unwritten = m.set.NewCounter("sluice_journal_refused_total")
	m.unrecorded = m.set.NewCounter("sluice_rejects_unrecorded_total")
	return m
}

// Write writes all series in Prometheus's text format.
func (m *Metrics) Write(w io.Writer) {
	m.set.WritePrometheus(w)
	m.writeSpend(w)
}

// caller are the labels of who called.
func caller(w *who) []string {
	return []string{
		"end_user", "None", "hashed_api_key", orNone(w.hash), "api_key_alias", orNone(w.alias),
		"team", orNone(w.team), "team_alias", orNone(w.teamAlias),
		"org_id", orNone(w.org), "org_alias", orNone(w.orgAlias), "user", orNone(w.user),
	}
}

// failing is the caller of a failure, bounded.
func (m *Metrics) failing(x *Exchange) who {
	w := x.who()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.callers[w.hash]; ok {
		return w
	}
	if len(m.callers) >= maxCallers {
		return others
	}
	m.callers[w.hash] = struct{}{}
	return w
}

// timing is the caller that histograms are labelled with, bounded. The caller
// of it holds m.mu.
func (m *Metrics) timing(c *who) *who {
	if _, ok := m.timed[*c]; !ok && len(m.timed) >= maxTimed {
		return &others
	}
	m.timed[*c] = struct{}{}
	return c
}

// where are the labels of the deployment.
type where struct{ id, provider, model, base, group string }

func (x *Exchange) where() where {
	d := x.Deployment
	if d == nil {
		group := x.Model
		if group == "" {
			group = "None"
		}
		return where{id: "None", provider: "None", model: "None", group: group}
	}
	return where{id: d.ID, provider: d.Provider, model: d.Model, base: d.APIBase, group: d.Group}
}

func (m *Metrics) of(x *Exchange) *series {
	w := x.where()
	k := seriesKey{id: w.id, group: w.group, route: x.Route, who: x.who()}
	all := *m.series.Load()
	if s := all[k]; s != nil {
		return s
	}
	if len(all) >= maxSeries {
		w, k = rest(w, k)
		if s := all[k]; s != nil {
			return s
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all = *m.series.Load()
	if len(all) >= maxSeries {
		w, k = rest(w, k)
	}
	if s := all[k]; s != nil {
		return s
	}
	s := m.make(x, w, &k.who)
	next := make(map[seriesKey]*series, len(all)+1)
	for k, v := range all {
		next[k] = v
	}
	next[k] = s
	m.series.Store(&next)
	return s
}

// rest are the labels of whoever there is no room for: one set for each route.
func rest(w where, k seriesKey) (where, seriesKey) {
	w.id, w.group = "other", "other"
	return w, seriesKey{id: w.id, group: w.group, route: k.route, who: others}
}

func (m *Metrics) make(x *Exchange, w where, c *who) *series {
	who := labels(caller(c)...)
	model := "," + labels("model", w.model, "model_id", w.id, "api_provider", w.provider, "requested_model", w.group)
	t := m.timing(c)
	call := "{" + labels(caller(t)...) + model + `,model_group=` + labelValue(w.group) + "}"
	tokens := "{" + who + model + `,user_email=` + labelValue(orNone(c.email)) + "}"
	deployment := deploymentLabels(w, c)
	overLabels := labels("api_base", w.base, "api_provider", w.provider, "litellm_model_name", w.model, "model_group", w.group,
		"model_id", w.id, "api_key_alias", orNone(t.alias), "hashed_api_key", orNone(t.hash))
	over := "{" + overLabels + "}"
	perToken := "{" + overLabels + "," + labels("team", orNone(t.team), "team_alias", orNone(t.teamAlias),
		"org_id", orNone(t.org), "org_alias", orNone(t.orgAlias)) + "}"
	n := func(name, set string) *metrics.Counter { return m.set.GetOrCreateCounter(name + set) }
	h := func(name, set string) *metrics.PrometheusHistogram {
		return m.set.GetOrCreatePrometheusHistogramExt(name+set, m.buckets)
	}
	return &series{
		requests:    n("litellm_proxy_total_requests_metric_total", m.requestLabels(x, w, c, 200)),
		apiRequests: n("litellm_requests_metric_total", tokens),
		total:       n("litellm_deployment_total_requests_total", deployment),
		success:     n("litellm_deployment_success_responses_total", deployment),
		tokens:      n("litellm_total_tokens_metric_total", tokens),
		input:       n("litellm_input_tokens_metric_total", tokens),
		output:      n("litellm_output_tokens_metric_total", tokens),
		cached:      n("litellm_input_cached_tokens_metric_total", tokens),
		reasoning:   n("litellm_output_reasoning_tokens_metric_total", tokens),
		latency:     h("litellm_request_total_latency_metric", call),
		provider:    h("litellm_llm_api_latency_metric", call),
		first:       h("litellm_llm_api_time_to_first_token_metric", call),
		overhead:    h("litellm_overhead_latency_metric", over),
		perToken:    h("litellm_deployment_latency_per_output_token", perToken),
		health:      m.healthOf(w),
		spendLabels: tokens,
		overLabels:  overLabels,
	}
}

func deploymentLabels(w where, c *who, more ...string) string {
	return "{" + labels(append([]string{
		"requested_model", w.group, "litellm_model_name", w.model, "model_group", w.group, "model_id", w.id, "api_base", w.base,
		"api_provider", w.provider, "hashed_api_key", orNone(c.hash), "api_key_alias", orNone(c.alias),
		"team", orNone(c.team), "team_alias", orNone(c.teamAlias),
	}, more...)...) + "}"
}

func (m *Metrics) requestLabels(x *Exchange, w where, c *who, status int) string {
	return "{" + labels(append(caller(c), "requested_model", w.group, "model_id", w.id, "api_provider", w.provider, "route", x.Route,
		"user_email", orNone(c.email), "status_code", strconv.Itoa(status))...) + "}"
}

// settled counts an exchange that has ended.
func (m *Metrics) settled(x *Exchange, now int64) {
	if x.Err != nil {
		m.failed(x, x.Err)
		return
	}
	if x.Deployment == nil { // a route that calls no model
		w, c := x.where(), m.failing(x)
		m.set.GetOrCreateCounter("litellm_proxy_total_requests_metric_total" + m.requestLabels(x, w, &c, max(x.Status, 200))).Inc()
		return
	}
	s := m.of(x)
	s.requests.Inc()
	s.apiRequests.Inc()
	s.total.Inc()
	s.success.Inc()
	s.health.good()
	u := &x.Usage
	s.tokens.AddInt64(u.Total)
	s.input.AddInt64(u.Input)
	s.output.AddInt64(u.Output)
	s.cached.AddInt64(u.CachedIn)
	s.reasoning.AddInt64(u.Reasoning)
	m.details(s, u)
	s.spend.Add(int64(x.cost))
	m.left(x, s, now)
	total := now - x.Start
	s.latency.Update(float64(total) / 1e9)
	s.provider.Update(float64(x.UpstreamNanos) / 1e9)
	s.overhead.Update(float64(max(total-x.UpstreamNanos, 0)) / 1e9)
	if x.Streamed && x.FirstByte > 0 {
		s.first.Update(float64(x.FirstByte-x.began) / 1e9)
	}
	if u.Output > 0 {
		s.perToken.Update(float64(x.UpstreamNanos) / 1e9 / float64(u.Output))
	}
}

// failed counts an exchange that ended with an error.
func (m *Metrics) failed(x *Exchange, e *llm.Error) {
	if x.cost != 0 { // of a stream that was cut
		m.of(x).spend.Add(int64(x.cost))
	}
	w, c, status := x.where(), m.failing(x), x.Status
	if e.Kind == llm.KindClientGone {
		status = 499
	}
	m.set.GetOrCreateCounter("litellm_proxy_total_requests_metric_total" + m.requestLabels(x, w, &c, status)).Inc()
	m.set.GetOrCreateCounter("litellm_proxy_failed_requests_metric_total{" + labels(append(caller(&c),
		"requested_model", w.group, "model_id", w.id, "api_provider", w.provider, "route", x.Route, "user_email", orNone(c.email),
		"exception_status", strconv.Itoa(e.HTTPStatus()), "exception_class", e.Kind.Class())...) + "}").Inc()
	if x.Attempts > 0 {
		m.providerFailed(w, &c)
		if x.Streamed {
			m.attemptFailed(x, e)
		}
	}
}

// attemptFailed counts a call to a provider that failed.
func (m *Metrics) attemptFailed(x *Exchange, e *llm.Error) {
	if x.Attempts == 0 {
		return
	}
	w, c := x.where(), m.failing(x)
	if atFault(e) && x.Request.Credential == "" {
		m.mu.Lock()
		h := m.healthOf(w)
		m.mu.Unlock()
		h.bad()
	}
	m.set.GetOrCreateCounter("litellm_deployment_total_requests_total" + deploymentLabels(w, &c)).Inc()
	m.set.GetOrCreateCounter("litellm_deployment_failure_responses_total" + deploymentLabels(w, &c,
		"exception_status", strconv.Itoa(e.HTTPStatus()), "exception_class", e.Kind.Class())).Inc()
}
