package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestCredentials(t *testing.T) {
	each(t, func(w *world) {
		made := M{
			"credential_name": "a b/c", "display_name": "For people", "credential_info": M{"provider": "openai"},
			"credential_values": M{"api_key": "sk-canary-1", "api_base": "https://example.org/v1?key=sk-canary-3&other=sk-canary-2", "odd": "sk-canary-4"},
		}
		w.ok("master", "POST", "/credentials", made)
		for _, path := range []string{"/credentials/a%20b%2Fc", "/credentials/by_name/a%20b%2Fc"} {
			got := w.ok("master", "GET", path, nil)
			values := got["credential_values"].(map[string]any)
			if got["credential_name"] != "a b/c" || got["display_name"] != "For people" || got["credential_info"].(map[string]any)["provider"] != "openai" ||
				len(got["credential_info"].(map[string]any)) != 1 || values["api_key"] != Masked || values["odd"] != Masked ||
				values["api_base"] != "https://example.org/v1" || got["source"] != "db" {
				w.Errorf("%v", got)
			}
		}
		opened := func() map[string]string {
			m, err := store.One[identity.Credential](w.Context(), w.store, store.Eq("credential_name", "a b/c"))
			if err != nil {
				w.Fatal(err)
			}
			values, err := w.api.openValues(m)
			if err != nil {
				w.Fatal(err)
			}
			return values
		}
		w.ok("master", "PATCH", "/credentials/a%20b%2Fc", M{
			"credential_info": M{"note": "n", "provider": nil}, "credential_values": M{"api_key": Masked, "odd": "sk-canary-5"},
			"credential_values_to_delete": []string{"api_base"}, "display_name": nil,
		})
		if v := opened(); v["api_key"] != "sk-canary-1" || v["odd"] != "sk-canary-5" || len(v) != 2 {
			w.Errorf("%v", v)
		}
		got := w.ok("master", "GET", "/credentials/a%20b%2Fc", nil)
		if text, err := json.Marshal(got["credential_info"]); string(text) != `{"note":"n"}` || err != nil || got["display_name"] != nil {
			w.Errorf("%v", got)
		}
		w.noCanary()

		before := w.changes()
		for _, c := range []struct {
			status             int
			text, method, path string
			body               any
		}{
			{409, "already exists", "POST", "/credentials", made},
			{400, "credential_name", "POST", "/credentials", M{"credential_name": " ", "credential_values": M{"a": "b"}, "credential_info": M{}}},
			{400, "by_name", "POST", "/credentials", M{"credential_name": "by_name", "credential_values": M{"a": "b"}, "credential_info": M{}}},
			{400, "credential_values", "POST", "/credentials", M{"credential_name": "n", "credential_info": M{}}},
			{400, "credential_values.api_key", "POST", "/credentials", M{"credential_name": "n", "credential_info": M{}, "credential_values": M{"api_key": Masked}}},
			{400, "credential_values.api_base", "POST", "/credentials", M{"credential_name": "n", "credential_info": M{}, "credential_values": M{"api_base": "x"}}},
			{404, "nope", "POST", "/credentials", M{"credential_name": "n", "credential_info": M{}, "model_id": "nope"}},
			{422, "credential_name", "POST", "/credentials", M{"credential_values": M{}}},
			{404, "nope", "GET", "/credentials/by_name/nope", nil},
			{404, "nope", "GET", "/credentials/nope", nil},
			{404, "nope", "GET", "/credentials/by_model/nope", nil},
			{404, "nope", "PATCH", "/credentials/nope", M{"credential_info": M{}}},
			{404, "nope", "DELETE", "/credentials/nope", nil},
			{400, "renamed", "PATCH", "/credentials/a%20b%2Fc", M{"credential_name": "other", "credential_info": M{}}},
			{400, "configuration file", "DELETE", "/credentials/of-file", nil},
		} {
			if a := w.refused(c.status, c.text, "master", c.method, c.path, c.body); strings.Contains(string(a.Raw), "canary") {
				w.Errorf("%s", a.Raw)
			}
		}
		if after := w.changes(); after != before {
			w.Errorf("%d changes were written by refused calls", after-before)
		}
		if got := w.ok("master", "GET", "/credentials/of-file", nil); got["source"] != "config" || strings.Contains(got["credential_values"].(map[string]any)["api_base"].(string), "u:p") {
			w.Errorf("%v", got)
		}
		// From a deployment, and of one.
		w.ok("master", "POST", "/model/new", dbModel)
		w.ok("master", "POST", "/credentials", M{"credential_name": "from", "model_id": "db-1", "credential_info": M{}})
		if values := w.ok("master", "GET", "/credentials/from", nil)["credential_values"].(map[string]any); len(values) != 1 || values["api_key"] != Masked {
			w.Errorf("%v", values)
		}
		if got := w.ok("master", "GET", "/credentials/by_model/db-1", nil); strings.Contains(string(quoted(got)), "sk-secret") {
			w.Errorf("%v", got)
		}
		w.ok("master", "DELETE", "/credentials/a%20b%2Fc", nil)
		w.refused(404, "a b/c", "master", "GET", "/credentials/a%20b%2Fc", nil)
	}, withModels(t, &catalog{}))
}

// Reading is for admins and their viewers, writing for admins.
func TestSettingsCallers(t *testing.T) {
	each(t, func(w *world) {
		w.team("t1", "", "u-lead:admin")
		w.userKey("admin", "u-admin", identity.RoleProxyAdmin)
		w.userKey("viewer", "u-pav", identity.RoleProxyAdminViewer)
		w.userKey("user", "u-int", identity.RoleInternalUser)
		w.userKey("lead", "u-lead", identity.RoleInternalUser)
		w.key("bare", nil)
		w.key("team", func(k *identity.Key) { k.TeamID = "t1" })
		reads := []string{"/credentials", "/credentials/of-file", "/credentials/by_model/f1", "/config/list?config_type=general_settings", "/config/yaml"}
		writes := map[string]any{
			"/credentials": M{"credential_name": "c", "credential_values": M{"a": "b"}, "credential_info": M{}}, "/config/update": M{"general_settings": M{"a": 1}},
			"/config/field/update": M{"field_name": "b", "field_value": 1, "config_type": "general_settings"},
			"/config/field/delete": M{"field_name": "b", "config_type": "general_settings"},
		}
		for as, want := range map[string][2]int{"viewer": {200, 403}, "user": {401, 401}, "lead": {401, 401}, "bare": {401, 401}, "team": {401, 401}} {
			for _, path := range reads {
				if a := w.call(as, "GET", path, nil); a.Status != want[0] {
					w.Errorf("%s as %s: %d %s", path, as, a.Status, a.Raw)
				}
			}
			for path, body := range writes {
				w.refused(want[1], "", as, "POST", path, body)
			}
		}
		for _, path := range []string{"/credentials", "/config/update", "/config/field/update", "/config/field/delete"} {
			w.ok("admin", "POST", path, writes[path])
		}
	}, withModels(t, &catalog{}))
}
