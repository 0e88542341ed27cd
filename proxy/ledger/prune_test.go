package ledger_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
)

// dropping is a database that notes which cursors it forgets, and does not answer
// so many calls.
type dropping struct {
	*data
	mu    sync.Mutex
	away  int
	calls [][]string // guarded by mu
}

func (d *dropping) DropCursors(ctx context.Context, segments []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, segments)
	if d.away--; d.away >= 0 {
		return context.DeadlineExceeded
	}
	return d.data.DropCursors(ctx, segments)
}

// TestPruneMany forgets the cursors of all segments that go at once, and those of
// which the database did not answer later: rows wait meanwhile.
func TestPruneMany(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		const segments = 20
		for g := range int64(segments) {
			w := newLoad(t, dir, g+1, tr)
			w.settled(2)
			w.close()
		}
		db := &dropping{data: d, away: 1}
		now, c := &clock{}, config(db, dir)
		c.Now, c.KeepSegments = now.now, time.Nanosecond
		running(t, ledger.New(c))
		await(t, func() bool {
			now.add(time.Second)
			left, err := d.Cursors(t.Context(), hostID)
			files, scanErr := journal.Scan(dir)
			return err == nil && scanErr == nil && len(left) == 0 && len(files) == 0 && d.count(t) == "40"
		})
		db.mu.Lock()
		defer db.mu.Unlock()
		if len(db.calls) > 4 {
			t.Errorf("%d calls to forget %d cursors", len(db.calls), segments)
		}
		mustMatch(t, d, tr)
	})
}

// TestKeptSinceShipped keeps a segment for as long as it is to be kept from when it
// was shipped: of what waited for longer than that, a failover may lack the commit.
func TestKeptSinceShipped(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(5)
	w.close()
	segments, err := journal.Scan(dir)
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	long := time.Now().Add(-40 * time.Hour)
	if err := os.Chtimes(segments[0].Path, long, long); err != nil {
		t.Fatal(err)
	}
	flush(t, newLedger(d, dir))
	if segments, err = journal.Scan(dir); err != nil || len(segments) != 1 {
		t.Errorf("%v %v: it was removed as soon as it was shipped", segments, err)
	}
	mustMatch(t, d, tr)
}
