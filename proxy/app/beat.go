package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"sluice/supervisor/fleet"
)

// selfTimeout bounds one request of the worker to itself.
const selfTimeout = time.Second

var selfRequest = []byte("GET /health/liveliness HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n")

// askSelf passes one request through the worker's own server, over its private
// socket: over TCP the kernel would pick a neighbour.
func askSelf(socket string) error {
	dialer := net.Dialer{Timeout: selfTimeout}
	c, err := dialer.DialContext(context.Background(), "unix", socket)
	if err != nil {
		return fmt.Errorf("dial self: %w", err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(selfTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(selfRequest); err != nil {
		return fmt.Errorf("ask self: %w", err)
	}
	status, err := bufio.NewReaderSize(c, 512).ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("hear from self: %w", err)
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return errors.New("asked itself and got " + string(bytes.TrimSpace(status)))
	}
	return nil
}

// beat proves once that the worker answers and says so in the host table.
func (w *worker) beat() {
	if err := askSelf(w.socket); err != nil {
		w.log.Warn("request to self failed", errAttr(err))
		return
	}
	g := w.table.Generation(w.area)
	g.Beat.Store(fleet.Now())
	m := memoryNow()
	if g.Ready.Load() != 0 && w.trimmer.due(m.own, g.Requests.Load()) { // a start has no time for it
		m = w.trimmer.trim(m)
	}
	g.RSS.Store(m.resident)
}

// memory is what this process has in memory.
type memory struct {
	resident uint64 // bytes of all kinds
	own      uint64 // those that belong to no file and are shared with nobody
}

// memoryNow reads it (proc(5), statm); zero where it cannot be read.
func memoryNow() (m memory) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return m
	}
	fields := bytes.Fields(b)
	if len(fields) < 3 {
		return m
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return m
	}
	shared, err := strconv.ParseUint(string(fields[2]), 10, 64)
	if err != nil || shared > pages {
		return m
	}
	size := uint64(os.Getpagesize())
	return memory{resident: pages * size, own: (pages - shared) * size}
}
