package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
)

// TestPricesOfFile: the table, a file over it, what the deployment says, discount
// and margin; a file that cannot be used is said and leaves the table.
func TestPricesOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prices.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := &config.File{Environ: (*env.Environ)(nil).With(map[string]string{envPrices: path})}
	file.LiteLLM.Margins = config.Objects{"openai": json.RawMessage("0.5")}
	cost := func(model string, own config.Objects, called string) int64 {
		t.Helper()
		costs, err := newPrices(file, func(problem string) { t.Error(problem) })
		if err != nil {
			t.Fatal(err)
		}
		m := gateway.Model{Params: provider.Params{Model: model}}
		d := &config.Deployment{}
		d.Params.Prices = own
		costs.fill(&m, d)
		if m.PriceOf != nil {
			if model == "*" {
				model = "groq/*"
			}
			target, err := provider.Bind(provider.Params{Model: model}, file.Variable)
			if err != nil {
				t.Fatal(err)
			}
			m.Price = m.PriceOf(target, called)
		}
		n, _ := m.Price.Cost(&llm.Usage{Input: 1000})
		return int64(n)
	}
	write(`{"gpt-4o":{"input_cost_per_token":4e-06}}`)
	for _, c := range []struct {
		model, called string
		own           config.Objects
		want          int64
	}{
		{"openai/gpt-4o", "", nil, 6_000_000},
		{"openai/gpt-4o-mini", "", nil, 225_000},
		{"azure/gpt-4o", "", nil, 2_500_000},
		{"openai/gpt-4o", "", config.Objects{"input_cost_per_token": json.RawMessage("1e-06")}, 1_500_000},
		{"openai/*", "gpt-4o", nil, 6_000_000},
		{"openai/*", "nobody", nil, 0},
		{"openai/*", "gpt-4o", config.Objects{"output_cost_per_token": json.RawMessage("1e-06")}, 6_000_000},
		{"openai/*", "gpt-4o", config.Objects{"input_cost_per_token": json.RawMessage("1e-06")}, 1_500_000},
		{"openai/*", "nobody", config.Objects{"input_cost_per_token": json.RawMessage("1e-06")}, 1_500_000},
		{"gpt-4o", "", nil, 6_000_000},
		{"gpt-*", "gpt-4o", nil, 6_000_000},
		{"*", "qwen/qwen3.8-27b", nil, 800_000},
		{"*", "gpt-4o", nil, 0},
		{"openai/nobody", "", nil, 0},
	} {
		if got := cost(c.model, c.own, c.called); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	eu := &config.File{Environ: file.Environ.With(map[string]string{"OPENAI_BASE_URL": "https://eu.api.openai.com/v1"})}
	costs, err := newPrices(eu, func(problem string) { t.Error(problem) })
	if err != nil {
		t.Fatal(err)
	}
	m := gateway.Model{Params: provider.Params{Model: "openai/gpt-6-astra"}}
	costs.fill(&m, &config.Deployment{})
	here := gateway.Model{Params: provider.Params{Model: "openai/gpt-6-astra", APIBase: "https://api.openai.com/v1"}}
	costs.fill(&here, &config.Deployment{})
	u := llm.Usage{Input: 1000}
	if there, _ := m.Price.Cost(&u); there != 11_000_000 {
		t.Errorf("a region that the environment names: %d", there)
	}
	if there, _ := here.Price.Cost(&u); there != 10_000_000 {
		t.Errorf("a deployment elsewhere: %d", there)
	}
	lost, said := &prices{}, ""
	lost.problem = func(problem string) { said += problem }
	if lost.unpriced(); said != "" {
		t.Error(said)
	}
	lost.unknown = strings.Fields("b a c a g f e d")
	if lost.unpriced(); !strings.Contains(said, "of a, b, c, d, e and 2 more: ") {
		t.Error(said)
	}
	write(`{"gpt-4o":`)
	said = ""
	costs, err = newPrices(file, func(problem string) { said += problem })
	if err != nil || !strings.Contains(said, path) || !strings.Contains(said, "embedded table alone") {
		t.Errorf("%v, said %q", err, said)
	}
	if e, _, ok := costs.book.Lookup("gpt-4o", "openai"); !ok || e.Decimal("input_cost_per_token") != "2.5e-06" {
		t.Error("the table is gone")
	}
	if problems := spendProblems(file); len(problems) != 1 || problems[0].Severity != config.Warning || problems[0].At.File != envPrices {
		t.Errorf("%+v", problems)
	}
}
