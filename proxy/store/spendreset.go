package store

import (
	"context"
	"fmt"
	"slices"

	"sluice/proxy/bill"
)

// resetAllStep is how many objects are set to nothing at once: rows that are
// shipped meanwhile wait for so many.
const resetAllStep = 1000

// ClearSpend sets what all objects of a kind have spent to nothing, and the
// windows of their budgets with it, in small steps. It returns of how many
// objects. What is shipped while it runs counts from nothing on. Where it fails
// half way the rest is as it was: it can be done again. It writes no change: the
// caller does, before.
func (s *Store) ClearSpend(ctx context.Context, kind bill.Kind, by string) (cleared int64, err error) {
	i := slices.Index(counted[:], kind)
	if i < 0 || len(objectKeys[i]) != 1 {
		return 0, fmt.Errorf("the spend of a %s is of no object", kind)
	}
	for after, more := "", true; more; {
		last, n, err := s.clearStep(ctx, i, after, by)
		if err != nil {
			return cleared, fmt.Errorf("clear the spend of %s: %w", objectTables[i], err)
		}
		cleared, after, more = cleared+n, last, last != ""
	}
	return cleared, nil
}

// clearStep does one step behind an id, and says where it ended: "" at the end.
func (s *Store) clearStep(ctx context.Context, i int, after, by string) (last string, n int64, err error) {
	table, key := "sluice."+objectTables[i], objectKeys[i][0]
	err = s.leaseChange(ctx, func(tx transaction) error {
		d, found := tx.dialect(), 0
		err := tx.query(ctx, "SELECT e."+key+" FROM "+table+" AS e WHERE e."+key+" > $1 AND e.spend <> 0 ORDER BY e."+key+" LIMIT $2"+locking(d, "e"),
			[]any{after, int64(resetAllStep)}, func(scan func(...any) error) error {
				found++
				return scan(&last)
			})
		if err != nil {
			return err
		}
		upTo, args := "", []any{after, by, d.time(s.c.Now())}
		if found < resetAllStep {
			last = ""
		} else {
			args, upTo = append(args, last), " AND e."+key+" <= $4"
		}
		n, err = tx.exec(ctx, "UPDATE "+table+" AS e SET spend = 0, updated_by = $2, updated_at = $3 WHERE e."+key+" > $1 AND e.spend <> 0"+upTo, args)
		if err != nil {
			return err
		}
		windows := []any{counted[i].String(), after}
		if upTo != "" {
			windows, upTo = append(windows, last), " AND entity_id <= $3"
		}
		_, err = tx.exec(ctx, "UPDATE sluice.budget_windows SET spend = 0 WHERE entity_type = $1 AND entity_id > $2 AND spend <> 0"+upTo, windows)
		return err
	})
	return last, n, err
}
