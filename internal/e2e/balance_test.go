//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// keptConn is a connection that a client keeps.
type keptConn struct {
	net.Conn
	r *bufio.Reader
}

func (a *Appliance) dial() (*keptConn, error) {
	nc, err := net.Dial("tcp", a.Addr())
	if err != nil {
		return nil, err
	}
	return &keptConn{nc, bufio.NewReader(nc)}, nil
}

// ask sends one chat completion and reads the answer whole.
func (c *keptConn) ask(key, model string) error {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello"}]}`, model)
	_, err := fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body)
	if err != nil {
		return err
	}
	r, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", r.StatusCode, b)
	}
	return err
}

// A few kept connections, opened at once or one after the other, spread evenly
// over the workers, which the kernel's hashing alone does not do.
func TestBalance(t *testing.T) {
	const slots = 4
	a := boot(t, Options{Workers: slots, Env: quietly})
	a.client.CloseIdleConnections()
	time.Sleep(time.Second) // four workers that have just started on two processors are busy with themselves
	for _, n := range []int{16, 32} {
		for _, at := range []string{"at once", "one by one"} {
			t.Run(fmt.Sprintf("%d %s", n, at), func(t *testing.T) {
				var worst int64
				for range length(5, 50) {
					worst = max(worst, a.spread(t, n, at == "at once"))
				}
				t.Logf("show 6: %d kept connections opened %s: the busiest of %d slots had mean + %d at worst", n, at, slots, worst-int64(n/slots))
				if worst > int64(n/slots)+2 {
					t.Errorf("busiest slot has %d connections, mean %d", worst, n/slots)
				}
			})
		}
	}
}

// Left to the kernel's hashing, connections do pile up: the test can see it.
func TestBalanceKnownBad(t *testing.T) {
	const slots, n = 4, 32
	a := Boot(t, Options{Variant: Bad, Workers: slots, Env: map[string]string{"SLUICE_TEST_BAD": "unshared"}})
	a.client.CloseIdleConnections()
	var worst int64
	for range 10 {
		worst = max(worst, a.spread(t, n, true))
	}
	t.Logf("known-bad: the busiest of %d slots had mean + %d of %d connections", slots, worst-n/slots, n)
	if worst <= n/slots+2 {
		t.Errorf("busiest slot has %d connections of %d: the test does not see what it should", worst, n)
	}
}

// spread opens n connections, uses each, and returns how many the busiest slot
// has.
func (a *Appliance) spread(t *testing.T, n int, atOnce bool) int64 {
	t.Helper()
	a.WaitStatus(10*time.Second, "without connections", func(s fleet.Status) bool { return connections(s) == 0 })
	conns := make([]*keptConn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	one := func(i int) {
		c, err := a.dial()
		if err != nil {
			t.Error(err)
			return
		}
		conns[i] = c
		if err := c.ask(a.Key, "demo"); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	var wg sync.WaitGroup
	for i := range n {
		if !atOnce {
			one(i)
			continue
		}
		wg.Go(func() { one(i) })
	}
	wg.Wait()
	s := a.WaitStatus(10*time.Second, "holding all connections", func(s fleet.Status) bool { return connections(s) == int64(n) })
	var each []int64
	for _, slot := range s.Slots {
		var held int64
		for _, g := range slot.Generations {
			held += g.Connections
		}
		each = append(each, held)
	}
	slices.Sort(each)
	if t.Failed() || each[len(each)-1] > int64(n/len(each))+2 {
		t.Logf("connections by slot: %v", each)
	}
	return each[len(each)-1]
}
