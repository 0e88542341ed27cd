package gateway

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/price"
)

// says is a provider that answers with events, or with a document where none is
// asked for.
func says(t *testing.T, answer string) func(*Config) {
	t.Helper()
	fields := map[string]json.RawMessage{}
	err := json.Unmarshal([]byte(`{"input_cost_per_token":0.001,"output_cost_per_token":0.001,"output_cost_per_token_priority":0.002,
		"search_context_cost_per_query":{"search_context_size_medium":0.25,"search_context_size_high":0.5}}`), &fields)
	if err != nil {
		t.Fatal(err)
	}
	p, err := price.Compile(fields, "test")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(answer, "{") {
			w.Header().Set("Content-Type", "application/json")
		} else {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = w.Write([]byte(answer))
	}))
	t.Cleanup(s.Close)
	return func(c *Config) { c.Models[0].Params.APIBase, c.Models[0].Price, c.Retries = s.URL, p, 0 }
}

// stream is events that say so many words each, and what else they hold.
func stream(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		if e != "[DONE]" {
			e = `{"id":"c","model":"m",` + e + `}`
		}
		b.WriteString("data: " + e + "\n\n")
	}
	return b.String()
}

func word(more string) string {
	return `"choices":[{"index":0,"delta":{"content":" hello"}}]` + more
}

// TestBilled: what counts where a provider says less than it should, or its
// answer is cut.
func TestBilled(t *testing.T) {
	const citation = `"choices":[{"index":0,"delta":{"annotations":[{"type":"url_citation","url_citation":{"url":"https://example.com"}}]}}]`
	const plain = `"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`
	for name, c := range map[string]struct {
		answer, ask string // ask is more of the request
		want        llm.Usage
		cost        int64 // thousandths of a dollar
	}{
		"cut, of a class of service": {
			stream(word(`,"service_tier":"priority"`), word(`,"service_tier":"priority"`)), "",
			llm.Usage{Input: 8, Output: 2, Total: 10, Tier: llm.TierPriority, Estimated: true},
			12,
		},
		"cut, after usage of the prompt": {
			stream(word(`,"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}`), word(""), word(""), word("")), "",
			llm.Usage{Input: 9, Output: 4, Total: 13, Estimated: true},
			13,
		},
		"cut, after usage of a part": {
			stream(word(""), word(""), word(`,"usage":{"prompt_tokens":9,"completion_tokens":40,"total_tokens":49}`), word("")), "",
			llm.Usage{Input: 9, Output: 41, Total: 50, Estimated: true},
			50,
		},
		"cut, usage with each event": {
			stream(word(`,"usage":{"completion_tokens":1,"prompt_tokens":9,"total_tokens":103}`), word(`,"usage":{"completion_tokens":2,"prompt_tokens":9,"total_tokens":104}`)), "",
			llm.Usage{Input: 9, Output: 95, Total: 104, Reasoning: 93, Reported: true},
			104,
		},
		"usage of the prompt alone": {
			stream(word(`,"usage":{"prompt_tokens":9,"total_tokens":9}`), word(""), "[DONE]"), "",
			llm.Usage{Input: 9, Output: 2, Total: 11, Estimated: true},
			11,
		},
		"no usage behind the usage": {
			stream(word(""), `"choices":[],`+plain, `"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`, "[DONE]"), "",
			llm.Usage{Input: 10, Output: 5, Total: 15, Reported: true},
			15,
		},
		"a whole answer without tokens": {
			`{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":null}}`, "",
			llm.Usage{Input: 9, Output: 1, Total: 10, Estimated: true},
			10,
		},
		"an empty answer": {
			`{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":""}}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}`, "",
			llm.Usage{Input: 9, Total: 9, Reported: true},
			9,
		},
		"a search that was asked for, without usage": {
			stream(word(""), "[DONE]"), `,"web_search_options":{"search_context_size":"high"}`,
			llm.Usage{Input: 8, Output: 1, Total: 9, Searches: 1, SearchSize: llm.SearchHigh, Estimated: true},
			509,
		},
		"a search that the model made": {
			stream(word(""), citation, word(""), citation, `"choices":[],`+plain, "[DONE]"), "",
			llm.Usage{Input: 10, Output: 5, Total: 15, Searches: 1, Reported: true},
			265,
		},
		"one that is counted": {
			stream(citation, `"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"num_search_queries":3}`, "[DONE]"), "",
			llm.Usage{Input: 10, Output: 5, Total: 15, Searches: 3, Reported: true},
			765,
		},
		"one in a whole answer": {
			`{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"\"url_citation\"","annotations":[{"type":"url_citation"}]}}],` + plain + `}`, "",
			llm.Usage{Input: 10, Output: 5, Total: 15, Searches: 1, Reported: true},
			265,
		},
		"an answer that speaks of searches": {
			`{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"\"url_citation\""}}],` + plain + `}`, "",
			llm.Usage{Input: 10, Output: 5, Total: 15, Reported: true},
			15,
		},
	} {
		b := newBench(t, says(t, c.answer), "m=ok")
		body := strings.TrimSuffix(request("m", "u", !strings.HasPrefix(c.answer, "{"), false), "}") + c.ask + "}"
		x, got, broken, e := b.run(t, body)
		if cut := strings.HasPrefix(name, "cut"); broken != cut || (e != nil) != cut {
			t.Errorf("%s: broken %v, %v\n%s", name, broken, e, got)
		}
		if x.Usage != c.want || int64(x.cost) != c.cost*1_000_000 {
			t.Errorf("%s: %d\n got %+v\nwant %+v", name, x.cost, x.Usage, c.want)
		}
	}
}
