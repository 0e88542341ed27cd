package store

import (
	"bytes"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
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

// formerly is what sluice.imported says about an object.
type formerly struct {
	number, spend, totalSpend int64
	digest                    []byte
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
	source, args, err := m.keysOf(all).source(d, "v", nil)
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

// lookFormerly reads what was taken before.
func (t *Tx) lookFormerly(m *mapping, all []*taking) error {
	byKey := make(map[string]*taking, len(all))
	keys := make([]string, len(all))
	for i, x := range all {
		keys[i], byKey[x.key] = x.key, x
	}
	b := &builder{d: t.tx.dialect()}
	b.add("SELECT object_id, change_number, spend, total_spend, digest FROM sluice.imported WHERE object_type = ")
	if err := b.bind(m.kind.String()); err != nil {
		return err
	}
	b.add(" AND object_id")
	if err := b.among(keys); err != nil {
		return err
	}
	return t.tx.query(t.ctx, b.text.String(), b.args, func(scan func(...any) error) error {
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
	source, args, err := b.source(t.tx.dialect(), "v", nil)
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

func countText(byKind map[string]int) string {
	var parts []string
	for _, k := range []struct{ kind, one, more string }{
		{"model", "model", "models"}, {"credential", "credential", "credentials"}, {"config", "section of settings", "sections of settings"},
		{"sealing_key", "key of the record", "keys of the record"},
	} {
		switch n := byKind[k.kind]; {
		case n == 1:
			parts = append(parts, "1 "+k.one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" "+k.more)
		}
	}
	return strings.Join(parts, ", ")
}
