package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"sluice/internal/boot"
	"sluice/internal/certificate"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// envHealthTLS says whether the port of probes and scrapes speaks TLS too, with
// the certificate of the others.
const envHealthTLS = "SLUICE_HEALTH_TLS"

// shown is the certificate of the appliance as healthd knows it: it tells how
// long it is valid, and shows it where its own port speaks TLS.
type shown struct {
	files  certificate.Files
	wanted bool // our own port speaks TLS
	log    *slog.Logger
	kept   atomic.Pointer[certificate.Kept] // nil: not read yet, or there is none

	// Of whoever calls follow.
	applied uint64 // the reload that was followed last
	said    string // the error that was logged last
}

func newShown(e *env.Environ, log *slog.Logger) (*shown, error) {
	s := &shown{files: certificate.Files{Cert: e.Get("SSL_CERTFILE_PATH"), Key: e.Get("SSL_KEYFILE_PATH")}, log: log}
	var err error
	if s.wanted, err = e.Bool(envHealthTLS, false); err == nil && s.wanted && (s.files.Cert == "" || s.files.Key == "") {
		err = errors.New(envHealthTLS + " is set, and no certificate is: name its files in SSL_CERTFILE_PATH and SSL_KEYFILE_PATH")
	}
	if err != nil {
		return nil, boot.Exit(fleet.ExitConfig, err)
	}
	return s, nil
}

// follow reads the files for the first time, or again after a reload that the
// workers took. What cannot be read ends nobody: the last pair stays, and where
// there is none yet it is tried again, while nobody is served in plain text.
func (s *shown) follow(applied uint64) {
	kept := s.kept.Load()
	if s.files.Cert == "" || s.files.Key == "" || kept != nil && applied == s.applied {
		return
	}
	s.applied = applied
	var err error
	if kept == nil {
		if kept, err = certificate.Read(s.files); err == nil {
			s.kept.Store(kept)
		}
	} else {
		var use func()
		if use, err = kept.Again(time.Now()); err == nil {
			use()
		}
	}
	if err != nil && err.Error() != s.said {
		s.said = err.Error()
		s.log.Error("certificate cannot be used", slog.String("error", s.said), slog.Bool("needed_here", s.wanted))
	}
}

// over makes a listener one of TLS, where that is wanted.
func (s *shown) over(l net.Listener) net.Listener {
	if !s.wanted {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			kept := s.kept.Load()
			if kept == nil {
				return nil, errors.New("there is no certificate yet")
			}
			return kept.Config().GetConfigForClient(hello)
		},
	})
}

// metrics appends the end of the certificate's validity, where there is one.
func (s *shown) metrics(b []byte) []byte {
	kept := s.kept.Load()
	if kept == nil {
		return b
	}
	w := &writer{b: b}
	w.put("sluice_tls_certificate_expiry_timestamp_seconds", "gauge", "", float64(kept.Until().Unix()))
	return w.b
}
