//go:build e2e

package e2e

import (
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/supervisor/fleet"
)

// recycle runs the mix until the appliance has recycled so often.
func recycle(t *testing.T, a *Appliance, recycles uint64, within time.Duration) *loadgen.Report {
	t.Helper()
	began := time.Now()
	load := StartLoad(t, a.Mix(within+time.Minute))
	a.WaitStatus(within, "recycled often enough", func(s fleet.Status) bool {
		time.Sleep(200 * time.Millisecond) // the status is asked for by a process each time
		return s.Recycles.Total >= recycles
	})
	s := a.MustStatus()
	t.Logf("%d recycles in %.0f s: %v", s.Recycles.Total, time.Since(began).Seconds(), s.Recycles.ByReason)
	return load.Stop()
}

// Recycling at full load loses no request and cuts no stream.
func TestRecycle(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{
		Workers: 4,
		Config:  MixConfig(p),
		Args:    []string{"--max_requests_before_restart", "500", "--keepalive_timeout", "1800"},
	})
	r := recycle(t, a, uint64(length(200, 1000)), length(6*time.Minute, 30*time.Minute))
	NoneFailed(t, r)
	if idle := r.Class("idle"); idle.OK != 20 || idle.ClosedIdle != 0 {
		t.Errorf("idle connections: %d answered at the end, %d closed", idle.OK, idle.ClosedIdle)
	}
}

// Two ways that do lose requests, so that it is known that the test can see it.
func TestRecycleKnownBad(t *testing.T) {
	for _, bad := range []string{"own-listener", "shutdown-drain"} {
		t.Run(bad, func(t *testing.T) {
			p := Provider(t)
			a := Boot(t, Options{
				Variant: Bad, Workers: 4, Config: MixConfig(p),
				Env:  map[string]string{"SLUICE_TEST_BAD": bad},
				Args: []string{"--max_requests_before_restart", "500", "--keepalive_timeout", "1800"},
			})
			r := recycle(t, a, 50, 3*time.Minute)
			t.Log("\n" + Text(r))
			if r.Failed() == 0 {
				t.Errorf("%s lost none of %d requests: the test does not see what it should", bad, r.Sent())
			}
		})
	}
}
