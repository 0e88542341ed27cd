package store

import (
	"context"
	"fmt"
)

// Meta reads what is known about the database as a whole: one text by its name.
// It is ErrNotFound where nobody has written it.
func (s *Store) Meta(ctx context.Context, name string) (value string, err error) {
	found := false
	err = s.db.query(ctx, "SELECT value FROM sluice.meta WHERE name = $1", []any{name}, func(scan func(...any) error) error {
		found = true
		return scan(&value)
	})
	if err != nil {
		return "", fmt.Errorf("read meta %s: %w", name, err)
	}
	if !found {
		return "", fmt.Errorf("meta %s: %w", name, ErrNotFound)
	}
	return value, nil
}

// SwapMeta writes one text where the one that stands there is still the old
// one, "" for none, and reports whether it did. Of several writers one wins. It
// is no change of identity data and leaves no row in the record of changes.
func (s *Store) SwapMeta(ctx context.Context, name, old, value string) (bool, error) {
	at := s.db.dialect().time(s.c.Now())
	statement, args := "INSERT INTO sluice.meta (name, value, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING", []any{name, value, at}
	if old != "" {
		statement, args = "UPDATE sluice.meta SET value = $2, updated_at = $3 WHERE name = $1 AND value = $4", []any{name, value, at, old}
	}
	n, err := s.db.exec(ctx, statement, args)
	if err != nil {
		return false, fmt.Errorf("write meta %s: %w", name, err)
	}
	return n == 1, nil
}
