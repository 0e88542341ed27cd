package upstream

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"os"
)

// sessions is how many TLS sessions an endpoint keeps for resumption.
const sessions = 64

// CheckFiles says what is wrong with the files that options name.
func CheckFiles(o Options) error {
	_, err := clientTLS(&o, "", sha256.New())
	return err
}

// clientTLS builds the TLS settings of an endpoint and adds the content of the
// files to its identity, so that a renewed certificate is another endpoint.
func clientTLS(o *Options, name string, identity hash.Hash) (*tls.Config, error) {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         name,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
		InsecureSkipVerify: o.InsecureSkipVerify, //nolint:gosec // the operator's ssl_verify: false
	}
	if o.CAFile != "" {
		pem, err := readInto(identity, o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA bundle: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the CA bundle %s holds no certificate", o.CAFile)
		}
	}
	if o.CertFile == "" {
		if o.KeyFile != "" {
			return nil, errors.New("a client key without a client certificate")
		}
		return c, nil
	}
	keyFile := orElse(o.KeyFile, o.CertFile) // one file may hold both
	cert, err := readInto(identity, o.CertFile)
	if err != nil {
		return nil, fmt.Errorf("read the client certificate: %w", err)
	}
	key, err := readInto(identity, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the client key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the client certificate %s and its key: %w", o.CertFile, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

func readInto(identity hash.Hash, file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	identity.Write(sum[:])
	return b, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
