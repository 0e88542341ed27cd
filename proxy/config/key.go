package config

import (
	"strings"

	"sluice/internal/env"
)

// Use says what becomes of a key.
type Use uint8

// The uses.
const (
	Used   Use = iota // has its effect
	Later             // accepted, without effect in this release
	Guards            // as Later, and something is less protected than the file says: a warning
	Never             // accepted and ignored for a reason: a warning
)

// String returns the use as the documentation has it.
func (u Use) String() string {
	return [...]string{"used", "no effect yet", "no effect yet, warned of", "ignored"}[u]
}

// Kind is what a key's value may be.
type Kind uint8

// The kinds. A null is allowed everywhere and means "not given".
const (
	Any      Kind = iota
	Text          // any scalar
	Secret        // text that is never shown
	Bool          // true, false, yes, no, on, off, 1, 0
	Int           // a whole number, 0 or more
	Number        // a number
	Amount        // a number, 0 or more
	Seconds       // a number of seconds, or "500ms", "30s", "5m", "7d"
	Megabyte      // a number of MiB
	Texts         // a list of texts, or one text
	Numbers       // a list of numbers
	Map           // a map
	List          // a list
	Switch        // a truth value or a text
	Dollars       // an amount of money, 0 or more
	Window        // the window of a budget: 30s, 5m, 12h, 7d, 2w, 1mo
)

// String says what is allowed.
func (k Kind) String() string {
	return [...]string{
		"any value", "text", "text", "true or false", "a whole number, 0 or more", "a number", "a number, 0 or more",
		"seconds, or a duration such as 500ms, 30s, 5m", "a number of MiB", "a list of texts", "a list of numbers",
		"a map", "a list", "true, false, or a path", "dollars, 0 or more", "a window such as 12h, 7d or 1mo",
	}[k]
}

// Key is a row of the tables of known keys: what a key may hold and what it
// does. Default is as an operator would write it, "" for none.
type Key struct {
	Name    string
	Kind    Kind
	Use     Use
	Default string
	Doc     string   // what it does; of a Never key, why it is ignored
	OneOf   []string // the only texts allowed, where not nil
}

// Section is a map of the file with its keys.
type Section struct {
	Name string // path, as in "model_list[].litellm_params"
	Doc  string
	Keys []Key
}

// Sections returns every section that is known, in the order of the
// documentation.
func Sections() []Section {
	return []Section{
		{"", "Top level of the file.", topKeys()},
		{"model_list[]", "One deployment. Several with the same `model_name` share its load.", entryKeys()},
		{"model_list[].litellm_params", "Where a deployment is and how it is called. Keys that are not listed, and the parameters of a request, are defaults of the request: what the client sends wins.", paramKeys()},
		{"model_list[].model_info", "What is known about a deployment. Keys that are not listed are kept and shown.", infoKeys()},
		{"credential_list[]", "Named credentials that deployments share.", credentialKeys()},
		{"litellm_settings", "How providers are called.", litellmKeys()},
		{"general_settings", "The server, its keys and its database.", generalKeys()},
		{"router_settings", "How a deployment is chosen. Wins over the same key in `litellm_settings`.", routerKeys()},
		{"compat", "Switches back to a behaviour that this product changes on purpose.", compatKeys()},
	}
}

// find returns the row of a name.
func find(keys []Key, name string) (Key, bool) {
	for _, k := range keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

func names(keys []Key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.Name
	}
	return out
}

// rows makes keys of one use that need no more said than their names.
func rows(use Use, kind Kind, doc string, list string) []Key {
	var out []Key
	for name := range strings.FieldsSeq(list) {
		out = append(out, Key{Name: name, Kind: kind, Use: use, Doc: doc})
	}
	return out
}

// secret reports whether values of the key are never to be shown.
func (k Key) secret() bool {
	if k.Kind == Secret {
		return true
	}
	return (k.Kind == Text || k.Kind == Any || k.Kind == Texts || k.Kind == Map) && k.OneOf == nil && env.SecretName(k.Name)
}
