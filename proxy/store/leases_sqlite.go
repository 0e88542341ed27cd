package store

import (
	"context"
	"fmt"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// lease on SQLite is a transaction that has the file to itself.
func (f *file) lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error) {
	tx, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	out := make([]bill.Granted, len(asks))
	for try := 1; ; try++ {
		if err := seed(ctx, tx, asks); err != nil {
			return nil, err
		}
		granted, err := f.grants(ctx, tx, holder, asks, out)
		if err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		if len(granted.rows) < len(asks) && try == 1 { // windows are missing that were there once
			asks = asFirst(asks)
			continue
		}
		if err := writeGranted(ctx, tx, holder, granted); err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		if err := tx.commit(ctx); err != nil {
			return nil, fmt.Errorf("lease: %w", err)
		}
		return out, nil
	}
}

// grants decides what is granted, by the windows as they are.
func (*file) grants(ctx context.Context, tx transaction, holder string, asks []bill.LeaseAsk, out []bill.Granted) (*bulk, error) {
	source, args, err := leaseAsks(tx.dialect(), asks).source(tx.dialect(), []any{holder})
	if err != nil {
		return nil, err
	}
	granted := &bulk{names: []string{"kind", "id", "win", "amount", "spend", "start"}, sorts: []sort{asText, asText, asText, asInt, asInt, asTime}}
	err = tx.query(ctx, `SELECT v.n, w.spend, w.leased, COALESCE(b.amount, 0), w.window_start, v.start, `+toCome(true, "w.window_start")+`, `+toCome(true, "v.start")+`,
			EXISTS (SELECT 1 FROM sluice.lease_holders h WHERE h.holder = $1 AND h.released_at IS NOT NULL)
		FROM `+source+` JOIN sluice.budget_windows AS w ON w.entity_type = v.kind AND w.entity_id = v.id AND w.window_duration = v.win
		LEFT JOIN sluice.budget_leases AS b ON b.holder = $1 AND b.entity_type = v.kind AND b.entity_id = v.id AND b.window_duration = v.win`,
		args, func(scan func(...any) error) error {
			var n, spend, leased, held, was, start int64
			var wrong, later, gone bool
			if err := scan(&n, &spend, &leased, &held, &was, &start, &wrong, &later, &gone); err != nil {
				return err
			}
			if gone {
				return ErrReleased
			}
			switch { // as leaseSQL has it
			case later:
			case wrong:
				was = start
			case was < start:
				spend, was = 0, start
			}
			a := &asks[n]
			x := grant(int64(a.Max), spend, leased, int64(a.Least), int64(a.Want))
			out[n] = bill.Granted{Amount: money.Nano(x), Spend: money.Nano(spend), Leased: money.Nano(leased + x), Held: money.Nano(held + x)}
			granted.add(a.Kind.String(), kept(a.ID), a.Window, x, spend, was)
			return nil
		})
	return granted, err
}

// grant is how much of a budget is granted.
func grant(maximum, spend, leased, least, want int64) int64 {
	room := maximum - spend - leased
	if room < least {
		return 0
	}
	return min(room, max(least, min(room/grantPart, want)))
}

func writeGranted(ctx context.Context, tx transaction, holder string, granted *bulk) error {
	source, args, err := granted.source(tx.dialect(), []any{holder})
	if err != nil {
		return err
	}
	if _, err := tx.exec(ctx, `UPDATE sluice.budget_windows AS w SET leased = w.leased + v.amount, spend = v.spend, window_start = v.start
		FROM `+source+` WHERE w.entity_type = v.kind AND w.entity_id = v.id AND w.window_duration = v.win AND $1 = $1`, args); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO sluice.budget_leases (holder, entity_type, entity_id, window_duration, amount, taken_at)
		SELECT $1, v.kind, v.id, v.win, v.amount, CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER) FROM `+source+` WHERE v.amount <> 0
		ON CONFLICT (holder, entity_type, entity_id, window_duration)
			DO UPDATE SET amount = budget_leases.amount + excluded.amount, taken_at = excluded.taken_at`, args)
	return err
}
