//go:build sluicebad

package server

import (
	"io"
	"strings"
	"testing"
)

func TestPanicsOnDemand(t *testing.T) {
	b := start(t, nil)
	nc, r := b.dial(t)
	_, _ = io.WriteString(nc, chat("mock", "X-Sluice-Panic: before\r\n"))
	if resp, _ := read(t, r); resp.StatusCode != 500 || !resp.Close {
		t.Errorf("before: %s", resp.Status)
	}
	nc, r = b.dial(t)
	_, _ = io.WriteString(nc, chat("stream", "X-Sluice-Panic: during\r\n"))
	if resp, body := read(t, r); resp.StatusCode != 200 || !strings.Contains(body, `"error"`) || !strings.HasSuffix(body, "!unexpected EOF") {
		t.Errorf("during: %s %q", resp.Status, body)
	}
	if b.own.Panics.Load() != 2 || b.own.InFlight.Load() != 0 || b.own.Streams.Load() != 0 {
		t.Errorf("panics %d, in flight %d, streams %d", b.own.Panics.Load(), b.own.InFlight.Load(), b.own.Streams.Load())
	}
}
