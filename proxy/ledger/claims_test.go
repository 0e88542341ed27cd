package ledger_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/proxy/bill"
	"sluice/proxy/ledger"
	"sluice/supervisor/fleet"
)

// newTable makes a host table.
func newTable(t *testing.T) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	table, err := fleet.NewTable(fd, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

// TestClaims gives back what a dead process held of a lease: all but what its
// attempts came to.
func TestClaims(t *testing.T) {
	t.Parallel()
	d, dir, tr, table := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth(), newTable(t)
	area, err := table.Claim(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	const tag, lease, reserved = 77, 10_000_000, 1_000_000
	record, shared := table.Leases().Find(tag)
	if shared {
		t.Fatal("no record for a lease")
	}
	available := func() int64 { return int64(record.Words[fleet.WordAvailable].Load()) }
	record.Words[fleet.WordAvailable].Store(lease)
	claims := fleet.NewClaims(table, area)
	hold := func(k id) {
		t.Helper()
		ref := binary.BigEndian.Uint64(k.request[8:])
		if _, failed := claims.Hold(ref, k.attempt, reserved, []fleet.Claimed{{Record: record, Tag: tag}}); failed >= 0 {
			t.Fatal("not held")
		}
	}
	w := newLoad(t, dir, 1, tr)
	open, settled := w.intent(), w.intent()
	hold(open)
	hold(settled)
	hold(id{request: [16]byte{15: 1}}) // killed before its intent was written
	if err := w.w.Progress(open.request, 0, 10); err != nil {
		t.Fatal(err)
	}
	w.settle(settled)
	c := config(d, dir)
	c.Table = table
	l := ledger.New(c)
	stop := running(t, l)
	await(t, func() bool { return d.count(t) == "1" })
	if got := available(); got != lease-3*reserved {
		t.Fatalf("%d of the lease is available while the process lives", got)
	}
	// The process dies: its segment is closed, its area reaped.
	stop()
	dead := killed(t, dir)
	table.Reap(area)
	c.Dirs = []string{dead}
	flush(t, ledger.New(c))
	const interrupted = 100*1000 + 10*2000
	tr.mu.Lock()
	cost := int64(tr.cost[settled])
	tr.mu.Unlock()
	if got, want := available(), lease-interrupted-cost; got != want {
		t.Errorf("%d of the lease is available, not %d", got, want)
	}
	mustMatch(t, d, tr)
	if table.Header().JournalShipped.Load() == 0 || !table.Header().Earlier.Shipped(holder) {
		t.Error("the host table does not say that everything is shipped")
	}
	w.close()
}

// TestEarlier waits with attempts that an earlier life of the host table left
// open while its holder is heard of: another machine may be made from the same
// disk.
func TestEarlier(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.attempts(30)
	dead := killed(t, dir)
	w.close()
	if _, err := d.Beat(t.Context(), bill.Holder{Holder: holder, HostID: hostID, HostName: "h", StartedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	table := newTable(t)
	c := config(d, dead)
	c.Holder, c.Table = "ffffffffffffffffffffffffffffffff", table
	stop := running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "27" })
	time.Sleep(50 * tick) // it would have ended them by then
	if n := d.count(t); n != "27" || table.Header().Earlier.Shipped(holder) {
		t.Errorf("%s rows, although another machine may still write the journal", n)
	}
	if other := strings.Repeat("e", 32); !table.Header().Earlier.Shipped(other) {
		t.Error("a life that has left nothing waits for one that has")
	}
	stop()
	d.exec(t, "DELETE FROM sluice.lease_holders")
	running(t, ledger.New(c))
	await(t, func() bool { return d.count(t) == "30" && table.Header().Earlier.Shipped(holder) })
}
