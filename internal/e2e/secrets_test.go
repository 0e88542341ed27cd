//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecrets puts a word that is found nowhere else into every secret and
// every text of a client, fails in every way there is, and looks for the words
// in all that the appliance says and leaves behind.
func TestSecrets(t *testing.T) {
	const word = "canary"
	// A provider that repeats what it was sent, with the status of the path.
	rude := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := 200
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/", &status)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":{"message":"Incorrect API key: %s","type":"t","code":"c"}}`, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}))
	defer rude.Close()
	models := ""
	for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500, 503} {
		models += fmt.Sprintf("  - {model_name: r%d, litellm_params: {model: openai/x, api_key: os.environ/UPSTREAM_KEY, api_base: %q, extra_headers: {x-secret: canary-header-of-config}}}\n",
			status, fmt.Sprintf("%s/%d/v1", rude.URL, status))
	}
	a := boot(t, Options{
		Config: "model_list:\n" + models + `  - {model_name: proxied, litellm_params: {model: openai/x, api_key: sk-canary-in-file, api_base: "https://127.0.0.1:1/v1", proxy_url: "http://u:canary-proxy@127.0.0.1:1"}}
  - {model_name: refused, litellm_params: {model: openai/x, api_key: sk-canary-in-file, api_base: "http://127.0.0.1:1/v1"}}
router_settings: {num_retries: 0, redis_host: 127.0.0.1, redis_port: 1, redis_password: canary-redis}
environment_variables: {SOME_KEY: canary-variable}
general_settings: {unknown_secret: canary-unknown}
`,
		Env: map[string]string{
			"LITELLM_LOG": "DEBUG", "LITELLM_MASTER_KEY": "sk-canary-master", "UPSTREAM_KEY": "sk-canary-upstream",
			"OPENAI_API_KEY": "sk-canary-openai", "HTTPS_PROXY": "http://u:canary-environ@127.0.0.1:1", "LITELLM_SALT_KEY": "sk-canary-salt",
		},
	})
	header := func(key string) map[string]string {
		return map[string]string{
			"Authorization": key, "Content-Type": "application/json", "x-custom": "canary-header", "Cookie": "s=canary-cookie",
			"x-litellm-tags": "billed-tags", "User-Agent": "billed-agent",
		}
	}
	// The end user is no secret: its id is a label of the log and of metrics.
	const say = `"user":"customer-1","messages":[{"role":"user","content":"canary-body"}]`
	answers := map[string]*Answer{}
	ask := func(name, path, key, body string) {
		r, err := a.Do(http.MethodPost, path, body, header(key))
		if r == nil {
			t.Fatalf("%s: %v", name, err)
		}
		answers[name] = r
	}
	for _, m := range []string{"r200", "r302", "r400", "r401", "r403", "r404", "r429", "r500", "r503", "proxied", "refused"} {
		for _, stream := range []bool{false, true} {
			ask(fmt.Sprint(m, stream), "/v1/chat/completions?secret=canary-query", "Bearer sk-canary-master", fmt.Sprintf(`{"model":%q,"stream":%v,%s}`, m, stream, say))
		}
	}
	ask("bad JSON", "/v1/chat/completions", "Bearer sk-canary-master", `{"model":"canary-bad`)
	ask("own credential", "/v1/chat/completions", "Bearer sk-canary-master", `{"model":"r200","api_key":"sk-canary-own",`+say+`}`)
	ask("no key", "/v1/chat/completions", "sk-canary-bare", `{}`)
	ask("wrong key", "/v1/chat/completions", "Bearer sk-canary-wrong", `{"model":"r200",`+say+`}`)
	ask("unknown route", "/v1/canary-path", "Bearer sk-canary-master", `{}`)
	for name, r := range answers {
		var head bytes.Buffer
		_ = r.Header.Write(&head)
		if strings.Contains(string(r.Body)+head.String(), word) {
			t.Errorf("answer to %s: %d %s\n%s", name, r.Status, head.String(), r.Body)
		}
	}
	said := map[string]string{}
	for _, path := range []string{"/health/liveliness", "/health/readiness", "/health", "/status", "/metrics", "/metrics?per_worker=1"} {
		r, err := a.Health(path)
		if err != nil {
			t.Fatal(err)
		}
		said["healthd "+path] = string(r.Body)
	}
	for _, path := range []string{"/metrics", "/health/readiness", "/v1/models", "/"} {
		r, err := a.Do(http.MethodGet, path, "", map[string]string{"Authorization": "Bearer sk-canary-master"})
		if err != nil {
			t.Fatal(err)
		}
		said["proxy "+path] = string(r.Body)
	}
	said["status"] = fmt.Sprintf("%+v", a.MustStatus())
	for _, p := range a.Processes() {
		dir := fmt.Sprintf("/proc/%d/", p.PID)
		cmdline, _ := os.ReadFile(dir + "cmdline")
		said[p.Program+" cmdline"] = string(cmdline)
		if p.PID != a.PID() { // the supervisor's own is as the operator made it
			environ, _ := os.ReadFile(dir + "environ")
			said[fmt.Sprintf("%s %d environ", p.Program, p.PID)] = string(environ)
		}
	}
	if code := a.Stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	said["log"] = a.Log()
	_ = filepath.WalkDir(a.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			said["file "+path] = string(b)
		}
		return nil
	})
	// Tags, of which the user agent is one, are on the bill: the journal and the
	// database have them, and nothing else.
	for where, text := range said {
		for found := range strings.Lines(text) {
			at := strings.Index(found, word)
			if at < 0 && !strings.HasPrefix(where, "file ") {
				at = strings.Index(found, "billed-")
			}
			if at >= 0 {
				t.Errorf("%s: %q", where, found[max(0, at-200):min(len(found), at+60)])
			}
		}
	}
	t.Logf("secrets: %d answers, %d other texts, none holds one", len(answers), len(said))
}
