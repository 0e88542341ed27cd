package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sluice/proxy/chain"
)

// mostUnchained is how many rows without a code one change chains before its
// own. More are there only after an update of a release that did not chain, and
// ChainUp does those.
const mostUnchained = 1000

// ErrUnchained refuses a change while the record is being chained. It is an
// ErrAway: trying again later helps.
var ErrUnchained = fmt.Errorf("the record of changes is being chained after an update, try again shortly: %w", ErrAway)

// chainState is how far the record is chained, and with what it is.
type chainState struct {
	number int64 // of the last row that has a code
	mac    []byte

	ready bool // the fields below are there, and number is that of the last row
	id    string
	key   [32]byte
}

// link gives a row its code, and those before it that have none. Without a key
// in the configuration rows stay as they are.
func (t *Tx) link(r *chain.Row) error {
	if t.s.c.Chain == nil || t.s.unlocked != nil {
		return nil
	}
	c := &t.chain
	if !c.ready {
		if r.Number-1-c.number > mostUnchained {
			return ErrUnchained
		}
		if err := t.chainKey(); err != nil {
			return err
		}
		if c.number < r.Number-1 {
			if _, err := t.chainRows(mostUnchained); err != nil {
				return err
			}
		}
		c.ready = true
	}
	if c.number != r.Number-1 {
		return fmt.Errorf("the record of changes cannot be chained: change %d follows change %d, whose row is missing; "+
			"run migrator audit verify", r.Number, c.number)
	}
	r.Key = c.id
	r.MAC = chain.MAC(c.key, c.mac, r)
	c.number, c.mac = r.Number, r.MAC
	return nil
}

// chainWait is how long a change waits for the key of the chain: a process that
// was born while the database was away learns just after its return that it has
// the right one.
const chainWait = time.Second

// awaitChain waits for a key of the chain, before anything is locked. Without
// one the first row of the record is refused.
func (s *Store) awaitChain(ctx context.Context) {
	if s.c.Chain == nil {
		return
	}
	for began := time.Now(); time.Since(began) < chainWait; {
		if _, _, err := s.c.Chain(); err == nil || Pause(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

func (t *Tx) chainKey() (err error) {
	if t.chain.id, t.chain.key, err = t.s.c.Chain(); err != nil {
		return fmt.Errorf("the change cannot be audited: %w", err)
	}
	return nil
}

// chainRows gives codes to rows of the database that have none, oldest first.
func (t *Tx) chainRows(most int) (int, error) {
	c := &t.chain
	var rows []chain.Row
	err := readRecord(t.ctx, t.tx, c.number, most, &rows)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	out := &bulk{names: []string{"number", "mac"}, sorts: []sort{asInt, asBytes}}
	for i := range rows {
		r := &rows[i]
		if r.Number != c.number+1 || r.MAC != nil {
			return 0, fmt.Errorf("the record of changes cannot be chained: row %d does not fit after row %d; run migrator audit verify",
				r.Number, c.number)
		}
		r.Key = c.id
		r.MAC = chain.MAC(c.key, c.mac, r)
		c.number, c.mac = r.Number, r.MAC
		out.add(r.Number, r.MAC)
	}
	source, args, err := out.source(t.tx.dialect(), []any{c.id})
	if err != nil {
		return 0, err
	}
	n, err := t.tx.exec(t.ctx, "UPDATE sluice.changes SET chain_key = $1, chain_mac = v.mac FROM "+source+
		" WHERE changes.number = v.number", args)
	if err == nil && n != int64(len(rows)) {
		err = fmt.Errorf("%d of %d rows were there", n, len(rows))
	}
	if err != nil {
		return 0, fmt.Errorf("chain the record of changes: %w", err)
	}
	t.s.c.Log.Warn("rows of the record had no code and have one now; unless an earlier release wrote them, somebody else did",
		slog.Int64("first", rows[0].Number), slog.Int64("last", c.number))
	return len(rows), nil
}

// ChainUp chains the rows that an earlier release has written, in batches
// between which others may change something. It returns how many it chained.
// It writes nothing where nothing is to be done.
func (s *Store) ChainUp(ctx context.Context) (done int, err error) {
	if s.c.Chain == nil {
		return 0, nil
	}
	for failed := 0; ; {
		head, err := s.ChainHead(ctx)
		if err == nil && head.Chained >= head.Number {
			return done, nil
		}
		n := 0
		if err == nil {
			n, err = s.chainBatch(ctx)
		}
		done += n
		switch {
		case err == nil:
			failed = 0
			err = Pause(ctx, 2*time.Millisecond) // those who wait for the head come first
		case again(err) && failed < 5:
			failed++
			err = Pause(ctx, 20*time.Millisecond)
		}
		if err != nil {
			return done, err
		}
	}
}

func (s *Store) chainBatch(ctx context.Context) (int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	db, err := s.db.begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("begin to chain: %w", err)
	}
	defer db.rollback()
	t := &Tx{s: s, ctx: ctx, tx: db}
	if err := t.takeNumber(); err != nil {
		return 0, fmt.Errorf("lock the change head: %w", err)
	}
	if err := t.chainKey(); err != nil {
		return 0, err
	}
	n, err := t.chainRows(mostUnchained)
	if err != nil || n == 0 {
		if err == nil && t.chain.number < t.number {
			err = fmt.Errorf("the record of changes cannot be chained: row %d is missing; run migrator audit verify", t.chain.number+1)
		}
		return 0, err
	}
	_, err = db.exec(ctx, "UPDATE sluice.change_head SET chained = $1, chain_mac = $2 WHERE id = 1", []any{t.chain.number, t.chain.mac})
	if err == nil {
		err = db.commit(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("chain the record of changes: %w", err)
	}
	return n, nil
}

// Head is the end of the record of changes.
type Head struct {
	Number  int64     // of the newest change
	Chained int64     // of the newest row that has a code; 0: none has
	MAC     []byte    // of that row
	Key     string    // id of the sealing key that MAC was made under
	At      time.Time // of that row
}

// ChainHead reads the end of the record.
func (s *Store) ChainHead(ctx context.Context) (Head, error) {
	var h Head
	var key *string
	err := s.db.query(ctx, `SELECT h.number, h.chained, h.chain_mac, c.chain_key, c.at FROM sluice.change_head h
		LEFT JOIN sluice.changes c ON c.number = h.chained WHERE h.id = 1`, nil, func(scan func(...any) error) error {
		return scan(&h.Number, &h.Chained, &h.MAC, &key, &moment{&h.At})
	})
	if err != nil {
		return h, fmt.Errorf("read the change head: %w", err)
	}
	if key != nil {
		h.Key = *key
	}
	return h, nil
}

// Record hands over the rows of the record whose numbers are greater than
// after, in the order of their numbers, until the end or an error of fn, which
// it returns as it is. Rows that are archived are not among them. It may take
// as long as it has to: only each page has a deadline.
func (s *Store) Record(ctx context.Context, after int64, fn func(chain.Row) error) error {
	const page, tries = 250, 3
	var rows []chain.Row
	for {
		var err error
		for range tries {
			rows = rows[:0]
			err = readRecord(ctx, s.db, after, page, &rows)
			if err == nil || !errors.Is(err, errHalfRead) {
				break
			}
		}
		if err != nil {
			return err
		}
		for i := range rows {
			if err := fn(rows[i]); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
		after = rows[len(rows)-1].Number
	}
}

func readRecord(ctx context.Context, db querier, after int64, limit int, rows *[]chain.Row) error {
	err := db.query(ctx, `SELECT number, at, actor, actor_key, claimed_actor, action, object_type, object_id, before_value, after_value,
			source, request_id, host, reason, chain_key, chain_mac
		FROM sluice.changes WHERE number > $1 ORDER BY number LIMIT $2`, []any{after, int64(limit)},
		func(scan func(...any) error) error {
			var r chain.Row
			err := scan(&r.Number, &moment{&r.At}, &r.Actor, &r.ActorKey, &r.ClaimedActor, &r.Action, &r.ObjectType, &r.ObjectID,
				&letters{(*json.RawMessage)(&r.Before)}, &letters{(*json.RawMessage)(&r.After)}, &r.Source, &r.RequestID, &r.Host, &r.Reason, &r.Key, &r.MAC)
			*rows = append(*rows, r)
			return err
		})
	if err != nil {
		return fmt.Errorf("read the record of changes: %w", err)
	}
	return nil
}
