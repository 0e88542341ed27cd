package journal

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRequest is an intent and a settlement, as each request writes them,
// in the two ways that a segment can be written and the three modes of Sync.
// JOURNAL_BENCH_DIR names a directory of the file system to measure.
func BenchmarkRequest(b *testing.B) {
	for _, m := range []struct {
		name   string
		mapped bool
		sync   Sync
	}{
		{"mapped", true, SyncNone},
		{"write", false, SyncNone},
		{"mapped/interval", true, SyncInterval},
		{"write/interval", false, SyncInterval},
	} {
		b.Run(m.name, func(b *testing.B) {
			c := benchConfig(b, m.sync)
			c.unmapped = !m.mapped
			w := open(b, c)
			in, s := intent(1), settle(1)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.Intent(in, priced); err != nil {
					b.Fatal(err)
				}
				if err := w.Settle(in.RequestID, 0, s); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(w.Stats().Bytes)/float64(b.N), "B/request")
		})
	}
}

// BenchmarkAlways is the same where every settlement waits for the disk, for one
// client and for many at once, whose records share an fdatasync.
func BenchmarkAlways(b *testing.B) {
	for _, m := range []struct {
		name    string
		clients int
	}{{"1", 1}, {"64", 64}, {"512", 512}} {
		b.Run(m.name, func(b *testing.B) {
			w := open(b, benchConfig(b, SyncAlways))
			b.SetParallelism(m.clients)
			b.RunParallel(func(pb *testing.PB) {
				in, s := intent(1), settle(1)
				for pb.Next() {
					if err := w.Intent(in, priced); err != nil {
						b.Error(err)
					}
					if err := w.Settle(in.RequestID, 0, s); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/float64(w.Stats().Syncs), "requests/fdatasync")
		})
	}
}

func benchConfig(b *testing.B, sync Sync) Config {
	c := config(b)
	c.Bound, c.Sync, c.Log = 1<<40, sync, slog.New(slog.DiscardHandler)
	if dir := os.Getenv("JOURNAL_BENCH_DIR"); dir != "" {
		c.Dir = filepath.Join(dir, "journal-bench")
		b.Cleanup(func() { _ = os.RemoveAll(c.Dir) })
	}
	return c
}

// BenchmarkRead reads what a request has written.
func BenchmarkRead(b *testing.B) {
	c := benchConfig(b, SyncNone)
	w := open(b, c)
	for n := range 5000 {
		must(b, w.Intent(intent(n), priced))
		must(b, w.Settle(id(n), 0, settle(n)))
	}
	must(b, w.Close())
	segments, err := Scan(c.Dir)
	must(b, err)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		_, err := segments[0].Read(0, func(_, _ int64, _ Record) error { n++; return nil })
		must(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}
