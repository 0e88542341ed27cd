package auth

import (
	"net/netip"
	"strings"
	"unsafe"
)

// addresses is a list of IP addresses and networks.
type addresses struct {
	single map[netip.Addr]struct{}
	nets   []netip.Prefix
}

// newAddresses reads a list; nil for an empty one. What is no address matches
// nobody: a list with a mistake in it lets in too few.
func newAddresses(texts []string) *addresses {
	if len(texts) == 0 {
		return nil
	}
	a := &addresses{single: map[netip.Addr]struct{}{}}
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if ip, err := netip.ParseAddr(t); err == nil {
			a.single[ip.Unmap().WithZone("")] = struct{}{}
		} else if net, err := netip.ParsePrefix(t); err == nil {
			a.nets = append(a.nets, net.Masked())
		}
	}
	return a
}

// has reports whether an address as logs show it is in the list.
func (a *addresses) has(remote []byte) bool {
	if a == nil {
		return true
	}
	ip, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(remote), len(remote)))
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	if _, ok := a.single[ip]; ok {
		return true
	}
	for _, n := range a.nets {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}
