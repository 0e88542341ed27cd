package main

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func table2(nginx, other []*sample) *table {
	t := &table{Samples: map[string][]*sample{}, Medians: map[string]*sample{}, Ratios: map[string]*ratioPairs{}, Streams: 1, Rounds: len(nginx)}
	for i := range nginx {
		t.add("nginx", nginx[i])
		t.add("other", other[i])
	}
	return t
}

func TestRatiosPairRounds(t *testing.T) {
	got := table2(
		[]*sample{{CPU: 10, EventCPU: 5}, {CPU: 20, EventCPU: 5}, {CPU: 40, EventCPU: 5}},
		[]*sample{{CPU: 15, EventCPU: 5}, {CPU: 30, EventCPU: 10}, {CPU: 100, EventCPU: 15}},
	)
	if r := got.Ratios["other"]; r.CPU == nil || *r.CPU != 1.5 || r.EventCPU == nil || *r.EventCPU != 2 {
		t.Errorf("ratios: %+v", r)
	}
	if m := got.Medians["other"]; m.CPU != 30 {
		t.Errorf("median: %+v", m)
	}
}

func TestNoRatioWhereErrorsHappened(t *testing.T) {
	for _, at := range []string{"nginx", "other"} {
		nginx, other := &sample{CPU: 10, EventCPU: 5}, &sample{CPU: 15, EventCPU: 10}
		bad := map[string]*sample{"nginx": nginx, "other": other}[at]
		bad.Errors, bad.EventErrs = 1, 1
		got := table2([]*sample{nginx}, []*sample{other})
		if r := got.Ratios["other"]; r.CPU != nil || r.EventCPU != nil {
			t.Errorf("errors at %s: %+v", at, r)
		}
		var text strings.Builder
		got.write(&text)
		if strings.Contains(text.String(), "1.50") || strings.Contains(text.String(), "2.00") {
			t.Errorf("errors at %s: a ratio was printed:\n%s", at, text.String())
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestResultOfWrk(t *testing.T) {
	m := resultLine.FindStringSubmatch("Running 2s test\nRequests/sec: 1\nRESULT 34242 2000123 0 1486 69177\n")
	if len(m) != 6 || m[1] != "34242" || m[5] != "69177" {
		t.Errorf("got %q", m)
	}
}

func TestTreeCountsChildren(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sh -c 'while :; do :; done' & wait")
	p := &process{contender: contender{name: "spin"}, cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	for deadline := time.Now().Add(10 * time.Second); p.cpu() == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("no CPU time in 10 s: %+v", p.tree())
		}
		time.Sleep(10 * time.Millisecond)
	}
	all := p.tree()
	if len(all) != 2 || p.rss() == 0 {
		t.Errorf("tree %+v, rss %d", all, p.rss())
	}
	p.stop()
	for _, was := range all {
		for deadline := time.Now().Add(10 * time.Second); alive(was); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d lives on", was.pid)
			}
		}
	}
}

// alive tells whether the task runs; a zombie that nobody has reaped does not.
func alive(was task) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(was.pid) + "/stat")
	now, ok := read(was.pid)
	return err == nil && ok && now.started == was.started && !strings.Contains(string(b), ") Z ")
}
