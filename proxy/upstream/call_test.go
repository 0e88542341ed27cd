package upstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/llm"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\nX-Request-Id: r1\r\n\r\nhello"

func TestAnswers(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(zw, "hello")
	_ = zw.Close()
	var bomb bytes.Buffer
	zw = gzip.NewWriter(&bomb)
	_, _ = zw.Write(make([]byte, 20<<20))
	_ = zw.Close()
	lines := func(n int) string { return strings.Repeat("X-Filler: "+strings.Repeat("y", 88)+"\r\n", n) }
	cases := []struct {
		name, answer, body string
		status             int
		cause              error // nil: none
		kept               bool  // the connection idles afterwards
	}{
		{name: "length", answer: okAnswer, status: 200, body: "hello", kept: true},
		{name: "chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX: y\r\n\r\n", status: 200, body: "hello", kept: true},
		{name: "until close", answer: "HTTP/1.1 200 OK\r\n\r\nhello", status: 200, body: "hello"},
		{name: "1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello"},
		{name: "1.0 keep-alive", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello", kept: true},
		{name: "connection close", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello"},
		{name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, kept: true},
		{name: "not modified", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", status: 304, kept: true},
		{name: "redirect", answer: "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", status: 302, kept: true},
		{name: "interim", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okAnswer, status: 200, body: "hello", kept: true},
		{name: "interim flood", answer: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9) + okAnswer, cause: ErrProtocol},
		{name: "upgrade", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", cause: ErrProtocol},
		{name: "large body", answer: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(big), big), status: 200, body: big, kept: true},
		{name: "large chunk", answer: fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(big), big), status: 200, body: big, kept: true},
		{name: "large header", answer: "HTTP/1.1 200 OK\r\n" + lines(500) + "Content-Length: 5\r\n\r\nhello", status: 200, body: "hello", kept: true},
		{name: "header of 1 MiB", answer: "HTTP/1.1 200 OK\r\n" + lines(10500) + "Content-Length: 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "garbage behind", answer: okAnswer + "HTTP/1.1 200 OK\r\n", status: 200, body: "hello"},
		{name: "garbage behind chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nxx", status: 200, body: "hello"},
		{name: "both framings", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", cause: ErrProtocol},
		{name: "two lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "length list", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "signed length", answer: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", cause: ErrProtocol},
		{name: "space before colon", answer: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "folded line", answer: "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "name that is no token", answer: "HTTP/1.1 200 OK\r\nX(y): a\r\nContent-Length: 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "strange coding", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", cause: ErrProtocol},
		{name: "brotli", answer: "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nhello", cause: ErrProtocol},
		{name: "not HTTP", answer: "SSH-2.0-OpenSSH_9.2\r\n", cause: ErrProtocol},
		{name: "HTTP/2 preface", answer: "HTTP/2 200\r\n\r\n", cause: ErrProtocol},
		{name: "bad chunk size", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", status: 200, cause: ErrProtocol},
		{name: "chunk without end", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", status: 200, body: "hel", cause: ErrProtocol},
		{name: "gzip", answer: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", zipped.Len(), zipped.String()), status: 200, body: "hello", kept: true},
		{name: "gzip garbage", answer: "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", status: 200, cause: ErrProtocol},
		{name: "gzip bomb", answer: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String()), status: 200, cause: ErrTooLarge},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			keep := tc.kept || strings.Contains(tc.name, "garbage behind")
			f := once(tc.answer)
			if keep {
				f = always(tc.answer)
			}
			s := serve(t, nil, f)
			e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
			status, body, err := fetch(e, post("{}"))
			if status != tc.status || !errors.Is(err, tc.cause) {
				t.Fatalf("got status %d, error %v; want %d, %v", status, err, tc.status, tc.cause)
			}
			if tc.name != "gzip bomb" && body != tc.body {
				t.Errorf("got body %.40q (%d bytes), want %.40q", body, len(body), tc.body)
			}
			if tc.cause == nil && e.pool.idling() == 1 != tc.kept && !strings.Contains(tc.name, "behind") {
				t.Errorf("connection kept: %v, want %v", !tc.kept, tc.kept)
			}
			if strings.Contains(tc.name, "behind") {
				// What came behind may come late: it must never be read as an answer.
				if _, body, err := fetch(e, post("{}")); err != nil || body != "hello" || s.accepted() != 2 {
					t.Errorf("second call: %q, %v over %d connections; want hello over 2", body, err, s.accepted())
				}
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	heads := make(chan string, 1)
	bodies := make(chan string, 1)
	s := serve(t, nil, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			h, b, err := readRequest(r)
			if err != nil {
				return
			}
			heads <- h
			bodies <- string(b)
			_, _ = io.WriteString(c, okAnswer)
		}
	})
	e := endpoint(t, pools(t, Settings{}), s.url()+"/base/", Options{})
	host := e.Host()
	if e.BasePath() != "/base" || "http://"+host != s.url() {
		t.Errorf("host %q, base path %q", host, e.BasePath())
	}
	big := strings.Repeat("b", 300<<10)
	cases := []struct {
		name string
		call Call
		head string
		body string
	}{
		{
			"built",
			Call{Method: "POST", Path: "/base/x", Header: []llm.Field{{Name: []byte("A"), Value: []byte("b c")}}, Body: [][]byte{[]byte("one"), []byte("two")}},
			"POST /base/x HTTP/1.1\r\nHost: " + host + "\r\nA: b c\r\nAccept-Encoding: identity\r\nContent-Length: 6\r\n\r\n", "onetwo",
		},
		{
			"prebuilt",
			Call{Head: []byte("POST /y HTTP/1.1\r\nHost: h\r\n"), Body: [][]byte{[]byte("one")}},
			"POST /y HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", "one",
		},
		{"get", Call{Method: "GET", Path: "/z"}, "GET /z HTTP/1.1\r\nHost: " + host + "\r\nAccept-Encoding: identity\r\n\r\n", ""},
		{"empty post", Call{Head: []byte("POST /y HTTP/1.1\r\n")}, "POST /y HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ""},
		{
			"large",
			Call{Head: []byte("POST /y HTTP/1.1\r\n"), Body: [][]byte{[]byte("a"), []byte(big), []byte("c")}},
			fmt.Sprintf("POST /y HTTP/1.1\r\nContent-Length: %d\r\n\r\n", len(big)+2), "a" + big + "c",
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r, err := e.Do(&tc.call, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if h := <-heads; h != tc.head {
				t.Errorf("head\n%q, want\n%q", h, tc.head)
			}
			if b := <-bodies; b != tc.body {
				t.Errorf("body of %d bytes, want %d", len(b), len(tc.body))
			}
			if got := r.Header("x-request-id"); string(got) != "r1" {
				t.Errorf("header: %q", got)
			}
			if _, err := r.ReadAll(nil, 5, nil); err != nil {
				t.Error(err)
			}
		})
	}
	if s.accepted() != 1 {
		t.Errorf("%d connections for calls one after the other", s.accepted())
	}
	for _, bad := range []Call{
		{Method: "GET", Path: "/x\r\nEvil: 1"},
		{Method: "GET", Path: "/x y"},
		{Method: "GET", Path: "/", Header: []llm.Field{{Name: []byte("A"), Value: []byte("b\r\nEvil: 1")}}},
		{Method: "GET", Path: "/", Header: []llm.Field{{Name: []byte("A:"), Value: []byte("b")}}},
	} {
		_, err := e.Do(&bad, nil)
		if f := failure(t, err); f.Reached || f.Phase != PhaseWrite {
			t.Errorf("split request: %+v", f)
		}
	}
}

// Every answer, cut behind each of its bytes, is an error and never a success.
func TestCutAtEveryByte(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  okAnswer,
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil, func(i int, c net.Conn) { once(answer[:i%len(answer)])(i, c) })
			e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
			for i := range len(answer) {
				_, _, err := fetch(e, post("{}"))
				f := failure(t, err)
				if !broken(f) || f.Timeout || f.Canceled || !f.Reached || f.Attempts != 1 {
					t.Fatalf("cut at %d: %+v", i, f)
				}
				body := strings.Index(answer, "\r\n\r\n") + 4
				if want := i >= body; (f.Phase == PhaseBody) != want {
					t.Fatalf("cut at %d: phase %s", i, f.Phase)
				}
				if f.Phase == PhaseBody && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("cut at %d: %v is no unexpected end", i, err)
				}
			}
		})
	}
}

// Each Read gives what has arrived; it does not wait for a full buffer, and it
// gives several chunks of one segment at once.
func TestReadDoesNotWait(t *testing.T) {
	next := make(chan string)
	s := serve(t, nil, func(_ int, c net.Conn) {
		_, _, _ = readRequest(bufio.NewReader(c))
		for piece := range next {
			_, _ = io.WriteString(c, piece)
		}
	})
	defer close(next)
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	go func() { next <- "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" }()
	r, err := e.Do(post("{}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := make([]byte, 64<<10)
	for _, step := range []struct{ wire, body string }{
		{"1\r\na\r\n2\r\nbc\r\n", "abc"},
		{"4\r\nde", "de"},
		{"fg\r\n1\r\nh", "fgh"},
		{"\r\n0\r\n\r\n", ""},
	} {
		next <- step.wire
		n, err := r.Read(p)
		if string(p[:n]) != step.body || (step.body == "") != errors.Is(err, io.EOF) {
			t.Fatalf("read %q, %v; want %q", p[:n], err, step.body)
		}
	}
	r.Close()
	until(t, "the connection idles", func() bool { return e.pool.idling() == 1 })
}

// A stream that is closed when its last chunk has come, but was not read,
// keeps its connection.
func TestCloseBeforeTheLastChunk(t *testing.T) {
	s := serve(t, nil, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	r, err := e.Do(post("{}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	r.Close()
	if e.pool.idling() != 1 {
		t.Error("connection lost")
	}
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read after close gave no error")
	}
}

// A pooled connection that dies is replaced once; whatever is new is not.
func TestSecondAttempt(t *testing.T) {
	s := serve(t, nil, func(i int, c net.Conn) {
		r := bufio.NewReader(c)
		if _, _, err := readRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, okAnswer)
		if _, _, err := readRequest(r); err == nil && i > 0 {
			_, _ = io.WriteString(c, okAnswer)
		}
	})
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	if _, _, err := fetch(e, post("1")); err != nil {
		t.Fatal(err)
	}
	r, err := e.Do(post("2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Attempts != 2 || s.accepted() != 2 {
		t.Errorf("attempts %d over %d connections, want 2 over 2", r.Attempts, s.accepted())
	}
	if b, err := r.ReadAll(nil, 100, nil); string(b) != "hello" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	r.Close()
}

// A provider that refuses a large request early is heard.
func TestEarlyRefusal(t *testing.T) {
	s := serve(t, nil, func(_ int, c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, c, 64<<10)
	})
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	status, _, err := fetch(e, post(strings.Repeat("x", 8<<20)))
	if err == nil && status != 413 || err != nil && !failure(t, err).Reached {
		t.Errorf("got %d, %v", status, err)
	}
}

func TestReadAllBound(t *testing.T) {
	for _, answer := range []string{okAnswer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
		s := serve(t, nil, always(answer))
		e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
		r, err := e.Do(post("{}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAll(nil, 4, nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
		r.Close()
		if e.pool.idling() != 0 {
			t.Error("connection kept after a refused body")
		}
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	s := serve(t, nil, always("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	e := endpoint(t, pools(t, Settings{MaxIdle: 50}), s.url(), Options{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			var h Handle
			for i := range 20 {
				r, err := e.Do(post("{}"), &h)
				if err != nil {
					t.Error(err)
					return
				}
				if i%5 == 4 {
					go h.Cancel(nil) // races with what follows on purpose
					time.Sleep(time.Microsecond)
				}
				b, err := r.ReadAll(nil, 100, nil)
				if err == nil && string(b) != "hello" {
					t.Errorf("got %q", b)
				}
				r.Close()
				if i%5 == 4 {
					until(t, "cancelled", h.ended)
					h.Reset()
				}
			}
		})
	}
	wg.Wait()
	if n := e.pool.idling(); n > 50 {
		t.Errorf("%d connections idle", n)
	}
}
