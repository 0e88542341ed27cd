package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// longest is the length of names and ids in bytes: two of them fit into an index
// row of PostgreSQL (2704 bytes).
const longest = 1024

// largest is the size of a JSON document in bytes. Everything that is known of a
// key is kept in memory by whoever serves it.
const largest = 1 << 20

// InvalidError is an error about a value that cannot be stored. It is ErrInvalid.
type InvalidError struct {
	Column  string // "": it was looked for
	Problem string // to follow the name of the column
}

func (e *InvalidError) Error() string {
	name := e.Column
	if name == "" {
		name = "a condition"
	}
	return ErrInvalid.Error() + ": " + name + " " + e.Problem
}

// Is makes it ErrInvalid.
func (*InvalidError) Is(target error) bool { return target == ErrInvalid }

func invalid(column, format string, args ...any) error {
	return &InvalidError{Column: column, Problem: fmt.Sprintf(format, args...)}
}

// value is a field as the database takes it.
func (c column) value(d dialect, o identity.Object) (any, error) {
	f := reflect.ValueOf(o).Elem().FieldByIndex(c.field)
	if c.json {
		return c.document(f)
	}
	if f.Kind() == reflect.String {
		if n := f.Len(); n > longest && !c.long {
			return nil, invalid(c.name, "has %d bytes; at most %d can be stored", n, longest)
		}
		if c.key && f.Len() == 0 {
			return nil, invalid(c.name, "is empty")
		}
		if err := checkText(c.name, f.String()); err != nil {
			return nil, err
		}
	}
	return d.value(f.Interface(), c.null)
}

// document is the JSON of a field; an absent list or map is an empty one.
func (c column) document(f reflect.Value) (string, error) {
	switch {
	case f.Kind() == reflect.Map && f.IsNil():
		return "{}", nil
	case f.Kind() == reflect.Slice && f.IsNil():
		return "[]", nil
	}
	text, err := json.Marshal(f.Interface())
	if err != nil {
		return "", invalid(c.name, "is no JSON")
	}
	return string(text), checkDocument(c.name, string(text))
}

// checkText refuses what PostgreSQL cannot keep, on both databases.
func checkText(name, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errNUL(name)
	}
	if !utf8.ValidString(s) {
		return invalid(name, "is not UTF-8")
	}
	return nil
}

// checkDocument does the same for the strings inside a JSON document: a NUL and
// a half of a surrogate pair can only be there as escapes. It bounds its size.
func checkDocument(name, s string) error {
	if err := checkText(name, s); err != nil {
		return err
	}
	size, finite := written(s)
	switch {
	case !finite:
		return invalid(name, "holds a number whose exponent is beyond 308")
	case size > largest:
		return invalid(name, "has %d bytes; at most %d can be stored", size, largest)
	}
	for i := strings.IndexByte(s, '\\'); i >= 0 && i+1 < len(s); {
		step := 2
		if s[i+1] == 'u' && i+6 <= len(s) {
			step = 6
			r := escaped(s[i:])
			switch {
			case r == 0:
				return errNUL(name)
			case r >= 0xdc00 && r <= 0xdfff:
				return errSurrogate(name)
			case r >= 0xd800 && r <= 0xdbff:
				if low := escaped(s[i+6:]); low < 0xdc00 || low > 0xdfff {
					return errSurrogate(name)
				}
				step = 12
			}
		}
		next := strings.IndexByte(s[i+step:], '\\')
		if next < 0 {
			return nil
		}
		i += step + next
	}
	return nil
}

func errNUL(name string) error { return invalid(name, "holds the character U+0000, which no text may") }

func errSurrogate(name string) error { return invalid(name, "holds one half of a pair of surrogates") }

// written is how many bytes a document has once its numbers are written without
// exponents, which is what PostgreSQL makes of them: 1e100000 would have 100,001
// digits. finite is false where a number is beyond what JSON readers take.
func written(s string) (size int, finite bool) {
	size, inText := len(s), false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case inText:
			switch c {
			case '\\':
				i++
			case '"':
				inText = false
			}
		case c == '"':
			inText = true
		case (c == 'e' || c == 'E') && i > 0 && '0' <= s[i-1] && s[i-1] <= '9':
			digits := i + 1
			for digits < len(s) && strings.IndexByte("+-0123456789", s[digits]) >= 0 {
				digits++
			}
			n, err := strconv.Atoi(s[i+1 : digits])
			if err != nil || n > 308 || n < -308 {
				return size, false
			}
			size += max(n, -n)
			i = digits - 1
		}
	}
	return size, true
}

// escaped is the code unit of \uXXXX at the beginning of a text, -1 if there is
// none.
func escaped(s string) int {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// dialect is what the two databases take differently.
type dialect struct{ sqlite bool }

// value converts an argument. Empty text is NULL where null is set.
func (d dialect) value(v any, null bool) (driver.Value, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		if v == "" && null {
			return nil, nil
		}
		return v, nil
	case money.Nano:
		return int64(v), nil
	case *money.Nano:
		if v == nil {
			return nil, nil
		}
		return int64(*v), nil
	case *int64:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case bool:
		return d.bool(v), nil
	case *time.Time:
		if v == nil {
			return nil, nil
		}
		return d.time(*v), nil
	case time.Time:
		return d.time(v), nil
	default:
		return nil, fmt.Errorf("a %T is no value of a column", v)
	}
}

func (d dialect) bool(b bool) driver.Value {
	switch {
	case !d.sqlite:
		return b
	case b:
		return int64(1)
	default:
		return int64(0)
	}
}

// time is a moment in UTC, to the microsecond.
func (d dialect) time(t time.Time) driver.Value {
	if d.sqlite {
		return t.UnixMicro()
	}
	return t.UTC().Truncate(time.Microsecond)
}
