package certificate_test

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/certificate"
	"sluice/internal/certificate/certtest"
)

// visit shakes hands with a server of the configuration and returns the serial
// number of what it shows. The error is that of the client's first read: with
// TLS 1.3 it is there that a client learns that it was refused.
func visit(t *testing.T, k *certificate.Kept, client *tls.Config) (int64, error) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", k.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		nc, err := ln.Accept()
		if err == nil {
			_, _ = io.WriteString(nc, "x")
			_ = nc.Close()
		}
	}()
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", ln.Addr().String(), client)
	if err != nil {
		return 0, err
	}
	defer func() { _ = nc.Close() }()
	_, err = io.ReadFull(nc, make([]byte, 1))
	return nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), err
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	a := certtest.New(t)
	a.Issue(t, 1, -time.Hour, time.Hour, at("cert"), at("key"))
	a.Issue(t, 2, -time.Hour, time.Hour, at("cert2"), at("key2"))
	if err := os.WriteFile(at("text"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]certificate.Files{
		"there is no file":           {Cert: at("none"), Key: at("key")},
		"TLS key: there is no file":  {Cert: at("cert"), Key: at("none")},
		"the key that it was made":   {Cert: at("cert"), Key: at("key2")},
		"TLS certificate " + dir:     {Cert: at("text"), Key: at("key")},
		"clients: there is no file":  {Cert: at("cert"), Key: at("key"), ClientCA: at("none")},
		"text holds no certificate:": {Cert: at("cert"), Key: at("key"), ClientCA: at("text")},
		"is a directory":             {Cert: dir, Key: at("key")},
	} {
		if _, err := certificate.Read(f); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want %q", f, err, want)
		}
	}
}

func TestAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	a := certtest.New(t)
	a.Issue(t, 1, -2*time.Hour, -time.Hour, cert, key)
	k, err := certificate.Read(certificate.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if said := k.Doubt(time.Now()); !strings.Contains(said, "has expired on") {
		t.Errorf("of an expired one it says %q", said)
	}
	client := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // what is shown is compared
	again := func(want int64, refused string) {
		t.Helper()
		use, err := k.Again(time.Now())
		switch {
		case refused != "" && (err == nil || !strings.Contains(err.Error(), refused)):
			t.Errorf("read again: %v, want %q", err, refused)
		case refused == "" && err != nil:
			t.Fatal(err)
		case err == nil:
			use()
		}
		if serial, err := visit(t, k, client); serial != want || err != nil {
			t.Errorf("serial number %d, %v; want %d", serial, err, want)
		}
	}
	a.Issue(t, 2, -2*time.Hour, -time.Minute, cert, key)
	again(2, "") // no worse than what was there
	a.Issue(t, 3, -time.Hour, time.Hour, cert, key)
	again(3, "")
	if said := k.Doubt(time.Now()); said != "" || time.Until(k.Until()) < 50*time.Minute {
		t.Errorf("of a good one it says %q, until %v", said, k.Until())
	}
	a.Issue(t, 4, -time.Hour, -time.Minute, cert, key)
	again(3, "has expired on")
	a.Issue(t, 5, time.Hour, 2*time.Hour, cert, key)
	again(3, "begins on")
	a.Issue(t, 6, -time.Hour, time.Hour, cert, filepath.Join(dir, "other"))
	again(3, "the key that it was made for")
}

func TestClients(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	servers, clients, others := certtest.New(t), certtest.New(t), certtest.New(t)
	servers.Issue(t, 1, -time.Hour, time.Hour, at("cert"), at("key"))
	clients.Write(t, at("ca"))
	k, err := certificate.Read(certificate.Files{Cert: at("cert"), Key: at("key"), ClientCA: at("ca")})
	if err != nil {
		t.Fatal(err)
	}
	pairOf := func(a *certtest.Authority, from, to time.Duration) []tls.Certificate {
		a.Issue(t, 9, from, to, at("c"), at("k"))
		pair, err := tls.LoadX509KeyPair(at("c"), at("k"))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	good := pairOf(clients, -time.Hour, time.Hour)
	for _, c := range []struct {
		name   string
		pairs  []tls.Certificate
		passes bool
	}{
		{"good", good, true},
		{"none", nil, false},
		{"of another authority", pairOf(others, -time.Hour, time.Hour), false},
		{"expired", pairOf(clients, -2*time.Hour, -time.Hour), false},
	} {
		for _, most := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			_, err := visit(t, k, &tls.Config{InsecureSkipVerify: true, Certificates: c.pairs, MaxVersion: most}) //nolint:gosec // the server is not in question
			if (err == nil) != c.passes {
				t.Errorf("client certificate %s, version %x: %v", c.name, most, err)
			}
		}
	}
	others.Write(t, at("ca")) // and the authority is replaced while it serves
	use, err := k.Again(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	use()
	if _, err := visit(t, k, &tls.Config{InsecureSkipVerify: true, Certificates: good}); err == nil { //nolint:gosec // as above
		t.Error("a client of the authority that was taken away is let in")
	}
}
