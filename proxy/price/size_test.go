package price

import "testing"

// TestSizes: models that the table does not name have the price of their size,
// where their provider has such prices.
func TestSizes(t *testing.T) {
	for _, c := range []struct{ model, provider, want string }{
		{"someone/Own-70B-Chat", "together_ai", "together-ai-41.1b-80b"},
		{"someone/own-4b", "together_ai", "together-ai-up-to-4b"},
		{"someone/own-8b-and-70b", "together_ai", "together-ai-4.1b-8b"},
		{"someone/own-110b", "together_ai", "together-ai-81.1b-110b"},
		{"someone/own-111b", "together_ai", ""},
		{"someone/own-99999999999999999999b", "together_ai", ""},
		{"someone/own", "together_ai", ""},
		{"meta-llama/Llama-3.3-70B-Instruct-Turbo", "together_ai", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"},
		{"accounts/me/models/own-8x7b", "fireworks_ai", "fireworks-ai-moe-up-to-56b"},
		{"accounts/me/models/own-8x22b", "fireworks_ai", "fireworks-ai-56b-to-176b"},
		{"accounts/me/models/own-16x22b", "fireworks_ai", "fireworks-ai-above-16b"},
		{"accounts/me/models/own-13b", "fireworks_ai", "fireworks-ai-4.1b-to-16b"},
		{"accounts/me/models/own", "fireworks_ai", ""},
		{"accounts/fireworks/models/glm-5p2-fast", "fireworks_ai", "fireworks_ai/glm-5p2-fast"},
		{"own-70b", "groq", ""},
		{"own-70b", "", ""},
	} {
		e, ok := Lookup(c.model, c.provider)
		if e.Name != c.want || ok != (c.want != "") {
			t.Errorf("%s of %s: %q, want %q", c.model, c.provider, e.Name, c.want)
		}
		if p, err := (*Book)(nil).Price(c.model, c.provider, Adjustment{}); err != nil || p.Known() != ok {
			t.Errorf("%s of %s: %v, its price is known: %t", c.model, c.provider, err, p.Known())
		}
	}
}
