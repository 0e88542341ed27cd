package gateway

import (
	"strings"
	"testing"

	"sluice/proxy/llm"
)

// TestUsageDialects: what providers of OpenAI's format say, each in its way.
func TestUsageDialects(t *testing.T) {
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
		"openrouter, free": {`{"prompt_tokens":1,"completion_tokens":2,"cost":0}`, llm.Usage{Input: 1, Output: 2, Total: 3, Priced: true}},
		"perplexity": {
			`{"prompt_tokens":33,"completion_tokens":7,"total_tokens":40,"search_context_size":"low","citation_tokens":1920,"num_search_queries":18,"reasoning_tokens":7,` +
				`"cost":{"input_tokens_cost":0.0,"total_cost":0.306}}`,
			llm.Usage{
				Input: 33, Output: 7, Total: 40, Citations: 1920, Searches: 18, SearchSize: llm.SearchLow, Reasoning: 7, Charged: 306_000_000, Priced: true,
			},
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
		x := &Exchange{}
		x.Reset()
		c.want.Reported = true
		if x.readUsage([]byte(c.text)); x.Usage != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, x.Usage, c.want)
		}
		text := []byte(c.text)
		if n := testing.AllocsPerRun(100, func() { x.readUsage(text) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestTierOfAnswer: the class of service stands beside the usage, in streams in
// each event.
func TestTierOfAnswer(t *testing.T) {
	x := &Exchange{}
	x.Reset()
	text := []byte(`{"service_tier":"flex","usage":{"prompt_tokens":1,"completion_tokens":2}}`)
	if x.object.Scan(text) != nil {
		t.Fatal("no object")
	}
	x.readUsage(x.object.Find("usage").Value.Of(text))
	if x.readTier(&x.object, text); x.Usage.Tier != llm.TierFlex {
		t.Errorf("%+v", x.Usage)
	}
}

// TestSearchAsked: a request that asks for a search of the web has made one,
// where nobody counts them.
func TestSearchAsked(t *testing.T) {
	x := &Exchange{}
	x.Reset()
	x.Request.Body = []byte(`{"model":"m","web_search_options":{"search_context_size":"high"}}`)
	if x.object.Scan(x.Request.Body) != nil {
		t.Fatal("no object")
	}
	x.Request.Members = append(x.Request.Members, x.object.Members...)
	if x.readUsage([]byte(`{"prompt_tokens":1,"completion_tokens":2}`)); x.Usage.Searches != 1 || x.Usage.SearchSize != llm.SearchHigh {
		t.Errorf("%+v", x.Usage)
	}
	if x.readUsage([]byte(`{"prompt_tokens":1,"completion_tokens":2,"num_search_queries":4}`)); x.Usage.Searches != 4 {
		t.Errorf("%+v", x.Usage)
	}
}

func event(text string) []byte {
	return []byte(`{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}`)
}

// TestSpeech: the text of a stream is found in its events, whatever is in it.
func TestSpeech(t *testing.T) {
	var s speech
	for _, text := range []string{"Hello", "", ` \"world\"`, `\n`, ` back\\`, "!"} {
		s.add(event(text))
	}
	s.add([]byte(`{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}}]}`))
	s.add([]byte(`{"choices":[{"delta":{"role":"assistant"}}]}`))
	s.add([]byte(`{"choices":[{"delta":{"content":"cut`))
	if got, want := unescaped(s.text), "Hello \"world\"\n back\\!{\"a\":1}cut"; got != want || s.events != 9 {
		t.Errorf("%q of %d, want %q", got, s.events, want)
	}
	for _, odd := range []string{`\`, `\u`, `\u12`, `a\`, `\ud83c\udf0a`, ``} {
		_ = unescaped([]byte(odd)) // whatever a provider sends
	}
}

// TestSpeechCount: a long stream is counted by its beginning, and the memory of
// it is bounded.
func TestSpeechCount(t *testing.T) {
	var s speech
	words := strings.Fields("the quick brown fox jumps over a lazy dog and the harbour pilot waits")
	for i := range 5000 {
		s.add(event(words[i%len(words)] + " "))
	}
	if n := s.count("gpt-4o"); n < 4500 || n > 6500 {
		t.Errorf("%d tokens of 5000 words", n)
	}
	if len(s.text) > spokenKept || cap(s.text) > 2*spokenKept {
		t.Errorf("%d bytes kept in %d", len(s.text), cap(s.text))
	}
}

func BenchmarkSpeech(b *testing.B) {
	e := event(" harbour")
	var s speech
	b.ReportAllocs()
	for b.Loop() {
		s.add(e)
	}
}
