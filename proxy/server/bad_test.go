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
	until(t, func() bool { return b.own.InFlight.Load() == 0 && b.own.Streams.Load() == 0 })
	if b.own.Panics.Load() != 2 {
		t.Errorf("%d panics", b.own.Panics.Load())
	}
}
