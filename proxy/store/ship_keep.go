package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Names in meta of what was deleted from spend: rows that began before the time
// may be missing.
const (
	metaRowsFrom = "spend_rows_from"
	metaSlimFrom = "spend_slim_rows_from"
)

// idAt is the smallest id of a request of a moment: ids are UUIDv7, which begin
// with the milliseconds since 1970.
func idAt(t time.Time) []byte {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id, uint64(max(t.UnixMilli(), 0))<<16)
	return id
}

func (d dialect) id(id []byte) any {
	if d.sqlite {
		return id
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// DeleteSpend deletes at most so many rows of spend that began before a time,
// oldest first, their bodies with them, and of those that were kept only to
// count once what began before another time. It returns how many rows went; 0
// says that none are left. A zero time deletes none.
func (s *Store) DeleteSpend(ctx context.Context, before, slimBefore time.Time, most int) (int, error) {
	d := s.db.dialect()
	for _, cut := range []struct {
		meta   string
		slim   bool
		before time.Time
	}{{metaRowsFrom, false, before}, {metaSlimFrom, true, slimBefore}} {
		if cut.before.IsZero() {
			continue
		}
		from, err := s.raiseTime(ctx, cut.meta, cut.before)
		if err != nil {
			return 0, err
		}
		// Slim rows stand among others: what was looked through is not again.
		low := idAt(time.Time{})
		if cut.slim {
			low = idAt(from.Add(-24 * time.Hour))
		}
		args := []any{d.id(idAt(cut.before)), d.time(cut.before), int64(most), d.id(low)}
		rows, err := s.deleteRows(ctx, cut.slim, args)
		if err != nil {
			return 0, err
		}
		bodies, err := s.db.exec(ctx, `DELETE FROM sluice.spend_bodies WHERE (request_id, attempt) IN (SELECT request_id, attempt
			FROM sluice.spend_bodies WHERE request_id < $1 ORDER BY request_id, attempt LIMIT $2)`, []any{args[0], args[2]})
		if err != nil {
			return 0, fmt.Errorf("delete bodies of spend: %w", err)
		}
		if n := max(rows, bodies); n > 0 {
			return int(n), nil
		}
	}
	return 0, nil
}

// deleteRows deletes rows by the arguments of DeleteSpend: the id and the time
// before which they began, how many, and the first id.
func (s *Store) deleteRows(ctx context.Context, slim bool, args []any) (int64, error) {
	type rows struct{ table, slim string }
	tables := []rows{{"sluice.spend", " AND call_type = ''"}}
	if s.db.dialect().sqlite { // where spend is a view
		tables = []rows{
			{"spend_calls", " AND context_id IN (SELECT context_id FROM spend_contexts WHERE call_type = '')"},
			{"spend_whole", " AND call_type = ''"},
		}
	}
	total := int64(0)
	for _, of := range tables {
		where := ""
		if slim {
			where = of.slim
		}
		n, err := s.db.exec(ctx, "DELETE FROM "+of.table+" WHERE (request_id, attempt) IN (SELECT request_id, attempt FROM "+of.table+
			" WHERE request_id < $1 AND request_id >= $4 AND started_at < $2"+where+" ORDER BY request_id, attempt LIMIT $3)", args)
		if total += n; err != nil {
			return total, fmt.Errorf("delete rows of spend: %w", err)
		}
	}
	return total, nil
}

// DeleteUnused deletes what no row names any more: prices that were not used
// since the time before which all rows are deleted, none for a zero time; and on
// SQLite contexts of which every row is gone, at most so many at once.
func (s *Store) DeleteUnused(ctx context.Context, before time.Time, most int) error {
	if s.db.dialect().sqlite {
		for {
			n, err := s.db.exec(ctx, `DELETE FROM spend_contexts WHERE context_id IN (SELECT context_id FROM spend_contexts
				WHERE last_request_id < (SELECT coalesce(min(request_id), x'ffffffffffffffffffffffffffffffffff') FROM spend_calls) ORDER BY last_request_id LIMIT $1)`, []any{int64(most)})
			if err != nil {
				return fmt.Errorf("delete what no row of spend names: %w", err)
			}
			if n == 0 {
				break
			}
		}
	}
	if before.IsZero() {
		return nil
	}
	_, err := s.db.exec(ctx, "DELETE FROM sluice.price_versions WHERE last_used_at < $1", []any{s.db.dialect().time(before.Add(-24 * time.Hour))})
	if err != nil {
		return fmt.Errorf("delete prices that are not in use: %w", err)
	}
	return nil
}

// raiseTime writes a time down where the one that stands there is earlier, and
// returns the one that stood there.
func (s *Store) raiseTime(ctx context.Context, name string, at time.Time) (was time.Time, err error) {
	text, err := s.Meta(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return was, err
	}
	if text != "" {
		if was, err = time.Parse(time.RFC3339, text); err != nil {
			return was, fmt.Errorf("read meta %s: %w", name, err)
		}
	}
	if !was.Before(at) {
		return was, nil
	}
	_, err = s.SwapMeta(ctx, name, text, at.UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339))
	return was, err
}
