package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a private cluster on a free port of the loopback interface and on
// a unix socket. Its methods fail the test; they are for one goroutine.
type Server struct {
	// Port is the TCP port; it stays the same over Stop and Start.
	Port int
	// Dir is the cluster's folder; the unix socket is in it too.
	Dir string

	bin      string
	login    *syscall.Credential // nil: as we are
	pid      int
	settings []string // of Configure

	keeper io.Closer // held open for the life of the cluster
}

// New starts a cluster for one test and removes it afterwards.
func New(tb testing.TB) *Server {
	tb.Helper()
	s, err := create()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.remove)
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// startShared starts the cluster of the test process. A test binary has no
// moment after its last test: the keeper ends it.
func startShared() (*Server, error) {
	s, err := create()
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// binaries finds the newest PostgreSQL of Debian.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: apt-get install --no-install-recommends postgresql, or set " + EnvURL)
	}
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// create makes the files of a cluster.
func create() (*Server, error) {
	return createBy(func(s *Server) *exec.Cmd {
		return s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
	})
}

// createBy makes the files of a cluster by a command. The server refuses to run
// as root, so root runs it as the user postgres.
func createBy(fill func(s *Server) *exec.Cmd) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.Dir, err = os.MkdirTemp("", "pgtest"); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, fmt.Errorf("root cannot run PostgreSQL: %w", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		s.login = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.Dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if s.keeper, err = keep(s.Dir); err != nil {
		_ = os.RemoveAll(s.Dir)
		return nil, err
	}
	if s.Port, err = freePort(); err != nil {
		s.remove()
		return nil, err
	}
	c := fill(s)
	out, err := c.CombinedOutput()
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, out)
	}
	return s, nil
}

func freePort() (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), filepath.Join(s.bin, name), args...)
	c.Dir = s.Dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.login}
	return c
}

// start starts the cluster and waits until it answers.
func (s *Server) start() error {
	// Nothing of a test outlives its machine: no fsync. A deadlock is looked for at
	// once: tests that bring some about need not wait a second for each.
	options := fmt.Sprintf("-p %d -k %s -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=200 -c shared_buffers=32MB -c deadlock_timeout=50ms",
		s.Port, s.Dir)
	for _, setting := range s.settings {
		options += " -c " + setting
	}
	out, err := s.command("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.Dir, "log"), "-w", "-t", "60", "-o", options, "start").CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
		return fmt.Errorf("start PostgreSQL: %w: %s %s", err, out, log)
	}
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return fmt.Errorf("find the postmaster: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	s.pid, err = strconv.Atoi(first)
	return err
}

func (s *Server) remove() {
	if s.pid != 0 {
		s.signalAll(syscall.SIGCONT)
		_ = syscall.Kill(s.pid, syscall.SIGQUIT)
		s.wait()
	}
	_ = os.RemoveAll(s.Dir)
	_ = s.keeper.Close()
}

func (s *Server) wait() {
	for range 400 {
		// Gone, or a zombie where nobody reaps orphans.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
		if err != nil || strings.Contains(string(status), "State:\tZ") {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	s.pid = 0
}

// URL is the address of a database over TCP, as the superuser.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Database makes an empty database on this server.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	return fresh(tb, s.URL("postgres"))
}

// Stop ends the server as an operator would (fast mode).
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	out, err := s.command("pg_ctl", "-D", s.data(), "-m", "fast", "-w", "stop").CombinedOutput()
	if err != nil {
		tb.Fatalf("stop PostgreSQL: %v: %s", err, out)
	}
	s.pid = 0
}

// Start starts a stopped or killed server on the same port and data.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

// Kill ends the server and all its backends at once, without a shutdown.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.signalAll(syscall.SIGKILL)
	s.wait()
	_ = os.Remove(filepath.Join(s.data(), "postmaster.pid"))
	socket := filepath.Join(s.Dir, ".s.PGSQL."+strconv.Itoa(s.Port))
	_, _ = os.Remove(socket), os.Remove(socket+".lock")
}

// Crash ends the server by its mode immediate: its processes go without a
// shutdown, clients are cut off in the middle of what they do, and the next Start
// recovers from the log of what was committed.
func (s *Server) Crash(tb testing.TB) {
	tb.Helper()
	out, err := s.command("pg_ctl", "-D", s.data(), "-m", "immediate", "-w", "stop").CombinedOutput()
	if err != nil {
		tb.Fatalf("crash PostgreSQL: %v: %s", err, out)
	}
	s.pid = 0
}

// Recoveries is how often the server has recovered from a crash at its start.
func (s *Server) Recoveries(tb testing.TB) int {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(text), "automatic recovery in progress")
}

// Stall stops all processes of the server (SIGSTOP): connections stay open and
// nothing answers.
func (s *Server) Stall(tb testing.TB) { tb.Helper(); s.signalAll(syscall.SIGSTOP) }

// Continue ends a Stall.
func (s *Server) Continue(tb testing.TB) { tb.Helper(); s.signalAll(syscall.SIGCONT) }

// signalAll signals the postmaster, then its children.
func (s *Server) signalAll(sig syscall.Signal) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", s.pid, s.pid))
	_ = syscall.Kill(s.pid, sig)
	for field := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(pid, sig)
		}
	}
}

// Ready waits until the server answers.
func (s *Server) Ready(tb testing.TB, within time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("PostgreSQL does not answer: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
