package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"sluice/proxy/llm"
)

type bodyKind uint8

const (
	bodyLength bodyKind = iota // remain bytes
	bodyChunked
	bodyUntilClose
)

// Response is an answer whose header is read. It lives in the call's Handle:
// Status, ContentLength and the header stay readable after Close, until the
// Handle's next call or Reset. Its methods are for one goroutine at a time;
// Handle.Cancel may be called beside them.
type Response struct {
	// Status is 200 to 999; redirects are not followed.
	Status int
	// ContentLength is the length of the body that Read gives, -1 if unknown.
	ContentLength int64
	// Attempts is 2 if a pooled connection died before the first byte of an
	// answer and the request was sent once more, else 1.
	Attempts int

	h      *Handle
	cn     *conn // nil once closed
	br     *bufio.Reader
	head   []byte // the header as it came
	fields []llm.Field
	kind   bodyKind
	remain int64
	chunks chunked
	zip    *inflater // nil unless compressed
	done   bool      // the framing's end was read
	reuse  bool
	err    error // what Read gives from now on
}

// Header gives the first value of a header, whose name is given in lower case;
// nil if there is none.
func (r *Response) Header(name string) []byte {
	for i := range r.fields {
		if f := &r.fields[i]; is(f.Name, name) {
			return f.Value
		}
	}
	return nil
}

// Fields is all header lines in their order, names as the provider wrote them.
func (r *Response) Fields() []llm.Field { return r.fields }

// Read gives the body's next bytes without chunking and compression: what is
// there already, else what one read of the connection brings. The error is
// io.EOF at the proper end alone; otherwise it is an *Error, which is
// io.ErrUnexpectedEOF (errors.Is) if the provider broke off.
func (r *Response) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	if r.cn == nil {
		return 0, r.stop(errors.New("read after close"))
	}
	if r.zip == nil {
		return r.readRaw(p)
	}
	n, err := r.zip.Read(p)
	if err != nil {
		err = r.stop(err)
	}
	return n, err
}

// stop makes err the answer to all further reads. Anything but the end spoils
// the connection.
func (r *Response) stop(err error) error {
	if err != io.EOF { //nolint:errorlint // a wrapped end is none
		r.reuse = false
		var e *Error
		if !errors.As(err, &e) {
			err = r.h.fail(err)
		}
	}
	r.err = err
	return err
}

// cut is stop for an error of the connection before the body's end.
func (r *Response) cut(err error) error {
	if broken(err) {
		err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, err)
	}
	return r.stop(r.h.fail(err))
}

// readRaw reads the body as it is on the wire, without chunking.
func (r *Response) readRaw(p []byte) (int, error) {
	switch {
	case r.done:
		if r.zip == nil {
			r.err = io.EOF
		}
		return 0, io.EOF
	case r.kind == bodyChunked:
		return r.readChunked(p)
	case r.kind == bodyLength && int64(len(p)) > r.remain:
		p = p[:r.remain]
	}
	n, err := r.br.Read(p)
	if r.kind == bodyLength {
		r.remain -= int64(n)
		r.done = r.remain == 0
	}
	switch {
	case n > 0:
		return n, nil
	case r.kind == bodyUntilClose && err == io.EOF:
		r.done = true
		return r.readRaw(p)
	case err == nil:
		err = io.ErrNoProgress
	}
	return 0, r.cut(err)
}

// readChunked decodes what is buffered and waits only when that gives nothing.
func (r *Response) readChunked(p []byte) (int, error) {
	for {
		if r.br.Buffered() == 0 {
			if r.chunks.state == chunkData && r.chunks.remain >= readSize && len(p) >= r.br.Size() {
				return r.readChunk(p)
			}
			if _, err := r.br.Peek(1); err != nil {
				return 0, r.cut(err)
			}
		}
		src, err := r.br.Peek(r.br.Buffered())
		if err != nil {
			return 0, r.cut(err)
		}
		n, m, err := r.chunks.decode(p, src)
		if _, e := r.br.Discard(m); e != nil {
			return n, r.cut(e)
		}
		if err != nil {
			err = r.stop(err)
			if n > 0 {
				err = nil // after these bytes
			}
			return n, err
		}
		r.done = r.chunks.state == chunkDone
		switch {
		case n > 0:
			return n, nil
		case r.done:
			return r.readRaw(p)
		}
	}
}

// readChunk reads bytes of a large chunk past the buffer.
func (r *Response) readChunk(p []byte) (int, error) {
	n, err := r.br.Read(p[:min(int64(len(p)), r.chunks.remain)])
	r.chunks.took(int64(n))
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, r.cut(err)
}

// Room is asked before memory is taken for an answer, in bytes. It is called by
// the goroutine that reads.
type Room interface{ Take(n int64) bool }

// freeRoom is what an answer may take without asking.
const freeRoom = 64 << 10

// ReadAll appends the rest of the body to dst, at most limit bytes of it; a
// longer one is an *Error with ErrTooLarge, and one that room refuses memory an
// *Error with ErrNoRoom. A nil room refuses nothing. It returns what it has also
// with an error.
func (r *Response) ReadAll(dst []byte, limit int, room Room) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return dst, r.stop(fmt.Errorf("%w: announced with %d bytes, allowed are %d", ErrTooLarge, r.ContentLength, limit))
	}
	start := len(dst)
	if r.ContentLength > 0 {
		if room != nil && r.ContentLength > freeRoom && !room.Take(r.ContentLength) {
			return dst, r.stop(ErrNoRoom)
		}
		dst = slices.Grow(dst, int(r.ContentLength))
	}
	for !r.done || r.zip != nil {
		if len(dst) == cap(dst) {
			more := max(readSize, cap(dst))
			if room != nil && len(dst)+more > freeRoom && !room.Take(int64(more)) {
				return dst, r.stop(ErrNoRoom)
			}
			dst = slices.Grow(dst, more)
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst)-start > limit {
			return dst[:start+limit], r.stop(fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit))
		}
		if err == io.EOF { //nolint:errorlint // a wrapped end is none
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// Close ends the call. The connection goes back to its pool if the answer was
// read to its end, or its end is here without waiting; otherwise it is closed,
// which tells the provider to stop. Further calls do nothing.
func (r *Response) Close() {
	c := r.cn
	if c == nil {
		return
	}
	if r.err == nil && r.reuse && !r.done && r.zip == nil {
		r.drain()
	}
	r.h.end()
	clean := r.h.unbind() && r.reuse && r.done && r.br.Buffered() == 0 && len(c.pre) == 0
	r.release()
	if clean {
		c.pool.put(c, r.h.sweeper.now.Load())
		return
	}
	_ = c.sock.Close()
}

// release takes the buffer and the call from the connection.
func (r *Response) release() {
	returnReader(r.br)
	r.cn.h, r.cn.body, r.cn.pre = nil, false, nil
	r.cn, r.br, r.zip = nil, nil, nil
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
}

// drain takes what is left of the body as far as it is here already: the last
// chunk often comes just behind the last event.
func (r *Response) drain() {
	var scratch [512]byte
	r.cn.sock.probing = true
	for range 16 {
		if _, err := r.readRaw(scratch[:]); err != nil || r.done {
			break
		}
	}
	r.cn.sock.probing = false
}
