package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/internal/postgres"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// catalog is a configuration of two models.
type catalog struct {
	plain    bool // as it was recorded: no access groups, no credentials
	mu       sync.Mutex
	stored   []Deployment // of the database, which was taken over
	refuse   error        // of the next judgement
	settings []Setting
}

func (f *catalog) Deployments() []Deployment {
	if f.stored != nil {
		return append((&catalog{}).Deployments(), f.stored...)
	}
	params := func(model string) identity.Fields {
		return identity.Fields{"model": quoted(model), "mock_response": quoted("hi")}
	}
	second := identity.Fields{"access_groups": json.RawMessage(`["beta"]`)}
	if f.plain {
		second = nil
	}
	return []Deployment{
		{ID: "f1", Name: "mock", Provider: "openai", Model: "gpt-4o", Params: params("openai/gpt-4o"), Info: identity.Fields{}},
		{ID: "f2", Name: "gpt-4o-mini", Provider: "openai", Model: "gpt-4o-mini", Params: params("openai/gpt-4o-mini"), Info: second},
	}
}

func (f *catalog) Means(name string) bool {
	return slices.Contains([]string{"mock", "gpt-4o-mini", "beta", "alias"}, name)
}

func (f *catalog) Check(string, identity.Fields, identity.Fields) error { return f.verdict() }

func (f *catalog) CheckConfig(string, identity.Fields) error { return f.verdict() }

func (f *catalog) verdict() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuse
}

func (f *catalog) Credentials() []FileCredential {
	if f.plain {
		return nil
	}
	return []FileCredential{{Name: "of-file", Values: map[string]string{"api_key": Masked, "api_base": "https://u:p@example.org/v1"}}}
}

func (f *catalog) Settings(string) []Setting { return f.settings }
func (f *catalog) Masked() string            { return "model_list: []\n" }

// withModels is an API that keeps models.
func withModels(t *testing.T, f *catalog) func(c *Config) {
	ring, err := seal.New("sk-salt-for-tests")
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		c.StoreModels = true
		c.Models = ModelConfig{Catalog: f, Keys: Keys{Ring: func() *seal.Ring { return ring }}, TeamBases: []string{"https://allowed.example/v1"}}
	}
}

var dbModel = M{
	"model_name": "dbm", "litellm_params": M{"model": "openai/x", "api_key": "sk-secret", "mock_response": "from db"}, "model_info": M{"id": "db-1"},
}

// The rows of the recorded story about models, credentials and settings: status,
// names of fields and JSON types.
func TestModelStory(t *testing.T) {
	each(t, func(w *world) {
		// Two teams that may call everything, and one that may not.
		w.team("t1", "")
		w.insert(&identity.Team{ID: "t2"}, &identity.Team{ID: "t3", Models: []string{"nope"}})
		w.userKey("k_int", "u-int", identity.RoleInternalUser)
		w.userKey("k_pav", "u-pav", identity.RoleProxyAdminViewer)
		w.userKey("k_ta", "u-ta", identity.RoleInternalUser)
		w.insert(&identity.Member{TeamID: "t1", UserID: "u-ta", Role: identity.TeamAdmin})
		w.key("k_bare", nil)
		w.tell(func(s *scene) bool {
			path := strings.TrimLeft(strings.TrimPrefix(s.Do[strings.Index(s.Do, "/"):], "/v2"), "/")
			family, _, _ := strings.Cut(path, "/")
			return slices.Contains([]string{"model", "model_group", "credentials", "config"}, family) &&
				slices.Contains([]string{"master", "k_int", "k_pav", "k_ta", "k_bare"}, s.As)
		}, map[string]string{
			"model/new without params": "status 400, recorded 500", // a mistake of the client's
		})
	}, withModels(t, &catalog{plain: true}))
}

// What is written is read again, without its secrets.
func TestModelReadsBack(t *testing.T) {
	each(t, func(w *world) {
		made := w.ok("master", "POST", "/model/new", M{
			"model_name": "m", "model_info": M{"mode": "chat", "tier": "paid", "input_cost_per_token": 0.5},
			"litellm_params": M{
				"model": "openai/gpt-4o", "api_key": "sk-canary-1", "api_base": "https://example.org/v1?key=sk-canary-2", "rpm": 5,
				"extra_headers": M{"x-key": "sk-canary-3"}, "extra_body": M{"token": "sk-canary-4", "n": 1}, "timeout": 2.5, "tags": []string{"a"},
				"output_cost_per_token": 0.25, "output_cost_per_image_token": 2, "output_cost_per_second": 1,
			},
		})
		id := made["model_id"].(string)
		read := func() map[string]any {
			doc := w.ok("master", "GET", "/model/info?litellm_model_id="+id, nil)
			return doc["data"].([]any)[0].(map[string]any)
		}
		got := read()
		params, info := got["litellm_params"].(map[string]any), got["model_info"].(map[string]any)
		if got["model_name"] != "m" || params["model"] != "openai/gpt-4o" || params["api_base"] != "https://example.org/v1" ||
			params["rpm"] != json.Number("5") || params["timeout"] != json.Number("2.5") || params["api_key"] != nil ||
			info["tier"] != "paid" || info["id"] != id || info["db_model"] != true || info["input_cost_per_token"] != json.Number("0.5") ||
			params["output_cost_per_token"] != json.Number("0.25") || params["output_cost_per_image_token"] != json.Number("2") ||
			info["output_cost_per_token"] != json.Number("0.25") || info["cache_read_input_token_cost"] != json.Number("1.25e-06") || info["key"] != "gpt-4o" ||
			fmt.Sprint(info["pricing_overrides"]) != "[input_cost_per_token output_cost_per_image_token output_cost_per_second output_cost_per_token]" {
			w.Errorf("%v\n%v", params, info)
		}
		// A masked value that is sent back stays, null takes away, the rest is kept.
		w.ok("master", "PATCH", "/model/"+id+"/update", M{
			"litellm_params": M{"rpm": nil, "extra_headers": M{"x-key": Masked}, "api_key": Masked, "tpm": 9},
			"model_info":     M{"tier": nil, "id": id, "db_model": true, "key": "gpt-4o"},
		})
		m, err := store.Get[identity.Model](w.Context(), w.store, id)
		if err != nil {
			w.Fatal(err)
		}
		opened, err := w.api.openParams(m)
		if err != nil || textOf(opened["api_key"]) != "sk-canary-1" || !strings.Contains(string(opened["extra_headers"]), "sk-canary-3") ||
			opened["rpm"] != nil || string(opened["tpm"]) != "9" || string(m.Info["tier"]) != "" || m.Info["db_model"] != nil {
			w.Errorf("%v %v %s", err, m.Info, opened)
		}
		// LiteLLM's update passes over null.
		w.ok("master", "POST", "/model/update", M{"model_info": M{"id": id}, "litellm_params": M{"tpm": nil, "rpm": 7}})
		if p := read()["litellm_params"].(map[string]any); p["tpm"] != json.Number("9") || p["rpm"] != json.Number("7") {
			w.Errorf("%v", p)
		}
		w.ok("master", "POST", "/model/block", M{"model_id": id})
		if read()["model_info"].(map[string]any)["blocked"] != true {
			w.Error("not blocked")
		}
		if data := w.ok("master", "GET", "/model/info?healthy_only=true", nil)["data"].([]any); len(data) != 2 {
			w.Errorf("%d models that are not blocked", len(data))
		}
		w.ok("master", "POST", "/model/unblock", M{"model_id": id})
		w.ok("master", "POST", "/model/delete", M{"id": id})
		w.refused(404, "not found", "master", "GET", "/model/info?litellm_model_id="+id, nil)
		w.noCanary()
	}, withModels(t, &catalog{}))
}

// noCanary looks for secrets of this test in every answer that can be asked for,
// in the log and in the tables.
func (w *world) noCanary() {
	w.Helper()
	for _, path := range []string{"/model/info", "/v2/model/info", "/model_group/info", "/credentials", "/config/list?config_type=general_settings"} {
		if a := w.call("master", "GET", path, nil); strings.Contains(string(a.Raw), "canary") {
			w.Errorf("%s shows a secret: %s", path, a.Raw)
		}
	}
	if strings.Contains(w.log.String(), "canary") {
		w.Error("a secret was logged")
	}
	changes, _, err := w.store.Changes(w.Context(), store.ChangeFilter{Limit: 100})
	if err != nil || len(changes) == 0 {
		w.Fatal(len(changes), err)
	}
	for _, c := range changes {
		if strings.Contains(string(c.Before)+string(c.After), "canary") {
			w.Errorf("change %d has a secret: %s %s", c.Number, c.Before, c.After)
		}
	}
	models, err := store.Find[identity.Model](w.Context(), w.store, store.Query{})
	credentials, err2 := store.Find[identity.Credential](w.Context(), w.store, store.Query{})
	if text, err3 := json.Marshal([]any{models, credentials}); errors.Join(err, err2, err3) != nil || strings.Contains(string(text), "canary") {
		w.Errorf("a table has a secret: %s %v", text, errors.Join(err, err2, err3))
	}
}

func TestModelRefusals(t *testing.T) {
	f := &catalog{}
	each(t, func(w *world) {
		w.ok("master", "POST", "/model/new", dbModel)
		before := w.changes()
		params := func(p M) M { return M{"model_name": "z", "litellm_params": p} }
		for _, c := range []struct {
			status int
			text   string
			path   string
			body   any
		}{
			{400, "litellm_params", "/model/new", M{"model_name": "y"}},
			{400, "model_name", "/model/new", M{"litellm_params": M{"model": "openai/x"}}},
			{400, "litellm_params.model", "/model/new", params(M{"api_key": "k"})},
			{400, "litellm_params.model", "/model/new", params(M{"model": 5})},
			{422, "model_name", "/model/new", M{"model_name": 5, "litellm_params": M{"model": "openai/x"}}},
			{422, "litellm_params", "/model/new", M{"model_name": "z", "litellm_params": "openai/x"}},
			{400, "litellm_params.api_base", "/model/new", params(M{"model": "openai/x", "api_base": "file:///etc/passwd"})},
			{400, "litellm_params.rpm", "/model/new", params(M{"model": "openai/x", "rpm": -1})},
			{400, "input_cost_per_token", "/model/new", params(M{"model": "openai/x", "input_cost_per_token": -0.1})},
			{400, "model_info.deep.api_key", "/model/new", M{"model_name": "z", "litellm_params": M{"model": "openai/x"}, "model_info": M{"deep": M{"api_key": "sk-canary"}}}},
			{400, "model_info.id", "/model/new", M{"model_name": "z", "litellm_params": M{"model": "openai/x"}, "model_info": M{"id": 5}}},
			{404, "team_id=none", "/model/new", M{"model_name": "z", "litellm_params": M{"model": "openai/x"}, "model_info": M{"team_id": "none"}}},
			{409, "db-1", "/model/new", dbModel},
			{409, "f1", "/model/new", M{"model_name": "z", "litellm_params": M{"model": "openai/x"}, "model_info": M{"id": "f1"}}},
			{400, "model_info.id", "/model/update", M{"litellm_params": M{"rpm": 1}}},
			{404, "nope", "/model/update", M{"model_info": M{"id": "nope"}}},
			{400, "configuration file", "/model/update", M{"model_info": M{"id": "f1"}}},
			{400, "configuration file", "/model/delete", M{"id": "f1"}},
			{404, "nope", "/model/block", M{"model_id": "nope"}},
			{422, "model_id", "/model/unblock", M{}},
			{422, "id", "/model/delete", M{}},
		} {
			a := w.refused(c.status, c.text, "master", "POST", c.path, c.body)
			if strings.Contains(string(a.Raw), "canary") || strings.Contains(string(a.Raw), "passwd") {
				w.Errorf("the refusal repeats the value: %s", a.Raw)
			}
		}
		w.refused(400, "model_info.id", "master", "PATCH", "/model/db-1/update", M{"model_info": M{"id": "db-2"}})
		w.refused(400, "litellm_params.model", "master", "PATCH", "/model/db-1/update", M{"litellm_params": M{"model": nil}})
		w.refused(422, "page", "master", "GET", "/v2/model/info?page=0", nil)
		if after := w.changes(); after != before {
			w.Errorf("%d changes were written by refused calls", after-before)
		}
	}, withModels(t, f))
}

// The configuration's own judgement is asked before anything is stored.
func TestModelChecked(t *testing.T) {
	each(t, func(w *world) {
		f := w.api.c.Models.Catalog.(*catalog)
		f.mu.Lock()
		f.refuse = &FieldError{Field: "litellm_params.rpm", Problem: "is 'many'", Allowed: "a whole number"}
		f.mu.Unlock()
		w.refused(400, "litellm_params.rpm is 'many'; allowed: a whole number.", "master", "POST", "/model/new", dbModel)
		w.refused(400, `"param":"litellm_params.rpm"`, "master", "POST", "/config/update", M{"router_settings": M{"num_retries": 1}})
		if w.changes() != 0 {
			w.Error("it was written all the same")
		}
	}, func(c *Config) { withModels(t, &catalog{})(c) })
}

func TestModelsNotStored(t *testing.T) {
	each(t, func(w *world) {
		for path, body := range map[string]M{
			"/model/new": dbModel, "/model/delete": {"id": "x"}, "/credentials": {"credential_name": "c", "credential_values": M{"a": "b"}, "credential_info": M{}},
			"/config/update": {"general_settings": M{"a": 1}},
		} {
			w.refused(500, "store_model_in_db", "master", "POST", path, body)
		}
		if data := w.ok("master", "GET", "/model/info", nil)["data"].([]any); len(data) != 2 {
			w.Errorf("%d models of the file", len(data))
		}
	}, func(c *Config) { withModels(t, &catalog{})(c); c.StoreModels = false })
}

// Many at once: one id is made once, and no update is lost.
func TestModelsAtOnce(t *testing.T) {
	each(t, func(w *world) {
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			codes = map[int]int{}
		)
		for range 8 {
			wg.Go(func() {
				a := w.call("master", "POST", "/model/new", dbModel)
				mu.Lock()
				defer mu.Unlock()
				codes[a.Status]++
			})
		}
		wg.Wait()
		if codes[http.StatusOK] != 1 || codes[http.StatusConflict] != 7 {
			w.Fatalf("%v", codes)
		}
		for i := range 8 {
			wg.Go(func() {
				w.call("master", "PATCH", "/model/db-1/update", M{"litellm_params": M{fmt.Sprintf("p%d", i): i}})
			})
		}
		wg.Wait()
		m, err := store.Get[identity.Model](context.Background(), w.store, "db-1")
		if err != nil || len(m.Params) != 3+8 {
			w.Errorf("%d parameters, %v", len(m.Params), err)
		}
	}, withModels(t, &catalog{}))
}

// A model that was sealed with another key is shown and can be deleted.
func TestModelOfAnotherKey(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/model/new", dbModel)
		other, err := seal.New("sk-another-salt")
		if err != nil {
			w.Fatal(err)
		}
		w.api.c.Models.Keys.Ring = func() *seal.Ring { return other }
		if data := w.ok("master", "GET", "/model/info?litellm_model_id=db-1", nil)["data"].([]any); len(data) != 1 {
			w.Error("it is not shown")
		}
		w.refused(500, "LITELLM_SALT_KEY", "master", "PATCH", "/model/db-1/update", M{"litellm_params": M{"rpm": 1}})
		w.ok("master", "POST", "/model/delete", M{"id": "db-1"})
	}, func(c *Config) { withModels(t, &catalog{})(c) })
}

// A caller sees what it may call, and no addresses.
func TestModelVisibility(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/model/new", M{"model_name": "open", "litellm_params": M{"model": "openai/x", "api_base": "https://inside.example/v1"}, "model_info": M{"id": "o"}})
		w.team("t1", "", "u-member", "u-lead:admin")
		w.ok("master", "POST", "/model/new", M{"model_name": "ours", "litellm_params": M{"model": "openai/x", "api_base": "https://inside.example/v1"}, "model_info": M{"id": "t", "team_id": "t1"}})
		w.userKey("member", "u-member", identity.RoleInternalUser)
		w.userKey("lead", "u-lead", identity.RoleInternalUser)
		w.userKey("stranger", "u-stranger", identity.RoleInternalUser)
		w.key("narrow", func(k *identity.Key) { k.Models = []string{"mock"} })
		w.key("grouped", func(k *identity.Key) { k.Models = []string{"beta"} })
		for as, want := range map[string]string{
			"master": "f1 f2 o t", "member": "f1 f2 o t", "lead": "f1 f2 o t", "stranger": "f1 f2 o", "narrow": "f1", "grouped": "f2",
		} {
			var ids []string
			doc := w.ok(as, "GET", "/v2/model/info?include_team_models=true", nil)
			for _, x := range doc["data"].([]any) {
				m := x.(map[string]any)
				id := m["model_info"].(map[string]any)["id"].(string)
				ids = append(ids, id)
				sees := as == "master" || as == "lead" && id == "t"
				if _, has := m["litellm_params"].(map[string]any)["api_base"]; has != (sees && (id == "o" || id == "t")) {
					w.Errorf("%s sees of %s: %v", as, id, m["litellm_params"])
				}
			}
			if got := strings.Join(ids, " "); got != want || doc["total_count"] != json.Number(fmt.Sprint(len(ids))) {
				w.Errorf("%s sees %s of %v, want %s", as, got, doc["total_count"], want)
			}
		}
		w.refused(404, "not found", "stranger", "GET", "/model/info?litellm_model_id=t", nil)
		w.refused(404, "Team not found", "stranger", "GET", "/model/info?teamId=t1", nil)
		w.refused(404, "not found", "narrow", "GET", "/model/info?litellm_model_id=o", nil)
		if groups := w.ok("narrow", "GET", "/model_group/info", nil)["data"].([]any); len(groups) != 1 {
			w.Errorf("%d groups", len(groups))
		}
		// The function of package auth is asked where there is one.
		w.api.c.Models.MayUse = func(_ *auth.Identity, m *auth.Model) bool {
			return m.Name == "open" || slices.Contains(m.Groups, "beta")
		}
		if data := w.ok("narrow", "GET", "/model/info", nil)["data"].([]any); len(data) != 2 {
			w.Errorf("%d models", len(data))
		}
	}, func(c *Config) { withModels(t, &catalog{})(c) })
}

func TestModelPages(t *testing.T) {
	each(t, func(w *world) {
		for _, name := range []string{"c", "a", "B", "d*"} {
			w.ok("master", "POST", "/model/new", M{"model_name": name, "litellm_params": M{"model": "openai/x"}, "model_info": M{"id": name}})
		}
		names := func(query string) string {
			var out []string
			for _, x := range w.ok("master", "GET", "/v2/model/info?"+query, nil)["data"].([]any) {
				out = append(out, x.(map[string]any)["model_name"].(string))
			}
			return strings.Join(out, " ")
		}
		for query, want := range map[string]string{
			"sortBy=model_name": "a B c d* gpt-4o-mini mock",
			"sortBy=model_name&sortOrder=desc&size=2&page=2": "d* c",
			"size=4&page=3":              "",
			"search=MOC":                 "mock",
			"model=a":                    "a",
			"modelId=f2":                 "gpt-4o-mini",
			"wildcard_only=true":         "d*",
			"access_group=beta":          "gpt-4o-mini",
			"sortBy=costs&size=1&page=6": "mock",
			"page=99999999999&size=500":  "",
		} {
			if got := names(query); got != want {
				w.Errorf("%s: %s, want %s", query, got, want)
			}
		}
	}, withModels(t, &catalog{}))
}

// Without a database the models of the file are described all the same.
func TestModelsWithoutDatabase(t *testing.T) {
	api, err := New(func() Config { c := Config{}; withModels(t, &catalog{})(&c); return c }())
	if err != nil {
		t.Fatal(err)
	}
	master := &world{T: t}
	for path, want := range map[string]int{
		"/model/info": 200, "/model/info?litellm_model_id=f1": 200, "/v2/model/info?include_team_models=true": 200, "/model_group/info": 200,
		"/model/info?teamId=t": 404, "/credentials": 500,
	} {
		target, query, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		route, _ := routeOf("GET", target)
		r := api.Serve(t.Context(), &Request{Route: route, Query: values, Caller: master.caller("master")})
		if r.Status != want || want == 200 && !strings.Contains(string(r.Body), "gpt-4o") {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}

// While the database is away the models that this process serves are described.
func TestModelsWhileAway(t *testing.T) {
	source, err := postgres.ParseURL("postgresql://u:p@127.0.0.1:1/none?connect_timeout=1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Postgres: source})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := &catalog{stored: []Deployment{{ID: "db-1", Name: "dbm", Provider: "openai", Model: "x", DB: true}}}
	c := Config{Store: s, Log: slog.New(slog.DiscardHandler)}
	withModels(t, f)(&c)
	api, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	master := (&world{T: t}).caller("master")
	call := func(method, path, body string) Reply {
		route, params := routeOf(method, path)
		return api.Serve(t.Context(), &Request{Route: route, Params: params, Caller: master, Body: []byte(body)})
	}
	if r := call("GET", "/model/info", ""); r.Status != 200 || !strings.Contains(string(r.Body), `"db-1"`) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for path, body := range map[string]string{
		"/model/new": `{"model_name":"a","litellm_params":{"model":"openai/x"}}`, "/config/update": `{"general_settings":{"a":1}}`,
	} {
		if r := call("POST", path, body); r.Status != 503 || len(r.Headers) == 0 {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
}
