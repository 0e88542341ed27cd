package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/llm"
)

type priceOfTest struct{}

func (priceOfTest) Version() int64   { return 7 }
func (priceOfTest) Document() []byte { return []byte(`{"input":"1"}`) }

// TestJournal: segments are listed, dumped and verified beside their writer, by
// name and by file, and damage is told.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	w, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal"), Host: "host-1", Holder: strings.Repeat("0a", 16), Bound: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	in := bill.Intent{
		RequestID: [16]byte{1, 2, 15: 255}, At: 5, Token: "digest", Model: "gpt-4o", Price: 7, Reserved: 2_500_000_000,
		Accounts: []bill.Account{{Kind: bill.KindKey, ID: "digest", Window: "30d", Leased: true}},
	}
	s := bill.Settle{At: 9, Status: bill.StatusSuccess, Usage: llm.Usage{Input: 10, CachedIn: 4}, Cost: 1_500}
	if err := w.Intent(&in, priceOfTest{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Settle(in.RequestID, 0, &s); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	run := func(command string, args cli) (string, error) {
		t.Helper()
		out.Reset()
		args.StateDir = dir
		err := runJournal(&boot.Process{Stdout: &out, Stderr: &out, Environ: (*env.Environ)(nil).With(nil)}, &args, command)
		return out.String(), err
	}
	var list struct {
		Segments []segmentStatus `json:"segments"`
		Waiting  int64           `json:"waiting_bytes"`
	}
	var args cli
	args.Journal.List.JSON = true
	text, err := run("journal list", args)
	if err == nil {
		err = json.Unmarshal([]byte(text), &list)
	}
	if err != nil || len(list.Segments) != 1 || list.Segments[0].State != "writing" || list.Waiting == 0 || list.Segments[0].Host != "host-1" {
		t.Fatalf("listed %s, %v", text, err)
	}
	name := filepath.Base(list.Segments[0].Segment)
	if text, err := run("journal list", cli{}); err != nil || !strings.Contains(text, name) || !strings.Contains(text, "1 segments") {
		t.Errorf("listed %s, %v", text, err)
	}
	for _, segment := range []string{name, list.Segments[0].Segment} {
		var args cli
		args.Journal.Dump.Segment = []string{segment}
		text, err := run("journal dump <segment>", args)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(strings.NewReader(text))
		for _, want := range []string{
			`"document":{"input":"1"}`,
			`"accounts":[{"id":"digest","kind":"key","leased":true,"window":"30d"}]`,
			`"cost":0.0000015`,
		} {
			if lines.Scan(); !strings.Contains(lines.Text(), want) || !json.Valid(lines.Bytes()) {
				t.Errorf("%s is not in %s", want, lines.Text())
			}
		}
		for _, want := range []string{`"request_id":"01020000-0000-0000-0000-0000000000ff"`, `"reserved":2.5`, `"usage":{"cached_in":4,"input":10}`, `"status":"success"`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in %s", want, text)
			}
		}
	}
	if text, err := run("journal verify", cli{}); err != nil || !strings.Contains(text, "3 records") {
		t.Errorf("verified %s, %v", text, err)
	}
	args.Journal.Verify.Segment = []string{"nothing.seg"}
	if _, err := run("journal verify <segment>", args); err == nil || !strings.Contains(err.Error(), "nothing.seg") {
		t.Errorf("a segment that is not there: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(list.Segments[0].Segment)
	if err != nil {
		t.Fatal(err)
	}
	b[journal.Start+30] ^= 1
	if err := os.WriteFile(list.Segments[0].Segment, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "journal", "noise.seg"), []byte("noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err = run("journal verify", cli{})
	if err == nil || !strings.Contains(text, "is damaged from 4096") || !strings.Contains(text, "noise.seg cannot be read") {
		t.Errorf("verified %s, %v", text, err)
	}
}
