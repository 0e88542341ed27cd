package config

import (
	"encoding/json"
	"strings"
	"testing"
)

const overlaidFile = `
model_list:
  - model_name: file
    litellm_params: {model: openai/gpt-4o, litellm_credential_name: shared}
    model_info: {id: f1}
credential_list:
  - credential_name: shared
    credential_values: {api_key: sk-of-file}
  - credential_name: own
    credential_values: {api_key: sk-own}
general_settings: {max_request_size_mb: 1, allow_client_side_credentials: true}
`

func raw(pairs ...string) Objects {
	out := Objects{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return out
}

func loadOverlaid(t *testing.T, o *Overlay) (*File, Problems) {
	t.Helper()
	f, problems := Load(Source{
		Flags: Flags{Config: "f.yaml"}, Environ: environ("LITELLM_MASTER_KEY=sk-never-shown-"+strongKey, "OTHER_KEY=sk-other", "STORE_MODEL_IN_DB=True"), Overlay: o,
		ReadFile: func(string) ([]byte, error) { return []byte(overlaidFile), nil },
	})
	if f == nil {
		t.Fatalf("the overlay keeps the file from being served:\n%s", problems)
	}
	if strings.Contains(problems.String(), "never-shown") {
		t.Errorf("a secret is shown:\n%s", problems)
	}
	return f, problems
}

func byID(f *File, id string) *Deployment {
	for _, d := range f.Models {
		if d.ID == id {
			return d
		}
	}
	return nil
}

func TestOverlay(t *testing.T) {
	f, problems := loadOverlaid(t, &Overlay{
		Models: []OverlayModel{
			{ID: "d1", Name: "stored", Params: raw("model", `"openai/x"`, "api_base", `"https://one.example/v1"`, "rpm", "60", "temperature", "0.5"), Info: raw("access_groups", `["beta"]`, "note", `{"a":[1,2.5,null]}`)},
			{ID: "d2", Name: "file", Params: raw("model", `"openai/y"`, "litellm_credential_name", `"db"`)},
			{ID: "d3", Name: "t", TeamID: "team", Blocked: true, Params: raw("model", `"openai/z"`, "api_key", `"os.environ/OTHER_KEY"`)},
			{ID: "d4", Name: "e", Params: raw("model", `"openai/z"`, "api_key", `"os.environ/OTHER_KEY"`)},
			{ID: "d5", Name: "e", Params: raw("model", `"openai/z"`, "api_key", `"os.environ/LITELLM_MASTER_KEY"`)},
		},
		Credentials: []OverlayCredential{{Name: "db", Values: map[string]string{"api_key": "sk-db", "api_base": "https://db.example"}}, {Name: "shared", Values: map[string]string{"api_key": "sk-shared-db"}}},
		Sections: map[string]Objects{
			"general_settings": raw("max_request_size_mb", "2"),
			"router_settings":  raw("num_retries", "5", "model_group_alias", `{"nick":"stored"}`),
			"litellm_settings": raw("drop_params", "true"),
		},
	})
	if len(problems.Of(Warning)) > 0 {
		t.Errorf("warnings:\n%s", problems)
	}
	if f.General.MaxRequestMB != 2 || !f.General.AllowClientSideCredentials || *f.Router.NumRetries != 5 || !f.LiteLLM.DropParams || len(f.Router.Aliases) != 1 {
		t.Errorf("settings %+v %+v", f.General, f.Router)
	}
	if d := byID(f, "f1"); d == nil || d.Stored || d.Params.APIKey != "sk-shared-db" {
		t.Errorf("f1 %+v", d)
	}
	d := byID(f, "d1")
	if d == nil || !d.Stored || d.Params.RPM != 60 || d.Params.APIBase != "https://one.example/v1" || len(d.Params.Defaults) != 1 || d.Info.AccessGroups[0] != "beta" {
		t.Fatalf("d1 %+v", d)
	}
	if got := string(d.Info.All[1].JSON); got != `{"a":[1,2.5,null]}` {
		t.Errorf("info %s", got)
	}
	if d := byID(f, "d2"); d.Params.APIKey != "sk-db" || d.Params.APIBase != "https://db.example" {
		t.Errorf("d2 %+v", d.Params)
	}
	if d := byID(f, "d3"); !d.Info.Blocked || d.Info.TeamID != "team" || d.Params.APIKey != "os.environ/OTHER_KEY" {
		t.Errorf("a team's model reads the environment: %+v %q", d.Info, d.Params.APIKey.Reveal())
	}
	if d := byID(f, "d4"); d.Params.APIKey != "sk-other" {
		t.Errorf("d4 has %q", d.Params.APIKey.Reveal())
	}
	if d := byID(f, "d5"); d.Params.APIKey != "" {
		t.Errorf("a model reads the master key: %q", d.Params.APIKey.Reveal())
	}
}

// TestOverlayNonsense: what is wrong is left out, and nothing else with it.
func TestOverlayNonsense(t *testing.T) {
	good := OverlayModel{ID: "good", Name: "good", Params: raw("model", `"openai/x"`)}
	f, problems := loadOverlaid(t, &Overlay{
		Models: []OverlayModel{
			{ID: "no-params", Name: "a"},
			{ID: "no-name", Params: raw("model", `"openai/x"`)},
			{ID: "bad-url", Name: "a", Params: raw("model", `"openai/x"`, "api_base", `"sk-never-shown"`)},
			{ID: "bad-number", Name: "a", Params: raw("model", `"openai/x"`, "rpm", `-1`)},
			{ID: "bad-json", Name: "a", Params: raw("model", `"openai/x`)},
			{ID: "deep", Name: "a", Params: raw("model", `"openai/x"`, "extra_body", strings.Repeat("[", 1000)+strings.Repeat("]", 1000))},
			{ID: "no-credential", Name: "a", Params: raw("model", `"openai/x"`, "litellm_credential_name", `"nobody"`)},
			{ID: "f1", Name: "twin", Params: raw("model", `"openai/x"`)},
			good, good,
		},
		Sections: map[string]Objects{
			"general_settings":      raw("master_key", `"sk-never-shown"`, "database_url", `"x"`, "max_request_size_mb", `"many"`, "litellm_key_header_name", `"a b"`, "allowed_ips", `["10.0.0.0/99"]`, "nonsense", "1", "store_model_in_db", "false"),
			"router_settings":       raw("redis_url", `"redis://x"`, "model_group_alias", `{"a":{}}`, "num_retries", "-4"),
			"environment_variables": raw("PATH", `"x"`),
		},
	})
	if len(f.Models) != 2 || byID(f, "good") == nil || byID(f, "f1").Name != "file" {
		t.Errorf("%d models", len(f.Models))
	}
	if f.General.MasterKey != "sk-never-shown-"+strongKey || f.General.MaxRequestMB != 1 || f.General.KeyHeader != "" || f.General.AllowedIPs != nil || f.Router.NumRetries != nil || f.General.DatabaseURL != "" {
		t.Errorf("settings %+v", f.General)
	}
	for _, of := range []string{"no-params", "no-name", "bad-url", "bad-number", "bad-json", "deep", "no-credential", "f1", "good", "master_key", "max_request_size_mb", "litellm_key_header_name", "allowed_ips", "nonsense", "redis_url", "model_group_alias"} {
		if !strings.Contains(problems.String(), of) {
			t.Errorf("nothing is said of %s", of)
		}
	}
}

// TestOverlayOff: without store_model_in_db nothing of the database counts.
func TestOverlayOff(t *testing.T) {
	o := &Overlay{
		Models:   []OverlayModel{{ID: "d", Name: "n", Params: raw("model", `"openai/x"`)}},
		Sections: map[string]Objects{"general_settings": raw("max_request_size_mb", "2", "store_model_in_db", "true")},
	}
	for text, want := range map[string][2]int{
		"general_settings: {store_model_in_db: false}":                               {0, 0},
		"general_settings: {store_model_in_db: yes, supported_db_objects: [mcp]}":    {0, 2},
		"general_settings: {store_model_in_db: yes, supported_db_objects: [models]}": {1, 2},
	} {
		f, problems := Load(Source{
			Flags: Flags{Config: "f.yaml"}, Environ: environ("STORE_MODEL_IN_DB=True"), Overlay: o,
			ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		})
		if f == nil || len(f.Models) != want[0] || f.General.MaxRequestMB != float64(want[1]) {
			t.Errorf("%s: %+v\n%s", text, f, problems)
		}
	}
}

func TestCheck(t *testing.T) {
	f, _ := loadOverlaid(t, nil)
	if d, p := f.CheckModel(OverlayModel{ID: "x", Name: "n", Params: raw("model", `"openai/x"`)}); p != nil || d.Name != "n" {
		t.Errorf("%+v %v", d, p)
	}
	for field, params := range map[string]Objects{
		"litellm_params.api_base":                raw("model", `"openai/x"`, "api_base", `"ftp://x"`),
		"litellm_params.rpm":                     raw("model", `"openai/x"`, "rpm", `"many"`),
		"litellm_params.model":                   raw("api_key", `"sk-never-shown"`),
		"litellm_params.litellm_credential_name": raw("model", `"openai/x"`, "litellm_credential_name", `"none"`),
	} {
		if _, p := f.CheckModel(OverlayModel{ID: "x", Name: "n", Params: params}); p == nil || p.Key != field || strings.Contains(p.String(), "never-shown") {
			t.Errorf("%s: %v", field, p)
		}
	}
	if p := f.CheckSetting("general_settings", "max_request_size_mb", []byte("3")); p != nil {
		t.Error(p)
	}
	for section, name := range map[string]string{"general_settings": "master_key", "environment_variables": "PATH", "router_settings": "redis_host", "litellm_settings": "nonsense"} {
		if p := f.CheckSetting(section, name, []byte(`"sk-never-shown"`)); p == nil || strings.Contains(p.String(), "never-shown") {
			t.Errorf("%s.%s: %v", section, name, p)
		}
	}
}

// TestShown: what is shown of a configuration holds no secret.
func TestShown(t *testing.T) {
	f, _ := loadOverlaid(t, &Overlay{
		Models: []OverlayModel{{ID: "d", Name: "n", Params: raw("model", `"openai/x"`, "api_key", `"sk-never-shown"`, "rpm", "5", "api_base", `"https://u:never-shown@h/v1"`, "extra_headers", `{"a":"never-shown"}`)}},
		Sections: map[string]Objects{
			"general_settings": raw("max_request_size_mb", "2"), "litellm_settings": raw("cache_params", `{"password":"never-shown"}`),
		},
	})
	var all strings.Builder
	for _, d := range f.Models {
		for _, p := range d.Given() {
			all.WriteString(p.Name + "=" + string(p.JSON) + " ")
		}
	}
	for _, section := range []string{"general_settings", "litellm_settings", "router_settings"} {
		for _, s := range f.Settings(section) {
			all.WriteString(s.Name + "=" + string(s.Value) + " ")
		}
	}
	for _, c := range f.Credentials() {
		for name, v := range c.Values {
			all.WriteString(c.Name + "." + name + "=" + v + " ")
		}
	}
	all.WriteString(f.Masked())
	for _, want := range []string{"rpm=5", "max_request_size_mb=2", "own.api_key= ", "litellm_credential_name=\"shared\""} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%s is not shown", want)
		}
	}
	for _, secret := range []string{"never-shown", "sk-", "database_url"} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s is shown: %s", secret, all.String())
		}
	}
}

func FuzzValueOf(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,null,"x",true]}`, `[`, `1e400`, `"\ud800"`, `{"a":1}{}`, "00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := valueOf([]byte(s), nil)
		if err != nil {
			return
		}
		if out := v.appendJSON(nil); !json.Valid(out) {
			t.Errorf("%q became %q", s, out)
		}
	})
}
