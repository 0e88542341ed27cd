package ledger_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// settled makes n attempts that are whole.
func (l *load) settled(n int) {
	for range n {
		l.settle(l.intent())
	}
}

// TestForked ships segments that have one name and went on otherwise, as those of
// two machines that were resumed from one memory: neither takes for shipped what
// the other one has shipped.
func TestForked(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		tr := newTruth()
		var loads []*load
		var stops []func()
		for i := range uint64(2) {
			dir := dirOf(t)
			w := newLoad(t, dir, 1, tr)
			w.n += i << 40
			seen := &cursors{data: d}
			stops = append(stops, running(t, newLedger(seen, dir)))
			loads = append(loads, w)
			await(t, func() bool { seen.mu.Lock(); defer seen.mu.Unlock(); return seen.calls >= 2 }) // it knows the segment
		}
		loads[0].settled(20)
		await(t, func() bool { return d.count(t) == "20" })
		loads[1].settled(60)
		await(t, func() bool { return d.count(t) == "80" })
		loads[0].settled(100)
		loads[1].settled(30)
		await(t, func() bool { return d.count(t) == "210" })
		for i, w := range loads {
			w.close()
			stops[i]()
		}
		mustMatch(t, d, tr)
	})
}

// cursors is a database that calls a function before it tells its cursors.
type cursors struct {
	*data
	mu    sync.Mutex
	calls int
	on    func(call int)
}

func (c *cursors) Cursors(ctx context.Context, host string) (map[string]int64, error) {
	c.mu.Lock()
	c.calls++
	if c.on != nil {
		c.on(c.calls)
	}
	c.mu.Unlock()
	return c.data.Cursors(ctx, host)
}

// TestUnreadableSegment goes on with the segments of others while one cannot be
// read, and leaves that one alone when it lasts.
func TestUnreadableSegment(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	first := newLoad(t, dir, 1, tr)
	first.settled(10)
	var log lines
	now, c := &clock{}, config(d, dir)
	c.Now, c.Log, c.Metrics = now.now, slog.New(slog.NewTextHandler(&log, nil)), ledger.NewMetrics()
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "10" })
	segments, err := journal.Scan(dir)
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	f, err := os.OpenFile(segments[0].Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 2048), 0); err != nil { // both copies of what the header says
		t.Fatal(err)
	}
	f.Close()
	second := newLoad(t, dir, 2, tr)
	second.settled(10)
	await(t, func() bool { return d.count(t) == "20" })
	now.add(2 * time.Minute)
	await(t, func() bool {
		return strings.Contains(log.String(), "is left alone: what it holds is not in the database")
	})
	second.settled(10)
	await(t, func() bool { return d.count(t) == "30" })
	mustMatch(t, d, tr)
	first.close()
	second.close()
}

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestClaimsBeforeTheJournal lets a process begin, spend and die between a listing
// of the journals and the look at what the dead hold: what its attempt cost stays
// taken.
func TestClaimsBeforeTheJournal(t *testing.T) {
	t.Parallel()
	d, dir, tr, table := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth(), newTable(t)
	const tag, lease, reserved = 77, 10_000_000, 3_000_000
	record, _ := table.Leases().Find(tag)
	record.Words[fleet.WordAvailable].Store(lease)
	db := &cursors{data: d}
	db.on = func(call int) {
		if call != 2 { // the first is before the listing, the second behind it
			return
		}
		area, err := table.Claim(0, 1)
		if err != nil {
			t.Error(err)
			return
		}
		w := newLoad(t, dir, 1, tr)
		k := w.intent()
		if _, failed := fleet.NewClaims(table, area).Hold(binary.BigEndian.Uint64(k.request[8:]), 0, reserved, []fleet.Claimed{{Record: record, Tag: tag}}); failed >= 0 {
			t.Error("not held")
		}
		w.settle(k)
		w.close()
		table.Reap(area)
	}
	c := config(db, dir)
	c.Table = table
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "1" })
	cost := int64(0)
	for _, n := range tr.cost {
		cost += int64(n)
	}
	available := func() int64 { return int64(record.Words[fleet.WordAvailable].Load()) }
	await(t, func() bool { return available() != lease-reserved })
	if got := available(); got != lease-cost {
		t.Errorf("%d of the lease is available, not %d", got, lease-cost)
	}
	mustMatch(t, d, tr)
}

// TestStaleEnd reads records behind what the header says is their end, as a power
// cut may leave it: none is cut off before it is in the database.
func TestStaleEnd(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(15)
	dead := killed(t, dir)
	w.close()
	segments, err := journal.Scan(dead)
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	f, err := os.OpenFile(segments[0].Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	end := uint64(journal.Start + 1)
	word := binary.LittleEndian.AppendUint64(nil, end<<24|end*0x9e3779b97f4a7c15>>40)
	if _, err := f.WriteAt(word, 2048); err != nil {
		t.Fatal(err)
	}
	f.Close()
	now, c := &clock{}, config(d, dead)
	c.Now, c.Most, c.Batch = now.now, 10, 24*time.Hour // the other five wait
	stop := running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "10" })
	time.Sleep(20 * tick)
	now.add(11 * time.Second) // the segments of the dead are trimmed
	time.Sleep(20 * tick)
	stop()
	flush(t, newLedger(d, dead))
	mustMatch(t, d, tr)
}

// TestOldSnapshot brings segments back of which rows and cursors were deleted with
// time, or whose cursors are those of what came behind the snapshot: what was
// shipped of them does not count once more, the rest does.
func TestOldSnapshot(t *testing.T) {
	for name, cursors := range map[string]string{
		"none": "DELETE FROM sluice.journal_cursors", "later": "UPDATE sluice.journal_cursors SET position = position + 100000",
	} {
		t.Run(name, func(t *testing.T) { oldSnapshot(t, cursors) })
	}
}

func oldSnapshot(t *testing.T, cursors string) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		w.settled(20)
		stop := running(t, newLedger(d, dir))
		shipped := func() bool {
			segments, err := journal.Scan(dir)
			return err == nil && len(segments) == 1 && segments[0].Shipped == segments[0].Committed
		}
		await(t, func() bool { return d.count(t) == "20" && shipped() })
		stop()
		w.settled(5) // nobody ships them
		snapshot := killed(t, dir)
		w.close()
		segments, err := journal.Scan(snapshot)
		if err != nil || len(segments) != 1 {
			t.Fatal(segments, err)
		}
		long := time.Now().Add(-100 * 24 * time.Hour)
		if err := os.Chtimes(segments[0].Path, long, long); err != nil {
			t.Fatal(err)
		}
		d.exec(t, "DELETE FROM sluice.spend")
		d.exec(t, cursors)
		if ok, err := d.SwapMeta(t.Context(), "spend_rows_from", "", long.Add(time.Hour).UTC().Format(time.RFC3339)); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for range 2 { // the second finds cursors
			flush(t, newLedger(d, snapshot))
		}
		if n := d.count(t); n != "5" {
			t.Errorf("%s rows", n)
		}
		var want money.Nano
		for _, cost := range tr.cost {
			want += cost
		}
		for what, got := range d.sums(t) {
			if got != int64(want) {
				t.Errorf("%s have spent %d, not %d", what, got, want)
			}
		}
	})
}

// elsewhere is a database that has heard of a life of the host table just now.
type elsewhere struct {
	*data
	silent time.Duration
}

func (e *elsewhere) Holders(context.Context, string) ([]bill.Holder, error) {
	return []bill.Holder{{Holder: holder, HostID: hostID, Silent: e.silent}}, nil
}

// TestTwinLives ships from the disk of a machine that was made from that of another
// one, which goes on: what that one has open is left alone, but not for ever. The
// cursor would stay there, and what stands behind it be shipped again by each
// process, also when its rows are old enough to be deleted.
func TestTwinLives(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	k := w.intent()
	w.settled(10)
	dead := killed(t, dir)
	now, c := &clock{}, config(&elsewhere{data: d}, dead)
	c.Now, c.Holder = now.now, strings.Repeat("f", 32)
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "10" })
	time.Sleep(10 * tick)
	if n := d.count(t); n != "10" {
		t.Errorf("%s rows: what a living process has open was ended", n)
	}
	now.add(25 * time.Hour)
	await(t, func() bool {
		segments, err := journal.Scan(dead)
		return err == nil && len(segments) == 1 && segments[0].Shipped == segments[0].Committed
	})
	if row := d.rows(t)[k]; row.status != "interrupted" {
		t.Errorf("after a day it is %q", row.status)
	}
	w.close()
	mustMatch(t, d, tr)
}
