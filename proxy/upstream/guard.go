package upstream

import (
	"errors"
	"net/netip"
)

// ErrRefused means that a name or address leads to where its Guard lets nobody
// go.
var ErrRefused = errors.New("the address is refused")

// Guard says which addresses an endpoint must not lead to. It is asked about
// the addresses that are connected to, so that a name which changes its mind
// changes nothing. Behind a forward proxy names are the proxy's to judge;
// addresses are refused all the same.
type Guard uint8

// The guards.
const (
	GuardNone     Guard = iota
	GuardMetadata       // no link-local, metadata, multicast or unspecified address
	GuardLoopback       // and no loopback
)

// metadata are addresses that clouds answer instances on beside the link-local
// ones: AWS over IPv6, Azure, Alibaba Cloud, Oracle Cloud.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("0.0.0.0/8"), // this host (RFC 6890)
	netip.MustParsePrefix("255.255.255.255/32"),
}

// wrapped are networks whose addresses stand for the IPv4 address in the four
// bytes at an offset: NAT64 (RFC 6052), 6to4 (RFC 3056), IPv4-compatible.
var wrapped = []struct {
	net netip.Prefix
	at  int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

// refuses says whether an address must not be connected to.
func (g Guard) refuses(a netip.Addr) bool {
	if g == GuardNone {
		return false
	}
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return true
	}
	if a.IsLoopback() {
		return g == GuardLoopback
	}
	for _, p := range metadata {
		if p.Contains(a) {
			return true
		}
	}
	for _, w := range wrapped {
		if w.net.Contains(a) {
			b := a.As16()
			return g.refuses(netip.AddrFrom4([4]byte(b[w.at : w.at+4])))
		}
	}
	return false
}

// pass gives the addresses that may be connected to.
func (g Guard) pass(all []netip.Addr) []netip.Addr {
	if g == GuardNone {
		return all
	}
	out := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if !g.refuses(a) {
			out = append(out, a)
		}
	}
	return out
}
