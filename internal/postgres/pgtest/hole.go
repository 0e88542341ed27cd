package pgtest

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// Hole forwards connections to a server, and can let those that there are hang:
// both ends stay open and nothing passes, as where packets are dropped. Its
// methods may be called from several goroutines.
type Hole struct {
	listener net.Listener
	to       string
	deaf     atomic.Int64 // connections up to this number hang
	made     atomic.Int64
}

// NewHole listens on a port of its own until the test ends and forwards to an
// address, host:port.
func NewHole(tb testing.TB, to string) *Hole {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	h := &Hole{listener: l, to: to}
	tb.Cleanup(func() { _ = l.Close() })
	go h.accept() // ends with the listener
	return h
}

// Addr is where it listens, host:port.
func (h *Hole) Addr() string { return h.listener.Addr().String() }

// Hang lets the connections that there are hang until their clients end them,
// and returns how many were ever made. Those to come are forwarded.
func (h *Hole) Hang() int64 {
	n := h.made.Load()
	h.deaf.Store(n)
	return n
}

func (h *Hole) accept() {
	for {
		from, err := h.listener.Accept()
		if err != nil {
			return
		}
		var dialer net.Dialer
		to, err := dialer.DialContext(context.Background(), "tcp", h.to)
		if err != nil {
			_ = from.Close()
			continue
		}
		n := h.made.Add(1)
		go h.pass(n, from, to) // both end with either connection
		go h.pass(n, to, from)
	}
}

// pass copies one direction of connection n. One that hangs is still read, so
// that its client can send and wait as long as it likes, and ends for the other
// side never.
func (h *Hole) pass(n int64, from io.ReadCloser, to io.WriteCloser) {
	defer func() { _ = from.Close() }()
	b := make([]byte, 32<<10)
	for {
		got, err := from.Read(b)
		for n <= h.deaf.Load() {
			if err != nil {
				return // the other side never hears of it
			}
			_, err = from.Read(b)
		}
		if err == nil {
			_, err = to.Write(b[:got])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}
