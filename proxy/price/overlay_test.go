package price

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// TestOverlay: what a deployment says of itself is what is charged.
func TestOverlay(t *testing.T) {
	table := fieldsOf(t, `{"mode":"chat","input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06,"cache_read_input_token_cost":1e-07,
		"output_cost_per_token":4e-06,"output_cost_per_token_priority":8e-06,"tiered_pricing":[{"range":[0,1],"input_cost_per_token":1}],"input_cost_per_request":0.5}`)
	for own, want := range map[string]string{
		`{}`:                                   `{"cache_read_input_token_cost":1e-07,"input_cost_per_request":0.5,"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06,"mode":"chat","output_cost_per_token":4e-06,"output_cost_per_token_priority":8e-06,"tiered_pricing":[{"range":[0,1],"input_cost_per_token":1}]}`,
		`{"input_cost_per_token":0}`:           `{"custom_pricing":true,"input_cost_per_request":0.5,"input_cost_per_token":0,"mode":"chat","output_cost_per_token":4e-06,"output_cost_per_token_priority":8e-06}`,
		`{"cache_read_input_token_cost":5e-8}`: `{"cache_read_input_token_cost":5e-8,"custom_pricing":true,"input_cost_per_request":0.5,"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06,"mode":"chat","output_cost_per_token":4e-06,"output_cost_per_token_priority":8e-06,"tiered_pricing":[{"range":[0,1],"input_cost_per_token":1}]}`,
		`{"input_cost_per_second":0.1}`:        `{"custom_pricing":true,"input_cost_per_second":0.1,"mode":"chat"}`,
		`{"temperature":1,"mode":"x"}`:         `{"cache_read_input_token_cost":1e-07,"input_cost_per_request":0.5,"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06,"mode":"chat","output_cost_per_token":4e-06,"output_cost_per_token_priority":8e-06,"tiered_pricing":[{"range":[0,1],"input_cost_per_token":1}]}`,
	} {
		got, err := json.Marshal(Overlay(table, fieldsOf(t, own)))
		if err != nil || string(got) != want {
			t.Errorf("%s:\n got %s %v\nwant %s", own, got, err, want)
		}
	}
	for name, c := range map[string]struct {
		table, own string
		u          llm.Usage
		want       money.Nano
	}{
		"larger prompts alone": {
			`{"input_cost_per_token":1e-06,"cache_read_input_token_cost":1e-07}`, `{"input_cost_per_token_above_200k_tokens":2e-06}`,
			llm.Usage{Input: 1000, CachedIn: 100},
			910_000,
		},
		"larger prompts alone, a larger one": {
			`{"input_cost_per_token":1e-06,"output_cost_per_token":1e-06}`, `{"input_cost_per_token_above_200k_tokens":2e-06}`,
			llm.Usage{Input: 300_000, Output: 1},
			600_001_000,
		},
		"a tier alone": {
			`{"input_cost_per_token":1e-06,"output_cost_per_token":4e-06}`, `{"input_cost_per_token_flex":5e-07,"output_cost_per_token_flex":2e-06}`,
			llm.Usage{Input: 1000, Output: 1000},
			5_000_000,
		},
		"the answer alone, of a model with ranges": {
			`{"tiered_pricing":[{"range":[0,100],"input_cost_per_token":1e-06,"output_cost_per_token":2e-06},{"range":[100,900],"input_cost_per_token":3e-06,"output_cost_per_token":4e-06}]}`,
			`{"output_cost_per_token":5e-06}`,
			llm.Usage{Input: 200, Output: 10},
			650_000,
		},
		"the answer alone, of a model with cheap hours": {
			`{"input_cost_per_token":2e-06,"output_cost_per_token":4e-06,"off_peak_pricing":{"input_cost_per_token":1e-06,"output_cost_per_token":2e-06,"windows":[{"hours_utc":"00:00-00:00"}]}}`,
			`{"output_cost_per_token":5e-06}`,
			llm.Usage{Input: 100, Output: 10, Tier: llm.TierOffPeak},
			150_000,
		},
		"ranges of the prompt alone": {
			`{"input_cost_per_token":1e-06,"output_cost_per_token":4e-06}`, `{"tiered_pricing":[{"range":[0,100],"input_cost_per_token":2e-06}]}`,
			llm.Usage{Input: 50, Output: 10},
			140_000,
		},
	} {
		p, err := Compile(Overlay(fieldsOf(t, c.table), fieldsOf(t, c.own)), "test")
		if err != nil {
			t.Fatal(name, err)
		}
		if got, exact := p.Cost(&c.u); got != c.want || !exact {
			t.Errorf("%s: %d, exact %t; want %d", name, got, exact, c.want)
		}
	}
	got := Overlay(nil, fieldsOf(t, `{"input_cost_per_token":1}`), fieldsOf(t, `{"input_cost_per_token":2}`))
	if string(got["input_cost_per_token"]) != "2" {
		t.Errorf("%s", got)
	}
}

func TestAdjustments(t *testing.T) {
	a, err := ParseAdjustments(json.RawMessage(`{"openai":0.05}`),
		json.RawMessage(`{"global":0.1,"anthropic":{"percentage":0.2,"fixed_amount":0.001},"openai":0}`))
	if err != nil {
		t.Fatal(err)
	}
	for provider, want := range map[string]Adjustment{
		"openai": {Discount: "5e-2", Margin: "0"}, "anthropic": {Margin: "2e-1", Flat: "1e-3"}, "groq": {Margin: "1e-1"},
	} {
		if got := a.Of(provider); got != want {
			t.Errorf("%s: %+v, want %+v", provider, got, want)
		}
	}
	for _, c := range [][2]string{{`[]`, ``}, {`{"a":2}`, ``}, {`{"a":-1}`, ``}, {``, `{"a":"x"}`}, {``, `{"a":{"percent":1}}`}, {``, `7`}} {
		if _, err := ParseAdjustments(json.RawMessage(c[0]), json.RawMessage(c[1])); err == nil || !strings.HasPrefix(err.Error(), "cost_") {
			t.Errorf("%v: %v", c, err)
		}
	}
	if none, err := ParseAdjustments(nil, json.RawMessage("null")); err != nil || none.Of("x") != (Adjustment{}) {
		t.Error(err)
	}
	f := fieldsOf(t, `{"input_cost_per_token":1e-06,"regional_processing_uplift_multiplier_eu":1.1}`)
	Adjust(f, Adjustment{Discount: "5e-1", Region: RegionOf("https://EU.api.openai.com/v1")})
	p, err := Compile(f, "")
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := p.Cost(&llm.Usage{Input: 1000}); n != 550_000 {
		t.Error(n)
	}
	if RegionOf("https://api.openai.com/v1") != RegionNone || RegionOf("https://us.api.openai.com") != RegionUS || RegionOf("%%") != RegionNone {
		t.Error("regions")
	}
}
