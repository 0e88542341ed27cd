package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/e2e"
	"sluice/internal/fakeprovider"
)

// appliance boots the programs before a fake provider: a model for each script.
func appliance(t *testing.T, p *fakeprovider.Provider, scripts ...string) *e2e.Appliance {
	t.Helper()
	var b strings.Builder
	b.WriteString("model_list:\n")
	for _, s := range scripts {
		timeout := ""
		if s == "hang" {
			timeout = ", timeout: 1"
		}
		fmt.Fprintf(&b, "  - {model_name: %q, litellm_params: {model: openai/gpt-4o, api_key: sk-upstream, api_base: %q%s}}\n", s, p.URL(s), timeout)
	}
	fmt.Fprintf(&b, "general_settings: {master_key: %s}\nrouter_settings: {num_retries: 0}\n", e2e.MasterKey)
	return e2e.Boot(t, e2e.Options{Config: b.String(), Env: map[string]string{"LITELLM_LOG": "WARNING"}})
}

func through(a *e2e.Appliance, o ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(a.URL() + "/v1"), option.WithAPIKey(e2e.MasterKey), option.WithMaxRetries(0),
	}, o...)...)
}

func ask(model, user string) openai.ChatCompletionNewParams {
	q := question(user)
	q.Model = model
	return q
}

func TestApplianceWhole(t *testing.T) {
	p := fakeprovider.Start(t)
	c := through(appliance(t, p, "ok", "ok,body=200000"))
	for i := range 40 {
		user, model := fmt.Sprintf("whole-%d", i), []string{"ok", "ok,body=200000"}[i%2]
		var raw *http.Response
		got, err := c.Chat.Completions.New(t.Context(), ask(model, user), option.WithResponseInto(&raw))
		if err != nil {
			t.Fatal(err)
		}
		said := p.Ledger().Of(user)[0].Tokens
		if got.Model != model || got.Choices[0].FinishReason != "stop" || got.Choices[0].Message.Content == "" ||
			got.Usage.PromptTokens != said.Prompt || got.Usage.CompletionTokens != said.Completion || raw.Header.Get("x-request-id") == "" {
			t.Errorf("%s: %s; ledger %+v", user, got.RawJSON(), said)
		}
	}
	models, err := c.Models.List(t.Context())
	if err != nil || len(models.Data) != 2 || models.Data[0].ID == "" {
		t.Errorf("models: %v %+v", err, models)
	}
	model, err := c.Models.Get(t.Context(), "ok")
	if err != nil || model.ID != "ok" {
		t.Errorf("model: %v %+v", err, model)
	}
}

func TestApplianceStream(t *testing.T) {
	p := fakeprovider.Start(t)
	scripts := []string{
		"ok,n=30,size=1-60", "ok,n=5,every=1ms,null=1", "odd,n=9", "odd,kind=comment", "odd,kind=nospace", "odd,kind=split", "odd,kind=bom", "odd,kind=event",
	}
	c := through(appliance(t, p, scripts...))
	for _, s := range scripts {
		for _, usage := range []bool{false, true} {
			user := fmt.Sprintf("stream-%s-%v", s, usage)
			q := ask(s, user)
			if usage {
				q.StreamOptions.IncludeUsage = openai.Bool(true)
			}
			stream := c.Chat.Completions.NewStreaming(t.Context(), q)
			var acc openai.ChatCompletionAccumulator
			for stream.Next() {
				chunk := stream.Current()
				if chunk.Model != s {
					t.Errorf("%s: model %q", user, chunk.Model)
				}
				acc.AddChunk(chunk)
			}
			script, err := fakeprovider.ParseScript(s)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Err(); err != nil || acc.Choices[0].FinishReason != "stop" || acc.Choices[0].Message.Content != content(t, script.Shape, user) {
				t.Errorf("%s: %v %+v", user, err, acc)
			}
			want := int64(0)
			if usage {
				want = script.Shape.Tokens(user, true).Completion
			}
			if acc.Usage.CompletionTokens != want {
				t.Errorf("%s: %d completion tokens, want %d", user, acc.Usage.CompletionTokens, want)
			}
		}
	}
}

// TestApplianceErrors: the SDK's typed error, with status, code and what a
// client decides by in the headers.
func TestApplianceErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	tests := []struct {
		script, code, retry string
		status              int
	}{
		{"s429,retry=7", "rate_limit_exceeded", "7", 429},
		{"s500", "500", "", 500},
		{"s503", "overloaded", "", 503},
		{"s401", "401", "", 401},
		{"ctx", "context_length_exceeded", "", 400},
		{"policy", "content_policy_violation", "", 400},
		{"hang", "408", "", 408},
		{"html200", "500", "", 500},
	}
	var scripts []string
	for _, tt := range tests {
		scripts = append(scripts, tt.script)
	}
	a := appliance(t, p, scripts...)
	c := through(a)
	for _, tt := range tests {
		for _, stream := range []bool{false, true} {
			err := failed(t.Context(), c, ask(tt.script, "errors"), stream)
			var api *openai.Error
			if !errors.As(err, &api) {
				t.Errorf("%s, stream %v: got %v", tt.script, stream, err)
				continue
			}
			if api.StatusCode != tt.status || api.Code != tt.code || api.Message == "" || api.Response.Header.Get("Retry-After") != tt.retry ||
				api.Response.Header.Get("x-request-id") == "" || api.Response.Header.Get("x-litellm-call-id") == "" {
				t.Errorf("%s, stream %v: got %d %q %q %v", tt.script, stream, api.StatusCode, api.Code, api.Message, api.Response.Header)
			}
		}
	}
	for key, typ := range map[string]string{"sk-wrong": "token_not_found_in_db", "wrong": "auth_error"} {
		var api *openai.Error
		err := failed(t.Context(), through(a, option.WithAPIKey(key)), ask("s500", "key"), false)
		if !errors.As(err, &api) || api.StatusCode != 401 || api.Type != typ {
			t.Errorf("key %s: %v", key, err)
		}
	}
	var api *openai.Error
	if err := failed(t.Context(), c, ask("nope", "model"), false); !errors.As(err, &api) || api.StatusCode != 400 {
		t.Errorf("unknown model: %v", err)
	}
}

func failed(ctx context.Context, c openai.Client, q openai.ChatCompletionNewParams, stream bool) error {
	if !stream {
		_, err := c.Chat.Completions.New(ctx, q)
		return err
	}
	s := c.Chat.Completions.NewStreaming(ctx, q)
	for s.Next() {
		continue
	}
	return s.Err()
}

// TestApplianceRetries: the SDK waits as long as it is told and tries again.
func TestApplianceRetries(t *testing.T) {
	p := fakeprovider.Start(t)
	c := through(appliance(t, p, "first,n=1/s429,retry=1"), option.WithMaxRetries(2))
	began := time.Now()
	got, err := c.Chat.Completions.New(t.Context(), ask("first,n=1/s429,retry=1", "again"))
	if err != nil || got.Choices[0].Message.Content == "" {
		t.Fatal(err)
	}
	if took, n := time.Since(began), len(p.Ledger().Of("again")); n != 2 || took < 900*time.Millisecond || took > 4*time.Second {
		t.Errorf("%d attempts in %v", n, took)
	}
}

// TestApplianceBrokenStreams: a stream that does not end well is an error to
// the SDK, not a short answer.
func TestApplianceBrokenStreams(t *testing.T) {
	p := fakeprovider.Start(t)
	scripts := []string{"cut,at=700", "cut,at=700,rst=1", "nodone", "errfirst", "errlater"}
	c := through(appliance(t, p, scripts...))
	for _, s := range scripts {
		if err := failed(t.Context(), c, ask(s, "broken"), true); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestApplianceHangUp: a client that leaves a stream ends the provider's call.
func TestApplianceHangUp(t *testing.T) {
	p := fakeprovider.Start(t)
	c := through(appliance(t, p, "ok,n=1000,every=10ms"))
	ctx, cancel := context.WithCancel(t.Context())
	s := c.Chat.Completions.NewStreaming(ctx, ask("ok,n=1000,every=10ms", "leaver"))
	if !s.Next() {
		t.Fatal(s.Err())
	}
	left := time.Now()
	cancel()
	_ = s.Close()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if e := p.Ledger().Of("leaver"); len(e) == 1 && e[0].Cancelled {
			if after := e[0].Gone.Sub(left); after > time.Second {
				t.Errorf("the provider's call ended after %v", after)
			}
			return
		}
	}
	t.Error("the provider's call goes on")
}
