package fakeprovider

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// The provider's own limits; whoever exceeds them is cut off.
const (
	maxHead = 1 << 20
	maxBody = 256 << 20
)

var (
	errEnd  = errors.New("the connection ends here on purpose")
	errGone = errors.New("the client has gone")
	errBad  = errors.New("not an HTTP/1.1 request")
)

// conn is one connection; its goroutine alone uses it.
type conn struct {
	p      *Provider
	nc     net.Conn
	number int64
	buf    []byte // read and not used yet
	out    []byte // written and not sent yet
	body   []byte // of the request, where it was chunked
}

// request is one request as it arrived; the bytes live until the next one.
type request struct {
	method, path string
	query        string
	head         []byte // request line and header lines, with the empty line
	body         []byte
	close        bool
}

func (c *conn) serve() {
	defer func() { _ = c.nc.Close() }()
	for {
		req, used, err := c.read()
		if err != nil {
			return
		}
		c.p.served.Add(1)
		if err = c.p.handle(c, req); err == nil {
			err = c.flush()
		}
		c.buf = append(c.buf[:0], c.buf[used:]...)
		if err != nil || req.close {
			return
		}
		if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
			return
		}
	}
}

// more reads once into buf.
func (c *conn) more() error {
	if cap(c.buf)-len(c.buf) < 2048 {
		grown := make([]byte, len(c.buf), max(4096, 2*cap(c.buf)))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.nc.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// read returns the next request and how much of buf it takes up.
func (c *conn) read() (*request, int, error) {
	end := bytes.Index(c.buf, []byte("\r\n\r\n"))
	for ; end < 0; end = bytes.Index(c.buf, []byte("\r\n\r\n")) {
		if len(c.buf) > maxHead {
			return nil, 0, errBad
		}
		if err := c.more(); err != nil {
			return nil, 0, err
		}
	}
	end += 4
	line, lines, _ := bytes.Cut(c.buf[:end], []byte("\r\n"))
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return nil, 0, errBad
	}
	path, query, _ := bytes.Cut(target, []byte("?"))
	req := &request{method: string(method), path: string(path), query: string(query), close: string(version) == "HTTP/1.0"}
	length, chunked, expects, err := req.fields(lines)
	if err != nil {
		return nil, 0, err
	}
	if expects {
		if _, err := io.WriteString(c.nc, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, 0, err
		}
	}
	used := end + length
	if chunked {
		if used, err = c.chunks(end); err != nil {
			return nil, 0, err
		}
		req.body = c.body
	} else {
		for len(c.buf) < used {
			if err := c.more(); err != nil {
				return nil, 0, err
			}
		}
		req.body = c.buf[end:used]
	}
	req.head = c.buf[:end]
	return req, used, nil
}

// fields reads the header lines that framing needs.
func (r *request) fields(lines []byte) (length int, chunked, expects bool, err error) {
	for len(lines) > 2 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return 0, false, false, errBad
		}
		value = bytes.TrimSpace(value)
		switch len(name) {
		case len("expect"):
			expects = expects || bytes.EqualFold(name, []byte("expect"))
		case len("connection"):
			if bytes.EqualFold(name, []byte("connection")) {
				r.close = bytes.EqualFold(value, []byte("close")) || r.close && !bytes.EqualFold(value, []byte("keep-alive"))
			}
		case len("content-length"):
			if bytes.EqualFold(name, []byte("content-length")) {
				if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxBody {
					return 0, false, false, errBad
				}
			}
		case len("transfer-encoding"):
			chunked = chunked || bytes.EqualFold(name, []byte("transfer-encoding"))
		}
	}
	return length, chunked, expects, nil
}

// chunks reads a chunked body that begins at i into body; it returns its end.
func (c *conn) chunks(i int) (int, error) {
	c.body = c.body[:0]
	for {
		k := bytes.Index(c.buf[i:], []byte("\r\n"))
		if k < 0 {
			if err := c.more(); err != nil {
				return 0, err
			}
			continue
		}
		size, _, _ := bytes.Cut(c.buf[i:i+k], []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil || len(c.body)+int(n) > maxBody {
			return 0, errBad
		}
		i += k + 2
		for len(c.buf) < i+int(n)+2 {
			if err := c.more(); err != nil {
				return 0, err
			}
		}
		c.body = append(c.body, c.buf[i:i+int(n)]...)
		i += int(n) + 2
		if n == 0 {
			return i, nil
		}
	}
}

// wait returns at the time given, or with errGone as soon as the client has
// closed its connection.
func (c *conn) wait(until time.Time) error {
	for {
		if err := c.nc.SetReadDeadline(until); err != nil {
			return errGone
		}
		err := c.more()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return errGone
		case len(c.buf) > maxHead+maxBody:
			return errGone
		}
	}
}

// flush sends what was written.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 1<<20 {
		c.out = nil
	}
	if err != nil {
		return errGone
	}
	return nil
}

// reset makes the coming close an RST.
func (c *conn) reset() {
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}
