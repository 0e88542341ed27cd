package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// listener is one listening socket that the worker holds. The descriptor is
// shared with the supervisor and the other workers: it is never shut down, its
// O_NONBLOCK is never cleared, and os.File.Fd is never called on it.
type listener struct {
	about   fleet.Listener
	fd      int
	private bool
	trusted []netip.Prefix
}

func (l *listener) trusts(ip netip.Addr) bool {
	for _, p := range l.trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// acceptors are the listeners and the loops that accept on some of them.
type acceptors struct {
	s *Server

	shared sync.RWMutex // guards all and bells; taken after mu
	all    []*listener
	bells  map[int]int // slot → eventfd

	mu      sync.Mutex // guards what follows; held while loops stop, so loops never take it
	loops   map[*listener]*loop
	ringing *os.File // the own doorbell while somebody listens to it
	timers  []*time.Timer
	paths   []string // unix sockets of our own, removed at the end
	closed  bool

	running sync.WaitGroup
}

func (a *acceptors) init(s *Server) {
	a.s, a.loops, a.bells = s, map[*listener]*loop{}, map[int]int{}
}

// Listen takes over the descriptor of a listening socket. It accepts nothing
// until Adopt names its slot. The descriptor is closed by Close, or at once
// when Listen fails.
func (s *Server) Listen(about fleet.Listener, fd int) error {
	l, err := newListener(about, fd)
	if err != nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("listener %s of slot %d: %w", about.Name, about.Slot, err)
	}
	if about.TLS && s.tls == nil {
		_ = syscall.Close(fd)
		return fmt.Errorf("listener %s of slot %d: no certificate is configured", about.Name, about.Slot)
	}
	a := &s.accept
	a.shared.Lock()
	defer a.shared.Unlock()
	a.all = append(slices.Clip(a.all), l)
	return nil
}

func newListener(about fleet.Listener, fd int) (*listener, error) {
	l := &listener{about: about, fd: fd}
	for _, t := range about.Trusted {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			ip, err := netip.ParseAddr(t)
			if err != nil {
				return nil, fmt.Errorf("trusted network %q is neither a network nor an address", t)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		l.trusted = append(l.trusted, p)
	}
	if v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || v != 1 {
		return nil, errors.New("descriptor is no listening socket")
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make non-blocking: %w", err)
	}
	return l, nil
}

// Doorbell duplicates the eventfd of a slot: the own one wakes this worker to
// accept what a neighbour offers, the others are rung. fd stays the caller's.
func (s *Server) Doorbell(slot, fd int) error {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = syscall.SetNonblock(d, true)
	}
	if err != nil {
		return fmt.Errorf("doorbell of slot %d: %w", slot, err)
	}
	a := &s.accept
	a.shared.Lock()
	defer a.shared.Unlock()
	if old, ok := a.bells[slot]; ok {
		_ = syscall.Close(old)
	}
	a.bells[slot] = d
	return nil
}

// Adopt makes the worker accept on exactly its own slot and slots from now on.
// A lame worker accepts nothing.
func (s *Server) Adopt(slots []int) {
	if !s.lame.Load() {
		s.accept.only(append([]int{s.c.Slot}, slots...))
		s.bad.adopted(s)
	}
}

// AdoptAll makes the worker accept on every listener: what an orphan does.
func (s *Server) AdoptAll() {
	if s.lame.Load() {
		return
	}
	var slots []int
	for _, l := range s.accept.listeners() {
		slots = append(slots, l.about.Slot)
	}
	s.accept.only(slots)
}

// Private serves the same routes on a unix socket at path, without a key on
// /metrics; requests there are probes. It goes on while the worker is lame.
func (s *Server) Private(path string) error {
	fd, err := Bind("unix", path)
	if err != nil {
		return fmt.Errorf("private socket: %w", err)
	}
	l := &listener{about: fleet.Listener{Name: "private", Slot: -1, Network: "unix", Address: path}, fd: fd, private: true}
	a := &s.accept
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths = append(a.paths, path)
	return a.start(l)
}

// listeners is a snapshot of those that the worker holds.
func (a *acceptors) listeners() []*listener {
	a.shared.RLock()
	defer a.shared.RUnlock()
	return a.all
}

// only makes the loops those of slots; nil stops all but the private ones.
func (a *acceptors) only(slots []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.listeners() {
		want := slices.Contains(slots, l.about.Slot) && !a.closed
		run := a.loops[l]
		switch {
		case want && run == nil:
			if err := a.start(l); err != nil {
				a.s.log.Error("accept", errAttr(err))
			}
		case !want && run != nil:
			run.stop()
			delete(a.loops, l)
		}
	}
	if len(slots) > 0 {
		a.answerBell()
	} else if a.ringing != nil {
		_ = a.ringing.Close()
		a.ringing = nil
	}
}

// start begins to accept on l. The loop has a descriptor of its own, so that
// stopping leaves l's alone. mu is held.
func (a *acceptors) start(l *listener) error {
	f, err := pollable(l.fd, l.about.Name)
	if err != nil {
		return err
	}
	lp := &loop{s: a.s, l: l, file: f, done: make(chan struct{})}
	a.loops[l] = lp
	a.running.Add(1)
	go lp.run()
	return nil
}

// pollable is a duplicate of fd in the runtime's poller.
func pollable(fd int, name string) (*os.File, error) {
	d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor of %s: %w", name, err)
	}
	return os.NewFile(uintptr(d), name), nil
}

// later runs f after d unless the server is closed first.
func (a *acceptors) later(d time.Duration, f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.timers = append(a.timers, time.AfterFunc(d, f))
	}
}

func (a *acceptors) close() {
	a.only(nil)
	a.mu.Lock()
	again := a.closed
	a.closed = true
	for _, t := range a.timers {
		t.Stop()
	}
	for l, lp := range a.loops {
		lp.stop()
		if l.private {
			_ = syscall.Close(l.fd)
		}
	}
	clear(a.loops)
	for _, p := range a.paths {
		_ = os.Remove(p)
	}
	a.mu.Unlock()
	a.running.Wait()
	if again {
		return
	}
	a.shared.Lock()
	defer a.shared.Unlock()
	for _, l := range a.all {
		_ = syscall.Close(l.fd)
	}
	for _, fd := range a.bells {
		_ = syscall.Close(fd)
	}
}

// loop accepts on one listener.
type loop struct {
	s    *Server
	l    *listener
	file *os.File
	done chan struct{}
	load load
}

// stop ends the loop by a deadline, so that no accepted connection is lost, and
// waits for it. What is queued stays queued for whoever accepts next.
func (lp *loop) stop() {
	_ = lp.file.SetReadDeadline(past)
	<-lp.done
	_ = lp.file.Close()
}

func (lp *loop) run() {
	defer lp.s.accept.running.Done()
	defer close(lp.done)
	raw, err := lp.file.SyscallConn()
	if err != nil {
		lp.s.log.Error("accept", errAttr(err))
		return
	}
	for {
		var fd int
		var from syscall.Sockaddr
		var acceptErr error
		offer := false
		err := raw.Read(func(l uintptr) bool {
			lp.s.bad.stuck(lp.l.private)
			if offer = lp.load.heavy(lp.s) && !lp.l.private; offer {
				return queued(int(l))
			}
			fd, from, acceptErr = syscall.Accept4(int(l), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			return !errors.Is(acceptErr, syscall.EAGAIN)
		})
		if err != nil { // stopped
			return
		}
		if offer {
			if fd, from, acceptErr = lp.offer(); errors.Is(acceptErr, syscall.EAGAIN) {
				continue // the neighbour took it
			}
		}
		if errors.Is(acceptErr, syscall.EINVAL) {
			return // shut down by the supervisor: the appliance stops
		}
		if acceptErr != nil {
			if errors.Is(acceptErr, syscall.EMFILE) || errors.Is(acceptErr, syscall.ENFILE) || errors.Is(acceptErr, syscall.ENOMEM) {
				time.Sleep(10 * time.Millisecond)
			}
			continue
		}
		lp.s.welcome(lp.l, fd, from)
	}
}

// welcome starts a connection.
func (s *Server) welcome(l *listener, fd int, from syscall.Sockaddr) {
	c := &conn{s: s, fd: fd, listener: l, private: l.private, open: true}
	switch a := from.(type) {
	case *syscall.SockaddrInet4:
		c.setRemote(netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)))
	case *syscall.SockaddrInet6:
		c.setRemote(netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)))
	default:
		c.remote, c.text = noAddr{}, []byte("unix")
		c.trusted = len(l.trusted) > 0
	}
	if _, ok := from.(*syscall.SockaddrUnix); !ok {
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	}
	c.file = os.NewFile(uintptr(fd), "client")
	if err := c.sock.Init(c.file); err != nil { // never: it is open
		s.log.Error("accept", errAttr(err))
		_ = c.file.Close()
		return
	}
	if !l.private && s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("connection accepted", slog.String("from", c.remote.String()), slog.Int("of_slot", l.about.Slot))
	}
	s.conns.add(c)
	s.serving.Add(1)
	go c.serve()
}

func (c *conn) setRemote(a netip.AddrPort) {
	c.remote = net.TCPAddrFromAddrPort(a)
	c.text = a.Addr().AppendTo(nil)
	c.trusted = c.listener.trusts(a.Addr())
}

// Bind makes a listening socket by raw system calls: SO_REUSEPORT, a backlog of
// 4096, non-blocking, close-on-exec. network is tcp (address host:port; [::] is
// dual stack) or unix (a path, whose stale socket is removed).
func Bind(network, address string) (int, error) {
	var sa unix.Sockaddr
	family := unix.AF_UNIX
	if network == "unix" {
		_ = os.Remove(address)
		sa = &unix.SockaddrUnix{Name: address}
	} else {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return -1, fmt.Errorf("address %s: %w", address, err)
		}
		ip, _ := netip.AddrFromSlice(a.IP)
		if !ip.IsValid() { // no host: every IPv4 address
			ip = netip.IPv4Unspecified()
		}
		if ip = ip.Unmap(); ip.Is4() {
			family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: ip.As4()}
		} else {
			family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: a.Port, Addr: ip.As16()}
		}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket for %s: %w", address, err)
	}
	if family != unix.AF_UNIX {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err = unix.Bind(fd, sa); err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", address, err)
	}
	return fd, nil
}
