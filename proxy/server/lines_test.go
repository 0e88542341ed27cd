package server

import (
	"io"
	"strings"
	"testing"

	"sluice/proxy/gateway"
	"sluice/proxy/llm"
)

// hearing keeps the header lines that the gateway is shown.
type hearing struct {
	*fakeGateway
	lines chan string
}

func (h hearing) Do(x *gateway.Exchange) (*gateway.Answer, *llm.Error) {
	h.lines <- string(x.Lines)
	return h.fakeGateway.Do(x)
}

// TestLines: the gateway sees a request's header lines as they came, those of
// this request alone.
func TestLines(t *testing.T) {
	b := start(t, nil)
	h := hearing{b.g, make(chan string, 2)}
	b.Swap(h, Rules{})
	nc, r := b.dial(t)
	for _, extra := range []string{"X-One: 1\r\nx-two:2\r\n", "X-Three: 3\r\n"} {
		_, _ = io.WriteString(nc, chat("mock", extra))
		if resp, body := read(t, r); resp.StatusCode != 200 {
			t.Fatal(resp.Status, body)
		}
		got := <-h.lines
		if !strings.Contains(got, extra) || strings.Contains(got, "POST") || strings.Contains(got, "X-One") != strings.Contains(extra, "X-One") {
			t.Errorf("lines %q, sent %q", got, extra)
		}
	}
}
