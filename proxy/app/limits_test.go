package app

import (
	"testing"

	"sluice/proxy/gateway"
	"sluice/proxy/provider"
	"sluice/proxy/route"
)

func TestLimits(t *testing.T) {
	gpt := route.Limits{Mode: "chat", MaxInput: 128000, MaxOutput: 16384}
	for name, tt := range map[string]struct {
		params provider.Params
		base   string
		own    route.Limits
		want   route.Limits
	}{
		"of the table":       {params: provider.Params{Model: "openai/gpt-4o"}, want: gpt},
		"provider apart":     {params: provider.Params{Model: "gpt-4o", Provider: "openai"}, want: gpt},
		"base model":         {params: provider.Params{Model: "azure/mine"}, base: "azure/gpt-4o", want: gpt},
		"own words win":      {params: provider.Params{Model: "openai/gpt-4o"}, own: route.Limits{MaxInput: 5}, want: route.Limits{Mode: "chat", MaxInput: 5, MaxOutput: 16384}},
		"not in the table":   {params: provider.Params{Model: "openai/x"}},
		"pattern":            {params: provider.Params{Model: "openai/*"}},
		"another's model":    {params: provider.Params{Model: "groq/gpt-4o"}},
		"without a provider": {params: provider.Params{Model: "gpt-4o"}, want: gpt},
	} {
		known := limits{}
		for range 2 { // the second time it is remembered
			m := gateway.Model{Params: tt.params, Info: tt.own}
			known.fill(&m, tt.base)
			if m.Info != tt.want {
				t.Errorf("%s: %+v, want %+v", name, m.Info, tt.want)
			}
		}
	}
}
