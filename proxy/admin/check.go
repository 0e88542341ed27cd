package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/window"
)

// decode reads a body that must be one JSON object. No body is an empty one.
func decode(text []byte) (Body, *llm.Error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return Body{}, nil
	}
	var o jsonscan.Object
	if err := o.Scan(text); err != nil {
		if err.Reason == jsonscan.NotObject {
			return nil, badRequest("The request body must be a JSON object; "+kindName(text)+" was sent.", "request_body")
		}
		return nil, badRequest(fmt.Sprintf("The request body is not valid JSON: %s at byte %d.", err.Reason, err.Offset), "request_body")
	}
	b := make(Body, len(o.Members))
	for i := range o.Members {
		b[string(o.Members[i].Name)] = json.RawMessage(o.Members[i].Value.Of(text))
	}
	return b, nil
}

func kindName(text []byte) string {
	switch text = bytes.TrimSpace(text); text[0] {
	case '[':
		return "a list"
	case '"':
		return "a text"
	}
	return "another value"
}

// check compares a body with the fields of its route: what is missing, what has
// a wrong type, what no field stands for. Texts that spell a number or a truth
// value are taken for it, as pydantic does. place is where the body stands.
func (b Body) check(fields []access.Field, place ...any) (unknown []string, e *llm.Error) {
	var wrong []Violation
	var refused *llm.Error
	known := make(map[string]bool, len(fields))
	for i := range fields {
		f := &fields[i]
		known[f.Name] = true
		if !b.Has(f.Name) {
			if f.Required {
				wrong = append(wrong, Violation{"missing", at(place, f.Name), "Field required"})
			}
			continue
		}
		if b.Null(f.Name) && !f.Required {
			continue
		}
		v, broken, err := checkValue(f, b[f.Name], at(place, f.Name))
		wrong = append(wrong, broken...)
		if err == nil && f.Unserved != "" && carries(b[f.Name], f.Served) {
			err = badRequest(f.Name+" is not part of this release: "+f.Unserved, f.Name)
		}
		if refused == nil {
			refused = err
		}
		if v != nil {
			b[f.Name] = v
		}
	}
	for name := range b {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	if len(wrong) > 0 {
		return unknown, validation(wrong...)
	}
	if refused == nil {
		refused = b.contradicts()
	}
	return unknown, refused
}

// carries says whether a value that is not null says something, other than what
// is served.
func carries(raw json.RawMessage, served string) bool {
	switch text := string(bytes.TrimSpace(raw)); text {
	case "", `""`, "false", `"` + served + `"`:
		return false
	default:
		inside := strings.TrimSpace(strings.Trim(text, "[]{}"))
		return inside != ""
	}
}

// contradicts refuses a budget that would never warn.
func (b Body) contradicts() *llm.Error {
	return neverWarns(b.Money("soft_budget"), b.Money("max_budget"))
}

// neverWarns refuses a soft budget above the one that refuses.
func neverWarns(soft, most *money.Nano) *llm.Error {
	if soft == nil || most == nil || *soft <= *most {
		return nil
	}
	return badRequest("soft_budget must not be more than max_budget, which refuses calls before: they would be "+soft.String()+" and "+most.String()+" dollars.", "soft_budget")
}

// sub reads an object inside a body, checked by fields of its own. place names
// where it stands, for example "body", "member".
func sub(raw json.RawMessage, fields []access.Field, place ...any) (Body, *llm.Error) {
	b, e := decode(raw)
	if e != nil {
		return nil, validation(Violation{"model_attributes_type", place, "Input should be a valid dictionary or object to extract fields from"})
	}
	_, e = b.check(fields, place...)
	return b, e
}

// checkValue checks one value. It returns the value where it is to be read as
// another than was sent.
func checkValue(f *access.Field, raw json.RawMessage, place []any) (json.RawMessage, []Violation, *llm.Error) {
	one := func(v *Violation) []Violation {
		if v == nil {
			return nil
		}
		return []Violation{*v}
	}
	switch f.Type {
	case access.String:
		return nil, one(checkText(f, raw, place)), nil
	case access.Integer:
		v, w := checkInteger(f, raw, place)
		if w != nil && f.Minimum != nil && *f.Minimum == 0 && slices.Contains(noLimit, w.Type) {
			return nil, nil, badRequest(f.Name+" must be a whole number, zero or more, and below 2^63. Received: "+string(clip(raw)), f.Name)
		}
		return v, one(w), nil
	case access.Number:
		v, w := checkNumber(f, raw, place)
		return v, one(w), nil
	case access.Boolean:
		v, w := checkBoolean(raw, place)
		return v, one(w), nil
	case access.Money:
		v, w := checkNumber(f, raw, place)
		if w != nil {
			return v, one(w), nil
		}
		return v, nil, checkMoney(f, raw, v)
	case access.Duration:
		if w := checkText(f, raw, place); w != nil {
			return nil, one(w), nil
		}
		return nil, nil, checkDuration(f, raw)
	case access.Time:
		v, w := checkTime(raw, place)
		return v, one(w), nil
	case access.StringList, access.ObjectList, access.ObjectOrList, access.Object, access.StringMap:
		return nil, checkNested(f, raw, place), nil
	}
	return nil, nil, nil
}

func checkText(f *access.Field, raw json.RawMessage, place []any) *Violation {
	var s string
	if json.Unmarshal(raw, &s) != nil || string(raw) == "null" {
		return &Violation{"string_type", place, "Input should be a valid string"}
	}
	if len(f.Enum) > 0 && !slices.Contains(f.Enum, s) {
		return &Violation{"literal_error", place, "Input should be " + choices(f.Enum)}
	}
	return nil
}

// choices are the allowed texts as a sentence has them.
func choices(enum []string) string {
	quoted := make([]string, len(enum))
	for i, v := range enum {
		quoted[i] = "'" + v + "'"
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// unquoted is the text inside a value that is a JSON text.
func unquoted(raw json.RawMessage) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return string(raw), false
	}
	return strings.TrimSpace(s), true
}

func checkInteger(f *access.Field, raw json.RawMessage, place []any) (json.RawMessage, *Violation) {
	text, quoted := unquoted(raw)
	number := text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9')
	if !number {
		if quoted {
			return nil, &Violation{"int_parsing", place, "Input should be a valid integer, unable to parse string as an integer"}
		}
		return nil, &Violation{"int_type", place, "Input should be a valid integer"}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		whole, failed := strconv.ParseFloat(text, 64)
		if !json.Valid([]byte(text)) { // Go takes hexadecimal too
			failed = err
		}
		switch {
		case failed != nil && quoted:
			return nil, &Violation{"int_parsing", place, "Input should be a valid integer, unable to parse string as an integer"}
		case failed != nil || math.Abs(whole) >= 1<<63:
			return nil, &Violation{"int_parsing_size", place, "Unable to parse input string as an integer, exceeded maximum size"}
		case whole != math.Trunc(whole):
			return nil, &Violation{"int_from_float", place, "Input should be a valid integer, got a number with a fractional part"}
		}
		n = int64(whole)
	}
	return json.RawMessage(strconv.FormatInt(n, 10)), checkRange(f, float64(n), place)
}

// noLimit are the violations of numbers that cannot be a limit.
var noLimit = []string{"greater_than_equal", "int_parsing_size"}

func checkRange(f *access.Field, n float64, place []any) *Violation {
	if f.Minimum != nil && n < float64(*f.Minimum) {
		return &Violation{"greater_than_equal", place, "Input should be greater than or equal to " + strconv.FormatInt(*f.Minimum, 10)}
	}
	if f.Maximum != nil && n > float64(*f.Maximum) {
		return &Violation{"less_than_equal", place, "Input should be less than or equal to " + strconv.FormatInt(*f.Maximum, 10)}
	}
	return nil
}

func checkNumber(f *access.Field, raw json.RawMessage, place []any) (json.RawMessage, *Violation) {
	text, quoted := unquoted(raw)
	// Only what JSON itself takes for a number: no infinity, no hexadecimal.
	if json.Valid([]byte(text)) && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, &Violation{"finite_number", place, "Input should be a finite number"}
		}
		return json.RawMessage(text), checkRange(f, n, place)
	}
	if quoted {
		return nil, &Violation{"float_parsing", place, "Input should be a valid number, unable to parse string as a number"}
	}
	return nil, &Violation{"float_type", place, "Input should be a valid number"}
}

// checkMoney refuses an amount that cannot be a bound: LiteLLM takes some of
// them and never refuses a call afterwards.
func checkMoney(f *access.Field, sent, read json.RawMessage) *llm.Error {
	n, err := money.Parse(string(read))
	if err == nil && n >= 0 {
		return nil
	}
	return badRequest(f.Name+" must be a number of dollars, zero or more, and finite. Received: "+string(clip(sent)), f.Name)
}

// clip bounds what of a client's value is repeated to it.
func clip(v json.RawMessage) json.RawMessage {
	if len(v) > 40 {
		return append(slices.Clone(v[:40]), "…"...)
	}
	return v
}

func checkDuration(f *access.Field, raw json.RawMessage) *llm.Error {
	text, _ := unquoted(raw)
	if text == "" {
		return nil // the API's way to say none
	}
	if _, err := window.Parse(text); err != nil {
		return badRequest(fmt.Sprintf("%s %s. Received: %s", f.Name, err, clip(raw)), f.Name)
	}
	return nil
}

// truth reads a truth value as pydantic does.
func truth(text string) (v, ok bool) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	}
	return false, false
}

func checkBoolean(raw json.RawMessage, place []any) (json.RawMessage, *Violation) {
	text, quoted := unquoted(raw)
	if v, ok := truth(text); ok {
		return json.RawMessage(strconv.FormatBool(v)), nil
	}
	if quoted || text[0] == '-' || text[0] >= '0' && text[0] <= '9' {
		return nil, &Violation{"bool_parsing", place, "Input should be a valid boolean, unable to interpret input"}
	}
	return nil, &Violation{"bool_type", place, "Input should be a valid boolean"}
}

// moments are the forms of a time, the most precise first. One without a zone
// is in UTC.
var moments = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

func checkTime(raw json.RawMessage, place []any) (json.RawMessage, *Violation) {
	text, quoted := unquoted(raw)
	if quoted {
		for _, layout := range moments {
			if t, err := time.Parse(layout, text); err == nil && t.Year() > 0 && t.Year() < 10000 {
				return json.RawMessage(`"` + t.UTC().Format(time.RFC3339Nano) + `"`), nil
			}
		}
		return nil, &Violation{"datetime_from_date_parsing", place, "Input should be a valid datetime or date"}
	}
	return nil, &Violation{"datetime_type", place, "Input should be a valid datetime"}
}

// checkNested checks the types that hold others.
func checkNested(f *access.Field, raw json.RawMessage, place []any) []Violation {
	switch first := raw[0]; {
	case f.Type == access.Object && first != '{', f.Type == access.StringMap && first != '{':
		return []Violation{{"dict_type", place, "Input should be a valid dictionary"}}
	case (f.Type == access.StringList || f.Type == access.ObjectList) && first != '[':
		return []Violation{{"list_type", place, "Input should be a valid list"}}
	case f.Type == access.ObjectOrList && first != '[' && first != '{':
		return []Violation{{"list_type", place, "Input should be a valid list"}}
	case first == '{' && f.Type != access.StringMap:
		return nil
	}
	var wrong []Violation
	if f.Type == access.StringMap {
		var m map[string]json.RawMessage
		_ = json.Unmarshal(raw, &m) // it was scanned
		for name, v := range m {
			if v[0] != '"' {
				wrong = append(wrong, Violation{"string_type", at(place, name), "Input should be a valid string"})
			}
		}
		return wrong
	}
	var elements []json.RawMessage
	_ = json.Unmarshal(raw, &elements) // it was scanned
	if n := len(elements); n > longestList {
		return []Violation{{"too_long", place, fmt.Sprintf("List should have at most %d items after validation, not %d", longestList, n)}}
	}
	for i, v := range elements {
		switch {
		case f.Type == access.StringList && v[0] != '"':
			wrong = append(wrong, Violation{"string_type", at(place, i), "Input should be a valid string"})
		case f.Type != access.StringList && v[0] != '{':
			wrong = append(wrong, Violation{
				"model_attributes_type", at(place, i), "Input should be a valid dictionary or object to extract fields from",
			})
		}
	}
	return wrong
}

// checkQuery checks the parameters of the query. Those that no field stands for
// are left alone, as LiteLLM does.
func checkQuery(fields []access.Field, query map[string][]string) *llm.Error {
	var wrong []Violation
	for i := range fields {
		f := &fields[i]
		values := query[f.Name]
		if len(values) == 0 {
			if f.Required {
				wrong = append(wrong, Violation{"missing", []any{"query", f.Name}, "Field required"})
			}
			continue
		}
		if f.Type == access.StringList || values[0] == "" && !f.Required {
			continue
		}
		raw, err := json.Marshal(values[0])
		if err != nil {
			continue // texts always marshal
		}
		_, broken, e := checkValue(f, raw, []any{"query", f.Name})
		if e != nil {
			return e
		}
		wrong = append(wrong, broken...)
	}
	if len(wrong) > 0 {
		return validation(wrong...)
	}
	return nil
}
