package store

import (
	"context"
	"fmt"
)

// BlockedCustomers lists the ids of the end users that are blocked.
func (s *Store) BlockedCustomers(ctx context.Context) ([]string, error) {
	var out []string
	err := s.db.query(ctx, "SELECT user_id FROM sluice.end_users WHERE blocked", nil, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		out = append(out, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read blocked customers: %w", err)
	}
	return out, nil
}
