package upstream

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// The provider's Keep-Alive is kept with a second to spare; ours is the bound.
func TestIdleTime(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"X: y": 50 * time.Second, "Keep-Alive: timeout=5, max=100": 4 * time.Second,
		"Keep-Alive: timeout=1": 500 * time.Millisecond, "Keep-Alive: timeout=900": 50 * time.Second,
		"Keep-Alive: timeout=x": 0,
	} {
		s := serve(t, nil, always(fmt.Sprintf("HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 0\r\n\r\n", header)))
		e := endpoint(t, pools(t, Settings{}), s.url(), Options{})
		if err := run(e, post("{}"), nil); err != nil {
			t.Fatal(err)
		}
		if got := e.pool.idle[0].rest; got/time.Millisecond != want/time.Millisecond {
			t.Errorf("%s: rests %v, want %v", header, got, want)
		}
	}
}

// Idle connections to an address that has vanished from DNS end.
func TestVanishedAddress(t *testing.T) {
	var n names
	n.set("127.0.0.1")
	p := pools(t, Settings{Lookup: n.lookup})
	s := serve(t, nil, always(okAnswer))
	_, port, _ := net.SplitHostPort(s.l.Addr().String())
	e := endpoint(t, p, "http://provider.test:"+port, Options{})
	if err := run(e, post("{}"), nil); err != nil {
		t.Fatal(err)
	}
	now := p.sweeper.clock()
	if !p.reap(now) || e.pool.idling() != 1 {
		t.Fatal("reaped too early")
	}
	p.names.mu.Lock()
	known := p.names.names["provider.test"]
	known.good += int64(lookupGone) // as if asked anew, without this address in the answer
	p.names.mu.Unlock()
	if p.reap(now) || e.pool.idling() != 0 {
		t.Error("the connection to the vanished address idles on")
	}
}
