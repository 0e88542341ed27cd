package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A closed door keeps new connections out and loses none that is queued; after
// refuse they are refused; reopen undoes both.
func TestDoor(t *testing.T) {
	e := endpoint{name: mainName, network: "tcp", address: "127.0.0.1:0"}
	first, err := e.bind([]int{0}, false) // and e has a port, which an opened door must find again
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(first[0].fd) }()
	port, err := boundPort(first[0].fd)
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.bind([]int{0}, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Shutdown(first[0].fd, unix.SHUT_RD)
	fd := made[0].fd
	defer func() { _ = unix.Close(fd) }()
	dial := func(wait time.Duration) (net.Conn, error) {
		return net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))), wait)
	}
	queued, err := dial(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer queued.Close()
	if err := closeDoor(fd); err != nil {
		t.Fatal(err)
	}
	late := make(chan error, 1)
	go func() { // ends with its dial
		c, err := dial(5 * time.Second)
		if err == nil {
			_ = c.Close()
		}
		late <- err
	}()
	if _, err := queued.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n := pending(made[0]); n != 1 {
		t.Fatalf("%d connections wait, want the one from before", n)
	}
	accepted, _, err := unix.Accept(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(accepted) }()
	buf := make([]byte, 5)
	if n, err := unix.Read(accepted, buf); err != nil || !bytes.Equal(buf[:n], []byte("hello")) {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	time.Sleep(50 * time.Millisecond)
	if n := pending(made[0]); n != 0 {
		t.Fatalf("%d connections came through the closed door", n)
	}
	if err := refuse(fd); err != nil {
		t.Fatal(err)
	}
	if err := <-late; !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("who knocked at the closed door: %v, want refused", err)
	}
	if _, err := dial(time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("after refuse: %v", err)
	}
	if _, err := unix.Write(accepted, buf); err != nil {
		t.Fatalf("an accepted connection suffers: %v", err)
	}
	if _, err := io.ReadFull(queued, buf); err != nil {
		t.Fatalf("an accepted connection suffers: %v", err)
	}
	reopen(fd)
	again, err := dial(time.Second)
	if err != nil {
		t.Fatalf("after reopen: %v", err)
	}
	_ = again.Close()
}
