package server

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/proxy/gateway"
	"sluice/supervisor/fleet"
)

// writePair makes a self-signed certificate with a serial number.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
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
