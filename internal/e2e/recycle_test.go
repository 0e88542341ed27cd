//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/supervisor/fleet"
)

// recycle runs a load until the appliance has recycled so often.
func recycle(t *testing.T, a *Appliance, spec loadgen.Spec, recycles uint64, within time.Duration) *loadgen.Report {
	t.Helper()
	began := time.Now()
	spec.Duration = within + time.Minute
	load := StartLoad(t, spec)
	s := a.WaitStatus(within, "recycled often enough", func(s fleet.Status) bool {
		time.Sleep(200 * time.Millisecond) // the status is asked for by a process each time
		return s.Recycles.Total >= recycles
	})
	took := time.Since(began)
	r := load.Stop()
	t.Logf("show 1: %d recycles in %.0f s %v; %d requests, %d streams, %d failed", s.Recycles.Total, took.Seconds(),
		s.Recycles.ByReason, r.Sent(), r.Class("stream").Sent, r.Failed())
	return r
}

// recycling is what the tests of recycling boot: one more slot than processors,
// workers that live for a few hundred requests.
func recycling(p string) Options {
	return Options{
		Workers: 4, Config: p,
		Args: []string{"--max_requests_before_restart", "400", "--keepalive_timeout", "1800"},
	}
}

// fullLoad is the mixed load with so many new connections that a queue is
// seldom empty when a worker stops to accept.
func (a *Appliance) fullLoad() loadgen.Spec {
	spec := a.Mix(0)
	for i := range spec.Classes {
		if spec.Classes[i].Fresh {
			spec.Classes[i].Rate = 1000
		}
	}
	return spec
}

// Recycling at full load loses no request and cuts no stream, and a connection
// that was idle all the time is answered at the end.
func TestRecycle(t *testing.T) {
	a := boot(t, recycling(MixConfig(Provider(t))))
	withoutBelt(t)
	r := recycle(t, a, a.fullLoad(), uint64(length(200, 1000)), length(5*time.Minute, 30*time.Minute))
	NoneFailed(t, r)
	// Each is asked once as it is opened and once at the end.
	if idle := r.Class("idle"); idle.OK != 40 || idle.Connects != 20 || idle.ClosedIdle != 0 {
		t.Errorf("20 idle connections: %d answers over %d connects, %d closed", idle.OK, idle.Connects, idle.ClosedIdle)
	}
}

// The same over TLS, where a connection has more state to lose.
func TestRecycleTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	roots := certificate(t, certFile, keyFile)
	o := recycling(MixConfig(Provider(t)))
	o.Args = append(o.Args, "--ssl_certfile_path", certFile, "--ssl_keyfile_path", keyFile)
	a := boot(t, o)
	withoutBelt(t)
	spec := a.Mix(0)
	spec.TLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	r := recycle(t, a, spec, uint64(length(30, 200)), length(2*time.Minute, 10*time.Minute))
	NoneFailed(t, r)
	if idle := r.Class("idle"); idle.OK != 40 || idle.ClosedIdle != 0 {
		t.Errorf("20 idle connections: %d answers, %d closed", idle.OK, idle.ClosedIdle)
	}
}

// Two ways that do lose requests, so that it is known that the test can see it:
// workers that bind and close listeners of their own, and a drain that closes
// idle connections at once, as fasthttp's Shutdown does.
func TestRecycleKnownBad(t *testing.T) {
	for _, bad := range []string{"own-listener", "shutdown-drain"} {
		t.Run(bad, func(t *testing.T) {
			o := recycling(MixConfig(Provider(t)))
			o.Variant, o.Env = Bad, map[string]string{"SLUICE_TEST_BAD": bad}
			a := Boot(t, o)
			withoutBelt(t)
			r := recycle(t, a, a.fullLoad(), 50, 3*time.Minute)
			t.Logf("show 1, known bad %s: %v", bad, kinds(r))
			if r.Failed() == 0 {
				t.Errorf("%s lost none of %d requests: the test does not see what it should", bad, r.Sent())
			}
		})
	}
}

// withoutBelt has the kernel reset what is queued on a closed listener, as it
// does where net.ipv4.tcp_migrate_req may not be set. The supervisor sets it at
// its start where it may, and so hides what this file is to find.
func withoutBelt(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/net/ipv4/tcp_migrate_req"
	before, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(before)) == "0" {
		return // a kernel that knows no such thing, or does not
	}
	if err := os.WriteFile(file, []byte("0"), 0); err != nil {
		t.Fatalf("this test needs net.ipv4.tcp_migrate_req to be 0: %v", err)
	}
	// Another appliance that starts on this machine puts the belt on again.
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.Tick(50 * time.Millisecond); ; {
			select {
			case <-tick:
				_ = os.WriteFile(file, []byte("0"), 0)
			case <-over:
				_ = os.WriteFile(file, before, 0)
				return
			}
		}
	}()
	t.Cleanup(func() { close(over); <-done })
}

// kinds counts failures by what the client saw.
func kinds(r *loadgen.Report) map[loadgen.Kind]int {
	out := map[loadgen.Kind]int{}
	for _, c := range r.Classes {
		for kind, n := range c.Kinds {
			out[kind] += n
		}
	}
	return out
}

// lameWorker has the appliance's only worker replaced and returns when its
// predecessor is a lame duck.
func (a *Appliance) lameWorker() {
	a.t.Helper()
	old := a.MustStatus().Slots[0].Generations[0]
	if err := syscall.Kill(old.PID, syscall.SIGTERM); err != nil { // it asks for a successor
		a.t.Fatal(err)
	}
	a.WaitStatus(10*time.Second, "replaced", func(s fleet.Status) bool {
		return slices.ContainsFunc(s.Slots[0].Generations, func(g fleet.GenerationStatus) bool {
			return g.PID == old.PID && g.State == fleet.StateLame.String()
		})
	})
}

// A worker that was recycled before a stop leaves idle connections no more time
// than the others do.
func TestStopWithLameWorker(t *testing.T) {
	t.Parallel()
	a := boot(t, Options{Workers: 1, Config: MixConfig(Provider(t)), Args: []string{"--keepalive_timeout", "300"}})
	c := a.dialRaw(t)
	if r := c.chat(t, "whole", "first"); r.StatusCode != http.StatusOK || r.Close {
		t.Fatalf("%s, close %v", r.Status, r.Close)
	}
	a.lameWorker()
	began := time.Now()
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("stopped with %d", code)
	}
	t.Logf("stopped after %v", time.Since(began).Round(100*time.Millisecond))
}

// An idle connection on a lame worker lives its whole keep-alive time. A request
// before its end is answered; the end is a FIN, and what is sent into it is read
// without a reset and without reaching the provider.
func TestLameIdle(t *testing.T) {
	t.Parallel()
	const keepAlive = 4 * time.Second
	p := Ledgered(t)
	a := boot(t, Options{
		Workers: 1, Config: MixConfig(p),
		Args: []string{"--keepalive_timeout", fmt.Sprint(int(keepAlive.Seconds()))},
	})
	conns := make([]*rawConn, 12)
	for i := range conns {
		conns[i] = a.dialRaw(t)
		if r := conns[i].chat(t, "whole", fmt.Sprintf("first-%d", i)); r.StatusCode != http.StatusOK || r.Close {
			t.Fatalf("%s, close %v", r.Status, r.Close)
		}
	}
	a.lameWorker()
	for i, c := range conns[:4] { // just before the end
		time.Sleep(time.Until(c.used.Add(keepAlive - 400*time.Millisecond)))
		if r := c.chat(t, "whole", fmt.Sprintf("before-%d", i)); r.StatusCode != http.StatusOK || !r.Close {
			t.Errorf("shortly before its end: %s, close %v", r.Status, r.Close)
		}
	}
	idle := make([]time.Duration, len(conns)-4)
	var ends sync.WaitGroup
	for i, c := range conns[4:] {
		ends.Go(func() {
			idle[i] = c.untilFIN(t, keepAlive+5*time.Second)
			if i%2 == 0 {
				c.intoFIN(t, fmt.Sprintf("after-%d", i))
			}
		})
	}
	ends.Wait()
	least, most := slices.Min(idle), slices.Max(idle)
	t.Logf("show 1: idle connections of a lame worker ended by FIN %v to %v after their last answer, keep-alive time %v", least, most, keepAlive)
	if least < keepAlive || most > keepAlive+time.Second {
		t.Errorf("idle connections ended after %v to %v, want %v", least, most, keepAlive)
	}
	served := map[string]int{}
	for _, e := range p.Ledger().All() {
		served[e.ID]++
	}
	for i := range conns {
		if served[fmt.Sprintf("first-%d", i)] != 1 || served[fmt.Sprintf("after-%d", i)] != 0 {
			t.Errorf("connection %d: the provider served %v", i, served)
		}
	}
}
