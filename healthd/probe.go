package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// ownURL is where the healthd of this environment answers.
func ownURL(e *env.Environ, port int) (string, error) {
	secure, err := e.Bool(envHealthTLS, false)
	if err != nil {
		return "", err
	}
	scheme, host := "http://", strings.Trim(e.Get("HOST"), "[]")
	if secure {
		scheme = "https://"
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil, ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case ip.IsUnspecified():
		host = "::1"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(port)) + "/health/liveliness", nil
}

// probe asks one URL, for containers whose image has no other client. With anyone
// it takes whatever certificate is shown.
func probe(p *boot.Process, url string, anyone bool, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return boot.Exit(fleet.ExitUsage, fmt.Errorf("url %q: %w", url, err))
	}
	client := http.Client{Transport: &http.Transport{ // no proxy: it is this machine
		DisableKeepAlives: true,
		// The certificate of our own port is for another name than this address, and
		// what is asked is whether somebody lives, not who.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: anyone}, //nolint:gosec // of our own port, or as asked, and nothing is sent
	}}
	resp, err := client.Do(req)
	if err != nil {
		return boot.Exit(fleet.ExitFailed, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("read the answer: %w", err))
	}
	if resp.StatusCode != http.StatusOK {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("answered %d: %s", resp.StatusCode, body))
	}
	_, err = fmt.Fprintf(p.Stdout, "%s\n", body)
	return err
}
