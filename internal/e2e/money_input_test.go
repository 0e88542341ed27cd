//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice/supervisor/fleet"
)

// TestBadLimits: limits and windows that are negative, absurd or contradict each
// other are refused with 400 that names the field, and change nothing.
func TestBadLimits(t *testing.T) {
	w := newMoney(t, moneyOptions{sqlite: true, models: plainModels})
	a := w.hosts[0]
	header := map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"}
	before := w.db.number("SELECT count(*) FROM sluice.changes")
	wrongType := map[string]bool{"1.5": true, `"many"`: true, "[]": true, `"NaN"`: true} // 422, as of all fields
	fields := []struct{ field, value string }{
		{"rpm_limit", "-1"},
		{"rpm_limit", "1.5"},
		{"rpm_limit", "99999999999999999999"},
		{"tpm_limit", "-100"},
		{"tpm_limit", `"many"`},
		{"max_parallel_requests", "-3"},
		{"max_parallel_requests", "[]"},
		{"max_budget", "-0.01"},
		{"max_budget", "1e300"},
		{"max_budget", `"NaN"`},
		{"soft_budget", "-5"},
		{"budget_duration", `"0d"`},
		{"budget_duration", `"-3d"`},
		{"budget_duration", `"banana"`},
		{"budget_duration", `"99999999999d"`},
		{"model_rpm_limit", `{"plain":-1}`},
		{"model_tpm_limit", `{"plain":"x"}`},
		{"model_max_budget", `{"plain":{"budget_limit":-1,"time_period":"1d"}}`},
		{"model_max_budget", `{"plain":{"budget_limit":1,"time_period":"0s"}}`},
	}
	for _, path := range []string{"/key/generate", "/team/new", "/user/new", "/budget/new"} {
		for _, f := range fields {
			if strings.HasPrefix(f.field, "model_") && f.field != "model_max_budget" && path != "/key/generate" {
				continue // no field of these objects
			}
			if f.field == "soft_budget" && path == "/user/new" {
				continue
			}
			r, err := a.Do(http.MethodPost, path, fmt.Sprintf(`{%q:%s}`, f.field, f.value), header)
			status := http.StatusBadRequest
			if wrongType[f.value] {
				status = http.StatusUnprocessableEntity
			}
			if err != nil || r.Status != status || !strings.Contains(string(r.Body), f.field) {
				t.Errorf("%s %s %s: %v %s", path, f.field, f.value, err, r.text())
			}
		}
	}
	contradictions := []struct{ path, body, field string }{
		{"/key/generate", `{"max_budget":1,"soft_budget":2}`, "soft_budget"},
	}
	for _, c := range contradictions {
		r, err := a.Do(http.MethodPost, c.path, c.body, header)
		if err != nil || r.Status != http.StatusBadRequest || !strings.Contains(string(r.Body), c.field) {
			t.Errorf("%s %s: %v %s", c.path, c.body, err, r.text())
		}
	}
	if n := w.db.number("SELECT count(*) FROM sluice.changes"); n != before {
		t.Errorf("%d changes were made by what was refused", n-before)
	}
	// Zero is a limit, and a budget, of nothing.
	for body, says := range map[string]string{`{"rpm_limit":0}`: "requests", `{"max_budget":0}`: "budget"} {
		key := a.generate(body)
		r, err := a.Do(http.MethodPost, "/v1/chat/completions", `{"model":"plain","messages":[{"role":"user","content":"x"}]}`, bearer(key))
		if err != nil || r.Status != http.StatusTooManyRequests || !strings.Contains(strings.ToLower(string(r.Body)), says) {
			t.Errorf("a key with %s: %v %s", body, err, r.text())
		}
	}
}

// TestBadSpendSettings: settings of limits and money that mean nothing keep the
// appliance from starting, with a line that names them.
func TestBadSpendSettings(t *testing.T) {
	for _, c := range []struct{ config, names string }{
		{"general_settings: {rate_limit_window: weekly}", "rate_limit_window"},
		{"general_settings: {token_rate_limit_type: some}", "token_rate_limit_type"},
		{"general_settings: {budget_mode: generous}", "budget_mode"},
		{"general_settings: {budget_outage_allowance: -1}", "budget_outage_allowance"},
		{"general_settings: {journal_sync: perhaps}", "journal_sync"},
		{"general_settings: {journal_max_gb: -2}", "journal_max_gb"},
		{"general_settings: {global_max_parallel_requests: -2}", "global_max_parallel_requests"},
		{"general_settings: {proxy_batch_write_at: -1}", "proxy_batch_write_at"},
		{"litellm_settings: {max_budget: -1}", "max_budget"},
		{"litellm_settings: {max_budget: 1, budget_duration: sometimes}", "budget_duration"},
		{"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k, rpm: -1}}]", "rpm"},
		{"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k, tpm: -1}}]", "tpm"},
		{"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k, input_cost_per_token: -0.1}}]", "input_cost_per_token"},
		{"model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: k, max_budget: -1, budget_duration: 1d}}]", "max_budget"},
	} {
		t.Run(c.config, func(t *testing.T) {
			a := New(t, Options{Config: c.config + "\n"})
			code, said := a.command("proxy", "check", "--config", a.ConfigFile)
			if code != fleet.ExitConfig || !strings.Contains(said, c.names) {
				t.Errorf("exit %d\n%s", code, said)
			}
		})
	}
}
