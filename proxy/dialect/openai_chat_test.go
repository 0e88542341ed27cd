package dialect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"sluice/proxy/llm"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

func decode(body, path string) (*llm.Request, *llm.Error) {
	var req llm.Request
	req.Reset()
	var model []byte
	if path != "" {
		model = []byte(path)
	}
	return &req, OpenAIChat().Decode([]byte(body), model, &req)
}

func TestDecode(t *testing.T) {
	req, err := decode(`{"model":"a\"b","stream":true,"stream_options":{"include_usage":true},"num_retries":3,"timeout":1.5,"mock_response":"m","tags":["x"],`+hi+`}`, "")
	if err != nil {
		t.Fatal(err)
	}
	if string(req.Model) != `a"b` || !req.Stream || !req.IncludeUsage || req.Retries != 3 || req.Timeout != 1500*time.Millisecond || string(req.Mock) != "m" {
		t.Fatalf("got %+v", req)
	}
	ours := ""
	for _, m := range req.Members {
		if m.Ours {
			ours += string(m.Name) + " "
		}
	}
	if ours != "num_retries timeout mock_response tags " {
		t.Fatalf("ours: %s", ours)
	}
	req, err = decode(`{`+hi+`,"model":"b"}`, "p")
	if err != nil || string(req.Model) != "p" || !req.ModelValue.Present() || req.Retries != -1 {
		t.Fatalf("got %+v, %v", req, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, typ, param, message string }{
		{"no model", `{` + hi + `}`, "invalid_request_error", "", "no model is named"},
		{"null model", `{"model":null,` + hi + `}`, "invalid_request_error", "", "no model is named"},
		{"number model", `{"model":3,` + hi + `}`, "bad_request_error", "model", "'model' must be a string."},
		{"no messages", `{"model":"a"}`, "invalid_request_error", "messages", "'messages'"},
		{"null messages", `{"model":"a","messages":null}`, "invalid_request_error", "messages", "'messages'"},
		{"a million choices", `{"model":"a","n":1000000,` + hi + `}`, "invalid_request_error", "n", "at most 10000"},
		{"absurd tokens", `{"model":"a","max_tokens":1000000000000000000,` + hi + `}`, "invalid_request_error", "max_tokens", "at most"},
		{"text messages", `{"model":"a","messages":"hi"}`, "invalid_request_error", "messages", "must be an array, not a string"},
		{"not an object", `[1,2]`, "invalid_request_error", "request_body", "a JSON object was expected"},
		{"empty", "\n", "invalid_request_error", "messages", "'messages'"},
		{"cut", `{"model":"mock","messages":[`, "invalid_request_error", "request_body", "line 1 column 29 (byte 28)"},
		{"trailing comma", "{\"model\":\"mock\",\n" + hi + ",}", "invalid_request_error", "request_body", "line 2"},
		{"duplicate", `{"model":"a","model":"b",` + hi + `}`, "invalid_request_error", "request_body", "twice"},
		{"stream text", `{"model":"a","stream":"yes",` + hi + `}`, "invalid_request_error", "stream", "true or false"},
		{"stream options", `{"model":"a","stream_options":1,` + hi + `}`, "invalid_request_error", "stream_options", "an object"},
		{"duplicate usage", `{"model":"a","stream_options":{"include_usage":true,"include_usage":false},` + hi + `}`, "invalid_request_error", "request_body", "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := decode(c.body, "")
			if err == nil {
				t.Fatal("accepted")
			}
			if err.HTTPStatus() != 400 || err.TypeName() != c.typ || err.Param != c.param || !strings.Contains(err.Message, c.message) {
				t.Fatalf("got %d %s %s %q", err.HTTPStatus(), err.TypeName(), err.Param, err.Message)
			}
		})
	}
}

func TestErrorShape(t *testing.T) {
	for _, c := range []struct {
		e    llm.Error
		want string
	}{
		{llm.Error{Kind: llm.KindAuth, Param: "None", Message: "a\"\n"}, `{"error":{"message":"a\"\n","type":"auth_error","param":"None","code":"401"}}`},
		{llm.Error{Kind: llm.KindRateLimit, Code: "slow_down", Message: "m"}, `{"error":{"message":"m","type":"throttling_error","param":null,"code":"slow_down"}}`},
		{llm.Error{Kind: llm.KindNotFound, Detail: true, Message: "Not Found"}, `{"detail":"Not Found"}`},
	} {
		if got := string(OpenAIChat().Error(nil, &c.e)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if got := string(OpenAIChat().StreamError(nil, &c.e)); got != "data: "+c.want+"\n\n" {
			t.Errorf("event %q", got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"model":"a","stream_options":{"include_usage":false},"num_retries":1e9,"timeout":-1,`+hi+`}`), false)
	f.Add([]byte(`{"model":"\u0061","mock_response":"\n","api_base":"x",`+hi+`}`), true)
	f.Fuzz(func(t *testing.T, b []byte, lenient bool) {
		var req llm.Request
		req.Reset()
		req.Lenient = lenient
		if err := OpenAIChat().Decode(b, nil, &req); err != nil {
			if !json.Valid(OpenAIChat().Error(nil, err)) {
				t.Fatal("the error is not JSON")
			}
			return
		}
		var want struct{ Model string }
		var any map[string]json.RawMessage
		if json.Unmarshal(b, &any) != nil || json.Unmarshal(any["model"], &want.Model) != nil || want.Model != string(req.Model) {
			t.Fatalf("model %q, encoding/json has %q", req.Model, want.Model)
		}
	})
}

func TestDropExtras(t *testing.T) {
	const body = `{"model":"m","messages":[],"drop_params":true,"allowed_openai_params":["a"],"additional_drop_params":["b"]}`
	var r llm.Request
	r.Reset()
	if e := OpenAIChat().Decode([]byte(body), nil, &r); e != nil {
		t.Fatal(e)
	}
	if !r.DropParams || string(r.AllowParams.Of(r.Body)) != `["a"]` || string(r.DropAlso.Of(r.Body)) != `["b"]` {
		t.Errorf("%+v", r)
	}
	r.Reset()
	if r.DropParams || r.AllowParams.Present() || r.DropAlso.Present() {
		t.Errorf("left after Reset: %+v", r)
	}
}

func TestMockExtras(t *testing.T) {
	for members, want := range map[string]llm.MockTest{
		`"mock_delay":1.5`:                               {Delay: 1500 * time.Millisecond},
		`"mock_delay":"1"`:                               {},
		`"mock_timeout":true`:                            {Timeout: true},
		`"mock_timeout":false`:                           {},
		`"mock_testing_fallbacks":true`:                  {Fail: true, Kind: llm.KindUpstream},
		`"mock_testing_fallbacks":false`:                 {},
		`"mock_testing_context_fallbacks":true`:          {Fail: true, Kind: llm.KindContextWindow},
		`"mock_testing_context_window_fallbacks":true`:   {Fail: true, Kind: llm.KindContextWindow},
		`"mock_testing_content_policy_fallbacks":true`:   {Fail: true, Kind: llm.KindContentPolicy},
		`"mock_testing_rate_limit_error":true`:           {Fail: true, Kind: llm.KindRateLimit},
		`"mock_testing_what_is_not_known":true,"seed":1`: {},
	} {
		var r llm.Request
		r.Reset()
		if e := OpenAIChat().Decode([]byte(`{"model":"m","messages":[],`+members+`}`), nil, &r); e != nil {
			t.Fatal(e)
		}
		if r.Test != want || !r.Members[2].Ours {
			t.Errorf("%s: %+v, ours %v", members, r.Test, r.Members[2].Ours)
		}
	}
}
