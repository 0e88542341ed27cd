package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sluice/proxy/llm"
)

const (
	maxHeader  = 64 << 10 // of an answer, in bytes
	maxInterim = 5        // 1xx answers before the real one
)

var (
	crlf   = []byte("\r\n")
	crlf2  = []byte("\r\n\r\n")
	http1x = []byte("HTTP/1.")
)

// framing is an answer's header: its lines, and what they say about its body
// and its connection (RFC 9112, sections 6 and 9). It is read strictly, because
// general header parsers forgive what makes two readers disagree.
type framing struct {
	fields    []llm.Field // names as they came, values without the space around them
	status    int
	length    int64 // -1: not given
	chunked   bool
	persist   bool          // the connection may serve another call
	closes    bool          // Connection: close
	stays     bool          // Connection: keep-alive
	keepAlive time.Duration // of Keep-Alive; 0: not given
	coding    []byte        // of Content-Encoding; part of the header
}

func violation(what string) error { return fmt.Errorf("%w: %s", ErrProtocol, what) }

// scanHeader reads a whole header with its blank line; its parts stay parts of
// b. toHead says that the request was a HEAD, whose answer may announce what it
// does not send. fields is where the lines are put.
func scanHeader(b []byte, toHead bool, fields []llm.Field) (framing, error) {
	f := framing{length: -1, fields: fields[:0]}
	end := bytes.Index(b, crlf)
	if end < 0 {
		return f, violation("no status line")
	}
	minor, err := f.statusLine(b[:end])
	if err != nil {
		return f, err
	}
	for b = b[end+2:]; len(b) > 2; b = b[end+2:] {
		if end = bytes.Index(b, crlf); end < 0 {
			return f, violation("header line without an end")
		}
		if err := f.line(b[:end]); err != nil {
			return f, err
		}
	}
	f.persist = !f.closes && (minor == '1' || f.stays)
	switch {
	case f.chunked && f.length >= 0:
		return f, violation("both Content-Length and Transfer-Encoding")
	case f.chunked && minor == '0':
		return f, violation("Transfer-Encoding in HTTP/1.0")
	case toHead, f.status == 204, f.status == 304:
		if !toHead && f.status == 204 && (f.chunked || f.length > 0) {
			f.persist = false // it may send what it announces
		}
		f.chunked, f.length = false, 0
	}
	return f, nil
}

// statusLine reads "HTTP/1.x NNN reason" and returns x.
func (f *framing) statusLine(b []byte) (byte, error) {
	if len(b) < 12 || !bytes.HasPrefix(b, http1x) || b[7] != '0' && b[7] != '1' || b[8] != ' ' {
		return 0, violation("not an HTTP/1.x status line")
	}
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return 0, violation("status is not a number")
		}
		f.status = f.status*10 + int(c-'0')
	}
	if f.status < 100 || len(b) > 12 && b[12] != ' ' {
		return 0, violation("status is not a number of three digits")
	}
	if bytes.IndexByte(b, '\r') >= 0 || bytes.IndexByte(b, '\n') >= 0 {
		return 0, violation("stray line end in the status line")
	}
	return b[7], nil
}

// line reads one header line.
func (f *framing) line(b []byte) error {
	colon := bytes.IndexByte(b, ':')
	switch {
	case colon <= 0:
		return violation("header line without a name")
	case b[0] == ' ' || b[0] == '\t':
		return violation("folded header line")
	case b[colon-1] == ' ' || b[colon-1] == '\t':
		return violation("space between a header's name and its colon")
	case bytes.IndexByte(b, '\n') >= 0 || bytes.IndexByte(b, '\r') >= 0 || bytes.IndexByte(b, 0) >= 0:
		return violation("stray control character in a header line")
	}
	name, value := b[:colon], trim(b[colon+1:])
	for _, c := range name {
		if !token[c] {
			return violation("a header's name holds what a name must not")
		}
	}
	f.fields = append(f.fields, llm.Field{Name: name, Value: value})
	switch name[0] | 0x20 {
	case 'c', 't', 'k':
	default:
		return nil
	}
	switch {
	case is(name, "content-length"):
		return f.contentLength(value)
	case is(name, "transfer-encoding"):
		if f.chunked || !is(value, "chunked") {
			return violation("transfer coding other than chunked")
		}
		f.chunked = true
	case is(name, "content-encoding"):
		if f.coding != nil {
			return violation("more than one Content-Encoding")
		}
		f.coding = value
	case is(name, "connection"):
		f.connection(value)
	case is(name, "keep-alive"):
		f.timeout(value)
	}
	return nil
}

func (f *framing) contentLength(value []byte) error {
	if f.length >= 0 {
		return violation("more than one Content-Length")
	}
	if len(value) == 0 || len(value) > 18 {
		return violation("Content-Length is not a sane number")
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return violation("Content-Length is not a number")
		}
		n = n*10 + int64(c-'0')
	}
	f.length = n
	return nil
}

func (f *framing) connection(value []byte) {
	for len(value) > 0 {
		token := value
		if i := bytes.IndexByte(value, ','); i >= 0 {
			token, value = value[:i], value[i+1:]
		} else {
			value = nil
		}
		token = bytes.Trim(token, " \t")
		f.closes = f.closes || is(token, "close")
		f.stays = f.stays || is(token, "keep-alive")
	}
}

// timeout reads the N of "timeout=N, max=M".
func (f *framing) timeout(value []byte) {
	i := bytes.Index(value, []byte("timeout="))
	if i < 0 {
		return
	}
	n := 0
	for _, c := range value[i+len("timeout="):] {
		if c < '0' || c > '9' || n > 1<<20 {
			break
		}
		n = n*10 + int(c-'0')
	}
	f.keepAlive = max(time.Duration(n)*time.Second, 1)
}

// token are the characters of a header's name (RFC 9110, section 5.6.2).
var token = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// trim takes off the space around a value.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// is compares ASCII, ignoring case; lower is in lower case.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// awaitHeader waits until the buffer holds a whole header and returns its
// length. A header larger than the buffer moves to a larger one.
func (r *Response) awaitHeader() (int, error) {
	for n := 1; ; {
		_, err := r.br.Peek(n)
		b, _ := r.br.Peek(r.br.Buffered())
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w within the header", io.ErrUnexpectedEOF)
			}
			return 0, err
		}
		if k := min(len(b), len(http1x)); !bytes.Equal(b[:k], http1x[:k]) {
			return 0, violation("not an HTTP/1.x answer")
		}
		from := max(0, n-len(crlf2))
		if i := bytes.Index(b[from:], crlf2); i >= 0 {
			return from + i + len(crlf2), nil
		}
		if len(b) >= maxHeader {
			return 0, fmt.Errorf("%w: header of more than %d bytes", ErrProtocol, maxHeader)
		}
		if r.h.phase == PhaseFirstByte {
			wait := r.h.timeouts.Idle
			if wait == 0 {
				wait = r.h.timeouts.FirstByte
			}
			r.h.enter(PhaseHeader, wait)
		}
		if len(b) == r.br.Size() {
			r.cn.pre = append([]byte(nil), b...)
			returnReader(r.br)
			r.br = bufio.NewReaderSize(r.cn, maxHeader)
			n = 1
			continue
		}
		n = len(b) + 1
	}
}

// readHeader reads the answer's header, past interim ones, into r.
func (r *Response) readHeader(toHead bool) error {
	for interim := 0; ; interim++ {
		n, err := r.awaitHeader()
		if r.cn.got > 0 {
			r.h.phase = PhaseHeader
		}
		if err != nil {
			return err
		}
		b, err := r.br.Peek(n)
		if err != nil {
			return err
		}
		r.head = append(r.head[:0], b...)
		if _, err := r.br.Discard(n); err != nil {
			return err
		}
		f, err := scanHeader(r.head, toHead, r.fields)
		r.fields = f.fields
		switch {
		case err != nil:
			return err
		case f.status == 101:
			return violation("upgrade that nobody asked for")
		case f.status >= 200:
			return r.frame(&f)
		case interim == maxInterim:
			return violation("too many interim answers")
		}
	}
}

// frame decides how the body ends and whether the connection goes on.
func (r *Response) frame(f *framing) error {
	r.Status, r.ContentLength = f.status, f.length
	r.remain, r.chunks, r.kind = 0, chunked{}, bodyLength
	r.reuse = f.persist
	switch {
	case f.chunked:
		r.kind = bodyChunked
	case f.length < 0:
		r.kind, r.reuse = bodyUntilClose, false
	default:
		r.remain = f.length
	}
	rest := r.cn.pool.owner.settings.IdleTimeout
	if f.keepAlive > 0 {
		// A second earlier than the provider, so as not to race with it.
		rest = min(rest, f.keepAlive-min(time.Second, f.keepAlive/2))
	}
	r.cn.rest = rest
	r.done = r.kind == bodyLength && r.remain == 0
	r.zip = nil
	switch {
	case f.coding == nil, is(f.coding, "identity"), r.done:
	case is(f.coding, "gzip"), is(f.coding, "x-gzip"):
		r.ContentLength = -1
		r.zip = newInflater(r, r.cn.pool.owner.settings.MaxInflated)
		r.fields = slices.DeleteFunc(r.fields, func(f llm.Field) bool {
			return is(f.Name, "content-encoding") || is(f.Name, "content-length")
		})
	default:
		return violation("content coding that nobody asked for")
	}
	return nil
}
