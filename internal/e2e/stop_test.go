//go:build e2e

package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/supervisor/fleet"
)

// streams is 200 streams, one each on a connection of its own that is used for
// nothing else while d lasts.
func (a *Appliance) streams(n int, d time.Duration) loadgen.Spec {
	spec := a.Mix(d)
	for _, c := range spec.Classes {
		if c.Stream {
			c.Conns = n
			spec.Classes = []loadgen.Class{c}
			break
		}
	}
	return spec
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

// TERM with 200 open streams: not ready at once, alive all the time, every
// stream ends whole, exit 0.
func TestStopWithStreams(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{Config: MixConfig(p)})
	load := StartLoad(t, a.streams(200, time.Minute))
	a.WaitStatus(20*time.Second, "streaming", func(s fleet.Status) bool { return open(s) >= 190 })
	a.client.CloseIdleConnections()
	a.Signal(syscall.SIGTERM)
	load.cancel() // no new streams; what runs goes on
	deadline, notReady := time.Now().Add(2*time.Second), time.Duration(0)
	for began := time.Now(); notReady == 0 && time.Now().Before(deadline); {
		if status, err := a.readiness(); err == nil && status == http.StatusServiceUnavailable {
			notReady = time.Since(began)
		}
	}
	if notReady == 0 {
		t.Error("readiness is not 503 within 2 s of TERM")
	}
	if r, err := a.Health("/health/liveliness"); err != nil || r.Status != http.StatusOK {
		t.Errorf("liveness while draining: %v %+v", err, r)
	}
	r := load.Wait()
	a.client.CloseIdleConnections()
	t.Logf("readiness 503 after %v", notReady)
	NoneFailed(t, r)
	if code := a.Wait(30 * time.Second); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}

// A window shorter than the streams: an error event in each, then the end, and
// the count in the log.
func TestStopCutsStreams(t *testing.T) {
	p := Provider(t)
	config := strings.ReplaceAll(MixConfig(p), "n=20-200,every=10ms", "n=3000,every=10ms")
	a := boot(t, Options{Config: config, Env: map[string]string{"SUPERVISORD_STOPWAITSECS": "2"}})
	spec := a.streams(20, time.Minute)
	spec.Classes[0].Expect = nil
	load := StartLoad(t, spec)
	a.WaitStatus(20*time.Second, "streaming", func(s fleet.Status) bool { return open(s) >= 20 })
	a.client.CloseIdleConnections()
	load.cancel()
	began := time.Now()
	a.Signal(syscall.SIGTERM)
	code := a.Wait(30 * time.Second)
	took := time.Since(began)
	r := load.Wait()
	t.Log("\n" + Text(r))
	events := 0
	for _, f := range r.Failures {
		if f.Kind == loadgen.KindErrorEvent {
			events++
		}
	}
	if events != 20 {
		t.Errorf("%d of 20 streams ended with an error event", events)
	}
	if code != fleet.ExitFailed {
		t.Errorf("exit %d, want %d: something was cut", code, fleet.ExitFailed)
	}
	if took < 2*time.Second || took > 8*time.Second {
		t.Errorf("a window of 2 s took %v", took)
	}
	if !strings.Contains(a.Log(), "cut=") {
		t.Error("the log has no count of what was cut")
	}
}

// Killed with -9 and started again with the same state directory under load,
// the supervisor costs no request, and nothing is left over.
func TestSupervisorKilled(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{Config: MixConfig(p)})
	load := StartLoad(t, a.Mix(5*time.Minute))
	for range length(3, 5) {
		time.Sleep(time.Second)
		before := a.MustStatus()
		a.Kill9()
		time.Sleep(300 * time.Millisecond)
		a.Start()
		a.WaitStatus(20*time.Second, "ready with new generations", func(s fleet.Status) bool {
			if s.State != "ready" || len(s.Slots) != len(before.Slots) {
				return false
			}
			for i, slot := range s.Slots {
				if len(slot.Generations) == 0 || slot.Generations[0].State != "ready" ||
					slot.Generations[0].Generation <= before.Slots[i].Generations[0].Generation {
					return false
				}
			}
			return true
		})
	}
	NoneFailed(t, load.Stop())
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}
