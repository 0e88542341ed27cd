package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

// maxIntroduction bounds a PROXY header in bytes: the longest version 1 line is
// 107, and version 2 is taken with up to 520 of addresses and extensions.
const maxIntroduction = 536

var (
	errShort       = errors.New("proxy header: more bytes are needed")
	errNotProxy    = errors.New("proxy header: not one")
	proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// parseProxy reads a PROXY protocol header, version 1 or 2, at the start of b
// (HAProxy's proxy-protocol.txt, 2020). It returns the client's address, which
// is invalid for health checks of the proxy itself, and the header's length.
// errShort asks for more bytes.
func parseProxy(b []byte) (netip.AddrPort, int, error) {
	switch {
	case len(b) == 0:
		return netip.AddrPort{}, 0, errShort
	case b[0] == 'P':
		return parseProxy1(b)
	case bytes.HasPrefix(b, proxySignature):
		return parseProxy2(b)
	case bytes.HasPrefix(proxySignature, b):
		return netip.AddrPort{}, 0, errShort
	}
	return netip.AddrPort{}, 0, errNotProxy
}

func parseProxy1(b []byte) (none netip.AddrPort, n int, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > 107 {
			return none, 0, errNotProxy
		}
		return none, 0, errShort
	}
	if end > 106 || end < 1 || b[end-1] != '\r' {
		return none, 0, errNotProxy
	}
	f := bytes.Split(b[:end-1], []byte(" "))
	if len(f) < 2 || string(f[0]) != "PROXY" {
		return none, 0, errNotProxy
	}
	if string(f[1]) == "UNKNOWN" {
		return none, end + 1, nil
	}
	if len(f) != 6 || string(f[1]) != "TCP4" && string(f[1]) != "TCP6" {
		return none, 0, errNotProxy
	}
	ip, err := netip.ParseAddr(string(f[2]))
	if err != nil || ip.Is4() != (string(f[1]) == "TCP4") || ip.Zone() != "" {
		return none, 0, errNotProxy
	}
	port, err := strconv.ParseUint(string(f[4]), 10, 16)
	if err != nil {
		return none, 0, errNotProxy
	}
	return netip.AddrPortFrom(ip, uint16(port)), end + 1, nil
}

func parseProxy2(b []byte) (none netip.AddrPort, n int, err error) {
	if len(b) < 16 {
		return none, 0, errShort
	}
	size := int(binary.BigEndian.Uint16(b[14:16]))
	if b[12]>>4 != 2 || b[12]&15 > 1 || 16+size > maxIntroduction {
		return none, 0, errNotProxy
	}
	if len(b) < 16+size {
		return none, 0, errShort
	}
	if b[12]&15 == 0 { // LOCAL: the proxy's own check
		return none, 16 + size, nil
	}
	a := b[16 : 16+size]
	switch b[13] {
	case 0x11:
		if size < 12 {
			return none, 0, errNotProxy
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), binary.BigEndian.Uint16(a[8:])), 16 + size, nil
	case 0x21:
		if size < 36 {
			return none, 0, errNotProxy
		}
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[:16])), binary.BigEndian.Uint16(a[32:])), 16 + size, nil
	}
	return none, 16 + size, nil
}

// introduced reads the PROXY header of a trusted peer. A peer that is not
// trusted has its connection ended: what it sends cannot be told from a lie.
func (c *conn) introduced() bool {
	if len(c.listener.trusted) > 0 && !c.trusted {
		return false
	}
	buf := make([]byte, 0, maxIntroduction)
	for {
		client, n, err := parseProxy(buf)
		if err == nil {
			c.ahead = buf[n:]
			if client.IsValid() {
				c.text = client.Addr().Unmap().AppendTo(c.text[:0])
				c.trusted = c.listener.trusts(client.Addr().Unmap())
			}
			return true
		}
		if !errors.Is(err, errShort) || len(buf) == cap(buf) {
			return false
		}
		n, err = c.readRaw(buf[len(buf):cap(buf)])
		if err != nil {
			return false
		}
		buf = buf[:len(buf)+n]
	}
}

// client is the caller's address for logs: the peer's, or behind trusted
// proxies the last one in X-Forwarded-For that is not a trusted proxy itself.
func (c *conn) client(h *head, ignore bool) []byte {
	if !c.trusted || len(h.forwarded) == 0 || ignore {
		return c.text
	}
	list := h.forwarded
	for {
		i := bytes.LastIndexByte(list, ',')
		ip, err := netip.ParseAddr(string(trimOWS(list[i+1:])))
		if err != nil {
			return c.text
		}
		if i < 0 || !c.listener.trusts(ip.Unmap()) {
			return trimOWS(list[i+1:])
		}
		list = list[:i]
	}
}
