package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Window says when the window of a duration began that runs now, and when it
// ends, given the reset that was due. Both are zero for a duration that is none.
type Window = func(duration string, reset time.Time) (start, end time.Time)

const (
	resetStep    = 500 // objects that are written in one transaction
	resetBudgets = 100 // budgets whose objects are looked for together
	resetPause   = 20 * time.Millisecond
)

// ResetSpend begins the windows of budgets whose reset is due: of objects with a
// budget of their own, and of those that refer to one. Their spend is what was
// counted in the window that runs, mostly nothing; the next reset is the end of
// that window. It goes in small steps, is no change of the record, and does the
// same when it is run twice. What is shipped later belongs to the window that it
// was begun in, and does not count in this one. It says how many objects it has
// reset.
func (s *Store) ResetSpend(ctx context.Context, now time.Time, window Window) (int, error) {
	total := 0
	for i := range counted {
		if !seedings[counted[i]].own {
			continue
		}
		for after := ""; ; {
			n, next, err := s.resetOwn(ctx, i, after, now, window)
			total += n
			if err != nil {
				return total, fmt.Errorf("reset the spend of %s: %w", objectTables[i], err)
			}
			if next == "" {
				break
			}
			after = next
			if err := Pause(ctx, resetPause); err != nil {
				return total, err
			}
		}
	}
	for after := ""; ; {
		n, next, err := s.resetShared(ctx, after, now, window)
		total += n
		if err != nil || next == "" {
			return total, err
		}
		after = next
	}
}

const resetSet = ` SET spend = CASE WHEN e.spend_from >= v.start THEN e.spend ELSE 0 END,
	spend_from = CASE WHEN e.spend_from > v.start THEN e.spend_from ELSE v.start END`

// due is an object whose reset is due.
type due struct {
	id         string
	start, end time.Time
	was        time.Time
}

// dues reads objects with a duration and a reset in the past.
func dues(ctx context.Context, on querier, table, key, after string, now time.Time, most int, lock string, window Window) (out []due, last string, err error) {
	rows := 0
	err = on.query(ctx, "SELECT e."+key+", e.budget_duration, e.budget_reset_at FROM sluice."+table+" AS e WHERE e."+key+
		" > $1 AND e.budget_reset_at <= $2 AND e.budget_duration IS NOT NULL ORDER BY e."+key+" LIMIT $3"+lock,
		[]any{after, on.dialect().time(now), int64(most)}, func(scan func(...any) error) error {
			var d due
			var duration string
			if err := scan(&d.id, &duration, &moment{&d.was}); err != nil {
				return err
			}
			rows, last = rows+1, d.id
			if d.start, d.end = window(duration, d.was); d.end.After(d.was) {
				out = append(out, d)
			}
			return nil
		})
	if rows < most {
		last = ""
	}
	return out, last, err
}

// resetOwn does a step of the objects of one kind that have budgets of their own.
func (s *Store) resetOwn(ctx context.Context, i int, after string, now time.Time, window Window) (n int, next string, err error) {
	table, key := objectTables[i], objectKeys[i][0]
	err = s.leaseChange(ctx, func(tx transaction) error {
		d := tx.dialect()
		found, last, err := dues(ctx, tx, table, key, after, now, resetStep, locking(d, "e"), window)
		n, next = len(found), last
		if err != nil || len(found) == 0 {
			return err
		}
		b := &bulk{names: []string{"id", "start", "fin"}, sorts: []sort{asText, asTime, asTime}}
		for _, o := range found {
			b.add(o.id, d.time(o.start), d.time(o.end))
		}
		source, args, err := b.source(d, nil)
		if err == nil {
			_, err = tx.exec(ctx, "UPDATE sluice."+table+" AS e"+resetSet+", budget_reset_at = v.fin FROM "+source+" WHERE e."+key+" = v.id", args)
		}
		return err
	})
	return n, next, err
}

func locking(d dialect, table string) string {
	if d.sqlite {
		return ""
	}
	return " FOR NO KEY UPDATE OF " + table
}

// resetShared does a step of the budgets that objects refer to: the objects first,
// then the budgets, so that a step that was not ended is done again.
func (s *Store) resetShared(ctx context.Context, after string, now time.Time, window Window) (total int, next string, err error) {
	found, next, err := dues(ctx, s.leases, "budgets", "budget_id", after, now, resetBudgets, "", window)
	if err != nil || len(found) == 0 {
		return 0, next, err
	}
	for i := range counted {
		for from := make([]string, len(objectKeys[i])); from != nil; {
			var n int
			n, from, err = s.resetReferring(ctx, i, from, found)
			total += n
			if err == nil {
				err = Pause(ctx, resetPause)
			}
			if err != nil {
				return total, "", fmt.Errorf("reset the spend of %s: %w", objectTables[i], err)
			}
		}
	}
	d := s.leases.dialect()
	b := &bulk{names: []string{"id", "fin", "was"}, sorts: []sort{asText, asTime, asTime}}
	for _, o := range found {
		b.add(o.id, d.time(o.end), d.time(o.was))
	}
	source, args, err := b.source(d, nil)
	if err == nil {
		_, err = s.leases.exec(ctx, "UPDATE sluice.budgets AS e SET budget_reset_at = v.fin FROM "+source+" WHERE e.budget_id = v.id AND e.budget_reset_at = v.was", args)
	}
	if err != nil {
		return total, "", fmt.Errorf("write the next reset of budgets: %w", err)
	}
	return total, next, nil
}

// resetReferring does a step of the objects of one kind that refer to budgets,
// from the key after the given one on; next is nil when there are no more.
func (s *Store) resetReferring(ctx context.Context, i int, after []string, budgets []due) (n int, next []string, err error) {
	keys := objectKeys[i]
	own := ""
	if seedings[counted[i]].own {
		own = " AND e.budget_duration IS NULL"
	}
	err = s.leaseChange(ctx, func(tx transaction) error {
		n, next = 0, nil
		d := tx.dialect()
		b := &bulk{names: []string{"id", "start"}, sorts: []sort{asText, asTime}}
		for _, o := range budgets {
			b.add(o.id, d.time(o.start))
		}
		args := make([]any, len(keys))
		places := make([]string, len(keys))
		for k := range keys {
			args[k], places[k] = after[k], fmt.Sprintf("$%d", k+1)
		}
		source, args, err := b.source(d, args)
		if err != nil {
			return err
		}
		rows := &bulk{names: append([]string{"start"}, keys...), sorts: []sort{asTime, asText, asText}[:1+len(keys)]}
		columns := "e." + strings.Join(keys, ", e.")
		err = tx.query(ctx, "SELECT v.start, "+columns+" FROM sluice."+objectTables[i]+" AS e JOIN "+source+" ON v.id = e.budget_id WHERE ("+columns+
			") > ("+strings.Join(places, ", ")+") AND (e.spend_from IS NULL OR e.spend_from < v.start)"+own+" ORDER BY "+columns+
			fmt.Sprintf(" LIMIT %d", resetStep)+locking(d, "e"), args, func(scan func(...any) error) error {
			var start time.Time
			id := make([]string, len(keys))
			to := []any{&moment{&start}}
			for k := range id {
				to = append(to, &id[k])
			}
			err := scan(to...)
			row := []any{d.time(start)}
			for _, part := range id {
				row = append(row, part)
			}
			rows.add(row...)
			next = id
			return err
		})
		if n = len(rows.rows); err != nil || n == 0 {
			return err
		}
		if n < resetStep {
			next = nil
		}
		if source, args, err = rows.source(d, nil); err != nil {
			return err
		}
		match := make([]string, len(keys))
		for k, name := range keys {
			match[k] = "e." + name + " = v." + name
		}
		_, err = tx.exec(ctx, "UPDATE sluice."+objectTables[i]+" AS e"+resetSet+" FROM "+source+" WHERE "+strings.Join(match, " AND "), args)
		return err
	})
	return n, next, err
}
