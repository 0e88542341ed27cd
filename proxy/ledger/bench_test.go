package ledger_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/store"
)

// nowhere is a database that keeps nothing but cursors.
type nowhere struct {
	ledger.Database
	cursors map[string]int64
}

func (n *nowhere) Ship(_ context.Context, b *store.Batch) (store.Shipped, error) {
	for _, c := range b.Cursors {
		n.cursors[c.Segment] = c.To
	}
	return store.Shipped{Inserted: len(b.Rows)}, nil
}

func (n *nowhere) Cursors(context.Context, string) (map[string]int64, error) { return n.cursors, nil }

func (n *nowhere) RowsFrom(context.Context) (time.Time, error)            { return time.Time{}, nil }
func (n *nowhere) DropCursors(context.Context, []string) error            { return nil }
func (n *nowhere) Holders(context.Context, string) ([]bill.Holder, error) { return nil, nil }

// BenchmarkFollow reads and joins 20,000 attempts: the ledger's part of a row,
// without the database's.
func BenchmarkFollow(b *testing.B) {
	const rows = 20000
	dir := b.TempDir()
	w := newLoad(b, dir, 1, newTruth())
	for range rows {
		w.settle(w.intent())
	}
	w.close()
	b.ReportAllocs()
	was := cpu(b)
	for b.Loop() {
		c := config(&nowhere{cursors: map[string]int64{}}, dir)
		if err := ledger.New(c).Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-was).Nanoseconds())/rows/float64(b.N)/1000, "us-cpu/row")
}

// BenchmarkTakeOver begins to ship where 1,000 workers have died, of which
// everything is in the database: what whoever takes over does before its first row.
func BenchmarkTakeOver(b *testing.B) {
	const dead = 1000
	dir := b.TempDir()
	for n := range dead {
		w := newLoad(b, dir, int64(n+1), newTruth())
		w.settle(w.intent())
		w.close()
	}
	segments, err := journal.Scan(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, seg := range segments { // as who finds them dead does
		if err := seg.Trim(seg.Committed); err != nil {
			b.Fatal(err)
		}
	}
	d := &nowhere{cursors: map[string]int64{}}
	if err := ledger.New(config(d, dir)).Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	if len(d.cursors) != dead {
		b.Fatalf("%d segments of %d", len(d.cursors), dead)
	}
	b.ReportAllocs()
	was := cpu(b)
	for b.Loop() {
		if err := ledger.New(config(d, dir)).Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-was).Microseconds())/1000/float64(b.N), "ms-cpu/op")
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
