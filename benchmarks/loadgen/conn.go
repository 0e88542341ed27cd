package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var errProtocol = errors.New("not an HTTP/1.1 answer")

// dialer opens connections to one address.
type dialer struct {
	addr    string
	tls     *tls.Config
	timeout time.Duration
}

func (d dialer) connect() (*conn, *fault) {
	network, addr := "tcp", d.addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	nd := net.Dialer{Timeout: d.timeout, KeepAlive: -1}
	nc, err := nd.DialContext(context.Background(), network, addr)
	if err != nil {
		return nil, ofDial(err)
	}
	c := &conn{nc: nc}
	if tcp, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		c.port = tcp.Port
	}
	if d.tls != nil {
		secure := tls.Client(nc, d.tls)
		ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
		err = secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			_ = nc.Close()
			return nil, &fault{kind: KindTLS, detail: err.Error()}
		}
		c.nc = secure
	}
	c.opened = time.Now()
	c.used = c.opened
	return c, nil
}

// conn is one connection; one goroutine uses it at a time.
type conn struct {
	nc       net.Conn
	port     int
	opened   time.Time
	used     time.Time // end of the last answer
	requests int       // answered

	buf   []byte // read and not used: buf[from:]
	from  int
	got   int64     // bytes of the current answer
	first time.Time // when its first byte came
	eof   error     // what watch saw
	out   []byte
	want  []byte
}

func (c *conn) close() {
	if c != nil {
		_ = c.nc.Close()
	}
}

// wake ends a watch from another goroutine.
func (c *conn) wake() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// watch waits until the time given and tells whether the server closed. A time
// that has passed is no excuse: a close that has arrived is seen all the same.
func (c *conn) watch(until time.Time) bool {
	if !time.Now().Before(until) {
		return c.closedNow()
	}
	if err := c.nc.SetReadDeadline(until); err != nil {
		c.eof = err
		return true
	}
	var one [1]byte
	n, err := c.nc.Read(one[:])
	if n > 0 { // an answer that nobody asked for
		c.eof = errProtocol
		return true
	}
	if err == nil || timeout(err) {
		return c.closedNow() // a close that came while this waited for a CPU
	}
	c.eof = err
	return true
}

// closedNow looks at a plain connection without waiting.
func (c *conn) closedNow() bool {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n, peeked := 0, error(nil)
	err = raw.Control(func(fd uintptr) {
		var one [1]byte
		n, _, peeked = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	switch {
	case err != nil || errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EINTR):
		return false
	case peeked != nil:
		c.eof = peeked
	case n > 0: // an answer that nobody asked for
		c.eof = errProtocol
	default:
		c.eof = io.EOF
	}
	return true
}

// fill reads once.
func (c *conn) fill() error {
	if c.eof != nil {
		return c.eof
	}
	if c.from == len(c.buf) {
		c.buf, c.from = c.buf[:0], 0
	}
	if cap(c.buf)-len(c.buf) < 1024 {
		grown := make([]byte, len(c.buf)-c.from, max(4096, 2*(len(c.buf)-c.from)))
		copy(grown, c.buf[c.from:])
		c.buf, c.from = grown, 0
	}
	n, err := c.nc.Read(c.buf[len(c.buf):cap(c.buf)])
	if n > 0 {
		if c.got == 0 {
			c.first = time.Now()
		}
		c.got += int64(n)
		c.buf = c.buf[:len(c.buf)+n]
		return nil
	}
	return err
}

// answer is the header of an answer, as far as it matters.
type answer struct {
	status int
	length int64 // -1 chunked, -2 until the close
	close  bool
}

// header reads status line and header; 1xx answers are passed over.
func (c *conn) header() (answer, error) {
	for {
		end := bytes.Index(c.buf[c.from:], []byte("\r\n\r\n"))
		if end < 0 {
			if len(c.buf)-c.from > 1<<20 {
				return answer{}, errProtocol
			}
			if err := c.fill(); err != nil {
				return answer{}, err
			}
			continue
		}
		a, err := parseHead(c.buf[c.from : c.from+end+2])
		c.from += end + 4
		if err != nil || a.status >= 200 {
			return a, err
		}
	}
}

func parseHead(head []byte) (answer, error) {
	a := answer{length: -2}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return a, errProtocol
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return a, errProtocol
	}
	a.status = status
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return a, errProtocol
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if a.length, err = strconv.ParseInt(string(value), 10, 62); err != nil {
				return a, errProtocol
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			a.length = -1
		case bytes.EqualFold(name, []byte("connection")):
			a.close = a.close || bytes.EqualFold(value, []byte("close"))
		}
	}
	a.close = a.close || a.length == -2
	return a, nil
}

// body hands each piece of the body to take as it comes; a piece is valid
// during the call.
func (c *conn) body(length int64, take func([]byte)) error {
	if length == -1 {
		return c.chunks(take)
	}
	for length != 0 {
		if c.from == len(c.buf) {
			err := c.fill()
			if length == -2 && errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		piece := c.buf[c.from:]
		if length > 0 && int64(len(piece)) > length {
			piece = piece[:length]
		}
		c.from += len(piece)
		if length > 0 {
			length -= int64(len(piece))
		}
		take(piece)
	}
	return nil
}

func (c *conn) chunks(take func([]byte)) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		left, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 62)
		if err != nil {
			return errProtocol
		}
		if left == 0 {
			return c.trailer()
		}
		for left > 0 {
			if c.from == len(c.buf) {
				if err := c.fill(); err != nil {
					return err
				}
			}
			piece := c.buf[c.from:]
			if uint64(len(piece)) > left {
				piece = piece[:left]
			}
			c.from += len(piece)
			left -= uint64(len(piece))
			take(piece)
		}
		if line, err = c.line(); err != nil {
			return err
		}
		if len(line) != 0 {
			return errProtocol
		}
	}
}

func (c *conn) trailer() error {
	for {
		line, err := c.line()
		if err != nil || len(line) == 0 {
			return err
		}
	}
}

func (c *conn) line() ([]byte, error) {
	for {
		if k := bytes.Index(c.buf[c.from:], []byte("\r\n")); k >= 0 {
			line := c.buf[c.from : c.from+k]
			c.from += k + 2
			return line, nil
		}
		if len(c.buf)-c.from > 64<<10 {
			return nil, errProtocol
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}
