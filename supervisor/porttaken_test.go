package main

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// A port that nobody can be named for, as a dying process has it, is waited for:
// here the listener is on its way between two sockets.
func TestDyingHolder(t *testing.T) {
	addr := netip.MustParseAddr("127.0.0.1")
	fd, err := bindTCP(addr, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	port, err := boundPort(fd)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Sendmsg(pair[0], []byte{0}, syscall.UnixRights(fd), nil, 0); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(fd)
	if who, listens := holders(port); len(who) > 0 || !listens {
		t.Fatalf("held by %v, %v", who, listens)
	}
	time.AfterFunc(300*time.Millisecond, func() { _, _ = syscall.Close(pair[0]), syscall.Close(pair[1]) })
	began := time.Now()
	if err := probePort(addr, port); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
