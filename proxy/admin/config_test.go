package admin

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestConfig(t *testing.T) {
	f := &catalog{settings: []Setting{
		{Name: "a", Type: "Integer", Summary: "an a", Value: json.RawMessage("1")},
		{Name: "b", Type: "Integer", Default: "2"},
		{Name: "master_key", Type: "String", Value: json.RawMessage(`"sk-canary"`)},
	}}
	each(t, func(w *world) {
		w.ok("master", "POST", "/config/update", M{"general_settings": M{"a": 5, "c": M{"d": 1}}, "router_settings": M{"num_retries": 2}, "environment_variables": M{}})
		if n := w.changes(); n != 2 {
			w.Errorf("%d changes for two sections", n)
		}
		w.ok("master", "POST", "/config/update", M{"general_settings": M{"a": 5}})
		if n := w.changes(); n != 2 {
			w.Errorf("%d changes: the same value again is none", n)
		}
		w.ok("master", "POST", "/config/update", M{"general_settings": M{"c": nil, "e": "x"}})
		item, err := store.Get[identity.ConfigItem](w.Context(), w.store, "general_settings")
		if err != nil || len(item.Value) != 2 || string(item.Value["a"]) != "5" || string(item.Value["e"]) != `"x"` {
			w.Errorf("%s %v", item.Value, err)
		}
		a := w.call("master", "GET", "/config/list?config_type=general_settings", nil)
		want := `[{"field_name":"a","field_type":"Integer","field_description":"an a","field_value":5,"stored_in_db":true,"field_default_value":null,"premium_field":false,"nested_fields":null},` +
			`{"field_name":"b","field_type":"Integer","field_description":"","field_value":null,"stored_in_db":null,"field_default_value":"2","premium_field":false,"nested_fields":null},` +
			`{"field_name":"master_key","field_type":"String","field_description":"","field_value":null,"stored_in_db":false,"field_default_value":null,"premium_field":false,"nested_fields":null}]`
		if a.Status != 200 || string(a.Raw) != want {
			w.Errorf("%d %s", a.Status, a.Raw)
		}
		if got := w.ok("master", "GET", "/config/field/info?field_name=a", nil); got["field_value"] != json.Number("5") {
			w.Errorf("%v", got)
		}
		w.ok("master", "POST", "/config/field/delete", M{"field_name": "a", "config_type": "general_settings"})
		w.refused(400, "Field name=a is not set", "master", "GET", "/config/field/info?field_name=a", nil)
		if a := w.call("master", "GET", "/config/yaml", nil); a.Status != 200 || !strings.Contains(string(a.Raw), "model_list") {
			w.Errorf("%d %s", a.Status, a.Raw)
		}
	}, withModels(t, f))
}

func TestConfigRefusals(t *testing.T) {
	each(t, func(w *world) {
		section := func(name string, v any) M {
			return M{"router_settings": M{"num_retries": 3}, "general_settings": M{name: v}}
		}
		field := func(name string, v any) M {
			return M{"field_name": name, "field_value": v, "config_type": "general_settings"}
		}
		for _, c := range []struct {
			status     int
			text, path string
			body       any
		}{
			{400, "no text", "/config/update", M{"environment_variables": M{"A": M{"b": "canary"}}}},
			{400, "environment_variables.A", "/config/update", M{"environment_variables": M{"A": "os.environ/LITELLM_SALT_KEY"}}},
			{400, "environment_variables", "/config/update", M{"environment_variables": M{"A B": "canary"}}},
			{400, "model_list", "/config/update", M{"model_list": []any{}}},
			{400, "general_settings.master_key", "/config/update", section("master_key", "sk-canary")},
			{400, "general_settings.database_url", "/config/update", section("database_url", "canary")},
			{400, "general_settings.database_connection_pool_limit", "/config/update", section("database_connection_pool_limit", 3)},
			{400, "general_settings.store_model_in_db", "/config/update", section("store_model_in_db", false)},
			{400, "general_settings.x", "/config/update", section("x", "os.environ/LITELLM_SALT_KEY")},
			{400, "general_settings.x.y.api_key", "/config/update", section("x", M{"y": M{"api_key": "canary"}})},
			{400, "general_settings.x[1].token", "/config/update", section("x", []any{1, M{"token": "canary"}})},
			{400, "general_settings.x", "/config/update", section("x", "https://u:canary@example.org/")},
			{400, "general_settings.alert_to_webhook_url", "/config/update", section("alert_to_webhook_url", M{"x": "https://hooks.example/canary"})},
			{400, "general_settings.x.webhooks.y[0]", "/config/update", section("x", M{"webhooks": M{"y": []any{"https://hooks.example/canary"}}})},
			{400, "general_settings.x", "/config/update", section("x", "sk-canary")},
			{422, "general_settings", "/config/update", M{"general_settings": "canary"}},
			{400, "general_settings.master_key", "/config/field/update", field("master_key", "sk-canary")},
			{400, "field_value", "/config/field/update", field("a", nil)},
			{422, "field_value", "/config/field/update", M{"field_name": "a", "config_type": "general_settings"}},
			{422, "config_type", "/config/field/update", M{"field_name": "a", "field_value": 1, "config_type": "router_settings"}},
			{400, "not in the database", "/config/field/delete", M{"field_name": "a", "config_type": "general_settings"}},
		} {
			if a := w.refused(c.status, c.text, "master", "POST", c.path, c.body); strings.Contains(string(a.Raw), "canary") {
				w.Errorf("the refusal repeats the value: %s", a.Raw)
			}
		}
		if n := w.changes(); n != 0 {
			w.Errorf("%d changes were written by refused calls", n)
		}
	}, withModels(t, &catalog{}))
}
