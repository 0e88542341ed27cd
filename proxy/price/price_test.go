package price

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	tests := []struct{ model, provider, name, input, output string }{
		{"gpt-4o", "openai", "gpt-4o", "2.5e-06", "1e-05"},
		{"GPT-4o", "openai", "gpt-4o", "2.5e-06", "1e-05"},
		{"gpt-4o-mini", "", "gpt-4o-mini", "1.5e-07", "6e-07"},
		{"gpt-4o", "azure", "azure/gpt-4o", "2.5e-06", "1e-05"},
		{"claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5", "3e-06", "1.5e-05"},
		{"openai/gpt-4o", "", "", "", ""}, // the prefix is the caller's business
		{"gpt-4o", "anthropic", "", "", ""},
		{"x", "openai", "", "", ""},
		{"", "", "", "", ""},
		{"sample_spec", "", "", "", ""},
		{"ca.anthropic.claude-sonnet-4-20250514-v1:0", "bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", "3e-06", "1.5e-05"},
		{"ft:gpt-4o-2024-08-06:acme::abc", "openai", "ft:gpt-4o-2024-08-06", "3.75e-06", "1.5e-05"},
		{"gemini-2.5-pro", "vertex_ai", "gemini-2.5-pro", "1.25e-06", "1e-05"},
	}
	for _, tt := range tests {
		e, ok := Lookup(tt.model, tt.provider)
		if ok != (tt.name != "") || e.Name != tt.name || e.Decimal("input_cost_per_token") != tt.input || e.Decimal("output_cost_per_token") != tt.output {
			t.Errorf("%s of %q: %t %s %s %s, want %+v", tt.model, tt.provider, ok, e.Name, e.Decimal("input_cost_per_token"), e.Decimal("output_cost_per_token"), tt)
		}
	}
}

func TestFields(t *testing.T) {
	e, _ := Lookup("gpt-4o", "openai")
	if e.Text("mode") != "chat" || e.Text("max_tokens") != "" || e.Decimal("max_input_tokens") != "128000" || e.Decimal("mode") != "" ||
		!e.Bool("supports_vision") || e.Bool("supports_nothing") {
		t.Errorf("%+v", e)
	}
	if source, date := About(); !strings.Contains(source, "LiteLLM") || len(date) != 10 {
		t.Error(source, date)
	}
}

// Every entry is found under its own name: the index and the blocks agree.
func TestWhole(t *testing.T) {
	about, places, blocks := number(len(magic)), number(len(magic)+4), number(len(magic)+8)
	if table[:len(magic)] != magic || places < 4000 {
		t.Fatalf("%q, %d models", table[:len(magic)], places)
	}
	offsets := head + about + places*placeSize
	data, seen := offsets+(blocks+1)*4, 0
	for b := range blocks {
		text := inflate(table[data+number(offsets+b*4) : data+number(offsets+b*4+4)])
		for line := range strings.Lines(text) {
			name, fields, _ := strings.Cut(line, "\t")
			seen++
			if !json.Valid([]byte(fields)) {
				t.Errorf("%s: no JSON", name)
			}
			if seen%50 == 0 { // each look-up inflates a block
				if e, ok := Lookup(name, ""); !ok || e.Name != name {
					t.Errorf("%s: %t %s", name, ok, e.Name)
				}
			}
		}
	}
	if seen != places || data+number(offsets+blocks*4) != len(table) {
		t.Errorf("%d lines for %d places, %d bytes", seen, places, len(table))
	}
}

func BenchmarkLookup(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Lookup("gpt-4o", "openai"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkUnknown(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := Lookup("nothing", "openai"); ok {
			b.Fatal("found")
		}
	}
}
