package store

import (
	"reflect"
	"strings"
	"time"

	"sluice/proxy/identity"
)

// column is one column of a table and the field that it is kept in.
type column struct {
	name  string
	field []int // index for reflect
	key   bool
	null  bool // an empty text is NULL
	json  bool

	optional bool // may be NULL
	counter  bool // also written by others than Change: see Tx.UpdateAs
	long     bool // a text of any length
	sort     sort // how bulk statements hand it over
}

// mapping is how the objects of a kind are kept.
type mapping struct {
	kind     identity.Kind
	columns  []column
	keys     []column
	counters []column
	stamp    []int  // index of the stamp
	list     string // of the columns
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
	names := make([]string, len(m.columns))
	for i, c := range m.columns {
		names[i] = c.name
	}
	m.list = strings.Join(names, ", ")
	return m
}

// read takes the columns of a struct and of those embedded in it.
func (m *mapping) read(t reflect.Type, at []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(at[:len(at):len(at)], i)
		if f.Anonymous {
			if f.Type == reflect.TypeFor[identity.Stamp]() {
				m.stamp = index
			}
			m.read(f.Type, index)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("db"), ",")
		c := column{
			name: name, field: index, key: options == "key", null: options == "null", json: options == "json",
			optional: options == "null" || f.Type.Kind() == reflect.Pointer,
			counter:  name == "spend" || name == "total_spend" || name == "last_active",
			long:     name == "description" || name == "password" || options == "json",
			sort:     sortOf(f.Type, options == "json"),
		}
		if c.counter {
			m.counters = append(m.counters, c)
		}
		m.columns = append(m.columns, c)
		if c.key {
			m.keys = append(m.keys, c)
		}
	}
}

func sortOf(t reflect.Type, document bool) sort {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case document:
		return asJSON
	case t == reflect.TypeFor[time.Time]():
		return asTime
	case t.Kind() == reflect.Bool:
		return asBool
	case t.Kind() == reflect.Int64:
		return asInt
	default:
		return asText
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

func (m *mapping) columnList() string { return m.list }

// stampOf is the stamp inside an object.
func (m *mapping) stampOf(o identity.Object) *identity.Stamp {
	return reflect.ValueOf(o).Elem().FieldByIndex(m.stamp).Addr().Interface().(*identity.Stamp)
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
