package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// backlog is asked for by number: Go would take it from /proc/sys and fall
// back to 128 where that is hidden.
const backlog = 4096

// healthName is the name of healthd's listener; its slot is -1.
const healthName = "health"

// endpoint is where the appliance listens, before it is split into slots.
type endpoint struct {
	name    string
	network string // tcp, unix
	address string // host:port, or a path
	mode    os.FileMode
	tls     bool
	proxy   bool
	trusted []string
}

// parseEndpoints reads SLUICE_LISTEN: a comma list of name=tcp://host:port or
// name=unix:///path?mode=0660, with tls=1, proxy=1, trusted=10.0.0.0/8. A
// comma may stand inside trusted: what does not look like name=scheme:
// continues the entry before.
func parseEndpoints(text string) ([]endpoint, error) {
	var entries []string
	for part := range strings.SplitSeq(text, ",") {
		name, rest, ok := strings.Cut(part, "=")
		start := ok && !strings.ContainsAny(name, "?/&") && strings.Contains(rest, "://")
		if start || len(entries) == 0 {
			entries = append(entries, part)
		} else {
			entries[len(entries)-1] += "," + part
		}
	}
	var out []endpoint
	for _, entry := range entries {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		e, err := parseEndpoint(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("listener %q: %w", entry, err)
		}
		if e.name == mainName || e.name == healthName || slices.ContainsFunc(out, func(o endpoint) bool { return o.name == e.name }) {
			return nil, fmt.Errorf("listener %q: the name %s is taken", entry, e.name)
		}
		out = append(out, e)
	}
	return out, nil
}

func parseEndpoint(entry string) (endpoint, error) {
	name, rest, ok := strings.Cut(entry, "=")
	if !ok || name == "" || strings.ContainsAny(name, ":/ .") {
		return endpoint{}, errors.New("allowed: name=tcp://host:port or name=unix:///path")
	}
	u, err := url.Parse(rest)
	if err != nil {
		return endpoint{}, fmt.Errorf("read address: %w", err)
	}
	e := endpoint{name: name, network: u.Scheme, mode: 0o660}
	switch u.Scheme {
	case "tcp":
		e.address = u.Host
		if _, _, err := splitAddress(e.address); err != nil {
			return endpoint{}, err
		}
	case "unix":
		if e.address = u.Path; e.address == "" {
			return endpoint{}, errors.New("a unix listener needs a path, as in unix:///run/sluice.sock")
		}
	default:
		return endpoint{}, fmt.Errorf("scheme %q: allowed are tcp and unix", u.Scheme)
	}
	for key, values := range u.Query() {
		if err := e.option(key, values[len(values)-1]); err != nil {
			return endpoint{}, err
		}
	}
	return e, nil
}

func (e *endpoint) option(key, value string) error {
	on := value == "1" || value == "true"
	switch key {
	case "tls":
		e.tls = on
	case "proxy":
		e.proxy = on
	case "trusted":
		list, err := parseNetworks(value)
		if err != nil {
			return err
		}
		e.trusted = list
	case "mode":
		mode, err := strconv.ParseUint(value, 8, 9)
		if err != nil {
			return fmt.Errorf("mode %q: an octal number up to 0777 is needed", value)
		}
		e.mode = os.FileMode(mode)
	default:
		return fmt.Errorf("option %q: allowed are tls, proxy, trusted, mode", key)
	}
	return nil
}

// parseNetworks checks a comma list of networks or addresses.
func parseNetworks(text string) ([]string, error) {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		_, errNet := netip.ParsePrefix(item)
		_, errAddr := netip.ParseAddr(item)
		if errNet != nil && errAddr != nil {
			return nil, fmt.Errorf("trusted network %q: allowed are 10.0.0.0/8 or 10.1.2.3", item)
		}
		out = append(out, item)
	}
	return out, nil
}

// splitAddress reads host:port. An empty host and * mean every IPv4 address,
// :: every address of both families.
func splitAddress(address string) (netip.Addr, uint16, error) {
	at := strings.LastIndexByte(address, ':')
	if at < 0 {
		return netip.Addr{}, 0, fmt.Errorf("address %q: host:port is needed", address)
	}
	port, err := strconv.ParseUint(address[at+1:], 10, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("port %q: allowed are 0 to 65535", address[at+1:])
	}
	host := strings.Trim(address[:at], "[]")
	switch host {
	case "", "*":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("host %q: an IP address, localhost or * is needed", host)
	}
	return addr, uint16(port), nil
}

// socket is one listening descriptor in custody. fd stays open as long as the
// supervisor lives; slots of a unix path share one.
type socket struct {
	fleet.Listener
	fd int
}

// describe is the listener of an endpoint in one slot.
func (e *endpoint) describe(slot int) fleet.Listener {
	return fleet.Listener{
		Name: e.name, Slot: slot, Network: e.network, Address: e.address,
		TLS: e.tls, ProxyProtocol: e.proxy, Trusted: e.trusted,
	}
}

// bind makes the sockets of an endpoint for the slots that have none yet.
// Descriptors already made stay open when a later one fails: the caller exits.
func (e *endpoint) bind(slots []int, probe bool) ([]socket, error) {
	if len(slots) == 0 {
		return nil, nil
	}
	if e.network == "unix" {
		fd, err := bindUnix(e.address, e.mode)
		if err != nil {
			return nil, err
		}
		var out []socket
		for _, slot := range slots {
			out = append(out, socket{Listener: e.describe(slot), fd: fd})
		}
		return out, nil
	}
	addr, port, err := splitAddress(e.address)
	if err != nil {
		return nil, err
	}
	if probe && port != 0 {
		if err := probePort(addr, port); err != nil {
			return nil, err
		}
	}
	var out []socket
	for _, slot := range slots {
		fd, err := bindTCP(addr, port, true)
		if err != nil {
			return nil, bindError(addr, port, err)
		}
		if port == 0 {
			if port, err = boundPort(fd); err != nil {
				return nil, err
			}
			e.address = netip.AddrPortFrom(addr, port).String()
		}
		out = append(out, socket{Listener: e.describe(slot), fd: fd})
	}
	return out, nil
}

// probePort binds without SO_REUSEPORT, because with it a second process of
// the same user would share the port and nobody would be told. A port that no
// process can be named for is waited for: those of an appliance that was killed
// hold it until the kernel is done with them, and to give up then would be for
// good.
func probePort(addr netip.Addr, port uint16) error {
	for began := time.Now(); ; time.Sleep(dyingLook) {
		fd, err := bindTCP(addr, port, false)
		if err == nil {
			return syscall.Close(fd)
		}
		if errors.Is(err, unix.EADDRINUSE) && time.Since(began) < dyingMost {
			if who, _ := holders(port); len(who) == 0 {
				continue
			}
		}
		return bindError(addr, port, err)
	}
}

// How long a port is waited for that only a dying process can have, and how often
// it is tried.
const (
	dyingMost = 5 * time.Second
	dyingLook = 50 * time.Millisecond
)

func bindTCP(addr netip.Addr, port uint16, listen bool) (fd int, err error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	options := []int{unix.SO_REUSEADDR}
	if listen {
		options = append(options, unix.SO_REUSEPORT)
	}
	for _, option := range options {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return -1, fmt.Errorf("set socket option %d: %w", option, err)
		}
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(port), Addr: as4(addr)}
	if addr.Is6() {
		dual := 1
		if addr.IsUnspecified() {
			dual = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, dual); err != nil {
			return -1, fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
		sa = &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, err
	}
	if !listen {
		return fd, nil
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return -1, err
	}
	return fd, nil
}

func as4(addr netip.Addr) [4]byte {
	if addr.Is4() {
		return addr.As4()
	}
	return [4]byte{}
}

func bindUnix(path string, mode os.FileMode) (int, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return -1, fmt.Errorf("clear the way for unix socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind %s: %w", path, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set mode of %s: %w", path, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", path, err)
	}
	return fd, nil
}

func boundPort(fd int) (uint16, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("look at socket: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return uint16(sa.Port), nil
	}
	return 0, errors.New("look at socket: not of TCP")
}

// checkSocket makes sure that a descriptor that came from elsewhere listens
// and does not block: O_NONBLOCK belongs to the open socket, so one careless
// holder takes it from all.
func checkSocket(fd int) error {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return fmt.Errorf("look at listener: %w", err)
	}
	if on == 0 {
		return errors.New("the descriptor does not listen")
	}
	return unix.SetNonblock(fd, true)
}

// waiting is how many connections wait to be accepted on a TCP listener.
func waiting(fd int) int {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0
	}
	return int(info.Unacked)
}
