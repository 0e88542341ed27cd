package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/proxy/route"
	"sluice/supervisor/fleet"
)

const testKey = "sk-test-0123456789"

// fakeGateway answers by the model that the request's body names.
type fakeGateway struct {
	s       *Server
	calls   atomic.Int64
	release chan struct{} // ends model "hang"
	causes  chan gateway.Cause
	answer  gateway.Answer
}

func newFake() *fakeGateway {
	g := &fakeGateway{release: make(chan struct{}), causes: make(chan gateway.Cause, 16)}
	g.answer = gateway.Answer{
		Status: 200, ContentType: "application/json",
		Header: []llm.Field{{Name: []byte("x-litellm-model-id"), Value: []byte("dep-1")}},
		Body:   [][]byte{[]byte(`{"object":"chat.completion",`), []byte(`"id":"x"}`)},
	}
	return g
}

func (g *fakeGateway) Identify(_ *gateway.Exchange, key []byte) *llm.Error {
	if string(key) == testKey {
		return nil
	}
	return &llm.Error{Kind: llm.KindAuth, Type: "auth_error", Param: "None", Message: "Authentication Error, unknown."}
}

func (g *fakeGateway) ModelsOf(*gateway.Exchange) []route.ModelInfo {
	return []route.ModelInfo{{ID: "mock", Created: 1, OwnedBy: "openai", Limits: route.Limits{Mode: "chat", MaxInput: 9, MaxOutput: 8}}, {ID: "openai/gpt", OwnedBy: "openai"}, {ID: "x/*", Wildcard: true}}
}

func (g *fakeGateway) Generation() uint64 { return 1 }

type cancelFunc func(gateway.Cause)

func (f cancelFunc) Cancel(c gateway.Cause) { f(c) }

func (g *fakeGateway) Do(x *gateway.Exchange) (*gateway.Answer, *llm.Error) {
	g.calls.Add(1)
	switch {
	case bytes.Contains(x.Body, []byte(`"panic"`)):
		panic("poison")
	case bytes.Contains(x.Body, []byte(`"hang"`)):
		done := g.listen(x)
		select {
		case c := <-done:
			g.causes <- c
			return nil, &llm.Error{Kind: llm.KindClientGone, Message: "gone"}
		case <-g.release:
		}
	case bytes.Contains(x.Body, []byte(`"stream"`)):
		return &gateway.Answer{Status: 200, ContentType: "text/event-stream", Stream: &events{n: 3}}, nil
	case bytes.Contains(x.Body, []byte(`"talkative"`)):
		return &gateway.Answer{
			Status: 200, ContentType: "text/event-stream", Stream: &events{n: 3},
			Header: []llm.Field{{Name: []byte("llm_provider-policy"), Value: bytes.Repeat([]byte("x"), 2*writeBuffer)}},
		}, nil
	case bytes.Contains(x.Body, []byte(`"poisoned"`)):
		return &gateway.Answer{Status: 200, ContentType: "text/event-stream", Stream: &poison{events{n: 2}}}, nil
	case bytes.Contains(x.Body, []byte(`"broken"`)):
		return &gateway.Answer{Status: 200, ContentType: "text/event-stream", Stream: &events{n: 3, cut: true}}, nil
	case bytes.Contains(x.Body, []byte(`"endless"`)):
		return &gateway.Answer{Status: 200, ContentType: "text/event-stream", Stream: &waiting{done: g.listen(x), causes: g.causes}}, nil
	}
	return &g.answer, nil
}

// listen hears what is done to the exchange of x.
func (g *fakeGateway) listen(x *gateway.Exchange) chan gateway.Cause {
	done := make(chan gateway.Cause, 4)
	g.s.conns.each(func(c *conn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.x == canceller(x) {
			c.x = cancelFunc(func(cause gateway.Cause) {
				select {
				case done <- cause:
				default:
				}
			})
		}
	})
	return done
}

// events is a stream of n events; cut breaks it off after the last.
type events struct {
	n, i int
	cut  bool
}

func (e *events) Read(p []byte) (int, error) {
	if e.i == e.n {
		if e.cut {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, io.EOF
	}
	e.i++
	return copy(p, fmt.Sprintf("data: {\"i\":%d}\n\n", e.i)), nil
}
func (e *events) Close() error { return nil }

// waiting gives one event and then waits to be cancelled.
type waiting struct {
	done   chan gateway.Cause
	causes chan gateway.Cause
	state  int
}

func (w *waiting) Read(p []byte) (int, error) {
	w.state++
	switch w.state {
	case 1:
		return copy(p, "data: {}\n\n"), nil
	case 2:
		w.causes <- <-w.done
		return copy(p, "data: {\"error\":{}}\n\n"), nil
	}
	return 0, io.ErrUnexpectedEOF
}
func (w *waiting) Close() error { return nil }

func newTable(t testing.TB, slots int) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, slots)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	t.Cleanup(func() { _ = table.Close() })
	return table
}

type bench struct {
	*Server
	g    *fakeGateway
	addr string
}

func start(t testing.TB, change func(*Config, *fleet.Listener)) *bench {
	t.Helper()
	table := newTable(t, 1)
	area, err := table.Claim(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	table.Slot(0).Generation.Store(1)
	table.Generation(area).State.Store(uint32(fleet.StateReady))
	c := Config{Version: "1.2.3", Table: table, Area: area}
	l := fleet.Listener{Name: "main", Network: "tcp", Address: "127.0.0.1:0"}
	if change != nil {
		change(&c, &l)
	}
	g := newFake()
	s, err := New(c, g)
	if err != nil {
		t.Fatal(err)
	}
	g.s = s
	fd, err := Bind("tcp", l.Address)
	if err != nil {
		t.Fatal(err)
	}
	addr := addressOf(t, fd)
	if err := s.Listen(l, fd); err != nil {
		t.Fatal(err)
	}
	s.Adopt(nil)
	t.Cleanup(s.Close)
	return &bench{Server: s, g: g, addr: addr}
}

func addressOf(t testing.TB, fd int) string {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func (b *bench) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(15 * time.Second))
	return nc, bufio.NewReader(nc)
}

// chat is a chat request as raw bytes.
func chat(model, extra string) string {
	body := `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		testKey, extra, len(body), body)
}

func read(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("read answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, string(body) + "!" + err.Error()
	}
	return resp, string(body)
}

func TestAnswers(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	auth := "Host: x\r\nAuthorization: Bearer " + testKey + "\r\n\r\n"
	for _, tc := range []struct {
		name, send string
		status     int
		body       string
	}{
		{"chat", chat("mock", ""), 200, `{"object":"chat.completion","id":"x"}`},
		{"chat again", chat("mock", "x-litellm-call-id: mine\r\n"), 200, `{"object":"chat.completion","id":"x"}`},
		{"stream", chat("stream", ""), 200, "data: {\"i\":1}\n\ndata: {\"i\":2}\n\ndata: {\"i\":3}\n\n"},
		{"chunked", "POST /chat/completions HTTP/1.1\r\nHost: x\r\napi-key: " + testKey + "\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"10\r\n{\"model\":\"mock\",\r\n19\r\n\"messages\":[{\"role\":\"u\"}]\r\n1\r\n}\r\n0\r\n\r\n", 200, `{"object":"chat.completion","id":"x"}`},
		{"deployment", strings.Replace(chat("mock", ""), "/v1/chat", "/openai/deployments/a%2Fb/chat", 1), 200, ""},
		{"models", "GET /v1/models HTTP/1.1\r\n" + auth, 200, `{"data":[{"id":"mock","object":"model","created":1,"owned_by":"openai","mode":"chat","max_input_tokens":9,"max_output_tokens":8},{"id":"openai/gpt","object":"model","created":0,"owned_by":"openai"}],"object":"list"}`},
		{"one model", "GET /models/openai/gpt HTTP/1.1\r\n" + auth, 200, `{"id":"openai/gpt","object":"model","created":0,"owned_by":"openai"}`},
		{"one model, escaped", "GET /models/openai%2Fgpt HTTP/1.1\r\n" + auth, 200, `{"id":"openai/gpt","object":"model","created":0,"owned_by":"openai"}`},
		{"no such model", "GET /models/nope HTTP/1.1\r\n" + auth, 404, ""},
		{"alive", "GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n", 200, `"I'm alive!"`},
		{"ready", "GET /health/readiness HTTP/1.1\r\nHost: x\r\n\r\n", 200, `{"status":"healthy","db":"Not connected","redis":"Not connected","litellm_version":"1.2.3"}`},
		{"options", "OPTIONS /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		{"health without key", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 401, ""},
		{"backlog", "GET /health/backlog HTTP/1.1\r\n" + auth, 200, `{"in_flight_requests":0}`},
		{"unknown", "GET /nope HTTP/1.1\r\n" + auth, 404, `{"detail":"Not Found"}`},
		{"method", "PUT /v1/chat/completions HTTP/1.1\r\n" + auth, 405, `{"detail":"Method Not Allowed"}`},
		{"no key", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 401, ""},
		{
			"malformed key", "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: sk-1\r\n\r\n", 401,
			"{\"error\":{\"message\":\"Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.\",\"type\":\"auth_error\",\"param\":\"None\",\"code\":\"401\"}}",
		},
		{"form", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: " + testKey + "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nmodel=x", 400, ""},
		{"bad json", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: " + testKey + "\r\nContent-Length: 2\r\n\r\n{]", 400, ""},
		{"compressed", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{]", 415, ""},
		{"panic", "GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n", 200, `"I'm alive!"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := io.WriteString(nc, tc.send); err != nil {
				t.Fatal(err)
			}
			resp, body := read(t, r)
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tc.status, body)
			}
			if tc.body != "" && body != tc.body {
				t.Errorf("body %s\nwant %s", body, tc.body)
			}
			if len(resp.Header.Get("X-Request-Id")) != 36 || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", resp.Header)
			}
			if resp.Close {
				t.Error("the connection was closed")
			}
		})
	}
	until(t, func() bool { return b.own.InFlight.Load() == 0 })
}

func TestStrangerGetsAnswerBeforeBody(t *testing.T) {
	b := start(t, nil)
	for _, tc := range []struct {
		name, head string
		status     int
	}{
		{"32 MiB, no key", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n", 401},
		{"32 MiB and one, key", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: " + testKey + "\r\nContent-Length: 33554433\r\n\r\n", 413},
		{"expects 100", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", 401},
		{"chunked", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 401},
		{"small and stalled", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", 401},
		{"HTTP/1.0", "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 33554432\r\n\r\n", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, r := b.dial(t)
			begin := time.Now()
			_, _ = io.WriteString(nc, tc.head)
			resp, body := read(t, r)
			if resp.StatusCode != tc.status || time.Since(begin) > 2*time.Second {
				t.Errorf("status %d after %v: %s", resp.StatusCode, time.Since(begin), body)
			}
		})
	}
	t.Run("welcome and expected", func(t *testing.T) {
		nc, r := b.dial(t)
		head, body, _ := strings.Cut(chat("mock", "Expect: 100-continue\r\n"), "\r\n\r\n")
		_, _ = io.WriteString(nc, head+"\r\n\r\n")
		line, _ := r.ReadString('\n')
		if line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q", line)
		}
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(nc, body)
		if resp, body := read(t, r); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
	until(t, func() bool { return b.bodies.Load() == 0 }) // given back once the answer is out
}

func TestPanicIsContained(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("panic", ""))
	resp, _ := read(t, r)
	if resp.StatusCode != 500 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	until(t, func() bool { return b.own.InFlight.Load() == 0 })
	if b.own.Panics.Load() != 1 {
		t.Errorf("%d panics", b.own.Panics.Load())
	}
}

func TestBrokenStreamHasNoEnd(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("broken", ""))
	_, body := read(t, r)
	if !strings.HasSuffix(body, "!unexpected EOF") || !strings.Contains(body, `"i":3`) {
		t.Errorf("got %q", body)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("connection not closed: %v", err)
	}
}

func TestOldClientStream(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, strings.Replace(chat("stream", ""), "HTTP/1.1", "HTTP/1.0", 1))
	all, err := io.ReadAll(r)
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	if err != nil || body != "data: {\"i\":1}\n\ndata: {\"i\":2}\n\ndata: {\"i\":3}\n\n" || strings.Contains(strings.ToLower(head), "chunked") {
		t.Errorf("%v: %q", err, all)
	}
}

func TestHangUp(t *testing.T) {
	b := start(t, nil)
	for _, model := range []string{"hang", "endless"} {
		t.Run(model, func(t *testing.T) {
			nc, _ := b.dial(t)
			_, _ = io.WriteString(nc, chat(model, ""))
			time.Sleep(50 * time.Millisecond)
			begin := time.Now()
			_ = nc.Close()
			select {
			case c := <-b.g.causes:
				if c != gateway.CauseClientGone || time.Since(begin) > 600*time.Millisecond {
					t.Errorf("cause %d after %v", c, time.Since(begin))
				}
			case <-time.After(3 * time.Second):
				t.Error("not noticed")
			}
		})
	}
	t.Run("pipelined is none", func(t *testing.T) {
		nc, r := b.dial(t)
		_, _ = io.WriteString(nc, chat("hang", "")+chat("mock", ""))
		select {
		case <-b.g.causes:
			t.Error("cancelled")
		case <-time.After(700 * time.Millisecond):
		}
		close(b.g.release)
		for range 2 {
			if resp, _ := read(t, r); resp.StatusCode != 200 {
				t.Error(resp.Status)
			}
		}
	})
}

func TestLame(t *testing.T) {
	b := start(t, func(c *Config, _ *fleet.Listener) { c.KeepAlive = 1500 * time.Millisecond })
	idle, idleReader := b.dial(t)
	_, _ = io.WriteString(idle, chat("mock", ""))
	read(t, idleReader)
	begin := time.Now()
	silent, silentReader := b.dial(t)
	_ = silent
	used, usedReader := b.dial(t)
	_, _ = io.WriteString(used, chat("mock", ""))
	read(t, usedReader)
	time.Sleep(50 * time.Millisecond)
	b.Lame(0)
	_, _ = io.WriteString(used, chat("mock", ""))
	if resp, _ := read(t, usedReader); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	var wg sync.WaitGroup
	for _, r := range []*bufio.Reader{idleReader, silentReader} {
		wg.Go(func() {
			if _, err := r.ReadByte(); err != io.EOF || time.Since(begin) < 1400*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		})
	}
	wg.Wait()
	_ = idle.Close()
	_ = silent.Close()
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Second)
	defer stop()
	if err := b.Wait(ctx); err != nil {
		t.Errorf("%v: %d open", err, b.Open())
	}
}

// In a stop of the whole appliance idle connections end after a short quiet
// time, by FIN; one that is used meanwhile is answered with Connection: close.
func TestQuiet(t *testing.T) {
	b := start(t, nil)
	idle, idleReader := b.dial(t)
	_, _ = io.WriteString(idle, chat("mock", ""))
	read(t, idleReader)
	_, silentReader := b.dial(t)
	used, usedReader := b.dial(t)
	_, _ = io.WriteString(used, chat("mock", ""))
	read(t, usedReader)
	const quiet = 600 * time.Millisecond
	begin := time.Now()
	b.Lame(0)
	b.Quiet(quiet)
	_, _ = io.WriteString(used, chat("mock", ""))
	if resp, _ := read(t, usedReader); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	for _, r := range []*bufio.Reader{idleReader, silentReader} {
		if _, err := r.ReadByte(); err != io.EOF || time.Since(begin) < quiet || time.Since(begin) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	}
}

// While the appliance waits for its balancer to look away, answers already send
// clients elsewhere.
func TestDrainingAnswersClose(t *testing.T) {
	b := start(t, nil)
	b.c.Table.Header().State.Store(uint32(fleet.StateDraining))
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("mock", ""))
	if resp, _ := read(t, r); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestCutEndsStreams(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("endless", ""))
	time.Sleep(100 * time.Millisecond)
	b.Lame(0)
	b.Cut(3 * time.Second)
	_, body := read(t, r)
	if !strings.Contains(body, "error") || <-b.g.causes != gateway.CauseStopping {
		t.Errorf("got %q", body)
	}
	if b.own.Cut.Load() != 1 {
		t.Errorf("cut %d", b.own.Cut.Load())
	}
}

func TestParkedConnectionAnswers(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	for range 2 {
		_, _ = io.WriteString(nc, chat("mock", ""))
		if resp, _ := read(t, r); resp.StatusCode != 200 || resp.Close {
			t.Fatal(resp.Status)
		}
		time.Sleep(parkAfter + 300*time.Millisecond)
	}
}

func TestPrivate(t *testing.T) {
	b := start(t, func(c *Config, _ *fleet.Listener) {
		c.Metrics = func(w io.Writer) { _, _ = io.WriteString(w, "up 1\n") }
		c.HealthSocket = "/nonexistent"
		c.MetricsAuth = true
	})
	path := t.TempDir() + "/w.sock"
	if err := b.Private(path); err != nil {
		t.Fatal(err)
	}
	b.Lame(0)
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"+chat("mock", ""))
	r := bufio.NewReader(nc)
	if resp, body := read(t, r); resp.StatusCode != 200 || body != "up 1\n" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if b.own.Requests.Load() != 0 || b.Open() != 0 {
		t.Errorf("requests %d, open %d", b.own.Requests.Load(), b.Open())
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
