//go:build e2e

package e2e

import (
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// Recycling at full load loses no request and cuts no stream.
func TestRecycle(t *testing.T) {
	recycles := uint64(length(200, 1000))
	p := Provider(t)
	a := boot(t, Options{
		Workers: 4,
		Config:  MixConfig(p),
		Args:    []string{"--max_requests_before_restart", "500", "--keepalive_timeout", "1800"},
	})
	began := time.Now()
	load := StartLoad(t, a.Mix(time.Duration(length(6, 25))*time.Minute))
	a.WaitStatus(time.Duration(length(5, 24))*time.Minute, "recycled often enough", func(s fleet.Status) bool {
		time.Sleep(200 * time.Millisecond) // the status is asked for by a process each time
		return s.Recycles.Total >= recycles
	})
	lasted := time.Since(began)
	r := load.Stop()
	s := a.MustStatus()
	t.Logf("%d recycles in %.0f s: %v", s.Recycles.Total, lasted.Seconds(), s.Recycles.ByReason)
	NoneFailed(t, r)
	if idle := r.Class("idle"); idle.OK != 20 || idle.ClosedIdle != 0 {
		t.Errorf("idle connections: %d answered at the end, %d closed", idle.OK, idle.ClosedIdle)
	}
}
