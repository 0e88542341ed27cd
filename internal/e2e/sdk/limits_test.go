package sdk

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/e2e"
	"sluice/internal/fakeprovider"
)

// priced boots the programs before a provider whose answers cost a cent.
func priced(t *testing.T, p *fakeprovider.Provider) *e2e.Appliance {
	t.Helper()
	config := fmt.Sprintf(`model_list:
  - {model_name: cent, litellm_params: {model: openai/x, api_key: sk-upstream, api_base: %q, input_cost_per_token: 0, output_cost_per_token: 0.00005}}
general_settings: {master_key: %s}
router_settings: {num_retries: 0}
`, p.URL("ok,body=1000,n=200,size=4"), e2e.MasterKey)
	return e2e.Boot(t, e2e.Options{Config: config, Env: map[string]string{"LITELLM_LOG": "WARNING"}})
}

// capped is a question whose answer can cost a cent at most.
func capped(user string) openai.ChatCompletionNewParams {
	q := ask("cent", user)
	q.MaxTokens = openai.Int(200)
	return q
}

// limitError is a refusal as a program sees it: a rate limit error that says
// until when.
func limitError(t *testing.T, err error) *openai.Error {
	t.Helper()
	var api *openai.Error
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want an error of the API", err)
	}
	if api.StatusCode != http.StatusTooManyRequests || api.Message == "" || api.Response.Header.Get("x-litellm-call-id") == "" {
		t.Errorf("got %d %q %q %v", api.StatusCode, api.Type, api.Message, api.Response.Header)
	}
	return api
}

// TestLimitErrors: over a limit the SDK sees a rate limit error whose
// Retry-After holds: with retries it waits that long, and succeeds.
func TestLimitErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	a := priced(t, p)
	_, key := keyed(t, a, map[string]any{"rpm_limit": 60})
	once := through(a, option.WithAPIKey(key), option.WithMaxRetries(0))
	var err error
	for i := 0; i < 70 && err == nil; i++ {
		err = failed(t.Context(), once, capped(fmt.Sprint("limit-", i)), i%2 == 1)
	}
	api := limitError(t, err)
	if retry := api.Response.Header.Get("Retry-After"); retry != "1" || !strings.Contains(api.Message, "Rate limit exceeded for api_key") {
		t.Errorf("Retry-After %q: %s", retry, api.Message)
	}
	for _, stream := range []bool{false, true} {
		began, user := time.Now(), fmt.Sprint("waits-", stream)
		for failed(t.Context(), once, capped("used up"), false) == nil {
			continue // what has come back meanwhile
		}
		if err := failed(t.Context(), through(a, option.WithAPIKey(key), option.WithMaxRetries(4)), capped(user), stream); err != nil {
			t.Errorf("stream %v: with retries: %v", stream, err)
		}
		if took, n := time.Since(began), len(p.Ledger().Of(user)); n != 1 || took > 10*time.Second {
			t.Errorf("stream %v: %d calls at the provider after %v", stream, n, took)
		}
	}
}

// TestBudgetErrors: a used up budget is an error that a program can tell from a
// limit, and no call reaches the provider.
func TestBudgetErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	a := priced(t, p)
	_, key := keyed(t, a, map[string]any{"max_budget": 0.05})
	c := through(a, option.WithAPIKey(key), option.WithMaxRetries(0))
	var err error
	good := 0
	for ; good < 10; good++ {
		if err = failed(t.Context(), c, capped("budget"), good%2 == 1); err != nil {
			break
		}
	}
	if n := len(p.Ledger().Of("budget")); good != 5 || n != 5 {
		t.Errorf("%d calls of a cent succeeded on 0.05 $, %d reached the provider", good, n)
	}
	if api := limitError(t, err); api.Type != "budget_exceeded" || !strings.Contains(api.Message, "Budget has been exceeded") {
		t.Errorf("type %q: %s", api.Type, api.Message)
	}
	limitError(t, failed(t.Context(), c, capped("budget"), true))
}

// TestParallelErrors: over the parallel limit likewise.
func TestParallelErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	a := appliance(t, p, "ok,n=100,every=30ms")
	_, key := keyed(t, a, map[string]any{"max_parallel_requests": 1})
	c := through(a, option.WithAPIKey(key), option.WithMaxRetries(0))
	s := c.Chat.Completions.NewStreaming(t.Context(), ask("ok,n=100,every=30ms", "first"))
	if !s.Next() {
		t.Fatal(s.Err())
	}
	api := limitError(t, failed(t.Context(), c, ask("ok,n=100,every=30ms", "second"), false))
	if !strings.Contains(api.Message, "max_parallel_requests") {
		t.Errorf("%s", api.Message)
	}
	for s.Next() {
		continue
	}
	if err := s.Err(); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := failed(t.Context(), c, ask("ok,n=100,every=30ms", "third"), true); err != nil {
		t.Errorf("after the first: %v", err)
	}
}
