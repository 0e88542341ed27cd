//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// startAlone runs a worker without a supervisor, as the development docs do.
func (a *Appliance) startAlone(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(a.Bin, "proxy"), "--config", a.ConfigFile, "--host", a.Host, "--port", strconv.Itoa(a.Port), "--state_dir", a.Dir)
	cmd.Env, cmd.Dir = a.environ(), filepath.Dir(a.Dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if r, err := a.Do(http.MethodGet, "/health/readiness", "", nil); err == nil && r.Status == 200 {
			return
		} else if time.Now().After(deadline) {
			cancel()
			_ = cmd.Wait()
			t.Fatalf("not ready: %v %+v\n%s", err, r, &said)
		}
	}
}

// TestAnswersInMemory: many clients ask for large answers and do not read them.
// What a worker holds for them stays within the allowance, the rest get 503
// with Retry-After, and small requests are answered all the while.
func TestAnswersInMemory(t *testing.T) {
	p := fakeprovider.Start(t)
	a := New(t, Options{
		Config: fmt.Sprintf(edgeConfig, p.URL(""), p.URL("huge,bytes=20000000"), MasterKey),
		Env:    map[string]string{"LITELLM_LOG": "ERROR", "GOMEMLIMIT": "400MiB"},
	})
	a.startAlone(t)
	const clients = 60
	body := `{"model":"slow","messages":[{"role":"user","content":"hello"}]}`
	var served, refused atomic.Int64
	var all sync.WaitGroup
	release := make(chan struct{})
	for range clients {
		nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		all.Add(1)
		go func() {
			defer all.Done()
			defer nc.Close()
			_, _ = fmt.Fprintf(nc, "%sContent-Length: %d\r\n\r\n%s", rawPost, len(body), body)
			head := make([]byte, 12)
			_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.ReadFull(nc, head); err != nil {
				return
			}
			switch {
			case strings.HasSuffix(string(head), " 200"):
				served.Add(1)
				<-release
			case strings.HasSuffix(string(head), " 503"):
				refused.Add(1)
			}
		}()
	}
	for deadline := time.Now().Add(30 * time.Second); served.Load()+refused.Load() < clients && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		r, err := a.Chat(`{"model":"ok","messages":[]}`)
		if err != nil || r.Status != 200 {
			t.Fatalf("a small request: %v %+v", err, r)
		}
	}
	rss := a.RSS()
	close(release)
	all.Wait()
	t.Logf("answers in memory: of %d clients that do not read 20 MB each, %d were served and %d refused; %d MB resident", clients, served.Load(), refused.Load(), rss/1e6)
	if served.Load() == 0 || refused.Load() == 0 || served.Load()+refused.Load() != clients || rss > 500_000_000 {
		t.Error("wrong")
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		r, err := a.Chat(body)
		if err == nil && r.Status == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("large answers afterwards: %v %+v", err, r)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
