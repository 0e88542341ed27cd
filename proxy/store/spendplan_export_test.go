package store

import "context"

// SpendPlan is how the database reads the rows that a filter names.
func SpendPlan(ctx context.Context, s *Store, f SpendFilter) (string, error) {
	b := &builder{d: s.db.dialect()}
	explain := "EXPLAIN "
	if b.d.sqlite {
		explain = "EXPLAIN QUERY PLAN "
	}
	b.add(explain, "SELECT request_id, attempt, cost FROM sluice.spend WHERE ")
	if err := f.write(b); err != nil {
		return "", err
	}
	b.add(" ORDER BY request_id DESC, attempt DESC LIMIT 50")
	plan := ""
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		line := ""
		if !b.d.sqlite {
			err := scan(&line)
			plan += line + "\n"
			return err
		}
		var id, parent, unused int64
		err := scan(&id, &parent, &unused, &line)
		plan += line + "\n"
		return err
	})
	return plan, err
}
