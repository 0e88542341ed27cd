package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// Bill is what one provider charged, as the provider itself reports it.
type Bill interface {
	// Days are the dollars of each day (UTC) from the first to the last one, both
	// included, by their names (2026-11-21); with projects, what these were
	// charged. The text of an error is a sentence for the caller, without secrets.
	Days(ctx context.Context, first, last time.Time, projects []string) (map[string]money.Nano, error)
}

// Biller is a provider whose bill can be read.
type Biller struct {
	Providers []string // whose calls are on the bill, as rows of spend name them
	Variable  string   // that holds the key to read it
	Bill      Bill     // nil: the variable is not set
}

const (
	captureDays      = 180 // that a report may have, as LiteLLM's
	captureThreshold = 0.9 // under which a rate is low, as LiteLLM's
)

// captureDay is a day of a captureReport.
type captureDay struct {
	Date     string     `json:"date"`
	Captured money.Nano `json:"captured_spend"`
	Billed   money.Nano `json:"provider_spend"`
	Rate     *float64   `json:"capture_rate"` // nil: nothing was billed
}

// captureReport says which part of a bill is of calls that went through here.
type captureReport struct {
	Provider  string       `json:"provider"`
	First     string       `json:"start_date"`
	Last      string       `json:"end_date"`
	Captured  money.Nano   `json:"captured_spend"`
	Billed    money.Nano   `json:"provider_spend"`
	Rate      *float64     `json:"capture_rate"`
	Threshold float64      `json:"threshold"`
	Below     bool         `json:"below_threshold"`
	Days      []captureDay `json:"days"` // each one that was asked for, the first one first
}

// captureRate is what was recorded beside what was billed, day by day. Shape,
// bounds and statuses are LiteLLM's.
func (a *API) captureRate(c *Call) (any, *llm.Error) {
	first, last, threshold, e := c.captured()
	if e != nil {
		return nil, e
	}
	name := c.Arg("provider")
	if name == "" {
		name = "openai"
	}
	b := a.c.Billers[name]
	if b.Bill == nil {
		return nil, detailError(503, fmt.Sprintf("%s is not set, so that the bill of %s cannot be read: give the gateway an admin key of the organization in it.", b.Variable, name))
	}
	billed, err := b.Bill.Days(c.Ctx, first, last, c.Args("project_ids"))
	if err != nil {
		a.c.Log.Warn("bill of a provider could not be read", slog.String("provider", name), slog.String("problem", err.Error()), slog.Any("error", errors.Unwrap(err)))
		return nil, detailError(502, fmt.Sprintf("The bill of %s could not be read: %s.", name, strings.TrimSuffix(err.Error(), ".")))
	}
	found, e := a.sums(c, store.DailyFilter{
		From: first.Format(time.DateOnly), To: last.Format(time.DateOnly), By: []string{store.ByDay, store.ByProvider},
	})
	if e != nil {
		return nil, e
	}
	captured := map[string]money.Nano{}
	for i := range found {
		if slices.Contains(b.Providers, found[i].Provider) {
			captured[found[i].Day] += found[i].Spend
		}
	}
	out := captureReport{Provider: name, First: first.Format(time.DateOnly), Last: last.Format(time.DateOnly), Threshold: threshold}
	for at := first; !at.After(last); at = at.AddDate(0, 0, 1) {
		day := captureDay{Date: at.Format(time.DateOnly)}
		day.Captured, day.Billed = captured[day.Date], billed[day.Date]
		day.Rate = rate(day.Captured, day.Billed)
		out.Captured, out.Billed, out.Days = out.Captured+day.Captured, out.Billed+day.Billed, append(out.Days, day)
	}
	out.Rate = rate(out.Captured, out.Billed)
	out.Below = out.Rate != nil && *out.Rate < threshold
	return out, nil
}

// rate is the part of a bill that was recorded; nil where nothing was billed.
func rate(captured, billed money.Nano) *float64 {
	if billed <= 0 {
		return nil
	}
	r := float64(captured) / float64(billed)
	return &r
}

// captured reads the days, both included, and the threshold.
func (c *Call) captured() (first, last time.Time, threshold float64, e *llm.Error) {
	var wrong []Violation
	for _, d := range []struct {
		name string
		at   *time.Time
	}{{"start_date", &first}, {"end_date", &last}} {
		var err error
		if *d.at, err = time.Parse(time.DateOnly, strings.TrimSpace(c.Arg(d.name))); err != nil || d.at.Year() == 0 {
			wrong = append(wrong, Violation{"date_from_datetime_parsing", []any{"query", d.name}, "Input should be a valid date, such as 2026-05-01"})
		}
	}
	threshold = captureThreshold
	if text := strings.TrimSpace(c.Arg("threshold")); text != "" {
		threshold, _ = strconv.ParseFloat(text, 64) // it was checked
		if threshold <= 0 {
			wrong = append(wrong, Violation{"greater_than", []any{"query", "threshold"}, "Input should be greater than 0"})
		}
	}
	switch {
	case len(wrong) > 0:
		e = validation(wrong...)
	case last.Before(first):
		e = detailError(400, "end_date is before start_date.")
	case last.Sub(first) >= captureDays*24*time.Hour:
		e = detailError(400, fmt.Sprintf("The period is too long: it may have %d days.", captureDays))
	}
	return first, last, threshold, e
}
