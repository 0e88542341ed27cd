package config

import (
	"strings"
	"time"

	"sluice/internal/env"
)

// LiteLLM is the section litellm_settings: how providers are called.
type LiteLLM struct {
	RequestTimeout           time.Duration `cfg:"request_timeout"`
	NumRetries               *int          `cfg:"num_retries"`
	SetVerbose               bool          `cfg:"set_verbose"`
	JSONLogs                 bool          `cfg:"json_logs"`
	DropParams               bool          `cfg:"drop_params"`
	SSLCertificate           string        `cfg:"ssl_certificate"`
	ForceIPv4                bool          `cfg:"force_ipv4"`
	RequireAuthForMetrics    bool          `cfg:"require_auth_for_metrics_endpoint"`
	PrometheusLatencyBuckets []float64     `cfg:"prometheus_latency_buckets"`
	Budgets

	Verify       Verify            // of ssl_verify
	ModelAliases map[string]string // of model_alias_map
	KeyDefaults  Objects           // of default_key_generate_params
	KeyBounds    Objects           // of upperbound_key_generate_params
	UserDefaults Objects           // of default_internal_user_params
	TeamDefaults Objects           // of default_team_params
	Zone         *time.Location    // of timezone; nil is UTC
}

// General is the section general_settings: the server, its keys, its database.
type General struct {
	Connection
	MasterKey                  env.Secret `cfg:"master_key"` // "" where none is given: one is to be made
	AllowRequestsOnDBDown      bool       `cfg:"allow_requests_on_db_unavailable"`
	DisableSchemaUpdate        bool       `cfg:"disable_prisma_schema_update"`
	AlwaysIncludeStreamUsage   bool       `cfg:"always_include_stream_usage"`
	MaxRequestMB               float64    `cfg:"max_request_size_mb"`  // MiB; 0 is the server's default
	MaxResponseMB              float64    `cfg:"max_response_size_mb"` // MiB; 0 is no bound of its own
	KeyHeader                  string     `cfg:"litellm_key_header_name"`
	UseXForwardedFor           *bool      `cfg:"use_x_forwarded_for"` // nil is not given: where a listener trusts proxies
	ForwardClientHeaders       bool       `cfg:"forward_client_headers_to_llm_api"`
	ForwardOpenAIOrg           bool       `cfg:"forward_openai_org_id"`
	AllowClientSideCredentials bool       `cfg:"allow_client_side_credentials"`
	AllowMockTestingParams     bool       `cfg:"dangerously_allow_mock_testing_request_params"`
	CompletionModel            string     `cfg:"completion_model"` // forced model; "" for none
	InferModelFromKeys         bool       `cfg:"infer_model_from_keys"`
	Access
	Docs
	Spend
}

// Router is the section router_settings: how a deployment is chosen.
type Router struct {
	NumRetries    *int          `cfg:"num_retries"`
	RetryAfter    time.Duration `cfg:"retry_after"`
	Timeout       time.Duration `cfg:"timeout"`        // 0 is not given
	StreamTimeout time.Duration `cfg:"stream_timeout"` // 0 is not given
	Strategy      string        `cfg:"routing_strategy"`
	PreCallChecks []string      `cfg:"optional_pre_call_checks"`
	Parallel      *int64        `cfg:"default_max_parallel_requests"` // nil is not given
	IgnoreInvalid *bool         `cfg:"ignore_invalid_deployments"`    // nil is not given

	Redis
	Aliases         []Alias           // of model_group_alias
	ProviderBudgets map[string]Budget // of provider_budget_config
	defaults        *value
}

// Compat is the section compat: switches back to a behaviour that this product
// changes on purpose.
type Compat struct {
	LenientJSON bool `cfg:"lenient_json"`
	ShortKeys   bool `cfg:"short_custom_keys"`

	BudgetStatus int `cfg:"budget_error_status"` // 429 or 400
}

// Alias is a further name of a model.
type Alias struct {
	At     Pos
	Name   string
	Model  string
	Hidden bool // not listed
}

// Verify says how a provider's certificate is checked. The zero value is the
// usual check against the authorities of the system.
type Verify struct {
	Given  bool
	Skip   bool
	CAFile string
}

func verifyOf(v *value) Verify {
	if v == nil || v.is == null || v.text == "" {
		return Verify{}
	}
	if on, ok := asBool(v); ok {
		return Verify{Given: true, Skip: !on}
	}
	return Verify{Given: true, CAFile: v.text}
}

// DefaultRequestTimeout is how long a call to a provider may take where nothing
// else is said: what LiteLLM's production page tells operators to write. Its own
// default of 6000 s keeps a caller waiting for a provider that hangs.
const DefaultRequestTimeout = 600 * time.Second

// settings reads the sections that are not lists.
func (f *File) settings(r *report, root *value) {
	f.LiteLLM.RequestTimeout, f.LiteLLM.RequireAuthForMetrics = DefaultRequestTimeout, true
	f.Router.Strategy = "simple-shuffle"

	f.spendDefaults()
	v := root.get("litellm_settings")
	section(r, "litellm_settings", v, litellmKeys(), &f.LiteLLM, nil)
	f.LiteLLM.Verify = verifyOf(v.get("ssl_verify"))
	f.LiteLLM.ModelAliases = textMap(r, "litellm_settings.model_alias_map", v.get("model_alias_map"))
	f.General.UnavailableRPM, f.General.StaleMax, f.General.CacheTTL = defaultUnavailableRPM, defaultStaleMax, defaultCacheTTL
	f.General.Docs = Docs{Title: "Sluice", SpecURL: "/openapi.json", URL: "/docs"}
	section(r, "general_settings", root.get("general_settings"), generalKeys(), &f.General, nil)
	v = root.get("router_settings")
	section(r, "router_settings", v, routerKeys(), &f.Router, nil)
	f.Router.defaults = v.get("default_litellm_params")
	f.Router.Aliases = aliases(r, v.get("model_group_alias"))
	section(r, "compat", root.get("compat"), compatKeys(), &f.Compat, nil)
	if v.get("routing_strategy") != nil && f.Router.Strategy != "simple-shuffle" {
		r.warnf(v.get("routing_strategy").at, "router_settings.routing_strategy", "%s is served as simple-shuffle in this release", quote(f.Router.Strategy))
	}
	f.checkForwarded(r, root.get("general_settings"))
	f.databaseParameters(r, root.get("general_settings").get("database_extra_connection_params"))
	f.dependencies(r, root)
	f.checkGeneral(r, root.get("general_settings"))
	f.identity(r, root.get("general_settings"))
	f.spend(r, root)
}

// checkForwarded warns of a header that nobody is trusted to send.
func (f *File) checkForwarded(r *report, v *value) {
	on := f.General.UseXForwardedFor
	if on == nil || !*on || f.Environ.Get("SLUICE_TRUSTED_PROXIES") != "" || strings.Contains(f.Environ.Get("SLUICE_LISTEN"), "trusted=") {
		return
	}
	r.warnf(v.get("use_x_forwarded_for").at, "general_settings.use_x_forwarded_for",
		"has no effect: no proxy is trusted; name their networks in SLUICE_TRUSTED_PROXIES")
}

func (f *File) checkGeneral(r *report, v *value) {
	key := v.get("master_key")
	if key != nil && key.scalar() {
		checkMasterKey(r, key.at, "general_settings.master_key", f.General.MasterKey)
	}
	if name := f.General.KeyHeader; name != "" && !token(name) {
		r.errorf(v.get("litellm_key_header_name").at, "general_settings.litellm_key_header_name", "a header name", "is %s", quote(name))
	}
	if u := v.get("database_url"); u != nil && u.scalar() && !databaseURL(u.text) {
		r.errorf(u.at, "general_settings.database_url", "postgresql://user:password@host:port/database", "is no URL of a database")
	}
}

func databaseURL(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case s == "":
		return true
	case scheme == "postgres", scheme == "postgresql", strings.HasPrefix(scheme, "postgresql+"):
		return ok && strings.HasPrefix(rest, "//")
	}
	return false
}

// checkMasterKey refuses keys that no client could send.
func checkMasterKey(r *report, at Pos, key string, secret env.Secret) {
	const allowed = "a key that begins with sk-, without blanks"
	text := secret.Reveal()
	switch {
	case text == "":
	case !strings.HasPrefix(text, "sk-"):
		r.errorf(at, key, allowed, "does not begin with sk-")
	case len(text) < 4 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		r.errorf(at, key, allowed, "cannot be sent in a header, or is empty after sk-")
	default:
		checkWeak(r, at, key, secret)
	}
}

// token reports whether a text is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !wordByte(c, true) && !strings.ContainsRune("!#$%&'*+-.^`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func textMap(r *report, path string, v *value) map[string]string {
	if v == nil || v.is != mapping {
		return nil
	}
	out := make(map[string]string, len(v.entries))
	for _, e := range v.entries {
		switch {
		case e.value.is == null:
		case e.value.scalar():
			out[e.name] = e.value.text
		default:
			r.errorf(e.at, join(path, e.name), "text", "is %s", e.value.is)
		}
	}
	return out
}

// aliases reads model_group_alias.
func aliases(r *report, v *value) []Alias {
	if v == nil || v.is != mapping {
		return nil
	}
	var out []Alias
	for _, e := range v.entries {
		path := join("router_settings.model_group_alias", e.name)
		a := Alias{At: e.at, Name: e.name}
		switch {
		case e.value.is == null:
			continue
		case e.value.scalar():
			a.Model = e.value.text
		case e.value.is == mapping:
			var target struct {
				Model  string `cfg:"model"`
				Hidden bool   `cfg:"hidden"`
			}
			keys := []Key{{Name: "model", Kind: Text}, {Name: "hidden", Kind: Bool}}
			section(r, path, e.value, keys, &target, nil)
			a.Model, a.Hidden = target.Model, target.Hidden
		}
		if a.Model == "" {
			r.errorf(e.at, path, "the name of a model, or {model: name, hidden: true}", "names no model")
			continue
		}
		out = append(out, a)
	}
	return out
}
