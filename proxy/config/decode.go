package config

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/env"
	"sluice/proxy/money"
)

// shown returns a value as a problem may show it: its kind where it is a
// secret, or came from the environment and so may be one.
func shown(k Key, v *value) string {
	if !v.scalar() || k.secret() || v.fromEnv || strings.HasPrefix(v.text, "sk-") {
		return v.is.String()
	}
	return quote(v.text)
}

// section reads a map into the fields of a struct that carry a cfg tag, by the
// rows of its table. Names without a row are given to unknown; where that is
// nil they are problems.
func section(r *report, path string, v *value, keys []Key, into any, unknown func(e entry)) {
	if v == nil || v.is == null {
		return
	}
	if v.is != mapping {
		r.errorf(v.at, path, "a map", "is %s", v.is)
		return
	}
	fields := fieldsOf(into)
	for _, e := range v.entries {
		k, ok := find(keys, e.name)
		if !ok {
			if unknown != nil {
				unknown(e)
			} else {
				r.unknown(e.at, path, e.name, names(keys))
			}
			continue
		}
		if !checkUse(r, path, k, e) {
			continue
		}
		if field, ok := fields[k.Name]; ok {
			assign(field, e.value)
		}
	}
}

// checkUse checks one value and says what has no effect. It reports whether
// the value may be assigned: it may whatever its use, so that a key gets its
// effect where it is read, and its row is changed then.
func checkUse(r *report, path string, k Key, e entry) bool {
	if e.value.is == null {
		return false
	}
	key := join(path, k.Name)
	ok := checkKind(k, e.value)
	if !ok {
		severity := Error
		if k.Use != Used {
			severity = Warning
		}
		r.add(severity, e.at, key, "is "+shown(k, e.value), allowed(k))
	}
	switch k.Use {
	case Later:
		r.add(Note, e.at, key, "has no effect in this release", "")
	case Guards:
		if !harmless(e.value) {
			r.warnf(e.at, key, "has no effect in this release: %s", k.Doc)
		}
	case Never:
		r.warnf(e.at, key, "is ignored: %s", k.Doc)
	}
	return ok
}

// harmless reports whether a value asks for nothing: false, empty, zero.
func harmless(v *value) bool {
	switch v.is {
	case boolean:
		return !v.on
	case list:
		return len(v.items) == 0
	case mapping:
		return len(v.entries) == 0
	case integer:
		return wholeText(v.text) == "0"
	default:
		return v.text == ""
	}
}

func allowed(k Key) string {
	if k.OneOf != nil {
		return strings.Join(k.OneOf, ", ")
	}
	return k.Kind.String()
}

// checkKind reports whether a value is what its key may hold.
func checkKind(k Key, v *value) bool {
	switch k.Kind {
	case Text, Secret:
		return v.scalar() && (k.OneOf == nil || slices.Contains(k.OneOf, v.text))
	case Bool:
		_, ok := asBool(v)
		return ok
	case Int:
		_, ok := asInt(v)
		return ok
	case Number:
		_, ok := asFloat(v)
		return ok
	case Amount, Megabyte:
		f, ok := asFloat(v)
		return ok && f >= 0
	case Seconds:
		_, ok := asDuration(v)
		return ok
	case Texts:
		return v.scalar() || v.is == list && !slices.ContainsFunc(v.items, func(i *value) bool { return !i.scalar() })
	case Numbers:
		return v.is == list && !slices.ContainsFunc(v.items, func(i *value) bool { _, ok := asFloat(i); return !ok })
	case Map:
		return v.is == mapping
	case List:
		return v.is == list
	case Switch:
		return v.scalar()
	case Dollars:
		_, ok := asMoney(v)
		return ok
	case Window:
		return asWindow(v)
	default:
		return true
	}
}

// Texts are taken for numbers and truth values, because variables are texts.

func asBool(v *value) (on, ok bool) {
	if v.is == boolean {
		return v.on, true
	}
	if v.is == text || v.is == integer {
		return env.ParseBool(v.text)
	}
	return false, false
}

func asInt(v *value) (int64, bool) {
	if v.is != integer && v.is != text && v.is != number {
		return 0, false
	}
	s := strings.TrimSpace(v.text)
	if v.is == integer {
		s = wholeText(s)
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil {
		return n, n >= 0
	}
	f := floatOf(s) // 1e6, 600.0
	if f != math.Trunc(f) || f < 0 || f > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

func asFloat(v *value) (float64, bool) {
	if v.is != integer && v.is != number && v.is != text {
		return 0, false
	}
	s := strings.TrimSpace(v.text)
	if v.is == integer {
		s = wholeText(s)
	}
	f := floatOf(s)
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

func asDuration(v *value) (time.Duration, bool) {
	if !v.scalar() || v.is == boolean {
		return 0, false
	}
	return env.ParseDuration(v.text)
}

func asTexts(v *value) []string {
	if v.scalar() {
		if v.text == "" {
			return nil
		}
		return []string{v.text}
	}
	out := make([]string, 0, len(v.items))
	for _, item := range v.items {
		out = append(out, item.text)
	}
	return out
}

// fieldsOf returns the fields of a struct by their cfg tags, those of embedded
// structs too.
func fieldsOf(into any) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	if into == nil {
		return out
	}
	collect(reflect.ValueOf(into).Elem(), out)
	return out
}

func collect(v reflect.Value, out map[string]reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			collect(v.Field(i), out)
			continue
		}
		if tag := field.Tag.Get("cfg"); tag != "" {
			for name := range strings.SplitSeq(tag, ",") {
				out[name] = v.Field(i)
			}
		}
	}
}

// assign puts a value that has been checked into a field.
func assign(field reflect.Value, v *value) {
	if field.Kind() == reflect.Pointer && field.Type() != reflect.TypeFor[*value]() {
		target := reflect.New(field.Type().Elem())
		assign(target.Elem(), v)
		field.Set(target)
		return
	}
	switch p := field.Addr().Interface().(type) {
	case *string:
		*p = v.text
	case *env.Secret:
		*p = env.Secret(v.text)
	case *bool:
		*p, _ = asBool(v)
	case *int:
		n, _ := asInt(v)
		*p = int(n)
	case *int64:
		*p, _ = asInt(v)
	case *float64:
		*p, _ = asFloat(v)
	case *money.Nano:
		*p, _ = asMoney(v)
	case *time.Duration:
		*p, _ = asDuration(v)
	case *[]string:
		*p = asTexts(v)
	case *[]float64:
		*p = make([]float64, len(v.items))
		for i, item := range v.items {
			(*p)[i], _ = asFloat(item)
		}
	case **value:
		*p = v
	default:
		panic("BUG: no way to read a configuration field of type " + field.Type().String())
	}
}
