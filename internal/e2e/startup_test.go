//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/internal/redistest"
	"sluice/supervisor/fleet"
)

// command runs one of the programs to its end.
func (a *Appliance) command(program string, args ...string) (code int, said string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(a.Bin, program), args...)
	cmd.Env, cmd.Dir = a.environ(), filepath.Dir(a.Dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		return -1, err.Error()
	}
	return 0, string(out)
}

const wrongConfig = `model_list:
  - model_name: a
    litellm_params: {model: openai/gpt-4o, api_base: "not a url", timeout: -3}
  - model_name: b
    litellm_parms: {model: openai/gpt-4o}
  - litellm_params: {model: openai/gpt-4o, rpm: many}
  - nonsense
general_settings: {master_key: no-sk}
router_settings: {num_retries: two}
`

// What each problem of wrongConfig is told by.
var wrongConfigSays = []string{
	":3: model_list[0].litellm_params.api_base", ":3: model_list[0].litellm_params.timeout", ":4: model_list[1].litellm_params: is missing",
	`did you mean "litellm_params"?`, ":6: model_list[2].litellm_params.rpm", ":6: model_list[2].model_name", ":7: model_list[3]: is text",
	":8: general_settings.master_key", ":9: router_settings.num_retries",
}

// TestWrongConfig: every problem in one listing and exit 78, from the check and
// from the start, which binds nothing; a running appliance stays as it is.
func TestWrongConfig(t *testing.T) {
	a := New(t, Options{Config: wrongConfig})
	for _, run := range []struct {
		program string
		args    []string
	}{{"proxy", []string{"check", "--config", a.ConfigFile}}, {"supervisor", a.args()}} {
		code, said := a.command(run.program, run.args...)
		if code != fleet.ExitConfig {
			t.Errorf("%s exits with %d", run.program, code)
		}
		for _, want := range wrongConfigSays {
			if strings.Count(said, want) != 1 {
				t.Errorf("%s does not say %q once:\n%s", run.program, want, said)
			}
		}
	}
	if files, err := os.ReadDir(a.Dir); err != nil || len(files) > 0 {
		t.Errorf("the state directory is not empty: %v %v", files, err)
	}
	good := "model_list:\n  - {model_name: m, litellm_params: {model: openai/x, mock_response: first}}\ntypo_settings: {}\n"
	a.WriteConfig(good)
	if code, said := a.command("proxy", "check", "--config", a.ConfigFile); code != 0 || !strings.Contains(said, "typo_settings") {
		t.Errorf("check of a good file: %d %s", code, said)
	}
	if code, said := a.command("proxy", "check", "--strict", "--config", a.ConfigFile); code != fleet.ExitConfig {
		t.Errorf("strict check: %d %s", code, said)
	}
	a.Start()
	a.WaitReady(20 * time.Second)
	before := a.MustStatus()
	a.WriteConfig(wrongConfig)
	a.Signal(syscall.SIGHUP)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(a.Log(), "model_list[3]") {
		if time.Now().After(deadline) {
			t.Fatal("the log does not say what is wrong with the new file")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r, err := a.Chat(`{"model":"m","messages":[]}`); err != nil || !strings.Contains(string(r.Body), "first") {
		t.Errorf("after the bad file: %v %+v", err, r)
	}
	after := a.MustStatus()
	for i, s := range before.Slots {
		if after.Slots[i].Generations[0].PID != s.Generations[0].PID {
			t.Error("a worker was replaced")
		}
	}
}

// TestPortTaken: which port, who may hold it, 78.
func TestPortTaken(t *testing.T) {
	for _, env := range []string{"PORT", "SEPARATE_HEALTH_PORT"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		a := New(t, Options{Env: map[string]string{env: port}})
		args := []string{"--host", "127.0.0.1", "--state_dir", a.Dir}
		code, said := a.command("supervisor", args...)
		if code != fleet.ExitConfig || !strings.Contains(said, "port "+port+" is taken") || !strings.Contains(said, strconv.Itoa(os.Getpid())) {
			t.Errorf("%s: %d %s", env, code, said)
		}
		_ = l.Close()
	}
}

// TestNoProviderKey: started all the same, said once, answered clearly.
func TestNoProviderKey(t *testing.T) {
	a := boot(t, Options{Config: `model_list:
  - {model_name: keyless, litellm_params: {model: groq/llama}}
  - {model_name: other, litellm_params: {model: openai/x, mock_response: works}}
`})
	r, err := a.Chat(`{"model":"keyless","messages":[]}`)
	if err != nil || r.Status != 401 || !strings.Contains(string(r.Body), "'keyless' cannot be called: the gateway has no key for its provider") {
		t.Errorf("%v %+v", err, r)
	}
	if r, err = a.Chat(`{"model":"other","messages":[]}`); err != nil || r.Status != 200 {
		t.Errorf("%v %+v", err, r)
	}
	if code := a.Stop(); code != fleet.ExitOK { // now the log is whole
		t.Errorf("stopped with %d", code)
	}
	if n := strings.Count(a.Log(), `model_name \"keyless\" cannot be called`); n != 1 {
		t.Errorf("said %d times:\n%s", n, a.Log())
	}
}

// TestProductionPage starts as LiteLLM's page for production operators tells.
func TestProductionPage(t *testing.T) {
	p := fakeprovider.Start(t)
	host, port, _ := net.SplitHostPort(redistest.Addr(t))
	a := boot(t, Options{
		Config: fmt.Sprintf(`model_list:
  - model_name: fake-openai-endpoint
    litellm_params:
      model: openai/fake
      api_key: fake-key
      api_base: %s/

general_settings:
  master_key: sk-1234
  alerting: ["slack"]
  proxy_batch_write_at: 60
  database_connection_pool_limit: 10
  disable_error_logs: True
  allow_requests_on_db_unavailable: True

litellm_settings:
  request_timeout: 600
  set_verbose: False
  json_logs: true
  cache: True
  cache_params:
    type: redis
    host: os.environ/REDIS_HOST
    port: os.environ/REDIS_PORT
    password: os.environ/REDIS_PASSWORD

router_settings:
  routing_strategy: simple-shuffle
  redis_host: os.environ/REDIS_HOST
  redis_port: os.environ/REDIS_PORT
  redis_password: os.environ/REDIS_PASSWORD
  allowed_fails: 3
  cooldown_time: 30
  retry_policy: {AuthenticationErrorRetries: 0, TimeoutErrorRetries: 3, RateLimitErrorRetries: 3}
`, p.URL("")),
		Env: map[string]string{
			"SLACK_WEBHOOK_URL": "https://hooks.slack.example/x", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_SALT_KEY": "sk-1234",
			"USE_PRISMA_MIGRATE": "True", "LITELLM_MIGRATION_DIR": "/tmp", "LITELLM_NON_ROOT": "true", "LITELLM_UI_PATH": "/tmp/ui",
			"LITELLM_ASSETS_PATH": "/tmp/assets", "SEPARATE_HEALTH_APP": "1", "SUPERVISORD_STOPWAITSECS": "3600", "MAX_REQUESTS_BEFORE_RESTART": "10000",
			"REDIS_HOST": host, "REDIS_PORT": port, "REDIS_PASSWORD": "",
		},
		Args: []string{"--num_workers", "$(nproc)", "--run_gunicorn", "--max_requests_before_restart", "10000"},
	})
	a.Key = "sk-1234"
	for _, stream := range []bool{false, true} {
		r, err := a.Chat(fmt.Sprintf(`{"model":"fake-openai-endpoint","stream":%v,"messages":[{"role":"user","content":"hi"}]}`, stream))
		if err != nil || r.Status != 200 {
			t.Errorf("%v %+v", err, r)
		}
	}
	a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
	if n := len(a.MustStatus().Slots); n == 0 {
		t.Error("no slots")
	}
}

// WaitHealth waits until healthd's answer holds a text.
func (a *Appliance) WaitHealth(t *testing.T, path, want string) {
	t.Helper()
	var r *Answer
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if r, err = a.Health(path); err == nil && strings.Contains(string(r.Body), want) {
			return
		}
	}
	t.Errorf("%s does not say %s: %+v", path, want, r)
}

// TestEnvironmentFile: .env is read unless the mode is production.
func TestEnvironmentFile(t *testing.T) {
	for mode, want := range map[string]bool{"DEV": true, "PRODUCTION": false} {
		a := New(t, Options{
			Config: "model_list:\n  - {model_name: m, litellm_params: {model: openai/x, mock_response: \"said ${WORD_OF_FILE:-nothing}\"}}\n",
			Env:    map[string]string{"LITELLM_MODE": mode},
		})
		if err := os.WriteFile(filepath.Join(filepath.Dir(a.Dir), ".env"), []byte("# secrets\nexport WORD_OF_FILE=\"of the file\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		a.Start()
		a.WaitReady(20 * time.Second)
		r, err := a.Chat(`{"model":"m","messages":[]}`)
		if err != nil || strings.Contains(string(r.Body), "said of the file") != want {
			t.Errorf("%s: %v %+v", mode, err, r)
		}
	}
}

// TestRoutes asks by each name of a route, below a root path, and as a browser
// of another origin.
func TestRoutes(t *testing.T) {
	a := boot(t, Options{
		Config: "model_list:\n  - {model_name: team/m, litellm_params: {model: openai/x, mock_response: hi}}\n",
		Env:    map[string]string{"SERVER_ROOT_PATH": "/gateway", "LITELLM_CORS_ORIGINS": "https://app.example"},
	})
	auth := map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"}
	for _, path := range []string{
		"/v1/chat/completions", "/chat/completions", "/engines/team%2Fm/chat/completions", "/engines/team/m/chat/completions",
		"/openai/deployments/team%2Fm/chat/completions?api-version=2024-10-21", "/openai/deployments/team/m/chat/completions",
	} {
		r, err := a.Do(http.MethodPost, "/gateway"+path, `{"model":"team/m","messages":[]}`, auth)
		if err != nil || r.Status != 200 {
			t.Errorf("%s: %v %+v", path, err, r)
		}
	}
	for _, path := range []string{"/v1/models", "/models", "/v1/models/team%2Fm", "/v1/models/team/m", "/models/team/m", "/health/liveliness", "/health/readiness"} {
		if r, err := a.Do(http.MethodGet, "/gateway"+path, "", auth); err != nil || r.Status != 200 {
			t.Errorf("%s: %v %+v", path, err, r)
		}
	}
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": ""} {
		r, err := a.Do(http.MethodOptions, "/gateway/v1/chat/completions", "", map[string]string{
			"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type",
		})
		if err != nil || r.Header.Get("Access-Control-Allow-Origin") != want || (want != "" && (r.Status != 200 || r.Header.Get("Access-Control-Allow-Headers") == "")) {
			t.Errorf("preflight of %s: %v %+v", origin, err, r)
		}
	}
}

// TestEveryRequestTold: each request has its line in the log and its count in
// the metrics, whatever became of it; probes have neither.
func TestEveryRequestTold(t *testing.T) {
	a := boot(t, Options{Config: "model_list:\n  - {model_name: m, litellm_params: {model: openai/x, mock_response: hi}}\n"})
	auth := map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"}
	sent := 0
	ask := func(status int, method, path, body string, header map[string]string) {
		t.Helper()
		r, err := a.Do(method, path, body, header)
		if err != nil || r.Status != status {
			t.Fatalf("%v %+v, want %d", err, r, status)
		}
		sent++
	}
	ask(200, http.MethodPost, "/v1/chat/completions", `{"model":"m","messages":[]}`, auth)
	ask(200, http.MethodPost, "/v1/chat/completions", `{"model":"m","stream":true,"messages":[]}`, auth)
	ask(400, http.MethodPost, "/v1/chat/completions", `{`, auth)
	ask(401, http.MethodPost, "/v1/chat/completions", `{}`, nil)
	ask(200, http.MethodGet, "/v1/models", "", auth)
	ask(401, http.MethodGet, "/v1/models", "", nil)
	ask(404, http.MethodGet, "/nope", "", nil)
	ask(405, http.MethodDelete, "/v1/models", "", nil)
	for _, bytes := range []string{"GET /v1/models HTTP/1.1\r\nHost: a@b\r\n\r\n", rawPost + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"} {
		c := a.dialRaw(t)
		_, _ = c.nc.Write([]byte(bytes))
		if got, _ := replies(c.nc, c.r, 0, 5*time.Second); len(got) != 1 || got[0].status != 400 {
			t.Fatalf("%+v", got)
		}
		sent++
	}
	for range 5 {
		if r, err := a.Do(http.MethodGet, "/health/liveliness", "", nil); err != nil || r.Status != 200 {
			t.Fatalf("%v %+v", err, r)
		}
	}
	counted, logged := 0, 0
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && (counted < sent || logged < sent); time.Sleep(100 * time.Millisecond) {
		r, err := a.Health("/metrics")
		if err != nil {
			t.Fatal(err)
		}
		counted, logged = 0, 0
		for l := range bytes.Lines(r.Body) {
			if bytes.HasPrefix(l, []byte("litellm_proxy_total_requests_metric_total{")) {
				n, err := strconv.Atoi(string(bytes.TrimSpace(l[bytes.LastIndexByte(l, ' '):])))
				if err != nil {
					t.Fatal(err)
				}
				counted += n
			}
		}
		for l := range strings.Lines(a.Log()) {
			if strings.Contains(l, " request program=") || strings.Contains(l, " request failed program=") {
				logged++
			}
		}
	}
	if counted != sent || logged != sent {
		t.Errorf("%d requests, %d counted, %d logged", sent, counted, logged)
	}
	t.Logf("requests: %d sent, %d counted, %d logged", sent, counted, logged)
}
