// Package sdk drives the fake provider, and the appliance before it, with the
// SDKs that applications use. It is a module of its own so that their
// dependencies stay out of the product's.
package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/fakeprovider"
)

func client(p *fakeprovider.Provider, script string) openai.Client {
	return openai.NewClient(option.WithBaseURL(p.URL(script)), option.WithAPIKey("sk-fake"), option.WithMaxRetries(0))
}

func question(user string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    "gpt-4o-mini",
		User:     openai.String(user),
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(`say "model": "x"`)},
	}
}

func TestWhole(t *testing.T) {
	p := fakeprovider.Start(t)
	c := client(p, "ok,body=2000")
	for i := range 50 {
		user := fmt.Sprintf("whole-%d", i)
		got, err := c.Chat.Completions.New(t.Context(), question(user))
		if err != nil {
			t.Fatal(err)
		}
		entries := p.Ledger().Of(user)
		if len(entries) != 1 {
			t.Fatalf("%s: %d entries", user, len(entries))
		}
		said := entries[0].Tokens
		if got.Model != fakeprovider.Model || got.Choices[0].FinishReason != "stop" || got.Choices[0].Message.Content == "" ||
			got.Usage.PromptTokens != said.Prompt || got.Usage.CompletionTokens != said.Completion || got.Usage.TotalTokens != said.Prompt+said.Completion {
			t.Errorf("%s: %s; ledger %+v", user, got.RawJSON(), said)
		}
	}
}

func TestStream(t *testing.T) {
	p := fakeprovider.Start(t)
	tests := []struct {
		script string
		usage  bool
	}{
		{"ok,n=30,size=1-60", false},
		{"ok,n=30,size=1-60", true},
		{"ok,n=5,every=1ms,null=1", true},
		{"odd,n=9", true},
		{"odd,kind=comment", true},
		{"odd,kind=nospace", true},
		{"odd,kind=split", false},
	}
	for i, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			user := fmt.Sprintf("stream-%d", i)
			q := question(user)
			if tt.usage {
				q.StreamOptions.IncludeUsage = openai.Bool(true)
			}
			c := client(p, tt.script)
			s := c.Chat.Completions.NewStreaming(t.Context(), q)
			var acc openai.ChatCompletionAccumulator
			chunks := 0
			for s.Next() {
				acc.AddChunk(s.Current())
				chunks++
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			script, err := fakeprovider.ParseScript(tt.script)
			if err != nil {
				t.Fatal(err)
			}
			if want := script.Shape.Chunks(user, tt.usage) - 1; chunks != want {
				t.Errorf("%d chunks, want %d", chunks, want)
			}
			if acc.Choices[0].FinishReason != "stop" || acc.Choices[0].Message.Content != content(t, script.Shape, user) {
				t.Errorf("got %q", acc.Choices[0].Message.Content)
			}
			if want := script.Shape.Tokens(user, true); tt.usage && (acc.Usage.CompletionTokens != want.Completion || acc.Usage.PromptTokens != want.Prompt) {
				t.Errorf("usage %+v, want %+v", acc.Usage, want)
			}
		})
	}
}

// content puts together what the stream should say.
func content(t *testing.T, shape fakeprovider.Shape, user string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.SplitSeq(string(shape.Stream(user, fakeprovider.Model, false)), "\n\n") {
		data, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		var chunk struct {
			Choices []struct{ Delta struct{ Content string } }
		}
		if err := json.Unmarshal([]byte("{"+data), &chunk); err != nil {
			t.Fatal(err)
		}
		all.WriteString(chunk.Choices[0].Delta.Content)
	}
	return all.String()
}

func TestErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	tests := []struct {
		script string
		status int
		code   string
	}{
		{"s429,retry=7", 429, "rate_limit_exceeded"},
		{"s500", 500, ""},
		{"s401", 401, "invalid_api_key"},
		{"ctx", 400, "context_length_exceeded"},
		{"policy", 400, "content_policy_violation"},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			c := client(p, tt.script)
			_, err := c.Chat.Completions.New(t.Context(), question("errors"))
			var api *openai.Error
			if !errors.As(err, &api) {
				t.Fatalf("got %v", err)
			}
			if api.StatusCode != tt.status || api.Code != tt.code || api.Message == "" {
				t.Errorf("got %d %q %q", api.StatusCode, api.Code, api.Message)
			}
		})
	}
}

func TestBrokenStreams(t *testing.T) {
	p := fakeprovider.Start(t)
	for _, script := range []string{"cut,at=700", "errfirst", "errlater"} {
		t.Run(script, func(t *testing.T) {
			c := client(p, script)
			s := c.Chat.Completions.NewStreaming(t.Context(), question("broken"))
			for s.Next() {
				continue
			}
			if s.Err() == nil {
				t.Error("the stream ended well")
			}
		})
	}
}
