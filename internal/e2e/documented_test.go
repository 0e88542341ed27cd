//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
)

// gateConfig is written as operators of OpenGateLLM write it: the database with
// its pool, the longest life of a key, and what the documentation shows.
const gateConfig = `
model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
general_settings:
  app_title: A gateway
  swagger_version: 9.8.7
  hidden_routers: [keys, monitoring]
  disabled_routers: [tags]
  auth_key_max_expiration_days: 30
dependencies:
  postgres:
    url: %q
    pool_size: 2
    max_overflow: 1
    pool_timeout: 9
    connect_args: {server_settings: {statement_timeout: 7s}}
`

// TestGateSettings: what is hidden is served and not documented, what is
// disabled neither; keys end in time; the pool is as large as was said.
func TestGateSettings(t *testing.T) {
	url := pgtest.Database(t)
	asyncpg := strings.Replace(strings.Replace(url, "postgres://", "postgresql://", 1), "postgresql://", "postgresql+asyncpg://", 1)
	a := New(t, Options{Config: fmt.Sprintf(gateConfig, asyncpg), Env: map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests"}})
	a.Start()
	a.allReady()
	var document struct {
		Info  struct{ Title, Version string }
		Paths map[string]any
	}
	get := func(path string) *Answer {
		r, err := a.Do(http.MethodGet, path, "", map[string]string{"Authorization": "Bearer " + a.Key})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if err := get("/openapi.json").JSON(&document); err != nil {
		t.Fatal(err)
	}
	if document.Info.Title != "A gateway" || document.Info.Version != "9.8.7" || document.Paths["/user/list"] == nil {
		t.Errorf("%+v, %d paths", document.Info, len(document.Paths))
	}
	page := get("/docs")
	for path, status := range map[string]int{"/key/list": http.StatusOK, "/health/readiness": http.StatusOK, "/tag/list": http.StatusNotFound} {
		if got := get(path).Status; got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
		if document.Paths[path] != nil || bytes.Contains(page.Body, []byte(">"+path+"<")) {
			t.Errorf("%s is documented", path)
		}
	}
	if page.Status != http.StatusOK || !bytes.Contains(page.Body, []byte("A gateway")) || bytes.Contains(page.Body, []byte("://")) ||
		!strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page: %d %v", page.Status, page.Header)
	}
	if ends, _ := a.manage("/key/generate", `{}`)["expires"].(string); ends == "" {
		t.Error("a key without an end")
	}
	r, err := a.Do(http.MethodPost, "/key/generate", `{"duration":"31d"}`, map[string]string{"Authorization": "Bearer " + a.Key})
	if err != nil || r.Status != http.StatusBadRequest || !bytes.Contains(r.Body, []byte("auth_key_max_expiration_days")) {
		t.Errorf("a key that lives too long: %v %+v", err, r)
	}
	asked := make(chan int, 64)
	for range cap(asked) {
		go func() {
			r, err := a.Do(http.MethodGet, "/key/list", "", map[string]string{"Authorization": "Bearer " + a.Key, "Connection": "close"})
			if err != nil {
				r = &Answer{}
			}
			asked <- r.Status
		}()
	}
	for range cap(asked) {
		if status := <-asked; status != http.StatusOK {
			t.Errorf("one of many: %d", status)
		}
	}
	// Two workers of three, and what the host keeps beside: listener, observer, migrator.
	if n := pgtest.Number(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); n > 2*3+3 || n < 2 {
		t.Errorf("%d connections", n)
	}
}
