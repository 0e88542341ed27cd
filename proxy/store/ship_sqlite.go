package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"sluice/proxy/money"
)

// fileShip ships into a SQLite file, by a connection of its own.
type fileShip struct {
	*file
	turn    *sql.Conn // the connection that writes: others of this process wait for it
	conn    *fileConn
	values  []cell // scratch
	scratch []byte
	open    bool // the transaction
	bad     bool // the connection may be: it is opened anew
}

func (f *file) ship(ctx context.Context) (shipping, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	turn, err := f.writing.Conn(ctx)
	if err != nil {
		return nil, sqliteError(err)
	}
	f.shipMu.Lock()
	t := &fileShip{file: f, turn: turn}
	if f.shipper == nil {
		f.shipper, err = openFileConn(f.path)
	}
	t.conn = f.shipper
	for err == nil {
		// As begin does: SQLite's own wait heeds no context.
		if _, err = t.run("BEGIN IMMEDIATE", nil); err == nil {
			t.open = true
			return t, nil
		}
		var e *fileError
		if errors.As(err, &e) && e.code&0xff == sqlite3.SQLITE_BUSY && Pause(ctx, rand.N(2*busyWait)) == nil {
			err = nil
		}
	}
	t.bad = true
	t.rollback()
	return nil, shipError(err)
}

func (t *fileShip) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return shipError(err)
	}
	if _, err := t.run("COMMIT", nil); err != nil {
		return err // it is rolled back
	}
	t.open = false
	t.release()
	return nil
}

func (t *fileShip) rollback() {
	if t.turn == nil {
		return
	}
	if t.open {
		_, _ = t.run("ROLLBACK", nil) // SQLite may have done so itself
		t.open, t.bad = false, true   // whatever it was that failed
	}
	t.release()
}

// release gives the connection to the next.
func (t *fileShip) release() {
	if t.bad && t.conn != nil {
		t.conn.close()
		t.shipper = nil
	}
	t.shipMu.Unlock()
	_ = t.turn.Close()
	t.turn = nil
}

// run runs a statement that is prepared once for all its rows.
func (t *fileShip) run(text string, values []cell) (int64, error) {
	st, err := t.conn.prepare(text, func() string { return strings.ReplaceAll(text, "sluice.", "") })
	if err != nil {
		return 0, shipError(err)
	}
	n, err := t.conn.run(st, values, nil)
	return n, shipError(err)
}

// shipError is sqliteError, and tells values that SQLite does not take.
func shipError(err error) error {
	var e *fileError
	if errors.As(err, &e) {
		switch e.code & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
	}
	return sqliteError(err)
}

// rowsAtOnce is how many rows one statement inserts.
const rowsAtOnce = 50

func (t *fileShip) rows(ctx context.Context, b *Batch) ([]bool, error) {
	found := map[string]int64{}
	const cursor = "SELECT position FROM journal_cursors WHERE segment = ?"
	for _, c := range b.Cursors {
		st, err := t.conn.prepare(cursor, func() string { return cursor })
		if err != nil {
			return nil, shipError(err)
		}
		if _, err := t.conn.run(st, []cell{{sort: cellText, text: c.Segment}}, func(at int64) { found[c.Segment] = at }); err != nil {
			return nil, shipError(err)
		}
	}
	if err := b.compare(found); err != nil {
		return nil, err
	}
	if err := t.conn.size(len(b.Rows)); err != nil {
		return nil, shipError(err)
	}
	if err := t.remember(); err != nil {
		return nil, err
	}
	inserted, there := make([]bool, len(b.Rows)), make([]bool, len(b.Rows))
	if err := t.there(b, there); err != nil {
		return nil, err
	}
	calls := &writing{table: "spend_calls", rows: newBlock(true, callFields()...), of: make([]int, 0, rowsAtOnce)}
	whole := &writing{table: "spend_whole", rows: newBlock(true, spendFields()...)}
	for from := 0; from < len(b.Rows); from += chunk {
		if err := ctx.Err(); err != nil {
			return nil, shipError(err)
		}
		runtime.Gosched()
		if err := t.put(b, from, min(from+chunk, len(b.Rows)), there, inserted, calls, whole); err != nil {
			return nil, err
		}
	}
	if err := t.write(calls, inserted); err != nil {
		return nil, err
	}
	return inserted, t.write(whole, inserted)
}

// errApart: rows were there already.
var errApart = errors.New("rows of the batch are there already")

// insert inserts the rows of a block into a table. What is the same in all of
// them is one parameter.
func (t *fileShip) insert(table string, b *block) (int64, error) {
	width := len(b.names)
	var same uint64
	for c := 2; c < width && b.rows > 1; c++ { // not the key
		at := c + width
		for at < len(b.cells) && b.cells[at] == b.cells[c] {
			at += width
		}
		if at >= len(b.cells) {
			same |= 1 << c
		}
	}
	st, err := t.conn.prepare(table+strconv.FormatUint(same, 16)+"/"+strconv.Itoa(b.rows), func() string { return insertText(table, b, same) })
	if err != nil {
		return 0, shipError(err)
	}
	values := t.values[:0]
	for c := range width {
		if same&(1<<c) != 0 {
			values = append(values, b.cells[c])
		}
	}
	for row := 0; row < len(b.cells); row += width {
		for c := range width {
			if same&(1<<c) == 0 {
				values = append(values, b.cells[row+c])
			}
		}
	}
	t.values = values
	n, err := t.conn.run(st, values, nil)
	return n, shipError(err)
}

// insertText is the statement: the columns that are the same in all rows are the
// first parameters. Columns stand in the order of the table, so that SQLite moves
// none of them.
func insertText(table string, b *block, same uint64) string {
	var t strings.Builder
	// OR FAIL: what goes wrong ends the transaction, so that SQLite need not be
	// able to undo the statement alone.
	t.WriteString("INSERT OR FAIL INTO " + table + " (" + strings.Join(b.names, ", ") + ") VALUES ")
	next := bits.OnesCount64(same)
	for row := range b.rows {
		shared := 0
		for c := range b.names {
			switch {
			case c > 0:
				t.WriteString(",?")
			case row > 0:
				t.WriteString(",(?")
			default:
				t.WriteString("(?")
			}
			if same&(1<<c) != 0 {
				shared++
				t.WriteString(strconv.Itoa(shared))
			} else {
				next++
				t.WriteString(strconv.Itoa(next))
			}
		}
		t.WriteString(")")
	}
	t.WriteString(" ON CONFLICT (request_id, attempt) DO NOTHING")
	return t.String()
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
		taken[k.account] += *s.leases[k]
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
	for i := range st.rows.rows {
		pauseAfter(i)
		n, err := t.run(text, st.rows.cells[i*width:(i+1)*width])
		if err != nil {
			return err
		}
		if fn != nil && n > 0 {
			fn(i)
		}
	}
	return nil
}
