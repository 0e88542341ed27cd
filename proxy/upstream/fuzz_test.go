package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
)

// FuzzChunked: however a chunked body is cut into reads, the result is the
// same, nothing behind its end is taken, and what net/http refuses is not
// accepted.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"3\r\nabc\r\n0\r\n\r\nrest", "A;x=y\r\n0123456789\r\n0\r\nA: b\r\n\r\n", "0\r\n\r\n", "ffffffffffffffff\r\n", "1\na\n0\n\n", "5\r\nhello0\r\n\r\n"} {
		f.Add([]byte(s), uint8(3), uint8(2))
	}
	f.Fuzz(func(t *testing.T, wire []byte, in, out uint8) {
		whole, used, done, err := decodeAll(wire, len(wire)+1, len(wire)+1)
		parts, used2, done2, err2 := decodeAll(wire, int(in)+1, int(out)+1)
		if !bytes.Equal(whole, parts) || used != used2 || done != done2 || (err == nil) != (err2 == nil) {
			t.Fatalf("%q, %d, %v, %v in one; %q, %d, %v, %v in parts", whole, used, done, err, parts, used2, done2, err2)
		}
		if !done {
			return
		}
		again, _, _, _ := decodeAll(wire[:used], used, used)
		if !bytes.Equal(again, whole) {
			t.Fatal("bytes behind the end matter")
		}
		r, e := http.ReadResponse(bufio.NewReader(io.MultiReader(
			bytes.NewReader([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")), bytes.NewReader(wire[:used]))), nil)
		if e != nil {
			t.Fatal(e)
		}
		theirs, e := io.ReadAll(r.Body)
		if !bytes.Equal(theirs, whole) && e == nil {
			t.Fatalf("net/http reads %q, we read %q", theirs, whole)
		}
	})
}

func decodeAll(wire []byte, in, out int) (body []byte, used int, done bool, err error) {
	var d chunked
	dst := make([]byte, out)
	for used < len(wire) && d.state != chunkDone {
		n, m, err := d.decode(dst, wire[used:min(used+in, len(wire))])
		body = append(body, dst[:n]...)
		used += m
		if err != nil {
			return body, used, false, err
		}
	}
	return body, used, d.state == chunkDone, nil
}

// feed is a connection that gives fixed bytes in pieces and then ends.
type feed struct {
	net.Conn
	gradually
}

func (f *feed) Read(p []byte) (int, error)  { return f.gradually.Read(p) }
func (f *feed) Write(p []byte) (int, error) { return len(p), nil }
func (f *feed) Close() error                { return nil }

// FuzzResponse reads an arbitrary answer: it always ends, and however it is
// cut into reads, the outcome is the same.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		okAnswer, "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, "HTTP/1.0 200 OK\r\n\r\nhello", "HTTP/1.1 204 No\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nxx",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200\r\nConnection: close, x\r\nKeep-Alive: timeout=5\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(7))
	}
	p := NewPools(Settings{})
	f.Cleanup(p.Close)
	e, err := p.Endpoint("http://127.0.0.1:9", Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire []byte, piece uint8) {
		status, body, ok := readAnswer(e, wire, len(wire)+1)
		status2, body2, ok2 := readAnswer(e, wire, int(piece)+1)
		if status != status2 || ok != ok2 || ok && !bytes.Equal(body, body2) {
			t.Fatalf("%d %q %v in one, %d %q %v in pieces", status, body, ok, status2, body2, ok2)
		}
	})
}

func readAnswer(e *Endpoint, wire []byte, piece int) (status int, body []byte, ok bool) {
	var h Handle
	if err := h.begin(e.pool.owner.sweeper, Timeouts{}); err != nil {
		panic(err)
	}
	sock := &socket{Conn: &feed{gradually: gradually{wire, piece}}}
	c := &conn{link: link{conn: sock, sock: sock}, pool: e.pool}
	if err := h.exchange(&Call{Method: "POST", Path: "/"}, c); err != nil {
		h.end()
		return 0, nil, false
	}
	h.resp.reuse = false
	body, err := h.resp.ReadAll(nil, 1<<20, nil)
	h.resp.Close()
	if err != nil && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		panic("a failed read looks like an end")
	}
	return h.resp.Status, body, err == nil
}
