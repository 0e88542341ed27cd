//go:build e2e

package e2e

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// standstill is how long an accept loop stands still, far beyond what a
// connection may wait.
const standstill = 6 * time.Second

// stuckWaits has the accept loop of one worker stand still and opens
// connections all the while, each for one request. It returns how long each
// took, and how many failed.
func stuckWaits(t *testing.T, a *Appliance) (waits []time.Duration, failed int) {
	t.Helper()
	r, err := a.Do(http.MethodPost, "/v1/chat/completions", `{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`,
		map[string]string{
			"Authorization": "Bearer " + a.Key, "Content-Type": "application/json",
			"X-Sluice-Stuck": standstill.String(), "Connection": "close",
		})
	if err != nil || r.Status != http.StatusOK {
		t.Fatalf("the request that stops an accept loop: %v %+v", err, r)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var mu sync.Mutex // guards waits and failed
	var all sync.WaitGroup
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range int(standstill / (20 * time.Millisecond)) {
		<-tick.C
		all.Add(1)
		go func() {
			defer all.Done()
			began := time.Now()
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.URL()+"/health/liveliness", http.NoBody)
			if err == nil {
				var resp *http.Response
				if resp, err = client.Do(req); err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if waits = append(waits, time.Since(began)); err != nil {
				failed++
				t.Logf("failed: %v", err)
			}
		}()
	}
	all.Wait()
	slices.Sort(waits)
	return waits, failed
}

// An accept loop that stands still in a worker that is well otherwise is seen
// from outside: the worker is replaced, and no connection waits for it to come
// back. Without a supervisor to see it they do.
func TestAcceptLoopStandsStill(t *testing.T) {
	t.Run("supervised", func(t *testing.T) {
		a := Boot(t, Options{Variant: Bad})
		waits, failed := stuckWaits(t, a)
		longest := waits[len(waits)-1]
		s := a.WaitStatus(5*time.Second, "replaced", func(s fleet.Status) bool { return s.Recycles.ByReason["hang"] == 1 })
		t.Logf("show 2: accept loop stood still: %d connections, %d failed, longest wait %v, median %v, recycles %v",
			len(waits), failed, longest, waits[len(waits)/2], s.Recycles.ByReason)
		if failed != 0 || longest > 2500*time.Millisecond {
			t.Errorf("%d of %d connections failed, the longest waited %v", failed, len(waits), longest)
		}
		if !strings.Contains(a.Log(), "stalled=true") || strings.Contains(a.Log(), "silent=true") {
			t.Error("the log does not say that the worker was stalled but not silent")
		}
	})
	t.Run("known bad", func(t *testing.T) {
		a := Boot(t, Options{Variant: Bad})
		a.WaitStatus(10*time.Second, "both slots ready", func(s fleet.Status) bool { // nobody is there to fill a slot later
			return !slices.ContainsFunc(s.Slots, func(s fleet.SlotStatus) bool { return s.State != fleet.StateReady.String() })
		})
		a.Signal(syscall.SIGSTOP)
		waits, _ := stuckWaits(t, a)
		a.Signal(syscall.SIGCONT)
		longest := waits[len(waits)-1]
		t.Logf("known bad: nobody watches: longest wait %v", longest)
		if longest < 3*time.Second {
			t.Errorf("the longest waited only %v: the test above shows nothing", longest)
		}
	})
}
