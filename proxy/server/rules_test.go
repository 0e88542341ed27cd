package server

import (
	"io"
	"testing"
)

// TestRules: a reload changes the rules for the requests to come, on
// connections that are open too.
func TestRules(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	ask := func(what, send string, want int) {
		t.Helper()
		_, _ = io.WriteString(nc, send)
		if resp, body := read(t, r); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d: %s", what, resp.Status, want, body)
		}
	}
	own := "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Door: " + testKey + "\r\n\r\n"
	metrics := "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
	ask("a body", chat("mock", ""), 200)
	ask("a key in a header of its own", own, 401)
	ask("metrics", metrics, 200)
	b.Swap(b.g, Rules{MaxBody: 10, KeyHeader: "X-Door", MetricsAuth: true})
	ask("a body beyond the new bound", chat("mock", ""), 413)
	ask("a key in the header that is named now", own, 200)
	ask("metrics without a key", metrics, 401)
	b.Swap(b.g, Rules{})
	ask("a body again", chat("mock", ""), 200)
}
