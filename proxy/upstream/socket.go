package upstream

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// errWouldBlock is what a probing socket gives when nothing has arrived. TLS
// connections survive it because it calls itself temporary.
var errWouldBlock net.Error = wouldBlockError{}

type wouldBlockError struct{}

func (wouldBlockError) Error() string   { return "nothing has arrived" }
func (wouldBlockError) Timeout() bool   { return true }
func (wouldBlockError) Temporary() bool { return true }

// socket is a connected TCP or unix socket that can also be asked, without
// waiting and without allocating, what has arrived.
type socket struct {
	net.Conn
	probing bool // Read does not wait

	rc    syscall.RawConn
	fn    func(fd uintptr) bool
	buf   []byte
	flags uintptr
	n     int
	errno syscall.Errno
	one   [1]byte
}

func newSocket(c net.Conn) (*socket, error) {
	s := &socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		rc, err := sc.SyscallConn()
		if err != nil {
			return nil, err
		}
		s.rc = rc
		s.fn = s.receive
	}
	return s, nil
}

// Read reads like the connection, or at once when probing.
func (s *socket) Read(p []byte) (int, error) {
	if s.probing {
		return s.recv(p, syscall.MSG_DONTWAIT)
	}
	return s.Conn.Read(p)
}

// silent reports whether nothing at all, not even an end, has arrived.
func (s *socket) silent() bool {
	_, err := s.recv(s.one[:], syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
	return err == errWouldBlock //nolint:errorlint // recv gives the bare sentinel
}

func (s *socket) recv(p []byte, flags uintptr) (int, error) {
	if len(p) == 0 || s.rc == nil {
		return 0, errWouldBlock
	}
	s.buf, s.flags = p, flags
	err := s.rc.Read(s.fn)
	s.buf = nil
	switch {
	case err != nil:
		return 0, err
	case s.errno == syscall.EAGAIN:
		return 0, errWouldBlock
	case s.errno != 0:
		return 0, s.errno
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// receive is recvfrom(2) on the descriptor. It always says done: it never waits.
func (s *socket) receive(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
			uintptr(unsafe.Pointer(&s.buf[0])), uintptr(len(s.buf)), s.flags, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		s.n, s.errno = int(n), errno
		return true
	}
}
