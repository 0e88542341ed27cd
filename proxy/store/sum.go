package store

import (
	"context"
	"fmt"

	"sluice/proxy/money"
)

// Sum adds up a column of money over the objects that meet the conditions.
func Sum[T any, P pointer[T]](ctx context.Context, r Reader, column string, where ...Cond) (money.Nano, error) {
	m := mapped(P(nil).Kind())
	if _, ok := m.column(column); !ok {
		return 0, fmt.Errorf("%s has no column %q", m.kind.Table(), column)
	}
	db := r.reader()
	// A sum of whole numbers is numeric in PostgreSQL; one beyond 64 bits fails there.
	what := "CAST(COALESCE(SUM(" + column + "), 0) AS BIGINT)"
	sql, args, err := m.selects(db.dialect(), Query{Where: where, unordered: true}, what)
	if err != nil {
		return 0, err
	}
	var n int64
	err = db.query(ctx, sql, args, func(scan func(...any) error) error { return scan(&n) })
	if err != nil {
		return 0, fmt.Errorf("add up %s: %w", m.kind.Table(), err)
	}
	return money.Nano(n), nil
}
