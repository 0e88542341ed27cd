package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"sluice/internal/e2e"
	"sluice/internal/fakeprovider"
)

// managed makes a management call with the master key and returns the answer.
func managed(t *testing.T, a *e2e.Appliance, path string, body map[string]any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Do(http.MethodPost, path, string(b), map[string]string{"Authorization": "Bearer " + a.Key})
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("%s %s: %v %d %s", path, b, err, r.Status, r.Body)
	}
	out := map[string]any{}
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// keyed is the SDK with a new virtual key.
func keyed(t *testing.T, a *e2e.Appliance, body map[string]any) (openai.Client, string) {
	t.Helper()
	key, _ := managed(t, a, "/key/generate", body)["key"].(string)
	return through(a, option.WithAPIKey(key), option.WithMaxRetries(2)), key
}

// TestVirtualKey: a key of a team sees the models that both may use and calls
// them, in one piece and as a stream.
func TestVirtualKey(t *testing.T) {
	p := fakeprovider.Start(t)
	const first, second, third = "ok", "ok,n=5,every=1ms", "ok,n=2"
	a := appliance(t, p, first, second, third)
	managed(t, a, "/team/new", map[string]any{"team_id": "eng", "models": []string{first, second}})
	c, _ := keyed(t, a, map[string]any{"team_id": "eng", "models": []string{second, third}})
	listed, err := c.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range listed.Data {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []string{second}) {
		t.Errorf("models %q, of %q only the second is the key's and the team's", ids, []string{first, second, third})
	}
	for model, status := range map[string]int{first: http.StatusForbidden, second: 0, third: http.StatusForbidden} {
		for _, stream := range []bool{false, true} {
			user := fmt.Sprintf("keyed-%s-%v", model, stream)
			err := failed(t.Context(), c, ask(model, user), stream)
			var api *openai.Error
			switch {
			case status == 0 && err != nil:
				t.Errorf("%s: %v", user, err)
			case status != 0 && (!errors.As(err, &api) || api.StatusCode != status || api.Param != "model" || api.Message == ""):
				t.Errorf("%s: %v", user, err)
			}
			if got, want := len(p.Ledger().Of(user)), map[bool]int{true: 1}[status == 0]; got != want {
				t.Errorf("%s: the provider was called %d times", user, got)
			}
		}
	}
}

// TestVirtualKeyErrors: what a key is refused for is an error of the SDK's with
// a status that it does not try again and a type that a program can decide by. A
// route that is refused has FastAPI's form, as with LiteLLM, and so no type.
func TestVirtualKeyErrors(t *testing.T) {
	p := fakeprovider.Start(t)
	a := appliance(t, p, "ok", "ok,n=2")
	managed(t, a, "/team/new", map[string]any{"team_id": "eng"})
	tests := []struct {
		name   string
		body   map[string]any
		after  func(key string)
		status int
		typ    string
	}{
		{"another model", map[string]any{"models": []string{"ok,n=2"}}, nil, 403, "key_model_access_denied"},
		{"another route", map[string]any{"allowed_routes": []string{"/embeddings"}}, nil, 403, ""},
		{"for management", map[string]any{"key_type": "management"}, nil, 403, ""},
		{"blocked", map[string]any{}, func(key string) { managed(t, a, "/key/block", map[string]any{"key": key}) }, 401, "auth_error"},
		{"of a blocked team", map[string]any{"team_id": "eng"}, func(string) { managed(t, a, "/team/block", map[string]any{"team_id": "eng"}) }, 401, "auth_error"},
		{"deleted", map[string]any{}, func(key string) { managed(t, a, "/key/delete", map[string]any{"keys": []string{key}}) }, 401, "token_not_found_in_db"},
		{"expired", map[string]any{"duration": "1s"}, func(string) { time.Sleep(1100 * time.Millisecond) }, 401, "expired_key"},
	}
	for _, tt := range tests {
		c, key := keyed(t, a, tt.body)
		user := "refused " + tt.name
		if tt.after != nil {
			if err := failed(t.Context(), c, ask("ok", "before "+tt.name), false); err != nil {
				t.Errorf("%s: before: %v", tt.name, err)
			}
			tt.after(key)
		}
		for _, stream := range []bool{false, true} {
			began := time.Now()
			err := failed(t.Context(), c, ask("ok", user), stream)
			var api *openai.Error
			if !errors.As(err, &api) || api.StatusCode != tt.status || api.Type != tt.typ || (tt.typ != "") != (api.Message != "") || api.Response.Header.Get("x-litellm-call-id") == "" {
				t.Errorf("%s, stream %v: %v %+v, want %d %s", tt.name, stream, err, api, tt.status, tt.typ)
			}
			if took := time.Since(began); took > 400*time.Millisecond {
				t.Errorf("%s: tried again, for %v", tt.name, took)
			}
		}
		if n := len(p.Ledger().Of(user)); n != 0 {
			t.Errorf("%s: the provider was called %d times", tt.name, n)
		}
	}
}
