//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

// streaming boots an appliance whose model "stream" answers by script, with a
// load that keeps n streams of it open, each on a connection of its own.
func streaming(t *testing.T, o Options, script string, n int) (*Appliance, loadgen.Spec) {
	t.Helper()
	o.Config = strings.ReplaceAll(MixConfig(Provider(t)), streamScript, script)
	a := boot(t, o)
	s, err := fakeprovider.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	return a, loadgen.Spec{
		Addr: a.Addr(), Key: a.Key, Duration: 5 * time.Minute, Timeout: 2 * time.Minute,
		Classes: []loadgen.Class{{
			Name: "stream", Conns: n, Stream: true, Model: "stream",
			Expect: func(dst []byte, id string) []byte { return append(dst, s.Shape.Stream(id, "stream", false)...) },
		}},
	}
}

// open counts the streams that are open.
func open(s fleet.Status) int64 {
	var n int64
	for _, slot := range s.Slots {
		for _, g := range slot.Generations {
			n += g.Streams
		}
	}
	return n
}

// answered counts the requests that living workers have answered.
func answered(s fleet.Status) uint64 {
	var n uint64
	for _, slot := range s.Slots {
		for _, g := range slot.Generations {
			n += g.Requests
		}
	}
	return n
}

func (a *Appliance) waitStreams(n int64) {
	a.t.Helper()
	a.WaitStatus(30*time.Second, "streaming", func(s fleet.Status) bool { return open(s) >= n })
}

// probes asks healthd for one path as fast as it answers, until it is away.
type probes struct {
	mu    sync.Mutex // guards what follows
	codes map[int]int
	first map[int]time.Time
	last  map[int]time.Time
	total int
	done  chan struct{}
}

// probe starts asking; it ends with the appliance.
func (a *Appliance) probe(path string) *probes {
	p := &probes{codes: map[int]int{}, first: map[int]time.Time{}, last: map[int]time.Time{}, done: make(chan struct{})}
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}
	go func() {
		defer close(p.done)
		defer client.CloseIdleConnections()
		for a.Running() {
			began := time.Now()
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.HealthURL()+path, http.NoBody)
			if err != nil {
				panic(err)
			}
			code := 0
			if resp, err := client.Do(req); err == nil {
				code = resp.StatusCode
				_ = resp.Body.Close()
			}
			p.mu.Lock()
			if p.codes[code]++; p.codes[code] == 1 {
				p.first[code] = began
			}
			p.last[code] = began
			p.total++
			p.mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return p
}

// TERM with 200 open streams, which last longer than the pre-stop delay: not
// ready at once, alive all the time, new connections served during the delay
// and refused after it, every stream ends whole, exit 0.
func TestStopWithStreams(t *testing.T) {
	const prestop = 2 * time.Second
	a, spec := streaming(t, Options{Env: map[string]string{"SLUICE_PRESTOP_DELAY": "2s"}}, "ok,n=300-400,every=20ms", 200)
	load := StartLoad(t, spec)
	a.waitStreams(200)
	a.client.CloseIdleConnections()
	ready, alive := a.probe("/health/readiness"), a.probe("/health/liveliness")
	for n := 0; n < 5; time.Sleep(5 * time.Millisecond) {
		alive.mu.Lock()
		n = alive.total
		alive.mu.Unlock()
	}
	a.Signal(syscall.SIGTERM)
	term := time.Now()
	load.cancel() // no new streams; what runs goes on
	served, refused := a.knock(t, term, prestop)
	r := load.Wait()
	a.client.CloseIdleConnections()
	code := a.Wait(30 * time.Second)
	took := time.Since(term)
	<-ready.done
	<-alive.done

	notReady := ready.first[http.StatusServiceUnavailable].Sub(term)
	t.Logf("show 3: TERM with 200 streams: %d whole, %d failed; readiness 503 after %v; %d liveness probes %v; %d new connections served in the pre-stop delay; refused those from %v on; exit %d after %v",
		r.Class("stream").OK, r.Failed(), notReady, alive.total, alive.codes, served, refused, code, took)
	NoneFailed(t, r)
	if r.Class("stream").OK < 200 {
		t.Errorf("%d streams ended, want 200", r.Class("stream").OK)
	}
	if ready.codes[http.StatusServiceUnavailable] == 0 || notReady > 250*time.Millisecond || ready.last[http.StatusOK].After(term.Add(250*time.Millisecond)) {
		t.Errorf("readiness after TERM: 503 after %v, probes %v", notReady, ready.codes)
	}
	// healthd stops last: only probes of the last moments may miss it.
	gone := alive.codes[0] > 0 && time.Since(alive.first[0]) > 2*time.Second+time.Since(term)-took
	if n := alive.codes[http.StatusOK] + alive.codes[0]; n != alive.total || gone {
		t.Errorf("liveness while stopping: %v", alive.codes)
	}
	if code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}

// knock opens new connections from the signal on: all are served until the
// pre-stop delay is over, then they are refused. It returns how many were
// served within the delay, and when the first was refused.
func (a *Appliance) knock(t *testing.T, term time.Time, prestop time.Duration) (served int, refused time.Duration) {
	t.Helper()
	spec := loadgen.Spec{
		Addr: a.Addr(), Key: a.Key, Model: "whole", Duration: prestop + 3*time.Second, Timeout: 20 * time.Second,
		Classes: []loadgen.Class{{Name: "new", Fresh: true, Rate: 50}},
	}
	r, err := loadgen.Run(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Failures {
		after := f.Due.Sub(term)
		if f.Kind != loadgen.KindRefused || after < prestop-50*time.Millisecond {
			t.Errorf("a new connection %v after TERM: %s %s", after, f.Kind, f.Detail)
		}
		if refused == 0 || after < refused {
			refused = after
		}
	}
	return r.Class("new").OK, refused
}

// A whole stop under the mixed load loses no request: whoever had connected is
// answered or told in order, and a new connection is refused before it carries
// a byte. The known-bad drain, which closes idle connections at once, loses some.
func TestStopUnderLoad(t *testing.T) {
	for _, bad := range []string{"", "shutdown-drain"} {
		t.Run("bad="+bad, func(t *testing.T) {
			o := Options{Workers: 4, Config: MixConfig(Provider(t))}
			if bad != "" {
				o.Variant, o.Env = Bad, map[string]string{"SLUICE_TEST_BAD": bad}
			}
			a := boot(t, o)
			spec := a.Mix(time.Minute)
			for i := range spec.Classes {
				if c := &spec.Classes[i]; c.Think > 0 {
					c.Conns, c.Late = 200, 100*time.Millisecond // learns of a close so much later
				}
			}
			load := StartLoad(t, spec)
			a.WaitStatus(30*time.Second, "under load", func(s fleet.Status) bool { return open(s) >= 10 && answered(s) >= 3000 })
			a.client.CloseIdleConnections()
			term := time.Now()
			a.Signal(syscall.SIGTERM)
			code := a.Wait(30 * time.Second)
			took := time.Since(term)
			r := load.Stop()
			lost := lost(r)
			t.Logf("show 3: TERM under load, known bad %q: %d requests, lost %d, refused %d; exit %d after %v", bad, r.Sent(), len(lost),
				kinds(r)[loadgen.KindRefused], code, took)
			if bad != "" {
				if len(lost) == 0 {
					t.Error("the known-bad drain lost nothing: the test does not see what it should")
				}
				return
			}
			for i, f := range lost {
				if i < 20 {
					t.Errorf("lost %v after TERM: %+v", f.At.Sub(term), f)
				}
			}
			if code != fleet.ExitOK || took > 12*time.Second {
				t.Errorf("exit %d after %v", code, took)
			}
		})
	}
}

// lost are the failures but for connections that were refused.
func lost(r *loadgen.Report) []loadgen.Failure {
	return slices.DeleteFunc(slices.Clone(r.Failures), func(f loadgen.Failure) bool { return f.Kind == loadgen.KindRefused })
}

// Idle connections do not hold a whole stop up: they are ended by FIN after a
// short quiet time, and one that is used before is answered. INT is like TERM.
func TestStopIdle(t *testing.T) {
	t.Parallel()
	a := boot(t, Options{Config: MixConfig(Provider(t))})
	conns := make([]*rawConn, 10)
	for i := range conns {
		conns[i] = a.dialRaw(t)
		conns[i].chat(t, "whole", fmt.Sprint("first-", i))
	}
	a.client.CloseIdleConnections()
	began := time.Now()
	a.Signal(syscall.SIGINT)
	time.Sleep(time.Second)
	for i, c := range conns[:3] {
		if r := c.chat(t, "whole", fmt.Sprint("again-", i)); r.StatusCode != http.StatusOK || !r.Close {
			t.Errorf("used while the appliance stops: %s, close %v", r.Status, r.Close)
		}
	}
	var ends sync.WaitGroup
	for _, c := range conns[3:] {
		ends.Go(func() { c.untilFIN(t, 20*time.Second); _ = c.nc.Close() })
	}
	ends.Wait()
	code := a.Wait(20 * time.Second)
	t.Logf("show 3: INT with 10 idle connections: exit %d after %v", code, time.Since(began))
	if took := time.Since(began); code != fleet.ExitOK || took > 10*time.Second {
		t.Errorf("exit %d after %v", code, took)
	}
	a.NoneLeft(time.Second)
}

// A window shorter than the streams: an error event in each, then the end,
// with the exact count in the log. A second TERM does the same to a long one.
func TestStopCutsStreams(t *testing.T) {
	for _, c := range []struct {
		name        string
		window      string
		signals     []syscall.Signal
		least, most time.Duration
		event       bool
	}{
		{"window", "2", []syscall.Signal{syscall.SIGTERM}, 2 * time.Second, 8 * time.Second, true},
		{"second TERM", "3600", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 29 * time.Second, 38 * time.Second, true},
		{"TERM then INT", "3600", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, 29 * time.Second, 38 * time.Second, true},
		{"QUIT", "3600", []syscall.Signal{syscall.SIGQUIT}, 0, 3 * time.Second, false},
		{"TERM then QUIT", "3600", []syscall.Signal{syscall.SIGTERM, syscall.SIGQUIT}, 0, 4 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const streams = 20
			o := Options{Env: map[string]string{"SUPERVISORD_STOPWAITSECS": c.window}}
			a, spec := streaming(t, o, "ok,n=6000,every=10ms", streams)
			load := StartLoad(t, spec)
			a.waitStreams(streams)
			a.client.CloseIdleConnections()
			load.cancel()
			began := time.Now()
			for i, s := range c.signals {
				if i > 0 {
					a.WaitStatus(5*time.Second, "stopping", func(s fleet.Status) bool { return s.State == fleet.StateStopping.String() })
				}
				a.Signal(s)
			}
			code := a.Wait(60 * time.Second)
			took := time.Since(began)
			r := load.Wait()
			got := kinds(r)
			t.Logf("show 3: %s with %d streams, window %s s: %v, exit %d after %v, log says cut %d", c.name, streams, c.window, got, code, took, a.cutCount())
			if c.event && got[loadgen.KindErrorEvent] != streams {
				t.Errorf("%d of %d streams ended with an error event: %v", got[loadgen.KindErrorEvent], streams, got)
			}
			if code != fleet.ExitFailed {
				t.Errorf("exit %d, want %d: something was cut", code, fleet.ExitFailed)
			}
			if took < c.least || took > c.most {
				t.Errorf("took %v, want %v to %v", took, c.least, c.most)
			}
			if n := a.cutCount(); n != streams {
				t.Errorf("the log says that %d were cut, want %d", n, streams)
			}
			a.NoneLeft(time.Second)
		})
	}
}

// cutCount is what the last line of the supervisor's log says was cut; -1 when
// it says nothing.
func (a *Appliance) cutCount() int {
	found := regexp.MustCompile(`(?m)^.*cut what had not ended.*program=supervisor.* cut=(\d+)`).FindStringSubmatch(a.Log())
	if found == nil {
		return -1
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		return -1
	}
	return n
}

// A supervisor that is killed while it stops, and started again: the listeners
// that refused are open again, and the streams of the old workers end whole.
func TestStopThenStartAgain(t *testing.T) {
	t.Parallel()
	a, spec := streaming(t, Options{}, "ok,n=900,every=10ms", 10)
	load := StartLoad(t, spec)
	a.waitStreams(10)
	a.client.CloseIdleConnections()
	load.cancel()
	a.Signal(syscall.SIGTERM)
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
		if errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		if err == nil {
			_ = c.Close()
		}
		if time.Now().After(deadline) {
			t.Fatalf("still not refused: %v", err)
		}
	}
	a.Kill9()
	a.Start()
	a.WaitReady(20 * time.Second)
	if r, err := a.Chat(`{"model":"whole","messages":[{"role":"user","content":"hello"}]}`); err != nil || r.Status != http.StatusOK {
		t.Errorf("after the start: %v %+v", err, r)
	}
	NoneFailed(t, load.Wait())
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}
