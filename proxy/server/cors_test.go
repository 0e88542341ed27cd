package server

import (
	"io"
	"testing"

	"sluice/supervisor/fleet"
)

func TestCORS(t *testing.T) {
	const ours, other = "https://a.example", "https://b.example"
	for _, c := range []struct {
		name        string
		origins     []string
		credentials bool
		origin      string
		allowed     string
		with        string // access-control-allow-credentials
	}{
		{"any", nil, false, ours, "*", ""},
		{"any with credentials", []string{"*"}, true, ours, "*", ""},
		{"named", []string{ours}, false, ours, ours, ""},
		{"named with credentials", []string{ours}, true, ours, ours, "true"},
		{"another", []string{ours}, true, other, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, func(s *Config, _ *fleet.Listener) { s.CORSOrigins, s.CORSCredentials = c.origins, c.credentials })
			nc, r := b.dial(t)
			for _, send := range []string{
				"GET /health/liveliness HTTP/1.1\r\nHost: x\r\nOrigin: " + c.origin + "\r\n\r\n",
				"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Method: POST\r\nOrigin: " + c.origin + "\r\n\r\n",
			} {
				_, _ = io.WriteString(nc, send)
				resp, _ := read(t, r)
				h := resp.Header
				if got := h.Get("Access-Control-Allow-Origin"); got != c.allowed {
					t.Errorf("%.7s: allows %q, want %q", send, got, c.allowed)
				}
				if got := h.Get("Access-Control-Allow-Credentials"); got != c.with {
					t.Errorf("%.7s: credentials %q, want %q", send, got, c.with)
				}
				if c.with != "" && h.Get("Access-Control-Expose-Headers") == "*" {
					t.Errorf("%.7s: exposes * with credentials", send)
				}
			}
		})
	}
}
