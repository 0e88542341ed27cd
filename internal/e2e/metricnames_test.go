//go:build e2e

package e2e

import (
	_ "embed"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// litellmMetrics is what a LiteLLM proxy exposed: name, type, labels.
//
//go:embed testdata/litellm_metrics.txt
var litellmMetrics string

// unexposed are metrics of LiteLLM that we do not have, and why. The list only
// gets shorter: a metric that appears must leave it.
var unexposed = map[string]string{
	"litellm_team_members_metric":                               "gauges of objects want the whole database in each worker",
	"litellm_total_users":                                       "the same",
	"litellm_active_users":                                      "the same",
	"litellm_teams_count":                                       "the same",
	"litellm_remaining_org_budget_metric":                       "shown when a member of an organization with a budget calls; nobody does here",
	"litellm_org_max_budget_metric":                             "the same",
	"litellm_org_budget_remaining_hours_metric":                 "the same",
	"litellm_remaining_customer_budget_metric":                  "customers are names that clients make up",
	"litellm_customer_max_budget_metric":                        "the same",
	"litellm_customer_budget_remaining_hours_metric":            "the same",
	"litellm_api_key_rate_limit_allowed_metric":                 "no labels are known",
	"litellm_api_key_rate_limit_used_metric":                    "the same",
	"litellm_team_rate_limit_allowed_metric":                    "the same",
	"litellm_team_rate_limit_used_metric":                       "the same",
	"litellm_project_model_rate_limit_allowed_metric":           "the same",
	"litellm_project_model_rate_limit_used_metric":              "the same",
	"litellm_remaining_tokens_metric":                           "of what a provider says in headers; the one here says nothing of tokens",
	"litellm_overhead_with_guardrails_latency_metric":           "without guardrails it is litellm_overhead_latency_metric",
	"litellm_request_queue_time_seconds":                        "there is no queue",
	"litellm_guardrail_latency_seconds":                         "no guardrails in this release",
	"litellm_guardrail_errors_total":                            "the same",
	"litellm_guardrail_requests_total":                          "the same",
	"litellm_provider_remaining_budget_metric":                  "only the database knows it for all hosts: /provider/budgets",
	"litellm_deployment_cooled_down_total":                      "nothing is cooled down in this release",
	"litellm_deployment_successful_fallbacks_total":             "no fallbacks to other models in this release",
	"litellm_deployment_failed_fallbacks_total":                 "the same",
	"litellm_callback_logging_failures_metric_total":            "no callbacks in this release",
	"litellm_zero_cost_requests_total":                          "the reasons that it tells apart are LiteLLM's own",
	"litellm_spend_capture_rate":                                "nothing is compared by itself; /spend/capture_rate answers when it is asked",
	"litellm_cache_hits_metric_total":                           "no cache of answers in this release",
	"litellm_cache_misses_metric_total":                         "the same",
	"litellm_cached_tokens_metric_total":                        "the same",
	"litellm_input_cache_creation_tokens_metric_total":          "made with the first such token; the provider here reports none",
	"litellm_provider_cache_creation_input_tokens_metric_total": "the same",
	"litellm_provider_cache_read_input_tokens_metric_total":     "the same",
	"litellm_input_audio_tokens_metric_total":                   "the same",
	"litellm_output_audio_tokens_metric_total":                  "the same",
	"litellm_images_generated_metric_total":                     "the same",
	"litellm_video_duration_seconds_metric_total":               "no routes of video in this release",
	"litellm_managed_batch_created_total":                       "no batches in this release",
	"litellm_managed_batch_duration_seconds":                    "the same",
	"litellm_managed_file_size_bytes":                           "the same",
	"litellm_managed_file_created_total":                        "the same",
	"litellm_managed_file_deleted_total":                        "the same",
	"litellm_check_batch_cost_jobs_polled":                      "the same",
	"litellm_check_batch_cost_jobs_processed_total":             "the same",
	"litellm_check_batch_cost_errors_total":                     "the same",
	"litellm_check_batch_cost_last_run_timestamp":               "the same",
	"litellm_mcp_tool_calls_total":                              "no MCP in this release",
	"litellm_mcp_tool_call_spend_metric_total":                  "the same",
}

// unlabelled are labels that our metrics leave out, and why. A query that groups
// by one still works: Prometheus takes it for empty.
var unlabelled = map[string]string{
	"client_ip":    "clients would decide how many series there are; the log line has it",
	"user_agent":   "the same",
	"service_tier": "not told apart in this release",
}

var labelNames = regexp.MustCompile(`([a-z_]+)="`)

// TestMetricNames compares the scrape of an appliance with that of a LiteLLM
// proxy: names, types and labels, so that its dashboards go on working.
func TestMetricNames(t *testing.T) {
	_, _, scrape := observed(t)
	types, labels := map[string]string{}, map[string]map[string]bool{}
	for line := range strings.Lines(scrape) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
			types[f[2]] = f[3]
		}
	}
	for series := range samples(scrape) {
		name, set, _ := strings.Cut(series, "{")
		for _, n := range []string{name, strings.TrimSuffix(name, "_bucket")} {
			if labels[n] == nil {
				labels[n] = map[string]bool{}
			}
			for _, m := range labelNames.FindAllStringSubmatch(set, -1) {
				labels[n][m[1]] = true
			}
		}
	}
	same, left := 0, maps.Clone(unexposed)
	for line := range strings.Lines(litellmMetrics) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		name, typ := f[0], f[1]
		have, ok := labels[name]
		_, excused := unexposed[name]
		delete(left, name)
		switch {
		case !ok && !excused:
			t.Errorf("%s is not exposed", name)
		case ok && excused:
			t.Errorf("%s is exposed: take it out of the list", name)
		case ok:
			same++
			if types[name] != "" && types[name] != typ {
				t.Errorf("%s is a %s, and a %s with LiteLLM", name, types[name], typ)
			}
			for _, l := range strings.Split(f[2], ",") {
				if _, excused := unlabelled[l]; l != "-" && !have[l] && !excused {
					t.Errorf("%s has no label %s; it has %v", name, l, slices.Sorted(maps.Keys(have)))
				}
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("no metrics of LiteLLM: %v", left)
	}
	t.Logf("metrics: %d of LiteLLM's %d are here under their names, %d are listed with the reason", same, same+len(unexposed), len(unexposed))
}
