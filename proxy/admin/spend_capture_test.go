package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// paper is a bill that says what the test wrote on it.
type paper struct {
	days  map[string]money.Nano
	err   error
	asked string
}

func (p *paper) Days(_ context.Context, first, last time.Time, projects []string) (map[string]money.Nano, error) {
	p.asked = fmt.Sprint(first.Format(time.DateOnly), " ", last.Format(time.DateOnly), " ", projects)
	return p.days, p.err
}

func TestCaptureRate(t *testing.T) {
	each(t, func(w *world) {
		s := newSpendWorld(w)
		of := &paper{}
		w.api.c.Billers = map[string]Biller{"openai": {Providers: []string{"openai", "text-completion-openai"}, Variable: "OPENAI_ADMIN_KEY", Bill: of}}
		other := *s.rows[100] // of another provider, on the same days
		other.Sequence, other.Provider, other.Cost = 10_000, "mistral", 77
		other.RequestID[15] ^= 0x40
		if _, err := w.store.Ship(w.Context(), &store.Batch{Host: "h", Rows: []*bill.Attempt{&other}}); err != nil {
			t.Fatal(err)
		}
		recorded := s.sumBy(func(*bill.Attempt) bool { return true }, func(a *bill.Attempt) string {
			return time.Unix(0, a.Intent.At).UTC().Format(time.DateOnly)
		})
		of.days = map[string]money.Nano{"2026-11-19": recorded["2026-11-19"], "2026-11-20": 4 * recorded["2026-11-20"], "2026-10-01": 1}
		got := w.call("master", "GET", "/spend/capture_rate?start_date=2026-11-19&end_date=2026-11-21&threshold=0.7&project_ids=p1&project_ids=p2", nil)
		doc, _ := got.Body.(M)
		if got.Status != 200 || of.asked != "2026-11-19 2026-11-21 [p1 p2]" {
			t.Fatalf("%d %s; asked %s", got.Status, got.Raw, of.asked)
		}
		captured := recorded["2026-11-19"] + recorded["2026-11-20"] + recorded["2026-11-21"]
		billed := of.days["2026-11-19"] + of.days["2026-11-20"]
		if nano(t, doc["captured_spend"]) != captured || nano(t, doc["provider_spend"]) != billed || recorded["2026-11-21"] == 0 {
			t.Errorf("%s: not %s of %s", got.Raw, captured, billed)
		}
		rates := fmt.Sprint(doc["capture_rate"])
		for _, d := range doc["days"].([]any) {
			rates += fmt.Sprint(" ", d.(M)["date"], " ", d.(M)["capture_rate"])
		}
		want := fmt.Sprint(float64(captured)/float64(billed), " 2026-11-19 1 2026-11-20 0.25 2026-11-21 <nil>")
		if rates != want || doc["below_threshold"] != true || fmt.Sprintf("%v %v %v %v", doc["threshold"], doc["provider"], doc["start_date"], doc["end_date"]) != "0.7 openai 2026-11-19 2026-11-21" {
			t.Errorf("%s, not %s: %s", rates, want, got.Raw)
		}
		of.days = nil
		got = w.call("av", "GET", "/spend/capture_rate?start_date=2026-11-19&end_date=2026-11-19", nil)
		if doc, _ = got.Body.(M); got.Status != 200 || doc["capture_rate"] != nil || doc["below_threshold"] != false || fmt.Sprint(doc["threshold"]) != "0.9" {
			t.Errorf("nothing was billed: %d %s", got.Status, got.Raw)
		}
		for _, name := range []string{"iu", "tk", "oa", "ta"} {
			if got := w.call(name, "GET", "/spend/capture_rate?start_date=2026-11-19&end_date=2026-11-19", nil); got.Status != 401 && got.Status != 403 {
				t.Errorf("%s got %d %s", name, got.Status, got.Raw)
			}
		}
	})
}

// TestCaptureRateMistakes has LiteLLM's statuses.
func TestCaptureRateMistakes(t *testing.T) {
	w := newWorld(t, store.Config{SQLite: dbtest.SQLite(t)}, nil)
	of := &paper{}
	w.api.c.Billers = map[string]Biller{"openai": {Variable: "OPENAI_ADMIN_KEY", Bill: of}}
	const days = "start_date=2026-11-19&end_date=2026-11-20"
	for query, want := range map[string]string{
		"":                                 `422 {"detail":[{"type":"missing","loc":["query","start_date"]`,
		"start_date=":                      `422 {"detail":[{"type":"missing","loc":["query","end_date"]`,
		"start_date=x&end_date=2026-11-31": `422 {"detail":[{"type":"date_from_datetime_parsing","loc":["query","start_date"]`,
		"start_date=2026-11-19T00:00:00Z&end_date=2026-11-20": `422 {"detail":[{"type":"date_from_datetime_parsing"`,
		"start_date=2026-11-20&end_date=2026-11-19":           `400 {"detail":{"error":"end_date is before start_date."}}`,
		"start_date=2026-01-01&end_date=2026-06-30":           `400 {"detail":{"error":"The period is too long`,
		"start_date=2026-01-01&end_date=2026-06-29":           `200 {"provider":"openai"`,
		days + "&provider=anthropic":                          `422 {"detail":[{"type":"literal_error","loc":["query","provider"]`,
		days + "&threshold=0":                                 `422 {"detail":[{"type":"greater_than","loc":["query","threshold"]`,
		days + "&threshold=1.5":                               `422 {"detail":[{"type":"less_than_equal","loc":["query","threshold"]`,
		days + "&threshold=nan":                               `422 {"detail":[{"type":"float_parsing"`,
		days + "&threshold=1&provider=openai&project_ids=":    `200 {"provider":"openai"`,
	} {
		got := w.call("master", "GET", "/spend/capture_rate?"+query, nil)
		if line := fmt.Sprint(got.Status, " ", string(got.Raw)); !strings.HasPrefix(line, want) {
			t.Errorf("%s: %s", query, line)
		}
	}
	of.err = errors.New("HTTP 403: you have insufficient permissions")
	got := w.call("master", "GET", "/spend/capture_rate?"+days, nil)
	if got.Status != 502 || string(got.Raw) != `{"detail":{"error":"The bill of openai could not be read: HTTP 403: you have insufficient permissions."}}` {
		t.Errorf("%d %s", got.Status, got.Raw)
	}
	w.api.c.Billers = map[string]Biller{"openai": {Variable: "OPENAI_ADMIN_KEY"}}
	got = w.call("master", "GET", "/spend/capture_rate?"+days, nil)
	if got.Status != 503 || !strings.HasPrefix(string(got.Raw), `{"detail":{"error":"OPENAI_ADMIN_KEY is not set`) {
		t.Errorf("%d %s", got.Status, got.Raw)
	}
	if !slices.Contains(strings.Fields(w.log.String()), `insufficient`) {
		t.Errorf("the log says nothing: %s", w.log.String())
	}
}
