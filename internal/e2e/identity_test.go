//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

const identityConfig = `
model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
general_settings: {store_model_in_db: true}
`

// identityAppliance boots one host on a database.
func identityAppliance(t *testing.T, url string) *Appliance {
	t.Helper()
	return New(t, Options{Config: identityConfig, Env: map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests"}})
}

// allReady waits until every slot is ready.
func (a *Appliance) allReady() {
	a.t.Helper()
	a.WaitReady(30 * time.Second)
	a.WaitStatus(20*time.Second, "all slots ready", func(s fleet.Status) bool {
		for _, slot := range s.Slots {
			if slot.State != "ready" {
				return false
			}
		}
		return len(s.Slots) == 2
	})
}

// manage makes a management call with the master key, which must succeed.
func (a *Appliance) manage(path, body string) map[string]any {
	a.t.Helper()
	r, err := a.Do(http.MethodPost, path, body, map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"})
	if err != nil || r.Status != http.StatusOK {
		a.t.Fatalf("%s: %v %+v\n%s", path, err, r, a.Tail(20))
	}
	out := map[string]any{}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		a.t.Fatalf("%s: %v: %s", path, err, r.Body)
	}
	return out
}

// generate makes a key.
func (a *Appliance) generate(body string) string {
	a.t.Helper()
	key, _ := a.manage("/key/generate", body)["key"].(string)
	if !strings.HasPrefix(key, "sk-") {
		a.t.Fatalf("no key came: %q", key)
	}
	return key
}

// eachWorker chats with every worker that is ready, over its private socket,
// and returns the statuses.
func (a *Appliance) eachWorker(key, model string) []int {
	a.t.Helper()
	var out []int
	for _, slot := range a.MustStatus().Slots {
		for _, g := range slot.Generations {
			if g.State == "ready" {
				out = append(out, a.chatWith(fleet.Dir(a.Dir).Worker(slot.Slot, g.Generation), key, model))
			}
		}
	}
	return out
}

// chatWith chats with one worker; 0 means that nobody answered.
func (a *Appliance) chatWith(socket, key, model string) int {
	a.t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, "http://worker/v1/chat/completions",
		strings.NewReader(`{"model":`+strconv.Quote(model)+`,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// all reports whether there are two answers, of one status.
func all(got []int, status int) bool {
	for _, s := range got {
		if s != status {
			return false
		}
	}
	return len(got) == 2
}

// soon waits until every worker answers with a status, and returns how long it
// took.
func (a *Appliance) soon(what, key, model string, status int, within time.Duration) time.Duration {
	a.t.Helper()
	began := time.Now()
	for {
		got := a.eachWorker(key, model)
		took := time.Since(began)
		if all(got, status) {
			return took
		}
		if took > within {
			a.t.Fatalf("%s: %v after %v, want %d\n%s", what, got, took, status, a.Tail(30))
		}
	}
}

// TestKeyLife: a key works on every worker as soon as it is made, and on none
// as soon as it is blocked.
func TestKeyLife(t *testing.T) {
	a := identityAppliance(t, pgtest.Database(t))
	a.Start()
	a.allReady()
	for range 5 {
		key := a.generate(`{"models":["mock"]}`)
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
			t.Fatalf("a new key: %v", got)
		}
		if got := a.eachWorker(key, "other"); !all(got, http.StatusForbidden) {
			t.Fatalf("a model that the key may not use: %v", got)
		}
		a.manage("/key/block", fmt.Sprintf(`{"key":%q}`, key))
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusUnauthorized) {
			t.Fatalf("a blocked key: %v", got)
		}
		a.manage("/key/unblock", fmt.Sprintf(`{"key":%q}`, key))
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusOK) {
			t.Fatalf("an unblocked key: %v", got)
		}
		a.manage("/key/delete", fmt.Sprintf(`{"keys":[%q]}`, key))
		if got := a.eachWorker(key, "mock"); !all(got, http.StatusUnauthorized) {
			t.Fatalf("a deleted key: %v", got)
		}
	}
}

// TestSecondHost: what one host changes is seen by another one within a second,
// also when the connection that listens is cut each time.
func TestSecondHost(t *testing.T) {
	url := pgtest.Database(t)
	a, b := identityAppliance(t, url), identityAppliance(t, url)
	a.Start()
	a.allReady()
	b.Start()
	b.allReady()
	for _, cut := range []bool{false, true} {
		var slowest time.Duration
		for range 4 {
			key := a.generate(`{}`)
			b.soon("a key made elsewhere", key, "mock", http.StatusOK, 1500*time.Millisecond)
			if cut {
				pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
			}
			a.manage("/key/block", fmt.Sprintf(`{"key":%q}`, key))
			slowest = max(slowest, b.soon("a key blocked elsewhere", key, "mock", http.StatusUnauthorized, 1500*time.Millisecond))
		}
		t.Logf("seen on the other host in at most %v, listener cut: %v", slowest, cut)
		if slowest > time.Second {
			t.Errorf("seen after %v", slowest)
		}
	}
	a.manage("/model/new", `{"model_name":"dbm","litellm_params":{"model":"openai/x","api_key":"sk-1","mock_response":"stored"}}`)
	if got := a.eachWorker(a.Key, "dbm"); !all(got, http.StatusOK) {
		t.Errorf("a new model on its own host: %v", got)
	}
	b.soon("a model made elsewhere", b.Key, "dbm", http.StatusOK, 1500*time.Millisecond)
}

// TestModelsUnderLoad: models come and go while requests for another one run;
// none of them fails.
func TestModelsUnderLoad(t *testing.T) {
	a := identityAppliance(t, pgtest.Database(t))
	a.Start()
	a.allReady()
	var served, failed atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := a.Chat(`{"model":"mock","messages":[{"role":"user","content":"x"}]}`); err != nil || r.Status != http.StatusOK {
					failed.Add(1)
				}
				served.Add(1)
			}
		})
	}
	for i := range 20 {
		name := fmt.Sprint("m", i)
		a.manage("/model/new", fmt.Sprintf(`{"model_name":%q,"litellm_params":{"model":"openai/x","api_key":"sk-1","mock_response":"stored"},"model_info":{"id":%q}}`, name, name))
		if got := a.eachWorker(a.Key, name); !all(got, http.StatusOK) {
			t.Errorf("%s: %v", name, got)
		}
		a.manage("/model/delete", fmt.Sprintf(`{"id":%q}`, name))
		if got := a.eachWorker(a.Key, name); !all(got, http.StatusBadRequest) {
			t.Errorf("%s is deleted: %v", name, got)
		}
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 || served.Load() < 100 {
		t.Errorf("%d of %d requests failed", failed.Load(), served.Load())
	}
}

// TestBornInOutage: workers, and a whole appliance, that are born while the
// database is away serve the keys and models that the host knew, and refuse
// with 503 those that it did not.
func TestBornInOutage(t *testing.T) {
	server := pgtest.New(t)
	a := identityAppliance(t, server.Database(t))
	a.Start()
	a.allReady()
	key, blocked := a.generate(`{}`), a.generate(`{}`)
	a.manage("/model/new", `{"model_name":"dbm","litellm_params":{"model":"openai/x","api_key":"sk-1","mock_response":"stored"}}`)
	a.manage("/key/block", fmt.Sprintf(`{"key":%q}`, blocked))
	for _, known := range []string{key, blocked} {
		a.eachWorker(known, "dbm")
	}
	time.Sleep(1500 * time.Millisecond) // what is known is written behind
	server.Stop(t)
	serves := func(when string) {
		t.Helper()
		for _, model := range []string{"mock", "dbm"} {
			if got := a.eachWorker(key, model); !all(got, http.StatusOK) {
				t.Errorf("%s, a known key, %s: %v\n%s", when, model, got, a.Tail(30))
			}
		}
		if got := a.eachWorker("sk-nobody-has-ever-seen-this-key", "mock"); !all(got, http.StatusServiceUnavailable) {
			t.Errorf("%s, an unknown key: %v", when, got)
		}
		if got := a.eachWorker(blocked, "mock"); !all(got, http.StatusUnauthorized) && !all(got, http.StatusServiceUnavailable) {
			t.Errorf("%s, a blocked key: %v", when, got)
		}
	}
	serves("the database is stopped")
	for _, p := range a.Processes() {
		if p.Program == "proxy" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	a.WaitStatus(20*time.Second, "new workers ready", func(s fleet.Status) bool {
		for _, slot := range s.Slots {
			if slot.State != "ready" || len(slot.Generations) == 0 || slot.Generations[0].Generation < 4 {
				return false
			}
		}
		return true
	})
	serves("new workers")
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("stopped with %d", code)
	}
	a.Start()
	a.allReady()
	serves("a new appliance")

	server.Start(t)
	server.Ready(t, 10*time.Second)
	began := time.Now()
	a.soon("back", "sk-nobody-has-ever-seen-this-key", "mock", http.StatusUnauthorized, 10*time.Second)
	t.Logf("normal %v after the database was", time.Since(began))
	// What changes something waits until the keys that seal are known to be right.
	blocks := func() bool {
		r, err := a.Do(http.MethodPost, "/key/block", fmt.Sprintf(`{"key":%q}`, key), map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"})
		return err == nil && r.Status == http.StatusOK
	}
	for !blocks() {
		if time.Since(began) > 2*time.Second {
			t.Fatalf("no change is taken %v after the database was back\n%s", time.Since(began), a.Tail(20))
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("changes are taken %v after the database was", time.Since(began))
	if got := a.eachWorker(key, "mock"); !all(got, http.StatusUnauthorized) {
		t.Errorf("blocked after the outage: %v", got)
	}
}

// TestWrongSalt: with another salt key nothing starts, in one line, and nothing
// is written; with the right one everything is as it was.
func TestWrongSalt(t *testing.T) {
	url := pgtest.Database(t)
	a := identityAppliance(t, url)
	a.Start()
	a.allReady()
	a.manage("/model/new", `{"model_name":"dbm","litellm_params":{"model":"openai/x","api_key":"sk-1","mock_response":"stored"}}`)
	if code := a.Stop(); code != fleet.ExitOK {
		t.Fatalf("stopped with %d", code)
	}
	wrong := New(t, Options{Config: identityConfig, Env: map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-another-salt"}})
	wrong.Start()
	if code := wrong.Wait(30 * time.Second); code != fleet.ExitConfig {
		t.Errorf("another salt key: ended with %d", code)
	}
	if !strings.Contains(wrong.Log(), "LITELLM_SALT_KEY") || strings.Contains(wrong.Log(), "sk-another-salt") {
		t.Errorf("its log:\n%s", wrong.Tail(20))
	}
	if _, err := os.Stat(wrong.Dir + "/identity.snapshot"); err == nil {
		t.Error("a snapshot was written under the wrong key")
	}
	a.Start()
	a.allReady()
	if got := a.eachWorker(a.Key, "dbm"); !all(got, http.StatusOK) {
		t.Errorf("the right salt key: %v", got)
	}
}

// idleCPU is what a worker that nobody calls may use, of one processor.
const idleCPU = 0.02

// TestIdleQueries: a host that nobody calls asks its database at most three
// times a second, and tells it every ten seconds that it lives, however many
// workers it has; these sleep most of the time. An empty statement, with which a
// pool tries a connection that has rested, is no question.
func TestIdleQueries(t *testing.T) {
	server := pgtest.New(t)
	url := server.Database(t)
	pgtest.Exec(t, server.URL("postgres"), "ALTER SYSTEM SET log_statement = 'all'")
	pgtest.Exec(t, server.URL("postgres"), "SELECT pg_reload_conf()")
	a := New(t, Options{Workers: 4, Config: identityConfig, Env: map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests"}})
	a.Start()
	a.WaitReady(30 * time.Second)
	time.Sleep(4 * time.Second) // what a start asks is asked
	log := server.Dir + "/log"
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	const seconds = 10
	cpu := a.workersCPU()
	time.Sleep(seconds * time.Second)
	cpu = a.workersCPU() - cpu
	after, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	total := 0
	for line := range strings.Lines(string(after[len(before):])) {
		if _, statement, ok := strings.Cut(line, "LOG:  "); ok && (strings.HasPrefix(statement, "statement: ") || strings.HasPrefix(statement, "execute ")) {
			if _, statement, _ = strings.Cut(statement, ": "); strings.TrimSpace(statement) == "-- ping" {
				continue
			}
			asked[strings.TrimSpace(statement)]++
			total++
		}
	}
	t.Logf("%d statements in %d s: %v; four idle workers use %v a second", total, seconds, asked, cpu/seconds)
	if used := cpu.Seconds() / seconds / 4; used > idleCPU {
		t.Errorf("an idle worker uses %.1f %% of a processor", 100*used)
	}
	const lives = 2 // statements in these seconds
	if total > 3*seconds+lives || total < seconds {
		t.Errorf("%d statements in %d s", total, seconds)
	}
}
