package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// redialEvery is how often an orphan looks for a new supervisor.
const redialEvery = 100 * time.Millisecond

// link is the worker's end of the supervisor's control socket, with what came
// over it. A descriptor stays here for the worker's life, because a worker
// whose supervisor died hands it to the successor.
type link struct {
	path       string
	slot       int
	generation int

	conn      *fleet.Conn
	area      int
	tableFD   int
	table     *fleet.Table
	environ   *env.Environ
	doorbells map[int]int // slot → eventfd
	listeners []inherited
}

// inherited is a listening socket in the supervisor's custody.
type inherited struct {
	fleet.Listener
	fd int
}

// dialSupervisor connects to the supervisor and takes over what it hands out,
// up to the message that says begin.
func dialSupervisor(path string, slot, generation int) (*link, error) {
	l := &link{path: path, slot: slot, generation: generation, tableFD: -1, doorbells: map[int]int{}}
	conn, err := fleet.Dial(path)
	if err != nil {
		return nil, fmt.Errorf("dial supervisor: %w", err)
	}
	l.conn = conn
	if err := conn.Send(l.hello(), -1); err != nil {
		return nil, err
	}
	for {
		m, fd, err := conn.Receive()
		if err != nil {
			return nil, fmt.Errorf("receive from supervisor: %w", err)
		}
		if m.Kind == fleet.KindBegin {
			break
		}
		if err := l.take(m, fd); err != nil {
			return nil, err
		}
	}
	if l.table == nil || l.environ == nil {
		return nil, errors.New("the supervisor sent no host table or no environment")
	}
	return l, nil
}

func (l *link) hello() fleet.Message {
	return fleet.Message{
		Kind: fleet.KindHello, Role: "proxy", PID: os.Getpid(),
		Slot: l.slot, Generation: l.generation, Version: boot.Version,
	}
}

// take keeps one descriptor.
func (l *link) take(m fleet.Message, fd int) error {
	if fd < 0 {
		return nil
	}
	switch m.Kind {
	case fleet.KindTable:
		table, err := fleet.OpenTable(fd, false)
		if err != nil {
			return err
		}
		l.table, l.tableFD, l.area = table, fd, m.Area
	case fleet.KindDoorbell:
		l.doorbells[m.Slot] = fd
	case fleet.KindListener:
		if m.Listener == nil {
			return errors.New("listener message without a listener")
		}
		l.listeners = append(l.listeners, inherited{*m.Listener, fd})
	case fleet.KindEnviron:
		f := os.NewFile(uintptr(fd), "environ")
		defer func() { _ = f.Close() }()
		b, err := io.ReadAll(f)
		if err != nil {
			return fmt.Errorf("read environment: %w", err)
		}
		l.environ = env.Parse(b)
	default:
		_ = syscall.Close(fd)
	}
	return nil
}

// follow delivers the supervisor's messages until the connection ends, then
// closes the channel.
func (l *link) follow() <-chan fleet.Message {
	messages, conn := make(chan fleet.Message, 64), l.conn
	go func() {
		defer close(messages)
		for {
			m, fd, err := conn.Receive()
			if err != nil {
				_ = conn.Close()
				return
			}
			if fd >= 0 {
				_ = syscall.Close(fd)
			}
			messages <- m
		}
	}()
	return messages
}

// rejoin connects to a successor of the dead supervisor and hands everything
// back: the host table, the doorbells and the listeners.
func (l *link) rejoin(state fleet.State) error {
	conn, err := fleet.Dial(l.path)
	if err != nil {
		return err
	}
	hello := l.hello()
	hello.Orphan, hello.State, hello.Area = true, state.String(), l.area
	if err := handBack(conn, hello, l); err != nil {
		_ = conn.Close()
		return err
	}
	l.conn = conn
	return nil
}

func handBack(conn *fleet.Conn, hello fleet.Message, l *link) error {
	if err := conn.Send(hello, -1); err != nil {
		return err
	}
	held := fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindTable, Area: l.area}
	if err := conn.Send(held, l.tableFD); err != nil {
		return err
	}
	for slot, fd := range l.doorbells {
		held := fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindDoorbell, Slot: slot}
		if err := conn.Send(held, fd); err != nil {
			return err
		}
	}
	for i := range l.listeners {
		in := &l.listeners[i]
		held := fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindListener, Listener: &in.Listener}
		if err := conn.Send(held, in.fd); err != nil {
			return err
		}
	}
	return conn.Send(fleet.Message{Kind: fleet.KindHeldEnd}, -1)
}
