package main

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// systemd is the end of sd_notify(3) that a service manager has: it takes
// messages and keeps descriptors.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn

	mu    sync.Mutex // guards what follows
	said  []string   // one variable each
	at    []time.Time
	store []storedFD
}

func newSystemd(t *testing.T, address string) *systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &systemd{t: t, conn: conn}
	done := make(chan struct{})
	go func() { defer close(done); s.listen() }()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		for _, f := range s.store {
			_ = syscall.Close(f.fd)
		}
	})
	return s
}

// listen ends when the socket is closed.
func (s *systemd) listen() {
	buf, oob := make([]byte, 4096), make([]byte, 1024)
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		fd := -1
		if messages, err := syscall.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
			if fds, err := syscall.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
				fd = fds[0]
			}
		}
		s.take(strings.Split(string(buf[:n]), "\n"), fd)
	}
}

func (s *systemd) take(lines []string, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines {
		s.said, s.at = append(s.said, line), append(s.at, time.Now())
	}
	name := ""
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = text
		}
	}
	switch {
	case slices.Contains(lines, "FDSTORE=1"):
		if fd < 0 || name == "" {
			s.t.Errorf("a store without descriptor or name: %q", lines)
			return
		}
		s.store = append(s.store, storedFD{name: name, fd: fd})
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		s.store = slices.DeleteFunc(s.store, func(f storedFD) bool {
			if f.name == name {
				_ = syscall.Close(f.fd)
			}
			return f.name == name
		})
	case fd >= 0:
		s.t.Errorf("a descriptor with %q", lines)
		_ = syscall.Close(fd)
	}
}

// mark is the present place in what was said.
func (s *systemd) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.said)
}

// heard waits for a line that begins so, after a mark, and returns it whole
// with its place.
func (s *systemd) heard(after int, prefix string) (line string, at int) {
	s.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		s.mu.Lock()
		for i := after; i < len(s.said); i++ {
			if strings.HasPrefix(s.said[i], prefix) {
				defer s.mu.Unlock()
				return s.said[i], i
			}
		}
		s.mu.Unlock()
		if time.Now().After(deadline) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("systemd did not hear %q, but %q", prefix, s.said[after:])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// count is how often a line was said after a mark.
func (s *systemd) count(after int, line string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, said := range s.said[after:] {
		if said == line {
			n++
		}
	}
	return n
}

func (s *systemd) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, f := range s.store {
		out = append(out, f.name)
	}
	slices.Sort(out)
	return out
}

// startUnder runs the supervisor as systemd does: the descriptors of the store
// from 3 on, and LISTEN_PID is the process itself.
func (b *box) startUnder(s *systemd, address string) {
	b.t.Helper()
	_, port, _ := net.SplitHostPort(b.addr)
	var names []string
	var files []*os.File
	s.mu.Lock()
	for _, f := range s.store {
		dup, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		names, files = append(names, f.name), append(files, os.NewFile(uintptr(dup), f.name))
	}
	s.mu.Unlock()
	b.cmd = exec.Command("/bin/sh", "-c", `LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"`,
		filepath.Join(b.dir, "supervisor"), "--host", "127.0.0.1", "--port", port,
		"--num_workers", "2", "--state_dir", filepath.Join(b.dir, "s"))
	b.cmd.Env = append(os.Environ(), "SEPARATE_HEALTH_PORT=0", "SLUICE_PRESTOP_DELAY=0", "SLUICE_RECYCLE_FLOOR=0",
		"NOTIFY_SOCKET="+address, "WATCHDOG_USEC=1500000")
	if len(files) > 0 {
		b.cmd.ExtraFiles = files
		b.cmd.Env = append(b.cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if testing.Verbose() {
		b.cmd.Stderr = os.Stderr
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	cmd := b.cmd
	b.t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGQUIT); _ = cmd.Wait() })
}

// TestLifeUnderSystemd is a start, a reload, a hang of all workers, an upgrade,
// the death of everything, a start with what systemd kept, and a stop.
func TestLifeUnderSystemd(t *testing.T) {
	b := newBox(t)
	address := "@sluice-test-" + strconv.Itoa(os.Getpid())
	s := newSystemd(t, address)

	slow := filepath.Join(b.dir, "slow")
	if err := os.WriteFile(slow, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.startUnder(s, address)
	s.heard(0, "STATUS=starting")
	s.heard(0, "EXTEND_TIMEOUT_USEC=30000000") // the migrator takes its time
	if s.count(0, "READY=1") != 0 {
		t.Error("READY before the migrator is through")
	}
	_ = os.Remove(slow)
	_, ready := s.heard(0, "READY=1")
	s.heard(ready, "STATUS=ready, 2 of 2 slots ready")
	kept := []string{"l-health--1", "l-main-0", "l-main-1", "table"}
	if got := s.names(); !slices.Equal(got, kept) {
		t.Errorf("kept %v, want %v", got, kept)
	}
	s.heard(ready, "WATCHDOG=1")
	st := b.await("start", one())

	t.Run("reload", func(t *testing.T) { underReload(t, b, s) })
	t.Run("watchdog", func(t *testing.T) { underWatchdog(t, s, st) })
	t.Run("upgrade", func(t *testing.T) {
		here := s.mark()
		_ = b.cmd.Process.Signal(syscall.SIGUSR2)
		_, at := s.heard(here, "RELOADING=1")
		s.heard(at, "READY=1")
		b.await("upgrade", one(pids(st)...))
	})
	t.Run("restart", func(t *testing.T) { underRestart(t, b, s, address) })

	here := s.mark()
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("stop: %v", err)
	}
	s.heard(here, "STOPPING=1")
	s.heard(here, "EXTEND_TIMEOUT_USEC=")
	s.heard(here, "FDSTOREREMOVE=1")
	if got := s.names(); len(got) != 0 {
		t.Errorf("after a whole stop systemd keeps %v", got)
	}
}

func underReload(t *testing.T, b *box, s *systemd) {
	here, before := s.mark(), fleet.Now()
	_ = b.cmd.Process.Signal(syscall.SIGHUP)
	_, at := s.heard(here, "RELOADING=1")
	stamp, _ := s.heard(at, "MONOTONIC_USEC=")
	usec, err := strconv.ParseInt(strings.TrimPrefix(stamp, "MONOTONIC_USEC="), 10, 64)
	if err != nil || usec < before/1000 || usec > fleet.Now()/1000 {
		t.Errorf("%s, %v: want a time between %d and now", stamp, err, before/1000)
	}
	s.heard(at, "READY=1")
	b.await("applied", func(st *fleet.Status) bool { return st.Config.Applied == 1 && st.Config.Rejected == 0 })

	if err := os.WriteFile(filepath.Join(b.dir, "bad-config"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	here = s.mark()
	_ = b.cmd.Process.Signal(syscall.SIGHUP)
	_, at = s.heard(here, "RELOADING=1")
	s.heard(at, "READY=1") // systemd is not left waiting by a bad file
	b.await("refused", func(st *fleet.Status) bool { return st.Config.Applied == 1 && st.Config.Rejected == 1 })
	_ = os.Remove(filepath.Join(b.dir, "bad-config"))
}

// underWatchdog stops all workers for less time than makes them hung: the
// sign of life must stay out, though the supervisor's loop turns.
func underWatchdog(t *testing.T, s *systemd, st *fleet.Status) {
	workers := []int{st.Slots[0].Generations[0].PID, st.Slots[1].Generations[0].PID}
	for _, pid := range workers {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	time.Sleep(600 * time.Millisecond) // one is due that rests on beats from before
	here := s.mark()
	time.Sleep(1500 * time.Millisecond)
	silent := s.count(here, "WATCHDOG=1")
	for _, pid := range workers {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	if silent != 0 {
		t.Errorf("%d signs of life while no worker answered", silent)
	}
	s.heard(here, "WATCHDOG=1")
}

// underRestart kills every process. What connects meanwhile waits in the
// listeners that systemd keeps, and is answered by the next start.
func underRestart(t *testing.T, b *box, s *systemd, address string) {
	st := b.await("before the end", one())
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	for _, pid := range pids(st) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	// Orphans of the test: they vanish once process 1 has waited for them.
	waitFor(t, "all processes are dead", func() bool {
		for _, pid := range pids(st) {
			if startTicks(pid) != 0 {
				return false
			}
		}
		return true
	})
	var waiting []net.Conn
	for range 20 {
		c, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err != nil {
			t.Fatalf("nobody listens between the two lives: %v", err)
		}
		defer func() { _ = c.Close() }()
		waiting = append(waiting, c)
	}
	here := s.mark()
	b.startUnder(s, address)
	s.heard(here, "READY=1")
	for i, c := range waiting {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Errorf("connection %d that waited: %v", i, err)
		}
	}
	after := b.await("again", one(pids(st)...))
	if !slices.EqualFunc(after.Listeners, st.Listeners, func(x, y fleet.Listener) bool { return x.Address == y.Address && x.Slot == y.Slot }) {
		t.Errorf("listeners %+v, before %+v", after.Listeners, st.Listeners)
	}
	if after.Recycles.ByReason["upgrade"] != 2 || after.Config.Rejected != 1 {
		t.Errorf("counters of the host table are lost: %+v %+v", after.Recycles, after.Config)
	}
	want := []string{"l-health--1", "l-main-0", "l-main-1", "table"}
	if got := s.names(); !slices.Equal(got, want) {
		t.Errorf("kept after the restart: %v, want %v", got, want)
	}
	b.checkSockets(after)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func TestNotifierReadsItsEnvironment(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, c := range []struct {
		name     string
		env      string
		on       bool
		watchdog int64
	}{
		{"without systemd", "WATCHDOG_USEC=3000000", false, 0},
		{"without watchdog", "NOTIFY_SOCKET=@x", true, 0},
		{"with watchdog", "NOTIFY_SOCKET=@x\x00WATCHDOG_USEC=3000000", true, int64(time.Second)},
		{"our watchdog", "NOTIFY_SOCKET=@x\x00WATCHDOG_USEC=3000000\x00WATCHDOG_PID=" + own, true, int64(time.Second)},
		{"somebody else's watchdog", "NOTIFY_SOCKET=@x\x00WATCHDOG_USEC=3000000\x00WATCHDOG_PID=1", true, 0},
		{"nonsense", "NOTIFY_SOCKET=/nowhere\x00WATCHDOG_USEC=soon", true, 0},
	} {
		n := newNotifier(env.Parse([]byte(c.env)), slog.New(slog.DiscardHandler))
		if (n.fd >= 0) != c.on || n.watchdog != c.watchdog {
			t.Errorf("%s: descriptor %d, watchdog %v", c.name, n.fd, n.watchdog)
		}
		n.send("READY=1") // nobody listens: not an error that anyone waits for
		n.keep("table", 0)
		n.forget()
		if n.fd >= 0 {
			_ = unix.Close(n.fd)
		}
	}
}

// Descriptors of another process's environment are not ours to close or use.
func TestPassedDescriptorsAreOurs(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, text := range []string{
		"LISTEN_FDS=2", "LISTEN_PID=1\x00LISTEN_FDS=2", "LISTEN_PID=" + strconv.Itoa(os.Getpid()) + "\x00LISTEN_FDS=none",
		"LISTEN_PID=" + strconv.Itoa(os.Getpid()) + "\x00LISTEN_FDS=-1",
	} {
		if got := passed(env.Parse([]byte(text)), log); got != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// A socket unit's socket goes by its name, else by its port, else it is the
// main listener.
func TestSocketUnitsArePlaced(t *testing.T) {
	a := &appliance{plan: plan{
		endpoints: []endpoint{
			{name: mainName, network: "tcp", address: "0.0.0.0:4000"},
			{name: "admin", network: "tcp", address: "127.0.0.1:4002"},
			{name: "local", network: "unix", address: "/run/sluice.sock"},
		},
		health: endpoint{name: healthName, network: "tcp", address: "0.0.0.0:4001"},
	}}
	for _, c := range []struct {
		l    fleet.Listener
		name string
		slot int
	}{
		{fleet.Listener{Name: "sluice.socket", Slot: anySlot, Network: "tcp", Address: "[::]:4000"}, mainName, anySlot},
		{fleet.Listener{Name: "sluice.socket", Slot: anySlot, Network: "tcp", Address: "[::]:4001"}, healthName, -1},
		{fleet.Listener{Name: "sluice.socket", Slot: anySlot, Network: "tcp", Address: "127.0.0.1:4002"}, "admin", anySlot},
		{fleet.Listener{Name: "sluice.socket", Slot: anySlot, Network: "unix", Address: "/run/sluice.sock"}, "local", anySlot},
		{fleet.Listener{Name: "sluice.socket", Slot: anySlot, Network: "tcp", Address: "0.0.0.0:80"}, mainName, anySlot},
		{fleet.Listener{Name: "admin", Slot: anySlot, Network: "tcp", Address: "0.0.0.0:443"}, "admin", anySlot},
		{fleet.Listener{Name: "old", Slot: 3, Network: "tcp", Address: "0.0.0.0:4000"}, "old", 3},
	} {
		if got := a.placed(c.l); got.Name != c.name || got.Slot != c.slot {
			t.Errorf("%+v is placed at %s, %d, want %s, %d", c.l, got.Name, got.Slot, c.name, c.slot)
		}
	}
}

// A failed slot that others adopt does not hold READY back.
func TestReadyWithAFailedSlot(t *testing.T) {
	s := newSystemd(t, filepath.Join(t.TempDir(), "n"))
	r := newRig(t, 2)
	r.notify = newNotifier(env.Parse([]byte("NOTIFY_SOCKET="+s.conn.LocalAddr().String())), r.log)
	r.step()
	r.up(1)
	r.pass(time.Second)
	if s.count(0, "READY=1") != 0 {
		t.Error("READY though a slot is still starting")
	}
	for range failedAfter {
		for len(r.inSlot(0)) == 0 {
			r.pass(paceBusy)
		}
		r.exit(r.newest(0), 1)
	}
	s.heard(0, "READY=1")
	s.heard(0, "STATUS=ready, 1 of 2 slots ready")
}

// exitCode is that of an ended command, -1 for a signal.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	panic(fmt.Sprint("command: ", err))
}
