package gateway

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
)

// TestAskedMocks: a mock in the request counts only where the operator allows
// it, and of an administrator alone.
func TestAskedMocks(t *testing.T) {
	for _, c := range []struct {
		name  string
		allow bool
		role  identity.Role
		want  bool
	}{
		{"not allowed", false, identity.RoleProxyAdmin, false},
		{"allowed", true, identity.RoleProxyAdmin, true},
		{"allowed, of another", true, identity.RoleInternalUser, false},
	} {
		b := newBench(t, func(g *Config) { g.AllowMock = c.allow }, "m=ok")
		x := b.exchange(t, request("m", "am", false, false))
		x.Caller.Role, x.Request.Mock = c.role, []byte("mocked, it is")
		a, e := b.Do(x)
		if e != nil {
			t.Fatal(c.name, e)
		}
		mocked := false
		for _, piece := range a.Body {
			mocked = mocked || strings.Contains(string(piece), "mocked, it is")
		}
		x.Settle()
		if mocked != c.want || len(b.fake.Ledger().Of("am")) == 1 == c.want {
			t.Errorf("%s: mocked %v", c.name, mocked)
		}

		x = b.exchange(t, request("m", "am2", false, false))
		x.Caller.Role, x.Request.Test = c.role, llm.MockTest{Fail: true, Kind: llm.KindRateLimit}
		_, e = b.Do(x)
		x.Settle()
		if failed := e != nil && e.HTTPStatus() == 429; failed != c.want {
			t.Errorf("%s: failed %v, %v", c.name, failed, e)
		}
	}
}

func TestMockFailures(t *testing.T) {
	b := newBench(t, func(g *Config) { g.AllowMock = true }, "m=ok")
	for kind, want := range map[llm.Kind]struct {
		status int
		class  string
		code   string
	}{
		llm.KindUpstream:      {500, "litellm.InternalServerError", "500"},
		llm.KindRateLimit:     {429, "litellm.RateLimitError", "429"},
		llm.KindContextWindow: {400, "litellm.ContextWindowExceededError", "context_length_exceeded"},
		llm.KindContentPolicy: {400, "litellm.ContentPolicyViolationError", "content_policy_violation"},
	} {
		x := b.exchange(t, request("m", "mf", false, false))
		x.Request.Test = llm.MockTest{Fail: true, Kind: kind}
		_, e := b.Do(x)
		x.Settle()
		if e == nil || e.HTTPStatus() != want.status || !strings.HasPrefix(e.Message, want.class+":") || e.CodeText() != want.code {
			t.Errorf("%v: %v", kind, e)
		}
	}
	if len(b.fake.Ledger().Of("mf")) != 0 {
		t.Error("a provider was called")
	}
}

func TestMockWaits(t *testing.T) {
	text := "slow"
	const short, long = 40 * time.Millisecond, 200 * time.Millisecond
	b := newBench(t, func(g *Config) {
		g.AllowMock = true
		mock := provider.Params{Model: "openai/x", Mock: &text}
		slow := mock
		slow.MockDelay = short
		g.Models = append(g.Models,
			Model{Name: "mock", Timeout: long, StreamTimeout: short, Params: mock},
			Model{Name: "slow", Timeout: long, Params: slow},
			Model{Name: "late", Timeout: short, Params: slow},
		)
		g.Models[0].Timeout = short
		g.Models[0].Retries = 0
	}, "real=ok")
	for _, c := range []struct {
		name, model string
		test        llm.MockTest
		stream      bool
		waits       time.Duration
		status      int
	}{
		{"of the request", "mock", llm.MockTest{Delay: short}, false, short, 200},
		{"of the deployment", "slow", llm.MockTest{}, false, short, 200},
		{"beyond the timeout", "mock", llm.MockTest{Delay: time.Hour}, false, long, 408},
		{"to the first event", "mock", llm.MockTest{Delay: time.Hour}, true, short, 408},
		{"as long as a call", "mock", llm.MockTest{Timeout: true}, false, long, 408},
		{"in place of a provider", "real", llm.MockTest{Timeout: true}, false, short, 408},
	} {
		x := b.exchange(t, request(c.model, "mw", c.stream, false))
		x.Request.Test = c.test
		start := time.Now()
		_, e := b.Do(x)
		took := time.Since(start)
		x.Settle()
		if x.Status != c.status || took < c.waits || took > c.waits+2*time.Second {
			t.Errorf("%s: status %d after %v, %v", c.name, x.Status, took, e)
		}
	}
	x := b.exchange(t, request("mock", "mw", false, false))
	x.Request.Test.Timeout = true
	time.AfterFunc(10*time.Millisecond, func() { x.Cancel(CauseClientGone) })
	if _, e := b.Do(x); e == nil || e.Kind != llm.KindClientGone {
		t.Errorf("a client that left: %v", e)
	}
	x.Settle()
	if len(b.fake.Ledger().Of("mw")) != 0 {
		t.Error("a provider was called")
	}
}
