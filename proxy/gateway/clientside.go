package gateway

import (
	"errors"
	"regexp"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
	"sluice/proxy/upstream"
)

// ClientParam is a parameter of a deployment that a client may bring itself:
// api_key, or api_base, which base_url is another name of. Pattern, where not
// nil, must match the value; it is anchored by whoever made it.
type ClientParam struct {
	Name    string
	Pattern *regexp.Regexp
}

// clientSide is what a deployment needs to be called with a client's credential
// or at a client's address. A client's address gets no secret of ours: no key, no
// header, no extra_body, no certificate.
type clientSide struct {
	all    bool // whatever the client brings
	allow  []ClientParam
	params provider.Params
	via    upstream.Options
	lookup provider.Lookup
	pools  *upstream.Pools
	agent  string
}

func newClientSide(m *Model, c *Config) *clientSide {
	if !c.AllowClient && len(m.Client) == 0 {
		return nil
	}
	return &clientSide{
		all: c.AllowClient, allow: m.Client, params: m.Params, via: m.Upstream,
		lookup: c.Lookup, pools: c.Pools, agent: c.Agent,
	}
}

// The fields that a client brings, by LiteLLM's names. user_config, a router of
// the client's own, is never taken.
const (
	fieldKey  = "api_key"
	fieldBase = "api_base"
	fieldURL  = "base_url"
	fieldOwn  = "user_config"
)

// brought is what one request brings.
type brought struct{ key, base string }

// brings keeps those deployments of the plan that may be called with what the
// request brings.
func (g *Gateway) brings(x *Exchange) *llm.Error {
	kept := x.plan.Deployments[:0]
	for _, d := range x.plan.Deployments {
		if g.bindings[d.Index].client.accepts(&x.Request) {
			kept = append(kept, d)
		}
	}
	if clear(x.plan.Deployments[len(kept):]); len(kept) == 0 {
		return &llm.Error{
			Kind: llm.KindAuth, Type: "auth_error", Param: "None",
			Message: "Authentication Error, Rejected Request: " + x.Request.Credential + " is not allowed in request body. The administrator " +
				"can allow it by `configurable_clientside_auth_params` of the deployment or `general_settings.allow_client_side_credentials`.",
		}
	}
	x.plan.Deployments = kept
	return nil
}

// accepts says whether all that a request brings may be brought here.
func (c *clientSide) accepts(req *llm.Request) bool {
	if c == nil {
		return false
	}
	for _, name := range [...]string{fieldKey, fieldBase, fieldURL, fieldOwn} {
		m := req.Find(name)
		if m == nil || m.Kind == llm.JSONNull {
			continue
		}
		if name == fieldOwn || m.Kind != llm.JSONString {
			return false
		}
		if c.all {
			continue
		}
		value, _ := jsonscan.Text(nil, req.Body, m.Value)
		if _, ok := c.listed(name, value); !ok {
			return false
		}
	}
	return true
}

// listed finds what allows a value.
func (c *clientSide) listed(name string, value []byte) (*ClientParam, bool) {
	for i := range c.allow {
		p := &c.allow[i]
		if (p.Name == fieldKey) == (name == fieldKey) && (p.Name == fieldKey || p.Name == fieldBase || p.Name == fieldURL) &&
			(p.Pattern == nil || p.Pattern.Match(value)) {
			return p, true
		}
	}
	return nil, false
}

// bind makes of a deployment what the request wants to be called. It may be
// slow: few requests bring anything.
func (c *clientSide) bind(x *Exchange, b *binding) (*binding, *llm.Error) {
	p, o, lookup := c.params, c.via, c.lookup
	own := brought{key: x.text(fieldKey), base: x.text(fieldBase)}
	if own.base == "" {
		own.base = x.text(fieldURL)
	}
	if own.key != "" {
		p.APIKey = own.key
	}
	if own.base != "" {
		p.APIKey, p.APIBase, p.APIVersion = own.key, own.base, ""
		p.Organization, p.Headers, p.Extra = "", nil, nil
		lookup = func(string) string { return "" }
		o = upstream.Options{Proxy: o.Proxy, CAFile: o.CAFile, ForceIPv4: o.ForceIPv4, Guard: upstream.GuardLoopback}
		if by, ok := c.listed(fieldBase, []byte(own.base)); ok && by.Pattern != nil {
			o.Guard = upstream.GuardMetadata // the operator has named this very address
		}
	}
	t, err := provider.Bind(p, lookup)
	if err != nil {
		return nil, unusable(err)
	}
	if t.Missing != "" {
		return nil, &llm.Error{
			Kind: llm.KindBadRequest, Param: fieldKey,
			Message: "An api_key must be sent along with the api_base: the gateway's own never goes to another address.",
		}
	}
	n := *b
	n.target, n.base = t, clean([]byte(t.Shown))
	if t.Mock != nil {
		return &n, nil
	}
	o.Credential = t.Identity()
	if n.endpoint, err = c.pools.Endpoint(t.BaseURL, o); errors.Is(err, upstream.ErrRefused) {
		return nil, refusedAddress(err)
	} else if err != nil {
		return nil, unusable(err)
	}
	n.head = head(n.endpoint, t, c.agent)
	return &n, nil
}

// text is the value of a text that the request brings; "" where there is none.
func (x *Exchange) text(name string) string {
	m := x.Request.Find(name)
	if m == nil || m.Kind != llm.JSONString {
		return ""
	}
	b, _ := jsonscan.Text(nil, x.Request.Body, m.Value)
	return string(b)
}

func unusable(err error) *llm.Error {
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: fieldBase, Err: err,
		Message: "The api_base or api_key of the request cannot be used: an address is http:// or https:// with a host, a key is plain text.",
	}
}

func refusedAddress(err error) *llm.Error {
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: fieldBase, Err: err,
		Message: "The api_base of the request leads to an address that this gateway does not call for clients.",
	}
}
