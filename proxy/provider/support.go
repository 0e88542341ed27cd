package provider

import (
	"bytes"
	"slices"
	"strings"

	"sluice/proxy/llm"
)

// support settles what becomes of parameters that the provider does not
// support, after its adapter has named them.
func (t *Target) support(p *Params) {
	t.lenient = p.DropRefused
	if len(t.refused) == 0 {
		return
	}
	refused := make([]string, 0, len(t.refused))
	for _, name := range t.refused {
		if !slices.Contains(p.Allow, name) {
			refused = append(refused, name)
		}
	}
	t.refused = refused
	if t.lenient {
		t.defaults = slices.DeleteFunc(t.defaults, func(d fixed) bool { return slices.Contains(refused, d.name) })
	}
}

// refuses says whether a parameter is one that the provider does not support.
func (t *Target) refuses(req *llm.Request, name []byte) bool {
	return contains(t.refused, name) && !listed(req, req.AllowParams, name)
}

// drops says whether a parameter is to be left out, by the deployment or by the
// request itself.
func (t *Target) drops(req *llm.Request, name []byte) bool {
	return contains(t.drop, name) || req.DropAlso.Present() && !contains(settled, name) && listed(req, req.DropAlso, name)
}

// listed says whether a list of the request's body names a parameter, in plain
// spelling.
func listed(req *llm.Request, list llm.Span, name []byte) bool {
	if !list.Present() {
		return false
	}
	for b := list.Of(req.Body); ; {
		i := bytes.Index(b, name)
		if i < 1 {
			return false
		}
		end := i + len(name)
		if b[i-1] == '"' && end < len(b) && b[end] == '"' {
			return true
		}
		b = b[end:]
	}
}

// silent are parameters that are left out without a word where they are not
// supported, because they do not change an answer.
var silent = []string{"user"}

// Unsupported is the error of a request that has parameters which the provider
// does not support; nil where there are none, or where they may be left out.
// A null says nothing and is no reason.
func (t *Target) Unsupported(req *llm.Request) *llm.Error {
	if len(t.refused) == 0 || t.lenient || req.DropParams {
		return nil
	}
	var names []string
	for i := range req.Members {
		m := &req.Members[i]
		if m.Ours || m.Kind == llm.JSONNull || !t.refuses(req, m.Name) || t.drops(req, m.Name) || contains(silent, m.Name) {
			continue
		}
		names = append(names, string(m.Name))
	}
	if names == nil {
		return nil
	}
	return &llm.Error{
		Kind: llm.KindBadRequest, Param: names[0],
		Message: "litellm.UnsupportedParamsError: " + t.Provider + " does not support parameters: ['" + strings.Join(names, "', '") +
			"']. To leave such parameters out, set `drop_params: true` in `litellm_settings`; to send them all the same, name them in `allowed_openai_params`.",
	}
}
