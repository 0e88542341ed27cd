// Package redistest gives tests a real Redis: the one that SLUICE_TEST_REDIS
// names (host:port), or a private process of the Debian package. Fault tests
// stop, kill or stall the private one.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice/internal/env"
)

// EnvAddress names a server to use instead of a private one.
const EnvAddress = "SLUICE_TEST_REDIS"

// Server is a private Redis without persistence. Its methods fail the test;
// they are for one goroutine.
type Server struct {
	// Addr is host:port; it stays the same over Stop and Start.
	Addr string

	dir string
	cmd *exec.Cmd
}

// Addr is the address of a Redis for one test: the one that the environment
// names, which other tests may use too, or a private one.
func Addr(tb testing.TB) string {
	tb.Helper()
	if addr := env.Process().Get(EnvAddress); addr != "" {
		return addr
	}
	return New(tb).Addr
}

// New starts a private Redis for one test.
func New(tb testing.TB) *Server {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), dir: tb.TempDir()}
	_ = l.Close()
	s.Start(tb)
	tb.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}

// Start starts the server and waits until it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatal("Redis is not installed: apt-get install --no-install-recommends redis-server, or set " + EnvAddress)
	}
	host, port, _ := net.SplitHostPort(s.Addr)
	s.cmd = exec.CommandContext(context.Background(), path, "--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		tb.Fatalf("start Redis: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		err := ping(ctx, s.Addr)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("Redis does not answer: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func ping(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	var answer [7]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	if string(answer[:]) != "+PONG\r\n" {
		return errors.New("answered " + strconv.Quote(string(answer[:])))
	}
	return nil
}

// Stop ends the server in order.
func (s *Server) Stop(tb testing.TB) { tb.Helper(); s.end(syscall.SIGTERM) }

// Kill ends the server at once.
func (s *Server) Kill(tb testing.TB) { tb.Helper(); s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait() // its exit status is the signal
	s.cmd = nil
}

// Stall stops the process (SIGSTOP): connections stay open, nothing answers.
func (s *Server) Stall(tb testing.TB) { tb.Helper(); s.signal(tb, syscall.SIGSTOP) }

// Continue ends a Stall.
func (s *Server) Continue(tb testing.TB) { tb.Helper(); s.signal(tb, syscall.SIGCONT) }

func (s *Server) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		tb.Fatal(fmt.Errorf("signal Redis: %w", err))
	}
}
