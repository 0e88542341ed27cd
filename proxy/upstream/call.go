package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// Call is one request. Do reads it and keeps nothing of it.
type Call struct {
	// Method and Path make the request line. Path is the whole request
	// target: the endpoint's BasePath is not added.
	Method string
	Path   string
	// Header is all header lines but Host, Content-Length and Connection.
	// Accept-Encoding: identity is added unless it is there.
	Header []llm.Field
	// Head, if given, stands for the three above: request line and header
	// lines with Host and Accept-Encoding, each with its CRLF, without
	// Content-Length and the blank line.
	Head []byte
	// Body is the request's body in pieces.
	Body     [][]byte
	Timeouts Timeouts
	// Again is asked before the request is sent a second time, because a pooled
	// connection died when some of it had gone out; nil allows it.
	Again Again
}

// Again decides about second tries. With an error there is none.
type Again interface{ TryAgain() error }

// copyBelow is the size up to which a request is copied together; larger ones
// go out by writev, without a copy.
const copyBelow = 8 << 10

// heads lends the buffers that requests are put together in.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, copyBelow); return &b }}

// Do sends the request and waits for the answer's header. A pooled connection
// that dies before the first byte of an answer is replaced by a new one, once.
// The Response must be closed; it lives in h, which serves one call at a time.
// A nil h makes the call one that only its deadlines end. The error is an
// *Error.
func (e *Endpoint) Do(c *Call, h *Handle) (*Response, error) {
	if h == nil {
		h = new(Handle)
	}
	if err := h.begin(e.pool.owner.sweeper, c.Timeouts); err != nil {
		return nil, err
	}
	err := e.pool.call(c, h)
	if err != nil {
		h.end()
		return nil, err
	}
	return &h.resp, nil
}

// call tries an idle connection, then a new one.
func (q *pool) call(c *Call, h *Handle) *Error {
	for cn := q.get(h.sweeper.now.Load()); cn != nil; cn = q.get(h.sweeper.now.Load()) {
		if !h.bind(cn.sock) {
			_ = cn.sock.Close()
			return h.fail(net.ErrClosed)
		}
		err := h.exchange(c, cn)
		if err != nil && errors.Is(err.Err, errSpoken) {
			continue
		}
		again := err != nil && cn.got == 0 && !err.Canceled && !err.Timeout && broken(err.Err)
		if !again {
			return err
		}
		if c.Again != nil && h.reached {
			if refused := c.Again.TryAgain(); refused != nil {
				return err
			}
		}
		break
	}
	cn, err := q.open(h)
	if err != nil {
		return err
	}
	return h.exchange(c, cn)
}

// exchange sends the request over cn and reads the answer's header. After an
// error the connection is closed.
func (h *Handle) exchange(c *Call, cn *conn) *Error {
	r := &h.resp
	r.h, r.cn, r.br = h, cn, borrowReader(cn)
	r.err, r.zip, r.done, r.reuse = nil, nil, false, false
	cn.h, cn.got, cn.body = h, 0, false
	toHead := c.Method == fasthttp.MethodHead || bytes.HasPrefix(c.Head, []byte("HEAD "))

	h.enter(PhaseWrite, h.timeouts.FirstByte)
	sent, err := cn.send(c)
	if sent > 0 {
		h.reached = true
		r.Attempts++
	}
	if err == nil {
		h.phase = PhaseFirstByte
		err = r.readHeader(toHead)
	} else if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		// A provider may refuse a large request before it has read it all.
		// What it said is still there; reading cannot wait on a dead socket.
		if r.readHeader(toHead) == nil {
			r.reuse, err = false, nil
		}
	}
	if err != nil {
		failure := h.fail(err)
		h.unbind()
		_ = cn.sock.Close()
		r.release()
		return failure
	}
	h.phase = PhaseBody
	h.deadline.Store(h.total)
	cn.body = true
	return nil
}

// send writes the request: by one write if it is small, by one writev if not;
// under TLS in records as full as they can be. It reports how many bytes went
// out. A connection that idled and has spoken is errSpoken; if it has not, the
// answer to a small request is waited for too.
func (c *conn) send(call *Call) (int64, error) {
	size := 0
	for _, b := range call.Body {
		size += len(b)
	}
	b := c.borrowHead()
	defer c.returnHead()
	b, err := c.pool.target.head(b, call, size)
	*c.head = b
	if err != nil {
		return 0, err
	}
	pieces := call.Body
	for len(pieces) > 0 && (c.sealed || len(b)+size <= copyBelow) && len(b)+len(pieces[0]) <= 2*copyBelow {
		b = append(b, pieces[0]...)
		pieces = pieces[1:]
	}
	*c.head = b
	pooled := c.pooled && c.asks()
	c.pooled = false
	switch {
	case pooled && len(pieces) == 0:
		n, err := c.sock.ask(b, c.giveBack)
		return int64(n), err
	case pooled && !c.alive():
		return 0, errSpoken
	case len(pieces) == 0:
		n, err := c.conn.Write(b)
		return int64(n), err
	case c.sealed:
		n, err := c.conn.Write(b)
		sent := int64(n)
		for i := 0; err == nil && i < len(pieces); i++ {
			n, err = c.conn.Write(pieces[i])
			sent += int64(n)
		}
		return sent, err
	}
	c.vecs = append(append(c.vecs[:0], b), pieces...)
	c.out = c.vecs
	n, err := c.out.WriteTo(c.sock.Conn)
	clear(c.vecs)
	c.out = nil
	return n, err
}

// head appends the request's header with its blank line to b.
func (t *target) head(b []byte, c *Call, size int) ([]byte, error) {
	var err error
	if c.Head == nil {
		if b, err = t.build(b, c); err != nil {
			return b, err
		}
	} else {
		if !bytes.HasSuffix(c.Head, crlf) {
			return b, errors.New("the request's head does not end with a line end")
		}
		b = append(b, c.Head...)
	}
	if t.prefix != "" {
		i := bytes.IndexByte(b, ' ') + 1
		b = append(b, t.prefix...)
		copy(b[i+len(t.prefix):], b[i:len(b)-len(t.prefix)])
		copy(b[i:], t.prefix)
		if t.proxyAuth != "" {
			b = append(append(append(b, "Proxy-Authorization: "...), t.proxyAuth...), crlf...)
		}
	}
	if size > 0 || !bytes.HasPrefix(b, []byte("GET ")) && !bytes.HasPrefix(b, []byte("HEAD ")) {
		b = strconv.AppendInt(append(b, "Content-Length: "...), int64(size), 10)
		b = append(b, crlf...)
	}
	return append(b, crlf...), nil
}

// build appends request line and header lines. What could split the request
// in two is refused.
func (t *target) build(b []byte, c *Call) ([]byte, error) {
	if !clean([]byte(c.Method), true) || !clean([]byte(c.Path), true) {
		return b, errors.New("method or path holds what a request line must not")
	}
	b = append(append(append(append(b, c.Method...), ' '), c.Path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, t.authority...), crlf...)
	coded := false
	for _, f := range c.Header {
		if !clean(f.Name, true) || bytes.IndexByte(f.Name, ':') >= 0 || !clean(f.Value, false) && len(f.Value) > 0 {
			return b, fmt.Errorf("header %q holds what a header must not", f.Name)
		}
		coded = coded || len(f.Name) == len("accept-encoding") && is(f.Name, "accept-encoding")
		b = append(append(b, f.Name...), ": "...)
		b = append(append(b, f.Value...), crlf...)
	}
	if !coded {
		b = append(b, "Accept-Encoding: identity\r\n"...)
	}
	return b, nil
}

// clean reports whether b has bytes and no control characters among them; a
// word has no spaces either.
func clean(b []byte, word bool) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f || word && (c == ' ' || c == '\t') {
			return false
		}
	}
	return len(b) > 0
}
