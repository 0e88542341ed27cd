package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/internal/certificate"
)

// readCertificate reads the files of the TLS listeners, where there are any.
func (s *Server) readCertificate() error {
	if s.c.CertFile == "" {
		return nil
	}
	kept, err := certificate.Read(certificate.Files{Cert: s.c.CertFile, Key: s.c.KeyFile, ClientCA: s.c.ClientCAFile})
	if err != nil {
		return err
	}
	s.certs, s.tls = kept, kept.Config()
	return nil
}

// ReadTLS reads the certificate files again and returns what puts them in
// force. On an error, and until use is called, the old pair stays.
func (s *Server) ReadTLS() (use func(), err error) {
	if s.certs == nil {
		return func() {}, nil
	}
	return s.certs.Again(time.Now())
}

// httpsNeeded answers who speaks plain HTTP to a TLS listener.
const httpsNeeded = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 38\r\nConnection: close\r\n\r\n" +
	"This port speaks TLS: write https://.\n"

// shakeHands makes it a TLS connection. Who is refused for a reason that a
// person can mend is told it: a client by an alert, or plainly, and the operator
// by a line of the log.
func (c *conn) shakeHands() bool {
	t := tls.Server(rawConn{c}, c.s.tls)
	err := t.HandshakeContext(context.Background())
	if err == nil {
		c.tls = t
		return true
	}
	var plain tls.RecordHeaderError
	var lost net.Error
	switch {
	case errors.As(err, &plain):
		if plain.Conn == nil || !isHTTP(plain.RecordHeader) {
			return false
		}
		_, _ = c.writeRaw([]byte(httpsNeeded))
	case errors.As(err, &lost), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return false // it went away, or took too long
	case c.s.c.ClientCAFile != "" && strings.Contains(err.Error(), "certificate"):
		c.s.refusals.note(c, err)
	}
	c.linger = true // what it sent behind must not turn the alert into a reset
	c.finish()
	return false
}

// isHTTP reports whether a record begins as a request does.
func isHTTP(header [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"}, string(header[:]))
}

// refusals logs clients whose handshake failed, at most one a second: whoever
// reaches the port can fail as often as he likes.
type refusals struct{ last atomic.Int64 }

func (r *refusals) note(c *conn, err error) {
	now, last := c.s.clock.now(), r.last.Load()
	if last != 0 && now-last < int64(time.Second) || !r.last.CompareAndSwap(last, now) {
		return
	}
	c.s.c.Log.Warn("TLS client refused: it needs a certificate of the authorities in --ssl_client_ca_path",
		slog.String("client", string(c.text)), slog.String("error", fmt.Sprintf("%.200s", err)))
}
