// Package invoice reads what a provider charged from the provider's own report,
// day by day. It is read with a key of the organization's administration, which
// serves no model.
//
// Source: https://platform.openai.com/docs/api-reference/usage/costs
package invoice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/internal/env"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/upstream"
)

const (
	// OpenAI is the address of OpenAI's report for organizations in the United
	// States; those elsewhere have hosts of their own.
	OpenAI = "https://api.openai.com/v1/organization/costs"

	// MaxDays is how many days one report may have: what OpenAI gives in a page.
	MaxDays = 180

	within   = 8 * time.Second // all pages; below what a management call may take
	pages    = 50              // that are read; one is usual
	pageSize = 8 << 20         // bytes of a page
	saying   = 300             // bytes of a provider's message that are repeated
)

// Config says where a report is and who reads it.
type Config struct {
	Pools   *upstream.Pools
	Options upstream.Options
	URL     string     // "": OpenAI
	Key     env.Secret // sent as a bearer token
}

// Report is the costs report of one organization at OpenAI. It is safe for
// concurrent use.
type Report struct {
	to  *upstream.Endpoint
	key env.Secret
}

// New makes a report. It connects to nothing. Its errors repeat neither the
// address nor the key.
func New(c Config) (*Report, error) {
	if c.URL == "" {
		c.URL = OpenAI
	}
	c.Options.Credential = c.Key.Reveal()
	to, err := c.Pools.Endpoint(c.URL, c.Options)
	if err != nil {
		return nil, fmt.Errorf("the address of the costs report: %w", err)
	}
	return &Report{to: to, key: c.Key}, nil
}

// Error is a report that could not be read. Its text is for clients: it holds
// what the provider said, without what looks like a key.
type Error struct {
	Status  int    // of the provider's answer; 0: there was none
	Problem string // one sentence without an end
	Err     error  // for the log; may be nil
}

// Error is the sentence.
func (e *Error) Error() string { return e.Problem }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Days are the dollars that were charged on each day (UTC) from the first to the
// last one, both included, by their names (2026-11-21); days without a charge
// need not be there. With projects it is what these were charged. The error is
// an *Error.
func (r *Report) Days(ctx context.Context, first, last time.Time, projects []string) (map[string]money.Nano, error) {
	asked := url.Values{
		"start_time":   {strconv.FormatInt(first.Unix(), 10)},
		"end_time":     {strconv.FormatInt(last.AddDate(0, 0, 1).Unix(), 10)},
		"bucket_width": {"1d"},
		"limit":        {strconv.Itoa(MaxDays)},
	}
	if len(projects) > 0 {
		asked["project_ids[]"] = projects
	}
	out := map[string]money.Nano{}
	end := time.Now().Add(within)
	for range pages {
		text, err := r.get(ctx, asked, time.Until(end))
		if err != nil {
			return nil, err
		}
		next, err := add(out, text)
		if err != nil {
			return nil, err
		}
		if next == "" {
			return out, nil
		}
		if next == asked.Get("page") {
			break
		}
		asked.Set("page", next)
	}
	return nil, &Error{Status: 200, Problem: "the report has no end: its pages go on and on"}
}

// get reads one page.
func (r *Report) get(ctx context.Context, asked url.Values, left time.Duration) ([]byte, error) {
	if left <= 0 {
		return nil, &Error{Problem: "it took longer than " + within.String(), Err: context.DeadlineExceeded}
	}
	var h upstream.Handle
	defer context.AfterFunc(ctx, func() { h.Cancel(context.Cause(ctx)) })()
	resp, err := r.to.Do(&upstream.Call{
		Method: "GET", Path: r.to.BasePath() + "?" + asked.Encode(),
		Header:   []llm.Field{{Name: []byte("Authorization"), Value: []byte("Bearer " + r.key.Reveal())}},
		Timeouts: upstream.Timeouts{Total: left},
	}, &h)
	if err != nil {
		return nil, unreachable(err)
	}
	defer resp.Close()
	text, err := resp.ReadAll(nil, pageSize, nil)
	if err != nil {
		return nil, unreachable(err)
	}
	if resp.Status != 200 {
		return nil, refused(resp.Status, text)
	}
	return text, nil
}

// unreachable is a call that brought no whole answer. What the connection said
// may hold addresses: it is for the log.
func unreachable(err error) *Error {
	problem := "it could not be reached"
	var e *upstream.Error
	if errors.As(err, &e) {
		switch {
		case e.Timeout:
			problem = "it did not answer in time"
		case e.Phase >= upstream.PhaseFirstByte:
			problem = "its answer broke off or is none"
		}
		problem += " (" + e.Phase.String() + ")"
	}
	return &Error{Problem: problem, Err: err}
}

// refused is an answer with another status than 200.
func refused(status int, text []byte) *Error {
	e := &Error{Status: status, Problem: "HTTP " + strconv.Itoa(status)}
	var doc struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &doc) == nil && doc.Error.Message != "" {
		e.Problem += ": " + masked(doc.Error.Message)
	}
	return e
}

// masked is a provider's message as far as it is repeated: one line, and no word
// that holds a key. Providers repeat keys that they do not know, in part.
func masked(message string) string {
	words := strings.Fields(message)
	size := 0
	for i, w := range words {
		if strings.Contains(w, "sk-") || strings.Contains(w, "***") {
			words[i] = "…"
		}
		if size += len(words[i]) + 1; size > saying {
			return strings.ToValidUTF8(strings.Join(words[:i], " ")+" …", "")
		}
	}
	return strings.Join(words, " ")
}

// page is the part of an answer that is read.
type page struct {
	Data []struct {
		Start   int64 `json:"start_time"`
		Results []struct {
			Amount struct {
				Value    json.RawMessage `json:"value"` // a number, or its text
				Currency string          `json:"currency"`
			} `json:"amount"`
		} `json:"results"`
	} `json:"data"`
	More bool   `json:"has_more"`
	Next string `json:"next_page"`
}

// add adds the amounts of a page to days, and returns the name of the next one.
func add(days map[string]money.Nano, text []byte) (next string, err error) {
	var p page
	if err := json.Unmarshal(text, &p); err != nil {
		return "", &Error{Status: 200, Problem: "its answer is no report of costs", Err: err}
	}
	if p.Data == nil {
		return "", &Error{Status: 200, Problem: "its answer is no report of costs"}
	}
	for _, bucket := range p.Data {
		day := time.Unix(bucket.Start, 0).UTC().Format(time.DateOnly)
		for _, r := range bucket.Results {
			if !strings.EqualFold(r.Amount.Currency, "usd") {
				return "", &Error{Status: 200, Problem: "it has an amount that is not in US dollars"}
			}
			amount, err := money.Parse(plain(r.Amount.Value))
			if err != nil {
				return "", &Error{Status: 200, Problem: "it has an amount that is no number of dollars", Err: err}
			}
			if days[day], err = sum(days[day], amount); err != nil {
				return "", &Error{Status: 200, Problem: "its amounts are too large", Err: err}
			}
		}
	}
	if p.More {
		next = p.Next
	}
	return next, nil
}

// plain is the text of a number, without quotes, and as much of it as can matter:
// OpenAI writes dozens of digits.
func plain(value json.RawMessage) string {
	text := string(bytes.Trim(value, `"`))
	if point := strings.IndexByte(text, '.'); point >= 0 && !strings.ContainsAny(text, "eE") && len(text) > point+20 {
		text = text[:point+20]
	}
	return text
}

func sum(a, b money.Nano) (money.Nano, error) {
	if c := a + b; (c > a) == (b > 0) || b == 0 {
		return c, nil
	}
	return 0, money.ErrRange
}
