//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// renewed reports whether every slot has a READY generation that is newer than
// all that it had before.
func renewed(s, before fleet.Status) bool {
	if s.State != "ready" || s.Healthd.State != "ready" || len(s.Slots) != len(before.Slots) {
		return false
	}
	for i, slot := range s.Slots {
		if len(slot.Generations) == 0 || slot.Generations[0].State != "ready" ||
			len(before.Slots[i].Generations) > 0 && slot.Generations[0].Generation <= before.Slots[i].Generations[0].Generation {
			return false
		}
	}
	return true
}

// count is how many processes of a program run.
func (a *Appliance) count(program string) int {
	n := 0
	for _, p := range a.Processes() {
		if p.Program == program {
			n++
		}
	}
	return n
}

// Killed with -9 and started again with the same state directory under load,
// five times, the supervisor costs no request, and nothing is left over.
func TestSupervisorKilled(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{Config: faultConfig(p)})
	load := StartLoad(t, a.faultMix(5*time.Minute))
	for i := range 5 {
		time.Sleep(time.Second)
		before := a.MustStatus()
		a.Kill9()
		time.Sleep(300 * time.Millisecond)
		if i == 0 && a.count("proxy") != 2 {
			t.Errorf("%d workers live without the supervisor, want 2", a.count("proxy"))
		}
		a.Start()
		a.WaitStatus(20*time.Second, "ready with new generations", func(s fleet.Status) bool { return renewed(s, before) })
	}
	a.NonBlocking("after takeovers")
	r := load.Stop()
	t.Logf("show 2: supervisor killed and started again 5 times: %d of %d requests failed", r.Failed(), r.Sent())
	NoneFailed(t, r)
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}

// The same at any moment: while workers start, while the successor itself is
// taking over.
func TestSupervisorKilledAnytime(t *testing.T) {
	p := Provider(t)
	// Killed so often it would wait before a start, and the kills would find nobody.
	a := boot(t, Options{Config: faultConfig(p), Env: map[string]string{"SLUICE_START_PAUSE": "0"}})
	load := StartLoad(t, a.faultMix(5*time.Minute))
	time.Sleep(time.Second)
	rounds := length(8, 40)
	for range rounds {
		a.Kill9()
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		a.Start()
		time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond)
	}
	a.WaitStatus(30*time.Second, "ready", func(s fleet.Status) bool { return renewed(s, s0(s)) && len(s.Slots[0].Generations) > 0 })
	time.Sleep(time.Second)
	a.NonBlocking("after kills at any moment")
	r := load.Stop()
	t.Logf("show 2: supervisor killed %d times at any moment: %d of %d requests failed", rounds, r.Failed(), r.Sent())
	NoneFailed(t, r)
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}

// s0 is a status with the same slots and no generation.
func s0(s fleet.Status) fleet.Status {
	return fleet.Status{Slots: make([]fleet.SlotStatus, len(s.Slots))}
}

// Without a successor the workers serve on for a minute, then drain, and all
// processes end.
func TestSupervisorGone(t *testing.T) {
	p := Provider(t)
	wait := length(5*time.Second, time.Minute)
	a := boot(t, Options{Config: faultConfig(p), Env: map[string]string{"SLUICE_ORPHAN_DRAIN": fmt.Sprint(wait)}})
	load := StartLoad(t, a.faultMix(wait-1500*time.Millisecond))
	time.Sleep(500 * time.Millisecond)
	killed := time.Now()
	a.Kill9()
	time.Sleep(time.Second)
	if r, err := a.Health("/health/liveliness"); err != nil || r.Status != http.StatusOK {
		t.Errorf("liveness without a supervisor: %v %+v", err, r)
	}
	if r, err := a.Health("/health/readiness"); err != nil || r.Status != http.StatusOK {
		t.Errorf("readiness without a supervisor: %v %+v", err, r)
	}
	a.client.CloseIdleConnections()
	r := load.Wait()
	NoneFailed(t, r)
	served := time.Since(killed)
	for time.Since(killed) < wait+20*time.Second && len(a.Processes()) > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	ended := time.Since(killed)
	if ended < wait {
		t.Errorf("all processes had ended after %v, want %v of serving", ended, wait)
	}
	drained := strings.Count(a.Log(), " drained program=proxy")
	t.Logf("show 2: no successor: %d of %d requests failed in %v; %d workers drained, all processes ended after %v (orphans wait %v)",
		r.Failed(), r.Sent(), served, drained, ended, wait)
	if drained != 2 {
		t.Errorf("%d workers drained, want 2", drained)
	}
	a.NoneLeft(time.Second)
	// The place is free for a new start.
	a.Start()
	a.WaitReady(20 * time.Second)
}

// healthd is back on its port within a second of its death.
func TestHealthdKilled(t *testing.T) {
	p := Provider(t)
	a := boot(t, Options{Config: faultConfig(p)})
	load := StartLoad(t, a.faultMix(time.Minute))
	var back []time.Duration
	for range length(5, 20) {
		time.Sleep(1200 * time.Millisecond) // a death within a second of the start waits for its turn
		pid := a.MustStatus().Healthd.PID
		a.client.CloseIdleConnections()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		Gone(t, pid, 5*time.Second)
		for time.Since(killed) < 10*time.Second {
			if status, err := a.readiness(); err == nil && status == http.StatusOK {
				break
			}
		}
		back = append(back, time.Since(killed))
		a.client.CloseIdleConnections()
	}
	t.Logf("show 2: healthd killed %d times: answers again after %v", len(back), back)
	if worst := quantile(back, 1); worst > time.Second {
		t.Errorf("healthd was away for %v", worst)
	}
	NoneFailed(t, load.Stop())
	a.NonBlocking("after deaths of healthd")
}

// A second supervisor on a state directory, and one whose port is taken, say
// so and end with 78; the first one goes on.
func TestSecondSupervisor(t *testing.T) {
	first := boot(t, Options{})
	for _, c := range []struct {
		name string
		bend func(a *Appliance)
		says []string
	}{
		{"same state directory", func(a *Appliance) { a.Dir = first.Dir }, []string{"another supervisor runs on it", first.Dir}},
		{"port taken", func(a *Appliance) { a.Port = first.Port }, []string{fmt.Sprint("port ", first.Port, " is taken"), fmt.Sprint(first.PID()), "supervisor"}},
		{"health port taken", func(a *Appliance) { a.HealthPort = first.HealthPort }, []string{fmt.Sprint("port ", first.HealthPort, " is taken"), fmt.Sprint(first.PID())}},
	} {
		t.Run(c.name, func(t *testing.T) {
			second := New(t, Options{})
			own := second.Dir
			c.bend(second)
			second.Start()
			if code := second.Wait(20 * time.Second); code != fleet.ExitConfig {
				t.Errorf("exit %d, want %d", code, fleet.ExitConfig)
			}
			for _, want := range c.says {
				if !strings.Contains(second.Log(), want) {
					t.Errorf("does not say %q\n%s", want, second.Tail(20))
				}
			}
			t.Log(second.Tail(3))
			second.Dir = own // what runs in the first one's is not the second's
			second.NoneLeft(2 * time.Second)
		})
	}
	if r, err := first.Chat(`{"model":"demo","messages":[]}`); err != nil || r.Status != http.StatusOK {
		t.Errorf("the first one after that: %v %+v", err, r)
	}
}
