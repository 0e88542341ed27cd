package config

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/money"
)

func TestSpendSettings(t *testing.T) {
	f, problems := loadText(t, `
model_list:
  - model_name: m
    litellm_params:
      model: openai/gpt-4o
      rpm: 10
      max_budget: 2.5
      budget_duration: 1d
      max_parallel_requests: 4
      default_api_key_rpm_limit: 7
      input_cost_per_token: 3.0000000000000004e-07
      output_cost_per_token: "0.000002"
      off_peak_pricing: {hours_utc: "16:30-00:30", input_cost_per_token: 1e-08}
    model_info: {base_model: gpt-4o-mini, cache_read_input_token_cost: 1e-8}
litellm_settings:
  max_budget: 100
  budget_duration: 1mo
  max_internal_user_budget: 5
  internal_user_budget_duration: 7d
  default_internal_user_params: {budget_duration: 2d}
  max_end_user_budget: 0.000000001
  tag_budget_config: {a: {max_budget: 1, budget_duration: 1h}, b: {budget_limit: 2}}
  cost_discount_config: {openai: 0.05}
  extra_spend_tag_headers: [X-Team]
  disable_add_user_agent_to_request_tags: true
  turn_off_message_logging: true
general_settings:
  global_max_parallel_requests: 100
  max_parallel_requests: 9
  token_rate_limit_type: output
  rate_limit_window: fixed
  budget_mode: optimistic
  budget_outage_allowance: 1.5
  proxy_batch_write_at: 60
  proxy_budget_rescheduler_min_time: 700
  maximum_spend_logs_retention_period: 30d
  journal_sync: always
  journal_max_gb: 0.5
  store_prompts_in_spend_logs: true
router_settings:
  provider_budget_config: {openai: {budget_limit: 12.5, time_period: 1d}}
  optional_pre_call_checks: [enforce_model_rate_limits]
compat: {budget_error_status: 400}
settings: {monitoring_postgres_enabled: false}
`, environ("LITELLM_RATE_LIMIT_WINDOW_SIZE=30"))
	if f == nil {
		t.Fatalf("%s", problems)
	}
	p, g, l := &f.Models[0].Params, &f.General, &f.LiteLLM
	if *p.MaxBudget != 2_500_000_000 || p.BudgetDuration != "1d" || *p.Parallel != 4 || *p.KeyRPM != 7 || p.KeyTPM != nil {
		t.Errorf("%+v", p)
	}
	if string(p.Prices["input_cost_per_token"]) != "3.0000000000000004e-07" || string(p.Prices["output_cost_per_token"]) != "0.000002" {
		t.Errorf("prices are not kept as they stand: %s", p.Prices)
	}
	if peak := string(p.Prices["off_peak_pricing"]); !strings.Contains(peak, `"16:30-00:30"`) {
		t.Errorf("the prices of cheap hours: %s", peak)
	}
	for _, d := range p.Defaults {
		if strings.Contains(d.Name, "cost") || strings.Contains(d.Name, "pricing") {
			t.Errorf("%s goes to the provider", d.Name)
		}
	}
	if f.Models[0].Info.BaseModel != "gpt-4o-mini" {
		t.Errorf("%+v", f.Models[0].Info)
	}
	if *l.MaxBudget != 100*money.Dollar || l.BudgetDuration != "1mo" || *l.CustomerBudget != 1 || !l.NoMessages || !l.NoAgentTag || l.TagHeaders[0] != "X-Team" {
		t.Errorf("%+v", l.Budgets)
	}
	if l.TagBudgets["a"] != (Budget{money.Dollar, "1h"}) || l.TagBudgets["b"] != (Budget{2 * money.Dollar, ""}) || string(l.Discounts["openai"]) != "0.05" {
		t.Errorf("%+v %s", l.TagBudgets, l.Discounts)
	}
	if string(l.UserDefaults["max_budget"]) != "5.0" || string(l.UserDefaults["budget_duration"]) != `"2d"` {
		t.Errorf("defaults of users: %s", l.UserDefaults)
	}
	if *g.GlobalParallel != 100 || *g.Parallel != 9 || g.TokenType != "output" || g.RateWindow != "fixed" || g.BudgetMode != "optimistic" ||
		g.OutageAllowance != 1_500_000_000 || g.WriteWithin != time.Minute || g.Retention != 30*24*time.Hour || g.JournalSync != "always" ||
		g.JournalMaxGB != 0.5 || !g.StorePrompts || !g.DisableRows || g.WindowSize != 30*time.Second {
		t.Errorf("%+v", g.Spend)
	}
	if g.ResetLeast != 700*time.Second || g.ResetMost != 700*time.Second {
		t.Errorf("resets every %v to %v", g.ResetLeast, g.ResetMost)
	}
	if f.Router.ProviderBudgets["openai"] != (Budget{12_500_000_000, "1d"}) || !f.Router.Enforced() || f.Compat.BudgetStatus != 400 {
		t.Errorf("%+v", f.Router)
	}
	f, _ = loadText(t, "", environ())
	if g := f.General; g.TokenType != "total" || g.RateWindow != "gcra" || g.BudgetMode != "strict" || g.JournalSync != "none" || g.WindowSize != time.Minute ||
		g.WriteWithin != 10*time.Second || f.Compat.BudgetStatus != 429 || f.LiteLLM.MaxBudget != nil || f.Router.Enforced() {
		t.Errorf("defaults %+v", g.Spend)
	}
}

func TestSpendMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"general_settings: {rate_limit_window: sliding}":                                                              "rate_limit_window",
		"general_settings: {token_rate_limit_type: all}":                                                              "token_rate_limit_type",
		"general_settings: {budget_mode: loose}":                                                                      "budget_mode",
		"general_settings: {budget_outage_allowance: -1}":                                                             "budget_outage_allowance",
		"general_settings: {journal_sync: sometimes}":                                                                 "journal_sync",
		"general_settings: {journal_max_gb: -2}":                                                                      "journal_max_gb",
		"general_settings: {global_max_parallel_requests: -5}":                                                        "global_max_parallel_requests",
		"general_settings: {proxy_budget_rescheduler_min_time: 700, proxy_budget_rescheduler_max_time: 600}":          "proxy_budget_rescheduler_min_time",
		"general_settings: {maximum_spend_logs_retention_period: long}":                                               "maximum_spend_logs_retention_period",
		"litellm_settings: {max_budget: -1}":                                                                          "max_budget",
		"litellm_settings: {max_budget: 99999999999}":                                                                 "max_budget",
		"litellm_settings: {max_budget: 1, budget_duration: 1y}":                                                      "budget_duration",
		"litellm_settings: {tag_budget_config: {a: {budget_duration: 1d}}}":                                           "tag_budget_config.a",
		"litellm_settings: {tag_budget_config: {a: {max_budget: 1, budget_duration: soon}}}":                          "tag_budget_config.a.budget_duration",
		"router_settings: {provider_budget_config: {openai: 5}}":                                                      "provider_budget_config.openai",
		"compat: {budget_error_status: 418}":                                                                          "budget_error_status",
		"settings: {monitoring_postgres_enabled: perhaps}":                                                            "monitoring_postgres_enabled",
		"model_list: [{model_name: m, litellm_params: {model: openai/x, max_budget: none}}]":                          "max_budget",
		"model_list: [{model_name: m, litellm_params: {model: openai/x, input_cost_per_token: -1}}]":                  "input_cost_per_token",
		"model_list: [{model_name: m, litellm_params: {model: openai/x, input_cost_per_token: cheap}}]":               "input_cost_per_token",
		"model_list: [{model_name: m, litellm_params: {model: openai/x, max_budget: 1, budget_duration: fortnight}}]": "budget_duration",
	} {
		f, problems := loadText(t, text, environ())
		if f != nil || !strings.Contains(problems.String(), want) {
			t.Errorf("%s: %s", text, problems)
		}
	}
	f, problems := loadText(t, "litellm_settings: {budget_duration: 1d}", environ())
	if f == nil || !strings.Contains(problems.String(), "without max_budget") {
		t.Errorf("a window without a budget: %s", problems)
	}
	if f, problems = loadText(t, "", environ("LITELLM_RATE_LIMIT_WINDOW_SIZE=0.1")); f != nil {
		t.Errorf("a window of a tenth of a second: %s", problems)
	}
}
