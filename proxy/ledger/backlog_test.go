package ledger_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/logtest"
	"sluice/proxy/ledger"
)

// crowded is a database with so many steps of old rows, each of which takes a
// minute to be deleted.
type crowded struct {
	*data
	clock *clock
	steps atomic.Int64
}

func (d *crowded) DeleteSpend(_ context.Context, _, _ time.Time, most int) (int, error) {
	if d.steps.Load() <= 0 {
		return 0, nil
	}
	d.clock.add(time.Minute)
	d.steps.Add(-1)
	return most, nil
}

// TestRetentionBacklog: what a run has no time for does not wait for the next day,
// on which as much is added.
func TestRetentionBacklog(t *testing.T) {
	t.Parallel()
	d := &crowded{data: open(t, &data{file: dbtest.SQLite(t)}), clock: &clock{}}
	d.steps.Store(15)
	c := config(d, dirOf(t))
	c.Now, c.Rows = d.clock.now, ledger.Retention{Period: 30 * 24 * time.Hour, Every: 24 * time.Hour}
	log := &logtest.Log{}
	c.Log = log.Logger()
	over := func(runs, left int) {
		t.Helper()
		await(t, func() bool { return log.Count("old rows of spend were deleted") == runs })
		if n := d.steps.Load(); n != int64(left) {
			t.Fatalf("%d steps are left after run %d, not %d", n, runs, left)
		}
	}
	running(t, ledger.New(c))
	d.clock.add(6 * time.Minute)
	over(1, 5) // its ten minutes
	d.clock.add(20 * time.Minute)
	time.Sleep(20 * tick)
	if n := d.steps.Load(); n != 5 {
		t.Fatalf("%d steps are left: it does nothing else", n)
	}
	d.clock.add(15 * time.Minute)
	over(2, 0)
	d.steps.Store(5)
	d.clock.add(time.Hour) // all was deleted: it was the run of this day
	time.Sleep(20 * tick)
	if n := d.steps.Load(); n != 5 {
		t.Errorf("%d steps are left an hour later", n)
	}
	d.clock.add(24 * time.Hour)
	over(3, 0)
}
