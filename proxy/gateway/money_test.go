package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/journal"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/proxy/provider"
)

// diary is a journal in memory. It takes copies, as what it is given is not its
// own.
type diary struct {
	mu      sync.Mutex
	lines   []string
	intents []bill.Intent
	settles []bill.Settle
	rejects []bill.Intent
	bodies  []string
	full    bool
	fails   error
}

func (d *diary) Full() bool { return d.full }

func (d *diary) line(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) Intent(in *bill.Intent, p journal.Price) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return journal.ErrFull
	}
	c := *in
	c.Accounts, c.Tags = slices.Clone(in.Accounts), slices.Clone(in.Tags)
	for _, s := range []*string{&c.Token, &c.EndUser, &c.CallID, &c.Session, &c.ClientAddress, &c.Metadata} {
		*s = strings.Clone(*s)
	}
	d.intents = append(d.intents, c)
	d.line("intent %d %s", in.Attempt, in.ModelID)
	return nil
}

func (d *diary) Progress(_ [16]byte, attempt, output int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line("progress %d %d", attempt, output)
	return nil
}

func (d *diary) Settle(_ [16]byte, attempt int64, s *bill.Settle) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return d.fails
	}
	c := *s
	c.ProviderID = strings.Clone(s.ProviderID)
	d.settles = append(d.settles, c)
	d.line("settle %d %s", attempt, s.Status)
	return nil
}

func (d *diary) Reject(in *bill.Intent, s *bill.Settle) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rejects = append(d.rejects, *in)
	d.line("reject %d %s", s.HTTPStatus, s.ErrorKind)
	return nil
}

func (d *diary) Body(_ [16]byte, _ int64, messages, response, metadata []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bodies = append(d.bodies, string(messages)+" | "+string(response)+" | "+string(metadata))
}

func (d *diary) said() string { return strings.Join(d.lines, ", ") }

// dear is a price of a dollar for a thousand tokens, in and out.
func dear(t testing.TB) *price.Price { return perToken(t, "0.001") }

// perToken is the price of a token, in and out.
func perToken(t testing.TB, dollars string) *price.Price {
	t.Helper()
	p, err := price.Compile(map[string]json.RawMessage{
		"input_cost_per_token": json.RawMessage(dollars), "output_cost_per_token": json.RawMessage(dollars),
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// account is a bench that writes a diary, where every model costs something.
func account(t testing.TB, change func(*Config), models ...string) (*bench, *diary) {
	t.Helper()
	d, p := &diary{}, dear(t)
	b := newBench(t, func(c *Config) {
		c.Journal = d
		for i := range c.Models {
			c.Models[i].Price = p
		}
		if change != nil {
			change(c)
		}
	}, models...)
	return b, d
}

// An attempt is written down before it is made, and what it cost before the
// answer leaves.
func TestAttemptsAreWrittenDown(t *testing.T) {
	b, d := account(t, func(c *Config) { c.Retries = 1 }, "mine=s500|ok")
	x, _, _, e := b.run(t, request("mine", "u", false, false))
	if e != nil {
		t.Fatal(e)
	}
	if len(d.intents) != 2 || len(d.settles) != 2 || d.settles[0].Status != bill.StatusFailure || d.settles[1].Status != bill.StatusSuccess {
		t.Fatalf("%s", d.said())
	}
	in, s := d.intents[1], d.settles[1]
	if in.Attempt != 1 || in.Model != "mine" || in.Provider != "openai" || in.Token != masterHash || in.Price == 0 || in.Prompt <= 0 || in.EndUser != "u" {
		t.Errorf("%+v", in)
	}
	if want := money.Nano(x.Usage.Total) * money.Dollar / 1000; s.Cost != want || s.Usage != x.Usage || s.ProviderID == "" {
		t.Errorf("cost %s, want %s: %+v", s.Cost, want, s)
	}
	if d.settles[0].Cost != 0 || d.settles[0].HTTPStatus != 500 || d.settles[0].ErrorKind != "upstream" {
		t.Errorf("%+v", d.settles[0])
	}
	var accounts []string
	for _, a := range in.Accounts {
		accounts = append(accounts, a.Kind.String()+":"+a.ID)
	}
	if got := strings.Join(accounts, " "); got != "user:default_user_id customer:u" {
		t.Errorf("charged to %s", got)
	}
	if got := header(x, "x-litellm-response-cost"); got != s.Cost.String() {
		t.Errorf("x-litellm-response-cost: %s", got)
	}
}

func header(x *Exchange, name string) string {
	for _, h := range x.Header {
		if string(h.Name) == name {
			return string(h.Value)
		}
	}
	return ""
}

// A stream is settled before its terminal event leaves.
func TestStreamIsSettledBeforeItsEnd(t *testing.T) {
	b, d := account(t, nil, "mine=ok")
	x := b.exchange(t, request("mine", "u", true, false))
	a, e := b.Do(x)
	if e != nil {
		t.Fatal(e)
	}
	buf := make([]byte, 64)
	var got strings.Builder
	for {
		n, err := a.Stream.Read(buf)
		got.Write(buf[:n])
		if strings.Contains(got.String(), "\n\ndata: [DONE]") && len(d.settles) == 0 {
			t.Fatal("the terminal event has left, and nothing is settled")
		}
		if err != nil {
			break
		}
	}
	_ = a.Stream.Close()
	x.Settle()
	if len(d.settles) != 1 || d.settles[0].Status != bill.StatusSuccess || d.settles[0].Cost == 0 || !d.settles[0].Usage.Reported {
		t.Errorf("%s: %+v", d.said(), d.settles)
	}
	if d.settles[0].ProviderID == "" || d.settles[0].FirstByteAt == 0 {
		t.Errorf("%+v", d.settles[0])
	}
}

// A stream that the client leaves, and one that the provider breaks off, are
// charged with what had come.
func TestCutStreamsAreCharged(t *testing.T) {
	b, d := account(t, nil, "mine=ok,n=200")
	x := b.exchange(t, request("mine", "u", true, false))
	a, e := b.Do(x)
	if e != nil {
		t.Fatal(e)
	}
	if _, err := a.Stream.Read(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	x.Cancel(CauseClientGone)
	_ = a.Stream.Close()
	x.Settle()
	if len(d.settles) != 1 || d.settles[0].Status != bill.StatusCut || d.settles[0].Cost == 0 || d.settles[0].ErrorKind != "client_gone" {
		t.Fatalf("%s: %+v", d.said(), d.settles)
	}
}

// An answer that cannot be written down is not given.
func TestUnsettledIsNoSuccess(t *testing.T) {
	b, d := account(t, nil, "mine=ok")
	d.fails = errors.New("input/output error")
	_, _, _, e := b.run(t, request("mine", "u", false, false))
	if e == nil || e.HTTPStatus() != 503 || e.TypeName() != "journal_unavailable" || e.RetryAfter == 0 {
		t.Fatalf("%+v", e)
	}
	x := b.exchange(t, request("mine", "u", true, false))
	a, e := b.Do(x)
	if e != nil {
		t.Fatal(e)
	}
	all, err := io.ReadAll(a.Stream)
	_ = a.Stream.Close()
	x.Settle()
	if !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(string(all), "\n\ndata: [DONE]") || !strings.Contains(string(all), "error") {
		t.Errorf("%v: %s", err, all)
	}
}

// A journal at its bound refuses before anybody is called.
func TestFullJournal(t *testing.T) {
	b, d := account(t, nil, "mine=ok")
	d.full = true
	_, _, _, e := b.run(t, request("mine", "u", false, false))
	if e == nil || e.HTTPStatus() != 503 || e.TypeName() != "journal_full" || e.RetryAfter == 0 {
		t.Fatalf("%+v", e)
	}
	if n := b.fake.Served(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// What is refused before a provider is called is written down, and no more than
// some of it.
func TestRejects(t *testing.T) {
	b, d := account(t, nil, "mine=ok")
	if _, _, _, e := b.run(t, request("nothing", "u", false, false)); e == nil {
		t.Fatal("served")
	}
	if len(d.rejects) != 1 || d.said() != "reject 400 bad_request" || d.rejects[0].Token != masterHash {
		t.Fatalf("%s", d.said())
	}
	for range rejectsBurst + 50 {
		_, _, _, _ = b.run(t, request("nothing", "u", false, false))
	}
	if n := len(d.rejects); n < rejectsBurst || n >= rejectsBurst+50 {
		t.Errorf("%d are written down", n)
	}
	b, d = account(t, func(c *Config) { c.Terms.NoRejects = true }, "mine=ok")
	if _, _, _, _ = b.run(t, request("nothing", "u", false, false)); len(d.lines) > 0 {
		t.Errorf("disable_error_logs: %s", d.said())
	}
}

// Progress is written down every 256 tokens or second, no more often.
func TestProgress(t *testing.T) {
	now := int64(1)
	d := &diary{}
	g := &Gateway{now: func() int64 { return now }, journal: d, metrics: NewMetrics(nil)}
	x := &Exchange{g: g}
	x.spending.open = true
	s := &speech{}
	for i := range 4000 {
		s.said = int64(4 * i)
		now += int64(time.Millisecond)
		x.advance(s)
	}
	if n := len(d.lines); n < 14 || n > 16 {
		t.Errorf("%d: %s", n, d.said())
	}
}

// Tags: those of key and team always, a client's where it is believed.
func TestTags(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-plain", func(k *identity.Key) { k.Metadata = identity.Fields{"tags": json.RawMessage(`["of-key"]`)} })
	ring.add("sk-trusted", func(k *identity.Key) { k.Metadata = identity.Fields{"allow_client_tags": json.RawMessage("true")} })
	d := &diary{}
	keys := auth.New(auth.Config{MasterKey: master, Directory: directory(t, ring)})
	b := newBench(t, func(c *Config) {
		c.Keys, c.Journal = keys, d
		c.Terms = Terms{AgentTag: true, TagHeaders: []string{"X-Team-Cost"}}
	}, "mine=ok")
	body := `{"model":"mine","user":"u","messages":[],"tags":["a"],"metadata":{"tags":["b","a"]}}`
	set := func(x *Exchange) {
		x.Said = Said{Tags: []byte("c, a"), Agent: []byte("OpenAI/Python 1.2"), Session: []byte("s-1")}
		x.Lines = []byte("X-Other: 1\r\nx-team-cost: 42\r\n")
	}
	for _, c := range []struct{ key, want string }{
		{"sk-plain", "of-key X-Team-Cost: 42 User-Agent: OpenAI User-Agent: OpenAI/Python"},
		{"sk-trusted", "c a b X-Team-Cost: 42 User-Agent: OpenAI User-Agent: OpenAI/Python"},
		{master, "c a b X-Team-Cost: 42 User-Agent: OpenAI User-Agent: OpenAI/Python"},
	} {
		d.intents = nil
		if _, status, _ := b.call(t, c.key, body, set); status != 200 {
			t.Fatalf("%s: %d", c.key, status)
		}
		if got := strings.Join(d.intents[0].Tags, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.key, got, c.want)
		}
		if d.intents[0].Session != "s-1" || d.intents[0].Metadata != `{"tags":["b","a"]}` {
			t.Errorf("%+v", d.intents[0])
		}
		for _, a := range d.intents[0].Accounts {
			if a.Kind == bill.KindTag && strings.HasPrefix(a.ID, "User-Agent") {
				t.Errorf("charged to %s", a.ID)
			}
		}
	}
	b = newBench(t, func(c *Config) { c.Keys, c.Terms = keys, Terms{RejectTags: true} }, "mine=ok")
	if _, status, _ := b.call(t, "sk-trusted", body, nil); status != 400 {
		t.Errorf("reject_clientside_metadata_tags: %d", status)
	}
}

// Requests and answers are kept where the operator wants it, unless the client
// asks for less.
func TestBodies(t *testing.T) {
	keep := func(c *Config) { c.Terms.Keep = true }
	b, d := account(t, keep, "mine=ok")
	for _, stream := range []bool{false, true} {
		d.bodies = nil
		if _, _, _, e := b.run(t, request("mine", "u", stream, false)); e != nil {
			t.Fatal(e)
		}
		if len(d.bodies) != 1 || !strings.HasPrefix(d.bodies[0], `[{"role":"user","content":"hi"}] | {`) {
			t.Fatalf("%q", d.bodies)
		}
		_, response, _ := strings.Cut(d.bodies[0], " | ")
		response, _, _ = strings.Cut(response, " | ")
		var answer struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(response), &answer); err != nil || len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
			t.Errorf("%v: %s", err, response)
		}
	}
	d.bodies = nil
	if _, _, _, e := b.run(t, strings.Replace(request("mine", "u", false, false), "{", `{"no-log":true,`, 1)); e != nil || len(d.bodies) > 0 {
		t.Errorf("no-log: %v %q", e, d.bodies)
	}
	b, d = account(t, nil, "mine=ok")
	long := `{"x":"` + strings.Repeat("y", 2000) + `"}`
	if _, _, _, e := b.run(t, strings.Replace(request("mine", "u", false, false), "{", `{"metadata":`+long+`,`, 1)); e != nil {
		t.Fatal(e)
	}
	if len(d.bodies) != 1 || d.bodies[0] != " |  | "+long || d.intents[0].Metadata != "" {
		t.Errorf("metadata that is too long: %q", d.bodies)
	}
}

// A connection of the pool that dies under a request makes a second attempt.
func TestSecondTryIsAnAttemptOfItsOwn(t *testing.T) {
	d := &diary{}
	x := &Exchange{g: &Gateway{journal: d, now: func() int64 { return 0 }, metrics: NewMetrics(nil)}}
	x.spending.open, x.Attempts = true, 1
	if err := x.TryAgain(); err != nil {
		t.Fatal(err)
	}
	if d.said() != "settle 0 failure, intent 1 " || x.Attempts != 2 || !x.spending.open {
		t.Errorf("%s", d.said())
	}
}

// The prompt is estimated by its text, whatever is embedded in it.
func TestPromptTokens(t *testing.T) {
	for _, c := range []struct {
		name, text  string
		least, most int64
	}{
		{"four letters a token", strings.Repeat("word", 1000), 950, 1100},
		{"two bytes of other text", strings.Repeat("字", 1000), 1200, 1800},
		{"a picture", `{"url":"data:image/png;base64,` + strings.Repeat("A", 400_000) + `"}`, 1500, 1800},
		{"two sounds", strings.Repeat(`{"input_audio":{"data":"`+strings.Repeat("A", 40_000)+`"}}`, 2), 3100, 3400},
	} {
		if n := textTokens([]byte(c.text)); n < c.least || n > c.most {
			t.Errorf("%s: %d tokens", c.name, n)
		}
	}
}

// The price of each model behind a wildcard is its own.
func TestPricesBehindAWildcard(t *testing.T) {
	p, asked := dear(t), []string{}
	b, d := account(t, func(c *Config) {
		c.Models = []Model{{
			Name: "any/*", Retries: -1, Params: provider.Params{Model: "openai/*", Mock: ptr("hello")},
			PriceOf: func(t *provider.Target, model string) *price.Price {
				asked = append(asked, t.Provider+"/"+model)
				return p
			},
		}}
	})
	for range 2 {
		if _, _, _, e := b.run(t, request("any/gpt-x", "u", false, false)); e != nil {
			t.Fatal(e)
		}
	}
	if strings.Join(asked, " ") != "openai/gpt-x" || d.intents[0].Price != p.Version() || d.intents[0].ProviderModel != "gpt-x" {
		t.Errorf("asked for %q: %+v", asked, d.intents[0])
	}
}

func ptr[T any](v T) *T { return &v }
