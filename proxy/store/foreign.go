package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"sluice/proxy/identity"
)

// formerly is what sluice.imported says about an object.
type formerly struct {
	number, spend, totalSpend int64
	digest                    []byte
}

// written says that the row of an object may be written: it was neither changed
// nor deleted here.
func (x *taking) written() bool {
	if x.refused != "" {
		return false
	}
	if x.formerly == nil {
		return !x.here
	}
	return x.here && x.number == x.formerly.number
}

// importID is the key of an object as sluice.imported has it: other than in a
// record, no two keys are the same text, and it fits into an index.
func (m *mapping) importID(o identity.Object) string {
	id := m.id(o)
	if len(m.keys) == 1 {
		return id
	}
	parts := make([]string, len(m.keys))
	for i, c := range m.keys {
		v, _ := c.value(dialect{}, o)
		text, _ := v.(string)
		parts[i] = strings.NewReplacer(`\`, `\\`, "/", `\/`).Replace(text)
	}
	if id = strings.Join(parts, "/"); len(id) > 2*longest {
		sum := sha256.Sum256([]byte(id))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	return id
}

func (m *mapping) indexOf(name string) int {
	for i, c := range m.columns {
		if c.name == name {
			return i
		}
	}
	panic("BUG: " + m.kind.Table() + " has no column " + name)
}

// keysOf is the keys of objects as rows of a statement. n says which.
func (m *mapping) keysOf(all []*taking) *bulk {
	b := &bulk{names: []string{"n"}, sorts: []sort{asInt}}
	var at []int
	for _, c := range m.keys {
		b.names, b.sorts = append(b.names, c.name), append(b.sorts, asText)
		at = append(at, m.indexOf(c.name))
	}
	for n, x := range all {
		row := []any{int64(n)}
		for _, i := range at {
			row = append(row, x.values[i])
		}
		b.rows = append(b.rows, row)
	}
	return b
}

// joined is the beginning of a statement that reads the rows of objects: their
// n, then the columns.
func (m *mapping) joined(d dialect, all []*taking, columns string) (string, []any, error) {
	source, args, err := m.keysOf(all).source(d, nil)
	if err != nil {
		return "", nil, err
	}
	on := make([]string, len(m.keys))
	for i, c := range m.keys {
		on[i] = "o." + c.name + " = v." + c.name
	}
	return "SELECT v.n" + columns + " FROM " + source + " JOIN " + table(m.kind) + " o ON " + strings.Join(on, " AND "), args, nil
}

// lookHere reads which objects are here, and keeps others from counting in them
// until the transaction ends.
func (t *Tx) lookHere(m *mapping, all []*taking) error {
	columns := ", o.change_number"
	for _, c := range m.counters {
		columns += ", o." + c.name
	}
	d := t.tx.dialect()
	statement, args, err := m.joined(d, all, columns)
	if err != nil {
		return err
	}
	if !d.sqlite { // in the order in which everybody locks rows
		order := make([]string, len(m.keys))
		for i, c := range m.keys {
			order[i] = "o." + c.name
		}
		statement += " ORDER BY " + strings.Join(order, ", ") + " FOR UPDATE OF o"
	}
	return t.tx.query(t.ctx, statement, args, func(scan func(...any) error) error {
		var n, number int64
		dest := []any{&n, &number}
		counts := make([]any, len(m.counters))
		for i, c := range m.counters {
			dest = append(dest, &counter{to: &counts[i], time: c.name == "last_active", d: d})
		}
		if err := scan(dest...); err != nil {
			return err
		}
		x := all[n]
		x.here, x.number, x.counts = true, number, counts
		return nil
	})
}

// formerlyOf is the statement for what was taken of objects. On PostgreSQL each
// is looked up by the whole key, whatever the planner thinks: while the first
// import fills the table nothing is known of its size, and a plan that was made
// when it was small would read all of it for each batch.
func formerlyOf(d dialect, kind identity.Kind, keys []string) (statement string, args []any, err error) {
	const columns = "object_id, change_number, spend, total_spend, digest FROM sluice.imported WHERE object_type = "
	b := &builder{d: d}
	if d.sqlite {
		b.add("SELECT " + columns)
		if err := b.bind(kind.String()); err != nil {
			return "", nil, err
		}
		b.add(" AND object_id")
		err := b.among(keys)
		return b.text.String(), b.args, err
	}
	rows := &bulk{names: []string{"id"}, sorts: []sort{asText}}
	for _, key := range keys {
		rows.add(key)
	}
	source, args, err := rows.source(d, []any{kind.String()})
	return "SELECT i.* FROM " + source + " CROSS JOIN LATERAL (SELECT " + columns + "$1 AND object_id = v.id LIMIT 1) i", args, err
}

// lookFormerly reads what was taken before.
func (t *Tx) lookFormerly(m *mapping, all []*taking) error {
	byKey := make(map[string]*taking, len(all))
	keys := make([]string, len(all))
	for i, x := range all {
		keys[i], byKey[x.key] = x.key, x
	}
	statement, args, err := formerlyOf(t.tx.dialect(), m.kind, keys)
	if err != nil {
		return err
	}
	return t.tx.query(t.ctx, statement, args, func(scan func(...any) error) error {
		var key string
		f := &formerly{}
		err := scan(&key, &f.number, &f.spend, &f.totalSpend, &f.digest)
		if x := byKey[key]; x != nil {
			x.formerly = f
		}
		return err
	})
}

// lookSame compares objects that are here and were never taken with what is
// here: where they are the same, spend included, they count as taken.
func (t *Tx) lookSame(m *mapping, all []*taking) error {
	var foreign []*taking
	for _, x := range all {
		if x.here && x.formerly == nil {
			foreign = append(foreign, x)
		}
	}
	if len(foreign) == 0 {
		return nil
	}
	columns := ""
	for _, c := range m.columns {
		columns += ", o." + c.name
	}
	d := t.tx.dialect()
	statement, args, err := m.joined(d, foreign, columns)
	if err != nil {
		return err
	}
	return t.tx.query(t.ctx, statement, args, func(scan func(...any) error) error {
		var n int64
		o := m.fresh()
		if err := scan(append([]any{&n}, m.destinations(o)...)...); err != nil {
			return err
		}
		x := foreign[n]
		x.same = true
		for i, c := range m.columns {
			switch c.name {
			case "change_number", "created_at", "created_by", "updated_at", "updated_by", "last_active":
				continue
			}
			v, err := c.value(d, o)
			if err != nil {
				return err
			}
			if c.json {
				x.same = x.same && sameJSON(v, x.values[i])
			} else {
				x.same = x.same && bytes.Equal(appendValue(nil, v), appendValue(nil, x.values[i]))
			}
		}
		return nil
	})
}
