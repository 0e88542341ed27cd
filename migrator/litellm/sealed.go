package litellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sluice/proxy/identity"
)

// unlocker opens the texts of one row. LiteLLM's oldest form has no mark, so that
// a long key in plain text looks like it: a text of that form that does not open
// is taken as plain where another one of the row opens, or where a field that
// LiteLLM always encrypts is plain beyond doubt; else it is sealed with another
// key. Texts further in are encrypted by some releases only and tell nothing.
type unlocker struct {
	r      *row
	tells  string   // the field that tells; "": each
	open   int      // texts that opened
	plain  int      // texts that are not encrypted
	isOpen bool     // the row is known to be plain
	doubt  []string // fields that look encrypted in the oldest form and do not open
	broken error    // a text with a mark does not open
}

// text opens a text. A plain one stays.
func (u *unlocker) text(field, s string) string {
	if s == "" {
		return s
	}
	plain, sealed, err := u.r.c.Open(s)
	switch {
	case !sealed:
		u.plain++
		u.isOpen = u.isOpen || field == u.tells || u.tells == "" && !strings.Contains(field, "/")
		return s
	case err == nil:
		u.open++
		return plain
	case marked(s):
		u.r.c.Broken++
		if u.broken == nil {
			u.broken = &SealedError{Table: u.r.table, ID: clip(u.r.id), Field: field, Err: err}
		}
	default:
		u.doubt = append(u.doubt, field)
	}
	return s
}

// marked reports whether a text says itself that it is encrypted.
func marked(s string) bool {
	return strings.HasPrefix(s, "v2:gcm:") || strings.HasPrefix(s, "v3:gcm:") || strings.HasPrefix(s, "sluice1:")
}

// value opens every text inside a JSON value, which is a valid one.
func (u *unlocker) value(field string, value json.RawMessage) json.RawMessage {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return json.RawMessage("null")
	}
	var items []json.RawMessage
	var fields identity.Fields
	switch {
	case value[0] == '"':
		return quoted(u.text(field, textOf(value)))
	case value[0] == '[' && json.Unmarshal(value, &items) == nil:
		for i := range items {
			items[i] = u.value(field+"/"+strconv.Itoa(i), items[i])
		}
		return quoted(items)
	case value[0] == '{' && json.Unmarshal(value, &fields) == nil:
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			fields[name] = u.value(field+"/"+name, fields[name])
		}
		return quoted(fields)
	}
	return value
}

// fields opens every text inside the fields of an object. A field that is null is
// not there.
func (u *unlocker) fields(in identity.Fields) identity.Fields {
	out := make(identity.Fields, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if v := u.value(name, in[name]); string(v) != "null" {
			out[name] = v
		}
	}
	return out
}

// verdict says what the texts that are in doubt are. The error is a *SealedError.
func (u *unlocker) verdict() error {
	c := u.r.c
	c.Opened += u.open
	c.Plain += u.plain
	if u.broken != nil {
		c.Broken += len(u.doubt)
		return u.broken
	}
	if len(u.doubt) == 0 {
		return nil
	}
	if u.open == 0 && !u.isOpen {
		c.Broken += len(u.doubt)
		return &SealedError{Table: u.r.table, ID: clip(u.r.id), Field: u.doubt[0], Err: errOtherKey}
	}
	c.Plain += len(u.doubt)
	u.r.report("has a text that looks encrypted and does not open beside others that do or are plain; it was taken as it is")
	return nil
}

var errOtherKey = errors.New("it does not open with the salt key that was given")
