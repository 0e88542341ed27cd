package gateway

import (
	"io"
	"strconv"
	"strings"
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

// maxSeries bounds the sets of labels; further ones share one.
const maxSeries = 4096

// Metrics counts exchanges for the life of a process, over all generations of
// the configuration. Names and labels are LiteLLM's; label values are bounded:
// models by the configuration, clients not at all.
type Metrics struct {
	set     *metrics.Set
	buckets []float64
	mu      sync.Mutex                            // guards making series, and states
	states  map[string]*health                    // by labels
	series  atomic.Pointer[map[seriesKey]*series] // copied when one is added
}

// seriesKey is what tells the label sets of successful exchanges apart.
type seriesKey struct{ id, group, route, user, alias string }

// series are the handles of one label set.
type series struct {
	requests, apiRequests       *metrics.Counter
	total, success              *metrics.Counter
	tokens, input, output       *metrics.Counter
	cached, reasoning           *metrics.Counter
	latency, provider, overhead *metrics.PrometheusHistogram
	first, perToken             *metrics.PrometheusHistogram
	health                      *health
}

// NewMetrics makes the metrics of a process. bounds replaces the histograms'
// bounds (prometheus_latency_buckets); nil keeps LiteLLM's.
func NewMetrics(bounds []float64) *Metrics {
	if bounds == nil {
		bounds = buckets
	}
	m := &Metrics{set: metrics.NewSet(), buckets: bounds, states: map[string]*health{}}
	m.series.Store(&map[seriesKey]*series{})
	return m
}

// Write writes all series in Prometheus's text format.
func (m *Metrics) Write(w io.Writer) { m.set.WritePrometheus(w) }

// labels writes a label set; pairs are name, value.
func labels(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i])
		b.WriteByte('=')
		b.WriteString(strconv.Quote(pairs[i+1]))
	}
	return b.String()
}

// caller are the labels of who called. The master key has no hash in metrics.
func caller(x *Exchange) []string {
	hash, user := "None", "None"
	if x.Caller.Role != 0 {
		hash, user = "litellm_proxy_master_key", x.Caller.User
	}
	return []string{
		"end_user", "None", "hashed_api_key", hash, "api_key_alias", "None", "team", "None", "team_alias", "None",
		"org_id", "None", "org_alias", "None", "user", user,
	}
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
	k := seriesKey{id: w.id, group: w.group, route: x.Route, user: x.Caller.User, alias: x.Caller.Alias}
	all := *m.series.Load()
	if s := all[k]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all = *m.series.Load()
	if s := all[k]; s != nil {
		return s
	}
	if len(all) >= maxSeries {
		w.id, w.group, k.id, k.group = "other", "other", "other", "other"
		if s := all[k]; s != nil {
			return s
		}
	}
	s := m.make(x, w)
	next := make(map[seriesKey]*series, len(all)+1)
	for k, v := range all {
		next[k] = v
	}
	next[k] = s
	m.series.Store(&next)
	return s
}

func (m *Metrics) make(x *Exchange, w where) *series {
	k := caller(x)
	who := labels(k...)
	model := "," + labels("model", w.model, "model_id", w.id, "api_provider", w.provider, "requested_model", w.group)
	call := "{" + who + model + `,model_group=` + strconv.Quote(w.group) + "}"
	tokens := "{" + who + model + `,user_email="None"}`
	deployment := deploymentLabels(x, w)
	over := "{" + labels("api_base", w.base, "api_provider", w.provider, "litellm_model_name", w.model, "model_group", w.group,
		"model_id", w.id, "api_key_alias", "None", "hashed_api_key", k[3]) + "}"
	c := func(name, set string) *metrics.Counter { return m.set.GetOrCreateCounter(name + set) }
	h := func(name, set string) *metrics.PrometheusHistogram {
		return m.set.GetOrCreatePrometheusHistogramExt(name+set, m.buckets)
	}
	return &series{
		requests:    c("litellm_proxy_total_requests_metric_total", m.requestLabels(x, w, 200)),
		apiRequests: c("litellm_requests_metric_total", tokens),
		total:       c("litellm_deployment_total_requests_total", deployment),
		success:     c("litellm_deployment_success_responses_total", deployment),
		tokens:      c("litellm_total_tokens_metric_total", tokens),
		input:       c("litellm_input_tokens_metric_total", tokens),
		output:      c("litellm_output_tokens_metric_total", tokens),
		cached:      c("litellm_input_cached_tokens_metric_total", tokens),
		reasoning:   c("litellm_output_reasoning_tokens_metric_total", tokens),
		latency:     h("litellm_request_total_latency_metric", call),
		provider:    h("litellm_llm_api_latency_metric", call),
		first:       h("litellm_llm_api_time_to_first_token_metric", call),
		overhead:    h("litellm_overhead_latency_metric", over),
		perToken:    h("litellm_deployment_latency_per_output_token", over),
		health:      m.healthOf(w),
	}
}

func deploymentLabels(x *Exchange, w where, more ...string) string {
	k := caller(x)
	return "{" + labels(append([]string{
		"requested_model", w.group, "litellm_model_name", w.model, "model_group", w.group, "model_id", w.id, "api_base", w.base,
		"api_provider", w.provider, "hashed_api_key", k[3], "api_key_alias", "None", "team", "None", "team_alias", "None",
	}, more...)...) + "}"
}

func (m *Metrics) requestLabels(x *Exchange, w where, status int) string {
	return "{" + labels(append(caller(x), "requested_model", w.group, "model_id", w.id, "api_provider", w.provider, "route", x.Route,
		"user_email", "None", "status_code", strconv.Itoa(status))...) + "}"
}

// settled counts an exchange that has ended.
func (m *Metrics) settled(x *Exchange, now int64) {
	if x.Err != nil {
		m.failed(x, x.Err)
		return
	}
	if x.Deployment == nil { // a route that calls no model
		w := x.where()
		m.set.GetOrCreateCounter("litellm_proxy_total_requests_metric_total" + m.requestLabels(x, w, max(x.Status, 200))).Inc()
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
	w, status := x.where(), x.Status
	if e.Kind == llm.KindClientGone {
		status = 499
	}
	m.set.GetOrCreateCounter("litellm_proxy_total_requests_metric_total" + m.requestLabels(x, w, status)).Inc()
	m.set.GetOrCreateCounter("litellm_proxy_failed_requests_metric_total{" + labels(append(caller(x),
		"requested_model", w.group, "model_id", w.id, "api_provider", w.provider, "route", x.Route, "user_email", "None",
		"exception_status", strconv.Itoa(e.HTTPStatus()), "exception_class", e.Kind.Class())...) + "}").Inc()
	if x.Attempts > 0 && x.Streamed {
		m.attemptFailed(x, e)
	}
}

// attemptFailed counts a call to a provider that failed.
func (m *Metrics) attemptFailed(x *Exchange, e *llm.Error) {
	if x.Attempts == 0 {
		return
	}
	w := x.where()
	if atFault(e) && x.Request.Credential == "" {
		m.mu.Lock()
		h := m.healthOf(w)
		m.mu.Unlock()
		h.bad()
	}
	m.set.GetOrCreateCounter("litellm_deployment_total_requests_total" + deploymentLabels(x, w)).Inc()
	m.set.GetOrCreateCounter("litellm_deployment_failure_responses_total" + deploymentLabels(x, w,
		"exception_status", strconv.Itoa(e.HTTPStatus()), "exception_class", e.Kind.Class())).Inc()
}
