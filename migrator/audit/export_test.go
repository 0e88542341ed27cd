package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"sluice/proxy/chain"
)

func TestExport(t *testing.T) {
	each(t, func(w *world) {
		ctx := context.Background()
		w.changes(25)
		var rows []chain.Row
		if err := w.store.Record(ctx, 0, func(r chain.Row) error { rows = append(rows, r); return nil }); err != nil {
			w.Fatal(err)
		}
		var out bytes.Buffer
		if err := Export(ctx, w.store, Range{From: w.hour(6), To: w.hour(16)}, JSONL, &out); err != nil {
			w.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 10 {
			w.Fatalf("%d lines: %s", len(lines), out.String())
		}
		for i, text := range lines {
			var l line
			if err := exactly([]byte(text), &l); err != nil {
				w.Fatal(err)
			}
			r, err := l.row()
			if err != nil || !bytes.Equal(chain.MAC([32]byte{}, nil, &r), chain.MAC([32]byte{}, nil, &rows[i+5])) || !bytes.Equal(r.MAC, rows[i+5].MAC) {
				w.Errorf("%s is not %+v: %v", text, rows[i+5], err)
			}
		}
		out.Reset()
		if err := Export(ctx, w.store, Range{}, CSV, &out); err != nil {
			w.Fatal(err)
		}
		table, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(table) != 26 || len(table[0]) != len(columns) {
			w.Fatalf("%d rows, %v", len(table), err)
		}
		for i, cells := range table[1:] {
			claimed := strings.ReplaceAll(rows[i].ClaimedActor, "\r\n", "\n")
			if strings.HasPrefix(claimed, "=") {
				claimed = "'" + claimed
			}
			if cells[4] != claimed || cells[9] != string(rows[i].After) || cells[0] == "" {
				w.Errorf("%q is not %+v", cells, rows[i])
			}
		}
		if err := Export(ctx, w.store, Range{}, JSONL, full{}); !errors.Is(err, errFull) {
			w.Errorf("a full disk: %v", err)
		}
	})
}

var errFull = errors.New("no space left")

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// FuzzLine: what can be read is written the same, and means the same.
func FuzzLine(f *testing.F) {
	for _, text := range odd {
		f.Add(text, []byte(text), int64(1), true)
	}
	f.Add("\xff\x00", []byte("\xfe"), int64(-5), false)
	f.Fuzz(func(t *testing.T, text string, after []byte, number int64, there bool) {
		r := chain.Row{Number: number, Actor: text, Reason: text + "x", Key: text, MAC: []byte{1, 2}}
		if there {
			r.After = append([]byte{}, after...)
		}
		b, err := encoded(lineOf(&r))
		if err != nil {
			t.Fatal(err)
		}
		var l line
		if err := exactly(b, &l); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		back, err := l.row()
		if err != nil || !bytes.Equal(chain.MAC([32]byte{}, nil, &back), chain.MAC([32]byte{}, nil, &r)) {
			t.Errorf("%+v became %+v: %v", r, back, err)
		}
		if bytes.ContainsRune(b, '\n') {
			t.Errorf("%s has an end of a line", b)
		}
	})
}
