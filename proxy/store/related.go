package store

import (
	"context"
	"fmt"

	"sluice/proxy/identity"
)

// Fold holds where the column is the text whatever the case of ASCII letters, as
// e-mail addresses are compared.
func Fold(column, text string) Cond {
	return Cond{func(b *builder) error {
		b.add("lower(")
		if err := b.column(column); err != nil {
			return err
		}
		b.add(") = ")
		return b.bind(lower(text))
	}}
}

// Among holds where the column is one of the values that another kind's column
// has in the rows that meet the conditions: users who are members of a team.
func Among(column string, kind identity.Kind, values string, where ...Cond) Cond {
	return Cond{func(b *builder) error {
		if err := b.column(column); err != nil {
			return err
		}
		b.add(" IN (SELECT ")
		outer := b.m
		b.m = mapped(kind)
		defer func() { b.m = outer }()
		if err := b.column(values); err != nil {
			return err
		}
		b.add(" FROM ", table(kind), " WHERE ")
		err := All(append([]Cond{NotNull(values)}, where...)...).write(b)
		b.add(")")
		return err
	}}
}

// CountBy counts the objects that meet the conditions for each value of a column
// of text; rows without a value are not counted.
func CountBy[T any, P pointer[T]](ctx context.Context, r Reader, column string, where ...Cond) (map[string]int, error) {
	m := mapped(P(nil).Kind())
	db := r.reader()
	b := &builder{m: m, d: db.dialect()}
	b.add("SELECT ")
	if err := b.column(column); err != nil {
		return nil, err
	}
	b.add(", count(*) FROM ", table(m.kind), " WHERE ")
	if err := All(append([]Cond{NotNull(column)}, where...)...).write(b); err != nil {
		return nil, err
	}
	b.add(" GROUP BY ", column)
	out := map[string]int{}
	err := db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var value string
		var n int64
		if err := scan(&value, &n); err != nil {
			return err
		}
		out[value] = int(n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", m.kind.Table(), err)
	}
	return out, nil
}
