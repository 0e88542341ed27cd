package server

import (
	"io"
	"strconv"
	"sync"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// A stream goes on aside of fasthttp: once its header is made fasthttp is sent
// away, and the connection's own goroutine writes the chunks. So the length of a
// stream costs none of fasthttp's buffers (32 KiB that headers are read into,
// 8 KiB to write from) and none of its context; afterwards the connection waits
// for its next request as a parked one does.

// leaving is the body that makes fasthttp end without a byte written and give
// back what it holds.
type leaving struct{}

func (leaving) Read([]byte) (int, error)         { return 0, errWritten }
func (leaving) SupportsBodyWriteTo() bool        { return true }
func (leaving) WriteTo(io.Writer) (int64, error) { return 0, errWritten }

// goAside makes the stream one that the connection writes, if nothing of a next
// request is in fasthttp's hands. A client of HTTP/1.0 has no next request.
func (st *stream) goAside(ctx *fasthttp.RequestCtx) bool {
	c, k := st.c, st.k
	if !k.old && !c.drained() {
		return false
	}
	h := &ctx.Response.Header
	if st.last = k.old || h.ConnectionClose() || ctx.Request.Header.ConnectionClose(); st.last {
		h.SetConnectionClose()
	}
	if !k.old {
		h.SetContentLength(-1) // chunks
	}
	buf := wires.Get().(*[]byte)
	*buf = append((*buf)[:0], h.Header()...)
	ctx.SetBodyStream(leaving{}, -1)
	st.out = chunkWriter{c: c, begun: buf, plain: k.old}
	k.x.GoOn()
	k.head, c.last = head{}, nil // they would keep fasthttp's buffer alive
	c.aside = st
	return true
}

// run writes the stream and settles it. It reports whether the connection may
// have another request.
func (st *stream) run() bool {
	again := !st.last
	if st.copy() != nil || st.out.end() != nil {
		again = false
	}
	_ = st.Close()
	return again
}

// copy passes on all that the gateway's stream gives.
func (st *stream) copy() (err error) {
	defer func() {
		if r := recover(); r != nil {
			st.s.panicked(r)
			st.k.x.Err = &llm.Error{Kind: llm.KindInternal, Message: "Internal server error."}
			_, _ = st.out.Write(st.k.entry.speak.StreamError(nil, st.k.x.Err))
			err = io.ErrUnexpectedEOF
		}
	}()
	_, err = io.Copy(&st.out, st.in)
	return err
}

// chunkWriter writes each Write as one chunk (RFC 9112, section 7.1), the first
// one together with the header. It holds memory within a Write alone. For a
// client of HTTP/1.0 the end of the connection is the end of the body.
type chunkWriter struct {
	c     *conn
	begun *[]byte // the header, until it is written
	plain bool    // no chunks: HTTP/1.0
}

// wires are what is put together for one write.
var wires = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// keptWire is the largest of them that is kept, in bytes.
const keptWire = 16 << 10

var lastChunk = []byte("0\r\n\r\n")

func (w *chunkWriter) Write(p []byte) (int, error) {
	if len(p) == 0 { // would be the end
		return 0, nil
	}
	buf := w.buffer()
	b := *buf
	if w.plain {
		b = append(b, p...)
	} else {
		b = append(strconv.AppendUint(b, uint64(len(p)), 16), "\r\n"...)
		b = append(append(b, p...), "\r\n"...)
	}
	if err := w.send(buf, b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes the chunk that ends the body.
func (w *chunkWriter) end() error {
	if w.plain {
		return nil // a body always had a first event
	}
	buf := w.buffer()
	return w.send(buf, append(*buf, lastChunk...))
}

func (w *chunkWriter) buffer() *[]byte {
	if buf := w.begun; buf != nil {
		w.begun = nil
		return buf
	}
	return wires.Get().(*[]byte)
}

func (w *chunkWriter) send(buf *[]byte, b []byte) error {
	_, err := w.c.Write(b)
	if cap(b) <= keptWire {
		*buf = b[:0]
		wires.Put(buf)
	}
	return err
}

// sized notes how long a request is on the wire, its body included, as far as
// its header tells: for drained. The strict scan has let the header through, so
// that its first line has single blanks and ends in CR LF; should it be longer,
// the request counts as one with something behind it.
func (c *conn) sized(h *fasthttp.RequestHeader, body int64) {
	if c.size = -1; body >= 0 {
		c.size = int64(len(h.Method())+len(h.RequestURI())+len("  HTTP/1.1\r\n")+len(h.RawHeaders())) + body
	}
}

// drained reports whether fasthttp holds no byte behind the request: of a next
// one that was sent before the answer to this.
func (c *conn) drained() bool { return !c.unclear && c.size >= 0 && c.got == c.size }
