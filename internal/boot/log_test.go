package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/env"
	"sluice/internal/logtest"
)

// records decodes what a JSON log wrote.
func records(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

type panickyError struct{}

func (n *panickyError) Error() string { return fmt.Sprint(*n) }

func TestLogJSON(t *testing.T) {
	var buf bytes.Buffer
	l := NewLogger(&buf, LogOptions{Program: "proxy", JSON: true, Attrs: []slog.Attr{slog.Int("slot", 3)}})
	l.With(slog.String("a", "b\"\n\x00\xff…\x7f")).WithGroup("g").Warn("it \"broke\"",
		slog.Any("err", errors.New("boom")), slog.Any("key", env.Secret("sk-hidden")), slog.Float64("nan", 0/zero),
		slog.Duration("took", 1500*time.Millisecond), slog.Group("in", slog.Bool("ok", true)), slog.Any("nil", (*panickyError)(nil)))
	l.Debug("not written")
	l.SetLevel(slog.LevelDebug)
	l.Emit(slog.LevelDebug, "written", []slog.Attr{slog.Uint64("n", 7)})
	if !l.Close() {
		t.Error("Close lost lines")
	}
	got := records(t, buf.String())
	if len(got) != 2 {
		t.Fatalf("%d lines: %s", len(got), buf.String())
	}
	want := map[string]any{
		"message": `it "broke"`, "level": "WARNING", "program": "proxy", "slot": 3.0, "a": "b\"\n\x00\ufffd…\x7f",
		"g.err": "boom", "g.key": "…", "g.nan": "NaN", "g.took": 1.5, "g.in.ok": true, "g.nil": "*boot.panickyError",
	}
	for key, value := range want {
		if got[0][key] != value {
			t.Errorf("%s = %#v, want %#v", key, got[0][key], value)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, got[0]["timestamp"].(string)); err != nil {
		t.Error(err)
	}
	if got[1]["message"] != "written" || got[1]["level"] != "DEBUG" || got[1]["n"] != 7.0 || got[1]["slot"] != 3.0 {
		t.Errorf("second line: %v", got[1])
	}
}

var zero float64

func TestLogText(t *testing.T) {
	var buf bytes.Buffer
	l := NewLogger(&buf, LogOptions{})
	l.Info("a message", slog.String("k", "two words"), slog.String("e", ""), slog.String("p", "plain"), slog.String("nl", "x\ny"))
	l.Close()
	_, rest, _ := strings.Cut(buf.String(), " ")
	if want := "INFO a message k=\"two words\" e=\"\" p=plain nl=\"x\\ny\"\n"; rest != want {
		t.Errorf("got %q, want %q", rest, want)
	}
}

func TestLogSummarisesFloods(t *testing.T) {
	var buf bytes.Buffer
	l := NewLogger(&buf, LogOptions{JSON: true, Program: "proxy"})
	for range 1000 {
		l.Error("flood")
		l.Info("access")
	}
	l.Error("another")
	l.Close()
	count := map[string]int{}
	for _, r := range records(t, buf.String()) {
		count[r["message"].(string)]++
		if r["message"] == "message repeated" && (r["repeated"] != "flood" || r["suppressed"] != 990.0 || r["program"] != "proxy") {
			t.Errorf("summary: %v", r)
		}
	}
	if count["flood"] != 10 || count["access"] != 1000 || count["another"] != 1 || count["message repeated"] != 1 {
		t.Errorf("lines: %v", count)
	}
	if l.Suppressed() != 990 {
		t.Errorf("Suppressed = %d", l.Suppressed())
	}
}

func TestLogTellsOfFloodsUnasked(t *testing.T) {
	var buf logtest.Log
	l := NewLogger(&buf, LogOptions{})
	defer l.Close()
	for range 20 {
		l.Error("flood")
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(buf.String(), "suppressed=10"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no summary: %s", buf.String())
		}
	}
}

// TestLogStoppedReader fills a pipe that nobody reads: callers must go on,
// memory is bounded, what is lost is counted and told of.
func TestLogStoppedReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := NewLogger(w, LogOptions{JSON: true})
	line := strings.Repeat("x", 1000)
	start := time.Now()
	for range 12_000 {
		l.Info("access", slog.String("pad", line))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("callers waited %v", took)
	}
	if l.Dropped() == 0 {
		t.Error("nothing was dropped of 12 MB")
	}
	l.sink.mu.Lock()
	held := len(l.sink.pending) + l.sink.writing
	l.sink.mu.Unlock()
	if held > maxPending {
		t.Errorf("%d bytes are held", held)
	}
	start = time.Now()
	if l.Close() {
		t.Error("Close says that all was written")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Close waited %v", took)
	}
	_ = r.Close()
	<-l.sink.done
	_ = w.Close()
}

func TestLogTellsOfDrops(t *testing.T) {
	gate := make(chan struct{})
	var buf logtest.Log
	l := NewLogger(writerFunc(func(p []byte) (int, error) { <-gate; return buf.Write(p) }), LogOptions{JSON: true})
	line := strings.Repeat("x", 60<<10)
	for range 300 {
		l.Info("big", slog.String("pad", line))
	}
	close(gate)
	// Nothing more is logged: the drops must be told of all the same.
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(buf.String(), `"dropped":`); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the drops are not told of")
		}
	}
	l.Close()
	total := 0.0
	big := 0
	for _, r := range records(t, buf.String()) {
		if n, ok := r["dropped"].(float64); ok {
			total += n
		} else {
			big++
		}
	}
	if total != float64(l.Dropped()) || l.Dropped() == 0 || big+int(l.Dropped()) != 300 {
		t.Errorf("written %d, dropped %d, told of %v", big, l.Dropped(), total)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestLogCutsLongLines(t *testing.T) {
	for _, asJSON := range []bool{true, false} {
		var buf bytes.Buffer
		l := NewLogger(&buf, LogOptions{JSON: asJSON})
		l.Info("m", slog.String("pad", strings.Repeat("y", 200<<10)))
		l.Close()
		if buf.Len() > maxLine+8 || !strings.HasSuffix(buf.String(), "\n") {
			t.Errorf("json %v: %d bytes", asJSON, buf.Len())
		}
		if asJSON && records(t, buf.String())[0]["message"] != "log line too long" {
			t.Errorf("got %.100s", buf.String())
		}
	}
}

func TestLogConcurrent(t *testing.T) {
	var buf bytes.Buffer
	l := NewLogger(&buf, LogOptions{JSON: true})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				l.Info("access", slog.Int("i", i), slog.Int("n", n))
				l.SetLevel(slog.LevelInfo)
			}
		})
	}
	wg.Wait()
	l.Close()
	l.Info("after close")
	if got := len(records(t, buf.String())); got != 4000 {
		t.Errorf("%d lines", got)
	}
}

func FuzzAppendEscaped(f *testing.F) {
	f.Add("a\"\\\x00\xff\u2028…")
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendQuoted(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && len([]rune(back)) != len([]rune(s)) {
			t.Errorf("%q became %q, %v", s, back, err)
		}
	})
}

func BenchmarkEmit(b *testing.B) {
	l := NewLogger(writerFunc(func(p []byte) (int, error) { return len(p), nil }), LogOptions{JSON: true})
	defer l.Close()
	attrs := accessAttrs()
	b.ReportAllocs()
	for b.Loop() {
		l.Emit(slog.LevelInfo, "request", attrs)
	}
}

func accessAttrs() []slog.Attr {
	return []slog.Attr{
		slog.String("id", "01890a5d-ac96-774b-bcce-b302099a8057"), slog.String("model", "gpt-4o"), slog.Int("status", 200),
		slog.Int64("duration_us", 12345), slog.Int64("prompt_tokens", 12), slog.Bool("stream", false), slog.String("route", "/v1/chat/completions"),
	}
}
