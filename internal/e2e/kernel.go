package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// What the kernel says of the processes of an appliance: it cannot be wrong
// about who owns a connection, however a process has ended.

// Sockets is what one process holds.
type Sockets struct {
	Clients   []int // remote ports of the connections accepted on the appliance's port
	Listeners int   // listening sockets
	Blocking  int   // listening sockets without O_NONBLOCK
}

// SocketsOf looks at every descriptor of a process, which should be stopped
// where the answer must be exact. port is the appliance's.
func SocketsOf(pid, port int) (Sockets, error) {
	var out Sockets
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return out, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(handle) }()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out, err
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(handle, number, 0)
		if err != nil {
			continue // closed meanwhile
		}
		out.add(fd, port)
		_ = unix.Close(fd)
	}
	return out, nil
}

func (s *Sockets) add(fd, port int) {
	if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && on == 1 {
		s.Listeners++
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			s.Blocking++
		}
		return
	}
	local, err := unix.Getsockname(fd)
	if err != nil || portOf(local) != port {
		return
	}
	if remote, err := unix.Getpeername(fd); err == nil {
		s.Clients = append(s.Clients, portOf(remote))
	}
}

func portOf(sa unix.Sockaddr) int {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return sa.Port
	case *unix.SockaddrInet6:
		return sa.Port
	}
	return -1
}

// NonBlocking fails the test when a listener of any process of the appliance
// has lost O_NONBLOCK: the flag belongs to the socket, so one careless holder
// takes it from all.
func (a *Appliance) NonBlocking(when string) {
	a.t.Helper()
	seen := 0
	for _, p := range a.Processes() {
		s, err := SocketsOf(p.PID, a.Port)
		if err != nil {
			continue // has ended meanwhile
		}
		seen += s.Listeners
		if s.Blocking > 0 {
			a.t.Errorf("%s: %d of %d listeners of %s (%d) block", when, s.Blocking, s.Listeners, p.Program, p.PID)
		}
	}
	if seen == 0 {
		a.t.Errorf("%s: no listener was found", when)
	}
}

// Table maps the host table of the appliance, read only, until the test ends.
func (a *Appliance) Table() *fleet.Table {
	a.t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(a.PID()), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "/memfd:host-table") {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			a.t.Fatal(err)
		}
		defer f.Close()
		table, err := fleet.OpenTable(int(f.Fd()), true)
		if err != nil {
			a.t.Fatal(err)
		}
		a.t.Cleanup(func() { _ = table.Close() })
		return table
	}
	a.t.Fatal("the supervisor holds no host table")
	return nil
}

// Gone waits until a process has ended, its descriptors closed, and tells when.
func Gone(t testing.TB, pid int, within time.Duration) time.Time {
	t.Helper()
	handle, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return time.Now()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(handle) }()
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		p := []unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 20); err == nil && n > 0 {
			return time.Now()
		}
	}
	t.Fatalf("process %d has not ended after %v", pid, within)
	return time.Time{}
}
