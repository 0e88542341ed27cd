//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// A client that hangs up, before the answer, inside a stream, or by a reset,
// has its provider call cancelled within a second.
func TestHangUp(t *testing.T) {
	p, err := fakeprovider.New(fakeprovider.Config{Ledger: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	model := func(name, script string) string {
		return fmt.Sprintf("  - model_name: %s\n    litellm_params: {model: openai/x, api_key: x, api_base: %q}\n", name, p.URL(script))
	}
	a := boot(t, Options{Env: quietly, Config: "model_list:\n" + model("waits", "slow,for=30s/ok") +
		model("streams", "ok,n=2000,every=20ms") + model("silent", "stall,at=400") +
		"general_settings: {master_key: " + MasterKey + "}\n"})
	for _, c := range []struct {
		name, model string
		stream      bool
		reset       bool
	}{
		{"waiting call, FIN", "waits", false, false},
		{"waiting call, RST", "waits", false, true},
		{"stream before its first byte", "waits", true, false},
		{"stream of events, FIN", "streams", true, false},
		{"stream of events, RST", "streams", true, true},
		{"stream that is silent", "silent", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := length(50, 500)
			gone := make([]time.Time, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					id := fmt.Sprintf("%s-%v-%d", c.name, c.reset, i)
					var err error
					if gone[i], err = a.hangUp(p, id, c.model, c.stream, c.reset); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(5 * time.Millisecond) // each at another moment of the sweeper's turn
			}
			wg.Wait()
			var took []time.Duration
			deadline := time.Now().Add(10 * time.Second)
			for i := range n {
				e, ok := cancelled(p, fmt.Sprintf("%s-%v-%d", c.name, c.reset, i), deadline)
				if !ok {
					t.Errorf("call %d was not cancelled: %+v", i, e)
					continue
				}
				took = append(took, e.Gone.Sub(gone[i]))
			}
			if len(took) == 0 {
				return
			}
			slices.Sort(took)
			p99 := took[(len(took)*99-1)/100]
			t.Logf("show 6: hang-up to cancelled provider call, %s: p50 %v, p99 %v, worst %v of %d", c.name, took[len(took)/2], p99, took[len(took)-1], len(took))
			if p99 > time.Second {
				t.Errorf("p99 %v, want 1 s at most", p99)
			}
		})
	}
	if r, err := a.Chat(`{"model":"nobody","messages":[]}`); err != nil || r.Status != 400 {
		t.Errorf("after all that: %v %+v", err, r)
	}
}

// A worker that does not look at its clients goes on: the test can see it.
func TestHangUpKnownBad(t *testing.T) {
	p := fakeprovider.Start(t)
	a := Boot(t, Options{Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": "deaf"}, Config: fmt.Sprintf(
		"model_list:\n  - model_name: waits\n    litellm_params: {model: openai/x, api_key: x, api_base: %q}\ngeneral_settings: {master_key: %s}\n",
		p.URL("slow,for=4s/ok"), MasterKey)})
	if _, err := a.hangUp(p, "bad", "waits", false, false); err != nil {
		t.Fatal(err)
	}
	if e, ok := cancelled(p, "bad", time.Now().Add(2*time.Second)); ok {
		t.Errorf("cancelled by a worker that notices nothing: %+v", e)
	}
}

// hangUp sends a call, waits until the provider has it and, for one that
// streams, until some of it has come, and closes. It returns when it did.
func (a *Appliance) hangUp(p *fakeprovider.Provider, id, model string, stream, reset bool) (time.Time, error) {
	nc, err := net.Dial("tcp", a.Addr())
	if err != nil {
		return time.Time{}, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hello"}],"user":%q,"stream":%v}`, model, id, stream)
	_, err = fmt.Fprintf(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", a.Key, len(body), body)
	if err != nil {
		return time.Time{}, err
	}
	for deadline := time.Now().Add(10 * time.Second); len(p.Ledger().Of(id)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return time.Time{}, fmt.Errorf("%s: the provider has not seen the call", id)
		}
	}
	if model != "waits" {
		if _, err := bufio.NewReader(nc).ReadString('\n'); err != nil {
			return time.Time{}, fmt.Errorf("%s: read the start of the stream: %w", id, err)
		}
	}
	if tcp, ok := nc.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	return time.Now(), nc.Close()
}

// cancelled waits until the provider has seen the end of the connection of a
// call.
func cancelled(p *fakeprovider.Provider, id string, deadline time.Time) (fakeprovider.Entry, bool) {
	for {
		entries := p.Ledger().Of(id)
		if len(entries) == 1 && entries[0].Cancelled {
			return entries[0], true
		}
		if time.Now().After(deadline) {
			if len(entries) > 0 {
				return entries[0], false
			}
			return fakeprovider.Entry{}, false
		}
		time.Sleep(10 * time.Millisecond)
	}
}
