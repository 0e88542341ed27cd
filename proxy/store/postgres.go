package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"sluice/internal/postgres"
)

// Deadlines of what the configuration leaves open.
const (
	queryTime       = 10 * time.Second // of a caller who has none
	statementTime   = 15 * time.Second // the server's view of one statement
	lockTime        = 5 * time.Second  // for the change head, mostly
	transactionIdle = 10 * time.Second // a stopped process gives the change head back
	commitTime      = 5 * time.Second
)

// server is a PostgreSQL database behind a pool.
type server struct {
	pool    *postgres.Pool
	options postgres.Options

	// writing has room for one transaction. The whole cluster writes one after
	// the other, so a second one would but hold a connection while it waits for
	// the change head, and a few of them all that lookups need, here or in the
	// pooler.
	writing chan struct{}

	spare spare // of shipping
}

func openPostgres(c Config) (*server, error) {
	o := c.Options
	if o.StatementTimeout == 0 {
		o.StatementTimeout = c.Postgres.SocketTimeout()
	}
	for _, t := range []struct {
		to   *time.Duration
		time time.Duration
	}{{&o.StatementTimeout, statementTime}, {&o.LockTimeout, lockTime}, {&o.IdleInTransaction, transactionIdle}} {
		if *t.to == 0 {
			*t.to = t.time
		}
	}
	if o.Application == "" {
		o.Application = "sluice proxy"
	}
	pool, err := postgres.NewPool(c.Postgres, postgres.PoolConfig{Options: o, Limit: c.Pool, Wait: c.Wait, Idle: c.Idle})
	if err != nil {
		return nil, err
	}
	return &server{pool: pool, options: o, writing: make(chan struct{}, 1)}, nil
}

func (s *server) close() { s.pool.Close() }

func (s *server) reached() { s.pool.Reached() }

func (s *server) dialect() dialect { return dialect{} }

// reads runs what only reads, and once more where the connection turns out to be
// broken or to rely on what a pooler does not keep.
func (s *server) reads(ctx context.Context, fn func(conn *pgx.Conn) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := s.pool.Do(ctx, fn)
	if err != nil && postgres.Again(err) && ctx.Err() == nil {
		err = s.pool.Do(ctx, fn)
	}
	return pgError(err)
}

// bounded gives a deadline to a context that has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, queryTime)
}

func (s *server) query(ctx context.Context, text string, args []any, each func(scan func(...any) error) error) error {
	rows := 0
	return s.reads(ctx, func(conn *pgx.Conn) error {
		if rows > 0 {
			return errHalfRead
		}
		return pgQuery(ctx, conn, text, args, func(scan func(...any) error) error {
			rows++
			return each(scan)
		})
	})
}

// errHalfRead: rows were handed over already, reading again would double them.
var errHalfRead = fmt.Errorf("the connection broke while rows were read: %w", ErrAway)

func (s *server) exec(ctx context.Context, text string, args []any) (int64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var n int64
	err := s.pool.Do(ctx, func(conn *pgx.Conn) error {
		tag, err := conn.Exec(ctx, text, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, pgError(err)
}

// batch can have its statements planned once per connection, not for each
// execution: they find rows by unique ids, so that no plan is better than the
// one for any ids, and planning would take longer than all the rest (2.1 ms
// instead of 0.8 ms for a key of 1,000,000). The setting is that of this batch,
// which is one transaction; a pooler keeps no plans.
func (s *server) batch(ctx context.Context, statements []statement, planned bool) error {
	planned = planned && !s.pool.Bouncer()
	rows := 0
	return s.reads(ctx, func(conn *pgx.Conn) error {
		if rows > 0 {
			return errHalfRead
		}
		b := &pgx.Batch{}
		if planned {
			b.Queue("SET plan_cache_mode = force_generic_plan")
		}
		for _, st := range statements {
			b.Queue(st.sql, st.args...)
		}
		if planned {
			b.Queue("RESET plan_cache_mode")
		}
		results := conn.SendBatch(ctx, b)
		err := readBatch(results, statements, planned, &rows)
		if closed := results.Close(); err == nil {
			err = closed
		}
		return err
	})
}

func readBatch(results pgx.BatchResults, statements []statement, planned bool, rows *int) error {
	if planned {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	for _, st := range statements {
		found, err := results.Query()
		if err != nil {
			return err
		}
		err = drain(found, func(scan func(...any) error) error {
			*rows++
			return st.each(scan)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listen hears of changes on a connection of its own.
func (s *server) listen(ctx context.Context, notify func()) error {
	if s.pool.Bouncer() {
		return ErrNone
	}
	conn, err := s.pool.Open(ctx, s.options.Application+" listen")
	if err != nil {
		return pgError(err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if conn.Config().RuntimeParams["lock_timeout"] == "" { // a pooler took our settings away: it would take the session too
		return ErrNone
	}
	if _, err := conn.Exec(ctx, "LISTEN sluice_changes"); err != nil {
		return pgError(fmt.Errorf("listen: %w", err))
	}
	for {
		notify() // the first time for what came before
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return pgError(fmt.Errorf("wait for a notification: %w", err))
		}
	}
}

func (s *server) begin(ctx context.Context) (transaction, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, pgError(fmt.Errorf("wait for the changes before this one: %w", ctx.Err()))
	}
	for try := 1; ; try++ {
		tx, err := s.beginOnce(ctx)
		if err == nil {
			return tx, nil
		}
		if try == 2 || !postgres.Again(err) || ctx.Err() != nil { // nothing was written yet: a dead connection costs nothing
			<-s.writing
			return nil, pgError(err)
		}
	}
}

func (s *server) beginOnce(ctx context.Context) (*pgTx, error) {
	conn, err := s.pool.Take(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	err = postgres.Standby(err)
	if err == nil && s.pool.Bouncer() { // the session's settings are not ours there
		o := s.options
		_, err = tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
			set_config('idle_in_transaction_session_timeout', $3, true)`,
			millis(o.StatementTimeout), millis(o.LockTimeout), millis(o.IdleInTransaction))
	}
	if err != nil {
		_ = s.pool.Note(err)
		if tx != nil {
			_ = tx.Rollback(ctx)
		}
		conn.Release()
		return nil, err
	}
	return &pgTx{pool: s.pool, conn: conn, tx: tx, writing: s.writing}, nil
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// pgTx is a transaction on a connection that it holds.
type pgTx struct {
	pool *postgres.Pool
	conn *pgxpool.Conn
	tx   pgx.Tx
	done bool

	writing <-chan struct{} // gives the server's room for a transaction back; nil: it took none
}

func (t *pgTx) dialect() dialect { return dialect{} }

func (t *pgTx) query(ctx context.Context, text string, args []any, each func(scan func(...any) error) error) error {
	return pgError(t.pool.Note(pgQuery(ctx, t.tx, text, args, each)))
}

func (t *pgTx) exec(ctx context.Context, text string, args []any) (int64, error) {
	tag, err := t.tx.Exec(ctx, text, args...)
	return tag.RowsAffected(), pgError(t.pool.Note(err))
}

// commit is not given up when the caller is: then nobody would know whether it
// took place.
func (t *pgTx) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return pgError(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	err := t.pool.Note(t.tx.Commit(ctx))
	t.release()
	return pgError(err)
}

func (t *pgTx) rollback() {
	if t.done {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = t.tx.Rollback(ctx)
	t.release()
}

func (t *pgTx) release() {
	if !t.done {
		t.done = true
		t.conn.Release()
		if t.writing != nil {
			<-t.writing
		}
	}
}

func pgQuery(ctx context.Context, on interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, text string, args []any, each func(scan func(...any) error) error,
) error {
	rows, err := on.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	return drain(rows, each)
}

func drain(rows pgx.Rows, each func(scan func(...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// pgError gives an error of the driver the meaning that callers act on.
func pgError(err error) error {
	if err == nil || errors.Is(err, ErrAway) || errors.Is(err, ErrInvalid) {
		return err
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch {
		case e.Code == "23505": // unique_violation
			return fmt.Errorf("%w (%s)", ErrExists, e.ConstraintName)
		case strings.HasPrefix(e.Code, "22"), strings.HasPrefix(e.Code, "54"): // data exception, program limit exceeded
			return fmt.Errorf("%w: %s", ErrInvalid, e.Message)
		}
	}
	if k := postgres.Classify(err); k != postgres.Other && k != postgres.None {
		return fmt.Errorf("%w: %s: %w", ErrAway, k, err)
	}
	return err
}

// again is true for an error that the same transaction may not meet again.
func again(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
