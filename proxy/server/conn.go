package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"sluice/proxy/gateway"
	"sluice/proxy/sock"
)

// Phases of a connection. The sweeper reads them; only the serving goroutine
// moves them.
const (
	phaseIdle   uint32 = iota // waiting for the first byte of a request
	phaseHeader               // it is there
	phaseBody                 // admitted, reading the body
	phaseWork                 // the gateway has it
	phaseWrite                // answering
	phaseLinger               // half closed, reading what still arrives
)

// conn is one client connection. It stands between fasthttp and the socket:
// it enforces the deadlines of its phase (set by the sweeper, not by a timer a
// request), gives fasthttp's buffers back while it is idle, swallows the
// 100 Continue that nobody asked for, and can be looked at from outside.
type conn struct {
	s        *Server
	file     *os.File // non-blocking socket, in the runtime's poller
	fd       int      // its descriptor; valid while open, see mu
	sock     sock.Socket
	tls      *tls.Conn
	remote   net.Addr
	text     []byte // the peer as logs show it, without port
	trusted  bool   // the peer is a trusted proxy
	private  bool   // came over the private socket
	index    int    // in the registry
	listener *listener

	phase atomic.Uint32
	since atomic.Int64 // when the phase began
	limit atomic.Int64 // when it must be over; 0 for never
	held  atomic.Bool  // idle with fasthttp's buffers in hand
	dead  atomic.Bool  // killed
	cut   atomic.Bool  // its last exchange was cancelled by Cut

	mu   sync.Mutex // guards open and x
	open bool
	x    canceller // in flight, to be cut from outside

	// Of the serving goroutine alone.
	call     *call
	ahead    []byte // bytes read before fasthttp came
	one      [1]byte
	parked   bool    // fasthttp was sent away with nothing read
	swallow  bool    // the next write is a 100 Continue that nobody asked for
	linger   bool    // bytes may be on the way that will not be read: close late
	lineSeen bool    // the request line of this header is complete
	bareLine bool    // and ends in LF alone
	last     []byte  // of this request's bytes what the last read brought; fasthttp's memory
	before   tail    // of the bytes before last
	ends     tail    // of the bytes up to the end of last
	chunks   chunks  // watches a chunked body
	owed     int64   // of the body allowance, until the answer is written
	aside    *stream // goes on without fasthttp
	got      int64   // bytes read since the request began
	size     int64   // of the request on the wire; -1 for not known
	unclear  bool    // fasthttp may hold bytes behind a request: got means nothing
	taken    int     // bytes written since writes began to block
	blocked  int64
}

var errStalled = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

// become moves to a phase that must be over in d; 0 is no limit.
func (c *conn) become(phase uint32, now int64, d time.Duration) {
	limit := int64(0)
	if d > 0 {
		limit = now + int64(d)
	}
	c.limit.Store(limit)
	c.since.Store(now)
	c.phase.Store(phase)
}

// connState hears from fasthttp that an answer is out and its body drained.
func connState(nc net.Conn, state fasthttp.ConnState) {
	if c, ok := nc.(*conn); ok && state == fasthttp.StateIdle {
		c.rest()
		c.held.Store(true)
	}
}

// rest makes it a connection that waits for its next request.
func (c *conn) rest() {
	c.free()
	c.unclear = !c.drained()
	c.got, c.size = 0, -1
	c.lineSeen, c.bareLine, c.chunks = false, false, chunks{}
	c.last, c.before, c.ends = nil, tail{}, tail{}
	// The coarse clock is late by up to a tick; nobody is closed early.
	c.become(phaseIdle, c.s.clock.coarse.Load(), c.s.c.KeepAlive+tick)
}

// Read is fasthttp's read. While the connection is idle it ends with io.EOF
// and the parked mark after parkAfter, so that 10,000 idle connections do not
// hold 10,000 buffers.
func (c *conn) Read(p []byte) (int, error) {
	if c.phase.Load() == phaseWrite && c.limit.Load() == 0 { // what is left of a refused body
		c.limit.Store(c.s.clock.coarse.Load() + int64(refusedDrain))
	}
	var n int
	var err error
	switch {
	case c.tls != nil:
		if n, err = c.tls.Read(p); c.parked {
			err = io.EOF
		}
	case len(c.ahead) > 0:
		n = copy(p, c.ahead)
		c.ahead = c.ahead[n:]
	default:
		n, err = c.readRaw(p)
	}
	if n > 0 {
		c.got += int64(n)
		c.arrived(p[:n])
		c.last, c.before, c.ends = p[:n], c.ends, c.ends.then(p[:n])
		if c.chunks.at != chunksIdle && !c.chunks.feed(c.last) {
			return 0, errChunks
		}
	}
	return n, err
}

// arrived notes the first byte of a request and the end of its first line.
func (c *conn) arrived(p []byte) {
	switch c.phase.Load() {
	case phaseIdle:
		c.held.Store(false)
		c.become(phaseHeader, c.s.clock.coarse.Load(), c.s.c.HeaderTimeout)
		fallthrough
	case phaseHeader:
		if !c.lineSeen {
			end := bytes.IndexByte(p, '\n')
			c.lineSeen, c.bareLine = end >= 0, end > 0 && p[end-1] != '\r'
		}
	}
}

// readRaw reads the socket. The sweeper interrupts a read by a deadline in the
// past; whether that was meant for the present phase is decided here, so that a
// byte that arrives at that moment is not lost.
func (c *conn) readRaw(p []byte) (int, error) {
	for {
		n, err := c.sock.Read(p)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := c.overdue(); err != nil {
			return 0, err
		}
		if err := c.file.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
}

// overdue says why a read was interrupted; nil means that it was not.
func (c *conn) overdue() error {
	if c.dead.Load() {
		return net.ErrClosed
	}
	now := c.s.clock.now()
	idle, limit := c.phase.Load() == phaseIdle, c.limit.Load()
	if idle {
		limit = c.idleEnd()
	}
	if limit != 0 && now >= limit {
		if !idle {
			return errStalled
		}
		// An interrupted read has not looked: a request that is there already
		// is answered, however late.
		if n, errno := peek(c.fd); n > 0 && errno == 0 {
			c.limit.Store(now + int64(lingerTime))
			return nil
		}
		return io.EOF
	}
	if c.held.Load() && now-c.since.Load() >= int64(parkAfter) {
		c.parked = true
		return io.EOF
	}
	return nil
}

// idleEnd is when an idle connection is to be closed, 0 for never.
func (c *conn) idleEnd() int64 {
	limit := c.limit.Load()
	if quiet := c.s.quiet.Load(); quiet != 0 {
		if end := max(c.since.Load(), c.s.quietFrom.Load()) + quiet; limit == 0 || end < limit {
			return end
		}
	}
	return limit
}

// Write is fasthttp's write. It fails when the reader takes less than
// readerRate for as long as the server's stall time.
func (c *conn) Write(p []byte) (int, error) {
	if c.aside != nil { // fasthttp's own header, larger than its buffer: the stream writes it
		return len(p), nil
	}
	if c.swallow {
		c.swallow = false
		if string(p) == continueLine {
			return len(p), nil
		}
	}
	start := c.s.clock.coarse.Load()
	was := c.limit.Load()
	c.limit.Store(start + int64(c.s.stall) - c.blocked + int64(c.taken+len(p))*int64(time.Second/readerRate))
	var n int
	var err error
	if c.tls != nil {
		n, err = c.tls.Write(p)
	} else {
		n, err = c.writeRaw(p)
	}
	c.limit.Store(was)
	if d := c.s.clock.coarse.Load() - start; d > 0 {
		c.blocked += d
		c.taken += n
	} else {
		c.blocked, c.taken = 0, 0
	}
	return n, err
}

func (c *conn) writeRaw(p []byte) (int, error) {
	done := 0
	for {
		n, err := c.sock.Write(p[done:])
		done += n
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.dead.Load() {
			return done, err
		}
		if limit := c.limit.Load(); limit != 0 && c.s.clock.now() >= limit {
			return done, err
		}
		if err := c.file.SetWriteDeadline(time.Time{}); err != nil {
			return done, err
		}
	}
}

// Close is fasthttp's close; the socket is closed by the serving goroutine,
// which may want to read on.
func (c *conn) Close() error { return nil }

// Addresses and deadlines of net.Conn. Deadlines are the phases' business, so
// that none costs a timer.
func (c *conn) LocalAddr() net.Addr              { return noAddr{} }
func (c *conn) RemoteAddr() net.Addr             { return c.remote }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// rawConn is the socket as crypto/tls sees it.
type rawConn struct{ *conn }

// Read gives the bytes behind a PROXY header first. A parked read must look
// temporary, or crypto/tls would give the connection up.
func (r rawConn) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	n, err := r.readRaw(p)
	if r.parked {
		err = errStalled
	}
	return n, err
}

func (r rawConn) Write(p []byte) (int, error) { return r.writeRaw(p) }

type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "" }

// past interrupts a read or write that is under way.
var past = time.Unix(1, 0)

// wakeRead and wakeWrite interrupt; the phase's limit says whether it was meant.
func (c *conn) wakeRead()  { _ = c.file.SetReadDeadline(past) }
func (c *conn) wakeWrite() { _ = c.file.SetWriteDeadline(past) }

// kill ends the connection whatever it does.
func (c *conn) kill() {
	c.dead.Store(true)
	c.cancel(gateway.CauseStopping)
	c.wakeRead()
	c.wakeWrite()
}

// canceller is what outsiders may do to an exchange.
type canceller interface{ Cancel(gateway.Cause) }

var _ canceller = (*gateway.Exchange)(nil)

// watch gives outsiders the exchange to cancel; nil takes it back. After
// watch(nil) returns nobody cancels it any more.
func (c *conn) watch(x canceller) {
	c.mu.Lock()
	c.x = x
	c.mu.Unlock()
}

// cancel cuts the exchange in flight and reports whether there was one.
func (c *conn) cancel(cause gateway.Cause) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.x == nil {
		return false
	}
	c.x.Cancel(cause)
	return true
}

// gone reports whether the client has closed or reset the connection. Data
// that waits is a pipelined request, not a hang-up; under TLS it may be the
// closing alert, so there the FIN behind it decides.
func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return false
	}
	if c.tls != nil {
		return pollGone(c.fd)
	}
	n, errno := peek(c.fd)
	switch errno {
	case 0:
		return n == 0
	case syscall.EAGAIN, syscall.EINTR:
		return false
	}
	return true
}

// peek looks at the next byte of a socket without taking it. It never blocks.
func peek(fd int) (int, syscall.Errno) {
	var b [1]byte
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(&b[0])), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// serve runs the connection to its end.
func (c *conn) serve() {
	s := c.s
	defer s.serving.Done()
	defer s.conns.remove(c)
	defer c.shut()
	defer c.free()
	if !c.begin() {
		return
	}
	for {
		if c.tls == nil && len(c.ahead) == 0 && !c.await() {
			return
		}
		c.got, c.size, c.unclear = 0, -1, false // fasthttp begins with empty hands
		_ = s.http.ServeConn(c)
		again := c.parked
		if st := c.aside; st != nil {
			c.aside = nil
			if again = st.run(); again {
				c.rest()
			}
		}
		c.abandon()
		if !again || c.dead.Load() {
			break
		}
		c.parked = false
		c.held.Store(false)
	}
	c.finish()
}

// begin reads the PROXY header and shakes hands.
func (c *conn) begin() bool {
	now := c.s.clock.now()
	c.become(phaseHeader, now, c.s.c.HeaderTimeout)
	if c.listener != nil && c.listener.about.ProxyProtocol && !c.introduced() {
		return false
	}
	if c.listener != nil && c.listener.about.TLS && !c.shakeHands() {
		return false
	}
	c.become(phaseIdle, c.s.clock.now(), c.s.c.KeepAlive)
	if len(c.ahead) > 0 && c.tls == nil {
		c.arrived(c.ahead)
	}
	return true
}

// await waits for the first byte of a request on a small stack and with no
// buffer. It reports whether there is one.
func (c *conn) await() bool {
	n, err := c.readRaw(c.one[:])
	if n == 1 {
		c.ahead = c.one[:1]
		return true
	}
	if errors.Is(err, io.EOF) && c.phase.Load() == phaseIdle {
		c.finish()
	}
	return false
}

// finish closes so that the last answer arrives: where unread bytes would turn
// the close into a reset, and where an idle connection's time is over, FIN goes
// first and what still arrives is read for lingerTime (RFC 9112, section 9.6).
func (c *conn) finish() {
	idle := false
	if end := c.idleEnd(); c.phase.Load() == phaseIdle {
		idle = end != 0 && c.s.clock.now() >= end
	}
	if c.dead.Load() || !c.linger && !idle {
		return
	}
	if c.tls != nil {
		_ = c.tls.CloseWrite()
	}
	if !c.half() {
		return
	}
	_ = c.file.SetReadDeadline(time.Time{})
	c.become(phaseLinger, c.s.clock.now(), lingerTime)
	var b [4096]byte
	for {
		if _, err := c.readRaw(b[:]); err != nil {
			return
		}
	}
}

// half sends FIN.
func (c *conn) half() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open && syscall.Shutdown(c.fd, syscall.SHUT_WR) == nil
}

func (c *conn) shut() {
	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	_ = c.file.Close()
}
