package main

import (
	"os/exec"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

func TestLivesAs(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{fleet.EnvGeneration + "=17"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	// Start returns when descriptors are closed, before exec has set the environment.
	for deadline := time.Now().Add(10 * time.Second); !livesAs(cmd.Process.Pid, 17) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for _, c := range []struct {
		pid, generation int
		want            bool
	}{{cmd.Process.Pid, 17, true}, {cmd.Process.Pid, 1, false}, {cmd.Process.Pid, 171, false}, {0, 17, false}} {
		if got := livesAs(c.pid, c.generation); got != c.want {
			t.Errorf("livesAs(%d, %d) = %v, want %v", c.pid, c.generation, got, c.want)
		}
	}
}

// TestRecordLives: where nobody can say when a process began, its number is enough.
func TestRecordLives(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	ticks := startTicks(pid)
	for start, want := range map[uint64]bool{ticks: true, ticks + 1: false, 0: true} {
		if got := (record{PID: pid, Start: start}).lives(); got != want {
			t.Errorf("start %d of %d: %v, want %v", start, ticks, got, want)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, r := range []record{{PID: pid}, {PID: pid, Start: ticks}, {PID: 0}, {PID: -1}} {
		if r.lives() {
			t.Errorf("%+v lives", r)
		}
	}
}
