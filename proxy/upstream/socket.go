package upstream

import (
	"errors"
	"net"
	"syscall"

	"sluice/proxy/sock"
)

// errSpoken is of an idle connection whose peer has closed it, or said what
// nobody asked for. Nothing was written to it.
var errSpoken = errors.New("connection was not silent")

// socket is a connected TCP or unix socket that can also be asked, without
// waiting and without allocating, what has arrived.
type socket struct {
	net.Conn
	probing bool // Read does not wait

	raw sock.Socket
	one [1]byte
}

func newSocket(c net.Conn) (*socket, error) {
	s := &socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if err := s.raw.Init(sc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Read reads like the connection, or at once when probing.
func (s *socket) Read(p []byte) (int, error) {
	switch {
	case !s.raw.Usable() && s.probing:
		return 0, sock.ErrWouldBlock
	case !s.raw.Usable():
		return s.Conn.Read(p)
	case s.probing:
		return s.raw.TryRead(p)
	}
	return s.raw.Read(p)
}

// Write writes like the connection.
func (s *socket) Write(p []byte) (int, error) {
	if !s.raw.Usable() {
		return s.Conn.Write(p)
	}
	return s.raw.Write(p)
}

// ask writes a request to a socket that should be silent, calls sent, and waits
// for the answer (sock.Socket.Ask).
func (s *socket) ask(p []byte, sent func()) (int, error) {
	n, silent, err := s.raw.Ask(p, sent)
	if err == nil && !silent {
		err = errSpoken
	}
	return n, err
}

// silent reports whether nothing at all, not even an end, has arrived.
func (s *socket) silent() bool { return !s.raw.Usable() || s.raw.Silent() }
