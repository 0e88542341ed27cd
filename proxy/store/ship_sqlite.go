package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sluice/proxy/money"
)

// fileShip ships into a SQLite file. It speaks to the driver itself: through
// database/sql each of a row's forty values would take longer than all of
// SQLite.
type fileShip struct {
	*sqliteTx
	statements map[string]driver.Stmt
	large      bool
	args       []driver.NamedValue // scratch
}

func (f *file) ship(ctx context.Context) (shipping, error) {
	tx, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	return &fileShip{sqliteTx: tx.(*sqliteTx), statements: map[string]driver.Stmt{}}, nil
}

func (t *fileShip) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return shipError(err)
	}
	t.end()
	err := t.tx.Commit()
	t.release()
	return shipError(err)
}

func (t *fileShip) rollback() {
	t.end()
	_ = t.tx.Rollback()
	t.release()
}

// largeBatch is a batch whose pages do not fit into the cache of a connection
// that is to be small: they would be written several times.
const largeBatch = 500

func (t *fileShip) end() {
	for _, st := range t.statements {
		_ = st.Close()
	}
	clear(t.statements)
}

// release gives the connection back, without the memory of a large batch.
func (t *fileShip) release() {
	if t.large {
		t.large = false
		_ = t.conn.Raw(func(conn any) error {
			_, err := conn.(driver.ExecerContext).ExecContext(context.Background(), "PRAGMA cache_size = -512; PRAGMA shrink_memory", nil)
			return err
		})
	}
	_ = t.conn.Close()
}

// prepared is a statement that is prepared once for all its rows.
func (t *fileShip) prepared(sql string) (st driver.Stmt, err error) {
	if st = t.statements[sql]; st != nil {
		return st, nil
	}
	err = t.conn.Raw(func(conn any) (err error) {
		st, err = conn.(driver.Conn).Prepare(translate1(sql))
		return err
	})
	if err == nil {
		t.statements[sql] = st
	}
	return st, err
}

// translate1 is translate for statements whose parameters are all ?.
func translate1(sql string) string { return strings.ReplaceAll(sql, "sluice.", "") }

// exec runs a prepared statement without a context: the driver would start a
// goroutine for each.
func (t *fileShip) run(sql string, args []driver.NamedValue) (int64, error) {
	st, err := t.prepared(sql)
	if err != nil {
		return 0, shipError(err)
	}
	r, err := st.(driver.StmtExecContext).ExecContext(context.Background(), args)
	if err != nil {
		return 0, shipError(err)
	}
	return r.RowsAffected()
}

// shipError is sqliteError, and tells values that SQLite does not take.
func shipError(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
	}
	return sqliteError(err)
}

func ordinals(dst []driver.NamedValue, values []driver.Value) []driver.NamedValue {
	for _, v := range values {
		dst = append(dst, driver.NamedValue{Ordinal: len(dst) + 1, Value: v})
	}
	return dst
}

// rowsAtOnce is how many rows one statement inserts.
const rowsAtOnce = 50

func (t *fileShip) rows(ctx context.Context, b *Batch) ([]bool, error) {
	found := map[string]int64{}
	for _, c := range b.Cursors {
		err := t.query(ctx, "SELECT position FROM sluice.journal_cursors WHERE segment = $1", []any{c.Segment}, func(scan func(...any) error) error {
			var at int64
			err := scan(&at)
			found[c.Segment] = at
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := b.compare(found); err != nil {
		return nil, err
	}
	if len(b.Rows) >= largeBatch {
		t.large = true
		if _, err := t.exec(ctx, "PRAGMA cache_size = -8192", nil); err != nil {
			return nil, err
		}
	}
	inserted := make([]bool, len(b.Rows))
	rows, atOnce := newBlock(true, spendFields()...), rowsAtOnce
	if b.apart {
		atOnce = 1
	}
	var scratch []byte
	for from := 0; from < len(b.Rows); from += atOnce {
		pauseAfter(from / atOnce * rowsAtOnce / chunk * chunk)
		to := min(from+atOnce, len(b.Rows))
		rows.reset()
		for i := from; i < to; i++ {
			scratch = fillRow(rows, b.Rows[i], b.Slim, scratch)
		}
		n, err := t.insert(rows)
		switch {
		case err != nil:
			return nil, err
		case n == int64(to-from):
			for i := from; i < to; i++ {
				inserted[i] = true
			}
		case !b.apart: // some were there: which ones shows one by one
			return nil, errApart
		}
	}
	return inserted, nil
}

// errApart: rows were there already.
var errApart = errors.New("rows of the batch are there already")

// insert inserts the rows of a block. What is the same in all of them is handed
// over once: a text costs SQLite an allocation each time.
func (t *fileShip) insert(b *block) (int64, error) {
	width := len(b.names)
	var same uint64
	for c := 2; c < width && b.rows > 1; c++ { // not the key
		equal := true
		for r := 1; r < b.rows && equal; r++ {
			equal = b.values[r*width+c] == b.values[c]
		}
		if equal {
			same |= 1 << c
		}
	}
	key := fmt.Sprintf("%x/%d", same, b.rows)
	if t.statements[key] == nil {
		st, err := t.prepared(insertText(b, same))
		if err != nil {
			return 0, shipError(err)
		}
		t.statements[key] = st
	}
	args := t.args[:0]
	for c := range width {
		if same&(1<<c) != 0 {
			args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: b.values[c]})
		}
	}
	for i, v := range b.values {
		if same&(1<<(i%width)) == 0 {
			args = append(args, driver.NamedValue{Ordinal: len(args) + 1, Value: v})
		}
	}
	t.args = args
	return t.run(key, args)
}

// insertText is the statement: columns that are the same in all rows come
// first, as numbered parameters; the others are counted on from there.
func insertText(b *block, same uint64) string {
	var first, rest []string
	for c, name := range b.names {
		if same&(1<<c) != 0 {
			first = append(first, name)
		} else {
			rest = append(rest, name)
		}
	}
	row := make([]string, 0, len(b.names))
	for i := range first {
		row = append(row, fmt.Sprintf("?%d", i+1))
	}
	for range rest {
		row = append(row, "?")
	}
	one := "(" + strings.Join(row, ",") + ")"
	// OR FAIL: what goes wrong ends the transaction, so that SQLite need not be
	// able to undo the statement alone.
	return "INSERT OR FAIL INTO sluice.spend (" + strings.Join(append(first, rest...), ", ") + ") VALUES " +
		strings.Repeat(one+", ", b.rows-1) + one + " ON CONFLICT (request_id, attempt) DO NOTHING"
}

func (t *fileShip) sums(_ context.Context, b *Batch, s *sums, now time.Time) error {
	for _, st := range shipSteps(true, b, s, now) {
		if err := t.each(st, nil); err != nil {
			return err
		}
	}
	taken := map[account]money.Nano{}
	st, keys := leaseStep(true, s)
	err := t.each(st, func(n int) {
		k := keys[n]
		taken[k.account] += s.leases[k]
	})
	if err != nil {
		return err
	}
	return t.each(windowStep(true, s, taken), nil)
}

// each runs a step for each of its rows, and gives the numbers of those that
// wrote something to fn.
func (t *fileShip) each(st step, fn func(n int)) error {
	text, width := st.rows.with(1)+st.sql, len(st.rows.names)
	var args []driver.NamedValue
	for i := range st.rows.rows {
		pauseAfter(i)
		args = ordinals(args[:0], st.rows.values[i*width:(i+1)*width])
		n, err := t.run(text, args)
		if err != nil {
			return err
		}
		if fn != nil && n > 0 {
			fn(i)
		}
	}
	return nil
}
