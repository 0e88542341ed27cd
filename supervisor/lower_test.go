package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLower: a worker stands behind us for the processor and dies before us for
// memory, wherever we stand, without a right to anything.
func TestLower(t *testing.T) {
	for name, c := range map[string]struct {
		nice, score         int // ours
		wantNice, wantScore int // the worker's
	}{
		"as usual":                 {0, 0, 5, 500},
		"started with nice":        {10, 0, 15, 500},
		"started as nice as it is": {19, 0, 19, 500},
		"a pod that may burst":     {0, 900, 5, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			const own = "/proc/self/oom_score_adj"
			before, err := os.ReadFile(own)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := strconv.Atoi(strings.TrimSpace(string(before))); err != nil || os.Geteuid() != 0 { // who could not undo it
				c.score, c.wantScore = n, min(max(n, 0)+500, 1000)
			} else {
				if err := os.WriteFile(own, []byte(strconv.Itoa(c.score)), 0); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = os.WriteFile(own, before, 0) }()
			}
			asNobody(t, func() {
				// Of this thread, and of what it starts. A test that is run with nice itself
				// cannot go back.
				if err := unix.Setpriority(unix.PRIO_PROCESS, 0, c.nice); err != nil {
					c.nice = 20 - priority(t, 0)
					c.wantNice = min(c.nice+5, 19)
				}
				worker := exec.CommandContext(context.Background(), "sleep", "60")
				worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if err := worker.Start(); err != nil {
					t.Error(err)
					return
				}
				defer func() {
					_ = worker.Process.Kill()
					_ = worker.Wait()
				}()
				pid := worker.Process.Pid
				if err := lower(pid); err != nil {
					t.Error(err)
				}
				if nice := 20 - priority(t, pid); nice != c.wantNice {
					t.Errorf("below a supervisor at nice %d the worker has nice %d, want %d", c.nice, nice, c.wantNice)
				}
				score, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"))
				if got := strings.TrimSpace(string(score)); err != nil || got != strconv.Itoa(c.wantScore) {
					t.Errorf("below a score of %d the worker has %s (%v), want %d", c.score, got, err, c.wantScore)
				}
			})
		})
	}
}

// priority is 20 less the nice value of a process, of this thread for 0.
func priority(t *testing.T, pid int) int {
	t.Helper()
	n, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
	if err != nil {
		t.Error(err)
	}
	return n
}
