package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stuck is a destination that takes nothing until it is released.
type stuck struct {
	release chan struct{}
	mu      sync.Mutex // guards got
	got     bytes.Buffer
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(b)
}

func (s *stuck) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// rigEngine makes the one engine that a process may have and takes its traces
// off the library afterwards.
func rigEngine(t *testing.T) (*managed, *stuck) {
	t.Helper()
	stderr := os.Stderr
	trace := &stuck{release: make(chan struct{})}
	e, err := newEngine(slog.New(slog.DiscardHandler), trace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Stderr.Close(); os.Stderr = stderr })
	return e, trace
}

// script makes a program of one line.
func script(t *testing.T, dir, name, line string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// life is what the engine told of one name.
type life struct {
	pid, status int
	started     bool
	ended       int
	took        time.Duration
}

// lives collects events until every name has ended, and a moment longer: each
// name ends exactly once.
func lives(t *testing.T, e engine, names ...string) map[string]*life {
	t.Helper()
	out := map[string]*life{}
	for _, name := range names {
		out[name] = &life{}
	}
	began, left := time.Now(), len(names)
	timeout := time.After(20 * time.Second)
	var quiet <-chan time.Time
	for {
		if left == 0 && quiet == nil {
			quiet = time.After(300 * time.Millisecond)
		}
		select {
		case ev := <-e.events():
			l := out[ev.name]
			switch {
			case l == nil:
				t.Errorf("event of nobody: %+v", ev)
			case ev.exited:
				l.ended++
				l.status, l.took = ev.status, time.Since(began)
				left--
			case l.ended > 0:
				t.Errorf("%s starts after its end", ev.name)
			default:
				l.started, l.pid = true, ev.pid
			}
		case <-quiet:
			return out
		case <-timeout:
			t.Fatalf("%d of %d have not ended", left, len(names))
		}
	}
}

// The engine alone, with programs that end in every way: one end for each, with
// its status, however short the life and whatever becomes of the output.
func TestEngine(t *testing.T) {
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	e, trace := rigEngine(t)
	routines, files := runtime.NumGoroutine(), openFiles()

	type want struct {
		name, path string
		status     int
		within     time.Duration
	}
	ways := []want{
		{"missing", filepath.Join(dir, "no-such-program"), exitUnknown, 5 * time.Second},
		{"forbidden", script(t, dir, "forbidden", "exit 0", 0o600), exitUnknown, 5 * time.Second},
		{"no-program", dir, exitUnknown, 5 * time.Second},
		{"ok", script(t, dir, "ok", "exit 0", 0o700), 0, 2 * time.Second},
		{"config", script(t, dir, "config", "exit 78", 0o700), 78, 2 * time.Second},
		{"panic", script(t, dir, "panic", "exit 2", 0o700), 2, 2 * time.Second},
		{"killed", script(t, dir, "killed", "kill -9 $$", 0o700), -9, 2 * time.Second},
		{"segv", script(t, dir, "segv", "kill -11 $$", 0o700), -11, 2 * time.Second},
		{"later", script(t, dir, "later", "sleep 1.5; exit 5", 0o700), 5, 5 * time.Second},
		// 8 MB, while nobody reads the appliance's log.
		{"talker", script(t, dir, "talker", "head -c 8000000 /dev/zero; exit 6", 0o700), 6, 10 * time.Second},
		{"complainer", script(t, dir, "complainer", "head -c 8000000 /dev/zero >&2; exit 7", 0o700), 7, 10 * time.Second},
	}
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
		if err := e.spawn(childSpec{name: w.name, path: w.path}); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
	}
	got := lives(t, e, names...)
	for _, w := range ways {
		l := got[w.name]
		if l.ended != 1 || l.status != w.status || l.took > w.within {
			t.Errorf("%s: ended %d times with %d after %v, want once with %d within %v",
				w.name, l.ended, l.status, l.took, w.status, w.within)
		}
	}
	if l := got["later"]; !l.started || l.pid <= 0 {
		t.Errorf("the start of a longer life was not told: %+v", l)
	}
	close(trace.release)

	t.Run("trace", func(t *testing.T) { engineTrace(t, e, trace, dir) })
	t.Run("signal", func(t *testing.T) { engineSignal(t, e, dir) })
	t.Run("watch", func(t *testing.T) { engineWatch(t, e) })
	t.Run("leaks", func(t *testing.T) { engineLeaks(t, e, dir, routines, files) })
	t.Run("refused", func(t *testing.T) { engineRefuses(t, e) })
}

// engineTrace: what a crashing program says at its end is in the log.
func engineTrace(t *testing.T, e engine, trace *stuck, dir string) {
	path := script(t, dir, "traces", `echo "panic: on $NAME_OF_OURS $1 in $SLUICE_SLOT" >&2; exit 2`, 0o700)
	spec := childSpec{name: "traces", path: path, args: []string{"up"}, env: []string{"NAME_OF_OURS=purpose", "SLUICE_SLOT=3"}}
	if err := e.spawn(spec); err != nil {
		t.Fatal(err)
	}
	if l := lives(t, e, "traces")["traces"]; l.status != 2 {
		t.Errorf("status %d", l.status)
	}
	waitFor(t, "the trace is in the log", func() bool { return strings.Contains(trace.text(), "panic: on purpose up in 3\n") })
}

func engineSignal(t *testing.T, e *managed, dir string) {
	path := script(t, dir, "waits", `trap 'exit 9' TERM; while :; do sleep 0.05; done`, 0o700)
	if err := e.spawn(childSpec{name: "waits", path: path}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it can be signalled", func() bool { return e.signal("waits", syscall.Signal(0)) == nil })
	time.Sleep(200 * time.Millisecond) // for its trap to be set
	if err := e.signal("waits", syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if l := lives(t, e, "waits")["waits"]; l.status != 9 {
		t.Errorf("status %d, want 9", l.status)
	}
	if err := e.signal("waits", syscall.SIGTERM); err == nil {
		t.Error("a process that has ended was signalled")
	}
	if err := e.signal("nobody", syscall.SIGTERM); err == nil {
		t.Error("nobody was signalled")
	}
}

// engineWatch: a process that the engine did not start.
func engineWatch(t *testing.T, e *managed) {
	attr := &os.ProcAttr{}
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, attr)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.watch("foreign", p.Pid); err != nil {
		t.Fatal(err)
	}
	if err := e.signal("foreign", syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if l := lives(t, e, "foreign")["foreign"]; l.status != exitUnknown || l.ended != 1 {
		t.Errorf("%+v", l)
	}
	_, _ = p.Wait()
	if err := e.watch("gone", p.Pid); err == nil {
		t.Error("a process that is gone is watched")
	}
}

// engineLeaks: after a hundred lives more there are as many goroutines and
// descriptors as before the first. The library lingers a few seconds over a
// life that was short.
func engineLeaks(t *testing.T, e engine, dir string, routines, files int) {
	path := script(t, dir, "brief", "exit 0", 0o700)
	for round := range 2 {
		var names []string
		for i := range 50 {
			name := fmt.Sprintf("brief-%d-%d", round, i)
			names = append(names, name)
			if err := e.spawn(childSpec{name: name, path: path}); err != nil {
				t.Fatal(err)
			}
		}
		lives(t, e, names...)
	}
	waitFor(t, "nothing is left of the lives", func() bool {
		return runtime.NumGoroutine() <= routines+2 && openFiles() <= files+2
	})
	t.Logf("show: over 100 process lives: goroutines %d to %d, descriptors %d to %d",
		routines, runtime.NumGoroutine(), files, openFiles())
}

func openFiles() int { entries, _ := os.ReadDir("/proc/self/fd"); return len(entries) }

// engineRefuses: what the engine's ini text cannot carry is an error, not
// another command.
func engineRefuses(t *testing.T, e engine) {
	for _, s := range []childSpec{
		{name: "a", path: "/bin/true now"},
		{name: "a", path: "/bin/true", args: []string{""}},
		{name: "a", path: "/bin/true", args: []string{"%(here)s"}},
		{name: "a", path: "/bin/true", env: []string{"A="}},
		{name: "a", path: "/bin/true", env: []string{"A=1,B=2"}},
		{name: "a\n[program:b]", path: "/bin/true"},
		{name: "a", path: "/bin/true;reboot"},
	} {
		if err := e.spawn(s); err == nil {
			t.Errorf("%+v was started", s)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for text, want := range map[string]int{
		"exit status 0": 0, "exit status 78": 78, "signal: killed": -9, "signal: segmentation fault (core dumped)": -11,
		"signal: aborted": -6, "": exitUnknown, "exit status many": exitUnknown, "signal: of the times": exitUnknown,
	} {
		if got := parseStatus(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
