//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// descendants are the children of a process, theirs, and so on.
func descendants(pid int) (all []int) {
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, text := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(text); err == nil {
				all = append(append(all, child), descendants(child)...)
			}
		}
	}
	return all
}

// stateOf is the letter that the kernel gives the state of a process.
func stateOf(pid int) string {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(b), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}

// The whole appliance in a PID namespace of its own, as in a container: it
// serves, replaces what dies, leaves no zombie and ends with its own exit code.
func TestApplianceIsProcessOne(t *testing.T) {
	if err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run(); err != nil {
		t.Logf("no PID namespaces here (%v): nothing is shown", err)
		return
	}
	real, dir := Binaries(t, Plain), t.TempDir()
	wrapper := "#!/bin/sh\n[ \"$1\" = status ] && exec " + real + "/supervisor \"$@\"\n" +
		"exec unshare --pid --fork --kill-child --mount-proc " + real + "/supervisor \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, "supervisor"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	a := Boot(t, Options{Bin: dir})
	init := descendants(a.PID())[0]
	if s := a.MustStatus(); s.PID != 1 {
		t.Fatalf("the supervisor is process %d of its namespace", s.PID)
	}
	chat := func() {
		t.Helper()
		r, err := a.Chat(`{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`)
		if err != nil || r.Status != http.StatusOK {
			t.Errorf("chat: %v %+v", err, r)
		}
	}
	chat()
	time.Sleep(1200 * time.Millisecond) // a death within a second of READY is a failed start
	killed := 0
	for _, pid := range descendants(init) {
		name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if strings.TrimSpace(string(name)) == "proxy" || strings.TrimSpace(string(name)) == "healthd" {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			killed++
		}
	}
	began := time.Now()
	s := a.WaitStatus(10*time.Second, "whole again", func(s fleet.Status) bool {
		ready := 0
		for _, slot := range s.Slots {
			if slot.State == "ready" {
				ready++
			}
		}
		return ready == 2 && s.Healthd.State == "ready" && s.Healthd.Restarts == 1 && s.Recycles.ByReason["crash"] == 2
	})
	took := time.Since(began)
	a.client.CloseIdleConnections()
	chat()
	deadline := time.Now().Add(5 * time.Second)
	for {
		zombies := 0
		for _, pid := range descendants(init) {
			if stateOf(pid) == "Z" {
				zombies++
			}
		}
		if zombies == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d zombies are left", zombies)
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	a.client.CloseIdleConnections()
	_ = syscall.Kill(init, syscall.SIGTERM)
	code := a.Wait(30 * time.Second)
	t.Logf("show: as process 1: %d processes killed at once, whole again in %v, recycles %v, no zombie, exit code %d after TERM",
		killed, took.Round(time.Millisecond), s.Recycles.ByReason, code)
	if code != fleet.ExitOK || killed != 3 {
		t.Errorf("exit code %d, %d killed", code, killed)
	}
}
