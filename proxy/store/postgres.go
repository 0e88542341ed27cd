package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"sluice/internal/postgres"
)

// server is a PostgreSQL database behind a pool.
type server struct {
	pgQuerier
	pool *pgxpool.Pool
}

func openPostgres(c Config) (*server, error) {
	conn, err := c.Postgres.Config(c.Options)
	if err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig("") // only a parsed configuration is accepted
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	pc.ConnConfig = conn
	pc.MaxConns = int32(min(c.Pool, 1000)) //nolint:gosec // bounded
	pc.MinConns, pc.MinIdleConns = 0, 0
	pc.MaxConnLifetime = 5*time.Minute + rand.N(time.Minute) // a demoted primary is left by itself
	pc.MaxConnIdleTime = time.Minute
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, fmt.Errorf("pool: %w", err)
	}
	return &server{pgQuerier: pgQuerier{on: pool}, pool: pool}, nil
}

func (s *server) close() { s.pool.Close() }

func (s *server) begin(ctx context.Context) (transaction, error) {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return nil, pgError(err)
	}
	return &pgTx{pgQuerier: pgQuerier{on: tx}, tx: tx}, nil
}

type pgTx struct {
	pgQuerier
	tx pgx.Tx
}

func (t *pgTx) commit(ctx context.Context) error { return pgError(t.tx.Commit(ctx)) }

func (t *pgTx) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = t.tx.Rollback(ctx)
}

type pgQuerier struct {
	on interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	}
}

func (q pgQuerier) dialect() dialect { return dialect{} }

func (q pgQuerier) query(ctx context.Context, text string, args []any, each func(scan func(...any) error) error) error {
	rows, err := q.on.Query(ctx, text, args...)
	if err != nil {
		return pgError(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return pgError(rows.Err())
}

func (q pgQuerier) exec(ctx context.Context, text string, args []any) (int64, error) {
	tag, err := q.on.Exec(ctx, text, args...)
	if err != nil {
		return 0, pgError(err)
	}
	return tag.RowsAffected(), nil
}

func pgError(err error) error {
	if err == nil {
		return nil
	}
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == "23505" { // unique_violation
		return fmt.Errorf("%w (%s)", ErrExists, e.ConstraintName)
	}
	if k := postgres.Classify(err); k != postgres.Other && k != postgres.None {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// again is true for an error that the same transaction may not meet again.
func again(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}

func jsonMarshal(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
