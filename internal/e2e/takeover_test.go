//go:build e2e

package e2e

import (
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

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
