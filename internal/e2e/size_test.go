//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

// Sizes and times that are promised, in bytes of 10^6 a megabyte. What the
// kernel maps around a page fault differs from run to run, so that a size fails
// from a twentieth above its goal.
const (
	startGoal   = 500 * time.Millisecond
	idleGoal    = 60_000_000
	conns       = 10_000
	connsGoal   = 100_000_000
	openStreams = 5_000
	streamsGoal = 250_000_000 // not reached: see docs/performance.md
	streamsMost = 400_000_000
)

func over(bytes, goal int64) bool { return bytes > goal+goal/20 }

// quietly leaves the line of each request out of the log, so that a failed test
// shows what matters.
var quietly = map[string]string{"LITELLM_LOG": "WARNING"}

// From the start of the supervisor's process to readiness 200, on SQLite: the
// first start makes the database, the others find it.
func TestStartToReady(t *testing.T) {
	a := New(t, Options{})
	once := func() time.Duration {
		a.client.CloseIdleConnections()
		began := time.Now()
		a.Start()
		a.WaitReady(20 * time.Second)
		took := time.Since(began)
		if code := a.Stop(); code != fleet.ExitOK {
			t.Fatalf("stopped with %d\n%s", code, a.Tail(40))
		}
		return took
	}
	first := once()
	var took []time.Duration
	for range 10 {
		took = append(took, once())
	}
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("show 6: start to ready: first %v, then median %v, worst %v of %d", first, median, took[len(took)-1], len(took))
	if median > startGoal {
		t.Errorf("start to ready takes %v, want %v at most", median, startGoal)
	}
}

// What the idle appliance weighs, with 10,000 idle connections that were each
// used once, and with 5,000 open streams. The host table counts once.
func TestMemory(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{Config: MixConfig(p), Args: []string{"--keepalive_timeout", "1800"}, Env: quietly})
	a.client.CloseIdleConnections()
	idle := a.settledMemory()
	t.Logf("show 6: idle appliance with two workers: RSS %.1f MB, goal %.0f (PSS %.1f MB)", mega(idle), mega(idleGoal), mega(a.PSS()))
	for _, p := range a.Processes() {
		t.Logf("        %-10s %.1f MB", p.Program, mega(a.memoryOf(p.PID, "Rss:")))
	}
	if over(idle, idleGoal) {
		t.Errorf("the idle appliance has %.1f MB, want %.1f MB at most", mega(idle), mega(idleGoal))
	}

	open := a.openMany(t, conns)
	more := a.settledMemory() - idle
	t.Logf("show 6: %d idle connections, each used once: %.1f MB more, goal %.0f, %.1f KB each", conns, mega(more), mega(connsGoal), float64(more)/conns/1e3)
	if over(more, connsGoal) {
		t.Errorf("%d idle connections take %.1f MB, want %.1f MB at most", conns, mega(more), mega(connsGoal))
	}
	var wg sync.WaitGroup
	for _, c := range open { // all at once: a burst, and each still lives
		wg.Go(func() {
			if err := c.ask(a.Key, "whole"); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	a.WaitStatus(20*time.Second, "rid of the connections", func(s fleet.Status) bool { return connections(s) == 0 })
	after := a.settledMemory() - idle
	t.Logf("show 6: after all were used at once and closed: %.1f MB more than at first", mega(after))
	if over(after, connsGoal) {
		t.Errorf("a burst leaves %.1f MB, want %.1f MB at most", mega(after), mega(connsGoal))
	}
}

// openMany opens n connections and uses each once, some at a time.
func (a *Appliance) openMany(t *testing.T, n int) []*keptConn {
	t.Helper()
	const atOnce = 32
	open := make([]*keptConn, n)
	t.Cleanup(func() {
		for _, c := range open {
			if c != nil {
				_ = c.Close()
			}
		}
	})
	var wg sync.WaitGroup
	for k := range atOnce {
		wg.Go(func() {
			for i := k; i < n; i += atOnce {
				c, err := a.dial()
				if err == nil {
					open[i] = c
					err = c.ask(a.Key, "whole")
				}
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	s := a.MustStatus()
	if got := connections(s); got != int64(n) {
		t.Fatalf("%d connections are open, want %d", got, n)
	}
	return open
}

// Five thousand streams, each with an event a second, that none of them loses.
func TestStreamMemory(t *testing.T) {
	p := Provider(t)
	config := strings.ReplaceAll(MixConfig(p), streamScript, "ok,n=25,every=1s")
	a := boot(t, Options{Config: config, Env: quietly})
	a.client.CloseIdleConnections()
	idle := a.settledMemory()
	load := StartLoad(t, loadgen.Spec{
		Addr: a.Addr(), Key: a.Key, Model: "stream", Duration: time.Minute, Timeout: 2 * time.Minute,
		Classes: []loadgen.Class{{Name: "stream", Conns: openStreams, Stream: true}},
	})
	a.WaitStatus(60*time.Second, "streaming", func(s fleet.Status) bool { return open(s) >= openStreams })
	load.cancel()
	more := a.settledMemory() - idle
	t.Logf("show 6: %d open streams: %.1f MB more, goal %.0f, %.1f KB each", openStreams, mega(more), mega(streamsGoal), float64(more)/openStreams/1e3)
	if more > streamsMost {
		t.Errorf("%d streams take %.1f MB, want %.1f MB at most", openStreams, mega(more), mega(streamsMost))
	}
	NoneFailed(t, load.Wait())
}

// settledMemory is the resident memory of all programs, the host table once, a
// while after the last change: workers give the memory of a burst back when it
// is over, and again 5 s later.
func (a *Appliance) settledMemory() int64 {
	time.Sleep(8 * time.Second)
	return a.hostRSS()
}

// hostRSS sums the resident memory of all programs and takes the host table
// off for all but the one that has most of it in its pages.
func (a *Appliance) hostRSS() int64 {
	var sum, tables, largest int64
	for _, p := range a.Processes() {
		sum += a.memoryOf(p.PID, "Rss:")
		table := tableRSS(p.PID)
		tables += table
		largest = max(largest, table)
	}
	return sum - tables + largest
}

func tableRSS(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	in := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 6 && strings.Contains(f[0], "-"):
			in = strings.Contains(line, "memfd:host-table")
		case in && len(f) > 1 && f[0] == "Rss:":
			return kilobytes(f[1])
		}
	}
	return 0
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// connections counts the client connections that workers hold.
func connections(s fleet.Status) int64 {
	var n int64
	for _, slot := range s.Slots {
		for _, g := range slot.Generations {
			n += g.Connections
		}
	}
	return n
}

// A stranger is told so from the headers alone: before a byte of the body is
// sent, and before 100 Continue.
func TestStrangerBeforeBody(t *testing.T) {
	p := fakeprovider.Start(t)
	a := boot(t, Options{Config: MixConfig(p)})
	for _, c := range []struct{ name, header string }{
		{"no key", ""},
		{"wrong key", "Authorization: Bearer sk-wrong\r\n"},
		{"no key, expecting 100", "Expect: 100-continue\r\n"},
		{"wrong key, expecting 100", "Authorization: Bearer sk-wrong\r\nExpect: 100-continue\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			began := time.Now()
			_, err = fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n", 32<<20, c.header)
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			body, _ := io.ReadAll(r.Body)
			t.Logf("show 6: %s: %d after %v, no byte of 32 MiB sent", c.name, r.StatusCode, took)
			if r.StatusCode != http.StatusUnauthorized || !r.Close {
				t.Errorf("%d, close %v: %s", r.StatusCode, r.Close, body)
			}
			if took > time.Second {
				t.Errorf("the answer took %v", took)
			}
		})
	}
	// With the key the body is asked for, so the refusals above are about it.
	nc, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", a.Key, 32<<20)
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Errorf("with the key: %q %v, want 100 Continue", line, err)
	}
	if n := len(p.Ledger().All()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}
