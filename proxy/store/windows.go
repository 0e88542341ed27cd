package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/bill"
	"sluice/proxy/identity"
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
	_, err := t.removeWindows(m, o)
	return err
}

// removeWindows deletes the windows of an object, and those of a key for single
// models, and returns them.
func (t *Tx) removeWindows(m *mapping, o identity.Object) (out []BudgetWindow, err error) {
	i := m.spender()
	if i < 0 {
		return nil, nil
	}
	id := m.id(o)
	where, args := "entity_type = $1 AND entity_id = $2", []any{counted[i].String(), id}
	if counted[i] == bill.KindKey { // an id of key and model begins with the key and a slash, which 0 comes after
		where += " OR entity_type = $3 AND entity_id > $4 AND entity_id < $5"
		args = append(args, bill.KindKeyModel.String(), id+"/", id+"0")
	}
	err = t.tx.query(t.ctx, "DELETE FROM sluice.budget_windows WHERE "+where+" RETURNING entity_type, entity_id, window_duration, window_start, spend",
		args, func(scan func(...any) error) error {
			var w BudgetWindow
			if err := scan(&w.EntityType, &w.EntityID, &w.Duration, &moment{&w.Start}, (*int64)(&w.Spend)); err != nil {
				return err
			}
			out = append(out, w)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("take the windows of %s %s: %w", m.kind, id, err)
	}
	return out, nil
}

// moved is what stands beside the columns of an object that gets another key.
type moved struct {
	was     string // its id until now
	from    any    // spend_from
	windows []BudgetWindow
}

// takeWindows takes what moveWindows writes, before the object is deleted.
func (t *Tx) takeWindows(m *mapping, was identity.Object) (*moved, error) {
	if m.spender() < 0 {
		return nil, nil
	}
	out := &moved{was: m.id(was)}
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("SELECT spend_from FROM ", table(m.kind))
	if err := b.whereKey(was); err != nil {
		return nil, err
	}
	err := t.tx.query(t.ctx, b.text.String(), b.args, func(scan func(...any) error) error { return scan(&out.from) })
	if err != nil {
		return nil, fmt.Errorf("read the window of %s %s: %w", m.kind, out.was, err)
	}
	out.windows, err = t.removeWindows(m, was)
	return out, err
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
		w := &with.windows[i]
		w.EntityID = m.id(is) + strings.TrimPrefix(w.EntityID, with.was)
	}
	return t.TakeWindows(with.windows)
}
