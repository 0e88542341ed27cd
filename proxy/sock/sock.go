// Package sock reads and writes sockets of the runtime's poller by system calls
// that the scheduler does not see. Such a call never blocks, but it takes long:
// a write to a local peer runs that peer's receive path. Through the usual way
// the runtime's monitor takes the processor away from a call of more than 20 µs
// and wakes another thread for it; the monitor, the wake-ups and the way back
// cost a worker a fifth of its CPU time.
package sock

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// ErrWouldBlock is what a call that must not wait gives when it would have to.
// crypto/tls survives it because it calls itself temporary.
var ErrWouldBlock net.Error = wouldBlockError{}

type wouldBlockError struct{}

func (wouldBlockError) Error() string   { return "nothing has arrived" }
func (wouldBlockError) Timeout() bool   { return true }
func (wouldBlockError) Temporary() bool { return true }

// Socket is a connected stream socket. One goroutine may read while another
// writes. Deadlines and Close of the connection that it was made from end a
// wait, with that connection's errors.
type Socket struct {
	raw  syscall.RawConn
	in   half
	out  half
	ask  func(fd uintptr) bool
	gone func() // of Ask
	one  [1]byte
}

// half is one direction. What the call is given and what it gives stand here,
// so that nothing is allocated for it.
type half struct {
	call  func(fd uintptr) bool
	p     []byte
	n     int
	flags uintptr
	errno syscall.Errno
	stay  bool // do not wait
}

// Init takes the socket of c, which stays its owner.
func (s *Socket) Init(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	s.raw = raw
	s.in.call, s.out.call, s.ask = s.receive, s.send, s.exchange
	return nil
}

// Usable reports whether Init was successful.
func (s *Socket) Usable() bool { return s.raw != nil }

// Read waits until something is there.
func (s *Socket) Read(p []byte) (int, error) { return s.read(p, 0, false) }

// TryRead reads what is there, or fails with ErrWouldBlock.
func (s *Socket) TryRead(p []byte) (int, error) { return s.read(p, 0, true) }

// Silent reports whether nothing at all, not even an end, has arrived.
func (s *Socket) Silent() bool {
	_, err := s.read(s.one[:], syscall.MSG_PEEK, true)
	return err == ErrWouldBlock //nolint:errorlint // read gives the bare sentinel
}

// Ask writes p to a peer that has said nothing since it was last read, and waits
// for it to speak: a look, a write and the wait of the following Read, which
// would find nothing at first, for the price of one. If something had arrived
// already, be it the end, nothing is written and silent is false. A wait that a
// deadline or Close ends is no error here but of the Read that follows. sent is
// called before the wait: p is not looked at any more. No other goroutine may
// write.
func (s *Socket) Ask(p []byte, sent func()) (n int, silent bool, err error) {
	h := &s.out
	h.p, h.n, h.errno = p, 0, 0
	s.in.p, s.in.flags, s.gone = s.one[:], syscall.MSG_PEEK, sent
	size := len(p)
	err = s.raw.Read(s.ask)
	n, s.in.p, h.p, s.gone = h.n, nil, nil, nil
	silent = s.in.errno == syscall.EAGAIN
	switch {
	case n == size: // what ended the wait is for the Read that follows
		return n, true, nil
	case err != nil:
		return n, true, err
	case !silent:
		return n, silent, nil
	case h.errno == syscall.EAGAIN:
		more, err := s.Write(p[n:])
		return n + more, true, err
	}
	return n, true, h.errno
}

// exchange is the look and the write of Ask; after them it asks the poller to
// wait, and whatever is there then is for Read.
func (s *Socket) exchange(fd uintptr) bool {
	if s.out.n > 0 {
		return true
	}
	s.in.n, s.in.errno = transfer(syscall.SYS_RECVFROM, fd, s.in.p, syscall.MSG_DONTWAIT|s.in.flags)
	if s.in.errno != syscall.EAGAIN || !s.send(fd) || s.out.errno != 0 {
		return true
	}
	s.gone()
	return false
}

func (s *Socket) read(p []byte, flags uintptr, stay bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	h := &s.in
	h.p, h.flags, h.stay = p, flags, stay
	err := s.raw.Read(h.call)
	h.p = nil
	switch {
	case err != nil:
		return 0, err
	case h.errno == syscall.EAGAIN:
		return 0, ErrWouldBlock
	case h.errno != 0:
		return 0, h.errno
	case h.n == 0:
		return 0, io.EOF
	}
	return h.n, nil
}

// receive is recvfrom(2); false asks the poller to wait and call again.
func (s *Socket) receive(fd uintptr) bool {
	h := &s.in
	h.n, h.errno = transfer(syscall.SYS_RECVFROM, fd, h.p, syscall.MSG_DONTWAIT|h.flags)
	return h.stay || h.errno != syscall.EAGAIN
}

// Write writes all of p, or says how much of it before it fails.
func (s *Socket) Write(p []byte) (int, error) {
	h := &s.out
	h.p, h.n, h.errno = p, 0, 0
	err := s.raw.Write(h.call)
	h.p = nil
	if err == nil && h.errno != 0 {
		err = h.errno
	}
	return h.n, err
}

// send is sendto(2) until all is out; false asks the poller to wait and call
// again.
func (s *Socket) send(fd uintptr) bool {
	h := &s.out
	for len(h.p) > 0 {
		var n int
		n, h.errno = transfer(syscall.SYS_SENDTO, fd, h.p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
		if h.errno != 0 {
			break
		}
		h.n += n
		h.p = h.p[n:]
	}
	return h.errno != syscall.EAGAIN
}

// transfer is recvfrom or sendto with no address. It restarts what a signal
// interrupted.
func transfer(trap, fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		order()
		n, _, errno := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		order()
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}
