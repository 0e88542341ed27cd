package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
)

// reserved says of which names in metadata the gateway makes something. Proxy
// admins alone write them.
func reserved(name string) bool {
	return strings.HasPrefix(name, "user_api_key_") || slices.Contains(adminMetadata, name)
}

// metadata takes metadata from the body, and the fields of the body that are
// kept in it. What is sent replaces what there was, except for those fields:
// each has its own place in the API and stays until it is sent itself. Names
// that are reserved stay what they were unless a proxy admin sends them.
func (c *Call) metadata(old identity.Fields, names []string) (identity.Fields, *llm.Error) {
	admin, e := c.Admin()
	if e != nil {
		return nil, e
	}
	out := maps.Clone(old)
	if c.Body.Has("metadata") {
		out = maps.Clone(c.Body.Fields("metadata"))
		if out == nil {
			out = identity.Fields{}
		}
		for _, name := range slices.Sorted(maps.Keys(out)) {
			if !admin && reserved(name) && !sameJSON(out[name], old[name]) {
				return nil, forbidden(fmt.Sprintf("Only a proxy admin may set metadata.%s.", name), "metadata")
			}
		}
		for name, v := range old {
			own := slices.Contains(names, name) || name == "team_member_budget_id" || !admin && reserved(name)
			if own && out[name] == nil {
				out[name] = v
			}
		}
	}
	return keep(out, c.Body, names...), nil
}

// adminFields refuses fields that the route's row leaves to proxy admins.
func (c *Call) adminFields() *llm.Error {
	admin, e := c.Admin()
	if admin || e != nil {
		return e
	}
	for _, f := range c.Route.Body {
		if f.AdminOnly && c.Body.Has(f.Name) {
			return forbidden(fmt.Sprintf("Only a proxy admin may set %s.", f.Name), f.Name)
		}
	}
	return nil
}

// longestName is how long a name, an id or an e-mail address may be, in bytes:
// what an index takes.
const longestName = 1024

// checkNames refuses names that cannot be kept or read.
func checkNames(b Body, names ...string) *llm.Error {
	for _, name := range names {
		if e := checkName(b.Text(name), name); e != nil {
			return e
		}
	}
	return nil
}

func checkName(s, name string) *llm.Error {
	if len(s) > longestName || strings.ContainsFunc(s, unicode.IsControl) {
		return badRequest(fmt.Sprintf("%s must be a text of at most %d bytes without control characters.", name, longestName), name)
	}
	return nil
}

// defaulted is a body with what the configuration says where the body says
// nothing.
func defaulted(b Body, defaults identity.Fields, names ...string) Body {
	out := maps.Clone(b)
	for _, name := range names {
		if v, ok := defaults[name]; ok && !b.Given(name) {
			out[name] = v
		}
	}
	return out
}

// only is the call with some fields of its body.
func (c *Call) only(names ...string) *Call {
	b := Body{}
	for _, name := range names {
		if c.Body.Has(name) {
			b[name] = c.Body[name]
		}
	}
	return c.with(b)
}

// with is the call with another body.
func (c *Call) with(b Body) *Call {
	out := *c
	out.Body = b
	return &out
}
