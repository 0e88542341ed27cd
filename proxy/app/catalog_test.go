package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/env"
	"sluice/proxy/admin"
	"sluice/proxy/config"
	"sluice/proxy/identity"
)

const catalogFile = `
model_list:
  - model_name: file
    litellm_params: {model: openai/gpt-4o, api_key: sk-never-shown, api_base: "https://one.example/v1"}
    model_info: {id: f1, access_groups: [beta]}
  - model_name: nobody
    litellm_params: {model: not-a-provider/x}
credential_list:
  - credential_name: shared
    credential_values: {api_key: sk-never-shown, api_base: "https://two.example"}
general_settings: {store_model_in_db: true, max_request_size_mb: 3}
`

func newTestCatalog(t *testing.T, o *config.Overlay) *catalog {
	t.Helper()
	file, problems := read(config.Source{
		Flags: config.Flags{Config: "f.yaml"}, Environ: env.Parse([]byte("LITELLM_MASTER_KEY=sk-never-shown")), Overlay: o,
		ReadFile: func(path string) ([]byte, error) { return files{"f.yaml": []byte(catalogFile)}.replay(path) },
	})
	if file == nil {
		t.Fatalf("%s", problems)
	}
	return newCatalog(&worker{}, file)
}

func TestCatalog(t *testing.T) {
	c := newTestCatalog(t, &config.Overlay{Models: []config.OverlayModel{{
		ID: "d1", Name: "stored", TeamID: "team", Blocked: true,
		Params: config.Objects{"model": json.RawMessage(`"openai/x"`), "api_key": json.RawMessage(`"sk-never-shown"`), "rpm": json.RawMessage("5")},
	}}})
	found := map[string]admin.Deployment{}
	for _, d := range c.Deployments() {
		found[d.Name] = d
	}
	if d := found["file"]; d.ID != "f1" || d.Provider != "openai" || d.Model != "gpt-4o" || d.DB || string(d.Params["api_base"]) != `"https://one.example/v1"` || d.Info["access_groups"] == nil {
		t.Errorf("file %+v", d)
	}
	if d := found["stored"]; d.ID != "d1" || !d.DB || !d.Blocked || d.TeamID != "team" || string(d.Params["rpm"]) != "5" {
		t.Errorf("stored %+v", d)
	}
	if d := found["nobody"]; d.Provider != "not-a-provider" || d.Model != "x" {
		t.Errorf("nobody %+v", d)
	}
	if f := c.Credentials(); len(f) != 1 || f[0].Values["api_key"] != admin.Masked || f[0].Values["api_base"] != "https://two.example" {
		t.Errorf("credentials %+v", f)
	}
	set := map[string]string{}
	for _, s := range c.Settings("general_settings") {
		set[s.Name] = s.Type + " " + string(s.Value)
	}
	if set["max_request_size_mb"] != "Float 3" || set["allowed_ips"] != "List " || set["master_key"] != "" || set["database_url"] != "" {
		t.Errorf("settings %v", set)
	}
	if all := fmt.Sprint(found, c.Credentials(), set, c.Masked()); strings.Contains(all, "never-shown") {
		t.Errorf("a secret is shown: %s", all)
	}
}

// TestCatalogCheck: what is stored has passed the reading that it will meet.
func TestCatalogCheck(t *testing.T) {
	c := newTestCatalog(t, nil)
	fields := func(pairs ...string) identity.Fields {
		out := identity.Fields{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = json.RawMessage(pairs[i+1])
		}
		return out
	}
	for _, good := range []identity.Fields{
		fields("model", `"openai/x"`), fields("model", `"openai/x"`, "litellm_credential_name", `"shared"`),
		fields("model", `"openai/*"`), fields("model", `"openai/x"`, "mock_response", `"hi"`),
	} {
		name := "n"
		if strings.Contains(string(good["model"]), "*") {
			name = "openai/*"
		}
		if err := c.Check(name, good, nil); err != nil {
			t.Errorf("%s: %v", good["model"], err)
		}
	}
	for field, bad := range map[string]identity.Fields{
		"litellm_params":                         fields("model", `"not-a-provider/x"`),
		"litellm_params.model":                   fields("api_key", `"sk-never-shown"`),
		"litellm_params.rpm":                     fields("model", `"openai/x"`, "rpm", `"many"`),
		"litellm_params.api_base":                fields("model", `"openai/x"`, "api_base", `"sk-never-shown"`),
		"litellm_params.litellm_credential_name": fields("model", `"openai/x"`, "litellm_credential_name", `"none"`),
		"litellm_params.extra_headers.a b":       fields("model", `"openai/x"`, "extra_headers", `{"a b":"c"}`),
	} {
		var wrong *admin.FieldError
		if err := c.Check("n", bad, nil); !errors.As(err, &wrong) || wrong.Field != field || strings.Contains(err.Error(), "never-shown") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := c.CheckConfig("general_settings", fields("max_request_size_mb", "2")); err != nil {
		t.Error(err)
	}
	for name, value := range map[string]string{"max_request_size_mb": `"many"`, "master_key": `"sk-never-shown"`, "unheard_of": "1"} {
		var wrong *admin.FieldError
		if err := c.CheckConfig("general_settings", fields(name, value)); !errors.As(err, &wrong) || wrong.Field != "general_settings."+name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.CheckConfig("environment_variables", fields("A", `"b"`)); err != nil {
		t.Error(err)
	}
	if err := c.CheckConfig("environment_variables", fields("LITELLM_SALT_KEY", `"b"`)); err == nil {
		t.Error("the gateway's own variables can be changed")
	}
}
