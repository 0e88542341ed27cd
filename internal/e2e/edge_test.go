//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// edge is an appliance that listens in every way there is: TLS on its main
// port, plain, IPv6, unix socket and PROXY protocol on others.
type edge struct {
	*Appliance
	p       *fakeprovider.Provider
	dir     string
	plain   string // host:port
	proxied string // likewise, with the PROXY protocol
	roots   *x509.CertPool
	fronts  map[string]func() (net.Conn, error)
}

const edgeConfig = `model_list:
  - model_name: ok
    litellm_params: {model: openai/gpt-4o, api_key: sk-upstream, api_base: %q}
  - model_name: slow
    litellm_params: {model: openai/gpt-4o, api_key: sk-upstream, api_base: %q}
general_settings: {master_key: %s}
`

func bootEdge(t *testing.T, env map[string]string) *edge {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &edge{p: fakeprovider.Start(t), dir: dir, plain: "127.0.0.1:" + strconv.Itoa(freePort(t))}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	e.roots = certificate(t, cert, key)
	six := "[::1]:" + strconv.Itoa(freePort(t))
	e.proxied = "127.0.0.1:" + strconv.Itoa(freePort(t))
	socket := filepath.Join(dir, "gateway.sock")
	e.Appliance = boot(t, Options{
		Config: fmt.Sprintf(edgeConfig, e.p.URL(""), e.p.URL("slow,for=300ms"), MasterKey),
		Env:    env,
		Args: []string{
			"--ssl_certfile_path", cert, "--ssl_keyfile_path", key,
			"--listen", "plain=tcp://" + e.plain, "--listen", "six=tcp://" + six, "--listen", "local=unix://" + socket,
			"--listen", "balanced=tcp://" + e.proxied + "?proxy=1&trusted=127.0.0.0/8",
		},
	})
	plain := func(network, addr, first string) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			nc, err := net.DialTimeout(network, addr, 5*time.Second)
			if err == nil && first != "" {
				_, err = io.WriteString(nc, first)
			}
			return nc, err
		}
	}
	e.fronts = map[string]func() (net.Conn, error){
		"plain": plain("tcp", e.plain, ""), "ipv6": plain("tcp", six, ""), "unix": plain("unix", socket, ""),
		"proxy v1": plain("tcp", e.proxied, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"),
		"proxy v2": plain("tcp", e.proxied, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\xc0\x00\x02\x01\x12\x67\x01\xbb"),
		"tls": func() (net.Conn, error) {
			return tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", e.Addr(), &tls.Config{RootCAs: e.roots, NextProtos: []string{"http/1.1"}})
		},
	}
	return e
}

// certificate writes a pair for the loopback addresses.
func certificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sluice test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

const nginxConfig = `worker_processes 1;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.log;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  client_max_body_size 64m;
  large_client_header_buffers 8 64k;
  ignore_invalid_headers off;
  underscores_in_headers on;
  upstream gateway { server %[3]s; keepalive 8; }
  server {
    listen 127.0.0.1:%[2]d;
    location / {
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
      proxy_buffering off;
    }
  }
}
`

const haproxyConfig = `global
  tune.bufsize 65536
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout http-request 3s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:%d
  default_backend gateway
backend gateway
  server one %s
`

// balance puts nginx and HAProxy before the plain listener, both with kept
// connections that many clients share.
func (e *edge) balance(t *testing.T) {
	t.Helper()
	for _, b := range []struct {
		name, config string
		args         func(file string) []string
	}{
		{"nginx", nginxConfig, func(file string) []string {
			return []string{"-p", e.dir, "-c", file, "-e", filepath.Join(e.dir, "nginx.log"), "-g", "daemon off;"}
		}},
		{"haproxy", haproxyConfig, func(file string) []string { return []string{"-db", "-f", file} }},
	} {
		port := freePort(t)
		text := fmt.Sprintf(b.config, port, e.plain)
		if b.name == "nginx" {
			text = fmt.Sprintf(b.config, e.dir, port, e.plain)
			if os.Geteuid() == 0 {
				text = "user root;\n" + text
			}
		}
		file := filepath.Join(e.dir, b.name+".conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, b.name, b.args(file)...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatalf("%s is needed (.ci/needs bench installs it): %v", b.name, err)
		}
		t.Cleanup(func() {
			cancel()
			_ = cmd.Wait()
		})
		addr := "127.0.0.1:" + strconv.Itoa(port)
		e.fronts[b.name] = func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 5*time.Second) }
		deadline := time.Now().Add(10 * time.Second)
		for {
			nc, err := e.fronts[b.name]()
			if err == nil {
				_ = nc.Close()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not listen: %v\n%s", b.name, err, said.String())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// reply is one answer on a raw connection.
type reply struct {
	status int
	header http.Header
	body   string
}

// replies reads answers until the connection ends, or until n have come, or
// until it is quiet for that long; n 0 is no bound. ended says that the server
// closed in order.
func replies(nc net.Conn, r *bufio.Reader, n int, quiet time.Duration) (list []reply, ended bool) {
	for n == 0 || len(list) < n {
		_ = nc.SetReadDeadline(time.Now().Add(quiet))
		if _, err := r.Peek(1); err != nil {
			return list, err == io.EOF
		}
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return list, false
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		list = append(list, reply{resp.StatusCode, resp.Header, string(body)})
		if err != nil {
			return list, false
		}
	}
	return list, false
}

// TestListeners: each listener answers, and the log has the client's address,
// behind a PROXY header the one that it tells.
func TestListeners(t *testing.T) {
	e := bootEdge(t, nil)
	for name, want := range map[string]string{
		"plain": "127.0.0.1", "tls": "127.0.0.1", "ipv6": "::1", "unix": "unix", "proxy v1": "192.0.2.7", "proxy v2": "192.0.2.8",
	} {
		nc, err := e.fronts[name]()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body := `{"model":"ok","messages":[{"role":"user","content":"hello"}]}`
		_, _ = fmt.Fprintf(nc, "%sX-Forwarded-For: 198.51.100.9\r\nContent-Length: %d\r\n\r\n%s", rawPost, len(body), body)
		got, _ := replies(nc, bufio.NewReader(nc), 1, 10*time.Second)
		_ = nc.Close()
		if len(got) != 1 || got[0].status != 200 {
			t.Fatalf("%s: %+v", name, got)
		}
		id, found := got[0].header.Get("x-request-id"), ""
		for deadline := time.Now().Add(5 * time.Second); found == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			for l := range strings.Lines(e.Log()) {
				if strings.Contains(l, id) {
					found = l
				}
			}
		}
		if !strings.Contains(strings.TrimSpace(found)+" ", " client="+want+" ") {
			t.Errorf("%s: the log does not name client %s: %s", name, want, found)
		}
	}
	// Without the PROXY header that was agreed on there is no answer.
	nc, err := net.DialTimeout("tcp", e.proxied, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, rawGet+"\r\n")
	if got, _ := replies(nc, bufio.NewReader(nc), 0, 15*time.Second); len(got) != 0 {
		t.Errorf("answered without a PROXY header: %+v", got)
	}
}
