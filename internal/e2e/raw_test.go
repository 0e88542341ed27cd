//go:build e2e

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// Ledgered is a provider that remembers what it served.
func Ledgered(t *testing.T) *fakeprovider.Provider {
	t.Helper()
	p, err := fakeprovider.New(fakeprovider.Config{Ledger: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// rawConn is a client connection that sees when its server closes, and how.
type rawConn struct {
	nc   net.Conn
	r    *bufio.Reader
	key  string
	used time.Time // when its last answer had come
}

func (a *Appliance) dialRaw(t *testing.T) *rawConn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &rawConn{nc: nc, r: bufio.NewReader(nc), key: a.Key, used: time.Now()}
}

// send writes a chat completion request of that id.
func (c *rawConn) send(model, id string) error {
	body := fmt.Sprintf(`{"model":%q,"user":%q,"messages":[{"role":"user","content":"hello"}]}`, model, id)
	_, err := fmt.Fprintf(c.nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.key, len(body), body)
	return err
}

// chat sends a request and reads its answer; it ends the test if there is none.
func (c *rawConn) chat(t *testing.T, model, id string) *http.Response {
	t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(20 * time.Second))
	if err := c.send(model, id); err != nil {
		t.Fatalf("%s: send: %v", id, err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("%s: read: %v", id, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatalf("%s: read body: %v", id, err)
	}
	c.used = time.Now()
	return resp
}

// untilFIN waits until the server ends the connection in order and returns for
// how long it had been idle.
func (c *rawConn) untilFIN(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(most))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after %v idle: %v, want an orderly end", time.Since(c.used), err)
	}
	return time.Since(c.used)
}

// intoFIN sends a request after the server's FIN. It must be taken without a
// reset for as long as the server reads on.
func (c *rawConn) intoFIN(t *testing.T, id string) {
	t.Helper()
	if err := c.send("whole", id); err != nil {
		t.Errorf("%s: send after FIN: %v", id, err)
		return
	}
	for range 10 {
		time.Sleep(20 * time.Millisecond)
		tcp, ok := c.nc.(*net.TCPConn)
		if !ok {
			panic("BUG: not a TCP connection")
		}
		raw, err := tcp.SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		var code int
		if err := raw.Control(func(fd uintptr) {
			code, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		}); err != nil || code != 0 {
			t.Errorf("%s: after FIN: %v %v", id, err, syscall.Errno(code))
			return
		}
	}
}
