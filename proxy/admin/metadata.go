package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
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
		if e := checkMetadata(out, old); e != nil {
			return nil, e
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

// checkMetadata refuses limits in metadata that cannot be read: they would be
// none. What is there already, as an import may have brought it, may be sent back.
func checkMetadata(given, old identity.Fields) *llm.Error {
	is := func(name string) bool { v := given[name]; return len(v) > 0 && string(v) != "null" }
	news := func(name string) bool { return is(name) && !sameJSON(given[name], old[name]) }
	refuse := func(name, what string) *llm.Error { return badRequest("metadata."+name+" "+what, "metadata") }
	for _, name := range []string{"model_rpm_limit", "model_tpm_limit"} {
		var limits map[string]*int64
		if !news(name) {
			continue
		}
		wrong := json.Unmarshal(given[name], &limits) != nil
		for model, n := range limits {
			wrong = wrong || model == "" || n != nil && *n < 0
		}
		if wrong {
			return refuse(name, "must be an object of models, each with a whole number of zero or more.")
		}
	}
	if news("budget_limits") {
		if e := checkBudgetLimits(given["budget_limits"]); e != nil {
			return refuse("budget_limits", "cannot be. "+e.Message)
		}
	}
	if !news("temp_budget_increase") && !news("temp_budget_expiry") {
		return nil
	}
	var by money.Nano
	if is("temp_budget_increase") && (json.Unmarshal(given["temp_budget_increase"], &by) != nil || by < 0) {
		return refuse("temp_budget_increase", "must be a number of dollars, zero or more.")
	}
	if is("temp_budget_expiry") {
		if _, wrong := checkTime(given["temp_budget_expiry"], nil); wrong != nil {
			return refuse("temp_budget_expiry", "must be a date or a time, as in 2030-01-31T12:00:00Z.")
		}
	}
	if is("temp_budget_increase") != is("temp_budget_expiry") {
		return refuse("temp_budget_expiry", "and metadata.temp_budget_increase belong together.")
	}
	return nil
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
