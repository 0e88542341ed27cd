package gateway

import (
	"bytes"
	"strconv"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// details counts what few answers have. Their series are made when there is
// something to count: most deployments never have any of them.
func (m *Metrics) details(s *series, u *llm.Usage) {
	for _, d := range [...]struct {
		name string
		n    int64
	}{
		{"litellm_input_cache_creation_tokens_metric_total", u.CacheWrite},
		{"litellm_provider_cache_read_input_tokens_metric_total", u.CachedIn},
		{"litellm_provider_cache_creation_input_tokens_metric_total", u.CacheWrite},
		{"litellm_input_audio_tokens_metric_total", u.AudioIn},
		{"litellm_output_audio_tokens_metric_total", u.AudioOut},
		{"litellm_images_generated_metric_total", u.Images},
	} {
		if d.n > 0 {
			m.set.GetOrCreateCounter(d.name + s.spendLabels).AddInt64(d.n)
		}
	}
}

// providerFailed counts what LiteLLM's deprecated metric counts: requests that
// failed after a provider was called.
func (m *Metrics) providerFailed(w where, c *who) {
	m.set.GetOrCreateCounter("litellm_llm_api_failed_requests_metric_total{" + labels("end_user", "None",
		"hashed_api_key", orNone(c.hash), "api_key_alias", orNone(c.alias), "team", orNone(c.team), "team_alias", orNone(c.teamAlias),
		"user", orNone(c.user), "model", w.model, "model_id", w.id) + "}").Inc()
}

// bounds shows what the configuration says that a deployment may have a minute.
func (m *Metrics) bounds(x *Exchange) {
	d := x.Deployment
	set := labels("api_base", d.APIBase, "api_provider", d.Provider, "litellm_model_name", d.Model, "model_group", d.Group, "model_id", d.ID)
	if d.RPM > 0 {
		m.gauges.set("litellm_deployment_rpm_limit", set, d.RPM)
	}
	if d.TPM > 0 {
		m.gauges.set("litellm_deployment_tpm_limit", set, d.TPM)
	}
}

// providersLeft shows what a provider said in its answer that is left of its
// own limits, which arrives as headers.
func (m *Metrics) providersLeft(x *Exchange, s *series) {
	for _, f := range x.Header {
		name, ok := bytes.CutPrefix(f.Name, providerPrefix)
		if !ok {
			continue
		}
		var metric string
		switch string(name) {
		case "x-ratelimit-remaining-requests":
			metric = "litellm_remaining_requests_metric"
		case "x-ratelimit-remaining-tokens":
			metric = "litellm_remaining_tokens_metric"
		default:
			continue
		}
		if n, err := strconv.ParseInt(string(f.Value), 10, 64); err == nil {
			m.gauges.set(metric, s.overLabels, n)
		}
	}
}

// hoursNames are the gauges of how long the window of a budget goes on.
var hoursNames = map[bill.Kind]string{
	bill.KindKey:          "litellm_api_key_budget_remaining_hours_metric",
	bill.KindUser:         "litellm_user_budget_remaining_hours_metric",
	bill.KindTeam:         "litellm_team_budget_remaining_hours_metric",
	bill.KindOrganization: "litellm_org_budget_remaining_hours_metric",
}

// hours are hours in the unit in which gauges keep dollars, so that they are
// written with their fraction.
func hours(d time.Duration) int64 { return int64(d.Hours() * float64(money.Dollar)) }
