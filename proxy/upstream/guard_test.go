package upstream

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	for addr, want := range map[string]Guard{ // the least guard that refuses it
		"169.254.169.254": GuardMetadata, "169.254.0.1": GuardMetadata, "fe80::1": GuardMetadata, "fe80::1%eth0": GuardMetadata,
		"::ffff:169.254.169.254": GuardMetadata, "64:ff9b::a9fe:a9fe": GuardMetadata, "2002:a9fe:a9fe::1": GuardMetadata,
		"fd00:ec2::254": GuardMetadata, "168.63.129.16": GuardMetadata, "100.100.100.200": GuardMetadata, "192.0.0.192": GuardMetadata,
		"0.0.0.0": GuardMetadata, "0.1.2.3": GuardMetadata, "::": GuardMetadata, "224.0.0.1": GuardMetadata, "ff02::1": GuardMetadata,
		"255.255.255.255": GuardMetadata, "::169.254.169.254": GuardMetadata,
		"127.0.0.1": GuardLoopback, "127.9.9.9": GuardLoopback, "::1": GuardLoopback, "::ffff:127.0.0.1": GuardLoopback,
		"64:ff9b::7f00:1": GuardLoopback,
		"8.8.8.8":         0, "10.1.2.3": 0, "192.168.1.1": 0, "172.16.0.1": 0, "2001:4860:4860::8888": 0, "fd12::1": 0,
	} {
		a := netip.MustParseAddr(addr)
		for g := GuardNone; g <= GuardLoopback; g++ {
			if got := g.refuses(a); got != (want != 0 && g >= want) {
				t.Errorf("guard %d refuses %s: %v", g, addr, got)
			}
		}
	}
}

// TestGuardedNames: it is the address that counts, at the time of the call, and
// an address alone is refused even where a proxy would connect to it.
func TestGuardedNames(t *testing.T) {
	answers := map[string]string{"bad.test": "169.254.169.254", "local.test": "127.0.0.1"}
	p := NewPools(Settings{
		HTTPProxy: "http://192.0.2.1:3128",
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(answers[host])}, nil
		},
	})
	t.Cleanup(p.Close)
	for _, base := range []string{"http://bad.test/v1", "http://local.test/v1"} {
		e, err := p.Endpoint(base, Options{Guard: GuardLoopback, Proxy: "direct"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = e.Do(&Call{Method: "GET", Path: "/"}, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", base, err)
		}
	}
	for _, base := range []string{"http://169.254.169.254/latest", "https://[::1]:8443", "http://[fe80::1%25lo]"} {
		if _, err := p.Endpoint(base, Options{Guard: GuardLoopback}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", base, err)
		}
		if _, err := p.Endpoint(base, Options{}); err != nil {
			t.Errorf("%s without a guard: %v", base, err)
		}
	}
}
