package litellm

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"sluice/proxy/identity"
)

// secretName reports whether what a field holds is a secret, by its name.
func secretName(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "litellm_credential_name", "prompt_cache_key", "cache_key", "object_key", "criteria_key", "config_key", "changed_by_api_key",
		"deleted_by_api_key", "key_hash", "token_url", "allow_all_keys":
		return false
	case "token", "authorization", "dsn", "database_url", "redis_url", "extra_headers", "static_headers", "headers", "proxy_url", "env", "env_vars":
		return true
	}
	if strings.Contains(name, "cost_per_") || strings.HasPrefix(name, "default_api_key_") || strings.HasPrefix(name, "user_api_key_") {
		return false
	}
	for _, end := range []string{"_token", "_key", "_key_id", "_secret", "_password", "_credentials", "_dsn", "_b64", "_jwt"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	if slices.Contains([]string{"api_key", "apikey", "key", "secret", "password", "passphrase", "credentials"}, name) {
		return true
	}
	for _, part := range []string{"webhook", "password", "secret", "private_key", "api_key", "credentials"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// secretIn reports whether there is a secret in plain text in a field, at any
// depth.
func secretIn(name string, v json.RawMessage) bool {
	found := false
	eachSecret(name, v, func(string) (string, bool) {
		found = true
		return "", false
	})
	return found
}

// hidden stands for a secret that is not kept.
const hidden = "*****"

// eachSecret replaces the texts inside a JSON value that are secrets, by the name
// of the field that they are in or by their form. replace says what to put there,
// and whether to.
func eachSecret(name string, v json.RawMessage, replace func(text string) (string, bool)) (json.RawMessage, bool) {
	return walkSecrets(secretName(name), v, replace)
}

func walkSecrets(secret bool, v json.RawMessage, replace func(text string) (string, bool)) (json.RawMessage, bool) {
	v = bytes.TrimSpace(v)
	if len(v) == 0 {
		return v, false
	}
	switch v[0] {
	case '"':
		s := textOf(v)
		if spoken(s) || !secret && !strings.HasPrefix(s, "sk-") && !withPassword(s) {
			return v, false
		}
		if to, ok := replace(s); ok {
			return quoted(to), true
		}
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil {
			return v, false
		}
		changed := false
		for i := range items {
			item, did := walkSecrets(secret, items[i], replace)
			items[i], changed = item, changed || did
		}
		if changed {
			return quoted(items), true
		}
	case '{':
		var fields identity.Fields
		if json.Unmarshal(v, &fields) != nil {
			return v, false
		}
		changed := false
		for inner, value := range fields {
			item, did := walkSecrets(secret || secretName(inner), value, replace)
			fields[inner], changed = item, changed || did
		}
		if changed {
			return quoted(fields), true
		}
	}
	return v, false
}

// withPassword reports whether a text is a URL that names a user.
func withPassword(s string) bool {
	if !strings.Contains(s, "://") || !strings.Contains(s, "@") {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && u.User != nil
}
