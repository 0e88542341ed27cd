package main

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// A port that nobody can be named for becomes free: it was a dying process's.
func TestDyingHolder(t *testing.T) {
	addr := netip.MustParseAddr("127.0.0.1")
	fd, err := bindTCP(addr, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	port, err := boundPort(fd)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Close(fd) })
	began := time.Now()
	if err := probePort(addr, port); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
