package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

func fieldText(fields []Field) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f.Name + "=" + string(f.JSON) + ";")
	}
	return b.String()
}

func TestDeployment(t *testing.T) {
	f := must(t, `
credential_list:
  - credential_name: shared
    credential_values: {api_key: sk-shared, api_base: http://shared/v1, timeout: 9}
router_settings:
  default_litellm_params: {max_retries: 7, timeout: 1, temperature: 0.1}
  stream_timeout: 4
litellm_settings: {ssl_verify: /ca.pem, num_retries: 5}
model_list:
  - model_name: full
    litellm_params:
      model: openai/gpt
      litellm_credential_name: shared
      api_base: http://own/v1
      rpm: "100"
      weight: 0.5
      order: 2
      ssl_verify: false
      stop: ["a\"b", "<x>"]
      temperature: 1
      logit_bias: {50256: -100}
      safe_prompt: on
      hex: 0x10
      big: 1e3
      extra_headers: {X-A: os.environ/HEADER, X-N: 5}
      extra_body: {nested: {deep: [1, 2.5, null, ~, true]}, text: "ü"}
      additional_drop_params: user
      configurable_clientside_auth_params: [api_key, {api_base: "https://.*"}]
      aws_region_name: nowhere
      output_cost_per_token: 0.1
    model_info: {id: one, mode: chat, access_groups: [g], note: kept, supported_environments: [production]}
  - model_name: elsewhere
    litellm_params: {model: openai/x}
    model_info: {supported_environments: [staging]}
  - model_name: orgs
    litellm_params: {model: openai/o, organization: [a, b]}
`, environ("HEADER=secret-header", "LITELLM_ENVIRONMENT=production"))
	if len(f.Models) != 3 {
		t.Fatalf("%d deployments", len(f.Models))
	}
	d := f.Models[0]
	p := d.Params
	if d.ID != "one" || p.APIKey != "sk-shared" || p.APIBase != "http://own/v1" || p.Timeout != 9*time.Second || *p.MaxRetries != 7 || p.RPM != 100 || *p.Weight != 0.5 || *p.Order != 2 {
		t.Errorf("params: %+v", p)
	}
	if !p.Verify.Skip || f.VerifyOf(d) != p.Verify || f.VerifyOf(f.Models[1]).CAFile != "/ca.pem" {
		t.Errorf("verify: %+v", p.Verify)
	}
	if got, want := fieldText(p.Defaults), `safe_prompt=true;hex=16;big=1000;temperature=1;logit_bias={"50256":-100};stop=["a\"b","<x>"];`; got != want {
		t.Errorf("defaults %s, want %s", got, want)
	}
	if got, want := fieldText(p.ExtraBody), `nested={"deep":[1,2.5,null,null,true]};text="ü";`; got != want {
		t.Errorf("extra body %s, want %s", got, want)
	}
	if len(p.ExtraHeaders) != 2 || p.ExtraHeaders[0].Value != "secret-header" || p.ExtraHeaders[1].Value != "5" {
		t.Errorf("headers: %q", p.ExtraHeaders[0].Value.Reveal())
	}
	if len(p.ClientSide) != 2 || p.ClientSide[1].Pattern.MatchString("http://x") || !p.ClientSide[1].Pattern.MatchString("https://x") {
		t.Errorf("client side: %+v", p.ClientSide)
	}
	if total, stream := f.Timeouts(d); total != 9*time.Second || stream != 4*time.Second {
		t.Errorf("timeouts %v %v", total, stream)
	}
	if f.Retries(d) != 7 {
		t.Errorf("retries %d", f.Retries(d))
	}
	if !strings.Contains(fieldText(d.Info.All), `note="kept"`) {
		t.Errorf("info: %s", fieldText(d.Info.All))
	}
	if f.Models[1].Params.Organization != "a" || f.Models[2].Params.Organization != "b" || f.Models[1].ID == f.Models[2].ID {
		t.Errorf("organizations: %+v %+v", f.Models[1], f.Models[2])
	}
	masked := f.Masked()
	for _, secret := range []string{"secret-header", "sk-shared"} {
		if strings.Contains(masked, secret) {
			t.Errorf("%s is shown:\n%s", secret, masked)
		}
	}
	if again := must(t, masked, environ("LITELLM_ENVIRONMENT=production")); len(again.Models) != 3 {
		t.Errorf("the masked form is not the same configuration:\n%s", masked)
	}
}

// TestIdentity checks the digest against the form that it is made of.
func TestIdentity(t *testing.T) {
	f := must(t, `
model_list:
  - model_name: m
    litellm_params:
      model: openai/gpt
      api_key: os.environ/K
      timeout: 600
      weight: 1.0
      tiny: 1.5e-07
      drop_params: true
      api_base: null
      extra_body: {a: {b: 1}, c: "ü"}
      tags: [x, "it's"]
`, environ("K=key"))
	sum := sha256.Sum256([]byte(`m` + `modelopenai/gpt` + `api_keykey` + `timeout600` + `weight1.0` + `tiny1.5e-07` + `drop_paramsTrue` + `api_baseNone` +
		`extra_body{"a": {"b": 1}, "c": "\u00fc"}` + `tags['x', "it's"]`))
	if got, want := f.Models[0].ID, hex.EncodeToString(sum[:]); got != want {
		t.Errorf("id %s, want %s", got, want)
	}
}

// TestRecordedIdentity checks it against what LiteLLM's proxy was seen to give
// for the same deployment.
func TestRecordedIdentity(t *testing.T) {
	f, problems := Load(Source{Flags: Flags{Config: "testdata/good/recorded.yaml"}, Environ: environ("UP_KEY=x")})
	if f == nil {
		t.Fatal(problems)
	}
	const want = "53faf957caed96f2a9b9b0695e663b47a69c568bb1ba843053891e0e52e6ea62"
	if d := f.Models[1]; d.Name != "mock" || d.ID != want {
		t.Errorf("%s has the id %s, want %s", d.Name, d.ID, want)
	}
}

func TestIgnoreInvalidDeployments(t *testing.T) {
	const models = "model_list: [{model_name: a, litellm_params: {model: openai/a, timeout: x}}, {model_name: b, litellm_params: {model: openai/b}}]\n"
	if f, _ := loadText(t, models, environ()); f != nil {
		t.Error("an invalid deployment is served")
	}
	f, problems := loadText(t, models+"router_settings: {ignore_invalid_deployments: true}", environ())
	if f == nil || len(f.Models) != 1 || f.Models[0].Name != "b" || len(problems.Of(Warning)) != 2 {
		t.Errorf("problems:\n%s", problems)
	}
}

func TestSubstitution(t *testing.T) {
	f := must(t, `
environment_variables: {REGION: eu, COPY: os.environ/BASE, FLAG: "true"}
model_list:
  - model_name: a
    litellm_params:
      model: "openai/${NAME:-none}-${REGION}-$${KEPT}-${bad name}-${COPY}"
      api_key: "${INJECT}"
      drop_params: os.environ/FLAG
      timeout: ${SECONDS}
      user: ${EMPTY:-fallback}
`, environ("BASE=b", "SECONDS=12", "EMPTY=", "INJECT=x\nmodel_list: []\n# {{ os.environ/BASE }} ${BASE}"))
	p := f.Models[0].Params
	if p.Model != "openai/none-eu-${KEPT}-${bad name}-b" {
		t.Errorf("model %q", p.Model)
	}
	if p.APIKey.Reveal() != "x\nmodel_list: []\n# {{ os.environ/BASE }} ${BASE}" {
		t.Errorf("what a variable holds was read as more than text: %q", p.APIKey.Reveal())
	}
	if p.DropParams == nil || !*p.DropParams || p.Timeout != 12*time.Second || fieldText(p.Defaults) != `user="fallback";` {
		t.Errorf("params %+v %s", p, fieldText(p.Defaults))
	}
	if f.Environ.Get("REGION") != "eu" || f.Environ.Get("COPY") != "b" {
		t.Error("environment_variables are not set")
	}
}

func TestForwardedFor(t *testing.T) {
	for _, c := range []struct {
		text, environ string
		warned        bool
	}{
		{"true", "X=", true},
		{"true", "SLUICE_TRUSTED_PROXIES=10.0.0.0/8", false},
		{"true", "SLUICE_LISTEN=b=tcp://:81?trusted=10.0.0.0/8", false},
		{"false", "X=", false},
	} {
		f, problems := loadText(t, "general_settings: {use_x_forwarded_for: "+c.text+"}", environ(c.environ))
		if f == nil || *f.General.UseXForwardedFor != (c.text == "true") {
			t.Fatal(problems)
		}
		if got := len(problems.Of(Warning)) > 0; got != c.warned {
			t.Errorf("%s with %s: %s", c.text, c.environ, problems)
		}
	}
	if must(t, "", environ()).General.UseXForwardedFor != nil {
		t.Error("not given, and yet set")
	}
}

func TestDropParams(t *testing.T) {
	const text = "model_list: [{model_name: a, litellm_params: {model: openai/a%s}}]\nlitellm_settings: {drop_params: %t}"
	for _, c := range []struct {
		own  string
		all  bool
		flag bool
		want bool
	}{
		{"", false, false, false},
		{"", true, false, true},
		{"", false, true, true},
		{", drop_params: true", false, false, true},
		{", drop_params: false", true, true, false},
	} {
		f, problems := Load(Source{
			Flags: Flags{Config: "c.yaml", DropParams: c.flag}, Environ: environ(),
			ReadFile: func(string) ([]byte, error) { return fmt.Appendf(nil, text, c.own, c.all), nil },
		})
		if f == nil {
			t.Fatal(problems)
		}
		if got := f.DropParams(f.Models[0]); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
