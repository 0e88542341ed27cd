package gateway

import (
	"strings"
	"testing"

	"sluice/proxy/provider"
)

// TestForward: which of a client's headers a provider gets.
func TestForward(t *testing.T) {
	const lines = "Host: x\r\nAuthorization: Bearer sk-client\r\nX-Trace: one\r\nx-trace: two\r\nAnthropic-Beta: b1\r\nX-Mine: client\r\n" +
		"X-Api-Key: hush\r\nX-Litellm-Timeout: 3\r\nX-Forwarded-For: 10.9.9.9\r\nX-Real-IP: 10.9.9.9\r\nX-Stainless-Lang: go\r\n" +
		"X-Amz-Security-Token: hush\r\nX-Door: hush\r\nCookie: hush\r\nOpenAI-Organization: org-client\r\nUser-Agent: u\r\n\r\n"
	none := []string{"hush", "sk-client", "10.9.9.9", "X-Litellm", "X-Stainless", "User-Agent: u\r"}
	for _, c := range []struct {
		name    string
		forward Forward
		has     []string
		hasNot  []string
	}{
		{"off", Forward{}, []string{"OpenAI-Organization: org-own\r\n", "X-Mine: own\r\n"}, []string{"X-Trace", "Anthropic", "org-client", "client"}},
		{
			"headers",
			Forward{Headers: true, KeyHeader: "X-Door"},
			[]string{"X-Trace: one\r\n", "x-trace: two\r\n", "Anthropic-Beta: b1\r\n", "X-Mine: own\r\n", "OpenAI-Organization: org-own\r\n"},
			[]string{"X-Mine: client", "org-client"},
		},
		{"organization", Forward{Organization: true, KeyHeader: "X-Door"}, []string{"OpenAI-Organization: org-client\r\n"}, []string{"org-own", "X-Trace"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, func(g *Config) {
				g.Forward = c.forward
				p := &g.Models[0].Params
				p.Organization, p.Headers = "org-own", []provider.Header{{Name: "X-Mine", Value: "own"}}
			}, "m=ok")
			for range 2 { // the second time with the memory of the first
				b.fake.Ledger().Reset()
				x := b.exchange(t, request("m", "fw", false, false))
				x.Lines = []byte(lines)
				if _, e := b.Do(x); e != nil {
					t.Fatal(e)
				}
				x.Settle()
				head := string(b.fake.Ledger().Of("fw")[0].Head)
				for _, want := range c.has {
					if strings.Count(head, want) != 1 {
						t.Errorf("%q is not there once:\n%s", want, head)
					}
				}
				for _, bad := range append(c.hasNot, none...) {
					if strings.Contains(head, bad) {
						t.Errorf("%q is there:\n%s", bad, head)
					}
				}
			}
		})
	}
}
