package gateway

import (
	"io"
	"strings"
	"testing"

	"sluice/proxy/provider"
)

// loop is a provider's stream that never ends: n events and then again.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	if l.at += n; l.at == len(l.b) {
		l.at = 0
	}
	return n, nil
}
func (*loop) Close() {}

func chunk(i int) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini-2024-07-18",` +
		`"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("w", 5+i%7) +
		`"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
}

func newPump(t testing.TB, perRead int) (*Exchange, *pump) {
	t.Helper()
	target, err := provider.Bind(provider.Params{Model: "openai/gpt-4o-mini", APIKey: "k"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	x := &Exchange{}
	x.Reset()
	x.Dialect, x.model = speaker{}, []byte(`"mine"`)
	var b strings.Builder
	for i := range perRead {
		b.WriteString(chunk(i))
	}
	p := &x.pump
	p.x, p.target, p.src, p.withhold = x, target, &loop{b: []byte(b.String())}, true
	return x, p
}

type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(dst []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(dst, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}
func (*pieces) Close() {}
