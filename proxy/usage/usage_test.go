package usage

import (
	"testing"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// TestDialects: what providers of OpenAI's format say, each in its way.
func TestDialects(t *testing.T) {
	var outer, inner jsonscan.Object
	for name, c := range map[string]struct {
		text string
		want llm.Usage
	}{
		"openai": {
			`{"prompt_tokens":1200,"completion_tokens":300,"total_tokens":1500,"prompt_tokens_details":{"cached_tokens":1024,"audio_tokens":100},` +
				`"completion_tokens_details":{"reasoning_tokens":64,"audio_tokens":50,"accepted_prediction_tokens":10,"rejected_prediction_tokens":20}}`,
			llm.Usage{Input: 1200, Output: 300, Total: 1500, CachedIn: 1024, AudioIn: 100, Reasoning: 64, AudioOut: 50},
		},
		"openai images": {
			`{"total_tokens":1100,"input_tokens":50,"output_tokens":1050,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens_details":{"image_tokens":1050}}`,
			llm.Usage{Input: 50, Output: 1050, Total: 1100, ImageIn: 40, ImageOut: 1050},
		},
		"openai responses": {
			`{"input_tokens":75,"input_tokens_details":{"cached_tokens":32},"output_tokens":1186,"output_tokens_details":{"reasoning_tokens":1024},"total_tokens":1261}`,
			llm.Usage{Input: 75, CachedIn: 32, Output: 1186, Reasoning: 1024, Total: 1261},
		},
		"openai transcription by time": {`{"type":"duration","seconds":9.4567}`, llm.Usage{Millis: 9457}},
		"deepseek": {
			`{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}`,
			llm.Usage{Input: 100, Output: 20, Total: 120, CachedIn: 64},
		},
		"moonshot": {`{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40,"cached_tokens":10}`, llm.Usage{Input: 19, Output: 21, Total: 40, CachedIn: 10}},
		"litellm in front of anthropic": {
			`{"prompt_tokens":2100,"completion_tokens":10,"total_tokens":2110,"prompt_tokens_details":{"cached_tokens":1500,"cache_creation_tokens":500},` +
				`"cache_creation_input_tokens":500,"cache_read_input_tokens":1500,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":400}}`,
			llm.Usage{Input: 2100, Output: 10, Total: 2110, CachedIn: 1500, CacheWrite: 500, CacheWriteHour: 400},
		},
		"anthropic": {
			`{"input_tokens":100,"output_tokens":10,"cache_creation_input_tokens":500,"cache_read_input_tokens":1500,"server_tool_use":{"web_search_requests":2},"service_tier":"priority"}`,
			llm.Usage{Input: 2100, Output: 10, Total: 2110, CachedIn: 1500, CacheWrite: 500, Searches: 2, Tier: llm.TierPriority},
		},
		"prompt_tokens without the cache": {
			`{"prompt_tokens":5,"completion_tokens":10,"cache_read_input_tokens":1500}`,
			llm.Usage{Input: 1505, Output: 10, Total: 1515, CachedIn: 1500},
		},
		"xai": {
			`{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"prompt_tokens_details":{"cached_tokens":6},"completion_tokens_details":{"reasoning_tokens":94}}`,
			llm.Usage{Input: 32, Output: 103, Total: 135, CachedIn: 6, Reasoning: 94},
		},
		"openrouter": {
			`{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.00095,"is_byok":false,"cost_details":{"upstream_inference_cost":0.5},"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":100}}`,
			llm.Usage{Input: 194, Output: 2, Total: 196, CacheWrite: 100, Charged: 950_000, Priced: true},
		},
		"openrouter with a key of one's own": {
			`{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.00095,"is_byok":true,"cost_details":{"upstream_inference_cost":0.019}}`,
			llm.Usage{Input: 194, Output: 2, Total: 196, Charged: 19_950_000, Priced: true},
		},
		"openrouter, a cost behind it that cannot be": {
			`{"prompt_tokens":1,"completion_tokens":2,"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":-0.002}}`,
			llm.Usage{Input: 1, Output: 2, Total: 3, Charged: 1_000_000, Priced: true},
		},
		"openrouter, free": {`{"prompt_tokens":1,"completion_tokens":2,"cost":0}`, llm.Usage{Input: 1, Output: 2, Total: 3, Priced: true}},
		"perplexity": {
			`{"prompt_tokens":33,"completion_tokens":7,"total_tokens":40,"search_context_size":"low","citation_tokens":1920,"num_search_queries":18,"reasoning_tokens":7,` +
				`"cost":{"input_tokens_cost":0.0,"total_cost":0.306}}`,
			llm.Usage{
				Input: 33, Output: 7, Total: 40, Citations: 1920, Searches: 18, SearchSize: llm.SearchLow, Reasoning: 7, Charged: 306_000_000, Priced: true,
			},
		},
		"google": {
			`{"completion_tokens":1,"prompt_tokens":9,"total_tokens":103}`,
			llm.Usage{Input: 9, Output: 94, Total: 103, Reasoning: 93},
		},
		"google, nothing but thought": {`{"prompt_tokens":12,"total_tokens":112}`, llm.Usage{Input: 12, Output: 100, Total: 112, Reasoning: 100}},
		"a total that has thought and other things": {
			`{"prompt_tokens":12,"completion_tokens":8,"total_tokens":112,"completion_tokens_details":{"reasoning_tokens":5}}`,
			llm.Usage{Input: 12, Output: 8, Total: 112, Reasoning: 5},
		},
		"xai, what it charges": {
			`{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":94},"num_sources_used":0,"cost_in_usd_ticks":37756005}`,
			llm.Usage{Input: 32, Output: 103, Total: 135, Reasoning: 94, Charged: 3_775_600, Priced: true},
		},
		"xai, rounded to even":     {`{"prompt_tokens":1,"cost_in_usd_ticks":15}`, llm.Usage{Input: 1, Total: 1, Charged: 2, Priced: true}},
		"xai, rounded up":          {`{"prompt_tokens":1,"cost_in_usd_ticks":26}`, llm.Usage{Input: 1, Total: 1, Charged: 3, Priced: true}},
		"xai, no charge":           {`{"prompt_tokens":1,"cost_in_usd_ticks":0}`, llm.Usage{Input: 1, Total: 1}},
		"xai, a charge below zero": {`{"prompt_tokens":1,"cost_in_usd_ticks":-5}`, llm.Usage{Input: 1, Total: 1}},
		"xai, too large a charge":  {`{"prompt_tokens":1,"cost_in_usd_ticks":100000000000001}`, llm.Usage{Input: 1, Total: 1}},
		"xai, a charge in a power": {`{"prompt_tokens":1,"cost_in_usd_ticks":1e5}`, llm.Usage{Input: 1, Total: 1}},
		"litellm, an hour in the cache": {
			`{"prompt_tokens":2100,"completion_tokens":10,"total_tokens":2110,"prompt_tokens_details":{"cached_tokens":1500,"cache_creation_tokens":500,` +
				`"cache_creation_token_details":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":400}},"cache_creation_input_tokens":500,"cache_read_input_tokens":1500}`,
			llm.Usage{Input: 2100, Output: 10, Total: 2110, CachedIn: 1500, CacheWrite: 500, CacheWriteHour: 400},
		},
		"names of two dialects": {
			`{"prompt_tokens":2100,"completion_tokens":10,"total_tokens":2110,"input_tokens":2100,"output_tokens":10,"cache_read_input_tokens":1500}`,
			llm.Usage{Input: 2100, Output: 10, Total: 2110, CachedIn: 1500},
		},
		"a cache beside the prompt, as the total tells": {
			`{"prompt_tokens":2000,"completion_tokens":10,"total_tokens":3510,"cache_read_input_tokens":1500}`,
			llm.Usage{Input: 3500, Output: 10, Total: 3510, CachedIn: 1500},
		},
		"a charge that cannot be":          {`{"prompt_tokens":1,"completion_tokens":2,"cost":1e9}`, llm.Usage{Input: 1, Output: 2, Total: 3}},
		"a negative charge":                {`{"prompt_tokens":1,"completion_tokens":2,"cost":-1}`, llm.Usage{Input: 1, Output: 2, Total: 3}},
		"a charge that is a text":          {`{"prompt_tokens":1,"completion_tokens":2,"cost":"1"}`, llm.Usage{Input: 1, Output: 2, Total: 3}},
		"a charge that is an empty object": {`{"prompt_tokens":1,"completion_tokens":2,"cost":{}}`, llm.Usage{Input: 1, Output: 2, Total: 3}},
		"parts beyond their wholes": {
			`{"prompt_tokens":10,"completion_tokens":20,"prompt_tokens_details":{"audio_tokens":99,"cache_write_tokens":99},"completion_tokens_details":{"image_tokens":99}}`,
			llm.Usage{Input: 10, Output: 20, Total: 30, AudioIn: 10, CacheWrite: 10, ImageOut: 20},
		},
	} {
		c.want.Reported = true
		got, ok := Read([]byte(c.text), &outer, &inner)
		if !ok || got != c.want {
			t.Errorf("%s: %t\n got %+v\nwant %+v", name, ok, got, c.want)
		}
		text := []byte(c.text)
		if n := testing.AllocsPerRun(100, func() { Read(text, &outer, &inner) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzRead: whatever a provider sends, parts stay within their wholes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4},"cost":{"total_cost":0.1}}`))
	f.Add([]byte(`{"input_tokens":9,"cache_read_input_tokens":3,"cache_creation":{"ephemeral_1h_input_tokens":7}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var outer, inner jsonscan.Object
		u, ok := Read(text, &outer, &inner)
		if !ok {
			return
		}
		for _, c := range [][2]int64{
			{u.Input, Most},
			{u.Output, Most},
			{u.Total, Most},
			{u.CachedIn, u.Input},
			{u.CacheWrite, u.Input},
			{u.CacheWriteHour, u.CacheWrite},
			{u.AudioIn, u.Input},
			{u.Reasoning, u.Output},
			{u.Input + u.Output, u.Total},
			{u.CachedAudio, u.CachedIn},
			{u.Searches, Most},
			{u.Charged, int64(maxCharge)},
		} {
			if c[0] < 0 || c[0] > c[1] {
				t.Errorf("%s: %+v", text, u)
			}
		}
	})
}
