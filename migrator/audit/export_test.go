package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"io"
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

// FuzzArchive: reading anything ends, and what is taken for a whole archive is
// one to the letter.
func FuzzArchive(f *testing.F) {
	first, _ := encoded(head{Format: format, First: 3, Previous: digest{1}})
	row, _ := encoded(lineOf(&chain.Row{Number: 3, Actor: "a", After: []byte("{}"), Key: "k", MAC: []byte{7}}))
	last, _ := encoded(foot{Rows: 1, Last: 3, MAC: digest{7}})
	f.Add(bytes.Join([][]byte{first, row, last, nil}, []byte("\n")))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a := &archive{path: "fuzz", file: io.NopCloser(nil), in: bufio.NewReaderSize(bytes.NewReader(text), 16), sum: sha256.New()}
		if a.begin() != nil {
			return
		}
		h, _ := encoded(a.head)
		again := append(h, '\n')
		for {
			r, err := a.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			b, _ := encoded(lineOf(r))
			again = append(append(again, b...), '\n')
		}
		b, _ := encoded(a.foot)
		if again = append(append(again, b...), '\n'); !bytes.Equal(again, text) {
			t.Errorf("%q was taken for %q", text, again)
		}
	})
}

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
