package admin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/price"
)

// TestCosts: what calls cost, or would, for the deployments of the configuration
// and for models of the table alone.
func TestCosts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(path, []byte(`{"house":{"litellm_provider":"openai","input_cost_per_token":1e-06,"output_cost_per_token":2e-06,
		"cache_read_input_token_cost":1e-07}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := price.NewBook(path)
	if err != nil {
		t.Fatal(err)
	}
	adjust, err := price.ParseAdjustments(nil, json.RawMessage(`{"openai":{"percentage":0.5,"fixed_amount":0.001}}`))
	if err != nil {
		t.Fatal(err)
	}
	own := &catalog{stored: []Deployment{{
		ID: "o", Name: "own", Provider: "openai", Model: "house",
		Params: identity.Fields{"model": quoted("openai/house"), "output_cost_per_token": json.RawMessage("5e-06")}, Info: identity.Fields{},
	}, {
		ID: "b", Name: "opaque", Provider: "azure", Model: "deployment-7", Params: identity.Fields{"model": quoted("azure/deployment-7")},
		Info: identity.Fields{"base_model": quoted("azure/gpt-4o")},
	}}}
	each(t, func(w *world) {
		w.userKey("k", "u", identity.RoleInternalUser)
		for _, c := range []struct {
			path, body string
			status     int
			want       map[string]any
		}{
			{"/spend/calculate", `{"model":"mock","messages":[{"role":"user","content":"hello world"}]}`, 200, map[string]any{"cost": "0.0010337500"}},
			{"/spend/calculate", `{"model":"opaque","messages":[{"role":"user","content":"hello world"}]}`, 200, map[string]any{"cost": "0.0000225"}},
			{
				"/spend/calculate", `{"completion_response":{"model":"own","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}}`, 200,
				map[string]any{"cost": "0.001225"},
			},
			{"/spend/calculate", `{"completion_response":{"model":"own","choices":[{"message":{"content":"hello world"}}]}}`, 200, map[string]any{"cost": "0.001015"}},
			{"/spend/calculate", `{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"hello world"}]}`, 200, map[string]any{"cost": "0.000027"}},
			{"/spend/calculate", `{"model":"nobody-knows","messages":[]}`, 404, nil},
			{"/spend/calculate", `{"model":"mock"}`, 400, nil},
			{"/spend/calculate", `{"messages":[]}`, 400, nil},
			{"/cost/estimate", `{"model":"own","input_tokens":1000,"cache_read_input_tokens":400,"output_tokens":100,"reasoning_tokens":20,"num_requests_per_day":10}`, 200, map[string]any{
				"model": "own", "provider": "openai", "cost_per_request": "0.00271", "input_cost_per_request": "0.00064", "output_cost_per_request": "0.0005",
				"margin_cost_per_request": "0.00157", "cache_read_cost_per_request": "0.00004", "reasoning_cost_per_request": "0.0001",
				"daily_cost": "0.0271", "monthly_cost": nil, "input_cost_per_token": "0.000001", "output_cost_per_token": "0.000005",
			}},
			{"/cost/estimate", `{"model":"own","input_tokens":10,"cache_read_input_tokens":11,"output_tokens":0}`, 400, nil},
			{"/cost/estimate", `{"model":"own","input_tokens":10,"output_tokens":0,"reasoning_tokens":1}`, 400, nil},
			{"/cost/estimate", `{"model":"own","input_tokens":-1,"output_tokens":0}`, 400, nil},
			{"/cost/estimate", `{"model":"nobody-knows","input_tokens":1,"output_tokens":0}`, 404, nil},
		} {
			for _, who := range []string{"master", "k"} {
				got := w.call(who, "POST", c.path, json.RawMessage(c.body))
				if got.Status != c.status {
					t.Errorf("%s %s by %s: %d %s", c.path, c.body, who, got.Status, got.Raw)
					continue
				}
				body, _ := got.Body.(map[string]any)
				for name, want := range c.want {
					if n, ok := body[name].(json.Number); ok && want != nil {
						if trimmed(n.String()) != trimmed(want.(string)) {
							t.Errorf("%s %s: %s is %s, want %s", c.path, c.body, name, n, want)
						}
					} else if body[name] != want {
						t.Errorf("%s %s: %s is %v, want %v", c.path, c.body, name, body[name], want)
					}
				}
			}
		}
	}, func(c *Config) {
		c.Models = ModelConfig{Catalog: own, Prices: book, Adjustments: adjust}
	})
}

// trimmed is a decimal without zeros at its end.
func trimmed(n string) string {
	for len(n) > 0 && n[len(n)-1] == '0' {
		n = n[:len(n)-1]
	}
	return n
}
