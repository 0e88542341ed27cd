package config

import (
	"net/url"
	"strconv"
	"strings"

	"sluice/internal/env"
)

// Masked returns the configuration of the file, with what it includes and what
// variables gave, as YAML in which every secret is "…". It is for logs and for
// those who ask what is in force.
func (f *File) Masked() string {
	var b strings.Builder
	if f.root == nil || len(f.root.entries) == 0 {
		return "{}\n"
	}
	masked(&b, f.root, "", false)
	return b.String()
}

// masked writes the inside of a map or list, each line after indent.
func masked(b *strings.Builder, v *value, indent string, secret bool) {
	for _, e := range v.entries {
		b.WriteString(indent + maskedText(e.name) + ":")
		maskedValue(b, e.value, indent+"  ", secret || secretKey(e.name))
	}
	for _, item := range v.items {
		b.WriteString(indent + "-")
		maskedValue(b, item, indent+"  ", secret)
	}
}

func maskedValue(b *strings.Builder, v *value, indent string, secret bool) {
	switch {
	case v.is == mapping && len(v.entries) > 0, v.is == list && len(v.items) > 0:
		b.WriteByte('\n')
		masked(b, v, indent, secret)
	case v.is == mapping:
		b.WriteString(" {}\n")
	case v.is == list:
		b.WriteString(" []\n")
	case v.is == null:
		b.WriteString(" null\n")
	case secret && (v.is == text || v.fromEnv), v.is == text && strings.HasPrefix(v.text, "sk-"):
		b.WriteString(" …\n")
	case v.is == text:
		b.WriteString(" " + maskedText(withoutUser(v.text)) + "\n")
	default:
		b.WriteString(" " + v.text + "\n")
	}
}

// secretKey reports whether texts under a key are secrets: the tables say so of
// the keys that they have, the name of others.
func secretKey(name string) bool {
	switch name {
	case "headers", "extra_headers", "environment_variables", "credential_values":
		return true
	case "litellm_credential_name", "credential_name": // they only look so
		return false
	}
	for _, s := range Sections() {
		if k, ok := find(s.Keys, name); ok {
			return k.secret()
		}
	}
	return env.SecretName(name)
}

// withoutUser takes user and password out of a URL.
func withoutUser(s string) string {
	if !strings.Contains(s, "://") || !strings.Contains(s, "@") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "…"
	}
	if u.User != nil {
		u.User = url.User("…")
	}
	return u.String()
}

// maskedText quotes what YAML would read as something else.
func maskedText(s string) string {
	plain := s != "" && s == strings.TrimSpace(s)
	for i := range len(s) {
		plain = plain && (wordByte(s[i], true) || strings.IndexByte("./-", s[i]) >= 0 || s[i] == ':' && i+1 < len(s) && s[i+1] == '/')
	}
	if plain && s[0] != '-' {
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			return s
		}
	}
	return strconv.Quote(s)
}
