package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	raceDelay   = 250 * time.Millisecond // RFC 8305, section 5
	userTimeout = 30 * time.Second       // unacknowledged data for so long: the peer is dead
)

// link is what a dialer made: a connection to speak over, the socket under it,
// and where it leads.
type link struct {
	conn   net.Conn
	sock   *socket
	addr   netip.Addr // zero on unix sockets
	sealed bool       // conn is TLS over sock
}

// dialer makes the transport connection to host and port. It returns soon
// after ctx ends and leaves nothing behind then.
type dialer interface {
	dial(ctx context.Context, host, port string) (link, error)
}

// unixDialer connects to one unix socket, whatever the host.
type unixDialer struct{ path string }

func (d unixDialer) dial(ctx context.Context, _, _ string) (link, error) {
	var nd net.Dialer
	c, err := nd.DialContext(ctx, "unix", d.path)
	if err != nil {
		return link{}, err
	}
	return wrap(c, netip.Addr{})
}

// tcpDialer looks the host up and races its addresses (RFC 8305): the next one
// starts when the one before has failed or after 250 ms; the first to connect
// wins.
type tcpDialer struct {
	names *resolver
	ipv4  bool // IPv4 alone
	guard Guard
}

func (d *tcpDialer) dial(ctx context.Context, host, port string) (link, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return link{}, fmt.Errorf("port %q is not a number up to 65535", port)
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return link{}, err
	}
	if len(addrs) == 1 {
		return connect(ctx, netip.AddrPortFrom(addrs[0], uint16(n)))
	}
	return race(ctx, addrs, uint16(n))
}

// addresses gives host's addresses in the order of trying.
func (d *tcpDialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	all := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		all = append(all, a)
	} else if all, err = d.names.addresses(ctx, host); err != nil {
		return nil, err
	}
	if all = d.guard.pass(all); len(all) == 0 {
		return nil, ErrRefused
	}
	if all = order(all, d.ipv4); len(all) == 0 {
		return nil, fmt.Errorf("%s has no IPv4 address", host)
	}
	return all, nil
}

// order alternates the families, beginning with that of the first address, or
// keeps IPv4 alone. It returns a new slice.
func order(in []netip.Addr, ipv4 bool) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range in {
		switch {
		case ipv4 && !a.Unmap().Is4():
		case a.Unmap().Is4() == in[0].Unmap().Is4():
			first = append(first, a)
		default:
			second = append(second, a)
		}
	}
	out := make([]netip.Addr, 0, len(in))
	for len(first)+len(second) > 0 {
		if len(first) > 0 {
			out, first = append(out, first[0]), first[1:]
		}
		if len(second) > 0 {
			out, second = append(out, second[0]), second[1:]
		}
	}
	return out
}

// race connects to the addresses one after the other, overlapping, and waits
// for all that it started.
func race(ctx context.Context, addrs []netip.Addr, port uint16) (link, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		link
		err error
	}
	results := make(chan result, len(addrs))
	next, running := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	var won *link
	var errs []error
	for {
		if won == nil && running == 0 && next == len(addrs) {
			return link{}, errors.Join(errs...)
		}
		if won != nil && running == 0 {
			return *won, nil
		}
		select {
		case <-timer.C:
			if won == nil && next < len(addrs) {
				at := netip.AddrPortFrom(addrs[next], port)
				next++
				running++
				go func() {
					l, err := connect(ctx, at)
					results <- result{l, err}
				}()
				timer.Reset(raceDelay)
			}
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				errs = append(errs, r.err)
				timer.Reset(0)
			case won == nil:
				won = &r.link
				cancel()
			default:
				_ = r.sock.Close()
			}
		}
	}
}

// connect makes one TCP connection with our socket options.
func connect(ctx context.Context, at netip.AddrPort) (link, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
		},
		ControlContext: func(_ context.Context, _, _ string, rc syscall.RawConn) error {
			var err error
			ctl := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
			})
			return errors.Join(ctl, err)
		},
	}
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return link{}, err
	}
	return wrap(c, at.Addr().Unmap())
}

func wrap(c net.Conn, addr netip.Addr) (link, error) {
	s, err := newSocket(c)
	if err != nil {
		_ = c.Close()
		return link{}, err
	}
	return link{conn: s, sock: s, addr: addr}, nil
}
