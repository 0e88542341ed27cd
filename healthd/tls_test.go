package main

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/internal/certificate/certtest"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// TestTLS: the port speaks TLS and nothing else, from the first certificate on
// that can be read, and shows a renewed one after a reload.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	s := newStage(t)
	s.environ = map[string]string{envHealthTLS: "true", "SSL_CERTFILE_PATH": cert, "SSL_KEYFILE_PATH": key}
	s.run()
	serial := func(a *certtest.Authority) int64 {
		client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS12}}}
		resp, err := client.Get(strings.Replace(s.base, "http:", "https:", 1) + "/health/readiness")
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	refused := func(when string) {
		t.Helper()
		if code, body := s.ask("GET", "/health/liveliness"); code != 400 || strings.Contains(body, "alive") {
			t.Errorf("plain HTTP %s: %d %s", when, code, body)
		}
	}
	a := certtest.New(t)
	if n := serial(a); n != 0 {
		t.Errorf("serial number %d before there is a certificate", n)
	}
	refused("before there is a certificate")
	a.Issue(t, 7, -time.Hour, time.Hour, cert, key)
	s.until("the certificate to be read", func() bool { return serial(a) == 7 })
	refused("with a certificate")

	a.Issue(t, 8, -time.Hour, 2*time.Hour, cert, key)
	time.Sleep(1200 * time.Millisecond) // a look at the table goes by
	if n := serial(a); n != 7 {
		t.Errorf("serial number %d without a reload", n)
	}
	s.table.Header().ConfigApplied.Add(1)
	s.until("the renewed certificate", func() bool { return serial(a) == 8 })

	var out bytes.Buffer
	p := &boot.Process{Stdout: &out}
	https := strings.Replace(s.base, "http:", "https:", 1)
	if err := probe(p, https+"/health/liveliness", true, time.Second); err != nil {
		t.Errorf("probe of its own port: %v", err)
	}
	if err := probe(p, https+"/health/liveliness", false, time.Second); err == nil {
		t.Error("a probe of another port takes any certificate")
	}
	out.Reset()
	if err := probe(p, https+"/metrics", true, time.Second); err != nil || !strings.Contains(out.String(), "\nsluice_tls_certificate_expiry_timestamp_seconds ") {
		t.Errorf("the end of its validity is not told: %v", err)
	}
	s.stop()
}

// TestHealthTLSWithoutCertificate: TLS that was asked for and cannot be is no
// reason to serve without.
func TestHealthTLSWithoutCertificate(t *testing.T) {
	var out bytes.Buffer
	p := &boot.Process{
		Program: "healthd", Stdout: &out, Stderr: &out, Environ: env.Parse([]byte(envHealthTLS + "=true")),
		Args: []string{"--host", "127.0.0.1", "--port", "0", "--state_dir", t.TempDir()},
	}
	if code := boot.Report(p, run(p)); code != fleet.ExitConfig || !strings.Contains(out.String(), "name its files in SSL_CERTFILE_PATH") {
		t.Errorf("%d %s", code, out.String())
	}
}

func TestOwnURL(t *testing.T) {
	for given, want := range map[string]string{
		"":                             "http://127.0.0.1:4001",
		"HOST=0.0.0.0":                 "http://127.0.0.1:4001",
		"HOST=::":                      "http://[::1]:4001",
		"HOST=[::1]":                   "http://[::1]:4001",
		"HOST=10.1.2.3":                "http://10.1.2.3:4001",
		"HOST=unix:/x":                 "http://127.0.0.1:4001",
		envHealthTLS + "=true":         "https://127.0.0.1:4001",
		envHealthTLS + "=false":        "http://127.0.0.1:4001",
		envHealthTLS + "=1\x00HOST=::": "https://[::1]:4001",
	} {
		if got, err := ownURL(env.Parse([]byte(given)), 4001); err != nil || got != want+"/health/liveliness" {
			t.Errorf("%q: %s, %v", given, got, err)
		}
	}
	if _, err := ownURL(env.Parse([]byte(envHealthTLS+"=perhaps")), 4001); err == nil {
		t.Error("no error")
	}
}
