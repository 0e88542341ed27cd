package provider

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

func environ(pairs ...string) Lookup {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestBind(t *testing.T) {
	text := "hi"
	for _, c := range []struct {
		name                 string
		p                    Params
		env                  Lookup
		model, base, path    string
		header, missing, err string
	}{
		{name: "openai", p: Params{Model: "openai/gpt-4o", APIKey: "k1"}, model: "openai/gpt-4o", base: "https://api.openai.com/v1", path: "/chat/completions", header: "Authorization: Bearer k1"},
		{name: "base from environment", p: Params{Model: "openai/gpt-4o"}, env: environ("OPENAI_API_KEY", "k2", "OPENAI_API_BASE", "http://h/v9/"), model: "openai/gpt-4o", base: "http://h/v9", path: "/chat/completions", header: "Authorization: Bearer k2"},
		{name: "no key", p: Params{Model: "groq/llama"}, model: "groq/llama", base: "https://api.groq.com/openai/v1", path: "/chat/completions", missing: "GROQ_API_KEY is not set"},
		{name: "key may be missing", p: Params{Model: "hosted_vllm/m", APIBase: "http://h:8000/v1"}, model: "hosted_vllm/m", base: "http://h:8000/v1", path: "/chat/completions"},
		{name: "base is missing", p: Params{Model: "hosted_vllm/m"}, err: "HOSTED_VLLM_API_BASE"},
		{name: "whole endpoint given", p: Params{Model: "openai/m", APIKey: "k", APIBase: "http://h/v1/chat/completions"}, model: "openai/m", base: "http://h/v1", path: "/chat/completions", header: "Authorization: Bearer k"},
		{name: "query", p: Params{Model: "azure_ai/m", APIKey: "k", APIBase: "https://h", APIVersion: "2024-05-01"}, model: "azure_ai/m", base: "https://h", path: "/models/chat/completions?api-version=2024-05-01", header: "api-key: k"},
		{name: "custom provider", p: Params{Model: "org/m", Provider: "together_ai", APIKey: "k"}, model: "together_ai/org/m", base: "https://api.together.xyz/v1", path: "/chat/completions", header: "Authorization: Bearer k"},
		{name: "bare name", p: Params{Model: "gpt-4o", APIKey: "k"}, model: "openai/gpt-4o", base: "https://api.openai.com/v1", path: "/chat/completions", header: "Authorization: Bearer k"},
		{name: "own header", p: Params{Model: "sarvam/m", APIKey: "k"}, model: "sarvam/m", base: "https://api.sarvam.ai/v1", path: "/chat/completions", header: "api-subscription-key: k"},
		{name: "model prefix", p: Params{Model: "fireworks_ai/m", APIKey: "k"}, model: "fireworks_ai/m", base: "https://api.fireworks.ai/inference/v1", path: "/chat/completions", header: "Authorization: Bearer k"},
		{name: "region", p: Params{Model: "bedrock_mantle/m", APIKey: "k"}, env: environ("AWS_REGION", "eu-west-1"), model: "bedrock_mantle/m", base: "https://bedrock-mantle.eu-west-1.api.aws/v1", path: "/chat/completions", header: "Authorization: Bearer k"},
		{name: "mock needs no key", p: Params{Model: "openai/gpt-4o", Mock: &text}, model: "openai/gpt-4o", base: "https://api.openai.com/v1", path: "/chat/completions"},
		{name: "native", p: Params{Model: "anthropic/claude"}, err: `"anthropic" is known but not served`},
		{name: "bare native", p: Params{Model: "claude-sonnet"}, err: `"anthropic" is known but not served`},
		{name: "nobody", p: Params{Model: "llama"}, err: "names no provider"},
		{name: "unknown provider", p: Params{Model: "m", Provider: "acme"}, err: `no provider is called "acme"`},
		{name: "no model", err: "no model"},
		{name: "bad base", p: Params{Model: "openai/m", APIKey: "k", APIBase: "ftp://user:secret@h"}, err: "not an http"},
		{name: "bad header", p: Params{Model: "openai/m", APIKey: "k", Headers: []Header{{"X-A", "a\r\nb"}}}, err: "cannot be sent"},
		{name: "framing header", p: Params{Model: "openai/m", APIKey: "k", Headers: []Header{{"content-length", "1"}}}, err: "cannot be sent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := c.env
			if env == nil {
				env = environ()
			}
			got, err := Bind(c.p, env)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := got.adapter.(*openai); ok && got.Model != v.prefix+c.model[strings.Index(c.model, "/")+1:] {
				t.Fatalf("model %s", got.Model)
			}
			header := ""
			for _, h := range got.Headers {
				header += h.Name + ": " + h.Value
			}
			if got.ModelName != c.model || got.BaseURL != c.base || got.Path != c.path || header != c.header ||
				!strings.HasSuffix(got.Missing, c.missing) || (c.missing == "") != (got.Missing == "") {
				t.Fatalf("got %s %s %s %q %q", got.ModelName, got.BaseURL, got.Path, header, got.Missing)
			}
		})
	}
}

// TestVendors binds every row: a table with a slip in it must not start.
func TestVendors(t *testing.T) {
	if len(vendors) < 75 {
		t.Fatalf("%d vendors", len(vendors))
	}
	for i := range vendors {
		v := &vendors[i]
		p := Params{Model: v.name + "/m", APIKey: "k"}
		if v.base == "" {
			if len(v.bases) == 0 {
				t.Errorf("%s can have no address", v.name)
			}
			p.APIBase = "http://h/v1"
		}
		tg, err := Bind(p, environ())
		if err != nil || tg.Missing != "" || tg.Shown == "" {
			t.Errorf("%s: %v", v.name, err)
		}
	}
	for _, n := range native {
		if registry[n] != nil {
			t.Errorf("%s is served and listed as not served", n)
		}
	}
	if ps := Patterns(environ("OPENAI_API_KEY", "k")); ps[0] != (Pattern{"openai/*", "openai/*"}) {
		t.Errorf("patterns %v", ps)
	}
}

func parse(t testing.TB, body string) *llm.Request {
	t.Helper()
	var o jsonscan.Object
	if err := o.Scan([]byte(body)); err != nil {
		t.Fatal(err)
	}
	r := &llm.Request{Body: []byte(body), Members: o.Members, Open: o.Open}
	for i := range r.Members {
		m := &r.Members[i]
		switch string(m.Name) {
		case "model":
			r.ModelValue = m.Value
		case "stream":
			r.Stream = m.Kind == llm.JSONTrue
		case "stream_options":
			r.StreamOptions, r.StreamOptionsKind = m.Value, m.Kind
			var in jsonscan.Object
			if in.Scan(m.Value.Of(r.Body)) == nil {
				r.StreamOptionsSize = len(in.Members)
				if u := in.Find("include_usage"); u != nil {
					if r.IncludeUsage = u.Kind == llm.JSONTrue; !r.IncludeUsage {
						r.IncludeUsageValue = llm.Span{From: m.Value.From + u.Value.From, To: m.Value.From + u.Value.To}
					}
				}
			}
		case "tags", "num_retries":
			m.Ours = true
		}
	}
	return r
}

func TestPass(t *testing.T) {
	seed := []Param{{Name: "seed", JSON: []byte("7")}, {Name: "temperature", JSON: []byte("0.5")}}
	for _, c := range []struct {
		name string
		p    Params
		in   string
		want string
	}{
		{"model only", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[]}`, `{"model":"gpt-4o","messages":[]}`},
		{"no model in body", Params{Model: "openai/gpt-4o"}, ` {"messages":[]}`, ` {"model":"gpt-4o","messages":[]}`},
		{"usage asked", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true}`, `{"stream_options":{"include_usage":true},"model":"gpt-4o","messages":[],"stream":true}`},
		{"usage in options", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true,"stream_options":{"x":1}}`, `{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true,"x":1}}`},
		{"usage in empty options", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true,"stream_options":{}}`, `{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{"usage false", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true,"stream_options":{"include_usage":false}}`, `{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{"options null", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true,"stream_options":null}`, `{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{"usage there", Params{Model: "openai/gpt-4o"}, `{"model":"a","messages":[],"stream":true,"stream_options":{"include_usage":true}}`, `{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}`},
		{"ours cut", Params{Model: "openai/gpt-4o"}, `{"tags":[1],"model":"a","messages":[], "num_retries":1 }`, `{"model":"gpt-4o","messages":[] }`},
		{"renamed", Params{Model: "groq/m"}, `{"model":"a","messages":[],"max_completion_tokens":5}`, `{"model":"m","messages":[],"max_tokens":5}`},
		{"renamed for reasoning models", Params{Model: "openai/o3-mini"}, `{"model":"a","messages":[],"max_tokens":5}`, `{"model":"o3-mini","messages":[],"max_completion_tokens":5}`},
		{"both names", Params{Model: "groq/m"}, `{"model":"a","max_completion_tokens":5,"messages":[],"max_tokens":6}`, `{"model":"m","messages":[],"max_tokens":6}`},
		{"dropped", Params{Model: "groq/m", Drop: []string{"user"}, DropRefused: true}, `{"model":"a","messages":[],"logprobs":true,"user":"u"}`, `{"model":"m","messages":[]}`},
		{"defaults", Params{Model: "openai/gpt-4o", Defaults: seed}, `{"model":"a","messages":[],"temperature":1}`, `{"seed":7,"model":"gpt-4o","messages":[],"temperature":1}`},
		{"extra body wins", Params{Model: "openai/gpt-4o", Extra: seed}, `{"model":"a","messages":[],"temperature":1}`, `{"seed":7,"temperature":0.5,"model":"gpt-4o","messages":[]}`},
		{"no stream options here", Params{Model: "mistral/m"}, `{"model":"a","messages":[],"stream":true,"stream_options":{"include_usage":true}}`, `{"model":"m","messages":[],"stream":true}`},
		{"stream options dropped", Params{Model: "openai/m", Drop: []string{"stream_options"}}, `{"model":"a","messages":[],"stream":true}`, `{"model":"m","messages":[],"stream":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.APIKey = "k"
			tg, err := Bind(c.p, environ())
			if err != nil {
				t.Fatal(err)
			}
			r := parse(t, c.in)
			edits := tg.Pass(r, jsonscan.AppendString(nil, tg.Model), nil)
			jsonscan.Sort(edits)
			got := bytes.Join(jsonscan.Splice(nil, r.Body, edits), nil)
			if string(got) != c.want || !json.Valid(got) {
				t.Fatalf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestSettledParameters(t *testing.T) {
	for _, p := range []Params{
		{Model: "openai/m", APIKey: "k", Drop: []string{"messages"}},
		{Model: "openai/m", APIKey: "k", Extra: []Param{{Name: "stream_options", JSON: []byte("{}")}}},
	} {
		if _, err := Bind(p, environ()); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}

func TestFailureHidesCredentials(t *testing.T) {
	tg, err := Bind(Params{Model: "openai/m", APIKey: "sk-very-secret-key"}, environ())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{
		`{"error":{"message":"your key sk-very-secret-key is odd"}}`, `{"error":{"message":"key ending in cret-key","code":"c"}}`,
		`{"detail":"y-secret"}`,
	} {
		if f := tg.Failure(400, []byte(body)); f.Message != "" || f.Code != "" {
			t.Errorf("%s: %+v", body, f)
		}
	}
	if f := tg.Failure(400, []byte(`{"error":{"message":"`+strings.Repeat("ä", 2000)+`"}}`)); len(f.Message) > maxText || f.Message == "" {
		t.Errorf("%d bytes of message", len(f.Message))
	}
	if f := tg.Failure(422, []byte(`{"detail":[{"msg":"x"}]}`)); f.Status != 422 || f.Kind != llm.KindBadRequest {
		t.Errorf("%+v", f)
	}
}

func TestLeaks(t *testing.T) {
	for _, c := range []struct {
		text, secret string
		want         bool
	}{
		{"rate_limit_exceeded", "x", false},
		{"wrong key: x.", "x", true},
		{"x", "x", true},
		{"max tokens", "x", false},
		{"ending in cdefghij", "abcdefghij", true},
		{"abcdefg", "abcdefghij", false},
		{"", "x", false},
		{"a", "", false},
	} {
		if got := leaks(c.text, c.secret); got != c.want {
			t.Errorf("leaks(%q, %q) = %v", c.text, c.secret, got)
		}
	}
}

func TestMockText(t *testing.T) {
	m := NewMock("äöü€uro")
	var req llm.Request
	if got := m.Append(nil, &req, []byte(`"m"`), []byte("id"), 5); !json.Valid(got) {
		t.Fatalf("%s", got)
	}
	req.Stream = true
	got := string(m.Append(nil, &req, []byte(`"m"`), []byte("id"), 5))
	for _, want := range []string{`"content":"äöü"`, `"content":"€ur"`, `"content":"o"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}
