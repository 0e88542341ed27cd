package price

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

func fieldsOf(t testing.TB, text string) map[string]json.RawMessage {
	t.Helper()
	var f map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func compiled(t testing.TB, text string) *Price {
	t.Helper()
	p, err := Compile(fieldsOf(t, text), "test")
	if err != nil {
		t.Fatal(text, err)
	}
	return p
}

// TestCost: the rules one by one, with sums that anybody can follow.
func TestCost(t *testing.T) {
	const chat = `{"input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05,"cache_read_input_token_cost":1.25e-06}`
	for name, c := range map[string]struct {
		fields string
		u      llm.Usage
		want   money.Nano
		exact  bool
	}{
		"plain":              {chat, llm.Usage{Input: 1000, Output: 100}, 3_500_000, true},
		"cached":             {chat, llm.Usage{Input: 1000, Output: 100, CachedIn: 800}, 2_500_000, true},
		"nothing":            {chat, llm.Usage{}, 0, true},
		"nothing, estimated": {chat, llm.Usage{Estimated: true, Tier: llm.TierFlex}, 0, true},
		"no cache price":     {`{"input_cost_per_token":1e-06}`, llm.Usage{Input: 1000, CachedIn: 800}, 1_000_000, true},
		"old name of the cache price": {
			`{"input_cost_per_token":1e-06,"input_cost_per_token_cache_hit":1e-07}`, llm.Usage{Input: 1000, CachedIn: 1000}, 100_000, true,
		},
		"reasoning": {
			`{"output_cost_per_token":1e-06,"output_cost_per_reasoning_token":3e-06}`, llm.Usage{Output: 100, Reasoning: 40}, 180_000, true,
		},
		"written for five minutes and an hour": {
			`{"input_cost_per_token":3e-06,"cache_creation_input_token_cost":3.75e-06,"cache_creation_input_token_cost_above_1hr":6e-06}`,
			llm.Usage{Input: 1000, CacheWrite: 300, CacheWriteHour: 100},
			700*3000 + 200*3750 + 100*6000, true,
		},
		"at the threshold": {`{"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06}`, llm.Usage{Input: 200_000}, 200_000_000, true},
		"beyond it, the whole of it": {
			`{"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":2e-06,"output_cost_per_token":1e-06,"output_cost_per_token_above_200k_tokens":5e-06}`,
			llm.Usage{Input: 200_001, Output: 10},
			400_002_000 + 50_000, true,
		},
		"at a threshold that is not in thousands": {
			`{"input_cost_per_token":1e-06,"input_cost_per_token_above_2500_tokens":2e-06}`, llm.Usage{Input: 2500}, 2_500_000, true,
		},
		"beyond it": {
			`{"input_cost_per_token":1e-06,"input_cost_per_token_above_2500_tokens":2e-06,"input_cost_per_token_above_2500_tokens_flex":1e-07}`,
			llm.Usage{Input: 2501},
			5_002_000, true,
		},
		"beyond one of two": {
			`{"input_cost_per_token":1e-06,"input_cost_per_token_above_128k_tokens":2e-06,"input_cost_per_token_above_512k_tokens":9e-06}`,
			llm.Usage{Input: 300_000},
			600_000_000, true,
		},
		"a tier":                  {`{"input_cost_per_token":1e-06,"input_cost_per_token_flex":5e-07}`, llm.Usage{Input: 10, Tier: llm.TierFlex}, 5_000, true},
		"a tier without a price":  {`{"input_cost_per_token":1e-06,"input_cost_per_token_flex":5e-07}`, llm.Usage{Input: 10, Tier: llm.TierPriority}, 10_000, true},
		"a tier nobody knows":     {`{"input_cost_per_token":1e-06}`, llm.Usage{Input: 10, Tier: 200}, 10_000, true},
		"a tier beyond threshold": {`{"input_cost_per_token":1e-06,"input_cost_per_token_priority":2e-06,"input_cost_per_token_above_200k_tokens_priority":4e-06}`, llm.Usage{Input: 300_000, Tier: llm.TierPriority}, 1_200_000_000, true},
		"ranges": {
			`{"tiered_pricing":[{"range":[0,32000],"input_cost_per_token":1e-06,"output_cost_per_token":5e-06},{"range":[32000,128000],"input_cost_per_token":2e-06}]}`,
			llm.Usage{Input: 32_001, Output: 1},
			64_002_000 + 5_000, true,
		},
		"audio and pictures in the prompt": {
			`{"input_cost_per_token":1e-06,"input_cost_per_audio_token":1e-05,"input_cost_per_image_token":2e-06,"cache_read_input_audio_token_cost":1e-07}`,
			llm.Usage{Input: 100, AudioIn: 30, CachedIn: 10, CachedAudio: 10, ImageIn: 20},
			50*1000 + 20*10_000 + 10*100 + 20*2000, true,
		},
		"a speech by letters":   {`{"input_cost_per_character":1.5e-05}`, llm.Usage{Characters: 1000, Input: 200}, 15_000_000, true},
		"a recording by time":   {`{"input_cost_per_second":0.0001,"output_cost_per_second":0.0001}`, llm.Usage{Millis: 9_500}, 950_000, true},
		"one by its other name": {`{"input_cost_per_second":0,"output_cost_per_second":0.0001}`, llm.Usage{Millis: 9_500}, 950_000, true},
		"tokens, not time":      {`{"input_cost_per_token":1e-06,"input_cost_per_second":0.0001}`, llm.Usage{Input: 10, Millis: 9_500}, 10_000, true},
		"a picture":             {`{"mode":"image_generation","input_cost_per_image":0.04}`, llm.Usage{Images: 2}, 80_000_000, true},
		"pixels":                {`{"input_cost_per_pixel":4e-08,"output_cost_per_pixel":0}`, llm.Usage{Images: 1, Pixels: 1 << 20}, 41_943_040, true},
		"a picture in tokens":   {`{"input_cost_per_token":5e-06,"output_cost_per_image_token":4e-05,"output_cost_per_image":0.1}`, llm.Usage{Input: 10, Output: 1000, Images: 1}, 40_050_000, true},
		"a rerank":              {`{"input_cost_per_query":0.002,"input_cost_per_token":0}`, llm.Usage{Queries: 3, Input: 500}, 6_000_000, true},
		"searches": {
			`{"input_cost_per_token":0,"search_context_cost_per_query":{"search_context_size_low":0.005,"search_context_size_medium":0.008,"search_context_size_high":0.012}}`,
			llm.Usage{Input: 1, Searches: 2, SearchSize: llm.SearchHigh},
			24_000_000, true,
		},
		"searches of no size":      {`{"search_context_cost_per_query":{"search_context_size_low":0.005,"search_context_size_medium":0.008}}`, llm.Usage{Searches: 1}, 8_000_000, true},
		"searches at one price":    {`{"search_context_cost_per_query":0.01}`, llm.Usage{Searches: 1, SearchSize: llm.SearchLow}, 10_000_000, true},
		"files and a session":      {`{"file_search_cost_per_1k_calls":2.5,"code_interpreter_cost_per_session":0.03}`, llm.Usage{FileSearches: 4, Sessions: 1}, 40_000_000, true},
		"pages":                    {`{"ocr_cost_per_page":0.002,"annotation_cost_per_page":0.005}`, llm.Usage{Pages: 3, Annotated: 1}, 9_000_000, true},
		"a call":                   {`{"input_cost_per_request":0.005,"output_cost_per_token":0}`, llm.Usage{Input: 5, Output: 5}, 5_000_000, true},
		"no price of the answer":   {`{"input_cost_per_token":1e-06}`, llm.Usage{Input: 10, Output: 1}, 10_000, false},
		"no price of searches":     {chat, llm.Usage{Input: 2, Searches: 1}, 5_000, false},
		"no price at all":          {`{}`, llm.Usage{Input: 10, Output: 1}, 0, false},
		"parts beyond their whole": {chat, llm.Usage{Input: 10, CachedIn: 50, CacheWrite: 50, AudioIn: 50}, 12_500, true},
		"parts of the answer beyond it": {
			`{"output_cost_per_token":1e-06,"output_cost_per_reasoning_token":3e-06,"output_cost_per_audio_token":1e-05}`,
			llm.Usage{Output: 10, Reasoning: 8, AudioOut: 8},
			8*3000 + 2*10_000, true,
		},
		"negative counts":                        {chat, llm.Usage{Input: -10, Output: -1, CachedIn: -4}, 0, true},
		"half of a nano-dollar, to even":         {`{"input_cost_per_token":5e-10}`, llm.Usage{Input: 1}, 0, true},
		"one and a half":                         {`{"input_cost_per_token":5e-10}`, llm.Usage{Input: 3}, 2, true},
		"noise is kept until the end":            {`{"input_cost_per_token":3.0000000000000004e-07}`, llm.Usage{Input: 1_000_000_000}, 300_000_000_000, true},
		"too much":                               {`{"input_cost_per_token":100000}`, llm.Usage{Input: 1 << 30}, Dearest, false},
		"discount and margin":                    {`{"input_cost_per_token":1e-06,"cost_discount":0.05,"cost_margin_percentage":0.1,"cost_margin_fixed_amount":0.001}`, llm.Usage{Input: 1000}, 1_045_000 + 1_000_000, true},
		"a region":                               {`{"input_cost_per_token":1e-06,"cost_uplift":1.1}`, llm.Usage{Input: 1000}, 1_100_000, true},
		"charged by the provider":                {chat, llm.Usage{Input: 1000, Charged: 77, Priced: true}, 77, true},
		"charged nothing":                        {chat, llm.Usage{Input: 1000, Priced: true}, 0, true},
		"charged by the provider, with a margin": {`{"input_cost_per_token":1e-06,"cost_margin_percentage":0.1}`, llm.Usage{Input: 1000, Charged: 1000, Priced: true}, 1100, true},
		"charged nothing by the provider, with a margin": {
			`{"input_cost_per_token":1e-06,"cost_margin_fixed_amount":0.001}`, llm.Usage{Input: 1000, Priced: true}, 1_000_000, true,
		},
		"charged by the provider, but we know better": {`{"input_cost_per_token":1e-06,"custom_pricing":true}`, llm.Usage{Input: 1000, Charged: 77, Priced: true}, 1_000_000, true},
	} {
		p := compiled(t, c.fields)
		got, exact := p.Cost(&c.u)
		if got != c.want || exact != c.exact {
			t.Errorf("%s: %d, exact %t; want %d, %t", name, got, exact, c.want, c.exact)
		}
		again, err := Read(p.Document())
		if err != nil {
			t.Fatal(name, err)
		}
		if other, _ := again.Cost(&c.u); other != got || again.Version() != p.Version() || p.Version() <= 0 {
			t.Errorf("%s: %d by its document, %d", name, other, got)
		}
	}
}

// TestDecimal: numbers around the edges of the words that they are kept in.
func TestDecimal(t *testing.T) {
	for text, want := range map[string]rate{
		"18446744073709551615e-30": {0, math.MaxUint64}, "18446744073709551616e-30": {1, 0}, "18446744073709551619e-30": {1, 3},
		"340282366920938463463374607431768211455e-30": {math.MaxUint64, math.MaxUint64}, "1e-30": {0, 1}, "0.0": {}, "0e5": {}, "1.50e-29": {0, 15},
	} {
		d, err := parseDecimal(text)
		if err != nil {
			t.Fatal(text, err)
		}
		if got, err := d.scaled(fine); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	d, _ := parseDecimal("340282366920938463463374607431768211456e-30")
	if got, err := d.scaled(fine); err == nil {
		t.Errorf("2^128: %v", got)
	}
	for _, bad := range []string{"", ".", "1.", ".5", "1e", "e1", "--1", "0x1", "1_0", "1e+-1", "١", "NaN", strings.Repeat("1", 65)} {
		if _, err := parseDecimal(bad); err == nil {
			t.Errorf("%q is a number", bad)
		}
	}
}

func TestParts(t *testing.T) {
	p := compiled(t, `{"input_cost_per_token":1e-06,"output_cost_per_token":2e-06,"cache_read_input_token_cost":1e-07,"cost_discount":0.2,"cost_margin_percentage":0.5,"cost_margin_fixed_amount":1e-06}`)
	u := llm.Usage{Input: 1000, CachedIn: 500, Output: 100, Reasoning: 50}
	c := p.Costs(&u)
	want := Costs{Original: 750_000, Discount: 150_000, Margin: 301_000, Cost: 901_000, Exact: true}
	if c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	s := p.Split(&u)
	if s.Input != 550_000 || s.CacheRead != 50_000 || s.Output != 200_000 || s.Reasoning != 100_000 || s.CacheWrite != 0 ||
		string(s.InputRate) != "0.000001" || string(s.CacheReadRate) != "0.0000001" || string(s.OutputRate) != "0.000002" {
		t.Errorf("%+v %s %s", s, s.InputRate, s.CacheReadRate)
	}
	if got := (rate{54, 3875820019684212736}).number(); string(got) != "0.000000001" {
		t.Errorf("%s", got)
	}
	if r, err := (decimal{"123456789", 0}).scaled(fine); err == nil {
		if got := r.number(); string(got) != "123456789.0" {
			t.Errorf("%s", got)
		}
	}
}

func TestNil(t *testing.T) {
	var p *Price
	if n, exact := p.Cost(&llm.Usage{Input: 5}); n != 0 || exact {
		t.Error(n, exact)
	}
	if n, exact := p.Cost(&llm.Usage{}); n != 0 || !exact {
		t.Error(n, exact)
	}
	if n, exact := p.Cost(&llm.Usage{Input: 5, Priced: true, Charged: 9}); n != 9 || !exact {
		t.Error(n, exact)
	}
	if p.Version() != 0 || p.Document() != nil || p.Most(Ask{Prompt: 1, Output: 1}) != 0 || !p.Free() || p.Timed() || p.OffPeak(time.Unix(0, 0)) || p.Source() != "" {
		t.Error("of nothing something is known")
	}
	if s := p.Split(&llm.Usage{Input: 5}); s.Input != 0 || s.InputRate != nil {
		t.Errorf("%+v", s)
	}
}

// TestMost: whatever a call of that size comes to, no more was reserved.
func TestMost(t *testing.T) {
	p := compiled(t, `{"input_cost_per_token":3e-06,"cache_creation_input_token_cost":3.75e-06,"output_cost_per_token":1.5e-05,"output_cost_per_reasoning_token":2e-05,
		"input_cost_per_token_above_200k_tokens":6e-06,"output_cost_per_token_above_200k_tokens":3e-05,"input_cost_per_token_priority":9e-06,"cost_margin_fixed_amount":1e-09}`)
	if got, want := p.Most(Ask{Prompt: 100, Output: 10}), money.Nano(110*3750+10*20_000+1); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	if got, want := p.Most(Ask{Tier: llm.TierPriority, Prompt: 100, Output: 10}), money.Nano(110*9000+10*20_000+1); got != want {
		t.Errorf("%d, want %d", got, want)
	}
	// Who asks for a cheaper class of service may be given another.
	if flex := compiled(t, `{"input_cost_per_token":2e-06,"output_cost_per_token":1e-05,"input_cost_per_token_flex":1e-06,"output_cost_per_token_flex":5e-06}`); flex.Most(
		Ask{Tier: llm.TierFlex, Prompt: 100, Output: 10}) != 110*2000+10*10_000 {
		t.Error("less is reserved than the standard class costs")
	}
	for _, u := range []llm.Usage{
		{Input: 110, Output: 10}, {Input: 110, CacheWrite: 110, Output: 10, Reasoning: 10}, {Input: 1, Output: 1}, {Input: 110, CachedIn: 110},
	} {
		if got, _ := p.Cost(&u); got > p.Most(Ask{Prompt: 100, Output: 10}) {
			t.Errorf("%+v costs %d, at most %d", u, got, p.Most(Ask{Prompt: 100, Output: 10}))
		}
	}
	if near, far := p.Most(Ask{Prompt: 181_000, Output: 10}), p.Most(Ask{Prompt: 182_000, Output: 10}); far < near*3/2 {
		t.Errorf("beyond the threshold %d, before it %d", far, near)
	}
	if got := p.Most(Ask{Prompt: math.MaxInt64, Output: math.MaxInt64}); got <= 0 {
		t.Error(got)
	}
	if got := p.Most(Ask{Prompt: -5, Output: -5}); got != 1 {
		t.Error(got)
	}
	free := compiled(t, `{"input_cost_per_token":0,"output_cost_per_token":0}`)
	if !free.Free() || free.Most(Ask{Prompt: 5, Output: 5}) != 0 || p.Free() {
		t.Error("what is free is not, or the other way round")
	}
}

func TestBad(t *testing.T) {
	for text, want := range map[string]string{
		`{"input_cost_per_token":-1e-06}`:                                           "input_cost_per_token: is negative",
		`{"input_cost_per_token":"cheap"}`:                                          "input_cost_per_token: is not a decimal number",
		`{"input_cost_per_token":true}`:                                             "input_cost_per_token: is not a decimal number",
		`{"input_cost_per_token":1e-31}`:                                            "input_cost_per_token: has more than 30 decimals",
		`{"input_cost_per_token":1e9}`:                                              "input_cost_per_token: is too large",
		`{"input_cost_per_token":1e999}`:                                            "input_cost_per_token: is too large",
		`{"input_cost_per_token":1e9999}`:                                           "input_cost_per_token: is not a decimal number",
		`{"input_cost_per_second":1e-28}`:                                           "input_cost_per_second: has more than 30 decimals",
		`{"search_context_cost_per_query":{"search_context_size_low":[]}}`:          "search_context_size_low: is not a decimal number",
		`{"tiered_pricing":{}}`:                                                     "tiered_pricing: is not a list of ranges",
		`{"tiered_pricing":[{"range":["a"],"input_cost_per_token":1}]}`:             "tiered_pricing: 0: range",
		`{"tiered_pricing":[{"range":[0,5],"input_cost_per_token":-1}]}`:            "tiered_pricing: 0: input_cost_per_token: is negative",
		`{"cost_discount":1.5}`:                                                     "cost_discount: is too large",
		`{"cost_margin_percentage":-0.5}`:                                           "cost_margin_percentage: is negative",
		`{"cost_margin_percentage":1e9}`:                                            "cost_margin_percentage: is too large",
		`{"cost_discount":0.0000000001}`:                                            "cost_discount: more than 9 decimals",
		`{"off_peak_pricing":{"windows":[{"hours_utc":"x"}]}}`:                      "off_peak_pricing: windows",
		`{"off_peak_pricing":{"windows":[{"hours_utc":"1-2","weekdays":[8]}]}}`:     "off_peak_pricing: windows",
		`{"off_peak_pricing":{"windows":[{"hours_utc":"1-2","weekdays":["day"]}]}}`: "off_peak_pricing: windows",
		`{"off_peak_pricing":{"hours_utc":"1-25"}}`:                                 "off_peak_pricing: hours_utc",
		`{"off_peak_pricing":{"weekday_timezone":"Mars","hours_utc":"1-2"}}`:        "off_peak_pricing: weekday_timezone",
	} {
		if _, err := Compile(fieldsOf(t, text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, ok := range []string{`{"input_cost_per_token":null}`, `{"input_cost_per_token":"0.1"}`, `{"input_cost_per_token":+0}`, `{"a_cost_per_nothing":"x"}`} {
		f := map[string]json.RawMessage{}
		if json.Unmarshal([]byte(ok), &f) == nil {
			if _, err := Compile(f, ""); err != nil {
				t.Error(ok, err)
			}
		}
	}
	if _, err := Read([]byte("{")); err == nil {
		t.Error("a broken document is read")
	}
}

func TestOffPeak(t *testing.T) {
	p := compiled(t, `{"input_cost_per_token":1e-06,"output_cost_per_token":2e-06,"off_peak_pricing":{"input_cost_per_token":5e-07,
		"windows":[{"hours_utc":["16:30-00:00","00:00-00:30"],"weekdays":[1,2,3,4,5]},{"hours_utc":"23:00-01:00","weekdays":[7]}]}}`)
	for at, want := range map[string]bool{
		"2026-11-23T16:29:59Z": false, "2026-11-23T16:30:00Z": true, "2026-11-23T23:59:59Z": true, "2026-11-23T00:29:00Z": true,
		"2026-11-23T00:30:00Z": false, "2026-11-21T17:00:00Z": false, "2026-11-22T23:30:00Z": true, "2026-11-22T00:30:00Z": true,
		"2026-11-24T01:00:00+08:00": true,
	} {
		when, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if p.OffPeak(when) != want {
			t.Errorf("%s: %t", at, !want)
		}
	}
	if n, _ := p.Cost(&llm.Usage{Input: 10, Output: 10, Tier: llm.TierOffPeak}); n != 5_000+20_000 {
		t.Error(n)
	}
	for fields, want := range map[string][2]string{ // a time that is cheap, and one that is not
		`{"hours_utc":"16:30-00:30"}`:                                                                         {"2026-11-21T23:00:00Z", "2026-11-21T01:00:00Z"},
		`{"hours_utc":["01:00-02:00","03:00-04:00"]}`:                                                         {"2026-11-21T03:30:00Z", "2026-11-21T02:30:00Z"},
		`{"windows":[{"hours_utc":"00:00-00:00","weekdays":["Sat",7]}]}`:                                      {"2026-11-22T12:00:00Z", "2026-11-23T12:00:00Z"},
		`{"windows":[{"hours_utc":"00:00-00:00","weekdays":["monday"]}]}`:                                     {"2026-11-23T12:00:00Z", "2026-11-22T23:00:00Z"},
		`{"weekday_timezone":"Asia/Shanghai","windows":[{"hours_utc":"00:00-00:00","weekdays":[6,7]}]}`:       {"2026-11-20T16:00:00Z", "2026-11-22T16:00:00Z"},
		`{"hours_utc":"02:00-03:00","windows":[{"hours_utc":"05:00-06:00","weekdays":["sun"]}]}`:              {"2026-11-23T02:00:00Z", "2026-11-23T05:00:00Z"},
		`{"hours_utc":"02:00-03:00","windows":[{"hours_utc":["05:00-06:00"],"weekdays":[7]}],"extra":"none"}`: {"2026-11-22T05:00:00Z", "2026-11-22T06:00:00Z"},
	} {
		p := compiled(t, `{"input_cost_per_token":2e-06,"off_peak_pricing":`+strings.Replace(fields, "{", `{"input_cost_per_token":"1e-06",`, 1)+`}`)
		again, err := Read(p.Document())
		if err != nil || again.Version() != p.Version() {
			t.Errorf("%s: %v %s", fields, err, p.Document())
			continue
		}
		for i, at := range want {
			when, _ := time.Parse(time.RFC3339, at)
			if p.OffPeak(when) != (i == 0) || again.OffPeak(when) != (i == 0) {
				t.Errorf("%s at %s: %t, by its document %t", fields, at, p.OffPeak(when), again.OffPeak(when))
			}
		}
	}
	p = compiled(t, `{"input_cost_per_token":1e-06,"input_cost_per_token_above_200k_tokens":4e-06,"output_cost_per_token":2e-06,
		"output_cost_per_token_above_200k_tokens":8e-06,"off_peak_pricing":{"hours_utc":"00:00-00:00","input_cost_per_token":5e-07}}`)
	if n, _ := p.Cost(&llm.Usage{Input: 300_000, Output: 10, Tier: llm.TierOffPeak}); n != 150_000_000+80_000 {
		t.Error("a large prompt in cheap hours costs", n)
	}
	p = compiled(t, `{"input_cost_per_token":1e-06,"output_cost_per_token":2e-06,"off_peak_pricing":{"input_cost_per_token":5e-07,
		"windows":[{"hours_utc":["16:30-00:00","00:00-00:30"],"weekdays":[1,2,3,4,5]},{"hours_utc":"23:00-01:00","weekdays":[7]}]}}`)
	again, err := Read(p.Document())
	if err != nil || again.Version() != p.Version() || !again.OffPeak(time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("%v %s", err, p.Document())
	}
}

func TestTimed(t *testing.T) {
	if !compiled(t, `{"input_cost_per_second":0.001}`).Timed() || !compiled(t, `{"output_cost_per_second":0.001}`).Timed() ||
		compiled(t, `{"input_cost_per_second":0.001,"input_cost_per_token":1e-06}`).Timed() || compiled(t, `{}`).Timed() {
		t.Error("what is billed by time is not told from what is not")
	}
	p := compiled(t, `{"output_cost_per_second":0.001}`)
	if n, exact := p.Cost(&llm.Usage{Input: 5, Output: 7, Millis: 1500}); n != 1_500_000 || !exact {
		t.Error(n, exact)
	}
}

// TestBook: a file lies over the table, and what is wrong in it is left out and
// said.
func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prices.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"gpt-4o":{"input_cost_per_token":7e-06},"Mine":{"litellm_provider":"openai","input_cost_per_token":1e-06,"output_cost_per_token":2e-06},
		"sample_spec":{"input_cost_per_token":"a number"},"bad":{"input_cost_per_token":-1},"gpt-4o-mini":{"litellm_provider":"openai","max_tokens":5}}`)
	b, err := NewBook(path)
	if err == nil || !strings.Contains(err.Error(), "1 of 4 models are left out") || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	e, source, ok := b.Lookup("gpt-4o", "openai")
	if !ok || e.Decimal("input_cost_per_token") != "7e-06" || e.Decimal("output_cost_per_token") != "1e-05" || e.Decimal("max_input_tokens") != "128000" || !strings.Contains(source, path) {
		t.Errorf("%v %s %s", e, source, e.Decimal("input_cost_per_token"))
	}
	if e.Decimal("cache_read_input_token_cost") != "" {
		t.Error("the table's price of the cache stands beside the file's of the prompt")
	}
	if e, _, _ := b.Lookup("gpt-4o-mini", "openai"); e.Decimal("input_cost_per_token") != "" || e.Decimal("max_tokens") != "5" {
		t.Errorf("%+v", e)
	}
	if _, source, ok := b.Lookup("gpt-4.1", "openai"); !ok || !strings.Contains(source, "LiteLLM") {
		t.Error(source, ok)
	}
	if _, _, ok := b.Lookup("mine", "anthropic"); ok {
		t.Error("a model is another provider's")
	}
	p, err := b.Price("MINE", "openai", Adjustment{})
	if err != nil || p == nil {
		t.Fatal(err)
	}
	if same, _ := b.Price("Mine", "openai", Adjustment{}); same != p {
		t.Error("two prices that are one")
	}
	if q, err := b.Price("mine", "openai", Adjustment{Margin: "1"}, fieldsOf(t, `{"input_cost_per_token":"5e-06","max_tokens":3}`)); err != nil || q.Most(Ask{Prompt: 10, Output: 0}) != 110_000 {
		t.Error(err, q.Most(Ask{Prompt: 10, Output: 0}))
	}
	if q, err := b.Price("nobody", "openai", Adjustment{}); q != nil || err != nil {
		t.Error(q, err)
	}
	if _, err := b.Price("mine", "openai", Adjustment{}, fieldsOf(t, `{"input_cost_per_token":-1}`)); err == nil {
		t.Error("a negative price is taken")
	}
	for text, want := range map[string]string{`[`: "is not a JSON object", `[]`: "is not a JSON object"} {
		write(text)
		if b, err := NewBook(path); err == nil || !strings.Contains(err.Error(), want) || b == nil {
			t.Error(text, err)
		} else if _, _, ok := b.Lookup("gpt-4o", "openai"); !ok {
			t.Error("the table is gone")
		}
	}
	if b, err := NewBook(path + "x"); err == nil || b == nil || !strings.Contains(err.Error(), "embedded table alone") {
		t.Error(err)
	}
	var none *Book
	if q, err := none.Price("gpt-4o", "openai", Adjustment{}); err != nil || q == nil {
		t.Error(err)
	}
}

func TestFamily(t *testing.T) {
	b, err := NewBook("")
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Family("openai", Adjustment{})
	if err != nil {
		t.Fatal(err)
	}
	known := f.Of([]byte("gpt-4o"))
	if known == nil || f.Of([]byte("gpt-4o")) != known || f.Of([]byte("nobody")) != nil {
		t.Error("a family knows whom it should not, or not whom it should")
	}
	name := []byte("gpt-4o")
	if n := testing.AllocsPerRun(100, func() { f.Of(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 3 * remembered { // bounded
		f.Of([]byte(strings.Repeat("x", i)))
	}
	if len(f.prices) > remembered || len(b.found) > remembered {
		t.Error(len(f.prices), len(b.found))
	}
	if _, err := b.Family("openai", Adjustment{}, fieldsOf(t, `{"input_cost_per_token":-1}`)); err == nil {
		t.Error("a negative price is taken")
	}
}

func BenchmarkCost(b *testing.B) {
	e, _ := Lookup("gpt-4o", "openai")
	p, err := Compile(e.Fields, "")
	if err != nil {
		b.Fatal(err)
	}
	u := llm.Usage{Input: 1200, CachedIn: 1024, Output: 300, Reported: true}
	b.ReportAllocs()
	for b.Loop() {
		if n, _ := p.Cost(&u); n == 0 {
			b.Fatal("free")
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	e, _ := Lookup("gpt-4o", "openai")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(e.Fields, ""); err != nil {
			b.Fatal(err)
		}
	}
}
