package admin

import (
	"encoding/json"
	"time"

	"sluice/proxy/identity"
)

// setting is a setting of an object as it was given, or what stands for none.
func setting(s identity.Fields, name, none string) json.RawMessage {
	if raw := s[name]; len(raw) > 0 && string(raw) != "null" {
		return raw
	}
	return json.RawMessage(none)
}

// settingOf is a setting of a known type; the zero value where it is not there.
func settingOf[T any](s identity.Fields, name string) (v T) {
	if raw := s[name]; len(raw) > 0 && json.Unmarshal(raw, &v) != nil {
		var none T
		return none
	}
	return v
}

// settingTime is a setting that is a moment; nil where there is none.
func settingTime(s identity.Fields, name string) *time.Time { return settingOf[*time.Time](s, name) }

// put sets a setting; null takes it away. The map is made where there is none.
func put(s *identity.Fields, name string, raw json.RawMessage) {
	if len(raw) == 0 || string(raw) == "null" {
		delete(*s, name)
		return
	}
	if *s == nil {
		*s = identity.Fields{}
	}
	(*s)[name] = raw
}
