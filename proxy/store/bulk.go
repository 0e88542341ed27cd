package store

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sort is how a column of a bulk statement is handed over.
type sort uint8

const (
	asText sort = iota
	asInt
	asBool
	asTime
	asJSON    // JSONB
	asLetters // JSON, kept to the letter
	asBytes
	asUUID // sixteen bytes
	asDate // YYYY-MM-DD
)

// bulk is rows for one statement: on PostgreSQL an array for each column, on
// SQLite one JSON text. The statement is the same for any number of rows, so it
// is planned once, and no limit of parameters is met.
type bulk struct {
	names []string
	sorts []sort
	rows  [][]any // of what dialect.value returns, or []byte
}

func (b *bulk) add(values ...any) { b.rows = append(b.rows, values) }

// source is the rows as a table v of a statement, and the statement's arguments: those given, then the rows.
func (b *bulk) source(d dialect, args []any) (string, []any, error) {
	if d.sqlite {
		text, err := b.json()
		if err != nil {
			return "", nil, err
		}
		args = append(args, text)
		columns := make([]string, len(b.names))
		for i, name := range b.names {
			value := "json_extract(value, '$[" + strconv.Itoa(i) + "]')"
			if s := b.sorts[i]; s == asBytes || s == asUUID {
				value = "unhex(" + value + ")"
			}
			columns[i] = value + " AS " + name
		}
		return "(SELECT " + strings.Join(columns, ", ") + " FROM json_each($" + strconv.Itoa(len(args)) + ")) AS v", args, nil
	}
	arrays := make([]string, len(b.names))
	for i := range b.names {
		a, err := b.array(i)
		if err != nil {
			return "", nil, err
		}
		args = append(args, a)
		arrays[i] = "$" + strconv.Itoa(len(args)) + "::" + [...]string{
			"text[]", "bigint[]", "boolean[]", "timestamptz[]", "text[]", "text[]", "bytea[]", "text[]", "text[]",
		}[b.sorts[i]]
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") AS v (" + strings.Join(b.names, ", ") + ")", args, nil
}

// values are the columns of the source as the table takes them.
func (b *bulk) values(d dialect) string {
	out := make([]string, len(b.names))
	for i, name := range b.names {
		out[i] = "v." + name
		if !d.sqlite {
			switch b.sorts[i] {
			case asJSON:
				out[i] += "::jsonb"
			case asLetters:
				out[i] += "::json"
			case asUUID:
				out[i] += "::uuid"
			case asDate:
				out[i] += "::date"
			}
		}
	}
	return strings.Join(out, ", ")
}

// upsert is the statement that inserts the rows. Where a row with the same key
// is there, it gets the other columns, or with skip stays as it is.
func (b *bulk) upsert(d dialect, table string, skip bool, key ...string) (string, []any, error) {
	source, args, err := b.source(d, nil)
	if err != nil {
		return "", nil, err
	}
	var t strings.Builder
	t.WriteString("INSERT INTO " + table + " (" + strings.Join(b.names, ", ") + ") SELECT " + b.values(d) + " FROM " + source +
		" WHERE true ON CONFLICT (" + strings.Join(key, ", ") + ") DO ")
	if skip {
		t.WriteString("NOTHING")
		return t.String(), args, nil
	}
	t.WriteString("UPDATE SET ")
	first := true
	for _, name := range b.names {
		if slices.Contains(key, name) {
			continue
		}
		if !first {
			t.WriteString(", ")
		}
		first = false
		t.WriteString(name + " = excluded." + name)
	}
	return t.String(), args, nil
}

// put writes the rows, as upsert says. It returns how many rows were written.
func (b *bulk) put(t *Tx, table string, skip bool, key ...string) (int64, error) {
	if len(b.rows) == 0 {
		return 0, nil
	}
	statement, args, err := b.upsert(t.tx.dialect(), table, skip, key...)
	if err != nil {
		return 0, err
	}
	n, err := t.tx.exec(t.ctx, statement, args)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", table, err)
	}
	return n, nil
}

func (b *bulk) json() (string, error) {
	rows := make([][]any, len(b.rows))
	for i, row := range b.rows {
		rows[i] = slices.Clone(row)
		for j, v := range row {
			if raw, ok := v.([]byte); ok {
				rows[i][j] = nil
				if raw != nil {
					rows[i][j] = hex.EncodeToString(raw)
				}
			}
		}
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return "", fmt.Errorf("write rows as JSON: %w", err)
	}
	return string(text), nil
}

// array is a column as an array of PostgreSQL.
func (b *bulk) array(i int) (any, error) {
	switch b.sorts[i] {
	case asInt:
		return arrayOf[int64](b, i)
	case asBool:
		return arrayOf[bool](b, i)
	case asTime:
		return arrayOf[time.Time](b, i)
	case asBytes:
		out := make([][]byte, len(b.rows))
		for n, row := range b.rows {
			out[n], _ = row[i].([]byte)
		}
		return out, nil
	case asUUID: // as text: a pooler's server is not asked for types, and the driver knows no array of these
		out := make([]string, len(b.rows))
		for n, row := range b.rows {
			raw, _ := row[i].([]byte)
			out[n] = hex.EncodeToString(raw)
		}
		return out, nil
	default:
		return arrayOf[string](b, i)
	}
}

func arrayOf[T any](b *bulk, i int) ([]*T, error) {
	out := make([]*T, len(b.rows))
	values := make([]T, len(b.rows))
	for n, row := range b.rows {
		if row[i] == nil {
			continue
		}
		v, ok := row[i].(T)
		if !ok {
			return nil, fmt.Errorf("BUG: column %s takes no %T", b.names[i], row[i])
		}
		values[n] = v
		out[n] = &values[n]
	}
	return out, nil
}
