//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// TestCanaries puts a word into every secret that the management API is given or
// that the identity data is kept with, tells the recorded story and makes what
// can fail fail, and looks for the word, and for every key that was made, in all
// that is said and kept.
func TestCanaries(t *testing.T) {
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			env := map[string]string{
				"LITELLM_LOG": "DEBUG", "LITELLM_MASTER_KEY": "sk-canary-master-0123456789", "LITELLM_SALT_KEY": "sk-canary-salt-0123456789",
				"FILE_CREDENTIAL": "sk-canary-file-credential", "SLUICE_OLD_MASTER_KEY": "sk-canary-old-master-0123456789",
			}
			dump := func() string { return "" } // SQLite is a file of the state directory
			if database == "postgres" {
				plain := pgtest.Database(t)
				u, err := url.Parse(plain)
				if err != nil {
					t.Fatal(err)
				}
				u.User = url.UserPassword(u.User.Username(), "canary-database-password") // nobody asks for it here
				env["DATABASE_URL"] = u.String()
				dump = func() string { return dumped(t, plain) }
			} else {
				inFiles(t, env)
			}
			ring := canaryRing(t, env)
			a := boot(t, Options{Config: canaryConfig, Env: env})
			c := &canaries{t: t, a: a, said: map[string]string{}}
			c.story()
			c.secrets()
			c.rings(ring)
			c.faults()
			c.programs(env["DATABASE_URL"])
			c.crashes()
			c.reads()
			c.processes()
			time.Sleep(1500 * time.Millisecond) // the snapshot is written behind
			if code := a.Stop(); code != 0 {
				t.Errorf("stopped with %d", code)
			}
			c.said["log"], c.said["database"] = a.Log(), dump()
			if database == "postgres" && !strings.Contains(c.said["database"], "sluice1:") {
				t.Error("the dump holds nothing that is sealed")
			}
			c.files()
			c.judge()
		})
	}
}

const canaryConfig = `model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
  - {model_name: filed, litellm_params: {model: openai/x, litellm_credential_name: filed, api_base: "http://127.0.0.1:1/v1"}}
credential_list:
  - {credential_name: filed, credential_info: {}, credential_values: {api_key: os.environ/FILE_CREDENTIAL, aws_session_token: canary-plain-credential}}
router_settings: {num_retries: 0}
general_settings: {store_model_in_db: true}
litellm_settings: {langfuse_secret_key: canary-langfuse}
`

// canaries is a hunt for words that must not be anywhere.
type canaries struct {
	t    *testing.T
	a    *Appliance
	keys []string          // that were made
	said map[string]string // where → text
}

// ask makes a call as the master key and keeps its answer, if it may hold no
// secret.
func (c *canaries) ask(keep bool, method, target, body string) *Answer {
	c.t.Helper()
	h := map[string]string{"Authorization": "Bearer sk-canary-master-0123456789", "litellm-changed-by": "somebody", "x-sluice-reason": "test"}
	if body != "" {
		h["Content-Type"] = "application/json"
	}
	r, err := c.a.Do(method, target, body, h)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, target, err)
	}
	if keep {
		c.said[fmt.Sprintf("%s %.60s %.60s → %d", method, target, body, r.Status)] = string(r.Body)
	}
	return r
}

// story tells the recorded calls, whatever they answer.
func (c *canaries) story() {
	var story []step
	if err := json.Unmarshal(managementStory, &story); err != nil {
		c.t.Fatal(err)
	}
	saved := map[string]string{}
	for _, s := range story {
		var pairs []string
		for name, value := range saved {
			pairs = append(pairs, "{"+name+"}", value)
		}
		fill := strings.NewReplacer(pairs...)
		method, target, _ := strings.Cut(s.Do, " ")
		named := strings.Contains(target, "key=") // the answer names the key as the caller did
		r := c.ask(method == http.MethodGet && !named, method, fill.Replace(target), fill.Replace(string(s.Body)))
		var body map[string]any
		_ = json.Unmarshal(r.Body, &body)
		for name, field := range s.Save {
			saved[name], _ = body[field].(string)
		}
		if key, _ := body["key"].(string); strings.HasPrefix(key, "sk-") && len(key) > 24 && !slices.Contains(c.keys, key) {
			c.keys = append(c.keys, key)
		}
	}
	if len(c.keys) < 10 {
		c.t.Errorf("only %d keys were made", len(c.keys))
	}
}

// secrets gives the API a secret in every place that takes one.
func (c *canaries) secrets() {
	want := func(status int, r *Answer) {
		c.t.Helper()
		if r.Status != status {
			c.t.Errorf("%d, want %d: %.300s", r.Status, status, r.Body)
		}
	}
	const params = `{"model":"openai/x","api_key":"sk-canary-of-model","api_base":"http://127.0.0.1:1/v1","extra_headers":{"x-secret":"canary-header"},
		"aws_secret_access_key":"canary-aws","vertex_credentials":"{\"private_key\":\"canary-vertex\"}","max_retries":0}`
	want(200, c.ask(true, "POST", "/model/new", `{"model_name":"dbm","litellm_params":`+params+`,"model_info":{"id":"m-canary"}}`))
	want(200, c.ask(true, "PATCH", "/model/m-canary/update", `{"litellm_params":{"api_key":"sk-canary-of-model-2"}}`))
	want(200, c.ask(true, "POST", "/model/block", `{"model_id":"m-canary"}`))
	want(200, c.ask(true, "POST", "/model/unblock", `{"model_id":"m-canary"}`))
	want(200, c.ask(true, "POST", "/credentials", `{"credential_name":"cc","credential_info":{"description":"d"},"credential_values":{"api_key":"sk-canary-cred","api_base":"https://x.example/v1"}}`))
	want(200, c.ask(true, "POST", "/credentials", `{"credential_name":"cm","credential_info":{},"model_id":"m-canary"}`))
	want(200, c.ask(true, "PATCH", "/credentials/cc", `{"credential_values":{"api_key":"sk-canary-cred-2"},"credential_info":{}}`))
	want(200, c.ask(true, "POST", "/user/new", `{"user_id":"u-canary","user_role":"proxy_admin","password":"canary-password-1","auto_create_key":false}`))
	want(200, c.ask(true, "POST", "/user/update", `{"user_id":"u-canary","password":"canary-password-2"}`))
	want(200, c.ask(false, "POST", "/key/generate", `{"key":"sk-canary-chosen-key-0123456789","key_alias":"kc","user_id":"u-canary"}`))
	want(200, c.ask(false, "POST", "/key/update", `{"key":"sk-canary-chosen-key-0123456789","metadata":{"a":1}}`))
	want(200, c.ask(false, "POST", "/key/regenerate", `{"key":"sk-canary-chosen-key-0123456789","new_key":"sk-canary-chosen-key-9876543210","grace_period":"1h"}`))
	for _, key := range []string{"sk-canary-chosen-key-0123456789", "sk-canary-chosen-key-9876543210"} {
		for range 4 {
			if status := c.a.eachWorker(key, "mock"); !all(status, http.StatusOK) {
				c.t.Errorf("a chosen key: %v", status)
			}
		}
	}
	want(200, c.ask(false, "GET", "/key/info?key=sk-canary-chosen-key-9876543210", ""))
	c.ask(true, "POST", "/config/update", `{"environment_variables":{"OPENAI_API_KEY":"sk-canary-environment","SOME_NAME":"canary-environment"}}`)
}

// faults are calls that are refused, and processes and connections that die.
func (c *canaries) faults() {
	for _, call := range [][3]string{
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"nobody/x","api_key":"sk-canary-refused"}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x","api_base":"canary no url","api_key":"sk-canary-refused"}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x","api_key":["sk-canary-refused"]}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x","api_key":{"x":"sk-canary-refused"},"timeout":"canary"}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x","api_base":"http://u:canary-base@127.0.0.1:1/v1?k=canary"}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x"},"model_info":{"api_key":"sk-canary-in-info"}}`},
		{"POST", "/model/new", `{"model_name":"bad","litellm_params":{"model":"openai/x","api_key":"sk-canary-cut`},
		{"POST", "/model/new", `{"model_name":"bad","model_name":"sk-canary-twice"}`},
		{"POST", "/credentials", `{"credential_name":"c4","credential_info":{},"credential_values":{"api_base":"https://u:canary-cred-base@x.example/v1"}}`},
		{"POST", "/config/update", `{"litellm_settings":{"x":{"slack_webhooks":{"channel":["https://hooks.example/canary-webhook"]}}}}`},
		{"POST", "/credentials", `{"credential_name":"cc","credential_info":{},"credential_values":{"api_key":"sk-canary-again"}}`},
		{"POST", "/credentials", `{"credential_name":"c2","credential_info":{},"credential_values":{"api_key":{"x":"sk-canary-nested"}}}`},
		{"POST", "/credentials", `{"credential_name":"c3","credential_info":{},"credential_values":{"api_base":"canary no url"}}`},
		{"POST", "/user/new", `{"user_id":"u-short","password":"canary"}`},
		{"POST", "/user/update", `{"user_id":"u-canary","password":["canary-password"]}`},
		{"POST", "/key/generate", `{"key":"canary-without-prefix-0123456789"}`},
		{"POST", "/key/generate", `{"key":"sk-canary"}`},
		{"POST", "/key/generate", `{"key":"sk-canary-chosen-key-9876543210"}`},
		{"POST", "/key/generate", `{"key":"sk-canary with a space 0123456789"}`},
		{"POST", "/key/block", `{"key":"sk-canary-unknown-key-0123456789"}`},
		{"POST", "/key/sk-canary-unknown-in-path/regenerate", `{}`},
		{"GET", "/key/info?key=sk-canary-unknown-in-query", ""},
		{"POST", "/config/update", `{"general_settings":{"master_key":"sk-canary-config","database_url":"postgres://u:canary@h/d"}}`},
		{"POST", "/config/update", `{"environment_variables":{"PATH":["sk-canary-environment"]}}`},
		{"POST", "/config/field/update", `{"config_type":"general_settings","field_name":"alert_to_webhook_url","field_value":{"x":"https://hooks.example/canary-webhook"}}`},
		{"GET", "/config/field/info?field_name=master_key", ""},
	} {
		if r := c.ask(true, call[0], call[1], call[2]); r.Status < 400 {
			c.t.Errorf("%v is not refused: %d %.200s", call, r.Status, r.Body)
		}
	}
	for _, model := range []string{"filed", "dbm"} { // nobody listens there
		if r := c.ask(true, "POST", "/v1/chat/completions", `{"model":"`+model+`","messages":[{"role":"user","content":"x"}]}`); r.Status < 500 {
			c.t.Errorf("%s: %d %.200s", model, r.Status, r.Body)
		}
	}
	r, err := c.a.Do("GET", "/key/list", "", map[string]string{"Authorization": "Bearer sk-canary-nobody-0123456789"})
	if err != nil || r.Status != http.StatusUnauthorized {
		c.t.Errorf("an unknown key: %v %+v", err, r)
	}
	for _, p := range c.a.Processes() {
		if p.Program == "proxy" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
			break
		}
	}
	time.Sleep(time.Second)
	c.a.allReady()
}

// reads asks for everything that can be read.
func (c *canaries) reads() {
	for _, target := range []string{
		"/model/info", "/v1/model/info", "/v2/model/info", "/model_group/info", "/credentials", "/credentials/by_name/cc", "/credentials/by_name/filed",
		"/credentials/by_model/m-canary", "/config/yaml", "/config/list?config_type=general_settings", "/audit?page_size=100", "/audit?page_size=100&page=2", "/audit?page_size=100&page=3", "/audit/export", "/audit/export?format=csv",
		"/key/list?size=100&return_full_object=true&expand=user", "/key/aliases", "/user/list?page_size=100", "/user/info?user_id=u-canary", "/team/list",
		"/spend/keys", "/spend/users", "/openapi.json", "/docs", "/metrics", "/health/readiness", "/v1/models",
	} {
		if r := c.ask(true, "GET", target, ""); r.Status != http.StatusOK {
			c.t.Errorf("%s: %d %.200s", target, r.Status, r.Body)
		}
	}
	for _, path := range []string{"/health", "/status", "/metrics", "/metrics?per_worker=1"} {
		r, err := c.a.Health(path)
		if err != nil {
			c.t.Fatal(err)
		}
		c.said["healthd "+path] = string(r.Body)
	}
	c.said["status"] = fmt.Sprintf("%+v", c.a.MustStatus())
}

func (c *canaries) processes() {
	for _, p := range c.a.Processes() {
		dir := fmt.Sprintf("/proc/%d/", p.PID)
		cmdline, _ := os.ReadFile(dir + "cmdline")
		c.said[p.Program+" cmdline"] = string(cmdline)
		if p.PID != c.a.PID() { // the supervisor's own is as the operator made it
			environ, _ := os.ReadFile(dir + "environ")
			c.said[fmt.Sprintf("%s %d environ", p.Program, p.PID)] = string(environ)
		}
	}
}

func (c *canaries) files() {
	n := 0
	err := filepath.WalkDir(c.a.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			c.said["file "+path] = string(b)
			n++
		}
		return err
	})
	if err != nil || n == 0 {
		c.t.Errorf("%d files in the state directory: %v", n, err)
	}
}

// judge looks for the words. Names that were chosen to be told are taken out.
func (c *canaries) judge() {
	told := strings.NewReplacer("m-canary", "", "u-canary", "", "TestCanaries", "")
	for where, text := range c.said {
		text = told.Replace(text)
		for _, word := range append([]string{"canary"}, c.keys...) {
			if at := strings.Index(text, word); at >= 0 {
				c.t.Errorf("%s: %q", where, text[max(0, at-200):min(len(text), at+60)])
			}
		}
	}
	c.t.Logf("canaries: %d keys were made, %d texts hold none of them and no other secret", len(c.keys), len(c.said))
}

// dumped is a whole database as text.
func dumped(t *testing.T, url string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if path, err := exec.LookPath("pg_dump"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Fatal("pg_dump is not installed")
	}
	out, err := exec.CommandContext(t.Context(), found[len(found)-1], url).Output()
	if err != nil || len(out) < 10_000 {
		t.Fatalf("pg_dump: %v, %d bytes", err, len(out))
	}
	return string(out)
}
