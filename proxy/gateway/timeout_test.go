package gateway

import (
	"testing"
	"time"

	"sluice/proxy/provider"
)

// TestTimeouts: a header wins over the body, the body over the deployment, the
// deployment over the router, the router over request_timeout, whose default is
// 600 s. The longest of them bounds the exchange, so that none is cut by a more
// general one.
func TestTimeouts(t *testing.T) {
	const s = time.Second
	mock := "x"
	for _, c := range []struct {
		name         string
		limits       Limits
		own          time.Duration // of the deployment
		header, body time.Duration
		want, all    time.Duration
	}{
		{name: "nothing", want: 600 * s, all: 600 * s},
		{name: "request_timeout", limits: Limits{Request: 50 * s}, want: 50 * s, all: 50 * s},
		{name: "router below", limits: Limits{Request: 50 * s, Timeout: 20 * s}, want: 20 * s, all: 50 * s},
		{name: "router above", limits: Limits{Request: 50 * s, Timeout: 700 * s}, want: 700 * s, all: 700 * s},
		{name: "deployment below", limits: Limits{Timeout: 20 * s}, own: 5 * s, want: 5 * s, all: 600 * s},
		{name: "deployment above", own: 1200 * s, want: 1200 * s, all: 1200 * s},
		{name: "body", own: 5 * s, body: 7 * s, want: 7 * s, all: 600 * s},
		{name: "header", own: 5 * s, body: 7 * s, header: 9 * s, want: 9 * s, all: 600 * s},
		{name: "header above", header: 2000 * s, want: 2000 * s, all: 2000 * s},
		{name: "header far above", header: 9000 * s, want: maxAsked, all: maxAsked},
	} {
		b := newBench(t, func(g *Config) {
			g.Limits = c.limits
			g.Models = []Model{{Name: "m", Timeout: c.own, Params: provider.Params{Model: "openai/x", Mock: &mock}}}
		})
		x := b.exchange(t, request("m", "", false, false))
		x.Asked.Total, x.Request.Timeout = c.header, c.body
		if e := b.plan(x); e != nil {
			t.Fatal(e)
		}
		x.began = x.Start
		got := b.timeouts(x, x.plan.Deployments[0]).Total
		if all := time.Duration(x.deadline - x.Start); got != c.want || all != c.all {
			t.Errorf("%s: a call may take %v of %v, want %v of %v", c.name, got, all, c.want, c.all)
		}
	}
}
