package store

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"sluice/internal/postgres"
	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// Beat writes that a holder is alive, by the database's clock. released: its
// leases were given back because it was taken for gone; it stays so until Revive.
func (s *Store) Beat(ctx context.Context, h bill.Holder) (released bool, err error) {
	now, _ := s.clock()
	err = s.db.query(ctx, `INSERT INTO sluice.lease_holders (holder, host_id, host_name, started_at, seen_at)
		VALUES ($1, $2, $3, `+now+`, `+now+`) ON CONFLICT (holder) DO UPDATE SET
			host_id = excluded.host_id, host_name = excluded.host_name, seen_at = excluded.seen_at
		RETURNING released_at IS NOT NULL`, []any{h.Holder, h.HostID, kept(h.HostName)},
		func(scan func(...any) error) error { return scan(&released) })
	if err != nil {
		return false, fmt.Errorf("write that this host holds leases: %w", err)
	}
	return released, nil
}

// History names the history of what was committed: on PostgreSQL the timeline of
// the server, which is another one after a promotion or a recovery. A server that
// does not say, and SQLite, have "".
func (s *Store) History(ctx context.Context) (name string, err error) {
	if s.db.dialect().sqlite {
		return "", nil
	}
	err = s.db.query(ctx, "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", nil, func(scan func(...any) error) error { return scan(&name) })
	if err != nil && !Away(err) { // a relative of PostgreSQL, or one that may not be asked
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask which timeline the database is on: %w", err)
	}
	return name, nil
}

// Revive lets a holder that was released lease again, once it has forgotten what
// it held.
func (s *Store) Revive(ctx context.Context, holder string) error {
	_, err := s.leases.exec(ctx, "UPDATE sluice.lease_holders SET released_at = NULL WHERE holder = $1", []any{holder})
	if err != nil {
		return fmt.Errorf("lease again after a release: %w", err)
	}
	return nil
}

// Holders lists who holds leases and was not released, of one host or ("") of
// all, the oldest first.
func (s *Store) Holders(ctx context.Context, hostID string) ([]bill.Holder, error) {
	now, _ := s.clock()
	since := "CAST(EXTRACT(EPOCH FROM " + now + " - h.seen_at) * 1000000 AS BIGINT)"
	if s.leases.dialect().sqlite {
		since = now + " - h.seen_at"
	}
	var out []bill.Holder
	err := s.db.query(ctx, `SELECT h.holder, h.host_id, h.host_name, h.started_at, h.seen_at, `+since+`,
			(SELECT count(*) FROM sluice.budget_leases AS b WHERE b.holder = h.holder AND b.amount <> 0),
			(SELECT CAST(COALESCE(SUM(b.amount), 0) AS BIGINT) FROM sluice.budget_leases AS b WHERE b.holder = h.holder)
		FROM sluice.lease_holders AS h WHERE h.released_at IS NULL AND ($1 = '' OR h.host_id = $1) ORDER BY h.started_at, h.holder`,
		[]any{hostID}, func(scan func(...any) error) error {
			var h bill.Holder
			var silent, leases int64
			err := scan(&h.Holder, &h.HostID, &h.HostName, &moment{&h.StartedAt}, &moment{&h.SeenAt}, &silent, &leases, &h.Amount)
			h.Silent, h.Leases = time.Duration(silent)*time.Microsecond, int(leases)
			out = append(out, h)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read who holds leases: %w", err)
	}
	return out, nil
}

// Leases lists what a holder holds and has not added to for so long, from the
// account after the given one on, in order. What was added to by a clock that was
// ahead was so long ago, too.
func (s *Store) Leases(ctx context.Context, holder string, idle time.Duration, after bill.Lease, limit int) ([]bill.Lease, error) {
	_, past := s.clock()
	var out []bill.Lease
	err := s.db.query(ctx, `SELECT entity_type, entity_id, window_duration, amount, taken_at FROM sluice.budget_leases
		WHERE holder = $1 AND (taken_at <= `+past("$2")+` OR `+toCome(s.db.dialect().sqlite, "taken_at")+`) AND (entity_type, entity_id, window_duration) > ($3, $4, $5)
		ORDER BY entity_type, entity_id, window_duration LIMIT $6`,
		[]any{holder, idle.Microseconds(), kindName(after.Kind), kept(after.ID), after.Window, int64(limit)},
		func(scan func(...any) error) error {
			var l bill.Lease
			var kind string
			err := scan(&kind, &l.ID, &l.Window, &l.Amount, &moment{&l.TakenAt})
			l.Kind = bill.KindNamed(kind)
			out = append(out, l)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read the leases of this host: %w", err)
	}
	return out, nil
}

// kindName is what a kind is in the key of a lease; nothing for none, which comes
// before all.
func kindName(k bill.Kind) string {
	if k == bill.KindNone {
		return ""
	}
	return k.String()
}

// ReturnLeases gives parts of a holder's leases back to their budgets: never more
// than the database knows of them. It may have lost the commit of a lease, and its
// budget would have more to spend than its maximum.
func (s *Store) ReturnLeases(ctx context.Context, holder string, leases []bill.Lease) error {
	_, err := s.giveBack(ctx, holder, leases, false)
	return err
}

// EndLeases gives leases back that are no more and no less than they were when
// their amount was read, and forgets them. It says which of them it ended.
func (s *Store) EndLeases(ctx context.Context, holder string, leases []bill.Lease) ([]bool, error) {
	return s.giveBack(ctx, holder, leases, true)
}

func (s *Store) giveBack(ctx context.Context, holder string, leases []bill.Lease, end bool) ([]bool, error) {
	var ended []bool
	err := s.leaseChange(ctx, func(tx transaction) error {
		ended = make([]bool, len(leases))
		b := &bulk{names: []string{"n", "kind", "id", "win", "amount"}, sorts: []sort{asInt, asText, asText, asText, asInt}}
		for i := range leases {
			b.add(int64(i), leases[i].Kind.String(), kept(leases[i].ID), leases[i].Window, int64(leases[i].Amount))
		}
		source, args, err := b.source(tx.dialect(), []any{holder})
		if err != nil {
			return err
		}
		if !tx.dialect().sqlite { // in the order of everybody who writes to windows
			_, err := tx.exec(ctx, `SELECT 1 FROM sluice.budget_windows AS w JOIN `+source+` ON w.entity_type = v.kind AND w.entity_id = v.id
				AND w.window_duration = v.win WHERE $1::text IS NOT NULL
				ORDER BY w.entity_type, w.entity_id, w.window_duration FOR NO KEY UPDATE OF w`, args)
			if err != nil {
				return err
			}
		}
		const match = "b.holder = $1 AND b.entity_type = v.kind AND b.entity_id = v.id AND b.window_duration = v.win"
		which, part := match, "LEAST(v.amount, GREATEST(b.amount, 0))"
		if tx.dialect().sqlite {
			part = "MIN(v.amount, MAX(b.amount, 0))"
		}
		if end {
			which, part = match+" AND b.amount = v.amount", "b.amount"
		}
		if _, err := tx.exec(ctx, `UPDATE sluice.budget_windows AS w SET leased = w.leased - `+part+` FROM `+source+` JOIN sluice.budget_leases AS b ON `+which+`
			WHERE w.entity_type = v.kind AND w.entity_id = v.id AND w.window_duration = v.win`, args); err != nil {
			return err
		}
		took := func(scan func(...any) error) error {
			var n int64
			err := scan(&n)
			ended[n] = true
			return err
		}
		if err := tx.query(ctx, `SELECT v.n FROM sluice.budget_leases AS b JOIN `+source+` ON `+which, args, took); err != nil {
			return err
		}
		if !end {
			_, err = tx.exec(ctx, `UPDATE sluice.budget_leases AS b SET amount = b.amount - `+part+` FROM `+source+` WHERE `+match, args)
			return err
		}
		_, err = tx.exec(ctx, `DELETE FROM sluice.budget_leases AS b WHERE b.holder = $1 AND EXISTS (SELECT 1 FROM `+source+` WHERE `+which+`)`, args)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("give leases back: %w", err)
	}
	return ended, nil
}

// ReleaseHolder gives back everything that a holder holds: its host's journals
// are shipped, or it is gone for good. It says how much that was, of how many
// budgets. A holder that was released already has nothing.
func (s *Store) ReleaseHolder(ctx context.Context, holder string) (amount money.Nano, leases int, err error) {
	err = s.leaseChange(ctx, func(tx transaction) error {
		amount, leases = 0, 0
		found := false
		const match = "b.entity_type = w.entity_type AND b.entity_id = w.entity_id AND b.window_duration = w.window_duration"
		const taken = "UPDATE sluice.budget_windows AS w SET leased = w.leased - b.amount FROM "
		lock, now := " FOR UPDATE", "clock_timestamp()"
		steps := []string{
			"SELECT 1 FROM sluice.budget_windows AS w JOIN sluice.budget_leases AS b ON " + match +
				" WHERE b.holder = $1 ORDER BY w.entity_type, w.entity_id, w.window_duration FOR NO KEY UPDATE OF w",
			// What is taken is what is removed, whoever has written meanwhile.
			"WITH b AS (DELETE FROM sluice.budget_leases WHERE holder = $1 RETURNING *) " + taken + "b WHERE " + match,
		}
		if tx.dialect().sqlite {
			lock, now = "", "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)"
			steps = []string{taken + "sluice.budget_leases AS b WHERE b.holder = $1 AND " + match, "DELETE FROM sluice.budget_leases WHERE holder = $1"}
		}
		arg := []any{holder}
		err := tx.query(ctx, "SELECT true FROM sluice.lease_holders WHERE holder = $1 AND released_at IS NULL"+lock, arg,
			func(scan func(...any) error) error { return scan(&found) })
		if err != nil || !found {
			return err
		}
		err = tx.query(ctx, "SELECT count(*), CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM sluice.budget_leases WHERE holder = $1", arg,
			func(scan func(...any) error) error { return scan(&leases, &amount) })
		steps = append(steps, "UPDATE sluice.lease_holders SET released_at = "+now+" WHERE holder = $1")
		for i := 0; err == nil && i < len(steps); i++ {
			_, err = tx.exec(ctx, steps[i], arg)
		}
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("release the leases of a host: %w", err)
	}
	return amount, leases, nil
}

// leaseChange runs fn in a transaction, which is no change of the record. It
// runs it again where the database asks for it.
func (s *Store) leaseChange(ctx context.Context, fn func(tx transaction) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for i := 1; ; i++ {
		err := s.leaseOnce(ctx, fn)
		if err == nil || i == leaseTries || !again(err) {
			return err
		}
		if err := Pause(ctx, rand.N(time.Duration(i)*20*time.Millisecond)); err != nil {
			return err
		}
	}
}

func (s *Store) leaseOnce(ctx context.Context, fn func(tx transaction) error) error {
	tx, err := s.leases.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.rollback() // does nothing after a commit
	if err := fn(tx); err != nil {
		return err
	}
	return tx.commit(ctx)
}

// leasePool is how many of a pool's connections are kept for leases; a pool of
// fewer than leasePoolOf is not divided.
const (
	leasePool   = 2
	leasePoolOf = 6
)

// openPools divides the connections of a worker between leases and all else.
func openPools(c Config) (all, leases database, err error) {
	most := cmp.Or(c.Pool, c.Postgres.PoolLimit, postgres.DefaultLimit)
	if most < leasePoolOf {
		all, err = openPostgres(c)
		return all, all, err
	}
	c.Pool = leasePool
	if leases, err = openPostgres(c); err != nil {
		return nil, nil, err
	}
	c.Pool = most - leasePool
	if all, err = openPostgres(c); err != nil {
		leases.close()
		return nil, nil, err
	}
	return all, leases, nil
}
