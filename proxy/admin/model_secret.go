package admin

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"sluice/proxy/identity"
)

// Masked stands for a secret in answers. Sent back in an update it means that
// the secret stays as it is.
const Masked = "*****"

var (
	maskedJSON = json.RawMessage(`"` + Masked + `"`)
	nothing    = json.RawMessage("null")
	no         = json.RawMessage("false")
)

// secretField says whether what a field holds is a secret, by the name.
func secretField(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "litellm_credential_name", "ssl_certificate_key", "prompt_cache_key":
		return false
	case "proxy_url", "headers", "extra_headers", "vertex_credentials", "token", "authorization", "dsn", "database_url", "redis_url":
		return true
	}
	if strings.Contains(name, "cost_per_") { // a price of a token
		return false
	}
	for _, end := range []string{"_token", "_key", "_key_id", "_secret", "_secret_key", "_password", "_credentials", "_dsn"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return slices.Contains([]string{"api_key", "apikey", "key", "secret", "password", "passphrase", "credentials"}, name) ||
		strings.Contains(name, "webhook") || strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "private_key") ||
		strings.Contains(name, "api_key") && !strings.HasPrefix(name, "default_api_key_")
}

// shown is an object without its secrets. Of a URL user, password and query are
// left out; further in, a secret is masked.
func shown(f identity.Fields) identity.Fields {
	out := make(identity.Fields, len(f))
	for name, v := range f {
		switch {
		case name == "headers" || name == "extra_headers":
			out[name] = maskAll(v)
		case !secretField(name):
			out[name] = shownValue(v)
		}
	}
	return out
}

func shownValue(v json.RawMessage) json.RawMessage {
	switch v = bytes.TrimSpace(v); {
	case len(v) == 0:
		return nothing
	case v[0] == '"':
		var text string
		if json.Unmarshal(v, &text) != nil || !strings.Contains(text, "://") {
			return v
		}
		return marshalled(shownURL(text))
	case v[0] == '[':
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil {
			return nothing
		}
		for i := range items {
			items[i] = shownValue(items[i])
		}
		return marshalled(items)
	case v[0] == '{':
		var inner identity.Fields
		if json.Unmarshal(v, &inner) != nil {
			return nothing
		}
		for name := range inner {
			if secretField(name) {
				inner[name] = maskAll(inner[name])
			} else {
				inner[name] = shownValue(inner[name])
			}
		}
		return marshalled(inner)
	}
	return v
}

// shownURL is a URL without what may be a secret in it. Other texts stay.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return Masked
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return text
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// maskAll masks every text inside a value, and a value that is no object whole.
func maskAll(v json.RawMessage) json.RawMessage {
	var inner identity.Fields
	if json.Unmarshal(v, &inner) != nil || inner == nil {
		return maskedJSON
	}
	for name := range inner {
		inner[name] = maskedJSON
	}
	return marshalled(inner)
}

// environment is how a text of the configuration names a variable.
const environment = "os.environ/"

// namesEnvironment says whether a text inside a JSON value names a variable of
// the gateway's environment, however it is escaped.
func namesEnvironment(v json.RawMessage) bool {
	var plain any
	return json.Unmarshal(v, &plain) != nil || bytes.Contains(marshalled(plain), []byte(environment))
}

// unmask puts the old value back where the new one is the mask.
func unmask(old, value json.RawMessage) json.RawMessage {
	value = bytes.TrimSpace(value)
	if bytes.Equal(value, maskedJSON) {
		return old
	}
	var was, is identity.Fields
	if len(value) == 0 || value[0] != '{' || json.Unmarshal(old, &was) != nil || json.Unmarshal(value, &is) != nil {
		return value
	}
	for name := range is {
		if v := unmask(was[name], is[name]); v != nil {
			is[name] = v
		} else {
			delete(is, name)
		}
	}
	return marshalled(is)
}

// marshalled is the JSON of a value that always has one.
func marshalled(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: a value of an answer is no JSON: " + err.Error())
	}
	return b
}

// textOf is a JSON text; "" for anything else.
func textOf(v json.RawMessage) (text string) {
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &text) != nil {
		return ""
	}
	return text
}
