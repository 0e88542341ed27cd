package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// forwarder is a forward proxy on the way to an endpoint.
type forwarder struct {
	host, port string
	auth       string // value of Proxy-Authorization; "" for none
	tls        *tls.Config
}

// parseForwarder reads scheme://user:password@host:port or host:port. Its
// errors hold nothing of what was read, for it may be a password.
func parseForwarder(s string) (*forwarder, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("the proxy's address is not a URL")
	}
	f := &forwarder{host: u.Hostname(), port: u.Port()}
	switch u.Scheme {
	case "http":
		f.port = orElse(f.port, "80")
	case "https":
		f.port = orElse(f.port, "443")
		f.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.host, NextProtos: []string{"http/1.1"}}
	default:
		return nil, errors.New("the proxy's address must begin with http:// or https://")
	}
	if f.host == "" || !validHost(f.host) {
		return nil, errors.New("the proxy's address has no valid host")
	}
	if u.User != nil {
		password, _ := u.User.Password()
		f.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return f, nil
}

// proxyDialer reaches its target through a forward proxy by CONNECT (RFC 9110
// 9.3.6), or, for plain HTTP, connects to the proxy alone.
type proxyDialer struct {
	next    dialer
	via     *forwarder
	connect bool
}

func (d *proxyDialer) dial(ctx context.Context, host, port string) (link, error) {
	l, err := d.next.dial(ctx, d.via.host, d.via.port)
	if err != nil {
		return link{}, fmt.Errorf("reach the proxy: %w", err)
	}
	if err := d.agree(ctx, &l, net.JoinHostPort(host, port)); err != nil {
		_ = l.sock.Close()
		return link{}, err
	}
	return l, nil
}

// agree makes the proxy's TLS and its tunnel to target.
func (d *proxyDialer) agree(ctx context.Context, l *link, target string) error {
	stop := context.AfterFunc(ctx, func() { _ = l.sock.SetDeadline(longAgo) })
	defer stop()
	if d.via.tls != nil {
		c := tls.Client(l.conn, d.via.tls)
		if err := c.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("handshake with the proxy: %w", err)
		}
		l.conn, l.sealed = c, true
	}
	if d.connect {
		if err := d.tunnel(l.conn, target); err != nil {
			return err
		}
	}
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// tunnel asks for the tunnel and reads the consent byte by byte, so that
// nothing of what comes through the tunnel is taken with it.
func (d *proxyDialer) tunnel(c net.Conn, target string) error {
	var b bytes.Buffer
	b.WriteString("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n")
	if d.via.auth != "" {
		b.WriteString("Proxy-Authorization: " + d.via.auth + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := c.Write(b.Bytes()); err != nil {
		return fmt.Errorf("ask the proxy for a tunnel: %w", err)
	}
	r := bufio.NewReaderSize(oneByte{c}, 16)
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		x, err := r.ReadByte()
		if err != nil {
			return fmt.Errorf("read the proxy's consent: %w", err)
		}
		if head = append(head, x); len(head) > maxHeader {
			return fmt.Errorf("%w: the proxy's header is larger than %d bytes", ErrProtocol, maxHeader)
		}
	}
	f, err := scanHeader(head, false, nil)
	if err != nil {
		return fmt.Errorf("the proxy's consent: %w", err)
	}
	if f.status/100 != 2 {
		return fmt.Errorf("the proxy refused the tunnel with status %d", f.status)
	}
	return nil
}

// oneByte never reads further than the next byte.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// bypass reports whether the list of a NO_PROXY variable names host or port:
// "*", names with their sub-domains, addresses, prefixes, each with an
// optional port. Loopback is always named.
func bypass(list, host, port string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	addr, err := netip.ParseAddr(host)
	isAddr := err == nil
	if host == "localhost" || isAddr && addr.IsLoopback() {
		return true
	}
	for item := range strings.FieldsFuncSeq(list, func(c rune) bool { return c == ',' || c == ' ' }) {
		item = strings.ToLower(item)
		if item == "*" {
			return true
		}
		if p, err := netip.ParsePrefix(item); err == nil {
			if isAddr && p.Contains(addr.Unmap()) {
				return true
			}
			continue
		}
		if h, p, err := net.SplitHostPort(item); err == nil {
			if p != port {
				continue
			}
			item = h
		}
		if a, err := netip.ParseAddr(strings.Trim(item, "[]")); err == nil {
			if isAddr && a.Unmap() == addr.Unmap() {
				return true
			}
			continue
		}
		item = strings.TrimPrefix(strings.TrimPrefix(item, "*"), ".")
		if item != "" && (host == item || strings.HasSuffix(host, "."+item)) {
			return true
		}
	}
	return false
}
