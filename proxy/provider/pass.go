package provider

import (
	"fmt"
	"slices"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// adjust appends the edits that follow from the vendor's row and from the
// deployment's parameters: what is ours is cut, what the vendor refuses is
// dropped, names are changed, defaults are added.
func (v *openai) adjust(req *llm.Request, t *Target, model []byte, start llm.Span, edits []llm.Edit) []llm.Edit {
	rename := v.renames(model)
	cuts := len(rename) > 0 || len(t.refused)+len(t.drop)+len(t.extra) > 0
	for i := range req.Members {
		if req.Members[i].Ours {
			cuts = true
		}
	}
	if t.noUsage && req.StreamOptions.Present() {
		cuts = true
	}
	if cuts {
		edits = jsonscan.AppendCuts(edits, req.Members, func(m *llm.Member) bool { return v.cut(req, t, rename, m) })
	}
	for _, p := range rename {
		m := req.Find(p.from)
		if m != nil && !m.Ours && !v.cut(req, t, rename, m) {
			edits = append(edits, llm.Edit{
				Span: llm.Span{From: m.Key.From + 1, To: m.Key.To - 1}, With: []byte(p.to),
			})
		}
	}
	for i := range t.defaults {
		if p := &t.defaults[i]; !present(req, rename, p.name) {
			edits = append(edits, llm.Edit{Span: start, With: p.member})
		}
	}
	for i := range t.extra {
		edits = append(edits, llm.Edit{Span: start, With: t.extra[i].member})
	}
	return edits
}

// renames are the parameters that have another name for this model. model is
// JSON text.
func (v *openai) renames(model []byte) []pair {
	for i := range v.byModel {
		for _, m := range v.byModel[i].models {
			if len(model) > len(m) && string(model[1:1+len(m)]) == m {
				return v.byModel[i].rename
			}
		}
	}
	return v.rename
}

// cut says whether a member does not go to the provider.
func (v *openai) cut(req *llm.Request, t *Target, rename []pair, m *llm.Member) bool {
	if m.Ours {
		return true
	}
	for i := range t.extra {
		if t.extra[i].name == string(m.Name) {
			return true
		}
	}
	for _, p := range rename {
		if p.from == string(m.Name) && req.Find(p.to) != nil {
			return true // the new name is there as well, and wins
		}
	}
	if t.noUsage && string(m.Name) == "stream_options" {
		return true
	}
	return t.refuses(req, m.Name) || t.drops(req, m.Name)
}

func contains(list []string, name []byte) bool {
	for _, s := range list {
		if s == string(name) {
			return true
		}
	}
	return false
}

// present says whether the client gave a parameter under its own or its old
// name.
func present(req *llm.Request, rename []pair, name string) bool {
	if req.Find(name) != nil {
		return true
	}
	return slices.ContainsFunc(rename, func(p pair) bool { return p.to == name && req.Find(p.from) != nil })
}

// fixed is a parameter of the configuration as it stands in an object, with a
// comma after it: messages always follow.
type fixed struct {
	name   string
	member []byte
}

// settled are the fields that only the client or the gateway decides.
var settled = []string{"model", "messages", "stream", "stream_options"}

// parameters prepares what a deployment adds and drops.
func (t *Target) parameters(p *Params) error {
	for _, d := range p.Drop {
		switch {
		case d == "stream_options":
			t.noUsage = true
		case slices.Contains(settled, d):
			return fmt.Errorf("additional_drop_params: %q cannot be dropped", d)
		default:
			t.drop = append(t.drop, d)
		}
	}
	for _, e := range p.Extra {
		if slices.Contains(settled, e.Name) {
			return fmt.Errorf("extra_body: %q cannot be set", e.Name)
		}
		t.extra = append(t.extra, fix(e))
	}
	for _, d := range p.Defaults {
		if !slices.Contains(settled, d.Name) && !slices.ContainsFunc(t.extra, func(e fixed) bool { return e.name == d.Name }) {
			t.defaults = append(t.defaults, fix(d))
		}
	}
	return nil
}

func fix(p Param) fixed {
	b := append(jsonscan.AppendString(nil, p.Name), ':')
	return fixed{name: p.Name, member: append(append(b, p.JSON...), ',')}
}
