package ledger_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/ledger"
	"sluice/proxy/store"
)

// slow is a database that takes so many rows in the time that it has.
type slow struct {
	ledger.Database
	most int
}

func (s *slow) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	if len(b.Rows) > s.most {
		return store.Shipped{}, fmt.Errorf("test: canceling statement due to statement timeout: %w", store.ErrAway)
	}
	return s.Database.Ship(ctx, b)
}

// TestSlowDatabase sends less at once to a database that does not take what there
// is in time: the same batch would be sent for ever.
func TestSlowDatabase(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(600)
	stop := running(t, newLedger(&slow{d, 80}, dir))
	await(t, func() bool { return d.count(t) == "600" })
	w.close()
	stop()
	flush(t, newLedger(d, dir))
	mustMatch(t, d, tr)
}

// unreachable is a database that may not answer at all.
type unreachable struct {
	*data
	away atomic.Bool
}

func (u *unreachable) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	if u.away.Load() {
		return store.Shipped{}, store.ErrAway
	}
	return u.data.Ship(ctx, b)
}

func (u *unreachable) Cursors(ctx context.Context, host string) (map[string]int64, error) {
	if u.away.Load() {
		return nil, store.ErrAway
	}
	return u.data.Cursors(ctx, host)
}

var lagLine = regexp.MustCompile(`(?m)^sluice_ledger_lag_seconds (.*)$`)

// TestLagInOutage says how far shipping is behind while the database is away, also
// by a process that began meanwhile.
func TestLagInOutage(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(5)
	db, now := &unreachable{data: d}, &clock{}
	begin := func() (m *ledger.Metrics, stop func()) {
		c := config(db, dir)
		c.Now, c.Metrics = now.now, ledger.NewMetrics()
		return c.Metrics, running(t, ledger.New(c))
	}
	behind := func(m *ledger.Metrics, seconds float64) func() bool {
		return func() bool {
			line := lagLine.FindStringSubmatch(written(m))
			if line == nil {
				return false
			}
			lag, err := strconv.ParseFloat(line[1], 64)
			return err == nil && lag >= seconds && lag < seconds+30
		}
	}
	m, stop := begin()
	await(t, func() bool { return d.count(t) == "5" })
	db.away.Store(true)
	w.settled(5)
	time.Sleep(20 * tick)
	now.add(100 * time.Second)
	await(t, behind(m, 100))
	stop()
	m, stop = begin()
	time.Sleep(20 * tick)
	now.add(100 * time.Second)
	await(t, behind(m, 100))
	db.away.Store(false)
	await(t, behind(m, 0))
	w.close()
	stop()
	flush(t, newLedger(d, dir))
	mustMatch(t, d, tr)
}
