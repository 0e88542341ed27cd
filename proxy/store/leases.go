package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// ErrReleased refuses a lease to a holder whose leases were given back because
// its host was taken for gone.
var ErrReleased = errors.New("the leases of this host were released")

// grantPart is which part of what is left of a budget a lease is at most.
const grantPart = 10

// Lease grants the holder a part of what is left of budgets: of each at least
// Least, or nothing. All hosts together never get more than a budget's Max less
// what was spent: rows of a window are locked in one order, beside those that
// ship. The answers are in the order of asks. Nobody knows whether anything was
// granted when the connection breaks; what was granted and is not used is given
// back with the rest.
func (s *Store) Lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for i := 1; ; i++ {
		out, err := s.leases.lease(ctx, holder, asks)
		if err == nil || i == leaseTries || !again(err) {
			return out, err
		}
		if err := Pause(ctx, rand.N(time.Duration(i)*10*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

const leaseTries = 5

// leaseAsks is asks as rows v, in the order in which their windows are locked.
func leaseAsks(d dialect, asks []bill.LeaseAsk) *bulk {
	b := &bulk{
		names: []string{"n", "kind", "id", "win", "start", "most", "minimum", "want"},
		sorts: []sort{asInt, asText, asText, asText, asTime, asInt, asInt, asInt},
	}
	order := make([]int, len(asks))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int {
		a, b := &asks[x], &asks[y]
		return cmp.Or(strings.Compare(a.Kind.String(), b.Kind.String()), strings.Compare(kept(a.ID), text(b.ID)), strings.Compare(a.Window, b.Window))
	})
	for _, i := range order {
		a := &asks[i]
		b.add(int64(i), a.Kind.String(), kept(a.ID), a.Window, d.time(time.Unix(a.Start, 0)), int64(a.Max), int64(a.Least), int64(a.Want))
	}
	return b
}

// grantSQL is grant as an expression over l.
const grantSQL = `CASE WHEN l.most - l.spend - l.leased < l.minimum THEN 0
	ELSE LEAST(l.most - l.spend - l.leased, GREATEST(l.minimum, LEAST((l.most - l.spend - l.leased) / 10, l.want))) END`

// leaseSQL locks the windows in order and grants, in one statement: what an
// update sees of a row that was locked before is the row as it was locked. No
// window begins before its time, and one that a clock which was ahead has begun is
// the one that is asked for, with what was spent in it.
var leaseSQL = `asked AS MATERIALIZED (SELECT * FROM %s),
	locked AS MATERIALIZED (SELECT a.n, w.entity_type, w.entity_id, w.window_duration, w.leased, a.start, a.most, a.minimum, a.want,
			CASE WHEN w.window_start < a.start AND NOT ` + toCome(false, "a.start") + ` THEN 0 ELSE w.spend END AS spend
		FROM asked a JOIN sluice.budget_windows w ON w.entity_type = a.kind AND w.entity_id = a.id AND w.window_duration = a.win
		WHERE NOT EXISTS (SELECT 1 FROM sluice.lease_holders h WHERE h.holder = $1 AND h.released_at IS NOT NULL)
		ORDER BY w.entity_type, w.entity_id, w.window_duration FOR NO KEY UPDATE OF w),
	granted AS MATERIALIZED (SELECT l.*, ` + grantSQL + ` AS amount FROM locked l),
	written AS (UPDATE sluice.budget_windows w SET leased = w.leased + g.amount, spend = g.spend,
			window_start = CASE WHEN ` + toCome(false, "g.start") + ` THEN w.window_start WHEN ` + toCome(false, "w.window_start") + ` THEN g.start
				ELSE GREATEST(w.window_start, g.start) END
		FROM granted g WHERE w.entity_type = g.entity_type AND w.entity_id = g.entity_id AND w.window_duration = g.window_duration
			AND (g.amount <> 0 OR w.window_start < g.start OR ` + toCome(false, "w.window_start") + `) RETURNING 1),
	held AS (INSERT INTO sluice.budget_leases AS b (holder, entity_type, entity_id, window_duration, amount, taken_at)
		SELECT $1, entity_type, entity_id, window_duration, amount, clock_timestamp() FROM granted WHERE amount <> 0
		ORDER BY entity_type, entity_id, window_duration
		ON CONFLICT (holder, entity_type, entity_id, window_duration)
			DO UPDATE SET amount = b.amount + excluded.amount, taken_at = excluded.taken_at
		RETURNING entity_type, entity_id, window_duration, amount)
	SELECT g.n, g.amount, g.spend, g.leased + g.amount, COALESCE(h.amount, b.amount, 0), (SELECT count(*) FROM written)
	FROM granted g LEFT JOIN held h USING (entity_type, entity_id, window_duration)
		LEFT JOIN sluice.budget_leases b ON b.holder = $1 AND b.entity_type = g.entity_type AND b.entity_id = g.entity_id
			AND b.window_duration = g.window_duration`

func (s *server) lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error) {
	if err := seed(ctx, s, asks); err != nil {
		return nil, err
	}
	out := make([]bill.Granted, len(asks))
	for try := 1; ; try++ {
		source, args, err := leaseAsks(dialect{}, asks).source(dialect{}, []any{holder})
		if err != nil {
			return nil, err
		}
		found := 0
		err = s.once(ctx, "WITH "+fmt.Sprintf(leaseSQL, source), args, func(scan func(...any) error) error {
			var n, written int64
			var g bill.Granted
			err := scan(&n, &g.Amount, &g.Spend, &g.Leased, &g.Held, &written)
			if err == nil && n >= 0 && n < int64(len(out)) {
				out[n] = g
				found++
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		if found == len(asks) {
			return out, nil
		}
		if try == 2 {
			return nil, s.released(ctx, holder)
		}
		if err := seed(ctx, s, asFirst(asks)); err != nil { // windows are missing that were there once
			return nil, err
		}
	}
}

// asFirst is asks as if nobody had asked for these budgets before.
func asFirst(asks []bill.LeaseAsk) []bill.LeaseAsk {
	all := slices.Clone(asks)
	for i := range all {
		all[i].First = true
	}
	return all
}

// released says why nothing was leased.
func (s *server) released(ctx context.Context, holder string) error {
	gone := false
	err := s.query(ctx, "SELECT true FROM sluice.lease_holders WHERE holder = $1 AND released_at IS NOT NULL", []any{holder},
		func(scan func(...any) error) error { return scan(&gone) })
	switch {
	case err != nil:
		return err
	case gone:
		return ErrReleased
	}
	return errors.New("lease: a window of a budget is removed again and again")
}

// once runs a statement that writes and returns rows. It is not run again: what
// became of it is not known when the connection breaks.
func (s *server) once(ctx context.Context, sql string, args []any, each func(scan func(...any) error) error) error {
	return pgError(s.pool.Do(ctx, func(conn *pgx.Conn) error { return pgQuery(ctx, conn, sql, args, each) }))
}

// FirstPast notes that a soft budget was passed in the window of an account, and
// says whether nobody had noted it: of all hosts one hears that it is the first.
func (s *Store) FirstPast(ctx context.Context, a bill.Account, soft money.Nano) (bool, error) {
	n, err := s.leases.exec(ctx, `UPDATE sluice.budget_windows SET told_from = $4, told_soft = $5 WHERE entity_type = $1 AND entity_id = $2
			AND window_duration = $3 AND (told_from IS NULL OR told_from <> $4 OR told_soft <> $5)`,
		[]any{a.Kind.String(), kept(a.ID), a.Window, s.leases.dialect().time(time.Unix(a.Start, 0)), int64(soft)})
	if err != nil {
		return false, fmt.Errorf("note that a soft budget is exceeded: %w", err)
	}
	return n == 1, nil
}
