package gateway

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/proxy/auth"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
	"sluice/proxy/upstream"
)

// speaker is OpenAI's dialect as far as the gateway needs it.
type speaker struct{}

func (speaker) StreamError(dst []byte, e *llm.Error) []byte {
	return append(dst, `data: {"error":{"message":"`+e.Message+`","code":"`+e.CodeText()+"\"}}\n\n"...)
}

type lines struct{ text []string }

func (l *lines) Level() slog.Level { return slog.LevelDebug }

func (l *lines) Emit(level slog.Level, message string, attrs []slog.Attr) {
	s := level.String() + " " + message
	for _, a := range attrs {
		s += " " + a.String()
	}
	l.text = append(l.text, s)
}

const master = "sk-1234567890abcdef"

type bench struct {
	*Gateway
	fake  *fakeprovider.Provider
	lines *lines
	last  *Exchange // of answer
}

// newBench makes a gateway with one model per script of the fake provider;
// several scripts joined by '|' make several deployments of one model.
func newBench(t testing.TB, change func(c *Config), models ...string) *bench {
	t.Helper()
	fake := fakeprovider.Start(t)
	pools := upstream.NewPools(upstream.Settings{})
	t.Cleanup(pools.Close)
	b := &bench{fake: fake, lines: &lines{}}
	c := Config{
		Generation: 7, Keys: auth.New(auth.Config{MasterKey: master}), Pools: pools, Log: b.lines,
		Lookup: func(string) string { return "" }, Limits: Limits{Request: 10 * time.Second},
	}
	for _, m := range models {
		name, scripts, _ := strings.Cut(m, "=")
		for i, s := range strings.Split(scripts, "|") {
			c.Models = append(c.Models, Model{
				Name: name, Order: i, Retries: -1,
				Params: provider.Params{Model: "openai/" + fakeprovider.Model, APIKey: "sk-upstream-secret", APIBase: fake.URL(s)},
			})
		}
	}
	if change != nil {
		change(&c)
	}
	g, _, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Gateway = g
	return b
}

// ask decodes by hand what the dialect would: tests of this package need no
// dialect.
func (b *bench) exchange(t testing.TB, body string) *Exchange {
	t.Helper()
	x := &Exchange{}
	x.Reset()
	copy(x.ID[:], "01900000-0000-7000-8000-000000000000")
	x.CallID, x.Route, x.Dialect, x.Start = x.ID[:], "/v1/chat/completions", speaker{}, b.now()
	if err := b.Identify(x, []byte(master)); err != nil {
		t.Fatal(err)
	}
	x.Body = []byte(body)
	decode(t, x)
	return x
}

func decode(t testing.TB, x *Exchange) {
	t.Helper()
	if err := x.object.Scan(x.Body); err != nil {
		t.Fatal(err)
	}
	r := &x.Request
	r.Body, r.Members, r.Open = x.Body, append(r.Members[:0], x.object.Members...), x.object.Open
	if m := r.Find("model"); m != nil {
		r.ModelValue, r.Model = m.Value, x.Body[m.Value.From+1:m.Value.To-1]
	}
	if m := r.Find("stream"); m != nil {
		r.Stream = m.Kind == llm.JSONTrue
	}
	for _, name := range []string{"api_key", "api_base", "base_url", "user_config"} {
		if m := r.Find(name); m != nil {
			m.Ours, r.Credential = true, name
		}
	}
	if m := r.Find("stream_options"); m != nil {
		r.StreamOptions, r.StreamOptionsKind, r.IncludeUsage, r.StreamOptionsSize = m.Value, m.Kind, true, 1
	}
}

func request(model, id string, stream, usage bool) string {
	s := `{"model":"` + model + `","user":"` + id + `","messages":[{"role":"user","content":"hi"}]`
	if stream {
		s += `,"stream":true`
	}
	if usage {
		s += `,"stream_options":{"include_usage":true}`
	}
	return s + "}"
}

// run does one exchange and gives all that the client would get.
func (b *bench) run(t testing.TB, body string) (x *Exchange, got string, broken bool, e *llm.Error) {
	t.Helper()
	x = b.exchange(t, body)
	a, e := b.Do(x)
	if e != nil {
		x.Settle()
		return x, "", false, e
	}
	if a.Stream == nil {
		got = string(bytes.Join(a.Body, nil))
		x.Settle()
		return x, got, false, nil
	}
	var out bytes.Buffer
	buf := make([]byte, 700)
	for {
		n, err := a.Stream.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			broken = !errors.Is(err, io.EOF)
			break
		}
	}
	_ = a.Stream.Close()
	x.Settle()
	return x, out.String(), broken, x.Err
}

func TestWhole(t *testing.T) {
	b := newBench(t, nil, "mine=ok")
	x, got, _, e := b.run(t, request("mine", "u1", false, false))
	if e != nil {
		t.Fatal(e)
	}
	shape := fakeprovider.DefaultShape
	if want := string(shape.Whole("u1", "mine")); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if tok := shape.Tokens("u1", false); x.Usage.Input != tok.Prompt || x.Usage.Output != tok.Completion || !x.Usage.Reported {
		t.Fatalf("usage %+v, want %+v", x.Usage, tok)
	}
	heads := map[string]string{}
	for _, f := range x.Header {
		heads[string(f.Name)] = string(f.Value)
	}
	for name, want := range map[string]string{
		"x-litellm-model-group": "mine", "x-litellm-model-name": "openai/" + fakeprovider.Model,
		"x-litellm-attempted-retries": "0", "llm_provider-content-type": "application/json",
		"x-litellm-model-api-base": strings.TrimSuffix(b.fake.URL("ok"), "/"),
	} {
		if heads[name] != want {
			t.Errorf("%s: %q, want %q", name, heads[name], want)
		}
	}
	if len(b.lines.text) != 1 || !strings.Contains(b.lines.text[0], "INFO request id=01900000-0000-7000-8000-000000000000") {
		t.Errorf("log: %q", b.lines.text)
	}
}

func TestStreams(t *testing.T) {
	b := newBench(t, nil, "s=stream", "odd-crlf=odd,kind=crlf", "odd-cr=odd,kind=cr", "odd-bom=odd,kind=bom",
		"odd-comment=odd,kind=comment", "odd-split=odd,kind=split", "odd-nospace=odd,kind=nospace", "odd-event=odd,kind=event",
		"drip=drip,every=100us,n=3", "nulls=stream,null=1", "after=after")
	for _, m := range []string{"s", "odd-crlf", "odd-cr", "odd-bom", "odd-comment", "odd-split", "odd-nospace", "odd-event", "drip", "nulls", "after"} {
		for _, usage := range []bool{false, true} {
			if m == "drip" && usage {
				continue // slow by nature: once is enough
			}
			shape := fakeprovider.DefaultShape
			if m == "drip" {
				shape.Events = fakeprovider.Range{Min: 3, Max: 3}
			}
			x, got, broken, e := b.run(t, request(m, "u2", true, usage))
			if e != nil || broken {
				t.Fatalf("%s: broken %v, %v\n%s", m, broken, e, got)
			}
			want := string(shape.Stream("u2", m, usage))
			if m == "s" || m == "after" || m == "drip" {
				if got != want {
					t.Errorf("%s usage %v\ngot  %s\nwant %s", m, usage, got, want)
				}
			} else if n := strings.Count(got, `"model":"`+m+`"`); n != strings.Count(want, `"model":"`) || strings.Contains(got, fakeprovider.Model) {
				t.Errorf("%s: %d models of %d\n%s", m, n, strings.Count(want, `"model":"`), got)
			}
			if tok := shape.Tokens("u2", true); x.Usage.Output != tok.Completion || x.Usage.Input != tok.Prompt {
				t.Errorf("%s: usage %+v, want %+v", m, x.Usage, tok)
			}
			if strings.HasSuffix(got, "[DONE]") {
				t.Errorf("%s: the last event is not whole", m)
			}
		}
	}
}

// TestBrokenStreams: after the first event a failure is an error event and a
// broken connection, and never [DONE].
func TestBrokenStreams(t *testing.T) {
	b := newBench(t, nil, "cut=cut,at=2000", "rst=cut,at=2000,rst=1", "nodone=nodone", "errlater=errlater",
		"longline=stream")
	for _, m := range []string{"cut", "rst", "nodone", "errlater"} {
		x, got, broken, e := b.run(t, request(m, "u3", true, false))
		if !broken || e == nil {
			t.Errorf("%s: broken %v, error %v", m, broken, e)
			continue
		}
		if strings.Contains(got, "[DONE]") || !strings.Contains(got, `data: {"error":`) || !strings.HasSuffix(got, "}\n\n") || x.Status != 200 {
			t.Errorf("%s: %s", m, got)
		}
	}
}

// TestFailures: before the first byte a failure is an answer with a status.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		script string
		stream bool
		status int
		typ    string
		code   string
		says   string
		after  time.Duration
	}{
		{"s500", false, 500, "internal_server_error", "500", "status 500", 0},
		{"s500", true, 500, "internal_server_error", "500", "status 500", 0},
		{"s503", false, 503, "internal_server_error", "overloaded", "status 503", 0},
		{"s529", false, 503, "internal_server_error", "503", "status 503", 0},
		{"s401", false, 401, "authentication_error", "401", "did not accept the gateway's credential", 0},
		{"s403", false, 403, "permission_error", "403", "did not accept the gateway's credential", 0},
		{"s400", false, 400, "invalid_request_error", "invalid_value", "Invalid value for 'temperature'.", 0},
		{"s404", false, 404, "invalid_request_error", "model_not_found", "does not exist", 0},
		{"s429,retry=7", false, 429, "throttling_error", "rate_limit_exceeded", "Rate limit reached", 7 * time.Second},
		{"s429,retry=7", true, 429, "throttling_error", "rate_limit_exceeded", "Rate limit reached", 7 * time.Second},
		{"s429,retry=-3", false, 429, "throttling_error", "rate_limit_exceeded", "Rate limit reached", 0},
		{"s429,retry=99999999999", false, 429, "throttling_error", "rate_limit_exceeded", "Rate limit reached", maxRetryAfter},
		{"ctx", false, 400, "invalid_request_error", "context_length_exceeded", "ContextWindowExceededError", 0},
		{"garbage", false, 500, "internal_server_error", "500", "invalid answer", 0},
		{"html200", false, 500, "internal_server_error", "500", "invalid answer", 0},
		{"garbage", true, 500, "internal_server_error", "500", "invalid answer", 0},
		{"nothttp", false, 500, "internal_server_error", "500", "invalid answer", 0},
		{"both", false, 500, "internal_server_error", "500", "invalid answer", 0},
		{"badchunk", false, 500, "internal_server_error", "500", "invalid answer", 0},
		{"redirect,to=%2Fx", false, 502, "internal_server_error", "502", "redirect", 0},
		{"drop", false, 500, "internal_server_error", "500", "could not be reached", 0},
		{"cut,at=300", false, 500, "internal_server_error", "500", "broke off", 0},
		{"errfirst", true, 500, "internal_server_error", "500", "failed with status 500", 0},
		{"odd,kind=longline,bytes=1500000", true, 500, "internal_server_error", "500", "1 MiB", 0},
		{"hang", false, 408, "invalid_request_error", "408", "did not answer in time", 0},
		{"hang", true, 408, "invalid_request_error", "408", "did not answer in time", 0},
	} {
		t.Run(c.script, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Limits.Timeout = 2 * time.Second; c.Retries = 0 }, "m="+c.script)
			x, got, _, e := b.run(t, request("m", "u4", c.stream, false))
			if e == nil {
				t.Fatalf("answered %s", got)
			}
			if e.HTTPStatus() != c.status || e.TypeName() != c.typ || e.CodeText() != c.code || !strings.Contains(e.Message, c.says) || e.RetryAfter != c.after {
				t.Errorf("got %d %s %s %q %v (%v)", e.HTTPStatus(), e.TypeName(), e.CodeText(), e.Message, e.RetryAfter, e.Err)
			}
			if strings.Contains(e.Message, "127.0.0.1") || strings.Contains(e.Message, "sk-") || x.Status != c.status {
				t.Errorf("message %q, status %d", e.Message, x.Status)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Retries = 2 }, "m=s503|s429|ok", "bad=s400|ok", "streams=cut,at=0|errfirst|stream")
	x, _, _, e := b.run(t, request("m", "u5", false, false))
	if e != nil || x.Attempts != 3 {
		t.Fatalf("%d attempts, %v", x.Attempts, e)
	}
	if x, _, _, e = b.run(t, request("bad", "u6", false, false)); e == nil || x.Attempts != 1 {
		t.Fatalf("a bad request was tried %d times, %v", x.Attempts, e)
	}
	if x, _, _, e = b.run(t, request("streams", "u7", true, false)); e != nil || x.Attempts != 3 {
		t.Fatalf("%d attempts, %v", x.Attempts, e)
	}
	var out bytes.Buffer
	b.metrics.Write(&out)
	for _, want := range []string{
		"litellm_deployment_failure_responses_total{", `exception_status="503"`, `litellm_proxy_failed_requests_metric_total{`,
		`litellm_request_total_latency_metric_bucket{`, `le="0.00625"`, `litellm_output_tokens_metric_total{`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Retries = 2 }, "hang=hang", "stall=stall,at=2000", "busy=s503")
	for _, m := range []string{"hang", "busy"} {
		x := b.exchange(t, request(m, "u8", false, false))
		time.AfterFunc(50*time.Millisecond, func() { x.Cancel(CauseClientGone) })
		start := time.Now()
		_, e := b.Do(x)
		if e == nil || e.Kind != llm.KindClientGone || time.Since(start) > 400*time.Millisecond {
			t.Errorf("%s: %v after %v", m, e, time.Since(start))
		}
		x.Settle()
	}
	x := b.exchange(t, request("stall", "u9", true, false))
	a, e := b.Do(x)
	if e != nil {
		t.Fatal(e)
	}
	time.AfterFunc(100*time.Millisecond, func() { x.Cancel(CauseStopping) })
	all, err := io.ReadAll(a.Stream)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(string(all), "stopping") {
		t.Errorf("%v: %s", err, all)
	}
	_ = a.Stream.Close()
	x.Settle()
	if x.Err == nil || x.Err.Kind != llm.KindUnavailable {
		t.Errorf("error %v", x.Err)
	}
}

func TestMock(t *testing.T) {
	text, fails := "Hello from the mock", "litellm.RateLimitError"
	b := newBench(t, func(c *Config) {
		c.Models = []Model{
			{Name: "mock", Retries: -1, Params: provider.Params{Model: "openai/gpt-4o", Mock: &text}},
			{Name: "fails", Retries: 0, Params: provider.Params{Model: "openai/gpt-4o", Mock: &fails}},
		}
	})
	x, got, _, e := b.run(t, request("mock", "", false, false))
	if e != nil || !strings.Contains(got, `"model":"mock"`) || !strings.Contains(got, text) || x.Usage.Total != 30 {
		t.Fatalf("%v %s", e, got)
	}
	_, got, _, _ = b.run(t, request("mock", "", true, false))
	if n := strings.Count(got, "data: {"); n != 8 || strings.Contains(got, "usage") || !strings.HasSuffix(got, "data: [DONE]\n\n") {
		t.Fatalf("%d events: %s", n, got)
	}
	_, got, _, _ = b.run(t, request("mock", "", true, true))
	if !strings.Contains(got, `"choices":[],"usage":{"prompt_tokens":10`) {
		t.Fatal(got)
	}
	if _, _, _, e = b.run(t, request("fails", "", false, false)); e == nil || e.HTTPStatus() != 429 {
		t.Fatal(e)
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Models = append(c.Models, Model{Name: "keyless", Params: provider.Params{Model: "openai/gpt-4o"}})
	}, "m=ok")
	if _, _, _, e := b.run(t, request("nope", "", false, false)); e == nil || e.HTTPStatus() != 400 || !strings.Contains(e.Message, "model=nope") {
		t.Error(e)
	}
	if _, _, _, e := b.run(t, request("keyless", "", false, false)); e == nil || e.HTTPStatus() != 401 || !strings.Contains(e.Message, "has no key") {
		t.Error(e)
	}
	x := b.exchange(t, request("m", "", false, false))
	x.Request.Credential = "api_base"
	if _, e := b.Do(x); e == nil || e.HTTPStatus() != 401 || !strings.Contains(e.Message, "api_base is not allowed") {
		t.Error(e)
	}
	x.Settle()
	x.Reset()
	if e := b.Identify(x, []byte("sk-wrong")); e == nil || e.TypeName() != "token_not_found_in_db" || strings.Contains(e.Message, "wrong") {
		t.Error(e)
	}
	if _, e := b.Do(x); e == nil || e.HTTPStatus() != 401 {
		t.Error("a nobody was served")
	}
	x.Settle()
}
