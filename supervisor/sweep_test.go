package main

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// TestSweepWindow: workers live on after the end of a supervisor, unless a stop
// was asked for.
func TestSweepWindow(t *testing.T) {
	const hour = time.Hour + sweepPatience
	for _, c := range []struct {
		name     string
		environ  string
		stopping bool   // the supervisor noted that it was told to stop
		jobs     string // of systemd
		want     time.Duration
	}{
		{name: "it was killed", environ: "EXIT_CODE=killed EXIT_STATUS=KILL SERVICE_RESULT=signal"},
		{name: "it failed", environ: "EXIT_CODE=exited EXIT_STATUS=1 SERVICE_RESULT=exit-code"},
		{name: "it hung", environ: "EXIT_CODE=killed EXIT_STATUS=ABRT SERVICE_RESULT=watchdog"},
		{name: "it was killed, then restarted", environ: "EXIT_CODE=killed EXIT_STATUS=KILL", jobs: "7 sluice.service restart running"},
		{name: "another unit stops", environ: "EXIT_CODE=killed EXIT_STATUS=KILL", jobs: "7 nginx.service stop running"},
		{name: "it stopped", environ: "EXIT_CODE=exited EXIT_STATUS=0", stopping: true, want: sweepPatience},
		{name: "it took too long", environ: "EXIT_CODE=killed EXIT_STATUS=KILL SERVICE_RESULT=timeout", want: sweepPatience},
		{name: "it was killed, then stopped", environ: "EXIT_CODE=killed EXIT_STATUS=KILL", jobs: "6 a.service start waiting\n7 sluice.service stop running\n", want: hour},
		{name: "it was stopped before it listened", environ: "EXIT_CODE=killed EXIT_STATUS=TERM", want: hour},
		{name: "another window", environ: "EXIT_CODE=killed EXIT_STATUS=TERM SUPERVISORD_STOPWAITSECS=60", want: time.Minute + sweepPatience},
	} {
		dir := fleet.Dir(t.TempDir())
		if c.stopping {
			if err := errors.Join(os.Mkdir(dir.Run(), 0o700), os.WriteFile(dir.Stopping(), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		e := env.Parse([]byte(strings.ReplaceAll(c.environ, " ", "\x00")))
		got, wanted, err := sweepWindow(e, dir, func() bool { return endedByTerm(e) || stopQueued(c.jobs, "sluice.service") })
		if err != nil || got != c.want || wanted != (c.want > 0) {
			t.Errorf("%s: %v, %v, %v; want %v", c.name, got, wanted, err, c.want)
		}
	}
	var exit *boot.ExitError
	e := env.Parse([]byte("SUPERVISORD_STOPWAITSECS=soon"))
	if _, _, err := sweepWindow(e, fleet.Dir(t.TempDir()), func() bool { return true }); !errors.As(err, &exit) || exit.Code != fleet.ExitUsage {
		t.Errorf("a window that is no time: %v", err)
	}
}

// group is a control group of processes that run a line of shell: a file that
// lists those of them that live, as the kernel's does.
type group struct {
	t     *testing.T
	dir   string
	mu    sync.Mutex // guards alive
	alive map[int]bool
	ended map[string]syscall.Signal
	wg    sync.WaitGroup
}

func newGroup(t *testing.T) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), alive: map[int]bool{os.Getpid(): true, 1: true, 0: true}, ended: map[string]syscall.Signal{}}
	g.write()
	return g
}

func (g *group) write() {
	var b strings.Builder
	for pid := range g.alive {
		b.WriteString(strconv.Itoa(pid) + "\n")
	}
	path := filepath.Join(g.dir, groupList)
	if err := errors.Join(os.WriteFile(path+".new", []byte(b.String()), 0o600), os.Rename(path+".new", path)); err != nil {
		g.t.Error(err)
	}
}

// add starts a process that is ready when it has written a line.
func (g *group) add(line string) {
	g.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", line)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 8))
	}
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = cmd.Process.Kill(); g.wg.Wait() })
	g.mu.Lock()
	g.alive[cmd.Process.Pid] = true
	g.write()
	g.mu.Unlock()
	g.wg.Go(func() {
		_ = cmd.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.alive, cmd.Process.Pid)
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			g.ended[line] = status.Signal()
		}
		g.write()
	})
}

// TestSweepEndsTheGroup: what obeys is told, what does not is killed, and whoever
// sweeps, process 1 and those of other namespaces are left alone.
func TestSweepEndsTheGroup(t *testing.T) {
	const obeys, deaf = "echo; exec sleep 60", "trap '' TERM; echo; while :; do sleep 60 & wait; done"
	g := newGroup(t)
	g.add(obeys)
	g.add(deaf)
	const patience = 400 * time.Millisecond
	began := time.Now()
	if err := endGroup(g.dir, patience, 5*time.Second, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < patience {
		t.Errorf("the deaf one was killed after %v", took)
	}
	g.wg.Wait()
	if g.ended[obeys] != syscall.SIGTERM || g.ended[deaf] != syscall.SIGKILL {
		t.Errorf("ended by %v", g.ended)
	}
}

// TestSweepGivesUp: a process that not even a kill ends keeps nobody for ever,
// and a group that is gone is empty.
func TestSweepGivesUp(t *testing.T) {
	dir := t.TempDir()
	if err := endGroup(dir, 0, 0, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("a group that is gone: %v", err)
	}
	// No process has this number: the kernel's end below it.
	if err := os.WriteFile(filepath.Join(dir, groupList), []byte("2147483646\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := endGroup(dir, 0, 100*time.Millisecond, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "1 processes are left") {
		t.Errorf("a process that does not end: %v", err)
	}
}
