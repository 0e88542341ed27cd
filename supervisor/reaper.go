package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reapAfter is how long a dead child is left to whoever started it. The engine
// and os/exec wait in the kernel and take theirs at once, on a busy machine a
// little later, so what is still there after that is nobody's: an orphan that
// fell to process 1, or a child of the program that we were before an exec.
const reapAfter = 2 * time.Second

// ours are the processes that the engine waits for, however long it takes.
func (a *appliance) ours() map[int]bool {
	pids := map[int]bool{}
	for _, g := range a.gens {
		pids[g.pid] = !g.adopted
	}
	for _, d := range a.daemons {
		pids[d.pid] = !d.adopted
	}
	return pids
}

// reap clears away dead children that nobody waits for. It looks with WNOWAIT
// first, so that no exit status is taken from the engine.
func (a *appliance) reap(ours map[int]bool) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || info.Signo == 0 {
		return
	}
	before := zombies()
	time.Sleep(reapAfter)
	for pid, start := range zombies() {
		if before[pid] != start || ours[pid] {
			continue
		}
		var status unix.WaitStatus
		if got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil); err == nil && got == pid {
			a.log.Debug("reaped", slog.Int("pid", pid), slog.Int("status", int(status)))
		}
	}
}

// zombies lists our dead children with their start times.
func zombies() map[int]string {
	out := map[int]string{}
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, text := range strings.Fields(string(b)) {
			stat, err := os.ReadFile("/proc/" + text + "/stat")
			if err != nil {
				continue
			}
			_, rest, _ := strings.Cut(string(stat), ") ")
			fields := strings.Fields(rest)
			if pid, err := strconv.Atoi(text); err == nil && len(fields) > 19 && fields[0] == "Z" {
				out[pid] = fields[19]
			}
		}
	}
	return out
}
