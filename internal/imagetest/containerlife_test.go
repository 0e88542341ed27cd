//go:build image

package imagetest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/e2e"
	"sluice/supervisor/fleet"
)

// openStreams counts the streams that are open.
func openStreams(s fleet.Status) (n int64) {
	for _, slot := range s.Slots {
		for _, g := range slot.Generations {
			n += g.Streams
		}
	}
	return n
}

// Show 1: docker stop lets 200 streams end, and the exit code is 0.
func TestContainerStop(t *testing.T) {
	const streams = 200
	g := runBox(t, Provider(t))
	spec := g.load(streams)
	spec.Classes = spec.Classes[2:] // streams alone: what arrives after the stop is refused
	load := e2e.StartLoad(t, spec)
	Wait(t, "200 streams", 30*time.Second, func() error {
		if n := openStreams(g.status()); n < streams {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	load.End() // no new ones: each connection finishes what it has
	began := time.Now()
	Docker(t, "stop", "-t", "120", g.ID)
	took := time.Since(began)
	report := load.Stop()
	e2e.NoneFailed(t, report)
	if sent := report.Class("stream").Sent; sent < streams {
		t.Errorf("%d streams were sent", sent)
	}
	state := g.State()
	t.Logf("show 1: docker stop took %v with %d streams open, exit %d", took.Round(10*time.Millisecond), streams, state.ExitCode)
	if state.ExitCode != 0 || took > 60*time.Second {
		t.Errorf("docker stop took %v, exit %d", took, state.ExitCode)
	}
}

// Show 1: a restart keeps the state: the master key that the first start made,
// keys, and what was spent.
func TestContainerKeepsState(t *testing.T) {
	g := runBox(t, Provider(t), "-e", "LITELLM_MASTER_KEY=")
	g.key = "" // the container has made its own
	read := func() string {
		out := filepath.Join(RunDir(), "master_key")
		Docker(t, "cp", g.ID+":/var/lib/sluice/master_key", out)
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	master := read()
	if !strings.HasPrefix(master, "sk-") {
		t.Fatalf("the generated master key has %d bytes", len(master))
	}
	var made struct{ Key string }
	g.must(http.MethodPost, "/key/generate", master, `{"models":["whole"],"key_alias":"kept"}`, &made)
	g.chat(made.Key)
	Docker(t, "restart", "-t", "60", g.ID)
	g.addr = g.IP() + ":4000"
	g.waitReady()
	if again := read(); again != master {
		t.Error("the master key is another one after a restart")
	}
	if logs := g.Logs(); strings.Contains(logs, master) || strings.Count(logs, "/var/lib/sluice/master_key") != 1 {
		t.Errorf("the log has the master key, or does not say once where it lies:\n%s", strings.ReplaceAll(logs, master, "KEY"))
	}
	g.chat(made.Key)
	var info struct {
		Info struct {
			KeyAlias string `json:"key_alias"`
		}
	}
	g.must(http.MethodGet, "/key/info?key="+made.Key, master, "", &info)
	if info.Info.KeyAlias != "kept" {
		t.Errorf("after a restart the key is %+v", info)
	}
}

// killForGood takes a program out of a container's files and kills every process
// of it, so that it cannot be started again.
func (g *box) killForGood(program string) {
	g.t.Helper()
	merged := Docker(g.t, "inspect", "-f", "{{.GraphDriver.Data.MergedDir}}", g.ID)
	found, err := filepath.Glob(filepath.Join(merged, "usr/lib/sluice/*", program))
	if err != nil || len(found) == 0 {
		g.t.Fatalf("%s is not in %s: %v", program, merged, err)
	}
	for _, file := range found {
		_ = os.Remove(file) // found twice: by its version and as the current one
	}
	killed := 0
	for _, pid := range g.processes() {
		exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if err == nil && strings.TrimSuffix(filepath.Base(exe), " (deleted)") == program {
			killed++
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if killed == 0 {
		g.t.Fatalf("no process of %s was there to be killed", program)
	}
}

// Show 1: where healthd, or every worker, is dead for good, the container ends
// with the code that says so, for whoever restarts it.
func TestContainerDeaths(t *testing.T) {
	p := Provider(t)
	for _, program := range []string{"healthd", "proxy"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			g := runBox(t, p)
			began := time.Now()
			g.killForGood(program)
			code := g.WaitExit(2 * time.Minute)
			t.Logf("show 1: %s dead for good: the container ended after %v with %d", program, time.Since(began).Round(time.Second), code)
			if code != fleet.ExitGaveUp {
				t.Errorf("exit %d; want %d", code, fleet.ExitGaveUp)
			}
		})
	}
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		recyclesBySize(t, runBox(t, p, "--cpus", "1", "-e", "SLUICE_WORKER_MAX_RSS=4194304", "-e", "SLUICE_RECYCLE_FLOOR=0s"))
	})
}

// recyclesBySize: show 1, a worker whose memory stays above its share is
// replaced while it is under load, without a request lost.
func recyclesBySize(t *testing.T, g *box) {
	t.Helper()
	load := e2e.StartLoad(t, g.load(5))
	Wait(t, "a recycle for memory", 90*time.Second, func() error {
		if s := g.status(); s.Recycles.ByReason["memory"] == 0 {
			return fmt.Errorf("recycles: %v", s.Recycles.ByReason)
		}
		return nil
	})
	e2e.NoneFailed(t, load.Stop())
}

// Show 1: when the kernel kills one worker for memory, the others serve on and
// it comes back; what it had in flight is all that may be lost.
func TestContainerOOM(t *testing.T) {
	g := runBox(t, Provider(t), "--memory", "384m", "--memory-swap", "384m", "--cpus", "2")
	before := g.status()
	victim := before.Slots[0].Generations[0].PID
	pid := outerPID(t, g, victim)
	if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("1000"), 0); err != nil {
		t.Fatal(err)
	}
	load := e2e.StartLoad(t, g.load(0))
	time.Sleep(time.Second) // load on both
	eater := eatMemory(t, pid)
	Wait(t, "the kernel's choice", 30*time.Second, func() error {
		if syscall.Kill(pid, 0) == nil {
			return errors.New("the worker lives")
		}
		return nil
	})
	_ = syscall.Kill(-eater, syscall.SIGKILL)
	Wait(t, "two ready workers", 30*time.Second, func() error {
		ready := 0
		for _, slot := range g.status().Slots {
			for _, gen := range slot.Generations {
				if gen.State == "ready" && gen.PID != victim {
					ready++
				}
			}
		}
		if ready < 2 {
			return fmt.Errorf("%d are ready", ready)
		}
		return nil
	})
	report := load.Stop()
	failed := int64(0)
	for _, f := range report.Failures {
		if f.Status != 0 {
			t.Errorf("a request was answered with %d: %s", f.Status, f.Detail)
		}
		failed++
	}
	t.Logf("show 1: the kernel killed worker %d of the container; %d of %d requests were in flight on it", victim, failed, report.Sent())
	if failed > 10 || report.Sent() < 30 {
		t.Errorf("%d of %d requests failed", failed, report.Sent())
	}
	if !g.State().Running {
		t.Error("the container has ended")
	}
	if n := kernelKills(t, g.State().Pid); n == 0 {
		t.Error("the kernel counts no kill in the container's group: the worker died of something else")
	}
}

// eatMemory lets a process in the memory group of pid take memory until it is killed
// and returns its process group.
func eatMemory(t testing.TB, pid int) int {
	t.Helper()
	group := memoryGroup(t, pid)
	script := `echo $$ >"$1/cgroup.procs" && exec tail /dev/zero`
	c, err := os.StartProcess("/bin/sh", []string{"sh", "-c", script, "eat", group}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Kill(); _, _ = c.Wait() })
	return c.Pid
}

// memoryGroup is the folder of the control group that bounds the memory of a
// process, of version 1 or 2.
func memoryGroup(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) == 3 && f[1] == "memory":
			return "/sys/fs/cgroup/memory" + f[2]
		case len(f) == 3 && f[0] == "0":
			if _, err := os.Stat("/sys/fs/cgroup" + f[2] + "/memory.max"); err == nil {
				return "/sys/fs/cgroup" + f[2]
			}
		}
	}
	t.Fatalf("process %d is in no memory group: %s", pid, text)
	return ""
}

// kernelKills is how often the kernel has killed in the memory group of a process.
func kernelKills(t testing.TB, pid int) int {
	t.Helper()
	group := memoryGroup(t, pid)
	for _, name := range []string{"memory.events", "memory.oom_control"} {
		text, _ := os.ReadFile(filepath.Join(group, name))
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
				n, _ := strconv.Atoi(f[1])
				return n
			}
		}
	}
	return 0
}
