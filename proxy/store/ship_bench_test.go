package store_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// attemptOf is the n-th attempt of a load over so many keys.
func attemptOf(n, keys int) *bill.Attempt {
	a := &bill.Attempt{}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Millisecond)
	binary.BigEndian.PutUint64(a.RequestID[:8], uint64(at.UnixMilli())<<16|0x7000|uint64(n&0xfff))
	binary.BigEndian.PutUint64(a.RequestID[8:], 1<<63|uint64(n)*2654435761)
	k := n % keys
	a.Intent.At, a.Settle.At, a.FirstByteAt = at.UnixNano(), at.Add(time.Second).UnixNano(), at.Add(time.Second/2).UnixNano()
	a.CallType, a.Token, a.User, a.Team = "/v1/chat/completions", digest(k), "user-"+strconv.Itoa(k%100), "team-"+strconv.Itoa(k%10)
	a.ClientAddress, a.Model, a.ModelID = "203.0.113.7", "gpt-5", "5f3c1b7d9e2a4c6f"
	a.Provider, a.ProviderModel, a.ProviderID = "openai", "gpt-5-2026-01-01", fmt.Sprintf("chatcmpl-%020d", n)
	a.Price, a.Status, a.HTTPStatus, a.Cost = 4711, bill.StatusSuccess, 200, money.Nano(1000+n%7)
	a.Usage.Input, a.Usage.Output, a.Usage.Total, a.Usage.Reported = 812, 240, 1052, true
	a.Host, a.Sequence = "11111111-2222-4333-8444-555555555555", int64(n)
	a.Accounts = []bill.Account{{Kind: bill.KindKey, ID: a.Token, Window: "30d", Start: 1793491200}, {Kind: bill.KindTeam, ID: a.Team}}
	return a
}

// loadObjects makes what attemptOf names.
func loadObjects(tb testing.TB, s *store.Store, keys int) {
	tb.Helper()
	for from := 0; from < keys; from += 1000 {
		err := s.Change(tb.Context(), store.Actor{}, func(tx *store.Tx) error {
			var objects []identity.Object
			for k := from; k < min(keys, from+1000); k++ {
				objects = append(objects, &identity.Key{Token: digest(k), Alias: "alias " + strconv.Itoa(k), UserID: "user-" + strconv.Itoa(k%100)})
			}
			if _, err := tx.Take(identity.KindKey, objects); err != nil {
				return err
			}
			return tx.Note(store.Imported, identity.KindImport, strconv.Itoa(from), nil, nil)
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	err := s.Change(tb.Context(), store.Actor{}, func(tx *store.Tx) error {
		for i := range 100 {
			if err := tx.Insert(&identity.User{ID: "user-" + strconv.Itoa(i)}); err != nil {
				return err
			}
		}
		for i := range 10 {
			if err := tx.Insert(&identity.Team{ID: "team-" + strconv.Itoa(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkShip ships batches of new rows of one to 1,000 keys, aggregates and indexes
// included, through one connection. It prints the CPU time of this process and
// of PostgreSQL's for a row.
func BenchmarkShip(b *testing.B) {
	for _, kind := range []string{"postgres", "sqlite"} {
		for _, of := range []struct{ size, keys int }{{1000, 100}, {5000, 1}, {5000, 100}, {5000, 1000}} {
			b.Run(fmt.Sprintf("%s/%d rows of %d keys", kind, of.size, of.keys), func(b *testing.B) {
				size, keys := of.size, of.keys
				c, url := store.Config{Pool: 1}, ""
				if kind == "postgres" {
					url = dbtest.PostgresURL(b)
					source, err := postgres.ParseURL(url)
					if err != nil {
						b.Fatal(err)
					}
					c.Postgres = source
				} else {
					c.SQLite = dbtest.SQLite(b)
				}
				s, err := store.Open(c)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				loadObjects(b, s, keys)
				var pid int
				if url != "" {
					pid = pgtest.Number(b, url, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'sluice proxy%' AND datname = current_database() LIMIT 1")
				}
				n, at := 0, int64(0)
				batch := &store.Batch{Host: "h", Rows: make([]*bill.Attempt, size)}
				var ours, theirs time.Duration
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					b.StopTimer()
					for i := range batch.Rows {
						batch.Rows[i] = attemptOf(n, keys)
						n++
					}
					batch.Cursors = []store.Cursor{{Segment: "s", From: at, To: at + 1}}
					at++
					was, wasTheirs := ownCPU(b), processCPU(b, pid)
					b.StartTimer()
					out, err := s.Ship(b.Context(), batch)
					b.StopTimer()
					if err != nil || out.Inserted != size {
						b.Fatal(out, err)
					}
					ours += ownCPU(b) - was
					theirs += processCPU(b, pid) - wasTheirs
					b.StartTimer()
				}
				rows := float64(b.N * size)
				b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(ours.Nanoseconds())/rows/1000, "us-cpu/row")
				if pid != 0 {
					b.ReportMetric(float64(theirs.Nanoseconds())/rows/1000, "us-pg-cpu/row")
				}
			})
		}
	}
}

// ownCPU is the CPU time of this process so far.
func ownCPU(tb testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// processCPU is the CPU time of another process so far, in steps of 10 ms.
func processCPU(tb testing.TB, pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, _ := strconv.Atoi(f)
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}
