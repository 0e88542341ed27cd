package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// certificate makes a self-signed one for localhost and 127.0.0.1 and writes
// it, key included, to a file.
func certificate(t *testing.T, end time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: end.Add(-48 * time.Hour), NotAfter: end, IsCA: true,
		BasicConstraintsValid: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(both, both)
	if err != nil {
		t.Fatal(err)
	}
	return pair, file
}

func serveTLS(t *testing.T, c *tls.Config, f func(int, net.Conn)) (*server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, tls.NewListener(l, c), f)
	return s, strings.Replace(s.url(), "http", "https", 1)
}

func TestTLS(t *testing.T) {
	good, goodFile := certificate(t, time.Now().Add(24*time.Hour))
	old, oldFile := certificate(t, time.Now().Add(-time.Hour))
	_, goodURL := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}}, always(okAnswer))
	_, oldURL := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{old}}, always(okAnswer))
	_, weakURL := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS11}, always(okAnswer))
	_, mutualURL := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, always(okAnswer))
	plain := serve(t, nil, func(_ int, c net.Conn) {
		_, _ = io.WriteString(c, okAnswer)
		hang(0, c)
	})
	cases := []struct {
		name, url string
		o         Options
		ok        bool
	}{
		{"unknown authority", goodURL, Options{}, false},
		{"own bundle", goodURL, Options{CAFile: goodFile}, true},
		{"not verified", goodURL, Options{InsecureSkipVerify: true}, true},
		{"server name", goodURL, Options{CAFile: goodFile, ServerName: "localhost"}, true},
		{"wrong server name", goodURL, Options{CAFile: goodFile, ServerName: "other.test"}, false},
		{"expired", oldURL, Options{CAFile: oldFile}, false},
		{"TLS 1.1", weakURL, Options{InsecureSkipVerify: true}, false},
		{"client certificate", mutualURL, Options{CAFile: goodFile, CertFile: goodFile}, true},
		{"plain HTTP", strings.Replace(plain.url(), "http", "https", 1), Options{}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			e := endpoint(t, pools(t, Settings{}), tc.url, tc.o)
			for range 3 {
				_, body, err := fetch(e, post(strings.Repeat("x", 50<<10)))
				if tc.ok {
					if err != nil || body != "hello" || e.pool.idling() != 1 {
						t.Fatalf("got %q, %v, %d idle", body, err, e.pool.idling())
					}
				} else if f := failure(t, err); f.Phase != PhaseTLS || f.Reached || f.Timeout {
					t.Fatalf("got %+v", f)
				}
			}
		})
	}
}

// Under TLS too, what comes behind an answer never becomes the next one, and
// an end while idling is seen.
func TestTLSIdle(t *testing.T) {
	cert, file := certificate(t, time.Now().Add(24*time.Hour))
	for name, f := range map[string]func(int, net.Conn){
		"behind": always(okAnswer + okAnswer), "closed": once(okAnswer),
	} {
		s, url := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, f)
		e := endpoint(t, pools(t, Settings{}), url, Options{CAFile: file})
		for i := range 3 {
			r, err := e.Do(post("{}"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := r.ReadAll(nil, 10, nil); string(b) != "hello" || err != nil || s.accepted() != i+1 {
				t.Errorf("%s: got %q, %v over %d connections", name, b, err, s.accepted())
			}
			r.Close()
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, l, always(okAnswer))
	e := endpoint(t, pools(t, Settings{}), "http://provider.test/v1", Options{UnixSocket: path})
	for range 3 {
		if _, body, err := fetch(e, post("{}")); body != "hello" || err != nil {
			t.Fatalf("got %q, %v", body, err)
		}
	}
	if s.accepted() != 1 || e.Host() != "provider.test" {
		t.Errorf("%d connections, host %s", s.accepted(), e.Host())
	}
}

func TestIsolation(t *testing.T) {
	s := serve(t, nil, always(okAnswer))
	p := pools(t, Settings{})
	a := endpoint(t, p, s.url()+"/a", Options{Credential: "sk-a"})
	same := endpoint(t, p, s.url()+"/b", Options{Credential: "sk-a"})
	other := endpoint(t, p, s.url()+"/a", Options{Credential: "sk-b"})
	for i, step := range []struct {
		e    *Endpoint
		want int
	}{{a, 1}, {same, 1}, {other, 2}, {a, 2}, {other, 2}} {
		if _, _, err := fetch(step.e, post("{}")); err != nil {
			t.Fatal(err)
		}
		if s.accepted() != step.want {
			t.Errorf("step %d: %d connections, want %d", i, s.accepted(), step.want)
		}
	}
}

// forwardProxy tunnels and forwards to where it is told and notes the heads.
func forwardProxy(t *testing.T, status string, heads chan<- string) *server {
	return serve(t, nil, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			head, _, err := readRequest(r)
			if err != nil {
				return
			}
			heads <- head
			target, tunnel := strings.CutPrefix(strings.SplitN(head, " HTTP/1.1", 2)[0], "CONNECT ")
			if !tunnel {
				_, _ = io.WriteString(c, okAnswer)
				continue
			}
			if status != "200 OK" {
				_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer to.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n")
			go func() { _, _ = io.Copy(to, r); to.Close() }()
			_, _ = io.Copy(c, to)
			return
		}
	})
}

func TestProxy(t *testing.T) {
	cert, file := certificate(t, time.Now().Add(24*time.Hour))
	_, secure := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, always(okAnswer))
	heads := make(chan string, 8)
	via := forwardProxy(t, "200 OK", heads)
	withUser := strings.Replace(via.url(), "http://", "http://me:s3cret@", 1)
	const auth = "Proxy-Authorization: Basic bWU6czNjcmV0\r\n"
	check := func(e *Endpoint, line, also string) {
		t.Helper()
		if _, body, err := fetch(e, post("{}")); body != "hello" || err != nil {
			t.Fatalf("got %q, %v", body, err)
		}
		if head := <-heads; !strings.HasPrefix(head, line) || !strings.Contains(head, also) {
			t.Errorf("the proxy got %q", head)
		}
	}
	authority := strings.TrimPrefix(secure, "https://")
	check(endpoint(t, pools(t, Settings{}), secure, Options{CAFile: file, Proxy: withUser}), "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n", auth)
	check(endpoint(t, pools(t, Settings{}), "http://provider.test:81/v1", Options{Proxy: withUser}), "POST http://provider.test:81/v1/chat/completions HTTP/1.1\r\nHost: provider.test:81\r\n", auth)
	check(endpoint(t, pools(t, Settings{HTTPProxy: via.url()}), "http://provider.test/v1", Options{}), "POST http://provider.test/v1/chat/completions HTTP/1.1\r\n", "")
	direct := endpoint(t, pools(t, Settings{HTTPSProxy: via.url(), NoProxy: "*"}), secure, Options{CAFile: file})
	if _, body, err := fetch(direct, post("{}")); body != "hello" || err != nil || len(heads) != 0 {
		t.Errorf("NO_PROXY: %q, %v", body, err)
	}
	refusing := forwardProxy(t, "407 Proxy Authentication Required", heads)
	_, _, err := fetch(endpoint(t, pools(t, Settings{}), secure, Options{Proxy: strings.Replace(refusing.url(), "http://", "http://me:s3cret@", 1)}), post("{}"))
	if f := failure(t, err); f.Phase != PhaseDial || !strings.Contains(f.Error(), "407") || strings.Contains(f.Error(), "s3cret") {
		t.Errorf("refused: %v", f)
	}
}

func TestSecureProxyIsVerified(t *testing.T) {
	cert, _ := certificate(t, time.Now().Add(24*time.Hour))
	_, url := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, always(okAnswer))
	_, _, err := fetch(endpoint(t, pools(t, Settings{}), "http://provider.test", Options{Proxy: url}), post("{}"))
	if f := failure(t, err); f.Phase != PhaseDial || !strings.Contains(f.Error(), "handshake with the proxy") {
		t.Errorf("got %v", f)
	}
}

func TestBypass(t *testing.T) {
	for _, tc := range []struct {
		list, host, port string
		want             bool
	}{
		{"", "api.test", "443", false},
		{"", "localhost", "80", true},
		{"", "127.0.0.5", "80", true},
		{"", "::1", "80", true},
		{"*", "api.test", "443", true},
		{"api.test", "api.test", "443", true},
		{"api.test", "x.api.test", "443", true},
		{"api.test", "xapi.test", "443", false},
		{".test", "api.test", "443", true},
		{"*.test", "api.test", "443", true},
		{"a, api.test:8443", "api.test", "443", false},
		{"a, API.test:443", "api.test", "443", true},
		{"10.0.0.0/8", "10.2.3.4", "80", true},
		{"10.0.0.0/8", "11.2.3.4", "80", false},
		{"10.1.1.1", "10.1.1.1", "80", true},
		{"[2001:db8::1]:443", "2001:db8::1", "443", true},
		{"2001:db8::/32", "2001:db8::9", "443", true},
	} {
		if got := bypass(tc.list, tc.host, tc.port); got != tc.want {
			t.Errorf("bypass(%q, %s, %s) = %v", tc.list, tc.host, tc.port, got)
		}
	}
}

func TestEndpointProblems(t *testing.T) {
	p := pools(t, Settings{})
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		url string
		o   Options
	}{
		{"ftp://x", Options{}},
		{"http://", Options{}},
		{"http://u:s3cret@x/", Options{}},
		{"http://x/?key=s3cret", Options{}},
		{"http://a b/s3cret", Options{}},
		{"http://x", Options{Proxy: "socks5://u:s3cret@y"}},
		{"http://x", Options{Proxy: "http://u:s3cret@%%"}},
		{"https://x", Options{CAFile: empty}},
		{"https://x", Options{CAFile: "/does/not/exist"}},
		{"https://x", Options{KeyFile: empty}},
		{"https://x", Options{CertFile: empty}},
	} {
		_, err := p.Endpoint(tc.url, tc.o)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", tc.url, err)
		}
	}
}

// names is an injected name server.
type names struct {
	asked atomic.Int64
	addrs atomic.Pointer[[]netip.Addr]
}

func (n *names) set(list ...string) {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	n.addrs.Store(&addrs)
}

func (n *names) lookup(context.Context, string) ([]netip.Addr, error) {
	n.asked.Add(1)
	if a := *n.addrs.Load(); a != nil {
		return a, nil
	}
	return nil, errors.New("server failure")
}

func TestResolver(t *testing.T) {
	var n names
	var clock int64 = 1
	r := newResolver(n.lookup, 25*time.Second, func() int64 { return clock })
	defer r.close()
	check := func(want string, asked int64) {
		t.Helper()
		a, err := r.addresses(t.Context(), "provider.test")
		if got := ""; want == "" {
			if err == nil {
				t.Errorf("got %v %s", a, got)
			}
		} else if err != nil || a[0].String() != want {
			t.Errorf("got %v, %v; want %s", a, err, want)
		}
		if n.asked.Load() != asked {
			t.Errorf("asked %d times, want %d", n.asked.Load(), asked)
		}
	}
	n.set()
	check("", 1)
	check("", 1) // failing is remembered for a second
	clock += int64(2 * time.Second)
	n.set("10.0.0.1")
	check("10.0.0.1", 2)
	clock += int64(24 * time.Second)
	n.set("10.0.0.2")
	check("10.0.0.1", 2) // fresh
	clock += int64(2 * time.Second)
	check("10.0.0.2", 3) // asked again
	if r.vanished("provider.test", netip.MustParseAddr("10.0.0.1")) {
		t.Error("retired after one answer")
	}
	clock += int64(26 * time.Second)
	check("10.0.0.2", 4)
	if !r.vanished("provider.test", netip.MustParseAddr("10.0.0.1")) || r.vanished("provider.test", netip.MustParseAddr("10.0.0.2")) {
		t.Error("the address that is gone is not retired, or the other one is")
	}
	n.set()
	clock += int64(9 * time.Minute)
	check("10.0.0.2", 5) // stale
	clock += int64(2 * time.Minute)
	check("", 6) // too stale
}

func TestResolverFliesOnce(t *testing.T) {
	gate := make(chan struct{})
	var asked atomic.Int64
	p := pools(t, Settings{Lookup: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		asked.Add(1)
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	s := serve(t, nil, always(okAnswer))
	_, port, _ := net.SplitHostPort(s.l.Addr().String())
	e := endpoint(t, p, "http://provider.test:"+port, Options{})
	done := make(chan error, 20)
	for range 20 {
		go func() { done <- run(e, post("{}"), nil) }()
	}
	var h Handle
	cancelled := make(chan error, 1)
	go func() { cancelled <- run(e, post("{}"), &h) }()
	time.Sleep(50 * time.Millisecond)
	h.Cancel(nil)
	if f := failure(t, <-cancelled); !f.Canceled || f.Phase != PhaseDial {
		t.Errorf("cancelled during the look-up: %+v", f)
	}
	close(gate)
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// A dead address costs a quarter of a second at most, not its timeout.
func TestRace(t *testing.T) {
	s := serve(t, nil, always(okAnswer))
	_, port, _ := net.SplitHostPort(s.l.Addr().String())
	var n names
	n.set("::1", "192.0.2.1", "127.0.0.1") // refused or unreachable, then ours
	p := pools(t, Settings{Lookup: n.lookup})
	start := time.Now()
	if _, body, err := fetch(endpoint(t, p, "http://provider.test:"+port, Options{}), post("{}")); body != "hello" || err != nil {
		t.Errorf("got %q, %v", body, err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	n.set("::1")
	_, _, err := fetch(endpoint(t, pools(t, Settings{Lookup: n.lookup}), "http://provider.test:"+port, Options{ForceIPv4: true}), post("{}"))
	if f := failure(t, err); f.Phase != PhaseDial || !strings.Contains(f.Error(), "no IPv4") {
		t.Errorf("got %v", f)
	}
}

func TestSocketOptions(t *testing.T) {
	s := serve(t, nil, always(okAnswer))
	e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
	if err := run(e, post("{}"), nil); err != nil {
		t.Fatal(err)
	}
	conn, ok := e.pool.idle[0].sock.Conn.(syscall.Conn)
	if !ok {
		t.Fatal("the connection has no descriptor")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, name, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000},
	} {
		err := raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
				t.Errorf("option %d is %d (%v), want %d", o.name, got, err, o.want)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
