package server

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// certificates is the pair of the TLS listeners. It is read anew on demand and
// swapped only when it is sound.
type certificates struct {
	certFile, keyFile string
	pair              atomic.Pointer[tls.Certificate]
}

// read gives what puts the pair of the files in force.
func (t *certificates) read() (use func(), err error) {
	pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate %s: %w", t.certFile, err)
	}
	return func() { t.pair.Store(&pair) }, nil
}

func (t *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.pair.Load(), nil
		},
	}
}

// ReadTLS reads the certificate files again and returns what puts them in
// force. On an error, and until use is called, the old pair stays.
func (s *Server) ReadTLS() (use func(), err error) {
	if s.certs == nil {
		return func() {}, nil
	}
	return s.certs.read()
}
