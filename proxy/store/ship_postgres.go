package store

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"sluice/proxy/money"
)

// pgShip ships through one connection. Statements are sent unnamed and in
// pipelines of the extended protocol, which poolers in transaction mode pass
// on; a batch takes six round trips whatever its size.
type pgShip struct {
	*pgTx
	spare *spare
}

var binaryFormat = []int16{1}

// spare is the arrays of a batch, some megabytes while there is much to ship,
// for the next one.
type spare struct {
	mu    sync.Mutex
	block *block
}

func (s *spare) take() *block {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.block
	s.block = nil
	if b == nil {
		return newBlock(false, spendFields()...).fold()
	}
	b.reset()
	return b
}

// put keeps a block, but not the memory of a large batch after a small one.
func (s *spare) put(b *block) {
	const small = 500
	if b.rows < small && cap(b.vectors[0].data) > 2*small*vectorHead {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block = b
}

func (s *server) ship(ctx context.Context) (shipping, error) {
	tx, err := s.beginOnce(ctx)
	if err != nil {
		return nil, pgError(err)
	}
	tx.writing = nil // changes of the management API go on beside
	return &pgShip{tx, &s.spare}, nil
}

// run runs statements in one round trip, gives their rows to each, and returns how
// many rows the last one has written.
func (t *pgShip) run(ctx context.Context, steps []step, each func(i int, row [][]byte)) (written int64, err error) {
	batch := &pgconn.Batch{}
	for _, st := range steps {
		if st.rows == nil {
			batch.ExecParams(st.sql, nil, nil, nil, binaryFormat)
			continue
		}
		values, types := st.rows.arguments()
		batch.ExecParams(st.rows.with(0)+st.sql, values, types, binaryFormat, binaryFormat)
	}
	results := t.tx.Conn().PgConn().ExecBatch(ctx, batch)
	for i := 0; results.NextResult(); i++ {
		reader := results.ResultReader()
		for reader.NextRow() {
			each(i, reader.Values())
		}
		tag, _ := reader.Close() // its error is that of Close below
		written = tag.RowsAffected()
	}
	return written, pgError(t.pool.Note(results.Close()))
}

func (t *pgShip) rows(ctx context.Context, b *Batch) ([]bool, error) {
	cursors := newBlock(false, field{"segment", asText})
	for _, c := range b.Cursors {
		cursors.text(c.Segment)
	}
	rows := t.spare.take()
	defer t.spare.put(rows)
	var scratch []byte
	for i := range b.Rows {
		pauseAfter(i)
		scratch = fillRow(rows, b.Rows[i], b.Slim, scratch)
	}
	insert := "INSERT INTO sluice.spend (" + strings.Join(rows.names, ", ") + ") SELECT * FROM v ON CONFLICT (request_id, attempt) DO NOTHING"
	if b.apart { // else the keys of some thousand rows would come back to say that all are there
		insert += " RETURNING request_id, attempt"
	}
	found, back := map[string]int64{}, []attempt(nil)
	written, err := t.run(ctx, []step{
		{"SELECT set_config('lock_timeout', '" + strconv.FormatInt(shipLock.Milliseconds(), 10) + "', true)", nil},
		{"SELECT c.segment, c.position FROM sluice.journal_cursors AS c JOIN v ON v.segment = c.segment ORDER BY c.segment FOR UPDATE OF c", cursors},
		{insert, rows},
	}, func(i int, row [][]byte) {
		switch i {
		case 1:
			found[string(row[0])] = int64(binary.BigEndian.Uint64(row[1]))
		case 2:
			back = append(back, attempt{[16]byte(row[0]), int64(binary.BigEndian.Uint64(row[1]))})
		}
	})
	if err != nil {
		return nil, err
	}
	if err := b.compare(found); err != nil {
		return nil, err
	}
	switch {
	case b.apart:
		return b.among(back), nil
	case written != int64(len(b.Rows)):
		return nil, errApart
	}
	inserted := make([]bool, len(b.Rows))
	for i := range inserted {
		inserted[i] = true
	}
	return inserted, nil
}

// attempt is the key of a row of spend.
type attempt struct {
	id [16]byte
	n  int64
}

// among says which rows of a batch were inserted, given the keys of those that
// were. Of two with one key it was the first.
func (b *Batch) among(keys []attempt) []bool {
	out := make([]bool, len(b.Rows))
	there := make(map[attempt]struct{}, len(keys))
	for _, k := range keys {
		there[k] = struct{}{}
	}
	for i := range b.Rows {
		k := attempt{b.Rows[i].RequestID, b.Rows[i].Attempt}
		if _, ok := there[k]; ok {
			out[i] = true
			delete(there, k)
		}
	}
	return out
}

func (t *pgShip) sums(ctx context.Context, b *Batch, s *sums, now time.Time) error {
	steps := shipSteps(false, b, s, now)
	taken := map[account]money.Nano{}
	var keys []lease
	leases := -1
	if len(s.windows) > 0 {
		steps = append(steps, lockStep(s))
	}
	if len(s.leases) > 0 {
		var st step
		st, keys = leaseStep(false, s)
		leases = len(steps)
		steps = append(steps, st)
	}
	if len(steps) == 0 {
		return nil
	}
	_, err := t.run(ctx, steps, func(i int, row [][]byte) {
		if i == leases {
			k := keys[binary.BigEndian.Uint64(row[0])]
			taken[k.account] += *s.leases[k]
		}
	})
	if err != nil || len(s.windows) == 0 {
		return err
	}
	_, err = t.run(ctx, []step{windowStep(false, s, taken)}, func(int, [][]byte) {})
	return err
}
