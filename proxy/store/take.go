package store

import (
	"bytes"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sluice/proxy/identity"
)

// Taken is what became of a batch of objects from another system.
type Taken struct {
	Inserted int // were not here
	Replaced int // were taken before and are others now
	Same     int // are here as they are there
	Kept     int // are here, and others: changed since they were taken, or never taken
	Deleted  int // were taken before and deleted here since: they stay deleted

	KeptIDs    []string  // at most 100
	DeletedIDs []string  // at most 100
	Refused    []Refused // cannot be here
}

// Refused is an object that was not taken.
type Refused struct {
	ID      string
	Problem string // without values of the object
}

// mostNamed is how many objects Taken names.
const mostNamed = 100

// taking is one object on its way.
type taking struct {
	id     string // as changes name it
	key    string // as sluice.imported names it
	values []any  // of all columns, by the mapping's order
	digest []byte

	here     bool  // a row with its key is there
	number   int64 // its change number
	counts   []any // its counters
	formerly *formerly
	refused  string
	same     bool // never taken, and the row is the same
}

// Take takes over objects of one kind from another system, at most 1,000, each
// with the times and names of its stamp as they were there. What is here and was
// not taken from there, or was changed here since, stays as it is; what was
// deleted here stays deleted. Of spend that is here, the part that came from
// there is replaced. last_active is taken where it is later.
//
// All that is written gets the number of one change: the next one, which must
// be a Note of the same transaction, so that a batch is one row of the record.
// Where nothing was inserted or replaced no Note is needed.
func (t *Tx) Take(kind identity.Kind, objects []identity.Object) (Taken, error) {
	var out Taken
	if len(objects) > mostRows {
		return out, fmt.Errorf("%d objects are taken at once; at most %d can be", len(objects), mostRows)
	}
	m := mapped(kind)
	if m == nil {
		return out, fmt.Errorf("BUG: %s is no kind of objects", kind)
	}
	all, err := t.prepare(m, objects, &out)
	if err != nil || len(all) == 0 {
		return out, err
	}
	for _, look := range []func(*mapping, []*taking) error{t.lookHere, t.lookFormerly, t.lookSame, t.lookParents, t.lookUnique} {
		if err := look(m, all); err != nil {
			return out, fmt.Errorf("take %s: %w", kind.Table(), err)
		}
	}
	if err := t.takeAll(m, all, &out); err != nil {
		return out, fmt.Errorf("take %s: %w", kind.Table(), err)
	}
	return out, nil
}

// prepare reads the values of all objects. What cannot be stored is refused.
func (t *Tx) prepare(m *mapping, objects []identity.Object, out *Taken) ([]*taking, error) {
	d := t.tx.dialect()
	all := make([]*taking, 0, len(objects))
	seen := make(map[string]bool, len(objects))
	for _, o := range objects {
		if o.Kind() != m.kind {
			return nil, fmt.Errorf("BUG: a %s is taken among %s", o.Kind(), m.kind.Table())
		}
		if err := t.checkSeal(o, nil); err != nil {
			return nil, err
		}
		x := &taking{id: m.id(o), key: m.importID(o), values: make([]any, len(m.columns))}
		sum := sha256.New()
		for i, c := range m.columns {
			v, err := c.value(d, o)
			if err != nil {
				x.refused = problemOf(err)
				break
			}
			x.values[i] = v
			if !c.counter && c.name != "change_number" {
				sum.Write(appendValue(nil, v))
			}
		}
		if role, ok := o.(*identity.Member); ok && role.Role != identity.TeamAdmin && role.Role != identity.TeamUser {
			x.refused = "role is neither admin nor user"
		}
		if seen[x.key] && x.refused == "" {
			x.refused = "it is there twice"
		}
		seen[x.key] = true
		if x.refused != "" {
			out.Refused = append(out.Refused, Refused{x.id, x.refused})
			continue
		}
		x.digest = sum.Sum(nil)
		t.stamp(m, x)
		all = append(all, x)
	}
	return all, nil
}

func problemOf(err error) string {
	var e *InvalidError
	if errors.As(err, &e) {
		return e.Column + " " + e.Problem
	}
	return err.Error()
}

// stamp fills in what the other system did not know.
func (t *Tx) stamp(m *mapping, x *taking) {
	d := t.tx.dialect()
	for i, c := range m.columns {
		switch c.name {
		case "created_at", "updated_at":
			if x.values[i] == d.time(time.Time{}) {
				x.values[i] = d.time(t.now)
			}
		case "change_number":
			x.values[i] = t.number + 1
		}
	}
}

// appendValue writes a value so that different ones are different texts.
func appendValue(b []byte, v driver.Value) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case string:
		return append(binary.BigEndian.AppendUint64(append(b, 's'), uint64(len(v))), v...)
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
	case bool:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(dialect{sqlite: true}.bool(v).(int64)))
	case time.Time:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v.UnixMicro()))
	default:
		panic(fmt.Sprintf("BUG: %T is no value of a column", v))
	}
}

// takeAll writes what is to be written, and counts.
func (t *Tx) takeAll(m *mapping, all []*taking, out *Taken) error {
	rows, counting, imported := m.rows(), m.counterRows(), importedRows()
	for _, x := range all {
		switch {
		case x.refused != "":
			out.Refused = append(out.Refused, Refused{x.id, x.refused})
		case !x.here && x.formerly == nil:
			out.Inserted++
			rows.rows = append(rows.rows, x.values)
			imported.add(m.kind.String(), x.key, t.number+1, m.count(x, "spend"), m.count(x, "total_spend"), x.digest)
		case !x.here:
			out.Deleted++
			out.DeletedIDs = named(out.DeletedIDs, x.id)
		case x.formerly == nil && !x.same:
			out.Kept++
			out.KeptIDs = named(out.KeptIDs, x.id)
		case x.formerly == nil:
			out.Same++
			imported.add(m.kind.String(), x.key, x.number, m.count(x, "spend"), m.count(x, "total_spend"), x.digest)
		default:
			t.again(m, x, out, rows, counting, imported)
		}
	}
	if len(rows.rows) > 0 {
		t.owed = t.number + 1
	}
	keys := make([]string, len(m.keys))
	for i, c := range m.keys {
		keys[i] = c.name
	}
	if _, err := rows.put(t, table(m.kind), false, keys...); err != nil {
		return err
	}
	if err := t.count(m, counting); err != nil {
		return err
	}
	_, err := imported.put(t, "sluice.imported", false, "object_type", "object_id")
	return err
}

// again decides about an object that is here and was taken before.
func (t *Tx) again(m *mapping, x *taking, out *Taken, rows, counting, imported *bulk) {
	spend, total := m.count(x, "spend"), m.count(x, "total_spend")
	counted := m.merge(x)
	switch {
	case x.number != x.formerly.number: // changed here; what was spent there counts all the same
		out.Kept++
		out.KeptIDs = named(out.KeptIDs, x.id)
		if counted {
			m.addCounters(counting, x)
			imported.add(m.kind.String(), x.key, x.formerly.number, spend, total, x.formerly.digest)
		}
	case !counted && bytes.Equal(x.digest, x.formerly.digest):
		out.Same++
	default:
		out.Replaced++
		rows.rows = append(rows.rows, x.values)
		imported.add(m.kind.String(), x.key, t.number+1, spend, total, x.digest)
	}
}

func named(ids []string, id string) []string {
	if len(ids) < mostNamed {
		ids = append(ids, id)
	}
	return ids
}

func importedRows() *bulk {
	return &bulk{
		names: []string{"object_type", "object_id", "change_number", "spend", "total_spend", "digest"},
		sorts: []sort{asText, asText, asInt, asInt, asInt, asBytes},
	}
}

// rows is a bulk of all columns.
func (m *mapping) rows() *bulk {
	b := &bulk{}
	for _, c := range m.columns {
		b.names, b.sorts = append(b.names, c.name), append(b.sorts, c.sort)
	}
	return b
}
