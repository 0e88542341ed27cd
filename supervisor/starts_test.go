package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

func TestPause(t *testing.T) {
	for failed, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 9: 25600 * time.Millisecond,
		10: longestPause, 11: longestPause, 1 << 30: longestPause,
	} {
		if got := pause(failed, longestPause); got != want {
			t.Errorf("after %d: %v, want %v", failed, got, want)
		}
	}
	if got := pause(5, 0); got != 0 {
		t.Errorf("without pauses: %v", got)
	}
}

func TestStartsAreCounted(t *testing.T) {
	s := newStarts(fleet.Dir(t.TempDir()), 0)
	again := func() *starts { return &starts{path: s.path} }
	minute := goodService

	s.begin(nil, slog.New(slog.DiscardHandler))
	if n := again().failed(); n != 1 {
		t.Errorf("a start that goes on counts %d", n)
	}
	s.ended(errors.New("it failed"))
	s.ended(boot.Exit(fleet.ExitGaveUp, nil))
	s.serves(5)
	s.serves(5 + minute - 1)
	if n := again().failed(); n != 1 {
		t.Errorf("a failed start counts %d", n)
	}
	s.serves(5 + minute)
	if n := again().failed(); n != 0 {
		t.Errorf("a good start counts %d", n)
	}
	for _, code := range []int{fleet.ExitUsage, fleet.ExitConfig, fleet.ExitOK} {
		if err := s.write(7); err != nil {
			t.Fatal(err)
		}
		if s.ended(boot.Exit(code, errors.New("mend it"))); again().failed() != 0 {
			t.Errorf("exit %d counts", code)
		}
	}
	if err := os.Mkdir(filepath.Dir(s.path), 0o700); err != nil {
		t.Errorf("the folder that it made is left behind: %v", err)
	}
	for text, want := range map[string]int{
		`{"version":"` + boot.Version + `","failed":3}`: 3, `{"version":"another","failed":3}`: 0, "torn": 0, "": 0,
	} {
		if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := again().failed(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestStartsBackOff: whoever starts a broken supervisor again at once, as systemd
// does, is made to wait longer each time, and is told; a start that works, or
// that somebody ends, begins anew.
func TestStartsBackOff(t *testing.T) {
	b := newBox(t)
	address := "@sluice-starts-" + strconv.Itoa(os.Getpid())
	s := newSystemd(t, address)
	proxy := filepath.Join(b.dir, "proxy")
	away := proxy + ".away"
	if err := errors.Join(os.Rename(proxy, away), os.Mkdir(filepath.Join(b.dir, "s"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for failed := range 4 {
		here, began := s.mark(), time.Now()
		b.startUnder(s, address)
		var exit *exec.ExitError
		if err := b.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != fleet.ExitFailed {
			t.Errorf("a supervisor without a proxy: %v", err)
		}
		took := time.Since(began)
		wait := pause(failed, longestPause)
		if failed > 0 {
			s.heard(here, fmt.Sprintf("STATUS=waiting %v: the last %d starts failed", wait, failed))
		} else if s.count(here, "STATUS=waiting") != 0 {
			t.Error("the first start waits")
		}
		if took < wait {
			t.Errorf("after %d failed starts it took %v", failed, took)
		}
	}
	if err := os.Rename(away, proxy); err != nil {
		t.Fatal(err)
	}
	here := s.mark()
	b.startUnder(s, address)
	s.heard(here, "STATUS=waiting 800ms")
	s.heard(here, "READY=1")
	record := fleet.Dir(filepath.Join(b.dir, "s")).Starts()
	if _, err := os.Stat(record); err != nil {
		t.Errorf("within its first minute the start is not on record: %v", err)
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Stat(record); err == nil {
		t.Error("after a stop that was asked for starts are still on record")
	}
}

// TestStopWhileWaiting: an end that is asked for during a pause comes at once,
// and through the door that workers are taken over by.
func TestStopWhileWaiting(t *testing.T) {
	b := newBox(t)
	address := "@sluice-waiting-" + strconv.Itoa(os.Getpid())
	s := newSystemd(t, address)
	if err := os.Mkdir(filepath.Join(b.dir, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	record := newStarts(fleet.Dir(filepath.Join(b.dir, "s")), 0)
	if err := record.write(20); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b.startUnder(s, address)
	_, at := s.heard(0, "STATUS=waiting 30s: the last 20 starts failed")
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		_ = b.cmd.Process.Signal(sig) // end nothing, and no pause
	}
	time.Sleep(300 * time.Millisecond)
	if n := s.count(at, "STATUS=starting"); n != 0 {
		t.Error("a reload ended the pause")
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("stop: %v, want code 0", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	s.heard(at, "STATUS=starting")
	s.heard(at, "STOPPING=1")
	if record.failed() != 0 {
		t.Error("failed starts are still on record")
	}
}
