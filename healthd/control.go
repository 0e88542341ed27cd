package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// The process engine asks the kernel to kill its children when it dies. healthd
// outlives it: the death is seen as the end of the control socket. The main
// thread, which the setting belongs to, runs package initialisation.
var _ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)

// retryEvery is how often an orphan knocks at the control socket.
const retryEvery = 100 * time.Millisecond

// link is the connection to the supervisor and what came over it. The
// descriptors are kept as they came, to be handed back to a successor.
type link struct {
	path  string
	log   *slog.Logger
	seen  *observer
	serve func(net.Listener)

	mu        sync.Mutex // guards the fields below
	conn      *fleet.Conn
	table     int
	listeners []heldListener
}

type heldListener struct {
	what fleet.Listener
	fd   int
}

// attach says hello and takes over table and listeners until the supervisor
// says begin.
func (l *link) attach() error {
	conn, err := fleet.Dial(l.path)
	if err != nil {
		return fmt.Errorf("connect to the supervisor: %w", err)
	}
	l.conn, l.table = conn, -1
	if err := conn.Send(l.hello(false), -1); err != nil {
		return err
	}
	for {
		m, fd, err := conn.Receive()
		if err != nil {
			return fmt.Errorf("wait for the supervisor to begin: %w", err)
		}
		if m.Kind == fleet.KindBegin {
			break
		}
		if err := l.take(m, fd); err != nil {
			return err
		}
	}
	if l.seen.table.Load() == nil {
		return errors.New("the supervisor sent no host table")
	}
	return nil
}

func (l *link) hello(orphan bool) fleet.Message {
	return fleet.Message{
		Kind: fleet.KindHello, Role: "healthd", PID: os.Getpid(), Slot: -1, Version: boot.Version,
		State: fleet.StateReady.String(), Orphan: orphan,
	}
}

// take acts on one message of the supervisor. It owns fd.
func (l *link) take(m fleet.Message, fd int) error {
	switch {
	case m.Kind == fleet.KindTable && fd >= 0:
		table, err := fleet.OpenTable(fd, true)
		if err != nil {
			return fmt.Errorf("open the host table: %w", err)
		}
		// The old mapping, if any, stays: a probe may be reading it.
		l.seen.table.Store(table)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.table >= 0 {
			_ = syscall.Close(l.table)
		}
		l.table = fd
	case m.Kind == fleet.KindListener && fd >= 0 && m.Listener != nil && m.Listener.Slot < 0:
		ln, err := listen(fd)
		if err != nil {
			return fmt.Errorf("take over listener %s: %w", m.Listener.Address, err)
		}
		l.mu.Lock()
		l.listeners = append(l.listeners, heldListener{*m.Listener, fd})
		l.mu.Unlock()
		l.serve(ln)
	case fd >= 0:
		_ = syscall.Close(fd)
	}
	return nil
}

// listen makes a listener of a duplicate of fd, which stays ours.
func listen(fd int) (net.Listener, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "listener")
	defer func() { _ = f.Close() }()
	return net.FileListener(f)
}

// follow reads messages until ctx ends. When the supervisor goes away it knocks
// at the control socket until a successor is there, and hands everything back.
func (l *link) follow(ctx context.Context) {
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	for ctx.Err() == nil {
		m, fd, err := l.current().Receive()
		if err == nil {
			if err := l.take(m, fd); err != nil {
				l.log.Error("message of the supervisor", slog.String("error", err.Error()))
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		l.seen.lost.Store(true)
		l.log.Warn("the supervisor is gone, waiting for a successor", slog.String("error", err.Error()))
		l.reconnect(ctx)
	}
}

func (l *link) current() *fleet.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

func (l *link) close() { _ = l.current().Close() }

// reconnect returns when a successor has everything, or ctx has ended.
func (l *link) reconnect(ctx context.Context) {
	_ = l.current().Close()
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		conn, err := fleet.Dial(l.path)
		if err != nil {
			continue
		}
		if err := l.handBack(conn); err != nil {
			l.log.Warn("hand back to the new supervisor", slog.String("error", err.Error()))
			_ = conn.Close()
			continue
		}
		l.mu.Lock()
		l.conn = conn
		l.mu.Unlock()
		if ctx.Err() != nil {
			_ = conn.Close()
			return
		}
		l.seen.lost.Store(false)
		l.log.Info("a new supervisor has taken over")
		return
	}
}

// handBack gives table and listeners to a successor.
func (l *link) handBack(conn *fleet.Conn) error {
	if err := conn.Send(l.hello(true), -1); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := conn.Send(fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindTable}, l.table); err != nil {
		return err
	}
	for i := range l.listeners {
		h := &l.listeners[i]
		if err := conn.Send(fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindListener, Listener: &h.what}, h.fd); err != nil {
			return err
		}
	}
	return conn.Send(fleet.Message{Kind: fleet.KindHeldEnd}, -1)
}
