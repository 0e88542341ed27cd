package ledger_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"sluice/proxy/bill"
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
func (n *nowhere) DropCursors(context.Context, []string) error               { return nil }
func (n *nowhere) Holders(context.Context, string) ([]bill.Holder, error)    { return nil, nil }

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
	cpu := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	was := cpu()
	for b.Loop() {
		c := config(&nowhere{cursors: map[string]int64{}}, dir)
		if err := ledger.New(c).Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-was).Nanoseconds())/rows/float64(b.N)/1000, "us-cpu/row")
}
