//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// keyedProvider is a provider that answers only who has the key of the path:
// /<model>/… wants sk-of-<model>, or sk-of-<model>-<n> where the key is changed
// all the time. A gateway that cannot open what is sealed, or opens something
// else, is answered with 401.
type keyedProvider struct {
	*httptest.Server
	served, wrong atomic.Int64
}

func newKeyedProvider(t *testing.T) *keyedProvider {
	p := &keyedProvider{}
	p.Server = httptest.NewServer(http.HandlerFunc(p.answer))
	t.Cleanup(p.Close)
	return p
}

func (p *keyedProvider) answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	model, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	w.Header().Set("Content-Type", "application/json")
	if rest, ok := strings.CutPrefix(given, "sk-of-"+model); !ok || rest != "" && rest[0] != '-' {
		p.wrong.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"message":"another key","type":"t","code":"c"}}`)
		return
	}
	p.served.Add(1)
	// The answer tells the key's number, which is no secret.
	_, _ = fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":"x","choices":[{"index":0,"finish_reason":"stop",
		"message":{"role":"assistant","content":%q}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, "key"+strings.TrimPrefix(given, "sk-of-"+model))
}

// base is the api_base of a model.
func (p *keyedProvider) base(model string) string { return p.URL + "/" + model + "/v1" }

// traffic is what clients and administrators do to the hosts while their keys
// are changed. Nothing of it may fail.
type traffic struct {
	t      *testing.T
	url    string // of the balancer
	keys   []string
	models []string
	hosts  []*Appliance
	p      *keyedProvider

	client *http.Client
	calm   []sync.RWMutex // of each host: held to write while it is started anew
	over   chan struct{}
	done   sync.WaitGroup

	calls, changes, failures atomic.Int64
	mu                       sync.Mutex // guards what follows
	failed                   []string   // the first of them
	written                  map[string]int
}

func newTraffic(t *testing.T, hosts []*Appliance, p *keyedProvider) *traffic {
	return &traffic{
		t: t, url: "http://" + balancer(t, hosts), hosts: hosts, p: p, calm: make([]sync.RWMutex, len(hosts)), over: make(chan struct{}), written: map[string]int{},
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
}

// start sends model calls as fast as they are answered by way of the balancer,
// and management calls to each host.
func (f *traffic) start() {
	for range length(4, 8) {
		f.loop(0, func(int) {
			f.chat(f.keys[rand.IntN(len(f.keys))], f.models[rand.IntN(len(f.models))])
		})
	}
	for h, a := range f.hosts {
		f.loop(40*time.Millisecond, func(i int) { f.change(a, h, i) })
	}
}

func (f *traffic) loop(every time.Duration, one func(i int)) {
	f.done.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-f.over:
				return
			case <-time.After(every):
				one(i)
			}
		}
	})
}

// stop ends them and waits for their last answers.
func (f *traffic) stop() {
	close(f.over)
	f.done.Wait()
	f.client.CloseIdleConnections()
}

// fail notes what should not have been.
func (f *traffic) fail(format string, args ...any) {
	f.failures.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failed) < 10 {
		f.failed = append(f.failed, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
	}
}

// ask makes one call and returns the status and the body; 0 is no answer.
func (f *traffic) ask(method, url, key, body string) (int, string) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func (f *traffic) chat(key, model string) {
	status, text := f.ask("POST", f.url+"/v1/chat/completions", key, `{"model":`+strconv.Quote(model)+`,"messages":[{"role":"user","content":"x"}]}`)
	f.calls.Add(1)
	if status != http.StatusOK {
		f.fail("model %s: %d %.300s", model, status, text)
	}
}

// change makes the next change of an administrator of host number h: the key of
// a credential that a model uses, a new credential, or a new model.
func (f *traffic) change(a *Appliance, h, i int) {
	name := fmt.Sprintf("cred-%d", h) // each has one, so that its order is known
	method, path, body := "PATCH", "/credentials/"+name, any(object{"credential_info": object{}, "credential_values": object{"api_key": fmt.Sprintf("sk-of-%s-%d", name, i)}})
	switch own := fmt.Sprintf("made-%d-%d", h, i); i % 4 {
	case 1:
		method, path, body = "POST", "/credentials", object{"credential_name": own, "credential_info": object{}, "credential_values": object{"api_key": "sk-of-" + own, "api_base": f.p.base(own)}}
	case 2:
		method, path, body = "POST", "/model/new", f.modelBody(own)
	}
	f.calm[h].RLock()
	defer f.calm[h].RUnlock()
	status, text := f.ask(method, a.URL()+path, a.Key, jsonText(body))
	if status != http.StatusOK {
		f.fail("%s %s on host %d: %d %.300s", method, path, h, status, text)
		return
	}
	f.changes.Add(1)
	if method == "PATCH" {
		f.mu.Lock()
		f.written[name] = i
		f.mu.Unlock()
	}
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// modelBody stores a model of the provider with a key of its own, under its name.
func (f *traffic) modelBody(name string) object {
	return object{
		"model_name": name, "model_info": object{"id": name},
		"litellm_params": object{"model": "openai/x", "api_key": "sk-of-" + name, "api_base": f.p.base(name)},
	}
}

// none fails the test if anything failed, and tells what was done.
func (f *traffic) none(name string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Logf("show 1: %s: %d model calls and %d changes by administrators, %d failed; the provider saw %d calls, %d with another key",
		name, f.calls.Load(), f.changes.Load(), f.failures.Load(), f.p.served.Load(), f.p.wrong.Load())
	for _, text := range f.failed {
		f.t.Error(text)
	}
	if f.p.wrong.Load() > 0 {
		f.t.Errorf("the provider was called with another key %d times", f.p.wrong.Load())
	}
	if f.calls.Load() < 100 || f.changes.Load() < 20 {
		f.t.Error("too little was done to prove anything")
	}
}

// every asks a host for each of some models and returns those that it does not
// serve with their own key.
func (f *traffic) every(a *Appliance, models []string) (bad []string) {
	for _, model := range models {
		if got := a.eachWorker(a.Key, model); !all(got, http.StatusOK) {
			bad = append(bad, fmt.Sprint(model, " ", got))
		}
	}
	slices.Sort(bad)
	return bad
}
