package postgres_test

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/postgres"
)

// A server that stood still so long that the kernel's queue of its connections
// is full drops who comes. Who asks meanwhile is in soon after there is room,
// and does not wait until the kernel asks again: after 1, 3, 7 and 15 seconds, or
// after each of the first few and then 7 and 11.
func TestFullBacklog(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 4); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*unix.SockaddrInet4).Port}
	waiting := 0
	for ; waiting < 100; waiting++ {
		nc, err := net.DialTimeout("tcp", addr.String(), 300*time.Millisecond)
		if err != nil {
			break
		}
		defer func() { _ = nc.Close() }()
	}
	if waiting == 100 {
		t.Fatal("100 connections do not fill a queue of 4")
	}
	source, err := postgres.ParseURL("postgres://user@" + addr.String() + "/db")
	if err != nil {
		t.Fatal(err)
	}
	c, err := source.Config(postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const still = 7300 * time.Millisecond // just after the kernel has asked
	began := time.Now()
	time.AfterFunc(still, func() {
		for range waiting {
			if peer, _, err := unix.Accept(fd); err == nil {
				_ = unix.Close(peer)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	nc, err := c.DialFunc(ctx, "tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	if late := time.Since(began) - still; late < 0 || late > 3*time.Second {
		t.Errorf("connected %v after there was room", late)
	}
}
