package server

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/certificate/certtest"
	"sluice/internal/logtest"
	"sluice/proxy/gateway"
	"sluice/supervisor/fleet"
)

// writePair makes a certificate with a serial number.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certtest.New(t).Issue(t, serial, -time.Hour, time.Hour, cert, key)
	return cert, key
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	b := start(t, func(c *Config, l *fleet.Listener) { c.CertFile, c.KeyFile, l.TLS = cert, key, true })
	open := func() (*tls.Conn, *bufio.Reader) {
		t.Helper()
		nc, err := tls.Dial("tcp", b.addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // self-signed by the test
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		return nc, bufio.NewReader(nc)
	}
	nc, r := open()
	for range 2 { // the second time after the connection was parked
		_, _ = io.WriteString(nc, chat("mock", ""))
		if resp, _ := read(t, r); resp.StatusCode != 200 || resp.Close {
			t.Fatal(resp.Status)
		}
		time.Sleep(parkAfter + 300*time.Millisecond)
	}
	_, _ = io.WriteString(nc, chat("hang", ""))
	time.Sleep(50 * time.Millisecond)
	_ = nc.Close()
	select {
	case c := <-b.g.causes:
		if c != gateway.CauseClientGone {
			t.Error(c)
		}
	case <-time.After(2 * time.Second):
		t.Error("hang-up not noticed")
	}

	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadTLS(); err == nil {
		t.Error("a broken certificate was accepted")
	}
	writePair(t, dir, 2)
	use, err := b.ReadTLS()
	if err != nil {
		t.Fatal(err)
	}
	use()
	nc, r = open()
	if n := nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); n != 2 {
		t.Errorf("serial %d", n)
	}
	_, _ = io.WriteString(nc, chat("stream", ""))
	if resp, body := read(t, r); resp.StatusCode != 200 || len(body) < 20 {
		t.Error(resp.Status, body)
	}
	_ = nc.Close()
}

// TestTLSClients: who shows no certificate of the named authorities is not let
// in, and the log says so, once a second at most.
func TestTLSClients(t *testing.T) {
	dir := t.TempDir()
	ours, others := certtest.New(t), certtest.New(t)
	cert, key := writePair(t, dir, 1)
	ca := filepath.Join(dir, "ca.pem")
	ours.Write(t, ca)
	var log logtest.Log
	b := start(t, func(c *Config, l *fleet.Listener) {
		c.CertFile, c.KeyFile, c.ClientCAFile, l.TLS = cert, key, ca, true
		c.Log = log.Logger()
	})
	ask := func(pairs []tls.Certificate, version uint16) (int, error) {
		nc, err := tls.Dial("tcp", b.addr, &tls.Config{InsecureSkipVerify: true, Certificates: pairs, MinVersion: version, MaxVersion: version}) //nolint:gosec // clients are what is tried here
		if err != nil {
			return 0, err
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(nc, chat("mock", "")); err != nil {
			return 0, err
		}
		var one [1]byte
		if _, err := io.ReadFull(nc, one[:]); err != nil {
			return 0, err
		}
		return 200, nil
	}
	pairOf := func(a *certtest.Authority) []tls.Certificate {
		c, k := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
		a.Issue(t, 2, -time.Hour, time.Hour, c, k)
		pair, err := tls.LoadX509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if code, err := ask(pairOf(ours), version); code != 200 {
			t.Errorf("%x: a good client gets %d, %v", version, code, err)
		}
		for name, pairs := range map[string][]tls.Certificate{"no certificate": nil, "one of another authority": pairOf(others)} {
			// The alert arrives, and no reset in its place.
			if code, err := ask(pairs, version); code != 0 || err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
				t.Errorf("%x: a client with %s gets %d, %v", version, name, code, err)
			}
		}
	}
	if said := log.String(); strings.Count(said, "TLS client refused") != 1 || !strings.Contains(said, "client=127.0.0.1") {
		t.Errorf("log: %s", said)
	}
	if n := b.g.calls.Load(); n != 2 {
		t.Errorf("%d requests were let in, want 2", n)
	}
}

// TestPlainToTLS: who speaks plain HTTP to a TLS listener is told so, and never
// served.
func TestPlainToTLS(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), 1)
	b := start(t, func(c *Config, l *fleet.Listener) { c.CertFile, c.KeyFile, l.TLS = cert, key, true })
	for _, send := range []string{chat("mock", ""), "GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n"} {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(nc, send)
		if resp, body := read(t, bufio.NewReader(nc)); resp.StatusCode != 400 || !strings.Contains(body, "https://") {
			t.Errorf("%.10q: %s %q", send, resp.Status, body)
		}
		_ = nc.Close()
	}
	if n := b.g.calls.Load(); n != 0 {
		t.Errorf("%d requests were served", n)
	}
}
