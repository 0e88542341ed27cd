//go:build image

package imagetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

// boxKey is the key of every box that a test runs.
const boxKey = "sk-image-1234567890abcdef"

// boxScript is an answer of about five seconds.
const boxScript = "ok,n=50,every=100ms"

// boxOptions are the options of docker run under which the image must work: no
// root, no capability, no writable root, bounds of everything.
var boxOptions = []string{
	"--read-only", "--user", "65532:65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
	"--pids-limit", "512", "--memory", "1g", "--tmpfs", "/tmp:size=16m,mode=1777", "--stop-timeout", "3660",
}

// boxCommand is how LiteLLM's documents start its container. No shell reads it.
var boxCommand = []string{
	"--port", "4000", "--config", "/app/config.yaml", "--num_workers", "$(nproc)", "--run_gunicorn", "--max_requests_before_restart", "10000",
}

// theImage loads dist/sluice-image.tar into the engine, once.
var theImage = struct {
	once sync.Once
	name string
}{}

func boxImage(t testing.TB) string {
	t.Helper()
	Engine(t)
	theImage.once.Do(func() { theImage.name = LoadImage(t, Dist(t, "sluice-image.tar")) })
	if theImage.name == "" {
		t.Fatal("the image could not be loaded: see the first test that failed")
	}
	return theImage.name
}

// box is a container of the image.
type box struct {
	*Container
	t    testing.TB
	addr string // host:port
	key  string
}

// boxVolume makes a named volume for the length of a test.
func boxVolume(t testing.TB) string {
	t.Helper()
	name := Docker(t, "volume", "create")
	t.Cleanup(func() { DockerCommand(t, "volume", "rm", "-f", name).Try(t) })
	return name
}

// boxConfig writes a file that the container's user may read.
func boxConfig(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(RunDir(), fmt.Sprintf("config-%d.yaml", time.Now().UnixNano()))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(RunDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// boxModels is a configuration with the models "whole" and "stream" of a provider.
func boxModels(p *fakeprovider.Provider) string {
	return fmt.Sprintf(`model_list:
  - model_name: whole
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[2]q}
  - model_name: stream
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[3]q}
`, fakeprovider.Model, ProviderURL(p, Gateway, ""), ProviderURL(p, Gateway, boxScript))
}

// runBox starts a boxOptions container with the models of p and waits until
// it is ready. options come last and win; the command is LiteLLM's run line.
func runBox(t testing.TB, p *fakeprovider.Provider, options ...string) *box {
	t.Helper()
	args := append([]string{}, boxOptions...)
	args = append(args, "-e", "LITELLM_MASTER_KEY="+boxKey, "-e", "SLUICE_PRESTOP_DELAY=1s",
		"-v", boxConfig(t, boxModels(p))+":/app/config.yaml:ro")
	args = append(args, options...)
	if !strings.Contains(strings.Join(options, " "), ":/var/lib/sluice") {
		args = append(args, "-v", boxVolume(t)+":/var/lib/sluice")
	}
	args = append(append(args, boxImage(t)), boxCommand...)
	g := &box{Container: StartContainer(t, args...), t: t, key: boxKey}
	g.addr = g.IP() + ":4000"
	g.waitReady()
	return g
}

// waitReady waits until readiness is 200, or the container has ended.
func (g *box) waitReady() {
	g.t.Helper()
	Wait(g.t, "readiness", 60*time.Second, func() error {
		if s := g.State(); !s.Running {
			g.t.Fatalf("the container ended with %d:\n%s", s.ExitCode, tail(g.Logs(), 4000))
		}
		status, body, err := boxGet("http://" + g.IP() + ":4001/health/readiness")
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("answered %d %s %w", status, body, err)
		}
		return nil
	})
}

// boxGet fetches a URL.
func boxGet(url string) (status int, body string, err error) {
	return boxAsk(http.MethodGet, url, "", "")
}

// boxAsk sends one request and reads its answer.
func boxAsk(method, url, key, body string) (status int, answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(bytes.TrimSpace(b)), err
}

// must asks for what must be answered with 200 and reads it into v, if it is not nil.
func (g *box) must(method, path, key, body string, v any) string {
	g.t.Helper()
	status, answer, err := boxAsk(method, "http://"+g.addr+path, key, body)
	if err != nil || status != http.StatusOK {
		g.t.Fatalf("%s %s: %d %v: %.500s", method, path, status, err, answer)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(answer), v); err != nil {
			g.t.Fatalf("%s %s: %v: %.500s", method, path, err, answer)
		}
	}
	return answer
}

// chat asks the model "whole" with a key.
func (g *box) chat(key string) {
	g.t.Helper()
	answer := g.must(http.MethodPost, "/v1/chat/completions", key, `{"model":"whole","messages":[{"role":"user","content":"Hello"}]}`, nil)
	if !strings.Contains(answer, `"object":"chat.completion"`) {
		g.t.Fatalf("no chat completion: %.500s", answer)
	}
}

// status is the supervisor's table.
func (g *box) status() fleet.Status {
	g.t.Helper()
	var s fleet.Status
	text := g.Exec("supervisor", "status", "--json")
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		g.t.Fatalf("status: %v: %.300s", err, text)
	}
	return s
}

// load is calls of the model "whole" over kept and new connections; streams
// keeps so many streams of five seconds open besides.
func (g *box) load(streams int) loadgen.Spec {
	shape := fakeprovider.DefaultShape
	script, err := fakeprovider.ParseScript(boxScript)
	if err != nil {
		g.t.Fatal(err)
	}
	whole := func(dst []byte, id string) []byte { return append(dst, shape.Whole(id, "whole")...) }
	stream := func(dst []byte, id string) []byte { return append(dst, script.Shape.Stream(id, "stream", false)...) }
	spec := loadgen.Spec{
		Addr: g.addr, Key: g.key, Model: "whole", Duration: 10 * time.Minute, Timeout: 60 * time.Second,
		Classes: []loadgen.Class{
			{Name: "new", Fresh: true, Rate: 20, Expect: whole},
			{Name: "kept", Conns: 10, Think: time.Second, Expect: whole},
		},
	}
	if streams > 0 {
		spec.Classes = append(spec.Classes, loadgen.Class{Name: "stream", Conns: streams, Stream: true, Model: "stream", Expect: stream})
	}
	return spec
}
