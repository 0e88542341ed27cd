//go:build !race

package upstream

import (
	"bytes"
	"io"
	"net"
	"testing"

	"sluice/proxy/llm"
)

// raw answers each read of a connection with the same bytes: requests are
// small and come whole.
func raw(answer []byte) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		p := make([]byte, 16<<10)
		for {
			if _, err := c.Read(p); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}
}

var (
	typical = []byte("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nContent-Type: application/json\r\nOpenAI-Processing-Ms: 210\r\n" +
		"X-Ratelimit-Limit-Requests: 10000\r\nX-Ratelimit-Remaining-Requests: 9999\r\nX-Request-Id: req_0123456789\r\nServer: test\r\n" +
		"Content-Length: 1024\r\n\r\n" + string(bytes.Repeat([]byte("x"), 1024)))
	head = []byte("POST /v1/chat/completions HTTP/1.1\r\nHost: provider.test\r\nAuthorization: Bearer sk-0123456789\r\n" +
		"Content-Type: application/json\r\nAccept-Encoding: identity\r\n")
)

func warm(tb testing.TB, body [][]byte) (*Endpoint, *Call, *Handle) {
	s := serve(tb, nil, raw(typical))
	e := endpoint(tb, pools(tb, Settings{}), s.url(), Options{})
	c := post("")
	c.Method, c.Path, c.Head, c.Body = "", "", head, body
	return e, c, new(Handle)
}

func once1(tb testing.TB, e *Endpoint, c *Call, h *Handle, buf []byte) {
	r, err := e.Do(c, h)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := r.ReadAll(buf[:0], 1<<20, nil); err != nil {
		tb.Fatal(err)
	}
	r.Close()
	h.Reset()
}

func TestWarmCallAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for name, body := range map[string][][]byte{
		"one piece": {bytes.Repeat([]byte("y"), 1024)},
		"spliced":   {bytes.Repeat([]byte("y"), 500), []byte("model"), bytes.Repeat([]byte("y"), 500)},
	} {
		e, c, h := warm(t, body)
		once1(t, e, c, h, buf)
		if n := testing.AllocsPerRun(500, func() { once1(t, e, c, h, buf) }); n > 0.5 {
			t.Errorf("%s: %.1f allocations a call, want 0", name, n)
		}
	}
}

func BenchmarkWarmCall(b *testing.B) {
	e, c, h := warm(b, [][]byte{bytes.Repeat([]byte("y"), 500), []byte("model"), bytes.Repeat([]byte("y"), 500)})
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		once1(b, e, c, h, buf)
	}
}

func BenchmarkStreamedEvent(b *testing.B) {
	event := []byte("78\r\ndata: " + string(bytes.Repeat([]byte("e"), 112)) + "\n\n\r\n")
	s := serve(b, nil, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range b.N + 1 {
			if _, err := c.Write(event); err != nil {
				return
			}
		}
	})
	e := endpoint(b, pools(b, Settings{}), s.url(), Options{})
	r, err := e.Do(&Call{Method: "POST", Path: "/", Header: []llm.Field{}, Timeouts: post("").Timeouts}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 16<<10)
	b.ReportAllocs()
	b.ResetTimer()
	for got := 0; got < b.N*120; {
		n, err := r.Read(p)
		if err != nil {
			b.Fatal(err)
		}
		got += n
	}
}
