package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"sluice/proxy/chain"
	"sluice/proxy/identity"
)

// Stretch is a stretch of the record that was moved to a file.
type Stretch = chain.Stretch

// Stretches lists what was moved to files, oldest first.
func (s *Store) Stretches(ctx context.Context) ([]Stretch, error) { return stretches(ctx, s.db) }

func stretches(ctx context.Context, db querier) ([]Stretch, error) {
	var out []Stretch
	err := db.query(ctx, `SELECT first_number, last_number, before_mac, last_mac, file_name, file_digest, archived_at, chain_key, mac
		FROM sluice.change_stretches ORDER BY first_number`, nil, func(scan func(...any) error) error {
		var st Stretch
		err := scan(&st.First, &st.Last, &st.Before, &st.LastMAC, &st.File, &st.Digest, &moment{&st.At}, &st.Key, &st.MAC)
		out = append(out, st)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the archived stretches: %w", err)
	}
	return out, nil
}

// Archive removes a stretch of the record that was moved to a file: all rows
// that are there up to its last one. The caller has verified the rows, written
// the file and synced it; the store fills in At, Key and MAC. The stretch is
// known and noted before its rows go, a batch at a time, so that a run that was
// killed goes on with the rows that it left: Archived does so.
func (s *Store) Archive(ctx context.Context, st Stretch) error {
	if s.c.Chain == nil {
		return errors.New("archive the record: there is no key to chain it with")
	}
	err := s.Change(ctx, Actor{User: "migrator"}, func(tx *Tx) error { return tx.archive(st) })
	if err != nil {
		return fmt.Errorf("archive changes %d to %d: %w", st.First, st.Last, err)
	}
	_, err = s.Archived(ctx)
	return err
}

// archive checks that the stretch is what the record begins with, and notes it.
func (t *Tx) archive(st Stretch) error {
	known, err := stretches(t.ctx, t.tx)
	if err != nil {
		return err
	}
	first, before := int64(1), []byte(nil)
	if n := len(known); n > 0 {
		first, before = known[n-1].Last+1, known[n-1].LastMAC
	}
	if st.First != first || st.Last < st.First || !bytes.Equal(st.Before, before) {
		return fmt.Errorf("it does not follow what was archived before it: the next row is %d", first)
	}
	if st.Last >= t.number {
		return fmt.Errorf("the newest row, %d, stays", t.number)
	}
	var mac []byte
	var rows int64
	err = t.tx.query(t.ctx, "SELECT count(*) FROM sluice.changes WHERE number BETWEEN $1 AND $2", []any{st.First, st.Last},
		func(scan func(...any) error) error { return scan(&rows) })
	if err == nil {
		err = t.tx.query(t.ctx, "SELECT chain_mac FROM sluice.changes WHERE number = $1", []any{st.Last},
			func(scan func(...any) error) error { return scan(&mac) })
	}
	if err != nil {
		return err
	}
	if rows != st.Last-st.First+1 || len(mac) == 0 || !bytes.Equal(mac, st.LastMAC) {
		return errors.New("the rows are not those of the file")
	}
	if err := t.chainKey(); err != nil {
		return err
	}
	st.At, st.Key = t.now, t.chain.id
	st.MAC = st.Sum(t.chain.key)
	_, err = t.tx.exec(t.ctx, `INSERT INTO sluice.change_stretches
		(first_number, last_number, before_mac, last_mac, file_name, file_digest, archived_at, chain_key, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		[]any{st.First, st.Last, st.Before, st.LastMAC, st.File, st.Digest, t.tx.dialect().time(st.At), st.Key, st.MAC})
	if err != nil {
		return err
	}
	return t.Note(Archived, identity.KindArchive, fmt.Sprintf("%d-%d", st.First, st.Last), nil, map[string]any{
		"first": st.First, "last": st.Last, "file": st.File, "sha256": fmt.Sprintf("%x", st.Digest),
	})
}

// Archived removes the rows of stretches that are known as archived, in batches
// of their own, and returns how many were left.
func (s *Store) Archived(ctx context.Context) (removed int64, err error) {
	known, err := s.Stretches(ctx)
	if err != nil || len(known) == 0 {
		return 0, err
	}
	const batch = 2000
	last := known[len(known)-1].Last
	for {
		n, err := s.db.exec(ctx, `DELETE FROM sluice.changes WHERE number IN
			(SELECT number FROM sluice.changes WHERE number <= $1 ORDER BY number LIMIT $2)`, []any{last, int64(batch)})
		removed += n
		if err != nil {
			return removed, fmt.Errorf("remove archived changes: %w", err)
		}
		if n < batch {
			return removed, nil
		}
	}
}
