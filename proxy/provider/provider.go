// Package provider knows how each vendor is called: its address, its credential,
// and what must change in a request and in its errors. An adapter is one file
// and registers itself; a vendor that speaks OpenAI's format is a row of a
// table. No code compares a provider's name with a string.
package provider

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/proxy/llm"
)

// Lookup finds a variable of the environment; "" when it is not set.
type Lookup func(name string) string

// Param is one field of a request body, its value as JSON.
type Param struct {
	Name string
	JSON []byte
}

// Params is one deployment as it is configured (litellm_params).
type Params struct {
	Model        string // with or without the provider's prefix; may hold '*'
	Provider     string // custom_llm_provider; "" means by the model's prefix
	APIKey       string
	APIBase      string
	APIVersion   string
	Organization string
	Headers      []Header // extra_headers
	Defaults     []Param  // sent where the client does not say otherwise
	Extra        []Param  // extra_body: sent whatever the client says
	Drop         []string // additional_drop_params
	DropRefused  bool     // drop_params: leave out what the provider does not support; else it is refused
	Allow        []string // allowed_openai_params: sent although the provider is not known to support them
	Mock         *string  // mock_response: answer without calling anyone
	MockDelay    time.Duration
}

// Header is one header line of a call.
type Header struct{ Name, Value string }

// Target is a deployment that can be called. It is immutable.
type Target struct {
	Provider  string // the prefix
	Model     string // the provider's name of the model; may hold '*'
	ModelName string // with the prefix
	BaseURL   string // scheme, host and base path, without a slash at the end
	Shown     string // the same as clients may see it: no credentials, no query
	Path      string // of a chat completion, after the base path; may hold a query
	Headers   []Header
	Missing   string   // what the deployment lacks, in words; "" if nothing
	Mock      *Mock    // answers instead of the provider; nil if it is called
	secrets   []string // what no message to a client may hold

	adapter  Adapter
	defaults []fixed
	extra    []fixed
	drop     []string
	refused  []string // what the provider does not support
	lenient  bool     // and is left out silently
	noUsage  bool     // never ask for a usage chunk
}

// Adapter is how one family of providers is called. It is stateless.
type Adapter interface {
	// Bind fills t's address, path, headers and what is missing.
	Bind(p *Params, lookup Lookup, t *Target) error
	// Pass appends the edits that make of the client's bytes what this provider
	// wants. model is the provider's name of the model as JSON.
	Pass(req *llm.Request, t *Target, model []byte, edits []llm.Edit) []llm.Edit
	// CapMember is the name, as JSON with a colon, of the parameter that caps an
	// answer of the model.
	CapMember(model []byte) []byte
	// Sends reports whether Pass leaves a member of the client's in the body.
	Sends(req *llm.Request, t *Target, model []byte, m *llm.Member) bool
	// Failure reads an answer that is not 2xx.
	Failure(status int, body []byte) Failure
}

// registry maps the prefix of a model to its adapter. It is filled while the
// package is initialised, and read only after that.
var registry = map[string]Adapter{}

func register(prefix string, a Adapter) {
	if registry[prefix] != nil {
		panic("BUG: provider registered twice: " + prefix)
	}
	registry[prefix] = a
}

// Bind makes a deployment callable. An error means that the configuration
// cannot work; a key that is not set is no error but Target.Missing.
func Bind(p Params, lookup Lookup) (*Target, error) {
	prefix, model, err := split(&p)
	if err != nil {
		return nil, err
	}
	a, ok := registry[prefix]
	if !ok {
		return nil, unknown(prefix, p.Mock != nil)
	}
	t := &Target{
		Provider: prefix, Model: model, ModelName: prefix + "/" + model, adapter: a,
	}
	if err := t.parameters(&p); err != nil {
		return nil, fmt.Errorf("model %q: %w", p.Model, err)
	}
	if err := a.Bind(&p, lookup, t); err != nil {
		return nil, fmt.Errorf("model %q: %w", p.Model, err)
	}
	if p.Mock != nil {
		t.Mock, t.Missing = NewMock(*p.Mock), ""
		t.Mock.Delay = p.MockDelay
	}
	if t.Shown, err = shown(t.BaseURL); err != nil {
		return nil, fmt.Errorf("model %q: api_base: %w", p.Model, err)
	}
	t.Headers = append(t.Headers, p.Headers...)
	for _, h := range t.Headers {
		if !headerName(h.Name) || slices.Contains(framing, strings.ToLower(h.Name)) || strings.ContainsAny(h.Value, "\r\n\x00") {
			return nil, fmt.Errorf("model %q: header %q cannot be sent", p.Model, h.Name)
		}
	}
	t.support(&p)
	for _, h := range p.Headers {
		t.secrets = append(t.secrets, h.Value)
	}
	return t, nil
}

// framing are the header lines that belong to the connection.
var framing = []string{"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect"}

func headerName(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// split finds the provider of a model: custom_llm_provider, the first segment
// of its name if that is a prefix we know, or what the bare name tells.
func split(p *Params) (prefix, model string, err error) {
	head, rest, slash := strings.Cut(p.Model, "/")
	switch {
	case p.Model == "":
		return "", "", fmt.Errorf("litellm_params has no model")
	case p.Provider != "":
		if slash && head == p.Provider {
			return head, rest, nil
		}
		return p.Provider, p.Model, nil
	case slash && Known(head):
		return head, rest, nil
	}
	for _, f := range families {
		if strings.HasPrefix(p.Model, f.name) {
			return f.provider, p.Model, nil
		}
	}
	return "", "", fmt.Errorf("model %q names no provider: write <provider>/<model>, openai/<model> with an api_base for any server that speaks OpenAI's format", p.Model)
}

// Known says whether a prefix is a provider's, be it served by this release or
// not.
func Known(prefix string) bool {
	return registry[prefix] != nil || slices.Contains(native, prefix)
}

// unknown is the error for a prefix that has no adapter.
func unknown(prefix string, mock bool) error {
	if slices.Contains(native, prefix) {
		hint := ""
		if mock {
			hint = " (write openai/<model> where only mock_response is wanted)"
		}
		return fmt.Errorf("provider %q is known but not served by this release%s", prefix, hint)
	}
	return fmt.Errorf("no provider is called %q", prefix)
}

// shown checks a base URL and strips what clients must not see of it.
func shown(base string) (string, error) {
	if base == "" {
		return "", nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The parser's error quotes the URL, which may hold a password.
		return "", fmt.Errorf("not an http:// or https:// URL with a host")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// Pass appends the edits for one call; model is the provider's name as JSON.
func (t *Target) Pass(req *llm.Request, model []byte, edits []llm.Edit) []llm.Edit {
	return t.adapter.Pass(req, t, model, edits)
}

// Failure reads an answer that is not 2xx. Its message is "" when it held a
// credential.
func (t *Target) Failure(status int, body []byte) Failure {
	f := t.adapter.Failure(status, body)
	for _, s := range t.secrets {
		if leaks(f.Message, s) || leaks(f.Code, s) {
			f.Message, f.Code = "", ""
		}
	}
	return f
}

// leaks says whether text holds a secret or a telling part of one. A secret of
// a few characters must stand by itself: "x" is in many words.
func leaks(text, secret string) bool {
	const telling = 8
	if secret == "" || text == "" {
		return false
	}
	if len(secret) < telling {
		for from := 0; ; {
			i := strings.Index(text[from:], secret)
			if i < 0 {
				return false
			}
			if from += i; !wordByte(text, from-1) && !wordByte(text, from+len(secret)) {
				return true
			}
			from++
		}
	}
	for i := 0; i+telling <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+telling]) {
			return true
		}
	}
	return false
}

// wordByte says whether a letter, digit or underscore stands at i.
func wordByte(s string, i int) bool {
	return i >= 0 && i < len(s) && (s[i]|0x20-'a' < 26 || s[i]-'0' < 10 || s[i] == '_' || s[i] >= 0x80)
}

// Identity tells credentials apart: connections are not shared between two
// targets of different identities. It is a secret.
func (t *Target) Identity() string { return strings.Join(t.secrets, "\x00") }
