package litellm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/seal"
)

// openedParams opens a model as the gateway does.
func openedParams(t *testing.T, m *identity.Model) map[string]string {
	t.Helper()
	r, out := ring(t, newSalt), map[string]string{}
	if m.SealedWith != r.ID() {
		t.Errorf("sealed with %q", m.SealedWith)
	}
	for name, v := range m.Params {
		plain, err := r.OpenJSON(m.Kind().Table(), m.ID, name, v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = string(plain)
	}
	return out
}

func modelDoc(params, info string) string {
	return `{"model_id":"m1","model_name":"gpt","litellm_params":` + params + `,"model_info":` + info + `,"created_at":"2026-01-01T00:00:00","created_by":"a",` +
		`"updated_at":"2026-01-01T00:00:00","updated_by":"a","blocked":false}`
}

func TestModel(t *testing.T) {
	s := convert(t, tableModels, modelDoc(fmt.Sprintf(`{"model": %q, "api_key": %q, "rpm": 5, "use_in_pass_through": false, "tags": ["plain"], "extra_headers": {"X": %q}, "api_base": null}`,
		boxed(t, oldSalt, "openai/gpt-4o"), boxed(t, oldSalt, canary), boxed(t, oldSalt, "header")),
		`{"id": "m1", "db_model": true, "access_groups": ["g"], "mode": "chat", "base_model": null}`))
	m := only1[*identity.Model](t, s)
	text, err := json.Marshal(m)
	if err != nil || strings.Contains(string(text), canary) || strings.Contains(string(text), `"plain"`) {
		t.Errorf("not sealed: %s %v", text, err)
	}
	same(t, "params", openedParams(t, m), map[string]string{
		"model": `"openai/gpt-4o"`, "api_key": `"` + canary + `"`, "rpm": "5", "tags": `["plain"]`, "extra_headers": `{"X":"header"}`,
	})
	same(t, "info", m.Info, identity.Fields{"access_groups": json.RawMessage(`["g"]`), "mode": json.RawMessage(`"chat"`)})
	if m.ID != "m1" || m.Name != "gpt" || m.CreatedBy != "a" || m.Blocked || len(s.reports) > 0 {
		t.Errorf("%+v %q", m, s.reports)
	}
}

// TestFixtures opens what LiteLLM itself has encrypted.
func TestFixtures(t *testing.T) {
	c, s := converter(t)
	old := ring(t, "sk-salt-for-the-fixtures-0123456789")
	c.Open = func(text string) (string, bool, error) {
		plain, err := old.Open("", text)
		return plain, true, err
	}
	doc := modelDoc(`{"model":"b2FES_sOVAssLXVtR9S0ngYsE-qt8naj1YpzuUfBetmYgYUTgOnKv7oTedzzgqPUkyT6hKh_Bg==",`+
		`"api_key":"v2:gcm:sik_82FS3_bJDE2Yyp9P7zfHG8rQS_uwJCBrxKNL1LHQq0LgG4DtytpvLA==","none":"v2:gcm:loxNN6XE4SClBhMJqOeOIORT1YHpJbutAxHzwg=="}`, `{}`)
	if err := tableNamed(t, tableModels).Convert(c, []byte(doc)); err != nil {
		t.Fatal(err)
	}
	same(t, "params", openedParams(t, only1[*identity.Model](t, s)), map[string]string{
		"model": `"sk-provider-key"`, "api_key": `"sk-provider-key"`, "none": `""`,
	})
}

// TestPlainAndSealed: what is not encrypted stays; what looks so and does not open
// is judged by its neighbours.
func TestPlainAndSealed(t *testing.T) {
	long := strings.Repeat("Abc1", 21) // a key of 84 characters that is base64 too
	other := boxed(t, "sk-another-salt", canary)
	for _, c := range []struct {
		name, params string
		field        string // of the error; "": none
		told         string
	}{
		{"all plain", `{"model":"openai/gpt-4o","api_key":"` + canary + `"}`, "", ""},
		{"a long plain key in a plain row", `{"model":"azure/x","api_key":"` + long + `"}`, "", "looks encrypted"},
		{"a long plain key in a sealed row", `{"model":"` + boxed(t, oldSalt, "azure/x") + `","api_key":"` + long + `"}`, "", "looks encrypted"},
		{"the wrong salt", `{"model":"` + boxed(t, "sk-another-salt", "azure/x") + `","api_key":"` + other + `"}`, "api_key", ""},
		{"the wrong salt beside plain tags", `{"model":"` + boxed(t, "sk-another-salt", "azure/x") + `","tags":["plain"],"region":"eu"}`, "model", ""},
		{"the wrong salt with a mark", `{"model":"azure/x","api_key":"v2:gcm:` + other + `"}`, "api_key", ""},
		{"the newest mark", `{"model":"azure/x","api_key":"v3:gcm:` + other + `"}`, "api_key", ""},
		{"of ours, with another key", `{"model":"azure/x","api_key":"sluice1:0123456789abcdef:AAAA"}`, "api_key", ""},
	} {
		cv, s := converter(t)
		err := tableNamed(t, tableModels).Convert(cv, []byte(modelDoc(c.params, `{}`)))
		var broken *SealedError
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.field != "" && (!errors.As(err, &broken) || broken.Field != c.field || broken.Table != tableModels || broken.ID != "m1" || cv.Broken == 0):
			t.Errorf("%s: %v, %d broken", c.name, err, cv.Broken)
		case err != nil && (strings.Contains(err.Error(), other[:20]) || strings.Contains(err.Error(), canary)):
			t.Errorf("%s: the error tells: %v", c.name, err)
		case c.told != "" && !s.told(c.told):
			t.Errorf("%s: reported %q", c.name, s.reports)
		}
	}
}

func TestTeamModel(t *testing.T) {
	doc := strings.Replace(modelDoc(`{"model":"openai/x"}`, `{"id":"m1","team_id":"t1","team_public_model_name":"own"}`), `"gpt"`, `"model_name_t1_5d1c"`, 1)
	m := only1[*identity.Model](t, convert(t, tableModels, doc))
	if m.Name != "own" || m.TeamID != "t1" || string(m.Info["team_public_model_name"]) != `"own"` || m.Info["team_id"] != nil {
		t.Errorf("%+v", m)
	}
	s := convert(t, tableModels, modelDoc(`{"model":"openai/x"}`, `{"id":"other","blocked":true,"api_key":"`+canary+`"}`))
	if m := only1[*identity.Model](t, s); !m.Blocked || m.ID != "m1" || m.Info["api_key"] != nil || !s.told("model_info has a secret") || !s.told("model_info.id is not") {
		t.Errorf("%+v %q", m, s.reports)
	}
	if s := convert(t, tableModels, modelDoc(`{}`, `{}`)); len(s.objects) > 0 || !s.told("no litellm_params") {
		t.Errorf("%+v", s)
	}
}

func TestCredential(t *testing.T) {
	s := convert(t, tableCredentials, `{"credential_id":"c1","credential_name":"cr","display_name":"My own","credential_values":{"api_key":"`+boxed(t, oldSalt, canary)+
		`","timeout":5,"api_base":"`+boxed(t, oldSalt, "https://x")+`"},"credential_info":{"d":"x"},"created_at":"2026-01-01T00:00:00","created_by":"a"}`)
	m, r := only1[*identity.Credential](t, s), ring(t, newSalt)
	got := map[string]string{}
	for name, v := range m.Values {
		plain, err := r.Open(seal.Place("credentials", "c1", name), v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = plain
	}
	same(t, "values", got, map[string]string{"api_key": canary, "timeout": "5", "api_base": "https://x"})
	if m.Name != "cr" || m.SealedWith != r.ID() || string(m.Info["sluice_display_name"]) != `"My own"` || string(m.Info["d"]) != `"x"` {
		t.Errorf("%+v", m)
	}
}

func TestConfig(t *testing.T) {
	s := convert(t, tableConfig, `{"param_name":"general_settings","param_value":{"max_parallel_requests":5,"master_key":"`+canary+`","alerting":["slack"],`+
		`"slack_webhook_url":"https://hooks/`+canary+`","pass_through_endpoints":[{"path":"/x","headers":{"Authorization":"Bearer `+canary+`"}}],`+
		`"database_url":"postgres://u:p@h/d","x":"os.environ/HOME","sealed":"`+boxed(t, oldSalt, canary)+`","gone":null},"reload_revision":0}`)
	item := only1[*identity.ConfigItem](t, s)
	same(t, "section", item, &identity.ConfigItem{Name: "general_settings", Value: identity.Fields{
		"max_parallel_requests": json.RawMessage("5"), "alerting": json.RawMessage(`["slack"]`),
	}})
	for _, part := range []string{
		"general_settings.master_key: says which", "general_settings.slack_webhook_url: is or holds a secret", "general_settings.pass_through_endpoints: is or holds",
		"general_settings.database_url: says which", "general_settings.x: names a variable", "general_settings.sealed: is or holds",
	} {
		if !s.told(part) {
			t.Errorf("not told: %s; %q", part, s.reports)
		}
	}
	s = convert(t, tableConfig, `{"param_name":"environment_variables","param_value":{"LANGFUSE_SECRET_KEY":"`+boxed(t, oldSalt, canary)+
		`","LITELLM_MASTER_KEY":"`+boxed(t, oldSalt, canary)+`","PLAIN":"x","PORT":8080,"LIST":[1],"A B":"x","pg_host":"x","REF":"os.environ/HOME"}}`)
	item = only1[*identity.ConfigItem](t, s)
	r := ring(t, newSalt)
	got := map[string]string{}
	for name, v := range item.Value {
		plain, err := r.OpenJSON("config_items", "environment_variables", name, v)
		if err != nil {
			t.Fatal(err)
		}
		got[name] = string(plain)
	}
	same(t, "environment", got, map[string]string{"LANGFUSE_SECRET_KEY": `"` + canary + `"`, "PLAIN": `"x"`, "PORT": `"8080"`})
	if item.SealedWith != r.ID() || !s.told("environment_variables.LANGFUSE_SECRET_KEY") || !s.told("environment_variables.LITELLM_MASTER_KEY: was left out") || s.told(canary) {
		t.Errorf("%+v %q", item, s.reports)
	}
	for _, name := range []string{"mcp_catalog", "model_cost_map_reload_config"} {
		if s := convert(t, tableConfig, `{"param_name":"`+name+`","param_value":{"a":1}}`); len(s.objects) > 0 || len(s.skips) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	c, _ := converter(t)
	err := tableNamed(t, tableConfig).Convert(c, []byte(`{"param_name":"environment_variables","param_value":{"A":"`+boxed(t, "sk-another", "x")+`"}}`))
	var broken *SealedError
	if !errors.As(err, &broken) || broken.Field != "A" {
		t.Errorf("%v", err)
	}
}
