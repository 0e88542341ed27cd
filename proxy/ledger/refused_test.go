package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/ledger"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// picky is a database that does not take one row, and whose answer to the cursors
// that follow is lost once.
type picky struct {
	*data
	bad  [16]byte
	lost atomic.Bool
}

func (d *picky) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	for _, r := range b.Rows {
		if r.RequestID == d.bad {
			return store.Shipped{}, fmt.Errorf("the row: %w", store.ErrInvalid)
		}
	}
	out, err := d.data.Ship(ctx, b)
	if err == nil && len(b.Rows) == 0 && len(b.Cursors) > 0 && !d.lost.Swap(true) {
		return store.Shipped{}, fmt.Errorf("the answer is lost: %w", store.ErrAway)
	}
	return out, err
}

// A row that the database does not take is put aside, and all others are shipped,
// also when nobody knows whether the cursors behind it were written.
func TestRefusedRow(t *testing.T) {
	t.Parallel()
	d, dir, tr := &picky{data: open(t, &data{file: dbtest.SQLite(t)})}, dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.attempts(20)
	bad := w.intent()
	d.bad = bad.request
	w.settle(bad)
	w.attempts(20)
	running(t, ledger.New(config(d, dir)))
	await(t, d.lost.Load)
	w.attempts(10)
	w.close()
	await(t, func() bool { return d.count(t) == strconv.Itoa(len(tr.cost)-1) })
	aside, err := os.ReadFile(filepath.Join(dir, "refused.jsonl"))
	if err != nil || !strings.Contains(string(aside), `"RequestID"`) {
		t.Errorf("put aside: %q, %v", aside, err)
	}
}

// stuck is picky, and cursors do not come through until it is told.
type stuck struct {
	*picky
	tried, free atomic.Int64
}

func (d *stuck) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	if len(b.Rows) == 0 && len(b.Cursors) > 0 && d.free.Load() == 0 {
		d.tried.Add(1)
		return store.Shipped{}, fmt.Errorf("the cursors: %w", store.ErrAway)
	}
	return d.picky.Ship(ctx, b)
}

// TestRefusedRowOnce: a row is put aside once, however often its batch is sent,
// by this process and by the one after it, and with the times at which it began
// and ended. What a process that died has left of a line stays a line of its own.
func TestRefusedRowOnce(t *testing.T) {
	t.Parallel()
	d, dir, tr := &stuck{picky: &picky{data: open(t, &data{file: dbtest.SQLite(t)})}}, dirOf(t), newTruth()
	file := filepath.Join(dir, "refused.jsonl")
	w := newLoad(t, dir, 1, tr)
	if err := os.WriteFile(file, []byte(`{"RequestID":[1,2`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.attempts(3)
	bad := w.intent()
	d.bad = bad.request
	w.settle(bad)
	w.close()
	for range 2 { // processes
		before := d.tried.Load()
		stop := running(t, ledger.New(config(d, dir)))
		await(t, func() bool { return d.tried.Load() >= before+3 })
		stop()
	}
	d.free.Store(1)
	running(t, ledger.New(config(d, dir)))
	await(t, func() bool { return d.lost.Load() && d.count(t) == strconv.Itoa(len(tr.cost)-1) })
	text, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if err != nil || len(lines) != 2 || lines[0] != `{"RequestID":[1,2` {
		t.Fatalf("put aside: %q, %v", lines, err)
	}
	var row struct{ BeganAt, EndedAt int64 }
	if err := json.Unmarshal([]byte(lines[1]), &row); err != nil || row.BeganAt == 0 || row.EndedAt == 0 {
		t.Errorf("%s: %v", lines[1], err)
	}
}

// What was settled and read a moment ago, and waits for others to be shipped with,
// is not told to be in the database: what is held for it of a lease would be given
// back before it counts.
func TestShippedIsNotToldOfWhatWaits(t *testing.T) {
	t.Parallel()
	d, dir, tr, table := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth(), newTable(t)
	w, now := newLoad(t, dir, 1, tr), &clock{}
	c := config(d, dir)
	c.Table, c.Now, c.Batch = table, now.now, 24*time.Hour
	told := &table.Header().JournalShipped
	running(t, ledger.New(c))
	await(t, func() bool { return told.Load() != 0 })
	w.settled(1)
	await(t, func() bool { return d.count(t) == "1" }) // the first batch does not wait
	w.settled(1)
	settled := fleet.Now()
	now.add(2 * time.Minute) // the cursors in the database are compared again
	for end := time.Now().Add(100 * tick); time.Now().Before(end); time.Sleep(tick) {
		if at := told.Load(); at > settled {
			t.Fatalf("what was settled %s before waits, and is told to be shipped", time.Duration(at-settled))
		}
	}
	if n := d.count(t); n != "1" {
		t.Fatalf("%s rows were shipped, want the first alone", n)
	}
	w.close()
}
