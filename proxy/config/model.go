package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/env"
	"sluice/proxy/money"
)

// Deployment is one entry of model_list, complete: credentials and defaults are
// merged into it.
type Deployment struct {
	At     Pos
	Name   string // public name, may hold "*"
	ID     string // stable over restarts
	Params Params
	Info   Info
	Stored bool // it came from the database

	own *value // its parameters as they were given
}

// Params says where a deployment is and how it is called.
type Params struct {
	Model          string        `cfg:"model"`
	APIKey         env.Secret    `cfg:"api_key"`
	APIBase        string        `cfg:"api_base,base_url"`
	APIVersion     string        `cfg:"api_version"`
	Provider       string        `cfg:"custom_llm_provider"` // "" is the prefix of Model
	Organization   string        // one of `organization`
	Timeout        time.Duration `cfg:"timeout"`        // 0 is not given
	StreamTimeout  time.Duration `cfg:"stream_timeout"` // 0 is not given
	MaxRetries     *int          `cfg:"max_retries"`
	NumRetries     *int          `cfg:"num_retries"`
	RPM            int64         `cfg:"rpm"`
	TPM            int64         `cfg:"tpm"`
	Weight         *float64      `cfg:"weight"`
	Order          *int          `cfg:"order"`
	Parallel       *int64        `cfg:"max_parallel_requests"`
	MaxBudget      *money.Nano   `cfg:"max_budget"`
	BudgetDuration string        `cfg:"budget_duration"`
	KeyTPM         *int64        `cfg:"default_api_key_tpm_limit"` // nil: no bound
	KeyRPM         *int64        `cfg:"default_api_key_rpm_limit"`
	MockResponse   *string       // nil: no mock; a map or list is its JSON
	MockDelay      time.Duration `cfg:"mock_delay"`
	DropParams     *bool         `cfg:"drop_params"`
	DropAlso       []string      `cfg:"additional_drop_params"`
	AllowAlso      []string      `cfg:"allowed_openai_params"`
	ClientSide     []ClientParam // of configurable_clientside_auth_params
	Credential     string        `cfg:"litellm_credential_name"`
	Verify         Verify        // of ssl_verify
	SSLCertificate string        `cfg:"ssl_certificate"`
	SSLKey         string        `cfg:"ssl_certificate_key"`
	ServerName     string        `cfg:"ssl_server_name"`
	ForceIPv4      *bool         `cfg:"force_ipv4"`
	Proxy          env.Secret    `cfg:"proxy_url"` // "": from the environment; "direct": none
	UnixSocket     string        `cfg:"unix_socket"`
	ExtraHeaders   []Header
	ExtraBody      []Field // fields of the body, in file order
	Defaults       []Field // fields of the body that a client may override, in file order
	Prices         Objects // parameters that say what a call costs, by their names

	organizations []string
}

// Info is what is known about a deployment.
type Info struct {
	ID                    string   `cfg:"id"`
	Mode                  string   `cfg:"mode"` // "" is chat
	BaseModel             string   `cfg:"base_model"`
	AccessGroups          []string `cfg:"access_groups"`
	SupportedEnvironments []string `cfg:"supported_environments"`
	MaxTokens             int64    `cfg:"max_tokens"`
	MaxInputTokens        int64    `cfg:"max_input_tokens"`
	MaxOutputTokens       int64    `cfg:"max_output_tokens"`
	TeamID                string   `cfg:"team_id"` // "": every team's
	Blocked               bool     `cfg:"blocked"`
	All                   []Field  // every key as it stands in the file, for those who list models
}

// Header is a header of a call to a provider. Its value may be a secret.
type Header struct {
	Name  string
	Value env.Secret
}

// Field is a field of a JSON object; JSON is its value, compact.
type Field struct {
	Name string
	JSON []byte
}

// ClientParam is a parameter that a client may send itself. Pattern, where not
// nil, must match the whole value.
type ClientParam struct {
	Name    string
	Pattern *regexp.Regexp
}

// models reads model_list.
func (f *File) models(r *report, root *value) {
	v := root.get("model_list")
	if v == nil || v.is != list {
		return
	}
	ids := map[string]Pos{}
	for i, item := range v.items {
		sub := newReport(r.strict)
		found := f.deployment(sub, fmt.Sprintf("model_list[%d]", i), item, f.credentials)
		if sub.list.Failed() && f.Router.IgnoreInvalid != nil && *f.Router.IgnoreInvalid {
			for _, p := range sub.list {
				r.add(min(p.Severity, Warning), p.At, p.Key, p.Text, p.Allowed)
			}
			r.warnf(item.at, fmt.Sprintf("model_list[%d]", i), "left out")
			continue
		}
		for _, p := range sub.list {
			r.add(p.Severity, p.At, p.Key, p.Text, p.Allowed)
		}
		for _, d := range found {
			if first, twice := ids[d.ID]; twice {
				f.twin(r, d, first)
				continue
			}
			ids[d.ID] = d.At
			f.Models = append(f.Models, d)
		}
	}
}

// twin reports a deployment whose identity another one has.
func (f *File) twin(r *report, d *Deployment, first Pos) {
	if d.Info.ID != "" {
		r.errorf(d.At, "model_info.id", "each id once", "%s is also the id of the deployment at %s", quote(d.ID), first)
		return
	}
	r.warnf(d.At, "model_list", "the same deployment as at %s; left out", first)
}

// deployment reads one entry; of several organizations, each makes one.
func (f *File) deployment(r *report, path string, item *value, credentials map[string]*value) []*Deployment {
	if item.is != mapping {
		r.errorf(item.at, path, "a map with model_name and litellm_params", "is %s", item.is)
		return nil
	}
	var head struct {
		Name string `cfg:"model_name"`
	}
	section(r, path, item, entryKeys(), &head, nil)
	d := &Deployment{At: item.at, Name: strings.TrimSpace(head.Name)}
	if d.Name == "" {
		r.errorf(item.at, join(path, "model_name"), "the public name of the model", "is missing")
	}
	info := item.get("model_info")
	section(r, join(path, "model_info"), info, infoKeys(), &d.Info, func(entry) {})
	if info != nil {
		d.Info.All = fields(info, "")
	}
	own := item.get("litellm_params")
	if own == nil {
		r.errorf(item.at, join(path, "litellm_params"), "a map with at least model", "is missing")
		return nil
	}
	if own.is != mapping {
		return nil // reported by section
	}
	d.own = own
	if !f.served(r, join(path, "model_info.supported_environments"), d, info) {
		return nil
	}
	params, ok := f.merge(r, path, own, credentials)
	if !ok {
		return nil
	}
	d.params(r, join(path, "litellm_params"), params)
	return d.perOrganization(own)
}

// served reports whether a deployment belongs to this environment.
func (f *File) served(r *report, path string, d *Deployment, info *value) bool {
	if len(d.Info.SupportedEnvironments) == 0 {
		return true
	}
	here := f.Environ.Get("LITELLM_ENVIRONMENT")
	if here == "" {
		r.errorf(info.get("supported_environments").at, path, "LITELLM_ENVIRONMENT set to one of "+strings.Join(d.Info.SupportedEnvironments, ", "), "LITELLM_ENVIRONMENT is not set")
		return false
	}
	return slices.Contains(d.Info.SupportedEnvironments, here)
}

// merge returns the parameters with those of the named credential and of
// default_litellm_params under them. It is false where the credential does not
// exist and the deployment is left out.
func (f *File) merge(r *report, path string, own *value, credentials map[string]*value) (*value, bool) {
	out := &value{is: mapping, at: own.at, entries: slices.Clone(own.entries)}
	under := func(v *value) {
		for _, e := range v.entries {
			if out.get(e.name) == nil {
				out.entries = append(out.entries, e)
			}
		}
	}
	if name := own.get("litellm_credential_name"); name != nil && name.scalar() {
		values, ok := credentials[name.text]
		if !ok {
			key, text := join(path, "litellm_params.litellm_credential_name"), fmt.Sprintf("no credential has the name %s", quote(name.text))
			if f.Router.IgnoreInvalid != nil && !*f.Router.IgnoreInvalid {
				r.errorf(name.at, key, "a name of credential_list", "%s", text)
			} else {
				r.warnf(name.at, key, "%s; the deployment is left out", text)
			}
			return nil, false
		}
		under(values)
	}
	if f.Router.defaults != nil {
		under(f.Router.defaults)
	}
	return out, true
}

// params reads the merged parameters.
func (d *Deployment) params(r *report, path string, v *value) {
	p := &d.Params
	keys := paramKeys()
	section(r, path, v, keys, p, func(e entry) {
		if isPrice(e.name) {
			p.price(r, path, e)
			return
		}
		if laterParam(e.name) {
			r.add(Note, e.at, join(path, e.name), "has no effect in this release", "")
			return
		}
		misspelt(r, path, e, names(keys))
		// What looks like a misplaced secret is not sent in a body; names such
		// as min_tokens only look so.
		if e.value.is != null && !env.SecretName(strings.ReplaceAll(e.name, "token", "")) {
			p.Defaults = append(p.Defaults, Field{e.name, e.value.appendJSON(nil)})
		}
	})
	if p.Model == "" {
		r.errorf(v.at, join(path, "model"), "provider/model, as in openai/gpt-4o", "is missing")
	}
	p.Verify = verifyOf(v.get("ssl_verify"))
	if org := v.get("organization"); org != nil && checkKind(Key{Kind: Texts}, org) {
		p.organizations = asTexts(org)
	}
	if mock := v.get("mock_response"); mock != nil {
		text := mock.text
		if !mock.scalar() {
			text = string(mock.appendJSON(nil))
		}
		p.MockResponse = &text
	}
	for _, name := range strings.Fields(requestParams) {
		if e := v.get(name); e != nil {
			p.Defaults = append(p.Defaults, Field{name, e.appendJSON(nil)})
		}
	}
	p.ExtraBody = fields(v.get("extra_body"), "")
	p.headers(r, join(path, "extra_headers"), v.get("extra_headers"))
	p.headers(r, join(path, "headers"), v.get("headers"))
	p.clientSide(r, join(path, "configurable_clientside_auth_params"), v.get("configurable_clientside_auth_params"))
	base := v.get("api_base")
	if base == nil {
		base = v.get("base_url")
	}
	p.APIBase = strings.TrimSpace(p.APIBase)
	if base != nil && base.scalar() && p.APIBase != "" {
		checkURL(r, base.at, join(path, "api_base"), p.APIBase)
	}
}

// misspelt warns of a parameter that is one letter away from a known one. Other
// names that are not known are the provider's own business.
func misspelt(r *report, path string, e entry, known []string) {
	near := nearest(e.name, known)
	if len(e.name) > 5 && near != "" && distance(e.name, near, len(e.name)) == 1 {
		r.unknown(e.at, path, e.name, known)
	}
}

// checkURL refuses what is no base URL. The problem does not show it: it may
// hold a password.
func checkURL(r *report, at Pos, key, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		r.errorf(at, key, "a URL such as https://host:port/v1", "is no URL of a provider")
		return
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			r.errorf(at, key, "a port from 1 to 65535", "has the port %s", quote(port))
		}
	}
}

func (p *Params) headers(r *report, path string, v *value) {
	if v == nil || v.is != mapping {
		return
	}
	for _, e := range v.entries {
		switch {
		case e.value.is == null:
		case !token(e.name):
			r.errorf(e.at, join(path, e.name), "a header name", "is none")
		case !e.value.scalar() || strings.ContainsFunc(e.value.text, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }):
			r.errorf(e.at, join(path, e.name), "text without line ends", "is no value of a header")
		case slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer"}, strings.ToLower(e.name)):
			r.errorf(e.at, join(path, e.name), "headers that do not frame the message", "cannot be set")
		default:
			p.ExtraHeaders = append(p.ExtraHeaders, Header{e.name, env.Secret(e.value.text)})
		}
	}
}

// clientSide reads names, and maps of a name to a pattern.
func (p *Params) clientSide(r *report, path string, v *value) {
	if v == nil || v.is != list {
		return
	}
	for _, item := range v.items {
		switch {
		case item.is == text:
			p.ClientSide = append(p.ClientSide, ClientParam{Name: item.text})
		case item.is == mapping && len(item.entries) > 0:
			for _, e := range item.entries {
				pattern, err := regexp.Compile(`\A(?:` + e.value.text + `)\z`)
				if err != nil || !e.value.scalar() {
					r.errorf(e.at, join(path, e.name), "a regular expression (RE2)", "is none")
					continue
				}
				p.ClientSide = append(p.ClientSide, ClientParam{e.name, pattern})
			}
		default:
			r.errorf(item.at, path, "names, or {name: pattern}", "is %s", item.is)
		}
	}
}

// fields returns the entries of a map as JSON, nulls left out.
func fields(v *value, skip string) []Field {
	if v == nil || v.is != mapping {
		return nil
	}
	var out []Field
	for _, e := range v.entries {
		if e.value.is != null && e.name != skip {
			out = append(out, Field{e.name, e.value.appendJSON(nil)})
		}
	}
	return out
}

// perOrganization completes the identity, once for each organization.
func (d *Deployment) perOrganization(own *value) []*Deployment {
	if len(d.Params.organizations) == 0 {
		d.ID = d.identity(own, "")
		return []*Deployment{d}
	}
	var out []*Deployment
	for i, name := range d.Params.organizations {
		one := *d
		one.Params.Organization = name
		one.ID = one.identity(own, name)
		if one.Info.ID != "" && i > 0 {
			one.ID += "-" + strconv.Itoa(i+1)
		}
		out = append(out, &one)
	}
	return out
}

// identity is model_info.id, else a digest of the name and of every parameter
// of the file in its order, as LiteLLM makes it.
func (d *Deployment) identity(own *value, organization string) string {
	if d.Info.ID != "" {
		return d.Info.ID
	}
	b := []byte(d.Name)
	for _, e := range own.entries {
		b = append(b, e.name...)
		if e.name == "organization" && organization != "" {
			b = append(b, organization...)
		} else {
			b = e.value.appendPython(b, false)
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// credentials reads credential_list.
func credentials(r *report, v *value) map[string]*value {
	out := map[string]*value{}
	if v == nil || v.is != list {
		return out
	}
	for i, item := range v.items {
		path := fmt.Sprintf("credential_list[%d]", i)
		var head struct {
			Name string `cfg:"credential_name"`
		}
		section(r, path, item, credentialKeys(), &head, nil)
		if item.is != mapping {
			continue
		}
		values := item.get("credential_values")
		if head.Name == "" || values == nil {
			r.errorf(item.at, path, "a map with credential_name and credential_values", "has no name or no values")
			continue
		}
		if _, twice := out[head.Name]; twice {
			r.errorf(item.at, join(path, "credential_name"), "each name once", "%s stands twice", quote(head.Name))
		}
		out[head.Name] = values
	}
	return out
}
