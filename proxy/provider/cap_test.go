package provider

import (
	"bytes"
	"encoding/json"
	"testing"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// TestCap: what a provider is told of the length of an answer is known before,
// and what nobody says is said by the gateway, once, under the name that the
// model knows.
func TestCap(t *testing.T) {
	for _, c := range []struct {
		model, body string
		p           Params
		most        int64
		sent        string // name of the parameter that caps, with Cap where most is 0
		value       string
	}{
		{"openai/gpt-4o", `{"messages":[]}`, Params{}, 0, maxTokens, "77"},
		{"openai/o3-mini", `{"messages":[]}`, Params{}, 0, maxCompletion, "77"},
		{"openai/o3-mini", `{"messages":[],"max_tokens":null}`, Params{}, 0, maxCompletion, "77"},
		{"openai/gpt-4o", `{"messages":[],"max_tokens":5}`, Params{}, 5, maxTokens, "5"},
		{"openai/o3-mini", `{"messages":[],"max_tokens":5}`, Params{}, 5, maxCompletion, "5"},
		{"openai/gpt-4o", `{"messages":[],"max_tokens":5,"max_completion_tokens":9}`, Params{}, 9, maxCompletion, "9"},
		{"groq/x", `{"messages":[],"max_completion_tokens":9}`, Params{}, 9, maxTokens, "9"},
		{"groq/x", `{"messages":[],"max_completion_tokens":"many"}`, Params{}, 0, maxTokens, "77"},
		{"openai/gpt-4o", `{"messages":[]}`, Params{Defaults: []Param{{"max_tokens", []byte("12")}}}, 12, maxTokens, "12"},
		{"openai/gpt-4o", `{"messages":[],"max_tokens":5}`, Params{Defaults: []Param{{"max_tokens", []byte("12")}}}, 5, maxTokens, "5"},
		{"openai/gpt-4o", `{"messages":[],"max_tokens":5}`, Params{Extra: []Param{{"max_tokens", []byte("3")}}}, 3, maxTokens, "3"},
		{"openai/gpt-4o", `{"messages":[],"max_tokens":5}`, Params{Drop: []string{"max_tokens"}}, 0, maxTokens, "77"},
	} {
		c.p.Model, c.p.APIKey = c.model, "k"
		target, err := Bind(c.p, func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		var o jsonscan.Object
		if err := o.Scan([]byte(c.body)); err != nil {
			t.Fatal(err)
		}
		req := &llm.Request{Body: []byte(c.body), Members: o.Members, Open: o.Open}
		model := []byte(`"` + target.Model + `"`)
		if got := target.Most(req, model); got != c.most {
			t.Errorf("%s %s: at most %d, want %d", c.model, c.body, got, c.most)
		}
		edits := target.Pass(req, model, nil)
		if c.most == 0 {
			edits = target.Cap(req, model, []byte("77"), edits)
		}
		jsonscan.Sort(edits)
		body := bytes.Join(jsonscan.Splice(nil, req.Body, edits), nil)
		var sent map[string]json.RawMessage
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if string(sent[c.sent]) != c.value || bytes.Count(body, []byte(`"`+c.sent+`"`)) != 1 {
			t.Errorf("%s %s: %s", c.model, c.body, body)
		}
	}
}
