package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bouncer starts PgBouncer in transaction mode before the server for one test.
// It returns the URL of a database by way of it. Session settings are refused,
// as they are where nobody configured otherwise.
func (s *Server) Bouncer(tb testing.TB, databaseURL string) string {
	tb.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		bin = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(bin); err != nil {
		tb.Fatal("PgBouncer is not installed: apt-get install --no-install-recommends pgbouncer")
	}
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(s.Dir, fmt.Sprintf("bouncer-%d.ini", port))
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 200\nlogfile = %s.log\n", s.Port, port, file)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // PgBouncer runs as another user
		tb.Fatal(err)
	}
	c := exec.CommandContext(context.Background(), bin, "-q", file)
	c.Dir, c.SysProcAttr = s.Dir, &syscall.SysProcAttr{Credential: s.login}
	if err := c.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for range 200 {
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(context.Background(), "tcp", address); err == nil {
			_ = conn.Close()
			return strings.Replace(databaseURL, fmt.Sprintf("127.0.0.1:%d", s.Port), address, 1)
		}
		time.Sleep(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(file + ".log")
	tb.Fatalf("PgBouncer does not answer: %s", log)
	return ""
}
