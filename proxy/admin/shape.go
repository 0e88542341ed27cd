package admin

import (
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
)

// isoZ and isoOffset are moments as LiteLLM writes them: to the microsecond,
// without a fraction where there is none. Some of its answers say Z, others
// +00:00.
type (
	isoZ      time.Time
	isoOffset time.Time
)

// MarshalJSON writes 2026-11-21T07:19:08.786000Z.
func (t isoZ) MarshalJSON() ([]byte, error) { return isoText(time.Time(t), "Z"), nil }

// MarshalJSON writes 2026-11-21T07:19:08.786000+00:00.
func (t isoOffset) MarshalJSON() ([]byte, error) { return isoText(time.Time(t), "+00:00"), nil }

func isoText(t time.Time, zone string) []byte {
	layout := "2006-01-02T15:04:05"
	if t.Nanosecond()/1000 != 0 {
		layout += ".000000"
	}
	b := t.UTC().AppendFormat([]byte{'"'}, layout)
	return append(append(b, zone...), '"')
}

// zulu is a moment with Z, null where there is none.
func zulu(t *time.Time) *isoZ { return (*isoZ)(t) }

// zuluAt is a moment with Z; the zero time is null.
func zuluAt(t time.Time) *isoZ {
	if t.IsZero() {
		return nil
	}
	return (*isoZ)(&t)
}

// offset is a moment with +00:00, null where there is none.
func offset(t *time.Time) *isoOffset { return (*isoOffset)(t) }

// offsetAt is a moment with +00:00; the zero time is null.
func offsetAt(t time.Time) *isoOffset {
	if t.IsZero() {
		return nil
	}
	return (*isoOffset)(&t)
}

// null is a text that is null where it is empty.
func null(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// list is a list that is [] where it is empty.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}

// object is a map that is {} where it is empty.
func object[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// fields is an object that is {} where it is empty.
func fields(f identity.Fields) identity.Fields {
	if f == nil {
		return identity.Fields{}
	}
	return f
}

// pages is the number of pages of a list.
func pages(total, size int) int {
	if size <= 0 {
		return 0
	}
	return (total + size - 1) / size
}

// Arg is a parameter of the query that was checked against the route's row; ""
// where it was not given.
func (c *Call) Arg(name string) string { return c.Query.Get(name) }

// Args are all values of a parameter: repeated, or separated by commas.
func (c *Call) Args(name string) []string {
	var out []string
	for _, v := range c.Query[name] {
		for _, part := range strings.Split(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// ArgInt is a whole number of the query.
func (c *Call) ArgInt(name string, otherwise int) int {
	n, err := strconv.Atoi(strings.TrimSpace(c.Arg(name)))
	if err != nil {
		return otherwise
	}
	return n
}

// ArgBool is a field of truth of the query.
func (c *Call) ArgBool(name string) bool {
	v, _ := truth(c.Arg(name))
	return v
}
