package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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
}

// Every transaction is immediate: two deferred ones that both want to write
// end in SQLITE_BUSY, whatever the busy timeout.
func openSQLite(c Config) (*file, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: c.SQLite}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(1)", "cache_size(-512)"},
		"_txlock": {"immediate"},
		"mode":    {"rw"}, // the migrator makes it
	}.Encode()}).String()
	reading, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.SQLite, err)
	}
	reading.SetMaxOpenConns(2)
	reading.SetMaxIdleConns(1)
	writing, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", c.SQLite, err)
	}
	writing.SetMaxOpenConns(1)
	writing.SetConnMaxIdleTime(time.Minute) // the one that reads keeps the log from being removed
	return &file{sqliteQuerier: sqliteQuerier{on: reading}, reading: reading, writing: writing, still: stillness{path: c.SQLite}}, nil
}

func (f *file) close() {
	_ = f.reading.Close()
	_ = f.writing.Close()
}

func (f *file) begin(ctx context.Context) (transaction, error) {
	tx, err := f.writing.BeginTx(ctx, nil)
	if err != nil {
		return nil, sqliteError(err)
	}
	return &sqliteTx{sqliteQuerier: sqliteQuerier{on: tx}, tx: tx}, nil
}

func (f *file) batch(ctx context.Context, statements []statement) error {
	for _, st := range statements {
		if err := f.query(ctx, st.sql, st.args, st.each); err != nil {
			return err
		}
	}
	return nil
}

// listen: processes that share a file see each other's changes by polling.
func (*file) listen(context.Context, func()) error { return ErrNone }

type sqliteTx struct {
	sqliteQuerier
	tx *sql.Tx
}

func (t *sqliteTx) commit(context.Context) error { return sqliteError(t.tx.Commit()) }
func (t *sqliteTx) rollback()                    { _ = t.tx.Rollback() }

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
