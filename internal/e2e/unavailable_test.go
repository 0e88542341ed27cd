//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

const unavailableRPM = 30

const unavailableConfig = `
model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
  - model_name: dear
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
general_settings:
  allow_requests_on_db_unavailable: true
  db_unavailable_models: [mock]
  db_unavailable_rpm: 30
`

// bearer asks with a key, and nothing of a redirect or a second try.
func (a *Appliance) bearer(method, path, key, body string) *Answer {
	a.t.Helper()
	r, err := a.Do(method, path, body, map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"})
	if err != nil {
		a.t.Fatalf("%s %s: %v\n%s", method, path, err, a.Tail(20))
	}
	return r
}

func (a *Appliance) chatAs(key, model string) *Answer {
	a.t.Helper()
	return a.bearer(http.MethodPost, "/v1/chat/completions", key, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"}]}`, model))
}

// minute waits for a minute of the host's clock that is young, so that what is
// counted by minutes is counted in one.
func minute(t *testing.T) {
	t.Helper()
	const needs = 8 * time.Second
	if left := time.Minute - time.Duration(fleet.Now())%time.Minute; left < needs {
		time.Sleep(left + 100*time.Millisecond)
	}
}

// allow_requests_on_db_unavailable with the database away from the beginning:
// ready at once, keys that nobody can check are admitted to model calls, to the
// models that may be, and so many in a minute of the host; each is in the
// journal by the digest that the database knows it by. Keys that are known to
// be blocked or expired stay refused, over a start too.
func TestUnavailableAdmits(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	url := db.Database(t)
	o := Options{Config: unavailableConfig, Env: map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests"}}
	a := New(t, o)
	a.Start()
	a.allReady()
	later := New(t, o) // another host, which will know nothing
	good, blocked, short := a.generate(`{}`), a.generate(`{}`), a.generate(`{"duration":"2s"}`)
	a.manage("/key/block", fmt.Sprintf(`{"key":%q}`, blocked))
	for _, key := range []string{good, blocked, short} {
		a.eachWorker(key, "mock")
	}
	time.Sleep(2500 * time.Millisecond) // what is known is written behind, and the short one expires
	db.Stop(t)
	a.Stop()
	a.Start()
	a.allReady()
	if got := a.eachWorker(good, "dear"); !all(got, http.StatusOK) {
		t.Errorf("a known key, a model that unchecked ones may not use: %v", got)
	}
	for _, key := range []string{blocked, short} {
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusUnauthorized) {
			t.Errorf("a key that is known as blocked or expired: %v", got)
		}
	}

	later.Start()
	_, after := later.readinessIs(t, 20*time.Second, http.StatusOK, "degraded")
	t.Logf("show 2: permissive, the database away from the beginning: ready %v after the start", after)
	later.allReady()
	first := firstStart(t, url, good)
	minute(t)
	if r := later.chatAs(good, "mock"); r.Status != http.StatusOK {
		t.Errorf("a key that nobody can check: %+v", r)
	}
	if r := later.chatAs(good, "dear"); r.Status != http.StatusForbidden || !strings.Contains(string(r.Body), "db_unavailable_models") {
		t.Errorf("a model that it may not use: %d %s", r.Status, r.Body)
	}
	for _, c := range []struct {
		method, path, key, body string
		status                  int
	}{
		{http.MethodGet, "/key/info", good, "", http.StatusServiceUnavailable},
		{http.MethodPost, "/key/generate", good, `{}`, http.StatusServiceUnavailable},
		{http.MethodPost, "/key/generate", later.Key, `{}`, http.StatusServiceUnavailable},
		{http.MethodPost, "/v1/chat/completions", "sk-short", `{"model":"mock","messages":[]}`, http.StatusServiceUnavailable},
		{http.MethodPost, "/v1/chat/completions", "no-key-of-ours-at-all", `{"model":"mock","messages":[]}`, http.StatusUnauthorized},
		{http.MethodPost, "/v1/chat/completions", "", `{"model":"mock","messages":[]}`, http.StatusUnauthorized},
	} {
		if r := later.bearer(c.method, c.path, c.key, c.body); r.Status != c.status || c.status == 503 && r.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s with %q: %d %s, want %d", c.method, c.path, c.key, r.Status, r.Body, c.status)
		}
	}
	served, spent := 1, 0
	for range 3 * unavailableRPM {
		switch r := later.chatAs("sk-another-key-that-nobody-knows", "mock"); {
		case r.Status == http.StatusOK:
			served++
		case r.Status == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "":
			spent++
		default:
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
	t.Logf("show 2: permissive: %d served and %d refused of %d in a minute", served, spent, 3*unavailableRPM+1)
	if served > unavailableRPM || served < unavailableRPM-3 {
		t.Errorf("%d were served, %d a minute are allowed", served, unavailableRPM)
	}
	journaled(t, later, good, served)
	db.Start(t)
	since := time.Now()
	_, ready := first.readinessIs(t, 10*time.Second, http.StatusOK, "healthy")
	took := later.soon("a key that nobody has, the database is back", "sk-another-key-that-nobody-knows", "mock", http.StatusUnauthorized, 10*time.Second)
	t.Logf("show 2: after the database accepts: a first host is ready %v, keys are checked %v", ready, time.Since(since))
	if ready > 2*time.Second || time.Since(since) > 2500*time.Millisecond {
		t.Errorf("ready after %v, checked after %v, and %v", ready, took, time.Since(since))
	}
	first.soon("a good key", good, "mock", http.StatusOK, 3*time.Second)
	if got := later.eachWorker(good, "dear"); !all(got, http.StatusOK) {
		t.Errorf("a good key that can be checked again: %v", got)
	}
	attributable(t, url, later)
}

func journal(t *testing.T, a *Appliance) (digests map[string]int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(a.Dir, "unavailable.journal"))
	if err != nil {
		t.Fatal(err)
	}
	digests = map[string]int{}
	for line := range strings.Lines(string(text)) {
		var l struct {
			Digest  string
			Model   string
			Request string `json:"request_id"`
			Time    time.Time
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Model != "mock" || l.Request == "" || time.Since(l.Time) > time.Hour {
			t.Errorf("journal: %v %s", err, line)
		}
		digests[l.Digest]++
	}
	return digests
}

// journaled checks that each request that was served is in the journal, and no
// key is.
func journaled(t *testing.T, a *Appliance, key string, served int) {
	t.Helper()
	sum := sha256.Sum256([]byte(key))
	digests := journal(t, a)
	n := 0
	for _, times := range digests {
		n += times
	}
	if n != served || digests[hex.EncodeToString(sum[:])] != 1 {
		t.Errorf("%d requests were served, the journal has %v", served, digests)
	}
}

// attributable checks that the journal's digests are those of the database.
func attributable(t *testing.T, url string, a *Appliance) {
	t.Helper()
	known := 0
	for digest := range journal(t, a) {
		known += pgtest.Number(t, url, "SELECT count(*) FROM sluice.keys WHERE token = $1", digest)
	}
	if known != 1 {
		t.Errorf("%d of the journal's keys are in the database", known)
	}
}

// firstStart is a host without that setting, and without a memory, that is
// started while the database is away: it lives and is not ready, and tells
// nobody that a key is wrong.
func firstStart(t *testing.T, url, good string) (first *Appliance) {
	t.Helper()
	first = identityAppliance(t, url)
	first.Start()
	body, _ := first.readinessIs(t, 20*time.Second, http.StatusServiceUnavailable, "not_ready")
	if !strings.Contains(body, "database") {
		t.Errorf("%s does not name the database", body)
	}
	if r, err := first.Health("/health/liveliness"); err != nil || r.Status != http.StatusOK {
		t.Errorf("liveness: %v %+v", err, r)
	}
	if r := first.chatAs(first.Key, "mock"); r.Status != http.StatusOK {
		t.Errorf("the master key: %+v", r)
	}
	if r := first.chatAs(good, "mock"); r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
		t.Errorf("a good key that this host has never seen: %+v", r)
	}
	return first
}
