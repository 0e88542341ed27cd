package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

func newTruth() *truth { return &truth{cost: map[id]money.Nano{}} }

// TestLedger follows the journals of generations that come and go.
func TestLedger(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		l := newLedger(d, dir)
		stop := running(t, l)
		var loads []*load
		for g := range int64(3) {
			loads = append(loads, newLoad(t, dir, g+1, tr))
		}
		for range 20 {
			for _, w := range loads {
				w.attempts(50)
			}
		}
		for _, w := range loads {
			w.close()
		}
		stop()
		flush(t, newLedger(d, dir))
		mustMatch(t, d, tr)
		// All of it again, by somebody who knows nothing: nothing changes.
		flush(t, newLedger(d, dir))
		mustMatch(t, d, tr)
		if l.Holds() {
			t.Error("a ledger that was stopped holds the lock")
		}
	})
}

// TestInterrupted ends what a dead process left open.
func TestInterrupted(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		w.attempts(95)
		dead := killed(t, dir)
		open := len(w.open)
		truthThen := &truth{cost: map[id]money.Nano{}}
		for k, c := range tr.cost {
			truthThen.cost[k] = c
		}
		w.close()
		flush(t, newLedger(d, dead))
		if open < 9 {
			t.Fatalf("%d attempts are open", open)
		}
		mustMatch(t, d, truthThen)
		rows := d.texts(t, "SELECT CAST(prompt_tokens AS TEXT), CAST(completion_tokens AS TEXT), CAST(cost AS TEXT) FROM sluice.spend WHERE status = 'interrupted'")
		for _, r := range rows {
			if r[0] != "100" || r[1] != "50" || r[2] != "200000" { // 100 × 1 µ$ + 50 × 2 µ$
				t.Errorf("an interrupted row has %v", r)
			}
		}
		if segments, err := journal.Scan(dead); err != nil || len(segments) != 1 || !segments[0].Finished || segments[0].Size != segments[0].Committed {
			t.Errorf("the segment of the dead was not trimmed: %+v %v", segments, err)
		}
	})
}

// TestEarlySettlement reads settlements before their intents, as they stand where
// a segment could not be brought to the disk and its records were written again:
// in one batch with the intent, before it, and where the reading begins anew from
// cursors between the two.
func TestEarlySettlement(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		early := func(n int) (late []id) {
			for range n {
				k := w.next()
				w.settle(k)
				late = append(late, k)
			}
			return late
		}
		together := early(5)
		for _, k := range together {
			w.begin(k)
		}
		late := early(5)
		w.attempts(20)
		stop := running(t, newLedger(d, dir))
		await(t, func() bool { return d.count(t) == "23" }) // 5 and 18
		for _, k := range late[:2] {
			w.begin(k)
		}
		await(t, func() bool { return d.count(t) == "25" })
		stop()
		for _, k := range late[2:] {
			w.begin(k)
		}
		stop = running(t, newLedger(d, dir))
		await(t, func() bool { return d.count(t) == "28" })
		stop()
		w.close()
		flush(t, newLedger(d, dir))
		mustMatch(t, d, tr)
	})
}

// faulty is a database that does not answer, or whose answer is lost.
type faulty struct {
	ledger.Database
	away, lost atomic.Int64 // so many calls from now on
	ships      atomic.Int64
}

func (f *faulty) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	f.ships.Add(1)
	if f.away.Add(-1) >= 0 {
		return store.Shipped{}, fmt.Errorf("test: %w", store.ErrAway)
	}
	out, err := f.Database.Ship(ctx, b)
	if err == nil && f.lost.Add(-1) >= 0 {
		return store.Shipped{}, fmt.Errorf("test: the connection broke at the commit: %w", store.ErrAway)
	}
	return out, err
}

// TestOutage loses answers of commits, and whole calls.
func TestOutage(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		f := &faulty{Database: d}
		w := newLoad(t, dir, 1, tr)
		stop := running(t, newLedger(f, dir))
		for range 4 {
			f.away.Store(1)
			f.lost.Store(1)
			w.attempts(40)
			await(t, func() bool { return f.away.Load() <= 0 && f.lost.Load() <= 0 })
		}
		w.close()
		stop()
		flush(t, newLedger(f, dir))
		mustMatch(t, d, tr)
		if f.ships.Load() < 8 {
			t.Errorf("only %d batches were sent", f.ships.Load())
		}
	})
}

// TestCopies ships segments that are there twice: under another name, and in
// another directory by another machine that was made from the same disk.
func TestCopies(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		w.attempts(200)
		w.close()
		segments, err := journal.Scan(dir)
		if err != nil || len(segments) != 1 {
			t.Fatal(segments, err)
		}
		content, err := os.ReadFile(segments[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "0-copy.seg"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		clone := killed(t, dir)
		one, two := newLedger(d, dir), newLedger(d, clone)
		ended := make(chan error, 2)
		for _, l := range []*ledger.Ledger{one, two} {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				ended <- l.Flush(ctx)
			}()
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		mustMatch(t, d, tr)
	})
}

// TestStrangers leaves segments of other hosts and of other versions alone.
func TestStrangers(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		w.attempts(20)
		w.close()
		c := journalConfig(dir, 7)
		c.Host, c.Holder = "another", "ffffffffffffffffffffffffffffffff"
		other, err := journal.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Reject(&bill.Intent{At: 1, RequestID: [16]byte{1}}, &bill.Settle{At: 1, Status: bill.StatusRejected}); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, 10000)
		for name, text := range map[string][]byte{"x.seg": slices.Concat(zeros, []byte{1}), "zeros.seg": zeros} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, newLedger(d, dir))
		if _, err := os.Stat(filepath.Join(dir, "zeros.seg")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what the power has left of a new segment: %v", err)
		}
		mustMatch(t, d, tr)
		if segments, err := journal.Scan(dir); err != nil || len(segments) != 3 {
			t.Errorf("%d segments are left, %v", len(segments), err)
		}
		ships := newLedger(d, dir)
		running(t, ships)
		await(t, ships.Holds)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := newLedger(d, dir).Flush(ctx); err != nil {
			t.Errorf("who stops waits for what nobody ships: %v", err)
		}
	})
}

// TestLock has one process ship at a time, and another go on at once.
func TestLock(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	first, second := newLedger(d, dir), newLedger(d, dir)
	stopFirst := running(t, first)
	await(t, first.Holds)
	running(t, second)
	w.attempts(100)
	if second.Holds() {
		t.Error("two ship at a time")
	}
	stopFirst()
	await(t, second.Holds)
	w.attempts(100)
	w.close()
	flush(t, first) // by the other one
	mustMatch(t, d, tr)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	away := &faulty{Database: d}
	away.away.Store(1 << 30)
	alone := dirOf(t)
	w = newLoad(t, alone, 1, tr)
	w.attempts(10)
	w.close()
	if err := newLedger(away, alone).Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flushed without a database: %v", err)
	}
}

// TestSwitches keeps what is asked for.
func TestSwitches(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		failed := w.intent()
		if err := w.w.Settle(failed.request, 0, &bill.Settle{At: 1, Status: bill.StatusFailure, HTTPStatus: 500}); err != nil {
			t.Fatal(err)
		}
		if err := w.w.Reject(&bill.Intent{RequestID: [16]byte{9}, At: 1}, &bill.Settle{Status: bill.StatusRejected, HTTPStatus: 429}); err != nil {
			t.Fatal(err)
		}
		w.attempts(50)
		w.close()
		c := config(d, dir)
		c.DisableErrors, c.DisableRows = true, true
		flush(t, ledger.New(c))
		delete(tr.cost, failed)
		mustMatch(t, d, tr)
		if n := d.texts(t, "SELECT CAST(count(*) AS TEXT) FROM sluice.spend WHERE token <> ''")[0][0]; n != "0" {
			t.Errorf("%s rows tell whose they are", n)
		}
	})
}

// TestPrune removes segments that are shipped once they are old or too many.
func TestPrune(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	for g := range int64(4) {
		w := newLoad(t, dir, g+1, tr)
		w.attempts(30)
		w.close()
	}
	c := config(d, dir)
	c.KeepBytes = 1
	flush(t, ledger.New(c))
	if segments, err := journal.Scan(dir); err != nil || len(segments) != 0 {
		t.Errorf("%d segments are left, %v", len(segments), err)
	}
	if cursors, err := d.Cursors(t.Context(), hostID); err != nil || len(cursors) != 0 {
		t.Errorf("%v %v", cursors, err)
	}
	mustMatch(t, d, tr)
}

func await(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatal("it takes too long")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
