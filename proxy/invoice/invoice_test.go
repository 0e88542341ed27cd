package invoice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/env"
	"sluice/internal/fakeprovider"
	"sluice/proxy/money"
	"sluice/proxy/upstream"
)

// report is the costs report of a fake provider, through a script.
func report(t *testing.T, p *fakeprovider.Provider, script, key string) *Report {
	t.Helper()
	pools := upstream.NewPools(upstream.Settings{})
	t.Cleanup(pools.Close)
	r, err := New(Config{Pools: pools, URL: p.URL(script) + "/organization/costs", Key: env.Secret(key)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

func TestDays(t *testing.T) {
	p := fakeprovider.Start(t)
	p.Charge(
		fakeprovider.Charge{Day: "2026-11-09", Project: "a", Amount: "99"},
		fakeprovider.Charge{Day: "2026-11-10", Project: "a", Amount: "0.06"},
		fakeprovider.Charge{Day: "2026-11-10", Project: "b", Amount: "0.1308670000000000000000000000000000000000000000000000000000000000000000"},
		fakeprovider.Charge{Day: "2026-11-12", Project: "a", Amount: `"1.000000001"`},
		fakeprovider.Charge{Day: "2026-11-12", Project: "a", Amount: "-0.5"},
		fakeprovider.Charge{Day: "2026-11-12", Project: "c", Amount: "1e-3"},
		fakeprovider.Charge{Day: "2026-11-13", Project: "a", Amount: "99"},
	)
	for _, script := range []string{"", "ok,page=1", "ok,page=2"} {
		r := report(t, p, script, fakeprovider.AdminKey)
		for _, c := range []struct {
			projects []string
			want     map[string]money.Nano
		}{
			{nil, map[string]money.Nano{"2026-11-10": 190_867_000, "2026-11-12": 501_000_001}},
			{[]string{"b", "c"}, map[string]money.Nano{"2026-11-10": 130_867_000, "2026-11-12": 1_000_000}},
		} {
			got, err := r.Days(t.Context(), day(10), day(12), c.projects)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%q, projects %v: %v, %v; not %v", script, c.projects, got, err, c.want)
			}
		}
	}
}

// TestRefusals: what cannot be read is said in a sentence that repeats no key,
// and is never taken for a bill of nothing.
func TestRefusals(t *testing.T) {
	p := fakeprovider.Start(t)
	for _, c := range []struct {
		script, key string
		status      int
		want        string
	}{
		{"", "sk-admin-another-0123456789", 401, "HTTP 401: Incorrect API key provided: … You can find your API key at https://platform.openai.com/account/api-keys."},
		{"s429", fakeprovider.AdminKey, 429, "HTTP 429: Rate limit reached for requests."},
		{"s500", fakeprovider.AdminKey, 500, "HTTP 500: The server had an error while processing your request."},
		{"html200", fakeprovider.AdminKey, 200, "its answer is no report of costs"},
		{"garbage", fakeprovider.AdminKey, 200, "its answer is no report of costs"},
		{"drop", fakeprovider.AdminKey, 0, "its answer broke off or is none (firstbyte)"},
		{"nothttp", fakeprovider.AdminKey, 0, "its answer broke off or is none (header)"},
		{"redirect", fakeprovider.AdminKey, 307, "HTTP 307"},
	} {
		got, err := report(t, p, c.script, c.key).Days(t.Context(), day(10), day(12), nil)
		var e *Error
		if !errors.As(err, &e) || e.Status != c.status || e.Error() != c.want || got != nil {
			t.Errorf("%q: %v, %#v", c.script, got, err)
		}
		if text := fmt.Sprintf("%v %+v %v", err, err, errors.Unwrap(err)); strings.Contains(text, "sk-") {
			t.Errorf("%q: a key is in %s", c.script, text)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := report(t, p, "hang", fakeprovider.AdminKey).Days(ctx, day(10), day(12), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a report that hangs: %v", err)
	}
	p.Close()
	if _, err := report(t, p, "", fakeprovider.AdminKey).Days(t.Context(), day(10), day(12), nil); err == nil || err.Error() != "it could not be reached (dial)" {
		t.Errorf("nobody there: %v", err)
	}
}

func TestPages(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:            "its answer is no report of costs",
		`{"data":null}`: "its answer is no report of costs",
		`[]`:            "its answer is no report of costs",
		`{"data":[{"start_time":0,"results":[{"amount":{"value":1,"currency":"eur"}}]}]}`:                                             "it has an amount that is not in US dollars",
		`{"data":[{"start_time":0,"results":[{}]}]}`:                                                                                  "it has an amount that is not in US dollars",
		`{"data":[{"start_time":0,"results":[{"amount":{"value":null,"currency":"usd"}}]}]}`:                                          "it has an amount that is no number of dollars",
		`{"data":[{"start_time":0,"results":[{"amount":{"value":"one","currency":"usd"}}]}]}`:                                         "it has an amount that is no number of dollars",
		`{"data":[{"start_time":0,"results":[{"amount":{"value":9e9,"currency":"usd"}},{"amount":{"value":9e9,"currency":"usd"}}]}]}`: "its amounts are too large",
		`{"data":[]}`: "<nil>",
		`{"data":[{"start_time":0,"results":[]}],"has_more":false,"next_page":"x"}`: "<nil>",
	} {
		days := map[string]money.Nano{}
		next, err := add(days, []byte(text))
		if fmt.Sprint(err) != want || next != "" || len(days) > 1 {
			t.Errorf("%s: %v %v %q", text, days, err, next)
		}
	}
}

// TestNew: the address is checked and not repeated.
func TestNew(t *testing.T) {
	pools := upstream.NewPools(upstream.Settings{})
	defer pools.Close()
	for _, at := range []string{"ftp://x/y", "https://user:hidden@x/y", "https://x/y?hidden=1", "hidden"} {
		if _, err := New(Config{Pools: pools, URL: at}); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", at, err)
		}
	}
	if r, err := New(Config{Pools: pools}); err != nil || r.to.Host() != "api.openai.com" || r.to.BasePath() != "/v1/organization/costs" {
		t.Errorf("%v %v", r, err)
	}
}
