package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
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
				if got := workerScore(); got != strconv.Itoa(c.wantScore) {
					t.Errorf("below a score of %d a worker takes %s, want %d", c.score, got, c.wantScore)
				}
				worker := exec.CommandContext(context.Background(), "/proc/self/exe", "-test.run=TestScored")
				worker.Env = []string{fleet.EnvMemoryScore + "=" + workerScore()}
				worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				in, err := worker.StdinPipe()
				if err == nil {
					err = worker.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				pid := worker.Process.Pid
				if err := lower(pid); err != nil {
					t.Error(err)
				}
				if nice := 20 - priority(t, pid); nice != c.wantNice {
					t.Errorf("below a supervisor at nice %d the worker has nice %d, want %d", c.nice, nice, c.wantNice)
				}
				_ = in.Close()
				if err := worker.Wait(); err != nil {
					t.Errorf("below a score of %d the worker did not take its own: %v", c.score, err)
				}
			})
		})
	}
}

// TestScored is the worker of TestLower: it ends well if it has its score.
func TestScored(t *testing.T) {
	want, isWorker := os.LookupEnv(fleet.EnvMemoryScore)
	if !isWorker {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // as long as the test looks
	got, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil || strings.TrimSpace(string(got)) != want || fleet.Scored() != nil {
		os.Exit(1)
	}
	os.Exit(0)
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
