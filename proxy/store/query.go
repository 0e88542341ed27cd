package store

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"sluice/proxy/identity"
)

// Query names objects of a kind.
type Query struct {
	Where  []Cond // all of them hold
	Order  string // column; the key follows. "": the key
	Desc   bool
	Limit  int // 0: all
	Offset int

	unordered bool
}

// Cond is a condition on columns. Values are always bound, never written into
// the statement; a column that the kind does not have is an error.
type Cond struct {
	write func(b *builder) error
}

// builder collects a statement and its arguments.
type builder struct {
	m    *mapping
	d    dialect
	text strings.Builder
	args []any
}

func (b *builder) add(parts ...string) {
	for _, p := range parts {
		b.text.WriteString(p)
	}
}

func (b *builder) bind(v any) error {
	if s, ok := v.(string); ok {
		if err := checkText("", s); err != nil {
			return err
		}
	}
	converted, err := b.d.value(v, false)
	if err != nil {
		return err
	}
	b.args = append(b.args, converted)
	b.add("$", strconv.Itoa(len(b.args)))
	return nil
}

func (b *builder) column(name string) error {
	if _, ok := b.m.column(name); !ok {
		return fmt.Errorf("%s has no column %q", b.m.kind.Table(), name)
	}
	b.add(name)
	return nil
}

func compare(column, operator string, v any) Cond {
	return Cond{func(b *builder) error {
		if err := b.column(column); err != nil {
			return err
		}
		b.add(" ", operator, " ")
		return b.bind(v)
	}}
}

// Eq holds where the column is v.
func Eq(column string, v any) Cond { return compare(column, "=", v) }

// Ne holds where the column is another value than v, not where it is NULL.
func Ne(column string, v any) Cond { return compare(column, "<>", v) }

// Before holds where the column is less than v.
func Before(column string, v any) Cond { return compare(column, "<", v) }

// After holds where the column is greater than v.
func After(column string, v any) Cond { return compare(column, ">", v) }

// Null holds where the column is NULL.
func Null(column string) Cond { return suffix(column, " IS NULL") }

// NotNull holds where the column is not NULL.
func NotNull(column string) Cond { return suffix(column, " IS NOT NULL") }

func suffix(column, text string) Cond {
	return Cond{func(b *builder) error {
		err := b.column(column)
		b.add(text)
		return err
	}}
}

// In holds where the column is one of the values; with none it never holds.
func In(column string, values []string) Cond {
	return Cond{func(b *builder) error {
		if err := b.column(column); err != nil {
			return err
		}
		return b.among(values)
	}}
}

// among compares what was written with a list of texts.
func (b *builder) among(values []string) error {
	argument, err := b.d.texts(values)
	b.args = append(b.args, argument)
	n := "$" + strconv.Itoa(len(b.args))
	if b.d.sqlite {
		b.add(" IN (SELECT value FROM json_each(", n, "))")
	} else {
		b.add(" = ANY(", n, "::text[])")
	}
	return err
}

// Contains holds where the column contains the text, whatever the case of ASCII
// letters.
func Contains(column, text string) Cond {
	return Cond{func(b *builder) error {
		b.add("lower(")
		if err := b.column(column); err != nil {
			return err
		}
		b.add(") LIKE ")
		err := b.bind("%" + escapeLike(lower(text)) + "%")
		b.add(` ESCAPE '\'`)
		return err
	}}
}

// lower is what both databases make of a text: columns are in the collation C.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// Has holds where the column is a JSON list with the text in it.
func Has(column, text string) Cond {
	return Cond{func(b *builder) error {
		if b.d.sqlite {
			b.add("EXISTS (SELECT 1 FROM json_each(")
			if err := b.column(column); err != nil {
				return err
			}
			b.add(") WHERE value = ")
			err := b.bind(text)
			b.add(")")
			return err
		}
		if err := b.column(column); err != nil {
			return err
		}
		b.add(" @> to_jsonb(")
		err := b.bind(text)
		b.add("::text)")
		return err
	}}
}

// HasIn holds where the column is a JSON object whose field is a list with the
// text in it.
func HasIn(column, field, text string) Cond {
	return Cond{func(b *builder) error {
		if b.d.sqlite {
			b.add("EXISTS (SELECT 1 FROM json_each(")
			if err := b.column(column); err != nil {
				return err
			}
			b.add(", ")
			if err := b.bind("$." + field); err != nil {
				return err
			}
			b.add(") WHERE value = ")
			err := b.bind(text)
			b.add(")")
			return err
		}
		if err := b.column(column); err != nil {
			return err
		}
		list, err := json.Marshal(map[string][]string{field: {text}})
		if err != nil {
			return err
		}
		b.add(" @> ")
		err = b.bind(string(list))
		b.add("::jsonb")
		return err
	}}
}

// Any holds where one of the conditions does; with none it never holds.
func Any(conds ...Cond) Cond { return joined(conds, " OR ", "1 = 0") }

// All holds where all conditions do.
func All(conds ...Cond) Cond { return joined(conds, " AND ", "1 = 1") }

// Not holds where the condition does not.
func Not(c Cond) Cond {
	return Cond{func(b *builder) error {
		b.add("NOT (")
		err := c.write(b)
		b.add(")")
		return err
	}}
}

func joined(conds []Cond, by, none string) Cond {
	return Cond{func(b *builder) error {
		if len(conds) == 0 {
			b.add(none)
			return nil
		}
		b.add("(")
		for i, c := range conds {
			if i > 0 {
				b.add(by)
			}
			if err := c.write(b); err != nil {
				return err
			}
		}
		b.add(")")
		return nil
	}}
}

// selects writes the statement of a query.
func (m *mapping) selects(d dialect, q Query, what string) (string, []any, error) {
	b := &builder{m: m, d: d}
	b.add("SELECT ", what, " FROM ", table(m.kind), " WHERE ")
	if err := All(q.Where...).write(b); err != nil {
		return "", nil, err
	}
	if q.unordered {
		return b.text.String(), b.args, nil
	}
	b.add(" ORDER BY ")
	direction := ""
	if q.Desc {
		direction = " DESC"
	}
	if q.Order != "" {
		if err := b.column(q.Order); err != nil {
			return "", nil, err
		}
		b.add(direction)
		if c, _ := m.column(q.Order); c.optional { // last, in both databases and directions
			b.add(" NULLS LAST") // elsewhere it would only keep an index from being used
		}
		b.add(", ")
	}
	for i, k := range m.keys {
		if i > 0 {
			b.add(", ")
		}
		b.add(k.name, direction)
	}
	if err := b.page(q.Limit, q.Offset); err != nil {
		return "", nil, err
	}
	return b.text.String(), b.args, nil
}

// page writes which of the rows are wanted.
func (b *builder) page(limit, offset int) error {
	if limit > 0 {
		b.add(" LIMIT ")
		if err := b.bind(limit); err != nil {
			return err
		}
	}
	if offset <= 0 {
		return nil
	}
	if limit <= 0 && b.d.sqlite {
		b.add(" LIMIT -1")
	}
	b.add(" OFFSET ")
	return b.bind(offset)
}

func table(k identity.Kind) string { return "sluice." + k.Table() }
