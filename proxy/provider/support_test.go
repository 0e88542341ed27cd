package provider

import (
	"bytes"
	"strings"
	"testing"

	"sluice/proxy/jsonscan"
)

// TestSupport: what a provider does not support is refused by name, unless it
// may be left out or is to be sent all the same.
func TestSupport(t *testing.T) {
	const head = `{"model":"a","messages":[]`
	for _, c := range []struct {
		name    string
		p       Params
		members string
		refused string // names in the error; "" for none
		sent    string // members that remain
	}{
		{"supported", Params{}, `,"seed":1`, "", `,"random_seed":1`},
		{"refused", Params{}, `,"logprobs":true,"store":true`, "['logprobs', 'store']", ""},
		{"null is nothing", Params{}, `,"logprobs":null,"n":1`, "", `,"n":1`},
		{"user is left out", Params{}, `,"user":"u"`, "", ``},
		{"dropped by the deployment", Params{DropRefused: true}, `,"logprobs":true,"n":1`, "", `,"n":1`},
		{"dropped by name", Params{Drop: []string{"logprobs"}}, `,"logprobs":true,"n":1`, "", `,"n":1`},
		{"allowed by the deployment", Params{Allow: []string{"logprobs"}}, `,"logprobs":true`, "", `,"logprobs":true`},
		{"allowed, another not", Params{Allow: []string{"logprobs"}}, `,"logprobs":true,"store":true`, "['store']", ""},
		{"dropped by the request", Params{}, `,"logprobs":true,"drop_params":true`, "", ``},
		{"allowed by the request", Params{}, `,"logprobs":true,"allowed_openai_params":["store","logprobs"]`, "", `,"logprobs":true`},
		{"a part of a name is not it", Params{}, `,"logprobs":true,"allowed_openai_params":["top_logprobs"]`, "['logprobs']", ""},
		{"dropped by name in the request", Params{}, `,"logprobs":true,"n":1,"additional_drop_params":["logprobs","n","messages"]`, "", ``},
		{"default left out", Params{DropRefused: true, Defaults: []Param{{"store", []byte("true")}, {"n", []byte("2")}}}, ``, "", `,"n":2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.p.Model, c.p.APIKey = "mistral/m", "k"
			target, err := Bind(c.p, environ())
			if err != nil {
				t.Fatal(err)
			}
			r := parse(t, head+c.members+"}")
			for i := range r.Members {
				m := &r.Members[i]
				switch string(m.Name) {
				case "drop_params":
					m.Ours, r.DropParams = true, true
				case "allowed_openai_params":
					m.Ours, r.AllowParams = true, m.Value
				case "additional_drop_params":
					m.Ours, r.DropAlso = true, m.Value
				}
			}
			e := target.Unsupported(r)
			if c.refused != "" {
				if e == nil || e.HTTPStatus() != 400 || !strings.Contains(e.Message, "UnsupportedParamsError: mistral does not support parameters: "+c.refused) {
					t.Fatalf("error %v, want %s", e, c.refused)
				}
				return
			}
			if e != nil {
				t.Fatal(e)
			}
			edits := target.Pass(r, []byte(`"m"`), nil)
			jsonscan.Sort(edits)
			got := string(bytes.Join(jsonscan.Splice(nil, r.Body, edits), nil))
			var o, want jsonscan.Object
			if o.Scan([]byte(got)) != nil || want.Scan([]byte(`{"model":"m","messages":[]`+c.sent+"}")) != nil || len(o.Members) != len(want.Members) {
				t.Fatalf("sent %s, want the members of %s", got, c.sent)
			}
			for i := range want.Members {
				w := &want.Members[i]
				if m := o.Find(string(w.Name)); m == nil {
					t.Errorf("sent %s without %s", got, w.Name)
				}
			}
		})
	}
	other, err := Bind(Params{Model: "openai/m", APIKey: "k"}, environ())
	if err != nil {
		t.Fatal(err)
	}
	if e := other.Unsupported(parse(t, head+`,"logprobs":true,"anything":1}`)); e != nil {
		t.Errorf("a provider without a list refuses: %v", e)
	}
}
