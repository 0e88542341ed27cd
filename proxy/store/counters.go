package store

import (
	"strings"
	"time"
)

// counter takes a counter as dialect.value would give it.
type counter struct {
	to   *any
	time bool
	d    dialect
}

// Scan implements sql.Scanner.
func (c *counter) Scan(src any) error {
	*c.to = src
	if c.time && src != nil {
		var at time.Time
		if err := scanTime(&at, src); err != nil {
			return err
		}
		*c.to = c.d.time(at)
	}
	return nil
}

// count is a counter as the other system has it, 0 for a kind without it.
func (m *mapping) count(x *taking, name string) int64 {
	for i, c := range m.columns {
		if c.name == name {
			n, _ := x.values[i].(int64)
			return n
		}
	}
	return 0
}

// merge replaces what formerly came from there in the counters of the row by
// what comes now, and reports whether the row or what came has changed.
func (m *mapping) merge(x *taking) (changed bool) {
	for i, c := range m.counters {
		at := m.indexOf(c.name)
		if c.name == "last_active" {
			if !later(x.values[at], x.counts[i]) {
				x.values[at] = x.counts[i]
			} else {
				changed = true
			}
			continue
		}
		was := x.formerly.spend
		if c.name == "total_spend" {
			was = x.formerly.totalSpend
		}
		here, _ := x.counts[i].(int64)
		now, _ := x.values[at].(int64)
		changed = changed || now != was
		x.values[at] = max(here-was+now, 0) // a window that ended here meanwhile leaves nothing to take from
	}
	return changed
}

func later(a, b any) bool {
	switch a := a.(type) {
	case time.Time:
		was, ok := b.(time.Time)
		return !ok || a.After(was)
	case int64:
		was, ok := b.(int64)
		return !ok || a > was
	default:
		return false
	}
}

// counterRows is a bulk of the keys and the counters.
func (m *mapping) counterRows() *bulk {
	b := &bulk{}
	for _, c := range m.keys {
		b.names, b.sorts = append(b.names, c.name), append(b.sorts, c.sort)
	}
	for _, c := range m.counters {
		b.names, b.sorts = append(b.names, "new_"+c.name), append(b.sorts, c.sort)
	}
	return b
}

func (m *mapping) addCounters(b *bulk, x *taking) {
	var row []any
	for _, c := range m.keys {
		row = append(row, x.values[m.indexOf(c.name)])
	}
	for _, c := range m.counters {
		row = append(row, x.values[m.indexOf(c.name)])
	}
	b.rows = append(b.rows, row)
}

// count writes counters alone, which is no change of the object.
func (t *Tx) count(m *mapping, b *bulk) error {
	if len(b.rows) == 0 {
		return nil
	}
	source, args, err := b.source(t.tx.dialect(), nil)
	if err != nil {
		return err
	}
	var set, where []string
	for _, c := range m.counters {
		set = append(set, c.name+" = v.new_"+c.name)
	}
	for _, c := range m.keys {
		where = append(where, m.kind.Table()+"."+c.name+" = v."+c.name)
	}
	_, err = t.tx.exec(t.ctx, "UPDATE "+table(m.kind)+" SET "+strings.Join(set, ", ")+" FROM "+source+
		" WHERE "+strings.Join(where, " AND "), args)
	return err
}
