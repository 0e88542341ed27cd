package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// startAsInit runs the supervisor as process 1 of a PID namespace of its own.
func (b *box) startAsInit(stderr *os.File) {
	b.t.Helper()
	_, port, _ := net.SplitHostPort(b.addr)
	b.cmd = exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		filepath.Join(b.dir, "supervisor"), "--host", "127.0.0.1", "--port", port,
		"--num_workers", "2", "--state_dir", filepath.Join(b.dir, "s"))
	b.cmd.Env = append(os.Environ(), "SEPARATE_HEALTH_PORT=0", "SLUICE_PRESTOP_DELAY=0", "SLUICE_RECYCLE_FLOOR=0")
	b.cmd.Stderr = stderr
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	cmd := b.cmd
	b.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// relative is a process as /proc tells of it.
type relative struct {
	pid, inside int // as we see it, and as its own namespace does
	name        string
	zombie      bool
}

// children lists the direct children of a process.
func children(pid int) []relative {
	var out []relative
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			status, err := os.ReadFile("/proc/" + field + "/status")
			if err != nil {
				continue
			}
			r := relative{}
			r.pid, _ = strconv.Atoi(field)
			for line := range strings.Lines(string(status)) {
				key, value, _ := strings.Cut(line, ":")
				f := strings.Fields(value)
				switch {
				case len(f) == 0:
				case key == "Name":
					r.name = f[0]
				case key == "State":
					r.zombie = f[0] == "Z"
				case key == "NSpid":
					r.inside, _ = strconv.Atoi(f[len(f)-1])
				}
			}
			out = append(out, r)
		}
	}
	return out
}

// As process 1 the supervisor gets every orphan of its container. It clears
// them away and takes no exit status from the engine, obeys its signals, and
// its exit code is the container's.
func TestSupervisorIsProcessOne(t *testing.T) {
	if err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run(); err != nil {
		t.Logf("no PID namespaces here (%v): nothing is shown", err)
		return
	}
	b := newBox(t)
	if err := os.WriteFile(filepath.Join(b.dir, "orphans"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	said := func() string { text, _ := os.ReadFile(log.Name()); return string(text) }

	b.startAsInit(log)
	st := b.await("start", one())
	if st.PID != 1 {
		t.Fatalf("the supervisor is process %d", st.PID)
	}
	var init relative
	waitFor(t, "process 1 is there", func() bool {
		for _, c := range children(b.cmd.Process.Pid) {
			if c.inside == 1 {
				init = c
			}
		}
		return init.pid != 0
	})

	// Workers die while orphans of theirs come and go. The sleep makes each
	// worker one that had settled, whose death is a crash.
	reaped := 0
	for round := range 3 {
		time.Sleep(1200 * time.Millisecond)
		slot := st.Slots[round%2]
		victim := -1
		for _, c := range children(init.pid) {
			if c.inside == slot.Generations[0].PID {
				victim = c.pid
			}
		}
		if victim < 0 {
			t.Fatalf("worker %+v not found among %+v", slot, children(init.pid))
		}
		_ = syscall.Kill(victim, syscall.SIGKILL)
		st = b.await("replaced", one(slot.Generations[0].PID))
	}
	if n := st.Recycles.ByReason["crash"]; n != 3 {
		t.Errorf("%d crashes counted, want 3: %v\n%s", n, st.Recycles.ByReason, said())
	}
	if n := strings.Count(said(), "status=-9"); n != 3 {
		t.Errorf("%d exit statuses of 3 are intact\n%s", n, said())
	}
	// 2 workers and 3 successors have each left an orphan.
	waitFor(t, "all orphans are reaped", func() bool {
		return !slices.ContainsFunc(children(init.pid), func(c relative) bool { return c.zombie || c.name == "sleep" || c.name == "sh" })
	})
	for _, c := range children(init.pid) {
		if c.name == "proxy" || c.name == "healthd" {
			reaped++
		}
	}
	if reaped != 3 {
		t.Errorf("children left: %+v, want two workers and healthd", children(init.pid))
	}

	_ = syscall.Kill(init.pid, syscall.SIGTERM)
	if code := exitCode(b.cmd.Wait()); code != fleet.ExitOK {
		t.Errorf("TERM: exit code %d\n%s", code, said())
	}
	b.startAsInit(log)
	b.await("again", one())
	_ = syscall.Kill(children(b.cmd.Process.Pid)[0].pid, syscall.SIGQUIT)
	if code := exitCode(b.cmd.Wait()); code != fleet.ExitOK {
		t.Errorf("QUIT with nothing in flight: exit code %d\n%s", code, said())
	}
	if n := strings.Count(said(), "healthd died"); n != 0 {
		t.Errorf("healthd counts as died at a QUIT\n%s", said())
	}
	taken, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	b.startAsInit(log)
	if code := exitCode(b.cmd.Wait()); code != fleet.ExitConfig {
		t.Errorf("port taken: exit code %d, want 78\n%s", code, said())
	}
	_ = taken.Close()
}
