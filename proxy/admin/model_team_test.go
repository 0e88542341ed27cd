package admin

import (
	"slices"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// A team admin adds models for its own team, with its team's own key, at listed
// addresses, and touches nobody else's.
func TestTeamModels(t *testing.T) {
	each(t, func(w *world) {
		w.team("t1", "", "u-lead:admin", "u-member")
		w.team("t2", "", "u-other:admin")
		w.userKey("lead", "u-lead", identity.RoleInternalUser)
		w.userKey("member", "u-member", identity.RoleInternalUser)
		w.userKey("other", "u-other", identity.RoleInternalUser)
		w.userKey("viewer", "u-viewer", identity.RoleProxyAdminViewer)
		w.ok("master", "POST", "/model/new", M{"model_name": "global", "litellm_params": M{"model": "openai/x"}, "model_info": M{"id": "g"}})
		model := func(team string, p M) M {
			return M{"model_name": "tm", "litellm_params": p, "model_info": M{"id": "tm", "team_id": team}}
		}
		good := M{"model": "openai/x", "api_key": "k", "api_base": "https://allowed.example/v1/", "rpm": 3, "input_cost_per_token": 0.1}
		with := func(name string, v any) M {
			out := M{}
			for k, v := range good {
				out[k] = v
			}
			out[name] = v
			if v == nil {
				delete(out, name)
			}
			return out
		}
		w.insert(&identity.AccessGroup{ID: "ag", Name: "group"})
		before := w.changes()
		for _, c := range []struct {
			status int
			text   string
			as     string
			body   M
		}{
			{403, "team_id", "lead", M{"model_name": "tm", "litellm_params": good}},
			{403, "team_id", "lead", model("t2", good)},
			{403, "team_id", "member", model("t1", good)},
			{403, "proxy_admin_viewer", "viewer", model("t1", good)},
			{403, "litellm_params.api_base", "lead", model("t1", with("api_base", "http://169.254.169.254/v1"))},
			{403, "litellm_params.base_url", "lead", model("t1", with("base_url", "https://allowed.example/v1"))},
			{403, "litellm_params.unix_socket", "lead", model("t1", with("unix_socket", "/run/docker.sock"))},
			{403, "litellm_params.ssl_certificate", "lead", model("t1", with("ssl_certificate", "/etc/shadow"))},
			{403, "litellm_params.extra_headers", "lead", model("t1", with("extra_headers", M{"a": "b"}))},
			{403, "litellm_params.litellm_credential_name", "lead", model("t1", with("litellm_credential_name", "cr"))},
			{403, "litellm_params.api_key", "lead", model("t1", with("api_key", "os.environ/LITELLM_MASTER_KEY"))},
			{400, "litellm_params.api_key", "lead", model("t1", with("api_key", nil))},
			{403, "access_groups", "lead", M{"model_name": "tm", "litellm_params": good, "model_info": M{"team_id": "t1", "access_groups": []string{"beta"}}}},
			{409, "model_name", "lead", M{"model_name": "mock", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
			{409, "model_name", "lead", M{"model_name": "global", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
			{409, "model_name", "lead", M{"model_name": "beta", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
			{409, "model_name", "lead", M{"model_name": "group", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
			{409, "model_name", "lead", M{"model_name": "all-proxy-models", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
			{409, "model_name", "lead", M{"model_name": "*", "litellm_params": good, "model_info": M{"team_id": "t1"}}},
		} {
			w.refused(c.status, c.text, c.as, "POST", "/model/new", c.body)
		}
		if after := w.changes(); after != before {
			w.Fatalf("%d changes were written by refused calls", after-before)
		}
		made := w.ok("lead", "POST", "/model/new", model("t1", good))
		if info := made["model_info"].(map[string]any); info["team_id"] != "t1" || info["team_public_model_name"] != "tm" {
			w.Errorf("%v", info)
		}
		w.ok("lead", "PATCH", "/model/tm/update", M{"litellm_params": M{"rpm": 4}})
		before = w.changes()
		// To another provider, the key must come along.
		w.refused(400, "litellm_params.api_key", "lead", "PATCH", "/model/tm/update", M{"litellm_params": M{"model": "groq/x"}})
		w.refused(403, "team_id", "lead", "PATCH", "/model/tm/update", M{"model_info": M{"team_id": "t2"}})
		w.refused(403, "team_id", "lead", "PATCH", "/model/tm/update", M{"model_info": M{"team_id": nil}})
		w.refused(403, "team_id", "lead", "PATCH", "/model/g/update", M{"litellm_params": M{"rpm": 4}})
		w.refused(404, "tm not found", "other", "PATCH", "/model/tm/update", M{"litellm_params": M{"rpm": 4}})
		w.refused(400, "not found", "other", "POST", "/model/delete", M{"id": "tm"})
		w.refused(404, "tm not found", "other", "POST", "/model/block", M{"model_id": "tm"})
		w.refused(403, "team_id", "member", "POST", "/model/delete", M{"id": "tm"})
		if after := w.changes(); after != before {
			w.Errorf("%d changes were written by refused calls", after-before)
		}
		w.ok("lead", "PATCH", "/model/tm/update", M{"litellm_params": M{"model": "groq/x", "api_key": "k2"}})
		w.ok("lead", "POST", "/model/delete", M{"id": "tm"})
	}, withModels(t, &catalog{}))
}

// A team with a list of models gains the name of its new model, and loses it with
// the last one; a list never becomes empty, which would mean everything.
func TestTeamList(t *testing.T) {
	each(t, func(w *world) {
		w.insert(&identity.Team{ID: "t1", Models: []string{"mock"}}, &identity.Team{ID: "t2"})
		make := func(id, name, team string) {
			w.ok("master", "POST", "/model/new", M{"model_name": name, "litellm_params": M{"model": "openai/x"}, "model_info": M{"id": id, "team_id": team}})
		}
		is := func(team string, want ...string) {
			w.Helper()
			got, err := store.Get[identity.Team](w.Context(), w.store, team)
			if err != nil || !slices.Equal(got.Models, want) {
				w.Errorf("%s: %v %v, want %v", team, got.Models, err, want)
			}
		}
		make("1", "a", "t1")
		make("2", "a", "t1")
		make("3", "b", "t2")
		is("t1", "mock", "a")
		is("t2")
		w.ok("master", "POST", "/model/delete", M{"id": "1"})
		is("t1", "mock", "a")
		w.ok("master", "PATCH", "/model/2/update", M{"model_name": "c"})
		is("t1", "mock", "c")
		w.ok("master", "PATCH", "/model/2/update", M{"model_info": M{"team_id": "t2"}})
		is("t1", "mock")
		is("t2")
	}, withModels(t, &catalog{}))
}
