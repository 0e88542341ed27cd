package config

import "testing"

// TestStoredVariables: what the API stored stands behind the environment, for
// what the database holds, and never for the gateway's own settings.
func TestStoredVariables(t *testing.T) {
	load := func(environment ...string) *File {
		t.Helper()
		f, problems := Load(Source{
			Flags: Flags{Config: "f.yaml"}, Environ: environ(append(environment, "LITELLM_MASTER_KEY=sk-never-shown-"+strongKey, "STORE_MODEL_IN_DB=True")...),
			Providers: []Provider{{Prefix: "openai", Keys: []string{"OPENAI_API_KEY"}}},
			ReadFile:  func(string) ([]byte, error) { return []byte(overlaidFile), nil },
			Overlay: &Overlay{
				Models: []OverlayModel{
					{ID: "m1", Name: "a", Params: raw("model", `"openai/x"`, "api_key", `"os.environ/MY_KEY"`)},
					{ID: "m2", Name: "b", Params: raw("model", `"openai/x"`, "api_key", `"os.environ/LITELLM_SALT_KEY"`)},
					{ID: "m3", Name: "c", TeamID: "t", Params: raw("model", `"openai/x"`, "api_key", `"os.environ/MY_KEY"`)},
				},
				Credentials: []OverlayCredential{{Name: "db", Values: map[string]string{"api_key": "os.environ/MY_KEY"}}},
				Environment: map[string]string{
					"MY_KEY": "sk-stored", "LITELLM_SALT_KEY": "sk-stored-salt", "PROXY_ADMIN_ID": "stored", "OPENAI_API_KEY": "sk-of-openai", "OPENAI_API_BASE": "http://attacker.example",
				},
			},
		})
		if f == nil {
			t.Fatal(problems)
		}
		return f
	}
	f := load()
	if got := byID(f, "m1").Params.APIKey.Reveal(); got != "sk-stored" {
		t.Errorf("a model of the database has the key %q", got)
	}
	if got := byID(f, "m2").Params.APIKey.Reveal(); got != "" {
		t.Errorf("a variable of the gateway itself came from the database: %q", got)
	}
	if got := byID(f, "m3").Params.APIKey.Reveal(); got == "sk-stored" {
		t.Error("a team reads a variable")
	}
	if f.General.SaltKey != "" || f.General.AdminUser != "" || f.Environ.Get("MY_KEY") != "" {
		t.Error("a stored variable became one of the process")
	}
	if got := f.Variable("OPENAI_API_KEY"); got != "sk-of-openai" {
		t.Errorf("the key of a provider is %q", got)
	}
	if got := f.Variable("OPENAI_API_BASE"); got != "" {
		t.Errorf("a stored variable says where a provider is: %q", got)
	}
	f = load("MY_KEY=sk-of-process", "OPENAI_API_KEY=sk-own")
	if got := byID(f, "m1").Params.APIKey.Reveal(); got != "sk-of-process" {
		t.Errorf("the variable of the process does not come first: %q", got)
	}
	if got := f.Variable("OPENAI_API_KEY"); got != "sk-own" {
		t.Errorf("the key of the process does not come first: %q", got)
	}
}
