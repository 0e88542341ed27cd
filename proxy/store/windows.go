package store

import (
	"context"
	"fmt"
	"slices"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// spender says where the spend of objects of a kind is also counted: the place
// of the kind in counted, -1 for a kind that spends nothing.
func (m *mapping) spender() int { return slices.Index(objectKinds[:], m.kind) }

// setWindows follows a spend that somebody has set: the windows of the object's
// budgets that its spend is of, or all of them where it is nothing now.
func (t *Tx) setWindows(m *mapping, o identity.Object) error {
	i := m.spender()
	if i < 0 {
		return nil
	}
	c, _ := m.column("spend")
	spend, err := c.value(t.tx.dialect(), o)
	if err != nil {
		return err
	}
	args, match := []any{counted[i].String(), m.id(o), spend}, ""
	for _, k := range m.keys {
		v, err := k.value(t.tx.dialect(), o)
		if err != nil {
			return err
		}
		args = append(args, v)
		match += fmt.Sprintf(" AND e.%s = $%d", k.name, len(args))
	}
	_, err = t.tx.exec(t.ctx, `UPDATE sluice.budget_windows SET spend = CAST($3 AS BIGINT) FROM `+table(m.kind)+` AS e
		WHERE entity_type = $1 AND entity_id = $2`+match+` AND (CAST($3 AS BIGINT) = 0 OR e.spend_from IS NULL OR e.spend_from = window_start)`, args)
	if err != nil {
		return fmt.Errorf("set the windows of %s %s: %w", m.kind, m.id(o), err)
	}
	return nil
}

// WindowsOf reads the windows of all budgets of a kind, in the order of their
// ids: what was spent in the one that was begun last.
func (s *Store) WindowsOf(ctx context.Context, kind bill.Kind) ([]BudgetWindow, error) {
	var out []BudgetWindow
	err := s.db.query(ctx, `SELECT entity_id, window_duration, window_start, spend FROM sluice.budget_windows WHERE entity_type = $1
		ORDER BY entity_id, window_duration`, []any{kind.String()}, func(scan func(...any) error) error {
		w := BudgetWindow{EntityType: kind.String()}
		var start any
		if err := scan(&w.EntityID, &w.Duration, &start, (*int64)(&w.Spend)); err != nil {
			return err
		}
		if err := scanTime(&w.Start, start); err != nil {
			return err
		}
		out = append(out, w)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the windows of budgets of a %s: %w", kind, err)
	}
	return out, nil
}

// dropWindows forgets the windows of an object that is deleted: another one of
// its name begins anew.
func (t *Tx) dropWindows(m *mapping, o identity.Object) error {
	i := m.spender()
	if i < 0 {
		return nil
	}
	_, err := t.tx.exec(t.ctx, "DELETE FROM sluice.budget_windows WHERE entity_type = $1 AND entity_id = $2", []any{counted[i].String(), m.id(o)})
	if err != nil {
		return fmt.Errorf("forget the windows of %s %s: %w", m.kind, m.id(o), err)
	}
	return nil
}

// moved is what stands beside the columns of an object that gets another key.
type moved struct {
	from    any // spend_from
	windows []BudgetWindow
}

// takeWindows reads what moveWindows writes, before the object is deleted.
func (t *Tx) takeWindows(m *mapping, was identity.Object) (*moved, error) {
	i := m.spender()
	if i < 0 {
		return nil, nil
	}
	out := &moved{}
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("SELECT spend_from FROM ", table(m.kind))
	if err := b.whereKey(was); err != nil {
		return nil, err
	}
	err := t.tx.query(t.ctx, b.text.String(), b.args, func(scan func(...any) error) error { return scan(&out.from) })
	if err != nil {
		return nil, fmt.Errorf("read the window of %s %s: %w", m.kind, m.id(was), err)
	}
	err = t.tx.query(t.ctx, "SELECT window_duration, window_start, spend FROM sluice.budget_windows WHERE entity_type = $1 AND entity_id = $2",
		[]any{counted[i].String(), m.id(was)}, func(scan func(...any) error) error {
			w := BudgetWindow{EntityType: counted[i].String()}
			var start any
			var spend int64
			if err := scan(&w.Duration, &start, &spend); err != nil {
				return err
			}
			w.Spend = money.Nano(spend)
			out.windows = append(out.windows, w)
			return scanTime(&out.windows[len(out.windows)-1].Start, start)
		})
	if err != nil {
		return nil, fmt.Errorf("read the windows of %s %s: %w", m.kind, m.id(was), err)
	}
	return out, t.dropWindows(m, was)
}

// moveWindows writes what was taken from the object's former key. What hosts have
// leased of that one stays there: it is given back, or ends with what is in
// flight.
func (t *Tx) moveWindows(m *mapping, is identity.Object, with *moved) error {
	if with == nil {
		return nil
	}
	if with.from != nil {
		b := &builder{m: m, d: t.tx.dialect()}
		b.args = []any{with.from}
		b.add("UPDATE ", table(m.kind), " SET spend_from = $1")
		if err := b.whereKey(is); err != nil {
			return err
		}
		if _, err := t.tx.exec(t.ctx, b.text.String(), b.args); err != nil {
			return fmt.Errorf("write the window of %s %s: %w", m.kind, m.id(is), err)
		}
	}
	for i := range with.windows {
		with.windows[i].EntityID = m.id(is)
	}
	return t.TakeWindows(with.windows)
}
