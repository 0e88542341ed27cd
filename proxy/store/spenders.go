package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sluice/proxy/identity"
)

// Spenders reads which end users and tags have budgets, and these budgets. Of
// end users an answer holds those that a change after q.After made what they are
// and those that q.IDs names; the newest changes come first.
func (s *Store) Spenders(ctx context.Context, q identity.SpendersQuery) (*identity.Spenders, error) {
	d := s.db.dialect()
	out := &identity.Spenders{}
	var named []identity.Spender
	budgets := map[string]bool{}
	for _, id := range q.Budgets {
		budgets[id] = true
	}
	into := func(to *[]identity.Spender) func(scan func(...any) error) error {
		return func(scan func(...any) error) error {
			var o identity.Spender
			if err := scan(&o.ID, &o.BudgetID, &o.Number); err != nil {
				return err
			}
			*to = append(*to, o)
			budgets[o.BudgetID] = true
			return nil
		}
	}
	const customers = "SELECT user_id, budget_id, change_number FROM sluice.end_users WHERE budget_id IS NOT NULL"
	ids, err := d.texts(q.IDs)
	if err != nil {
		return nil, err
	}
	statements := []statement{
		{customers + " AND change_number > $1 ORDER BY change_number DESC LIMIT $2", []any{q.After, q.Most + 1}, into(&out.Customers)},
		{
			"SELECT tag_name, budget_id, change_number FROM sluice.tags WHERE budget_id IS NOT NULL ORDER BY change_number DESC LIMIT $1",
			[]any{q.Most},
			into(&out.Tags),
		},
	}
	if len(q.IDs) > 0 {
		statements = append(statements, statement{customers + " AND user_id IN (" + d.list("$1") + ")", []any{ids}, into(&named)})
	}
	if err := s.db.batch(ctx, statements, true); err != nil {
		return nil, fmt.Errorf("read customers and tags with budgets: %w", err)
	}
	if out.More = len(out.Customers) > q.Most; out.More {
		out.Customers = out.Customers[:q.Most]
	}
	out.Customers = append(out.Customers, named...)
	if len(budgets) > 0 {
		out.Budgets, err = Find[identity.Budget](ctx, s, Query{Where: []Cond{In("budget_id", slices.Collect(maps.Keys(budgets)))}})
	}
	return out, err
}
