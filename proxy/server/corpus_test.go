package server

import (
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sluice/proxy/gateway"
	"sluice/supervisor/fleet"
)

// TestCorpus sends raw bytes, row by row of reliability 1.7, and after every
// case a good request on a new connection. status 0 means that the connection
// is closed without an answer; 1000 that nothing but the first answer counts.
func TestCorpus(t *testing.T) {
	b := start(t, func(c *Config, _ *fleet.Listener) { c.HeaderTimeout = 500 * time.Millisecond })
	auth := "x-api-key: " + testKey + "\r\n"
	post := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + auth
	get := "GET /v1/models HTTP/1.1\r\nHost: x\r\n" + auth
	for _, tc := range []struct {
		name, send string
		status     int
		keep       bool // the connection lives on
	}{
		{"F2 half a header", "GET /v1/models HTTP/1.1\r\nHost: x\r\n", 408, false},
		{"F3 target", "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 414, false},
		{"F3 endless target", "GET /" + strings.Repeat("a", 40000), 414, false},
		{"F3 huge headers", get + "X-A: " + strings.Repeat("a", 40000) + "\r\n\r\n", 431, false},
		{"F3 many headers", get + strings.Repeat("X-A: b\r\n", 101) + "\r\n", 431, false},
		{"F4 huge body", post + "Content-Length: 999999999\r\n\r\n", 413, false},
		{"F4 absurd body", post + "Content-Length: 99999999999999999999\r\n\r\n", 400, false},
		{"F8 two keys", get + "X-Api-Key: b\r\n\r\n", 400, false},
		{"F8 two authorizations", "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400, false},
		{"F8 two types", post + "Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400, false},
		{"F8 two hosts", get + "Host: y\r\n\r\n", 400, false},
		{"F8 two lengths", post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, false},
		{"F9 length and coding", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get + "\r\n", 400, false},
		{"F9 coding and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + get + "\r\n", 400, false},
		{"F10 folded", get + "X-A: b\r\n c\r\n\r\n", 400, false},
		{"F10 identity", post + "Transfer-Encoding: identity\r\n\r\n", 400, false},
		{"F10 host with user", "GET /v1/models HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, false},
		{"F10 host list", "GET /v1/models HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, false},
		{"F10 no host", "GET /v1/models HTTP/1.1\r\n" + auth + "\r\n", 400, false},
		{"F10 version 2.0", "GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n", 400, false},
		{"F10 version 1.2", "GET /v1/models HTTP/1.2\r\nHost: x\r\n\r\n", 400, false},
		{"F10 version 2.0 with a body", strings.Replace(post, "1.1", "2.0", 1) + "Content-Length: 2\r\n\r\n{}", 400, false},
		{"F10 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, false},
		{"F10 fragment", "GET /v1/models#x HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		{"F10 raw bytes", "GET /v1/m\xc3\xb6dels HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		{"F10 bad escape", "GET /v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
		{"F10 lower-case method", "get /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405, true},
		{"F10 unknown method", "BREW /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405, true},
		{"F10 TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405, true},
		{"F10 CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 405, true},
		{"F10 expectation", post + "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}", 417, false},
		{"F10 keep-alive, close", "GET /v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "Connection: keep-alive, close\r\n\r\n", 200, false},
		{"F10 blank after chunk size", post + inChunks("3b ", ""), 400, false},
		{"F10 blank after last chunk", post + inChunks("3b", "0\t\r\n\r\n"), 400, false},
		{"F11 control in extension", post + inChunks("3b;a=\x00", ""), 400, false},
		{"F11 folded trailer", post + inChunks("3b", "0\r\nX: a\r\n b\r\n\r\n"), 400, false},
		{"F11 blank in trailer name", post + inChunks("3b", "0\r\nX : a\r\n\r\n"), 400, false},
		{"chunks", post + inChunks("3b", ""), 200, true},
		{"chunks with extension and trailer", post + inChunks("003B;a=\"b\"", "0;x\r\nX-T: a\r\n\r\n"), 200, true},
		{"chunked body nobody reads", get + "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", 200, false},
		{"F11 bare LF after a header", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\n" + auth + "\r\n", 400, false},
		{"F11 bare LF after the request line", "GET /v1/models HTTP/1.1\nHost: x\r\n" + auth + "\r\n", 400, false},
		{"F13 absolute form, not http", "GET ftp://evil/v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, false},
		{"F13 absolute form, user", "GET http://u:p@evil/v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 400, false},
		{"F13 absolute form, slash in query", "GET http://evil?/v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200, true},
		{"F11 bare LF in value", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n", 400, false},
		{"F11 NUL", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", 400, false},
		{"F11 space before colon", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A : a\r\n\r\n", 400, false},
		{"F11 space in name", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX A: a\r\n\r\n", 400, false},
		{"F11 bad chunk size", post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, false},
		{"F11 negative length", post + "Content-Length: -2\r\n\r\n{}", 400, false},
		{"F11 signed length", post + "Content-Length: +2\r\n\r\n{}", 400, false},
		{"F11 hex length", post + "Content-Length: 0x2\r\n\r\n{}", 400, false},
		{"F11 length list", post + "Content-Length: 2, 2\r\n\r\n{}", 400, false},
		{"F11 coding list", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"F11 two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"F11 coding on 1.0", "POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, false},
		{"F12 nothing after an error", "GET /v1/models HTTP/1.1\r\nHost: a@b\r\n\r\n" + get + "\r\n", 400, false},
		{"F13 encoded slash", "GET /v1%2Fmodels HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 encoded letter", "GET /v1/m%6fdels HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 dots", "GET /v1/../v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 double slash", "GET //v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 double encoding", "GET /v1/models/a%252fb HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 encoded dots", "GET /v1/models/%2e%2e HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404, true},
		{"F13 absolute form", "GET http://evil/v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200, true},
		{"F14 gzip", post + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415, true},
		{"empty line first", "\r\n" + get + "\r\n", 200, true},
		{"HTTP/1.0 keep-alive", "GET /v1/models HTTP/1.0\r\n" + auth + "Connection: keep-alive\r\n\r\n", 200, true},
		{"HTTP/1.0", "GET /v1/models HTTP/1.0\r\n" + auth + "\r\n", 200, false},
		{"body on GET", "GET /v1/models HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 3\r\n\r\nabc", 200, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, r := b.dial(t)
			if _, err := io.WriteString(nc, tc.send); err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tc.status, body)
			}
			if resp.StatusCode >= 400 && !strings.HasPrefix(string(body), `{"error":{`) && !strings.HasPrefix(string(body), `{"detail":`) {
				t.Errorf("body %s", body)
			}
			if !tc.keep {
				if n, err := r.ReadByte(); err != io.EOF {
					t.Errorf("connection goes on: %q %v", n, err)
				}
			} else if _, err := io.WriteString(nc, get+"\r\n"); err != nil {
				t.Error(err)
			} else if next, err := http.ReadResponse(r, nil); err != nil || next.StatusCode != 200 {
				t.Errorf("next request: %v", err)
			}
			nc2, r2 := b.dial(t)
			_, _ = io.WriteString(nc2, chat("mock", ""))
			if resp, _ := read(t, r2); resp.StatusCode != 200 {
				t.Errorf("good request afterwards: %s", resp.Status)
			}
			_ = nc2.Close()
		})
	}
	until(t, func() bool { return b.own.InFlight.Load() == 0 })
}

// inChunks is the rest of a request whose body is one chunk of 59 bytes.
func inChunks(size, end string) string {
	if end == "" {
		end = "0\r\n\r\n"
	}
	return "Transfer-Encoding: chunked\r\n\r\n" + size + "\r\n" + `{"model":"mock","messages":[{"role":"user","content":"h"}]}` + "\r\n" + end
}

// Note implements Gateway.
func (g *fakeGateway) Note(*gateway.Exchange) {}

func TestBodyTimes(t *testing.T) {
	b := start(t, func(c *Config, _ *fleet.Listener) { c.BodyAllowance = 1000 })
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: "+testKey+"\r\nContent-Length: 5000\r\n\r\n"+strings.Repeat(" ", 5000))
	resp, body := read(t, r)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	half, _ := b.dial(t)
	_, _ = io.WriteString(half, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: "+testKey+"\r\nContent-Length: 500\r\n\r\n{")
	time.Sleep(50 * time.Millisecond)
	if b.bodies.Load() != 500 {
		t.Errorf("%d bytes taken of the allowance", b.bodies.Load())
	}
	_ = half.Close()
	for range 50 {
		if b.bodies.Load() == 0 && b.own.InFlight.Load() == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d bytes still taken, %d in flight", b.bodies.Load(), b.own.InFlight.Load())
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("Host: x\r\nAuthorization: Bearer sk-1\r\n\r\n"), "x-mine")
	f.Add([]byte("Host: [::1]:80\r\nX-LiteLLM-Timeout: 1.5\r\nX-A: b\r\n c\r\n\r\n"), "")
	f.Add([]byte("content-length: 1\r\ntransfer-encoding: chunked"), "")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		var h head
		if e := h.scan(raw, strings.ToLower(name)); e != nil {
			if s := e.HTTPStatus(); s < 400 || s > 431 {
				t.Errorf("status %d", s)
			}
			return
		}
		if strings.Contains(string(raw), "\n ") && !strings.Contains(string(raw), "\n\n") {
			for _, line := range strings.Split(string(raw), "\n") {
				if strings.HasPrefix(line, " ") && strings.TrimSuffix(line, "\r") != "" {
					t.Errorf("folded line accepted: %q", raw)
				}
			}
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/v1/models/a%2fb", "http://h/v1/models", "/%2e%2e/x", "*", "/engines/x/chat/completions?y"} {
		f.Add([]byte(s))
	}
	r := router0(f, "")
	f.Fuzz(func(t *testing.T, target []byte) {
		path, e := pathOf(target)
		if e != nil {
			return
		}
		_, _, param := r.find([]byte("GET"), path)
		if v, ok := unescape(nil, param); ok && (strings.Contains(string(v), "/../") || strings.HasPrefix(string(v), "/")) {
			t.Errorf("%q became %q", target, v)
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nGET"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(append(append([]byte{}, proxySignature...), 0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 10))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, n, err := parseProxy(b)
		if err == nil && (n <= 0 || n > len(b)) {
			t.Errorf("length %d of %d", n, len(b))
		}
	})
}

// TestForwarded: X-Forwarded-For is believed of a trusted peer, unless it is
// to be ignored.
func TestForwarded(t *testing.T) {
	for _, c := range []struct {
		trusted, ignore bool
		line, want      string
	}{
		{true, false, "192.0.2.9", "192.0.2.9"},
		{true, false, "6.6.6.6, 192.0.2.9, 10.1.1.1", "192.0.2.9"},
		{true, false, "nonsense", "10.0.0.1"},
		{true, true, "192.0.2.9", "10.0.0.1"},
		{false, false, "192.0.2.9", "10.0.0.1"},
	} {
		l := &listener{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		peer := &conn{listener: l, trusted: c.trusted, text: []byte("10.0.0.1")}
		if got := string(peer.client(&head{forwarded: []byte(c.line)}, c.ignore)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestProxyProtocol(t *testing.T) {
	b := start(t, func(_ *Config, l *fleet.Listener) {
		l.ProxyProtocol, l.Trusted = true, []string{"127.0.0.0/8", "10.0.0.0/8"}
	})
	for _, tc := range []struct{ name, head, extra, remote string }{
		{"v1", "PROXY TCP4 192.0.2.7 5.6.7.8 9 10\r\n", "", "192.0.2.7"},
		{"v2", string(proxySignature) + "\x21\x11\x00\x0c\xc0\x00\x02\x08\x05\x06\x07\x08\x00\x09\x00\x0a", "", "192.0.2.8"},
		{"local", string(proxySignature) + "\x20\x00\x00\x00", "", "127.0.0.1"},
		{"forwarded", "PROXY TCP4 10.0.0.1 5.6.7.8 9 10\r\n", "X-Forwarded-For: 6.6.6.6, 192.0.2.9, 10.1.1.1\r\n", "192.0.2.9"},
		{"forged", "PROXY TCP4 192.0.2.7 5.6.7.8 9 10\r\n", "X-Forwarded-For: 6.6.6.6\r\n", "192.0.2.7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, r := b.dial(t)
			_, _ = io.WriteString(nc, tc.head+chat("hang", tc.extra))
			deadline := time.Now().Add(2 * time.Second)
			got := ""
			for got == "" && time.Now().Before(deadline) {
				time.Sleep(20 * time.Millisecond)
				b.conns.each(func(c *conn) {
					if c.phase.Load() == phaseWork {
						c.mu.Lock()
						got = string(c.call.remote)
						c.mu.Unlock()
					}
				})
			}
			if got != tc.remote {
				t.Errorf("remote %q, want %q", got, tc.remote)
			}
			b.g.release <- struct{}{}
			if resp, _ := read(t, r); resp.StatusCode != 200 {
				t.Error(resp.Status)
			}
		})
	}
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("mock", ""))
	if _, err := r.ReadByte(); err == nil {
		t.Error("a connection without a PROXY header was answered")
	}
}

// TestRootPath: with SERVER_ROOT_PATH, requests come with it or, behind a
// balancer that strips it, without it.
func TestRootPath(t *testing.T) {
	r := router0(t, "gateway/")
	for path, want := range map[string]bool{
		"/gateway/v1/models": true, "/v1/models": true, "/gateway": true, "/gateway/": true, "/": true,
		"/gatewayv1/models": false, "/gateway//v1/models": false, "/other/v1/models": false, "/gateway/gateway/v1/models": false,
	} {
		if p, _, _ := r.find([]byte("GET"), []byte(path)); (p != nil) != want {
			t.Errorf("%s is routed: %v", path, p != nil)
		}
	}
}
