package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// file is a SQLite database: one connection that writes, several that read.
type file struct {
	sqliteQuerier
	reading, writing *sql.DB
	still            stillness
	path             string

	shipMu       sync.Mutex // held by who ships
	shipper      *fileConn  // nil: nothing has been shipped
	mostContexts int64
}

// openSQLite opens nothing yet. Every transaction is immediate: two deferred ones
// that both want to write end in SQLITE_BUSY, whatever the busy timeout.
func openSQLite(c Config) (*file, error) {
	open := func(busy time.Duration) (*sql.DB, error) {
		dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: c.SQLite}).EscapedPath(), RawQuery: url.Values{
			"_pragma": {
				fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "journal_mode(WAL)", "synchronous(NORMAL)",
				"foreign_keys(1)", "cache_size(-512)",
			},
			"_txlock": {"immediate"},
			"mode":    {"rw"}, // the migrator makes it
		}.Encode()}).String()
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", c.SQLite, err)
		}
		return db, nil
	}
	reading, err := open(time.Second) // the log lets it wait for nothing but a recovery
	if err != nil {
		return nil, err
	}
	writing, err := open(busyWait)
	if err != nil {
		return nil, err
	}
	reading.SetMaxOpenConns(2)
	reading.SetMaxIdleConns(1)
	writing.SetMaxOpenConns(1)
	writing.SetConnMaxIdleTime(time.Minute) // the one that reads keeps the log from being removed
	return &file{
		sqliteQuerier: sqliteQuerier{on: reading}, reading: reading, writing: writing, still: stillness{path: c.SQLite}, path: c.SQLite,
		mostContexts: mostContexts,
	}, nil
}

func (*file) reached() {}

func (f *file) close() {
	_ = f.reading.Close()
	_ = f.writing.Close()
	f.shipMu.Lock()
	defer f.shipMu.Unlock()
	if f.shipper != nil {
		f.shipper.close()
		f.shipper = nil
	}
}

// begin waits for other processes that write until ctx ends: SQLite's own wait
// heeds no context, so it is kept short and repeated.
func (f *file) begin(ctx context.Context) (transaction, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := f.writing.Conn(ctx) // one writer of this process at a time
	for err == nil {
		// The transaction outlives this context, which would end it.
		tx, begun := conn.BeginTx(context.WithoutCancel(ctx), nil)
		if begun == nil {
			return &sqliteTx{sqliteQuerier: sqliteQuerier{on: tx}, tx: tx, conn: conn}, nil
		}
		if err = begun; isBusy(err) && Pause(ctx, rand.N(2*busyWait)) == nil {
			err = nil
		}
	}
	if conn != nil {
		_ = conn.Close()
	}
	return nil, sqliteError(err)
}

// busyWait is how long SQLite itself waits for another process that writes.
const busyWait = 20 * time.Millisecond

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func (f *file) batch(ctx context.Context, statements []statement, _ bool) error {
	for _, st := range statements {
		if err := f.query(ctx, st.sql, st.args, st.each); err != nil {
			return err
		}
	}
	return nil
}

// listen: processes that share a file see each other's changes by polling.
func (*file) listen(context.Context, func()) error { return ErrNone }

// sqliteTx is a transaction on the connection that writes, which it holds.
type sqliteTx struct {
	sqliteQuerier
	tx   *sql.Tx
	conn *sql.Conn
}

func (t *sqliteTx) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return sqliteError(err)
	}
	err := t.tx.Commit()
	_ = t.conn.Close()
	return sqliteError(err)
}

func (t *sqliteTx) rollback() {
	_ = t.tx.Rollback()
	_ = t.conn.Close()
}

// sqliteQuerier is a pool or a transaction.
type sqliteQuerier struct {
	on interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
}

func (q sqliteQuerier) dialect() dialect { return dialect{sqlite: true} }

func (q sqliteQuerier) query(ctx context.Context, text string, args []any, each func(scan func(...any) error) error) error {
	rows, err := q.on.QueryContext(ctx, translate(text), args...)
	if err != nil {
		return sqliteError(err)
	}
	defer rows.Close() //nolint:errcheck // what it would say, Err has said
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return sqliteError(rows.Err())
}

func (q sqliteQuerier) exec(ctx context.Context, text string, args []any) (int64, error) {
	r, err := q.on.ExecContext(ctx, translate(text), args...)
	if err != nil {
		return 0, sqliteError(err)
	}
	return r.RowsAffected()
}

var (
	translated   sync.Map // statement of PostgreSQL → of SQLite
	translations atomic.Int32
)

// translate turns a statement into SQLite's words: no schema, parameters ?1.
// Statements hold no text of callers, so plain replacing is enough.
func translate(text string) string {
	if t, ok := translated.Load(text); ok {
		return t.(string)
	}
	b := []byte(strings.ReplaceAll(text, "sluice.", ""))
	for i := range len(b) - 1 {
		if b[i] == '$' && '0' <= b[i+1] && b[i+1] <= '9' { // not the $. of a path in a document
			b[i] = '?'
		}
	}
	t := string(b)
	if translations.Add(1) <= 1000 { // conditions of callers make statements of any shape
		translated.Store(text, t)
	}
	return t
}

func sqliteError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w (%w)", ErrExists, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	return err
}

// jsonList is a list of texts as one argument.
func jsonList(values []string) (string, error) {
	if values == nil {
		return "[]", nil
	}
	text, err := json.Marshal(values)
	return string(text), err
}
