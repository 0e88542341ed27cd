package gateway

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/route"
)

// What few answers have is counted under the labels of the other tokens, and
// nothing is made for what none has.
func TestDetails(t *testing.T) {
	m := NewMetrics(nil)
	s := &series{spendLabels: `{model="m"}`}
	m.details(s, &llm.Usage{Input: 10, Output: 5})
	if got := written(m); strings.Contains(got, "audio") || strings.Contains(got, "cache") || strings.Contains(got, "images") {
		t.Errorf("a plain answer made %s", got)
	}
	m.details(s, &llm.Usage{CacheWrite: 3, CachedIn: 4, AudioIn: 5, AudioOut: 6, Images: 2})
	m.details(s, &llm.Usage{AudioIn: 5})
	got := written(m)
	for _, want := range []string{
		`litellm_input_cache_creation_tokens_metric_total{model="m"} 3`,
		`litellm_provider_cache_creation_input_tokens_metric_total{model="m"} 3`,
		`litellm_provider_cache_read_input_tokens_metric_total{model="m"} 4`,
		`litellm_input_audio_tokens_metric_total{model="m"} 10`,
		`litellm_output_audio_tokens_metric_total{model="m"} 6`,
		`litellm_images_generated_metric_total{model="m"} 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// Gauges of a deployment: what is configured, and what its provider says is left.
func TestDeploymentGauges(t *testing.T) {
	m := NewMetrics(nil)
	x := &Exchange{Deployment: &route.Deployment{ID: "d", Group: "g", Provider: "p", Model: "m", APIBase: "b", RPM: 60}}
	for _, h := range []struct{ name, value string }{
		{"llm_provider-x-ratelimit-remaining-requests", "99"},
		{"x-ratelimit-remaining-requests", "5"}, // ours
		{"llm_provider-x-ratelimit-remaining-tokens", "many"},
	} {
		x.Header = append(x.Header, llm.Field{Name: []byte(h.name), Value: []byte(h.value)})
	}
	m.bounds(x)
	m.providersLeft(x, &series{overLabels: `model_id="d"`})
	got := written(m)
	for _, want := range []string{
		`litellm_deployment_rpm_limit{api_base="b",api_provider="p",litellm_model_name="m",model_group="g",model_id="d"} 60`,
		`litellm_remaining_requests_metric{model_id="d"} 99`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "tpm_limit") || strings.Contains(got, "remaining_tokens") {
		t.Errorf("what is not known is shown:\n%s", got)
	}
}

// Hours are written with their fraction.
func TestHours(t *testing.T) {
	m := NewMetrics(nil)
	m.gauges.set("litellm_team_budget_remaining_hours_metric", `team="t"`, hours(90*time.Minute))
	if got := written(m); !strings.Contains(got, "litellm_team_budget_remaining_hours_metric{team=\"t\"} 1.5") {
		t.Error(got)
	}
}

func written(m *Metrics) string {
	var b strings.Builder
	m.Write(&b)
	return b.String()
}
