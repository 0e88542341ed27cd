package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"sluice/supervisor/fleet"
)

// controlServer accepts the children on the control socket.
type controlServer struct {
	listener *net.UnixListener
	path     string
	done     chan struct{} // closed when nobody reads actions any more
}

// listenControl binds the control socket at path. The lock is held: a socket
// that is in the way belongs to nobody.
func listenControl(path string) (*controlServer, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("clear the way for control socket: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return &controlServer{listener: l, path: path, done: make(chan struct{})}, nil
}

// accept ends when the listener is closed. Children of an earlier life call at
// once: s is a's server before it begins.
func (s *controlServer) accept(a *appliance) {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		conn := fleet.NewConn(c)
		pid, err := conn.PeerPID()
		if err != nil {
			_ = conn.Close()
			continue
		}
		l := &link{conn: conn, pid: pid, out: make(chan packet, 4096), gone: make(chan struct{})}
		go l.write()
		go l.read(a)
	}
}

func (s *controlServer) close() {
	close(s.done)
	_ = s.listener.Close()
	_ = os.Remove(s.path)
}

// post hands a function to the loop; after the end it is dropped.
func (a *appliance) post(f func()) {
	select {
	case a.actions <- f:
	case <-a.server.done:
	}
}

// packet is one message on its way out.
type packet struct {
	m     fleet.Message
	fd    int
	close bool // fd is ours to close once it is sent
}

// link is the connection of one child. Its fields below out belong to the loop.
type link struct {
	conn *fleet.Conn
	pid  int // as the kernel says
	out  chan packet
	gone chan struct{}
	once sync.Once

	hello  fleet.Message
	gen    *generation
	daemon *daemon
	held   []held
	back   bool // has handed back everything
}

// held is one descriptor that an orphan handed back.
type held struct {
	m  fleet.Message
	fd int
}

// send queues a message. A child that does not read 4,096 of them is cut off.
func (l *link) send(m fleet.Message, fd int, closeAfter bool) {
	select {
	case l.out <- packet{m, fd, closeAfter}:
	default:
		l.close()
	}
}

func (l *link) close() { l.once.Do(func() { close(l.gone); _ = l.conn.Close() }) }

// write ends with the link.
func (l *link) write() {
	for {
		select {
		case p := <-l.out:
			err := l.conn.Send(p.m, p.fd)
			if p.close {
				_ = syscall.Close(p.fd)
			}
			if err != nil {
				l.close()
				return
			}
		case <-l.gone:
			return
		}
	}
}

// read ends with the link.
func (l *link) read(a *appliance) {
	for {
		m, fd, err := l.conn.Receive()
		if err != nil {
			l.close()
			a.post(func() { a.unlinked(l) })
			return
		}
		a.post(func() { a.received(l, m, fd) })
	}
}

func (a *appliance) unlinked(l *link) {
	if l.gen != nil && l.gen.link == l {
		l.gen.link = nil
	}
	if l.daemon != nil && l.daemon.link == l {
		l.daemon.link = nil
	}
	l.drop()
}

// drop closes the descriptors that nobody took.
func (l *link) drop() {
	for _, h := range l.held {
		if h.fd >= 0 {
			_ = syscall.Close(h.fd)
		}
	}
	l.held = nil
}

// received acts on one message of a child.
func (a *appliance) received(l *link, m fleet.Message, fd int) {
	if m.Kind == fleet.KindHeld && fd >= 0 && len(l.held) < 1<<16 {
		l.held = append(l.held, held{m, fd})
		return
	}
	if fd >= 0 {
		_ = syscall.Close(fd)
	}
	switch m.Kind {
	case fleet.KindHello:
		a.hello(l, m)
	case fleet.KindHeldEnd:
		l.back = true
		a.orphans = append(a.orphans, l)
		if a.slots != nil {
			a.welcomeOrphans()
		}
	case fleet.KindReady:
		if l.gen != nil {
			a.isReady(l.gen)
		} else if l.daemon != nil {
			a.daemonReady(l.daemon)
		}
	case fleet.KindRecycle:
		if g := l.gen; g != nil && g.state == fleet.StateReady {
			a.want(a.slots[g.slot], m.Reason, false)
		}
	case fleet.KindApplied, fleet.KindRefused:
		if l.gen != nil {
			a.reloaded(l.gen, m)
		}
	}
}

// hello tells who is at the other end. A name alone is not believed: the
// kernel must say the same process number, when it can see it.
func (a *appliance) hello(l *link, m fleet.Message) {
	if l.pid != 0 && m.PID != l.pid {
		a.log.Warn("control connection with a false process number", slog.Int("pid", l.pid), slog.Int("claimed", m.PID))
		l.close()
		return
	}
	l.hello = m
	switch {
	case m.Role == "status":
		a.answerStatus(l)
	case m.Orphan || a.slots == nil:
		// Comes back with what it holds; handled when it is complete.
	case m.Role == "healthd":
		a.helloHealthd(l, m)
	default:
		a.helloWorker(l, m)
	}
}

// helloWorker hands a new generation everything that it needs.
func (a *appliance) helloWorker(l *link, m fleet.Message) {
	g := a.byNumber(m.Generation)
	if g == nil || g.slot != m.Slot || g.state != fleet.StateStarting || g.pid != 0 && g.pid != m.PID {
		a.log.Warn("unknown worker", slog.Int("pid", m.PID), slog.Int("slot", m.Slot), slog.Int("generation", m.Generation))
		l.close()
		return
	}
	g.link, l.gen, g.version = l, g, m.Version
	l.send(fleet.Message{Kind: fleet.KindTable, Area: g.area}, a.tableFD, false)
	for slot, fd := range a.bells {
		l.send(fleet.Message{Kind: fleet.KindDoorbell, Slot: slot}, fd, false)
	}
	for i := range a.sockets {
		s := &a.sockets[i]
		if s.Slot >= 0 {
			l.send(fleet.Message{Kind: fleet.KindListener, Listener: &s.Listener}, s.fd, false)
		}
	}
	environ := a.environ.With(map[string]string{
		"SLUICE_RECYCLE_AFTER": strconv.Itoa(a.recycleAfter()),
		fleet.EnvSlot:          strconv.Itoa(g.slot), fleet.EnvGeneration: strconv.Itoa(g.number),
	})
	fd, err := memfd("environ", environ.Bytes())
	if err != nil {
		a.log.Error("hand over environment", slog.String("error", err.Error()))
		l.close()
		return
	}
	l.send(fleet.Message{Kind: fleet.KindEnviron}, fd, true)
	if neverReady() {
		return
	}
	l.send(fleet.Message{Kind: fleet.KindBegin}, -1, false)
}
