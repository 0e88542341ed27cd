package main

import (
	"strings"
	"testing"

	"sluice/internal/env"
)

// TestCertified: a listener that is to speak TLS has a certificate, or nothing
// starts.
func TestCertified(t *testing.T) {
	const files = "SSL_CERTFILE_PATH=/c\x00SSL_KEYFILE_PATH=/k\x00"
	for _, c := range []struct{ environ, want string }{
		{"", ""},
		{files, ""},
		{files + "SLUICE_HEALTH_TLS=true\x00SLUICE_LISTEN=a=tcp://:1?tls=1", ""},
		{"SLUICE_LISTEN=a=tcp://:1", ""},
		{"SLUICE_LISTEN=a=tcp://:1?tls=1", "listener a has tls=1, and no certificate is configured"},
		{"SLUICE_HEALTH_TLS=true", "SLUICE_HEALTH_TLS is set, and no certificate is"},
		{"SLUICE_HEALTH_TLS=true\x00SSL_CERTFILE_PATH=/c", "SLUICE_HEALTH_TLS is set"},
	} {
		e := env.Parse([]byte(c.environ))
		p, err := newPlan(e, machine{cpus: 1, memory: 1 << 30})
		if err != nil {
			t.Errorf("%q: %v", c.environ, err)
			continue
		}
		err = p.certified(e)
		if (err != nil) != (c.want != "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.environ, err, c.want)
		}
		if main := p.endpoints[0].tls; main != strings.HasPrefix(c.environ, files) {
			t.Errorf("%q: the main listener speaks TLS: %v", c.environ, main)
		}
	}
}
