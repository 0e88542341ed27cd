package admin

import (
	"encoding/json"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// Body is the body of a call: its fields by name, each of the type that the
// route's row says. A field that is null is there and Null.
type Body map[string]json.RawMessage

// Has is true for a field that was sent, null included.
func (b Body) Has(name string) bool { _, ok := b[name]; return ok }

// Null is true for a field that was sent as null.
func (b Body) Null(name string) bool { return string(b[name]) == "null" }

// Given is true for a field that was sent and is not null.
func (b Body) Given(name string) bool { return b.Has(name) && !b.Null(name) }

// into decodes a checked field; what is not given leaves the zero value.
func into[T any](b Body, name string) (v T) {
	if b.Given(name) {
		_ = json.Unmarshal(b[name], &v) // its type was checked
	}
	return v
}

// Text is a text field, "" where it is not given.
func (b Body) Text(name string) string { return into[string](b, name) }

// Bool is a field of truth.
func (b Body) Bool(name string) bool { return into[bool](b, name) }

// Int is a whole number; nil where it is not given.
func (b Body) Int(name string) *int64 { return into[*int64](b, name) }

// Money is an amount; nil where it is not given.
func (b Body) Money(name string) *money.Nano { return into[*money.Nano](b, name) }

// Texts is a list of texts; nil where it is not given.
func (b Body) Texts(name string) []string { return into[[]string](b, name) }

// Map is a map of texts.
func (b Body) Map(name string) map[string]string { return into[map[string]string](b, name) }

// Fields is an object that is not looked into.
func (b Body) Fields(name string) identity.Fields { return into[identity.Fields](b, name) }

// Time is a moment; nil where it is not given.
func (b Body) Time(name string) *time.Time { return into[*time.Time](b, name) }
