// Package certificate keeps what a TLS listener shows to its clients, and what
// it asks of them: read from files, checked whole, read again while it serves.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Files are paths of PEM files.
type Files struct {
	Cert     string // of the server, with what leads to its authority behind it
	Key      string
	ClientCA string // authorities, one of which every client must have a certificate of; "": clients show none
}

// Kept is what listeners go by. It is read anew on demand, and replaced only by
// what is sound.
type Kept struct {
	files Files
	now   atomic.Pointer[state]
}

// state is one reading of the files.
type state struct {
	config *tls.Config
	leaf   *x509.Certificate
}

// Read reads the files for the first time. Its errors are one line each, which
// says what to do.
func Read(files Files) (*Kept, error) {
	k := &Kept{files: files}
	first, err := files.read()
	if err != nil {
		return nil, err
	}
	k.now.Store(first)
	return k, nil
}

// Again reads the files once more and returns what puts them in force for new
// connections. On an error, and until use is called, everything stays as it is.
// A certificate that is not valid at the time does not replace one that is.
func (k *Kept) Again(at time.Time) (use func(), err error) {
	next, err := k.files.read()
	if err != nil {
		return nil, err
	}
	if why := invalid(next.leaf, at); why != "" && invalid(k.now.Load().leaf, at) == "" {
		return nil, fmt.Errorf("TLS certificate %s %s: put a valid one there; the one in use is good until %s", k.files.Cert, why, day(k.Until()))
	}
	return func() { k.now.Store(next) }, nil
}

// Until is the end of the validity of the certificate in use.
func (k *Kept) Until() time.Time { return k.now.Load().leaf.NotAfter }

// Doubt says what clients will not like about the certificate at a time, "" for
// nothing. That is no reason not to serve: some clients do not look.
func (k *Kept) Doubt(at time.Time) string {
	why := invalid(k.now.Load().leaf, at)
	if why == "" {
		return ""
	}
	return fmt.Sprintf("TLS certificate %s %s, so that clients refuse it: put a valid one there and send HUP", k.files.Cert, why)
}

// Config is for listeners. It follows Kept.
func (k *Kept) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.now.Load().config, nil },
	}
}

func (f Files) read() (*state, error) {
	cert, err := readFile("TLS certificate", f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile("TLS key", f.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %s: name PEM files of a certificate and of the key that it was made for",
			f.Cert, f.Key, strings.TrimPrefix(err.Error(), "tls: "))
	}
	s := &state{leaf: pair.Leaf, config: &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair},
	}}
	if f.ClientCA == "" {
		return s, nil
	}
	pem, err := readFile("authorities of clients", f.ClientCA)
	if err != nil {
		return nil, err
	}
	s.config.ClientAuth, s.config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !s.config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authorities of clients: %s holds no certificate: put the authority's certificate there, as PEM", f.ClientCA)
	}
	return s, nil
}

// readFile says which file it is that is in the way.
func readFile(what, path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no file %s: correct the path, or put it there", what, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %s cannot be read by user %d: chown it, or chmod g+r with a group of that user", what, path, os.Geteuid())
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return b, nil
}

// invalid says why a certificate does not count at a time.
func invalid(leaf *x509.Certificate, at time.Time) string {
	switch {
	case at.After(leaf.NotAfter):
		return "has expired on " + day(leaf.NotAfter)
	case at.Before(leaf.NotBefore):
		return "begins on " + day(leaf.NotBefore)
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
