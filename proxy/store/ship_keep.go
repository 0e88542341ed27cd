package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Names in meta of what was deleted from spend: rows that began before the time
// may be missing. Before that of metaSlimGone no row is left that is kept only to
// count once.
const (
	metaRowsFrom = "spend_rows_from"
	metaSlimFrom = "spend_slim_rows_from"
	metaSlimGone = "spend_slim_rows_gone"
)

// slimPass is how far a pass over the rows that are kept only to count once has
// come. They stand among others: what was looked through is not again.
type slimPass struct {
	sync.Mutex
	before time.Time         // what it deletes
	from   []byte            // the id that it began at
	last   map[string][]byte // table → the last id that it deleted
}

// begin goes on with a pass, or begins one at an id.
func (p *slimPass) begin(before time.Time, from []byte) {
	p.Lock()
	defer p.Unlock()
	if !p.before.Equal(before) {
		p.before, p.from, p.last = before, from, map[string][]byte{}
	}
}

// low is the first id of a table that is to be looked at.
func (p *slimPass) low(table string) []byte {
	p.Lock()
	defer p.Unlock()
	if id := p.last[table]; id != nil {
		return id
	}
	return p.from
}

// deleted notes an id that was deleted.
func (p *slimPass) deleted(table string, id [16]byte) {
	p.Lock()
	defer p.Unlock()
	if bytes.Compare(id[:], p.last[table]) > 0 {
		p.last[table] = id[:]
	}
}

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
		if err := s.raiseTime(ctx, cut.meta, cut.before); err != nil {
			return 0, err
		}
		if cut.slim {
			gone, err := s.metaTime(ctx, metaSlimGone)
			if err != nil {
				return 0, err
			}
			s.slim.begin(cut.before, idAt(gone.Add(-24*time.Hour)))
		}
		rows, err := s.deleteRows(ctx, cut.slim, []any{d.id(idAt(cut.before)), d.time(cut.before), int64(most)})
		if err != nil {
			return 0, err
		}
		bodies, err := s.db.exec(ctx, `DELETE FROM sluice.spend_bodies WHERE (request_id, attempt) IN (SELECT request_id, attempt
			FROM sluice.spend_bodies WHERE request_id < $1 ORDER BY request_id, attempt LIMIT $2)`, []any{d.id(idAt(cut.before)), int64(most)})
		if err != nil {
			return 0, fmt.Errorf("delete bodies of spend: %w", err)
		}
		if n := max(rows, bodies); n > 0 {
			return int(n), nil
		}
		if cut.slim {
			return 0, s.raiseTime(ctx, metaSlimGone, cut.before)
		}
	}
	return 0, nil
}

// deleteRows deletes rows by the first arguments of DeleteSpend: the id and the
// time before which they began, and how many.
func (s *Store) deleteRows(ctx context.Context, slim bool, args []any) (total int64, err error) {
	d := s.db.dialect()
	type rows struct{ table, slim string }
	tables := []rows{{"sluice.spend", " AND call_type = ''"}}
	if d.sqlite { // where spend is a view
		tables = []rows{
			{"spend_calls", " AND context_id IN (SELECT context_id FROM spend_contexts WHERE call_type = '')"},
			{"spend_whole", " AND call_type = ''"},
		}
	}
	for _, of := range tables {
		where, args := "", slices.Clone(args)
		if slim {
			where, args = of.slim+" AND request_id >= $4", append(args, d.id(s.slim.low(of.table)))
		}
		err := s.db.query(ctx, "DELETE FROM "+of.table+" WHERE (request_id, attempt) IN (SELECT request_id, attempt FROM "+of.table+
			" WHERE request_id < $1 AND started_at < $2"+where+" ORDER BY request_id, attempt LIMIT $3) RETURNING request_id", args,
			func(scan func(...any) error) error {
				var id [16]byte
				err := scan(&uuid{&id})
				if total++; slim {
					s.slim.deleted(of.table, id)
				}
				return err
			})
		if err != nil {
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

// metaTime is a time of meta, zero where there is none.
func (s *Store) metaTime(ctx context.Context, name string) (at time.Time, err error) {
	text, err := s.Meta(ctx, name)
	if err != nil || text == "" {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return at, err
	}
	if at, err = time.Parse(time.RFC3339, text); err != nil {
		return at, fmt.Errorf("read meta %s: %w", name, err)
	}
	return at, nil
}

// raiseTime writes a time down where the one that stands there is earlier.
func (s *Store) raiseTime(ctx context.Context, name string, at time.Time) error {
	was, err := s.metaTime(ctx, name)
	if err != nil || !was.Before(at) {
		return err
	}
	old := ""
	if !was.IsZero() {
		old = was.Format(time.RFC3339)
	}
	_, err = s.SwapMeta(ctx, name, old, at.UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339))
	return err
}
