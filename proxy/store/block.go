package store

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
)

// block is rows for statements that write many at once, in the form in which the
// database takes them: on PostgreSQL an array for each column, in its binary
// format, so that a statement has the same text for any number of rows and
// nothing is converted on the way; on SQLite values one after the other. A row
// is written column by column, in their order.
type block struct {
	sqlite bool
	names  []string
	sorts  []sort
	rows   int

	at      int // column that is next
	vectors []vector
	cells   []cell
	last    []fitting // of each column
}

// vector is an array of PostgreSQL: its header, which arguments fills in, and its
// elements.
type vector struct {
	data  []byte
	nulls bool
	n     int // elements that were written

	// A vector that folds holds one element while all are the same, up to one.
	folds, varies bool
	one           int
}

// done takes in the element that was written behind from.
func (v *vector) done(from int) {
	v.n++
	switch {
	case !v.folds || v.varies:
	case v.n == 1:
		v.one = len(v.data)
	case bytes.Equal(v.data[from:], v.data[vectorHead:v.one]):
		v.data = v.data[:from]
	default:
		v.varies = true
		element := bytes.Clone(v.data[from:])
		v.data = v.data[:from]
		for range v.n - 2 {
			v.data = append(v.data, v.data[vectorHead:v.one]...)
		}
		v.data = append(v.data, element...)
	}
}

// folded says that one element stands for all.
func (v *vector) folded() bool { return v.folds && !v.varies && v.n > 0 }

const vectorHead = 20 // bytes

// fitting is a text, and as the databases take it.
type fitting struct{ raw, kept string }

// field is the name and sort of a column.
type field struct {
	name string
	sort sort
}

func newBlock(sqlite bool, fields ...field) *block {
	b := &block{sqlite: sqlite}
	for _, f := range fields {
		b.names = append(b.names, f.name)
		b.sorts = append(b.sorts, f.sort)
	}
	if !sqlite {
		b.vectors = make([]vector, len(fields))
	}
	b.last = make([]fitting, len(fields))
	b.reset()
	return b
}

// fold makes a column whose values are all the same one value of the statement, on
// PostgreSQL. The first column stays an array: it says how many rows there are.
func (b *block) fold() *block {
	for i := range b.vectors {
		b.vectors[i].folds = i > 0
	}
	return b
}

// reset empties the block and keeps its memory.
func (b *block) reset() {
	b.rows, b.at = 0, 0
	clear(b.cells)
	b.cells = b.cells[:0]
	clear(b.last)
	for i := range b.vectors {
		v := &b.vectors[i]
		v.data, v.nulls, v.n, v.varies = append(v.data[:0], make([]byte, vectorHead)...), false, 0, false
	}
}

// next goes on to the next column and gives the vector of this one.
func (b *block) next() *vector {
	i := b.at
	if b.at++; b.at == len(b.names) {
		b.at = 0
		b.rows++
	}
	if b.sqlite {
		return nil
	}
	return &b.vectors[i]
}

func (b *block) null() {
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data, v.nulls = binary.BigEndian.AppendUint32(v.data, 1<<32-1), true
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{})
}

func (b *block) text(s string) {
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data = append(binary.BigEndian.AppendUint32(v.data, uint32(len(s))), s...)
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{sort: cellText, text: s})
}

// kept is text as both databases take it. Most are those of the row before.
func (b *block) kept(s string) {
	last := &b.last[b.at]
	if s != last.raw {
		*last = fitting{s, kept(s)}
	}
	b.text(last.kept)
}

func (b *block) int(n int64) {
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(v.data, 8), uint64(n))
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{sort: cellInt, n: n})
}

func (b *block) bool(is bool) {
	n := byte(0)
	if is {
		n = 1
	}
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data = append(v.data, 0, 0, 0, 1, n)
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{sort: cellInt, n: int64(n)})
}

// epoch is the year 2000, from which PostgreSQL counts, in seconds of 1970.
const epoch = 946684800

// time is unix nanoseconds, written to the microsecond.
func (b *block) time(nanos int64) {
	micros := floorDiv(nanos, 1000)
	if !b.sqlite {
		micros -= epoch * 1e6
	}
	b.int(micros)
}

// date is days since 1970.
func (b *block) date(days int64) {
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(v.data, 4), uint32(int32(days-epoch/daySeconds)))
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{sort: cellText, text: time.Unix(days*daySeconds, 0).UTC().Format(time.DateOnly)})
}

func (b *block) uuid(id *[16]byte) {
	if v := b.next(); v != nil {
		from := len(v.data)
		v.data = append(binary.BigEndian.AppendUint32(v.data, 16), id[:]...)
		v.done(from)
		return
	}
	b.cells = append(b.cells, cell{sort: cellBlob, text: string(id[:])})
}

// json is a document, nil for NULL.
func (b *block) json(doc []byte) {
	if doc == nil {
		b.null()
		return
	}
	binaryJSON := b.sorts[b.at] == asJSON
	v := b.next()
	if v == nil {
		b.cells = append(b.cells, cell{sort: cellText, text: string(doc)})
		return
	}
	from := len(v.data)
	if binaryJSON { // a version, then the text
		v.data = append(binary.BigEndian.AppendUint32(v.data, uint32(len(doc)+1)), 1)
	} else {
		v.data = binary.BigEndian.AppendUint32(v.data, uint32(len(doc)))
	}
	v.data = append(v.data, doc...)
	v.done(from)
}

// kinds of columns at PostgreSQL: the type of the array and the oids of the
// element and of the array.
var columnTypes = [...]struct {
	name           string
	element, array uint32
}{
	asText: {"text[]", 25, 1009}, asInt: {"bigint[]", 20, 1016}, asBool: {"boolean[]", 16, 1000}, asTime: {"timestamptz[]", 1184, 1185},
	asJSON: {"jsonb[]", 3802, 3807}, asLetters: {"json[]", 114, 199}, asBytes: {"bytea[]", 17, 1001}, asUUID: {"uuid[]", 2950, 2951},
	asDate: {"date[]", 1082, 1182},
}

// arguments are the columns as parameters of a statement, with their types. They
// are good until the block is reset.
func (b *block) arguments() (values [][]byte, types []uint32) {
	for i := range b.vectors {
		v, t := &b.vectors[i], columnTypes[b.sorts[i]]
		data := v.data
		if v.folded() {
			value := data[vectorHead+4 : v.one]
			if v.nulls {
				value = nil
			}
			values, types = append(values, value), append(types, t.element)
			continue
		}
		clear(data[:vectorHead])
		binary.BigEndian.PutUint32(data[8:], t.element)
		if b.rows == 0 {
			data = data[:12]
		} else {
			data[3] = 1 // dimension
			if v.nulls {
				data[7] = 1
			}
			binary.BigEndian.PutUint32(data[12:], uint32(b.rows))
			data[19] = 1 // index of the first element
		}
		values, types = append(values, data), append(types, t.array)
	}
	return values, types
}

// source is the rows as the table v of a statement: all of them on PostgreSQL, n
// of them on SQLite.
func (b *block) source(n int) string {
	var t strings.Builder
	if b.sqlite {
		t.WriteString("(VALUES ")
		for row := range n {
			for i := range b.names {
				switch {
				case i > 0:
					t.WriteString(", ")
				case row > 0:
					t.WriteString("), (")
				default:
					t.WriteString("(")
				}
				t.WriteString("?")
			}
		}
		t.WriteString("))")
		return t.String()
	}
	var list, arrays, names []string
	for i, name := range b.names {
		parameter := "$" + strconv.Itoa(i+1) + "::" + columnTypes[b.sorts[i]].name
		if b.vectors[i].folded() {
			list = append(list, strings.TrimSuffix(parameter, "[]"))
			continue
		}
		list, arrays, names = append(list, "u."+name), append(arrays, parameter), append(names, name)
	}
	return "(SELECT " + strings.Join(list, ", ") + " FROM unnest(" + strings.Join(arrays, ", ") + ") AS u (" + strings.Join(names, ", ") + "))"
}

// with is the beginning of a statement that reads the rows as v.
func (b *block) with(n int) string {
	return "WITH v (" + strings.Join(b.names, ", ") + ") AS " + b.source(n) + " "
}
