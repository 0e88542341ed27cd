//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
)

// TestStoredModels changes models and credentials over the API while the gateway
// serves: what was answered is in force on every worker, and nothing secret is
// found in what is left behind.
func TestStoredModels(t *testing.T) {
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			env := map[string]string{"LITELLM_SALT_KEY": "sk-canary-salt"}
			if database == "postgres" {
				env["DATABASE_URL"] = pgtest.Database(t)
			}
			a := boot(t, Options{Config: managementConfig, Env: env})
			m := &modelling{t: t, a: a, p: fakeprovider.Start(t)}
			m.mocks()
			m.credentials()
			m.teams()
			if code := a.Stop(); code != 0 {
				t.Errorf("stopped with %d", code)
			}
			m.nothingLeft()
		})
	}
}

// modelling is one appliance whose models change.
type modelling struct {
	t *testing.T
	a *Appliance
	p *fakeprovider.Provider
}

// do makes a call that must be answered with a status.
func (m *modelling) do(status int, key, method, path string, body any) *Answer {
	m.t.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			m.t.Fatal(err)
		}
		text = string(b)
	}
	r, err := m.a.Do(method, path, text, map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"})
	if err != nil {
		m.t.Fatal(err)
	}
	if r.Status != status {
		m.t.Fatalf("%s %s: %d %s, want %d", method, path, r.Status, r.Body, status)
	}
	return r
}

// says chats on fresh connections, so that each worker is met, and wants the
// same status and text from all.
func (m *modelling) says(status int, key, model, text string) {
	m.t.Helper()
	for range 12 {
		r, err := m.a.Do(http.MethodPost, "/v1/chat/completions", `{"model":`+strconv.Quote(model)+`,"messages":[{"role":"user","content":"x"}]}`,
			map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json", "Connection": "close"})
		if err != nil {
			m.t.Fatal(err)
		}
		if r.Status != status || !bytes.Contains(r.Body, []byte(text)) {
			m.t.Fatalf("%s: %d %s, want %d with %q", model, r.Status, r.Body, status, text)
		}
	}
}

type obj = map[string]any

// mocks: each change is in force with its answer.
func (m *modelling) mocks() {
	m.t.Helper()
	key := m.a.Key
	m.says(400, key, "dbm", "dbm")
	m.do(200, key, "POST", "/model/new", obj{
		"model_name": "dbm", "litellm_params": obj{"model": "openai/x", "api_key": "sk-canary-model", "mock_response": "first words"}, "model_info": obj{"id": "db-1"},
	})
	m.says(200, key, "dbm", "first words")
	m.do(200, key, "PATCH", "/model/db-1/update", obj{"litellm_params": obj{"mock_response": "second words"}})
	m.says(200, key, "dbm", "second words")
	m.do(200, key, "POST", "/model/update", obj{"model_name": "renamed", "model_info": obj{"id": "db-1"}})
	m.says(200, key, "renamed", "second words")
	m.says(400, key, "dbm", "dbm")
	m.do(200, key, "POST", "/model/block", obj{"model_id": "db-1"})
	m.says(400, key, "renamed", "renamed")
	m.do(200, key, "POST", "/model/unblock", obj{"model_id": "db-1"})
	m.says(200, key, "renamed", "second words")
	// Nonsense is refused with the field's name, and nothing changes.
	for field, value := range map[string]any{"rpm": "many", "timeout": -1, "model": "nobody-serves-this/x", "api_base": "example.org"} {
		r := m.do(400, key, "PATCH", "/model/db-1/update", obj{"litellm_params": obj{field: value}})
		if !bytes.Contains(r.Body, []byte("litellm_params")) {
			m.t.Errorf("%s: %s", field, r.Body)
		}
	}
	m.says(200, key, "renamed", "second words")
	m.do(200, key, "POST", "/model/delete", obj{"id": "db-1"})
	m.says(400, key, "renamed", "renamed")
	m.do(404, key, "GET", "/model/info?litellm_model_id=db-1", nil)
	m.says(200, key, "mock", "hi")
}

// credentials: a provider is called with what is stored now.
func (m *modelling) credentials() {
	m.t.Helper()
	key := m.a.Key
	m.do(200, key, "POST", "/credentials", obj{
		"credential_name": "cr", "credential_info": obj{}, "credential_values": obj{"api_key": "sk-canary-one", "api_base": m.p.URL("")},
	})
	m.do(200, key, "POST", "/model/new", obj{"model_name": "real", "litellm_params": obj{"model": "openai/x", "litellm_credential_name": "cr"}, "model_info": obj{"id": "r"}})
	for _, secret := range []string{"sk-canary-one", "sk-canary-two"} {
		m.do(200, key, "PATCH", "/credentials/cr", obj{"credential_info": obj{}, "credential_values": obj{"api_key": secret}})
		m.p.Ledger().Reset()
		m.says(200, key, "real", "choices")
		entries := m.p.Ledger().All()
		for _, e := range entries {
			if !bytes.Contains(e.Head, []byte("Bearer "+secret)) {
				m.t.Fatalf("the provider was called with another key than %s: %s", secret, e.Head)
			}
		}
		if len(entries) != 12 {
			m.t.Errorf("%d calls", len(entries))
		}
	}
	m.do(400, key, "POST", "/model/new", obj{"model_name": "x", "litellm_params": obj{"model": "openai/x", "litellm_credential_name": "no-such"}})
	m.do(200, key, "POST", "/model/delete", obj{"id": "r"})
	m.do(200, key, "DELETE", "/credentials/cr", nil)
}

// teams: a team's model serves that team alone.
func (m *modelling) teams() {
	m.t.Helper()
	key := m.a.Key
	made := map[string]string{}
	for _, team := range []string{"a", "b"} {
		m.do(200, key, "POST", "/team/new", obj{"team_id": team, "team_alias": team})
		var k struct{ Key string }
		if err := m.do(200, key, "POST", "/key/generate", obj{"team_id": team}).JSON(&k); err != nil {
			m.t.Fatal(err)
		}
		made[team] = k.Key
	}
	m.do(200, key, "POST", "/model/new", obj{
		"model_name": "ours", "litellm_params": obj{"model": "openai/x", "api_key": "k", "mock_response": "for a"}, "model_info": obj{"id": "t", "team_id": "a"},
	})
	m.says(200, made["a"], "ours", "for a")
	for range 12 {
		r, err := m.a.Do(http.MethodPost, "/v1/chat/completions", `{"model":"ours","messages":[]}`,
			map[string]string{"Authorization": "Bearer " + made["b"], "Content-Type": "application/json", "Connection": "close"})
		if err != nil {
			m.t.Fatal(err)
		}
		if r.Status == 200 {
			m.t.Fatalf("another team is served: %s", r.Body)
		}
	}
}

// nothingLeft looks for the secrets in every file and in the log.
func (m *modelling) nothingLeft() {
	m.t.Helper()
	found := func(where string, b []byte) {
		if i := bytes.Index(b, []byte("sk-canary")); i >= 0 {
			m.t.Errorf("%s holds a secret: %q", where, b[max(0, i-40):min(len(b), i+40)])
		}
	}
	found("the log", []byte(m.a.Log()))
	err := filepath.WalkDir(m.a.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		found(strings.TrimPrefix(path, m.a.Dir), b)
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
}
