package provider

import (
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// The parameters that say how many tokens an answer may have.
const (
	maxTokens     = "max_tokens"
	maxCompletion = "max_completion_tokens"
)

// Most is how many tokens the answer to a request may have as the provider will
// be told: by extra_body, by the client, by the deployment's default, in this
// order; 0 where nobody says. model is the provider's name of the model as JSON.
func (t *Target) Most(req *llm.Request, model []byte) int64 {
	if n := most(t.extra); n > 0 {
		return n
	}
	var n int64
	for _, name := range [...]string{maxTokens, maxCompletion} {
		m := req.Find(name)
		if m != nil && m.Kind == llm.JSONNumber && t.adapter.Sends(req, t, model, m) {
			n = max(n, jsonscan.Count(m.Value.Of(req.Body)))
		}
	}
	if n > 0 || req.Find(maxTokens) != nil || req.Find(maxCompletion) != nil {
		return n
	}
	return most(t.defaults)
}

func most(params []fixed) (n int64) {
	for i := range params {
		if p := &params[i]; p.name == maxTokens || p.name == maxCompletion {
			n = max(n, jsonscan.Count(p.member[len(p.name)+len(`"":`):len(p.member)-1]))
		}
	}
	return n
}

// Cap appends the edit that caps an answer at so many tokens, in digits. It is
// for requests of which Most is 0.
func (t *Target) Cap(req *llm.Request, model, tokens []byte, edits []llm.Edit) []llm.Edit {
	for _, name := range [...]string{maxTokens, maxCompletion} {
		if m := req.Find(name); m != nil && t.adapter.Sends(req, t, model, m) {
			return append(edits, llm.Edit{Span: m.Value, With: tokens}) // a null, or no number that caps anything
		}
	}
	start := llm.Span{From: req.Open + 1, To: req.Open + 1}
	return append(edits, llm.Edit{Span: start, With: t.adapter.CapMember(model)}, llm.Edit{Span: start, With: tokens},
		llm.Edit{Span: start, With: comma})
}

var (
	maxTokensMember     = []byte(`"` + maxTokens + `":`)
	maxCompletionMember = []byte(`"` + maxCompletion + `":`)
)

// CapMember implements Adapter.
func (v *openai) CapMember(model []byte) []byte {
	for _, p := range v.renames(model) {
		if p.to == maxCompletion {
			return maxCompletionMember
		}
	}
	return maxTokensMember
}

// Sends implements Adapter.
func (v *openai) Sends(req *llm.Request, t *Target, model []byte, m *llm.Member) bool {
	return !v.cut(req, t, v.renames(model), m)
}
