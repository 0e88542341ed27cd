package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A listener that is closed, or shut down, resets what is queued on it: also
// handshakes whose last packet is still on the way. So before that its door is
// closed: the kernel drops the first packet of every new connection, and what
// had begun comes to its end. The client sends that packet again after a
// second, and is refused by then.

// onlySYN is a socket filter (socket(7), SO_ATTACH_FILTER; needs no privilege)
// that drops a TCP packet with SYN and without ACK, and passes all others. It
// sees the packet from the TCP header on; byte 13 holds the flags.
var onlySYN = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// closeDoor lets no new connection reach the queue of a TCP listener.
func closeDoor(fd int) error {
	filter := onlySYN
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// refuse ends a listener for all who hold it: new connections are refused, and
// what is queued is reset.
func refuse(fd int) error {
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		return fmt.Errorf("shut listener down: %w", err)
	}
	return nil
}

// reopen undoes closeDoor and refuse: a supervisor that died while it stopped
// left the listener so.
func reopen(fd int) {
	// Fails where no filter is attached.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	// On a socket that listens it does nothing but set the backlog again.
	_ = unix.Listen(fd, backlog)
}

// pending is how many connections wait on a listener; on a unix socket at most
// one is seen.
func pending(s socket) int {
	if s.Network == "tcp" {
		return waiting(s.fd)
	}
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(p, 0); err != nil || n <= 0 || p[0].Revents&unix.POLLIN == 0 {
		return 0
	}
	return 1
}
