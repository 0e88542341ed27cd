package store

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// column is one column of a table and the field that it is kept in.
type column struct {
	name  string
	field []int // index for reflect
	key   bool
	null  bool // an empty text is NULL
	json  bool
}

// mapping is how the objects of a kind are kept.
type mapping struct {
	kind    identity.Kind
	columns []column
	keys    []column
}

var mappings = map[identity.Kind]*mapping{
	identity.KindKey:                newMapping(&identity.Key{}),
	identity.KindRetiredKey:         newMapping(&identity.RetiredKey{}),
	identity.KindUser:               newMapping(&identity.User{}),
	identity.KindTeam:               newMapping(&identity.Team{}),
	identity.KindMember:             newMapping(&identity.Member{}),
	identity.KindOrganization:       newMapping(&identity.Organization{}),
	identity.KindOrganizationMember: newMapping(&identity.OrganizationMember{}),
	identity.KindProject:            newMapping(&identity.Project{}),
	identity.KindEndUser:            newMapping(&identity.EndUser{}),
	identity.KindBudget:             newMapping(&identity.Budget{}),
	identity.KindTag:                newMapping(&identity.Tag{}),
	identity.KindAccessGroup:        newMapping(&identity.AccessGroup{}),
	identity.KindModel:              newMapping(&identity.Model{}),
	identity.KindCredential:         newMapping(&identity.Credential{}),
	identity.KindConfig:             newMapping(&identity.ConfigItem{}),
	identity.KindInvitation:         newMapping(&identity.Invitation{}),
	identity.KindJWTMapping:         newMapping(&identity.JWTMapping{}),
}

func mapped(k identity.Kind) *mapping { return mappings[k] }

func newMapping(o identity.Object) *mapping {
	m := &mapping{kind: o.Kind()}
	m.read(reflect.TypeOf(o).Elem(), nil)
	return m
}

// read takes the columns of a struct and of those embedded in it.
func (m *mapping) read(t reflect.Type, at []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(at[:len(at):len(at)], i)
		if f.Anonymous {
			m.read(f.Type, index)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("db"), ",")
		c := column{
			name: name, field: index, key: options == "key", null: options == "null", json: options == "json",
		}
		m.columns = append(m.columns, c)
		if c.key {
			m.keys = append(m.keys, c)
		}
	}
}

func (m *mapping) column(name string) (column, bool) {
	for _, c := range m.columns {
		if c.name == name {
			return c, true
		}
	}
	return column{}, false
}

func (m *mapping) columnList() string {
	names := make([]string, len(m.columns))
	for i, c := range m.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// id is the key of an object as changes name it.
func (m *mapping) id(o identity.Object) string {
	v := reflect.ValueOf(o).Elem()
	parts := make([]string, len(m.keys))
	for i, c := range m.keys {
		parts[i] = v.FieldByIndex(c.field).String()
	}
	return strings.Join(parts, "/")
}

// value is a field as the database takes it.
func (c column) value(d dialect, o identity.Object) (any, error) {
	f := reflect.ValueOf(o).Elem().FieldByIndex(c.field)
	if c.json {
		return jsonText(f)
	}
	return d.value(f.Interface(), c.null)
}

// jsonText is a document; an absent list or map is an empty one.
func jsonText(f reflect.Value) (string, error) {
	switch {
	case f.Kind() == reflect.Map && f.IsNil():
		return "{}", nil
	case f.Kind() == reflect.Slice && f.IsNil():
		return "[]", nil
	}
	text, err := json.Marshal(f.Interface())
	return string(text), err
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
		if d.sqlite {
			return truth(v), nil
		}
		return v, nil
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

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// time is a moment in UTC, to the microsecond.
func (d dialect) time(t time.Time) driver.Value {
	if d.sqlite {
		return t.UnixMicro()
	}
	return t.UTC().Truncate(time.Microsecond)
}

// destinations are what a row is scanned into.
func (m *mapping) destinations(o any) []any {
	v := reflect.ValueOf(o).Elem()
	out := make([]any, len(m.columns))
	for i, c := range m.columns {
		out[i] = &destination{field: v.FieldByIndex(c.field), json: c.json}
	}
	return out
}

// destination takes a column of either database into a field.
type destination struct {
	field reflect.Value
	json  bool
}

// Scan implements sql.Scanner, which pgx honours too.
func (d *destination) Scan(src any) error {
	f := d.field
	if src == nil {
		f.SetZero()
		return nil
	}
	if d.json {
		return json.Unmarshal(bytesOf(src), f.Addr().Interface())
	}
	if f.Kind() == reflect.Pointer {
		p := reflect.New(f.Type().Elem())
		f.Set(p)
		f = p.Elem()
	}
	switch to := f.Addr().Interface().(type) {
	case *string:
		*to = string(bytesOf(src))
		return nil
	case *bool:
		switch v := src.(type) {
		case bool:
			*to = v
		case int64:
			*to = v != 0
		}
		return nil
	case *time.Time:
		switch v := src.(type) {
		case time.Time:
			*to = v.UTC()
		case int64:
			*to = time.UnixMicro(v).UTC()
		}
		return nil
	}
	n, ok := src.(int64)
	if !ok || !f.CanInt() {
		return fmt.Errorf("a %T cannot be kept in a %s", src, f.Type())
	}
	f.SetInt(n)
	return nil
}

func bytesOf(src any) []byte {
	switch v := src.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	default:
		return nil
	}
}
