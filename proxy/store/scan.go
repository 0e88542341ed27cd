package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// destinations are what a row is scanned into.
func (m *mapping) destinations(o any) []any { return m.row().into(o) }

// row is a place for rows of a kind, used again for each of them.
type row struct {
	m    *mapping
	dest []destination
	any  []any
}

func (m *mapping) row() *row {
	r := &row{m: m, dest: make([]destination, len(m.columns)), any: make([]any, len(m.columns))}
	for i := range r.dest {
		r.any[i] = &r.dest[i]
	}
	return r
}

// into makes an object the place of the next row.
func (r *row) into(o any) []any {
	v := reflect.ValueOf(o).Elem()
	for i, c := range r.m.columns {
		r.dest[i] = destination{to: v.FieldByIndex(c.field).Addr().Interface(), json: c.json}
	}
	return r.any
}

// destination takes a column of either database into a field.
type destination struct {
	to   any // pointer to the field
	json bool
}

// Scan implements sql.Scanner, which pgx honours too.
func (d *destination) Scan(src any) error {
	if d.json {
		return d.document(src)
	}
	switch to := d.to.(type) {
	case *string:
		*to = text(src)
		return nil
	case *bool:
		return scanBool(to, src)
	case *time.Time:
		return scanTime(to, src)
	case **time.Time:
		*to = nil
		if src == nil {
			return nil
		}
		*to = new(time.Time)
		return scanTime(*to, src)
	}
	if src == nil {
		reflect.ValueOf(d.to).Elem().SetZero()
		return nil
	}
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a %T cannot be kept in a %T", src, d.to)
	}
	switch to := d.to.(type) {
	case *int64:
		*to = n
	case *money.Nano:
		*to = money.Nano(n)
	case **int64:
		*to = &n
	case **money.Nano:
		v := money.Nano(n)
		*to = &v
	default:
		return fmt.Errorf("a number cannot be kept in a %T", d.to)
	}
	return nil
}

func scanBool(to *bool, src any) error {
	switch v := src.(type) {
	case nil:
		*to = false
	case bool:
		*to = v
	case int64:
		*to = v != 0
	default:
		return fmt.Errorf("a %T is no truth value", src)
	}
	return nil
}

func scanTime(to *time.Time, src any) error {
	switch v := src.(type) {
	case nil:
		*to = time.Time{}
	case time.Time:
		*to = v.UTC()
	case int64:
		*to = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a %T is no time", src)
	}
	return nil
}

// document reads JSON. Most documents are empty, and an object has many.
func (d *destination) document(src any) error {
	raw := bytesOf(src)
	if len(raw) == 2 || src == nil {
		switch to := d.to.(type) {
		case *[]string:
			*to = []string{}
			return nil
		case *identity.Fields:
			*to = identity.Fields{}
			return nil
		case *map[string]string:
			*to = map[string]string{}
			return nil
		}
	}
	return json.Unmarshal(raw, d.to)
}

func text(src any) string {
	switch v := src.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	default:
		return ""
	}
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
