package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/internal/postgres"
)

// touchEvery is how old last_active gets before it is written anew.
const touchEvery = time.Minute

// TouchKeys says when keys, by their digests, were last used. It is no change:
// there is no audit row and nobody is told. A key is written at most once a
// minute, however many processes see it used; a time before the one that is
// there is left out.
func (s *Store) TouchKeys(ctx context.Context, used map[string]time.Time) error {
	tokens := make([]string, 0, len(used))
	for token := range used {
		tokens = append(tokens, token)
	}
	slices.Sort(tokens) // row locks are taken in one order by all processes
	const most = 1000
	for part := range slices.Chunk(tokens, most) {
		if err := s.touch(ctx, part, used); err != nil {
			return fmt.Errorf("write when keys were used: %w", err)
		}
	}
	return nil
}

func (s *Store) touch(ctx context.Context, tokens []string, used map[string]time.Time) error {
	if s.db.dialect().sqlite {
		type use struct {
			Token string `json:"t"`
			At    int64  `json:"a"`
		}
		uses := make([]use, len(tokens))
		for i, t := range tokens {
			uses[i] = use{t, used[t].UnixMicro()}
		}
		text, err := json.Marshal(uses)
		if err != nil {
			return err
		}
		_, err = s.db.exec(ctx, `UPDATE sluice.keys SET last_active = u.at
			FROM (SELECT json_extract(value, '$.t') AS token, json_extract(value, '$.a') AS at FROM json_each($1)) u
			WHERE keys.token = u.token AND (last_active IS NULL OR last_active <= u.at - $2)`,
			[]any{string(text), touchEvery.Microseconds()})
		return err
	}
	times := make([]time.Time, len(tokens))
	for i, t := range tokens {
		times[i] = used[t].UTC()
	}
	// The rows are locked in order before they are written.
	_, err := s.db.exec(ctx, `WITH u AS (SELECT * FROM unnest($1::text[], $2::timestamptz[]) AS u(token, at)),
		due AS (SELECT k.token, u.at FROM u JOIN sluice.keys k ON k.token = u.token
			WHERE k.last_active IS NULL OR k.last_active <= u.at - interval '1 minute' ORDER BY k.token FOR NO KEY UPDATE OF k)
		UPDATE sluice.keys k SET last_active = due.at FROM due WHERE k.token = due.token`, []any{tokens, times})
	return err
}

// Room compares the connections that all hosts may open, by the formula hosts x
// (workers x pool + 3), with what the server gives. ErrNone where there is no
// server.
func (s *Store) Room(ctx context.Context, hosts, workers int) (postgres.Room, error) {
	db, ok := s.db.(*server)
	if !ok {
		return postgres.Room{}, ErrNone
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	r, err := db.pool.Room(ctx, hosts, workers)
	if s.leases != s.db { // what was kept for leases is part of the limit
		r.Limit += leasePool
		r.Needed += r.Hosts * r.Workers * leasePool
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return r, ctx.Err()
	}
	return r, pgError(err)
}
