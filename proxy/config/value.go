package config

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// shape is what a value is.
type shape uint8

const (
	null shape = iota
	boolean
	integer
	number
	text
	list
	mapping
)

func (s shape) String() string {
	return [...]string{"nothing", "a truth value", "a whole number", "a number", "text", "a list", "a map"}[s]
}

// value is a node of the configuration after substitution. Values are shared
// where the file uses aliases and are never changed once parsed.
type value struct {
	is      shape
	text    string // scalars: as written, or as substituted
	on      bool   // booleans
	items   []*value
	entries []entry
	at      Pos
	fromEnv bool // some of the text came from the environment
}

type entry struct {
	name  string
	at    Pos
	value *value
}

// get returns the value of a key of a map, nil where there is none or it is
// null. It may be called on nil.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	for _, e := range v.entries {
		if e.name == name && e.value.is != null {
			return e.value
		}
	}
	return nil
}

func (v *value) scalar() bool { return v.is >= boolean && v.is <= text }

// appendJSON writes the value as compact JSON. Numbers that JSON cannot write
// (infinities, hexadecimal) are written as plain ones or null.
func (v *value) appendJSON(b []byte) []byte {
	switch v.is {
	case null:
		return append(b, "null"...)
	case boolean:
		return strconv.AppendBool(b, v.on)
	case integer:
		return append(b, wholeText(v.text)...)
	case number:
		f := floatOf(v.text)
		if math.IsInf(f, 0) || math.IsNaN(f) {
			return append(b, "null"...)
		}
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	case list:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendJSON(b)
		}
		return append(b, ']')
	case mapping:
		b = append(b, '{')
		for i, e := range v.entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSONText(b, e.name)
			b = append(b, ':')
			b = e.value.appendJSON(b)
		}
		return append(b, '}')
	default:
		return appendJSONText(b, v.text)
	}
}

func appendJSONText(b []byte, s string) []byte {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(b, `""`...)
	}
	return append(b, strings.TrimSuffix(out.String(), "\n")...)
}

// wholeText returns a whole number in plain decimal digits.
func wholeText(s string) string {
	s = strings.ReplaceAll(s, "_", "")
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if n, err := strconv.ParseUint(s, 0, 64); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return "0"
}

func floatOf(s string) float64 {
	s = strings.ReplaceAll(strings.ToLower(s), "_", "")
	switch strings.TrimLeft(s, "+-") {
	case ".inf":
		return math.Inf(1)
	case ".nan":
		return math.NaN()
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

// appendPython writes the value as Python's str, or repr when nested, would:
// identities of deployments are digests of this form, and must be the ones that
// operators already have in dashboards and spend logs.
func (v *value) appendPython(b []byte, nested bool) []byte {
	switch v.is {
	case null:
		return append(b, "None"...)
	case boolean:
		if v.on {
			return append(b, "True"...)
		}
		return append(b, "False"...)
	case integer:
		return append(b, wholeText(v.text)...)
	case number:
		return appendPythonFloat(b, floatOf(v.text))
	case list:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = item.appendPython(b, true)
		}
		return append(b, ']')
	case mapping:
		if !nested {
			return v.appendSpacedJSON(b)
		}
		b = append(b, '{')
		for i, e := range v.entries {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendPythonText(b, e.name)
			b = append(b, ": "...)
			b = e.value.appendPython(b, true)
		}
		return append(b, '}')
	default:
		if nested {
			return appendPythonText(b, v.text)
		}
		return append(b, v.text...)
	}
}

func appendPythonFloat(b []byte, f float64) []byte {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if !strings.Contains(string(b[start:]), ".") {
		b = append(b, ".0"...)
	}
	return b
}

func appendPythonText(b []byte, s string) []byte {
	mark := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	b = append(b, mark)
	for _, r := range s {
		switch {
		case r == '\\' || r == rune(mark):
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, mark)
}

// appendSpacedJSON writes JSON with Python's separators and ASCII alone.
func (v *value) appendSpacedJSON(b []byte) []byte {
	switch v.is {
	case list:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = item.appendSpacedJSON(b)
		}
		return append(b, ']')
	case mapping:
		b = append(b, '{')
		for i, e := range v.entries {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendASCII(b, e.name), ": "...)
			b = e.value.appendSpacedJSON(b)
		}
		return append(b, '}')
	case text:
		return appendASCII(b, v.text)
	case number:
		return appendPythonFloat(b, floatOf(v.text))
	default:
		return v.appendJSON(b)
	}
}

func appendASCII(b []byte, s string) []byte {
	return append(b, strings.Trim(strconv.QuoteToASCII(s), "\x00")...)
}
