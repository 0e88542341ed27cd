package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// TestHiddenRecordLives: a process that was looked at when it began, and that
// /proc hides by now, is not taken for dead, nor for one that may be ended.
func TestHiddenRecordLives(t *testing.T) {
	// Whoever may not read a program leaves no core of it, as our workers do.
	dir, err := os.MkdirTemp("", "hidden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sleep")
	if err := errors.Join(os.WriteFile(path, program, 0o711), os.Chmod(path, 0o711), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	const id = 65532
	cmd := exec.Command(path, "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := record{PID: cmd.Process.Pid, Start: startTicks(cmd.Process.Pid)}
	hidden := func(f func()) {
		done := make(chan struct{})
		go func() { // its thread ends with it, and the thread's mounts
			defer close(done)
			runtime.LockOSThread()
			err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
				unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"))
			if err != nil {
				t.Error(err)
				return
			}
			for _, call := range []uintptr{unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID} { // of this thread alone
				args := [3]uintptr{id, id, id}
				if call == unix.SYS_SETGROUPS {
					args = [3]uintptr{}
				}
				if _, _, err := unix.RawSyscall(call, args[0], args[1], args[2]); err != 0 {
					t.Error(err)
					return
				}
			}
			f()
		}()
		<-done
	}
	hidden(func() {
		if ticks := startTicks(r.PID); ticks != 0 || r.Start == 0 {
			t.Errorf("it began at %d, hidden at %d", r.Start, ticks)
		}
		if !r.lives() || r.same() {
			t.Errorf("hidden: lives %v, same %v", r.lives(), r.same())
		}
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	hidden(func() {
		if r.lives() {
			t.Error("dead, and it lives")
		}
	})
}
