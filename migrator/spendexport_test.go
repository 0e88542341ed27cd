package main

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/internal/dbtest"
	"sluice/migrator/migrate"
	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// spentAttempt is the n-th attempt, a second after the one before it.
func spentAttempt(n int) *bill.Attempt {
	a := &bill.Attempt{Host: "h", Sequence: int64(n)}
	at := time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second)
	binary.BigEndian.PutUint64(a.RequestID[:8], uint64(at.UnixMilli())<<16|0x7000)
	binary.BigEndian.PutUint64(a.RequestID[8:], 1<<63|uint64(n))
	a.Intent.At, a.Settle.At = at.UnixNano(), at.UnixNano()
	a.CallType, a.Token, a.User, a.Model, a.Provider = "/v1/chat/completions", "t", "=cmd()", "m", "openai"
	a.Status, a.HTTPStatus, a.Cost, a.Metadata = bill.StatusSuccess, 200, money.Nano(1_000_000_001+n), `{"n": 1}`
	a.Usage.Input, a.Usage.Output, a.Usage.Total = 3, 4, 7
	return a
}

func TestSpendExportAndReconcile(t *testing.T) {
	t.Run("postgres", func(t *testing.T) { testSpendExport(t, migrate.Target{Postgres: dbtest.Postgres(t)}) })
	t.Run("sqlite", func(t *testing.T) { testSpendExport(t, migrate.Target{SQLite: dbtest.SQLite(t)}) })
}

func testSpendExport(t *testing.T, target migrate.Target) {
	s, err := store.Open(store.Config{Postgres: target.Postgres, SQLite: target.SQLite})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const rows = exportPage + 1500 // one hour and 48 minutes
	for from := 0; from < rows; from += 500 {
		b := &store.Batch{Host: "h"}
		for n := range 500 {
			b.Rows = append(b.Rows, spentAttempt(from+n))
		}
		if _, err := s.Ship(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	var out, told bytes.Buffer
	run := func(command string, spend spendCmd) error {
		t.Helper()
		out.Reset()
		told.Reset()
		p := &boot.Process{Stdout: &out, Stderr: &told}
		return runSpend(t.Context(), p, &cli{Spend: spend}, command, target, migrate.Options{Log: slog.New(slog.DiscardHandler)})
	}
	export := func(e spendExport) error {
		t.Helper()
		return run("spend export", spendCmd{Export: e})
	}
	check := func(e spendExport, count int, sum money.Nano) []string {
		t.Helper()
		if err := export(e); err != nil {
			t.Fatal(err)
		}
		text := out.Bytes()
		if e.Out != "" {
			if text, err = os.ReadFile(e.Out); err != nil {
				t.Fatal(err)
			}
		}
		costs, first := costsOf(t, e.Format, text)
		var got money.Nano
		for _, c := range costs {
			got += c
		}
		if len(costs) != count || got != sum || !strings.Contains(told.String(), fmt.Sprint(count, " rows, done")) {
			t.Errorf("%+v: %d rows of %s, not %d of %s; %q", e, len(costs), got, count, sum, told.String())
		}
		return first
	}
	sumTo := func(n int) (sum money.Nano) {
		for i := range n {
			sum += spentAttempt(i).Cost
		}
		return sum
	}
	first := check(spendExport{From: "2026-11-20", To: "2026-11-21", Format: "csv"}, rows, sumTo(rows))
	if want := "0"; first[1] != want || first[2] != "2026-11-20T23:00:00.000000Z" || first[11] != "'=cmd()" || first[31] != "1.000000001" {
		t.Errorf("%q", first)
	}
	check(spendExport{From: "2026-11-20", To: "2026-11-20", Format: "jsonl"}, 3600, sumTo(3600))
	check(spendExport{From: "2026-11-20T22:00:00Z", To: "2026-11-20T23:00:10Z", Format: "csv"}, 10, sumTo(10))
	check(spendExport{From: "2026-12-20", To: "2026-12-21", Format: "csv"}, 0, 0)
	file := filepath.Join(t.TempDir(), "spend.csv")
	check(spendExport{From: "2026-11-20", To: "2026-11-21", Format: "csv", Out: file}, rows, sumTo(rows))
	refused := func(err error, code int, text string) {
		t.Helper()
		var e *boot.ExitError
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, not %d with %q", err, code, text)
		}
	}
	refused(export(spendExport{From: "2026-11-20", To: "2026-11-21", Format: "csv", Out: file}), fleet.ExitConfig, "exists already")
	refused(export(spendExport{From: "2026-11-21", To: "2026-11-20", Format: "csv"}), fleet.ExitConfig, "is not before")
	refused(export(spendExport{From: "yesterday", To: "2026-11-20", Format: "csv"}), fleet.ExitConfig, "--from yesterday is no date")

	days := spendReconcile{From: "2026-11-19", To: "2026-11-22", Deep: true}
	if err := run("spend reconcile", spendCmd{Reconcile: days}); err != nil || !strings.Contains(out.String(), fmt.Sprintf("drift $0.0: 4 days from 2026-11-19 to 2026-11-22, %d rows", rows)) {
		t.Errorf("%v %s", err, out.String())
	}
	// A row that nothing was added for.
	if _, err := s.Ship(t.Context(), &store.Batch{Host: "h", Rows: append((&store.Batch{}).Rows, spentAttempt(rows+1)), Uncounted: true}); err != nil {
		t.Fatal(err)
	}
	refused(run("spend reconcile", spendCmd{Reconcile: days}), fleet.ExitFailed, "differ from their rows by $1.0000")
	if !strings.Contains(out.String(), "day 2026-11-21, key t") || !strings.Contains(out.String(), "-1") {
		t.Error(out.String())
	}
	days.JSON = true
	refused(run("spend reconcile", spendCmd{Reconcile: days}), fleet.ExitFailed, "differ")
	var report reconcileReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Drift != spentAttempt(rows+1).Cost || report.Places[0].Requests != -1 {
		t.Errorf("%v %s", err, out.String())
	}
	refused(run("spend reconcile", spendCmd{Reconcile: spendReconcile{From: "x"}}), fleet.ExitConfig, "--from x is no date")
	refused(run("spend reconcile", spendCmd{Reconcile: spendReconcile{From: "2026-11-02", To: "2026-11-01"}}), fleet.ExitConfig, "nothing would be compared")
}

// costsOf reads the costs out of an export, and the first row of a table.
func costsOf(t *testing.T, format string, text []byte) (costs []money.Nano, first []string) {
	t.Helper()
	var texts []string
	if format == "csv" {
		lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		if err != nil || strings.Join(lines[0], ",") != strings.Join(exportColumns, ",") {
			t.Fatal(err, lines)
		}
		for _, l := range lines[1:] {
			texts = append(texts, l[31])
		}
		if len(lines) > 1 {
			first = lines[1]
		}
	} else {
		for line := range strings.Lines(string(text)) {
			var doc struct {
				Cost json.Number `json:"cost"`
			}
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Fatal(err)
			}
			texts = append(texts, doc.Cost.String())
		}
	}
	for _, text := range texts {
		n, err := money.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		costs = append(costs, n)
	}
	return costs, first
}

// TestSpendExportFinish: a file that the disk may not have whole does not get its
// name.
func TestSpendExportFinish(t *testing.T) {
	name := filepath.Join(t.TempDir(), "spend.csv")
	for _, broken := range []bool{true, false} {
		f, err := os.Create(name + ".part")
		if err != nil {
			t.Fatal(err)
		}
		if broken { // what is closed cannot be synced
			_ = f.Close()
		}
		err = finishExport(f, name)
		if _, there := os.Stat(name); (err == nil) == broken || (there == nil) == broken {
			t.Errorf("broken %t: %v, %v", broken, err, there)
		}
	}
}
