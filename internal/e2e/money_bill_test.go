//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// TestCaptureRate: what the gateway has recorded of calls to OpenAI is compared
// with what OpenAI says that it charged, and the key that this is asked with is
// nowhere to be read.
func TestCaptureRate(t *testing.T) {
	openai := fakeprovider.Start(t)
	w := newMoney(t, moneyOptions{sqlite: true, models: plainModels, Options: Options{Env: map[string]string{
		"OPENAI_ADMIN_KEY": fakeprovider.AdminKey, "SLUICE_OPENAI_COSTS_URL": openai.URL("") + "/organization/costs",
	}}})
	a := w.hosts[0]
	header := map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"}
	for i := range 20 {
		body := fmt.Sprintf(`{"model":"plain","user":"u-%d","messages":[{"role":"user","content":"x"}]}`, i)
		if r, err := a.Do(http.MethodPost, "/v1/chat/completions", body, header); err != nil || r.Status != http.StatusOK {
			t.Fatalf("%v %s", err, r.text())
		}
	}
	within(t, 15*time.Second, "rows of all calls", w.hosts, func() bool { return w.db.number("SELECT count(*) FROM sluice.spend") == 20 })
	recorded := int64(w.db.number("SELECT sum(cost) FROM sluice.spend"))
	today := time.Now().UTC()
	first, last := today.AddDate(0, 0, -1).Format(time.DateOnly), today.AddDate(0, 0, 1).Format(time.DateOnly) // midnight may pass meanwhile
	for _, day := range []string{first, today.Format(time.DateOnly), last} {
		openai.Charge(fakeprovider.Charge{Day: day, Project: "ours", Amount: dollars(recorded)})
	}
	openai.Charge(fakeprovider.Charge{Day: first, Project: "theirs", Amount: dollars(recorded)})
	for query, want := range map[string]string{
		"":                                 "0.25 true",
		"&threshold=0.25":                  "0.25 false",
		"&project_ids=theirs":              "1 false",
		"&project_ids=ours&threshold=0.34": "0.3333333333333333 true",
		"&project_ids=nobody":              "<nil> false",
	} {
		r, err := a.Do(http.MethodGet, "/spend/capture_rate?start_date="+first+"&end_date="+last+query, "", header)
		var report struct {
			Captured json.Number `json:"captured_spend"`
			Rate     any         `json:"capture_rate"`
			Below    bool        `json:"below_threshold"`
			Days     []any       `json:"days"`
		}
		if err != nil || json.Unmarshal(r.Body, &report) != nil {
			t.Fatalf("%s: %v %s", query, err, r.text())
		}
		got, err := report.Captured.Float64()
		if err != nil || fmt.Sprintf("%.9f", got) != dollars(recorded) || fmt.Sprint(report.Rate, " ", report.Below) != want || len(report.Days) != 3 {
			t.Errorf("%s: %s; %s of %s recorded", query, r.text(), report.Captured, dollars(recorded))
		}
	}
	if err := openai.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := a.Do(http.MethodGet, "/spend/capture_rate?start_date="+first+"&end_date="+last, "", header)
	if err != nil || r.Status != http.StatusBadGateway {
		t.Errorf("nobody answers: %v %s", err, r.text())
	}
	within(t, 5*time.Second, "a line of it in the log", w.hosts, func() bool { return strings.Contains(a.Log(), "bill of a provider could not be read") })
	if strings.Contains(a.Log()+r.text(), fakeprovider.AdminKey) {
		t.Errorf("the key is told: %s %s", r.text(), a.Tail(20))
	}
}
