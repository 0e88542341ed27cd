package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestReadExposition(t *testing.T) {
	s := newSamples()
	s.read([]byte("# HELP a text\n# TYPE a counter\na{x=\"}\\\"{ \"} 3\na 4.5 1700000000\n\nbroken\nalso{broken 1\nb_total nonsense\nc{} +Inf\nd NaN"))
	want := map[string]float64{`a{x="}\"{ "}`: 3, "a": 4.5, "c{}": math.Inf(1)}
	for series, v := range want {
		if p := s.series[series]; p == nil || *p != v {
			t.Errorf("%s: got %v, want %v", series, p, v)
		}
	}
	if n := len(s.series); n != 4 {
		t.Errorf("%d series, want 4: %v", n, s.series)
	}
	if s.types["a"] != "counter" {
		t.Errorf("type of a is %q", s.types["a"])
	}
}

func TestMergeGauges(t *testing.T) {
	l := newLedger(1)
	text := func(n int) []byte {
		return fmt.Appendf(nil, "conns_connections %d\nconfig_generation %d\nodd_gauge{a=\"b\"} %d\ngo_goroutines %d\nreq_total %d\n", n, n, n, n, n)
	}
	l.take(0, 1, text(1)) // a lame duck beside its successor
	l.take(0, 3, text(3))
	l.take(1, 2, text(10))
	got := map[string]float64{}
	for _, x := range l.merged() {
		got[x.series] = x.value
	}
	want := map[string]float64{
		"conns_connections": 14, "config_generation": 10, `odd_gauge{a="b",slot="0"}`: 3, `odd_gauge{a="b",slot="1"}`: 10,
		`go_goroutines{slot="0",generation="3"}`: 3, `go_goroutines{slot="1",generation="2"}`: 10, "req_total": 14,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("merged:\n got %v\nwant %v", got, want)
	}
	if per := l.perWorker(); len(per) != 15 {
		t.Errorf("%d series of single workers, want 15", len(per))
	}
}

// worker is a process that counts, for the property test.
type worker struct {
	slot, generation int
	requests         int
	seconds          []int // histogram, not cumulative
}

var bounds = []string{"0.1", "1", "10", "+Inf"}

func (w *worker) work() {
	w.requests += rand.IntN(50)
	w.seconds[rand.IntN(len(w.seconds))] += rand.IntN(10)
}

func (w *worker) text() []byte {
	var b strings.Builder
	b.WriteString("# TYPE requests_total counter\nrequests_total{route=\"x\"} " + strconv.Itoa(w.requests) + "\n# TYPE seconds histogram\n")
	sum := 0
	for i, le := range bounds {
		sum += w.seconds[i]
		b.WriteString("seconds_bucket{le=\"" + le + "\"} " + strconv.Itoa(sum) + "\n")
	}
	b.WriteString("seconds_sum 1\nseconds_count " + strconv.Itoa(sum) + "\n")
	return []byte(b.String())
}

// TestCountersNeverGoBack recycles, kills and restarts at random. Recycled
// workers leave a dump, killed ones nothing, and healthd itself is killed
// between two rounds.
func TestCountersNeverGoBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "base.json")
	l := newLedger(7)
	next := 0
	var workers []*worker
	start := func(slot int) {
		next++
		workers = append(workers, &worker{slot: slot, generation: next, seconds: make([]int, len(bounds))})
	}
	for slot := range 3 {
		start(slot)
	}
	before := map[string]float64{}
	for round := range 2000 {
		for _, w := range workers {
			w.work()
			if rand.IntN(10) > 0 { // some scrapes fail
				l.take(w.slot, w.generation, w.text())
			}
		}
		i := rand.IntN(len(workers))
		w := workers[i]
		switch rand.IntN(6) {
		case 0: // recycled
			w.work()
			dump := w.text()
			l.fold(w.slot, w.generation, dump)
			l.fold(w.slot, w.generation, dump) // healthd saw the file twice
			workers = append(workers[:i], workers[i+1:]...)
			start(w.slot)
		case 1: // killed
			l.fold(w.slot, w.generation, nil)
			workers = append(workers[:i], workers[i+1:]...)
			start(w.slot)
		case 2: // a torn dump
			text := w.text()
			l.fold(w.slot, w.generation, text[:rand.IntN(len(text))])
			workers = append(workers[:i], workers[i+1:]...)
			start(w.slot)
		}
		if err := l.save(path); err != nil {
			t.Fatal(err)
		}
		lines := l.merged()
		if rand.IntN(5) == 0 { // healthd was killed
			var err error
			if l, err = loadLedger(path, 7); err != nil {
				t.Fatal(err)
			}
			lines = l.merged()
		}
		now := map[string]float64{}
		for _, row := range strings.Split(strings.TrimSpace(string(render(lines))), "\n") {
			if series, value, ok := strings.Cut(row, "} "); ok {
				now[series], _ = strconv.ParseFloat(value, 64)
			}
		}
		for series, v := range before {
			if now[series] < v {
				t.Fatalf("round %d: %s fell from %v to %v", round, series, v, now[series])
			}
		}
		last := -1.0
		for _, le := range bounds {
			v := now[`seconds_bucket{le="`+le+`"`]
			if v < last {
				t.Fatalf("round %d: bucket %s is %v, the one before %v", round, le, v, last)
			}
			last = v
		}
		before = now
	}
	if len(before) < 5 {
		t.Fatalf("too few series to mean anything: %v", before)
	}
}

func TestLedgerOfAnotherLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "base.json")
	l := newLedger(1)
	l.take(0, 1, []byte("a_total 5\n"))
	if err := l.save(path); err != nil {
		t.Fatal(err)
	}
	l, err := loadLedger(path, 2)
	if err != nil || len(l.merged()) != 0 {
		t.Errorf("merged of a new life: %v, %v", l.merged(), err)
	}
}

func FuzzReadExposition(f *testing.F) {
	f.Add([]byte("# TYPE a counter\na{b=\"c\"} 1 2\n"))
	f.Add([]byte("a_bucket{le=\"+Inf\"} 1\na_bucket{x=\"\\\\\",le=\"1\"} 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLedger(1)
		l.take(0, 1, text)
		l.take(1, 2, text)
		once := render(l.merged())
		again := newSamples()
		again.read(once)
		l.fold(0, 1, nil)
		_ = render(l.perWorker())
	})
}
