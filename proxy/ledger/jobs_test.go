package ledger_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/logtest"
	"sluice/proxy/ledger"
	"sluice/proxy/store"
)

func TestCron(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		out, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, tt := range []struct{ cron, after, want string }{
		{"0 4 * * *", "2026-11-21 03:59", "2026-11-21 04:00"},
		{"0 4 * * *", "2026-11-21 04:00", "2026-11-22 04:00"},
		{"*/15 1-2,23 * * *", "2026-11-21 02:45", "2026-11-21 23:00"},
		{"30 0 1 * *", "2026-11-21 00:00", "2026-12-01 00:30"},
		{"0 0 29 2 *", "2026-11-21 00:00", "2028-02-29 00:00"},
		{"0 0 * * 0", "2026-11-21 00:00", "2026-11-22 00:00"},
		{"0 0 * * 7", "2026-11-21 00:00", "2026-11-22 00:00"},
		{"0 0 13 * 5", "2026-11-14 00:00", "2026-11-20 00:00"}, // either of the two
		{"5/20 * * * *", "2026-11-21 00:06", "2026-11-21 00:25"},
		{"30 2 * * *", "2026-03-28 12:00", "2026-03-30 02:30"}, // there is no such time on the 29th
	} {
		c, err := ledger.ParseCron(tt.cron, berlin)
		if err != nil {
			t.Errorf("%s: %v", tt.cron, err)
			continue
		}
		if got := c.Next(at(tt.after)); !got.Equal(at(tt.want)) {
			t.Errorf("%s after %s: %s, not %s", tt.cron, tt.after, got, tt.want)
		}
	}
	for _, bad := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *", "5-1 * * * *", "*/0 * * * *", "0 0 31 2 *", "1- * * * *"} {
		if _, err := ledger.ParseCron(bad, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// clock is a clock that a test puts forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// TestRetention deletes rows that are too old, never earlier than they may be
// shipped again, and compares sums: a day of which rows are gone is left out.
func TestRetention(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.attempts(30)
	w.close()
	clock := &clock{}
	c := config(d, dir)
	c.Now, c.Rows = clock.now, ledger.Retention{Period: time.Hour, Every: time.Hour}
	m, log := ledger.NewMetrics(), &logtest.Log{}
	c.Metrics, c.Log = m, log.Logger()
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "30" })
	clock.add(24 * time.Hour) // long after its hour
	await(t, func() bool { at, err := d.Meta(t.Context(), "spend_retention"); return err == nil && at != "" })
	clock.add(time.Hour)
	await(t, func() bool { return strings.Contains(written(m), "sluice_spend_drift_nanodollars 0") })
	if n := d.count(t); n != "30" {
		t.Fatalf("%s rows are left after a day", n)
	}
	// It goes on by more than the time between two runs: perhaps it is wrong.
	clock.add(25 * time.Hour)
	await(t, func() bool { return log.Count("no row is deleted until") == 1 })
	clock.add(35 * time.Minute)
	if n := d.count(t); n != "30" {
		t.Fatalf("%s rows are left just after the clock has leapt", n)
	}
	clock.add(time.Hour)
	await(t, func() bool { return d.count(t) == "0" })
	if !strings.Contains(written(m), "sluice_spend_rows_deleted_total 30") {
		t.Error(written(m))
	}
	out, err := d.Reconcile(context.Background(), store.Reconciling{From: time.Now().Add(-24 * time.Hour), To: time.Now(), Deep: true})
	if err != nil || out.Drift != 0 || out.Days != 0 {
		t.Errorf("%+v %v", out, err)
	}
}

func written(m *ledger.Metrics) string {
	var b strings.Builder
	m.Write(&b)
	return b.String()
}

// TestDrift tells of a sum that is not that of its rows.
func TestDrift(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.attempts(30)
	w.close()
	clock := &clock{}
	c := config(d, dir)
	m := ledger.NewMetrics()
	c.Now, c.Metrics = clock.now, m
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "30" })
	d.exec(t, "UPDATE daily_spend SET spend = spend + 7 WHERE entity_type = '' AND token = '"+token(0)+"'")
	clock.add(15 * time.Minute)
	await(t, func() bool { return strings.Contains(written(m), "sluice_spend_drift_nanodollars 7") })
}

// TestClockJumps has the clock of a host set while calls are written down, and of
// those who ship: hours and years forwards and backwards. Every attempt is a row,
// once, at the time that the clock said.
func TestClockJumps(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		const year = 365 * 24 * time.Hour
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		for _, off := range []time.Duration{0, time.Hour, -time.Hour, year, -year, 0} {
			c := config(d, dir)
			c.Now = func() time.Time { return time.Now().Add(off) } // a process that was born after the jump
			stop := running(t, ledger.New(c))
			w.off = off
			w.attempts(100) // of which some go on until after the next jump
			stop()
		}
		w.close()
		flush(t, newLedger(d, dir))
		mustMatchIn(t, d, tr, time.Now().Add(-year-24*time.Hour), time.Now().Add(year+24*time.Hour))
	})
}

// TestCronOfHalfHours: the hours of some zones do not begin with those of UTC.
func TestCronOfHalfHours(t *testing.T) {
	for _, name := range []string{"Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ledger.ParseCron("0 3 * * *", zone)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		after, want := time.Date(2026, 11, 21, 12, 10, 0, 0, zone), time.Date(2026, 11, 22, 3, 0, 0, 0, zone)
		if got := c.Next(after); !got.Equal(want) {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}
