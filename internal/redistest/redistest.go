// Package redistest gives tests a real Redis: the one that SLUICE_TEST_REDIS
// names (host:port), or private processes of the Debian package: a server, a
// cluster, a master that a sentinel watches, with TLS and with users. Fault
// tests stop, kill or stall the private ones.
package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

	dir  string
	args []string
	file string // configuration, of a sentinel
	cmd  *exec.Cmd
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

// New starts a private Redis for one test, with further arguments of its
// command line.
func New(tb testing.TB, args ...string) *Server {
	tb.Helper()
	return On(tb, "127.0.0.1", args...)
}

// On is New on an address of this machine.
func On(tb testing.TB, host string, args ...string) *Server {
	tb.Helper()
	s := &Server{Addr: free(tb, host), dir: tb.TempDir(), args: args}
	s.Start(tb)
	tb.Cleanup(func() { s.end(syscall.SIGKILL) })
	return s
}

// free is an address that nobody listens on at present.
func free(tb testing.TB, host string) string {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// Start starts the server and waits until it answers.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatal("Redis is not installed: apt-get install --no-install-recommends redis-server, or set " + EnvAddress)
	}
	host, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{"--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no"}, s.args...)
	if s.file != "" {
		args = append([]string{s.file}, s.args...)
	}
	s.cmd = exec.CommandContext(context.Background(), path, args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		tb.Fatalf("start Redis: %v", err)
	}
	s.wait(tb, func() error { return ping(s.Addr) })
}

// wait waits until a condition holds.
func (s *Server) wait(tb testing.TB, cond func() error) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			tb.Fatalf("Redis at %s: %v\n%s", s.Addr, err, said)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func ping(addr string) error {
	answer, err := do(addr, "PING")
	if err == nil && answer != "PONG" && !strings.HasPrefix(answer, "NOAUTH") {
		err = errors.New("answered " + strconv.Quote(answer))
	}
	return err
}

// Do runs a command and returns the answer, an error's text too; the elements
// of a list are lines.
func (s *Server) Do(tb testing.TB, args ...string) string {
	tb.Helper()
	answer, err := do(s.Addr, args...)
	if err != nil {
		tb.Fatalf("Redis at %s: %s: %v", s.Addr, args[0], err)
	}
	return answer
}

func do(addr string, args ...string) (string, error) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return answer(bufio.NewReader(c))
}

// answer reads one answer of the protocol's second version.
func answer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 {
		return "", fmt.Errorf("read an answer: %w", err)
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	n, _ := strconv.Atoi(rest)
	switch kind {
	case '$':
		if n < 0 {
			return "", nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return string(text[:n]), err
	case '*':
		var all []string
		for range n {
			one, err := answer(r)
			if err != nil {
				return "", err
			}
			all = append(all, one)
		}
		return strings.Join(all, "\n"), nil
	}
	return rest, nil
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
