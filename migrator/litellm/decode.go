package litellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// text is a text that may be NULL, which is an empty one.
type text string

// UnmarshalJSON reads a text, and what is no text as its JSON: columns have
// changed their types over LiteLLM's releases.
func (t *text) UnmarshalJSON(doc []byte) error {
	switch {
	case string(doc) == "null":
		*t = ""
	case doc[0] != '"':
		*t = text(doc)
	case bytes.IndexByte(doc, '\\') < 0:
		*t = text(doc[1 : len(doc)-1])
	default:
		return json.Unmarshal(doc, (*string)(t))
	}
	return nil
}

// amount is a number of dollars. What no amount can be is taken as none, and
// odd says so.
type amount struct {
	value money.Nano
	given bool
	odd   string
}

const (
	oddNaN      = "is not a number"
	oddInfinite = "is infinite"
	oddNegative = "is negative"
	oddLarge    = "is more than can be counted in nano-dollars"
	oddSyntax   = "is no number"
)

// UnmarshalJSON reads what PostgreSQL makes of a double: its shortest decimal,
// or a text for what JSON has no number for.
func (a *amount) UnmarshalJSON(doc []byte) error {
	*a = amount{}
	switch s := strings.Trim(string(doc), `"`); s {
	case "null":
		return nil
	case "0":
		a.given = true
	case "NaN":
		a.odd = oddNaN
	case "Infinity":
		a.odd = oddInfinite
	case "-Infinity":
		a.odd, a.value = oddInfinite, math.MinInt64
	default:
		v, err := money.Parse(s)
		switch {
		case errors.Is(err, money.ErrRange) && s[0] == '-':
			a.odd, a.value = oddNegative, math.MinInt64
		case errors.Is(err, money.ErrRange):
			a.odd, a.value = oddLarge, math.MaxInt64
		case err != nil:
			a.odd = oddSyntax
		case v < 0:
			a.odd, a.value = oddNegative, v
		default:
			a.value, a.given = v, true
		}
	}
	return nil
}

// moment is a time. LiteLLM's columns have no zone and mean UTC.
type moment struct {
	at    time.Time
	given bool
}

// UnmarshalJSON reads a timestamp with or without a zone. PostgreSQL's infinity
// is never, its -infinity the beginning of time.
func (m *moment) UnmarshalJSON(doc []byte) error {
	*m = moment{}
	if string(doc) == "null" {
		return nil
	}
	if len(doc) < 2 || doc[0] != '"' {
		return errors.New("is no time")
	}
	return m.parse(string(doc[1 : len(doc)-1]))
}

func (m *moment) parse(s string) error {
	switch {
	case s == "infinity" || strings.IndexByte(s, '-') > 4: // or beyond the year 9999
		return nil
	case s == "-infinity" || strings.HasSuffix(s, " BC"):
		m.at, m.given = time.Unix(0, 0).UTC(), true
		return nil
	}
	layout := "2006-01-02T15:04:05"
	if len(s) > len(layout) && strings.ContainsAny(s[len(layout):], "Z+-") {
		layout = time.RFC3339
	}
	at, err := time.Parse(layout, s)
	if err != nil {
		return errors.New("is no time")
	}
	m.at, m.given = at.UTC(), true
	return nil
}

// pointer is the time, nil for none.
func (m moment) pointer() *time.Time {
	if !m.given {
		return nil
	}
	return &m.at
}

// json is the time as the API has it, null for none.
func (m moment) json() json.RawMessage {
	if !m.given {
		return nil
	}
	return quoted(m.at.Format(time.RFC3339Nano))
}

// count is a whole number that may be NULL. One that some release kept as a
// double is cut.
type count struct {
	value int64
	given bool
}

// UnmarshalJSON reads a whole number.
func (n *count) UnmarshalJSON(doc []byte) error {
	*n = count{}
	s := strings.Trim(string(doc), `"`)
	if s == "null" || s == "" {
		return nil
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		n.value, n.given = v, true
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), math.IsNaN(f):
		return errors.New("is no whole number")
	case f >= math.MaxInt64:
		n.value = math.MaxInt64
	case f <= math.MinInt64:
		n.value = math.MinInt64
	default:
		n.value = int64(f)
	}
	n.given = true
	return nil
}

func (n count) pointer() *int64 {
	if !n.given {
		return nil
	}
	return &n.value
}

// json is the number as JSON, nil for none.
func (n count) json() json.RawMessage {
	if !n.given {
		return nil
	}
	return json.RawMessage(strconv.FormatInt(n.value, 10))
}

// list is a text[] that may be NULL. Elements that are NULL are not in it.
type list []string

// UnmarshalJSON reads an array of texts; anything else is none.
func (l *list) UnmarshalJSON(doc []byte) error {
	*l = nil
	if doc = unwrapped(doc); len(doc) < 3 || doc[0] != '[' {
		return nil
	}
	var items []*text
	if err := json.Unmarshal(doc, &items); err != nil {
		return errors.New("is no list")
	}
	for _, t := range items {
		if t != nil {
			*l = append(*l, string(*t))
		}
	}
	return nil
}

func (l list) json() json.RawMessage {
	if len(l) == 0 {
		return nil
	}
	return quoted([]string(l))
}

// object is a jsonb that should be an object. Some releases stored one as a text
// that holds it.
type object struct {
	fields identity.Fields
	odd    bool // something, and no object
}

// UnmarshalJSON reads an object, or a text that holds one.
func (o *object) UnmarshalJSON(doc []byte) error {
	*o = object{}
	switch doc = unwrapped(doc); {
	case empty(doc):
	case doc[0] != '{':
		o.odd = true
	default:
		if json.Unmarshal(doc, &o.fields) != nil {
			o.odd = true
		}
	}
	return nil
}

// raw is a jsonb of any kind.
type raw json.RawMessage

// UnmarshalJSON keeps what there is; null, {} and [] are nothing.
func (r *raw) UnmarshalJSON(doc []byte) error {
	*r = nil
	if doc = unwrapped(doc); !empty(doc) {
		*r = slices.Clone(doc)
	}
	return nil
}

// unwrapped is the document inside a text that holds a JSON array or object, or
// the document itself.
func unwrapped(doc []byte) []byte {
	if len(doc) < 4 || doc[0] != '"' || doc[1] != '{' && doc[1] != '[' {
		return doc
	}
	var inner string
	if json.Unmarshal(doc, &inner) != nil || !json.Valid([]byte(inner)) || unstorable.MatchString(inner) {
		return doc
	}
	return []byte(inner)
}

// unstorable finds what a text may hold and a jsonb may not: U+0000, half of a
// pair of surrogates, and numbers beyond those of JSON's readers. Whole pairs of
// surrogates are found too; nothing writes them that could write UTF-8.
var unstorable = regexp.MustCompile(`\\u0000|\\u[dD][89a-fA-F]|[0-9][eE][+-]?[0-9]{3}`)

// empty reports whether a document says nothing.
func empty(doc []byte) bool {
	switch string(bytes.TrimSpace(doc)) {
	case "", "null", "{}", "[]", `""`:
		return true
	}
	return false
}

// quoted is the JSON of a value that always has one.
func quoted(v any) json.RawMessage {
	doc, err := json.Marshal(v)
	if err != nil {
		panic("BUG: a value of ours is no JSON: " + err.Error())
	}
	return doc
}

// put keeps a setting under its name in the API. Nothing is not kept.
func put(settings *identity.Fields, name string, value json.RawMessage) {
	if len(value) == 0 {
		return
	}
	if *settings == nil {
		*settings = make(identity.Fields, 4)
	}
	(*settings)[name] = value
}

// decode reads a row and says what is wrong with it; "" for nothing. What it says
// names the column, and nothing of what is in it.
func decode(doc []byte, row any) string {
	err := json.Unmarshal(doc, row)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &wrong):
		return "the column " + wrong.Field + " is of another type than LiteLLM has"
	default:
		return "a column is of another type than LiteLLM has"
	}
}
