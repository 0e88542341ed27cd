package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle is a process by descriptor: its number cannot be taken over by
// another process while we look.
type handle struct {
	file *os.File
}

// openHandle opens a living process or a zombie.
func openHandle(pid int) (*handle, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &handle{file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait returns when the process has ended or the handle is closed. It blocks
// the goroutine, not a thread.
func (h *handle) wait() {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		return err == nil && n > 0
	})
}

func (h *handle) signal(sig syscall.Signal) error {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(fd uintptr) {
		sent = unix.PidfdSendSignal(int(fd), sig, nil, 0)
	}); err != nil {
		return err
	}
	return sent
}

func (h *handle) close() { _ = h.file.Close() }

// startTicks is the start time of a process in clock ticks since boot, 0 when
// there is none of this number: together with the number it is an identity.
func startTicks(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the name in parentheses and may hold anything.
	at := bytes.LastIndexByte(b, ')')
	if at < 0 {
		return 0
	}
	fields := bytes.Fields(b[at+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return 0
	}
	ticks, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

// memfd makes a memory file with the given content, offset 0, close-on-exec.
func memfd(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make memory file %s: %w", name, err)
	}
	for off := 0; off < len(content); {
		n, err := unix.Pwrite(fd, content[off:], int64(off))
		if err != nil {
			_ = syscall.Close(fd)
			return -1, fmt.Errorf("write memory file %s: %w", name, err)
		}
		off += n
	}
	return fd, nil
}

// setCloexec sets or clears close-on-exec.
func setCloexec(fd int, on bool) error {
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags)
	return err
}

// workerNice is how far workers stand behind healthd, which stands where the
// supervisor was started: probes are answered when every core is busy. Who is started
// at 19, the last there is, has workers that stand beside healthd.
const workerNice = 5

// lower gives a worker a lower claim on the CPU than we and healthd have. It counts
// from our own: a fixed one would be a higher one below a supervisor that was started
// with `nice`, which the kernel refuses. The engine puts each child into a group of
// its own; by group the call reaches every thread of it.
func lower(pid int) error {
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return fmt.Errorf("look up own priority: %w", err)
	}
	nice := min(20-own+workerNice, 19) // the system call answers 20 less the nice value
	if err := unix.Setpriority(unix.PRIO_PGRP, pid, nice); err != nil {
		return fmt.Errorf("lower priority of %d to nice %d: %w", pid, nice, err)
	}
	return nil
}

// workerScore is the memory score that workers take (fleet.EnvMemoryScore), so that
// the kernel kills one of them first. It counts from our own: kubelet gives pods up
// to 999, and what whoever may do so has raised nobody else may lower
// (proc_pid_oom_score_adj(5)).
func workerScore() string {
	const more, most = 500, 1000
	own, _ := os.ReadFile("/proc/self/oom_score_adj")
	score, _ := strconv.Atoi(string(bytes.TrimSpace(own))) // 0 where there is none
	return strconv.Itoa(min(max(score, 0)+more, most))
}
