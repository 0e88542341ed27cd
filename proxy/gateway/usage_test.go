package gateway

import (
	"strings"
	"testing"

	"sluice/internal/fakeprovider"
	"sluice/proxy/llm"
)

// TestReadUsage: counts that cannot be are brought into range, so that no
// counter runs backwards or beyond what a float holds.
func TestReadUsage(t *testing.T) {
	for _, c := range []struct {
		text string
		want llm.Usage
	}{
		{`{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}`, llm.Usage{Input: 3, Output: 4, Total: 7, Reported: true}},
		{`{"prompt_tokens":3,"completion_tokens":4}`, llm.Usage{Input: 3, Output: 4, Total: 7, Reported: true}},
		{`{"prompt_tokens":-3,"completion_tokens":4,"total_tokens":-9}`, llm.Usage{Output: 4, Total: 4, Reported: true}},
		{`{"prompt_tokens":3.9,"completion_tokens":4.0}`, llm.Usage{Input: 3, Output: 4, Total: 7, Reported: true}},
		{`{"prompt_tokens":1e3,"completion_tokens":4}`, llm.Usage{Input: 1000, Output: 4, Total: 1004, Reported: true}},
		{`{"prompt_tokens":99999999999999999999999,"completion_tokens":9223372036854775807}`, llm.Usage{}},
		{`{"prompt_tokens":"3","completion_tokens":true,"total_tokens":5}`, llm.Usage{Total: 5}}, // of what, nobody knows
		{`{"prompt_tokens":3,"prompt_tokens":5,"completion_tokens":null}`, llm.Usage{Input: 5, Total: 5, Reported: true}},
		{
			`{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":-2}}`,
			llm.Usage{Input: 9, Output: 8, Total: 17, CachedIn: 4, Reported: true},
		},
		{`{"prompt_tokens":9,"prompt_tokens_details":[],"completion_tokens_details":null}`, llm.Usage{Input: 9, Total: 9, Reported: true}},
		{`{"prompt_tokens":3,"completion_tokens":4,"total_tokens":1073741825}`, llm.Usage{}},
		{`{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":10}}`, llm.Usage{}},
		{`{}`, llm.Usage{}},
		{`{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`, llm.Usage{}},
	} {
		x := &Exchange{}
		x.Reset()
		x.readUsage([]byte(c.text))
		if x.Usage != c.want {
			t.Errorf("%s: %+v, want %+v", c.text, x.Usage, c.want)
		}
	}
}

// TestEstimate: where a provider reports no usage that can be read, the bytes
// are counted, and the log says so.
func TestEstimate(t *testing.T) {
	b := newBench(t, nil, "missing=usage,kind=missing", "null=usage,kind=null", "text=usage,kind=text", "negative=usage,kind=negative",
		"absurd=usage,kind=absurd", "float=usage,kind=float", "good=ok", "cut=cut,at=3000")
	shape := fakeprovider.DefaultShape
	for _, stream := range []bool{false, true} {
		for _, m := range []string{"missing", "null", "text", "negative", "absurd", "float", "good", "cut"} {
			if m == "cut" && !stream {
				continue
			}
			b.lines.text = nil
			x, got, _, _ := b.run(t, request(m, "es", stream, true))
			u := x.Usage
			if u.Input < 0 || u.Output < 0 || u.Total < u.Input || u.Total > maxTokens || u.Reported == u.Estimated {
				t.Errorf("%s, stream %v: %+v", m, stream, u)
			}
			if said := strings.Contains(b.lines.text[0], "usage_estimated=true"); said != u.Estimated {
				t.Errorf("%s, stream %v: the log says estimated: %v", m, stream, said)
			}
			real := shape.Tokens("es", stream)
			if m == "missing" && (!u.Estimated || u.Output < real.Completion/4 || u.Output > 8*real.Completion || u.Input == 0) {
				t.Errorf("stream %v: estimated %+v, the provider counted %+v", stream, u, real)
			}
			if m == "good" && u.Estimated || m == "cut" && (!u.Estimated || u.Output == 0) {
				t.Errorf("%s: %+v\n%s", m, u, got)
			}
			t.Logf("%s, stream %v: %+v of %+v", m, stream, u, real)
		}
	}
}

// TestAlwaysUsage: always_include_stream_usage lets through the usage chunk
// that the gateway asked for and the client did not.
func TestAlwaysUsage(t *testing.T) {
	for _, always := range []bool{false, true} {
		b := newBench(t, func(c *Config) { c.AlwaysUsage = always }, "m=stream")
		_, got, _, e := b.run(t, request("m", "au", true, false))
		if e != nil {
			t.Fatal(e)
		}
		if want := string(fakeprovider.DefaultShape.Stream("au", "m", always)); got != want {
			t.Errorf("always %v\ngot  %s\nwant %s", always, got, want)
		}
	}
}

// TestPathModel: a model that the path names is asked for, answered with, and
// sent to the provider under its name there; the body's is not looked at.
func TestPathModel(t *testing.T) {
	b := newBench(t, func(c *Config) {
		any := c.Models[0]
		any.Name, any.Params.Model = "any/*", "openai/*"
		c.Models = append(c.Models, any)
	}, "mine=ok")
	for path, upstream := range map[string]string{"mine": fakeprovider.Model, "any/gpt-x": "gpt-x"} {
		for _, body := range []string{
			request("another", "pm", false, false),
			`{"user":"pm","messages":[]}`,
			`{"model":null,"user":"pm","messages":[]}`,
		} {
			b.fake.Ledger().Reset()
			x := b.exchange(t, body)
			x.PathModel, x.Request.Model = []byte(path), []byte(path)
			a, e := b.Do(x)
			if e != nil {
				t.Fatal(path, body, e)
			}
			var got string
			for _, piece := range a.Body {
				got += string(piece)
			}
			x.Settle()
			if !strings.Contains(got, `"model":"`+path+`"`) {
				t.Errorf("%s for %s: %s", path, body, got)
			}
			if sent := b.fake.Ledger().Of("pm"); len(sent) != 1 || sent[0].Model != upstream || strings.Count(string(sent[0].Body), `"model"`) != 1 {
				t.Errorf("%s for %s: the provider got %+v", path, body, sent)
			}
		}
	}
}

// TestAnswerSize: an answer beyond max_response_size_mb is refused, and not
// held in memory first.
func TestAnswerSize(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits.Answer, c.Retries = 1<<20, 0 }, "small=huge,bytes=900000", "large=huge,bytes=1200000", "endless=endless")
	for m, status := range map[string]int{"small": 200, "large": 500, "endless": 500} {
		x, _, _, e := b.run(t, request(m, "sz", false, false))
		if x.Status != status || e != nil && !strings.Contains(e.Message, "too large") {
			t.Errorf("%s: status %d, %v", m, x.Status, e)
		}
	}
}
