package e2e

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a running program of an appliance, as the kernel tells of it.
type Process struct {
	PID     int
	Program string
}

// Processes lists what runs of this appliance: every process that has its
// state directory on the command line or in its environment.
func (a *Appliance) Processes() []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		a.t.Fatal(err)
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if !bytes.Contains(cmdline, []byte(a.Dir)) && !bytes.Contains(environ, []byte(a.Dir+"\x00")) {
			continue
		}
		program, _, _ := strings.Cut(string(cmdline), "\x00")
		found = append(found, Process{PID: pid, Program: filepath.Base(program)})
	}
	return found
}

// RSS sums the resident memory of all processes of the appliance, in bytes;
// pages that they share are counted in each.
func (a *Appliance) RSS() int64 { return a.memory("Rss:") }

// PSS sums their proportional memory, in bytes: shared pages are divided.
func (a *Appliance) PSS() int64 { return a.memory("Pss:") }

func (a *Appliance) memory(field string) int64 {
	var sum int64
	for _, p := range a.Processes() {
		sum += a.memoryOf(p.PID, field)
	}
	return sum
}

// memoryOf is one field of the smaps_rollup of a process, in bytes.
func (a *Appliance) memoryOf(pid int, field string) int64 {
	b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field {
			return kilobytes(f[1])
		}
	}
	return 0
}

// kilobytes reads a number of /proc, which counts in units of 1024 bytes.
func kilobytes(text string) int64 {
	kb, _ := strconv.ParseInt(text, 10, 64)
	return kb << 10
}

// cleanup stops what runs, complains about what is left, and shows the log of
// a failed test.
func (a *Appliance) cleanup() {
	a.client.CloseIdleConnections()
	if a.Running() {
		_ = syscall.Kill(a.PID(), syscall.SIGTERM)
		if !a.ended(20 * time.Second) {
			a.t.Errorf("the supervisor has not ended 20 s after TERM")
			_ = syscall.Kill(a.PID(), syscall.SIGQUIT)
			if !a.ended(10 * time.Second) {
				_ = syscall.Kill(a.PID(), syscall.SIGKILL)
				a.ended(5 * time.Second)
			}
		}
	}
	a.NoneLeft(5 * time.Second)
	if a.t.Failed() {
		a.t.Log(a.Tail(60))
	}
}

func (a *Appliance) ended(d time.Duration) bool {
	deadline := time.Now().Add(d)
	for a.Running() && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	return !a.Running()
}

// NoneLeft fails the test if a process of the appliance still runs after d,
// and kills it.
func (a *Appliance) NoneLeft(d time.Duration) {
	a.t.Helper()
	deadline := time.Now().Add(d)
	left := a.Processes()
	for len(left) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		left = a.Processes()
	}
	for _, p := range left {
		a.t.Errorf("left over: process %d (%s)", p.PID, p.Program)
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
}

// freePort finds a port that nothing listens on, below the range that the
// kernel gives to outgoing connections, so that none of those takes it before
// the appliance does, or while it restarts.
func freePort(t testing.TB) int {
	t.Helper()
	const first, last = 10_000, 32_000
	start := rand.IntN(last - first)
	for i := range last - first {
		port := first + (start+i)%(last-first)
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = l.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}
