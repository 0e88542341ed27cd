package config

import (
	"strings"
	"testing"
	"time"
)

func TestIdentitySettings(t *testing.T) {
	f, problems := loadText(t, `
general_settings:
  allowed_ips: [10.1.2.3/8, "::ffff:192.0.2.1", 2001:db8::1]
  db_unavailable_models: [a]
  db_unavailable_rpm: 0
  auth_stale_max: 2h
  user_api_key_cache_ttl: 5
  auth_max_token_expiration_days: 30
  default_team_disabled: true
  swagger_contact: {name: us}
  swagger_docs_url: ""
litellm_settings:
  default_key_generate_params: {models: [a], rpm_limit: 5}
  upperbound_key_generate_params: {max_budget: 10.5}
compat: {short_custom_keys: yes}
`, environ("LITELLM_SALT_KEY=sk-salt", "PROXY_ADMIN_ID=boss", "LENGTH_OF_LITELLM_GENERATED_KEY=24", "OPENAPI_URL=/spec.json", "DOCS_TITLE=Ours"))
	if f == nil {
		t.Fatalf("%s", problems)
	}
	g := &f.General
	if len(g.AllowedIPs) != 3 || g.AllowedIPs[0].String() != "10.0.0.0/8" || g.AllowedIPs[1].String() != "192.0.2.1/32" || g.AllowedIPs[2].String() != "2001:db8::1/128" {
		t.Errorf("allowed_ips %v", g.AllowedIPs)
	}
	if g.UnavailableModels[0] != "a" || g.UnavailableRPM != 0 || g.StaleMax != 2*time.Hour || g.CacheTTL != 5*time.Second || g.MaxKeyDays != 30 || !g.DefaultTeamDisabled || !f.Compat.ShortKeys {
		t.Errorf("%+v", g)
	}
	if g.SaltKey != "sk-salt" || g.AdminUser != "boss" || g.KeyLength != 24 || g.StoreModels {
		t.Errorf("%+v", g)
	}
	if g.URL != "" || g.SpecURL != "/spec.json" || g.Title != "Ours" || string(g.Contact) != `{"name":"us"}` {
		t.Errorf("docs %+v", g.Docs)
	}
	if string(f.LiteLLM.KeyDefaults["models"]) != `["a"]` || string(f.LiteLLM.KeyBounds["max_budget"]) != "10.5" || f.LiteLLM.UserDefaults != nil {
		t.Errorf("defaults %v, bounds %v", f.LiteLLM.KeyDefaults, f.LiteLLM.KeyBounds)
	}
	f, _ = loadText(t, "", environ("NO_DOCS=true", "STORE_MODEL_IN_DB=True", "PROXY_DEFAULT_TEAM_DISABLED=1"))
	if f.General.URL != "" || f.General.SpecURL == "" || !f.General.StoreModels || !f.General.DefaultTeamDisabled {
		t.Errorf("%+v", f.General)
	}
	if g := f.General; g.UnavailableRPM != 600 || g.StaleMax != time.Hour || g.CacheTTL != time.Minute || g.UnavailableModels != nil || g.AllowedIPs != nil {
		t.Errorf("defaults %+v", g)
	}
}

func TestIdentityMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"general_settings: {allowed_ips: [10.0.0.0/40]}":      "allowed_ips",
		"general_settings: {allowed_ips: [example.org]}":      "allowed_ips",
		"general_settings: {swagger_docs_url: docs}":          "swagger_docs_url",
		"general_settings: {db_unavailable_rpm: -1}":          "db_unavailable_rpm",
		"general_settings: {auth_stale_max: a while}":         "auth_stale_max",
		"general_settings: {store_model_in_db: perhaps}":      "store_model_in_db",
		"litellm_settings: {default_team_params: [1, 2]}":     "default_team_params",
		"general_settings: {auth_key_max_expiration_days: x}": "auth_key_max_expiration_days",
	} {
		if f, problems := loadText(t, text, environ()); f != nil || !strings.Contains(problems.String(), want) {
			t.Errorf("%s: %v\n%s", text, f != nil, problems)
		}
	}
	for _, bad := range []string{"LENGTH_OF_LITELLM_GENERATED_KEY=8", "STORE_MODEL_IN_DB=perhaps", "DOCS_URL=docs"} {
		if f, problems := loadText(t, "", environ(bad)); f != nil {
			t.Errorf("%s: %s", bad, problems)
		}
	}
}
