//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// limitModels answer at once, or after half a minute.
var limitModels = []moneyModel{
	{group: "plain", id: "d-plain", script: "ok,body=600", in: 3000, out: 15_000},
	{group: "waits", id: "d-waits", script: "slow,for=30s/ok", in: 3000, out: 15_000},
}

// admissions are the times at which the provider saw the calls of a load.
func (w *moneyWorld) admissions(prefix string) (times []time.Time) {
	for _, e := range w.p.Ledger().All() {
		if strings.HasPrefix(e.ID, prefix+"-") {
			times = append(times, e.Start)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// steadyRate looks at all pairs of admissions of a limit a minute whose burst is
// the limit: in any t seconds there are limit + floor(limit t / 60) at most.
// What was admitted may reach the provider later by up to late.
func steadyRate(times []time.Time, limit int, late time.Duration) (worst string) {
	over := 0
	for i := range times {
		for j := i; j < len(times); j++ {
			d := times[j].Sub(times[i]) + late
			may := limit + int(math.Floor(float64(limit)*d.Seconds()/60))
			if n := j - i + 1; n-may > over {
				over = n - may
				worst = fmt.Sprintf("%d calls in %v, where %d may be", n, d, may)
			}
		}
	}
	return worst
}

// hammer has many clients call with one key until the time is over, each again
// soon after it was refused.
func (w *moneyWorld) hammer(prefix string, key moneyKey, until time.Time) []moneyCall {
	l := w.newLoad(prefix)
	for range 12 {
		l.done.Go(func() {
			for time.Now().Before(until) {
				c := moneyCall{id: fmt.Sprintf("%s-%d", prefix, l.number.Add(1)), kind: moneyKind{group: "plain"}}
				l.send(&c, w.url, key.key, 0, -1)
				l.mu.Lock()
				l.calls = append(l.calls, c)
				l.mu.Unlock()
				time.Sleep(25 * time.Millisecond)
			}
		})
	}
	l.done.Wait()
	l.client.CloseIdleConnections()
	return l.calls
}

// statusCount counts the calls with a status.
func statusCount(calls []moneyCall, status int) (n int) {
	for i := range calls {
		if calls[i].status == status {
			n++
		}
	}
	return n
}

// refusedFor wants a call that was refused for a limit to say so.
func refusedFor(t *testing.T, calls []moneyCall, descriptor, kind, limit string) {
	t.Helper()
	for i := range calls {
		c := &calls[i]
		if c.status != http.StatusTooManyRequests {
			continue
		}
		text := string(c.body)
		if !strings.Contains(text, "Rate limit exceeded for "+descriptor) || !strings.Contains(text, "Limit type: "+kind) || !strings.Contains(text, "Current limit: "+limit) ||
			c.header.Get("Retry-After") == "" || c.header.Get("rate_limit_type") == "" {
			t.Errorf("refused with %s, headers %v", text, c.header)
		}
		return
	}
	t.Error("nobody was refused")
}

// TestLimits: 100 requests a minute on four workers that are killed meanwhile,
// counted as they come and by the minutes of the clock.
func TestLimits(t *testing.T) {
	for _, window := range []string{"gcra", "fixed"} {
		t.Run(window, func(t *testing.T) {
			t.Parallel()
			w := limited(t, Options{Workers: 4}, window)
			key := moneyKey{key: w.hosts[0].generate(`{"rpm_limit":100}`)}
			began := time.Now()
			// Over the end of a minute, so that both forms have something to show.
			until := began.Truncate(time.Minute).Add(time.Minute + 8*time.Second)
			if least := length(20*time.Second, 5*time.Minute); until.Sub(began) < least {
				until = until.Add(least)
			}
			stop, kills := make(chan struct{}), make(chan int, 1)
			go func() { defer close(kills); kills <- w.killWorkers(400*time.Millisecond, 1500*time.Millisecond, stop) }() // ends with stop
			calls := w.hammer("rpm", key, until)
			close(stop)
			times := w.admissions("rpm")
			lost := statusCount(calls, 0)
			t.Logf("show 2 %s: limit 100 a minute, %v, %d workers killed: %d admitted, %d refused, %d calls lost with workers", window,
				until.Sub(began).Round(time.Second), <-kills, len(times), statusCount(calls, http.StatusTooManyRequests), lost)
			refusedFor(t, calls, "api_key", "requests", "100")
			var least int
			if window == "gcra" {
				if worst := steadyRate(times, 100, 50*time.Millisecond); worst != "" {
					t.Error(worst)
				}
				// The last calls are later than the first by this much.
				least = 100 + int(100*(until.Sub(began)-time.Second).Seconds()/60)
			} else {
				least = w.fixedWindows(times)
			}
			if len(times) < least-lost-2 {
				t.Errorf("%d admitted, %d should have been, and %d calls were lost", len(times), least, lost)
			}
		})
	}
}

// limited is a host with limits counted in a way.
func limited(t *testing.T, o Options, window string) *moneyWorld {
	t.Helper()
	return newMoney(t, moneyOptions{
		Options: o, sqlite: true, models: limitModels,
		settings: "general_settings: {proxy_batch_write_at: 1, rate_limit_window: " + window + "}\n",
	})
}

// fixedWindows wants no minute of the clock to have more than 100, and returns
// how many there should be in all.
func (w *moneyWorld) fixedWindows(times []time.Time) (least int) {
	w.t.Helper()
	counts := map[int64]int{}
	for _, at := range times {
		counts[at.Unix()/60]++
	}
	w.t.Logf("show 2 fixed: %v by minute", counts)
	for minute, n := range counts {
		if n > 100 {
			w.t.Errorf("%d in minute %d", n, minute)
		}
	}
	return 100 * len(counts)
}

// TestLimitsKnownBad: the same finds workers that count each for itself.
func TestLimitsKnownBad(t *testing.T) {
	t.Parallel()
	w := limited(t, Options{Workers: 4, Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": "local-limits"}}, "gcra")
	key := moneyKey{key: w.hosts[0].generate(`{"rpm_limit":100}`)}
	w.hammer("rpm", key, time.Now().Add(6*time.Second))
	times := w.admissions("rpm")
	worst := steadyRate(times, 100, 50*time.Millisecond)
	t.Logf("show 2, known bad local-limits: %d admitted: %s", len(times), worst)
	if worst == "" {
		t.Error("local-limits: nothing was found: the test does not see what it should")
	}
}

// TestParallelLimit: five calls at once over four workers, never more; those of
// killed workers come back within a second.
func TestParallelLimit(t *testing.T) {
	t.Parallel()
	const most = 5
	w := limited(t, Options{Workers: 4}, "gcra")
	a := w.hosts[0]
	w.keys = []moneyKey{{key: a.generate(fmt.Sprintf(`{"max_parallel_requests":%d}`, most))}}
	var worst time.Duration
	for round := range length(4, 20) {
		l := w.newLoad(fmt.Sprintf("par%d", round))
		var held sync.WaitGroup
		for range 3 * most { // on connections of their own, so on several workers
			held.Go(func() { l.call(moneyKind{group: "waits"}, 0) })
		}
		running := func() int { return w.p.Ledger().Running() }
		for deadline := time.Now().Add(5 * time.Second); running() < most; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d calls run, %d may", running(), most)
			}
		}
		time.Sleep(200 * time.Millisecond)
		if n := running(); n != most {
			t.Fatalf("%d calls run at once, %d may", n, most)
		}
		l.mu.Lock()
		refusedFor(t, l.calls, "api_key", "max_parallel_requests", fmt.Sprint(most))
		l.mu.Unlock()
		for _, p := range a.Processes() { // all workers, so that all five are of the dead
			if p.Program == "proxy" {
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
			}
		}
		began := time.Now()
		held.Wait()
		probe := w.newLoad(fmt.Sprintf("probe%d", round))
		var up time.Time // when the first successor answered anything
		for {
			c := probe.call(moneyKind{group: "plain"}, 0)
			if c.status != 0 && up.IsZero() {
				up = time.Now()
			}
			if c.status == http.StatusOK {
				break
			}
			if time.Since(began) > 10*time.Second {
				t.Fatalf("the slots of killed workers are not free after %v: %d %s\n%s", time.Since(began), c.status, c.body, a.Tail(20))
			}
			time.Sleep(10 * time.Millisecond)
		}
		worst = max(worst, time.Since(up))
		probe.stop()
		a.slotsReady(4)
		time.Sleep(1200 * time.Millisecond) // a death of a younger one is a failed start
	}
	t.Logf("show 2: parallel slots of killed workers are free again %v after the first successor answers", worst.Round(time.Millisecond))
	if worst > time.Second {
		t.Errorf("the slots of killed workers came back after %v", worst)
	}
}

// TestLimitsUpgrade: the programs are replaced by those of a release whose host
// table has another layout, at full load: the limit holds over it, and so do the
// slots of calls that run meanwhile.
func TestLimitsUpgrade(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	CopyBinaries(t, Binaries(t, Plain), bin)
	w := limited(t, Options{Workers: 4, Bin: bin}, "gcra")
	a := w.hosts[0]
	key := moneyKey{key: a.generate(`{"rpm_limit":100}`)}
	w.keys = []moneyKey{{key: a.generate(`{"max_parallel_requests":2}`)}}
	held := w.newLoad("held")
	for range 2 {
		held.done.Go(func() { held.call(moneyKind{group: "waits"}, 0) })
	}
	for deadline := time.Now().Add(5 * time.Second); w.p.Ledger().Running() < 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the calls that are to be held do not run")
		}
	}
	began := time.Now()
	until := began.Add(length(20*time.Second, time.Minute))
	upgraded := make(chan fleet.Status, 1)
	go func() { // ends with the upgrade
		defer close(upgraded)
		time.Sleep(2 * time.Second)
		before := a.MustStatus()
		CopyBinaries(t, Binaries(t, Layout), bin)
		a.Signal(syscall.SIGUSR2)
		upgraded <- a.WaitStatus(40*time.Second, "upgraded", func(s fleet.Status) bool {
			return renewed(s, before) && s.Healthd.PID != before.Healthd.PID
		})
	}()
	var over sync.WaitGroup
	var third []int // statuses of a third call at once while two run
	over.Go(func() {
		l := w.newLoad("third")
		for time.Now().Before(until) && time.Since(began) < 25*time.Second {
			third = append(third, l.call(moneyKind{group: "plain"}, 0).status)
			time.Sleep(50 * time.Millisecond)
		}
	})
	calls := w.hammer("rpm", key, until)
	if _, ok := <-upgraded; !ok {
		t.Fatal("it was not upgraded")
	}
	over.Wait()
	times := w.admissions("rpm")
	t.Logf("show 2: USR2 to another layout of the host table: %d admitted in %v, %d refused, %d lost; a third call at once: %d refused of %d", len(times),
		until.Sub(began), statusCount(calls, http.StatusTooManyRequests), statusCount(calls, 0), countOf(third, http.StatusTooManyRequests), len(third))
	if worst := steadyRate(times, 100, 50*time.Millisecond); worst != "" {
		t.Error(worst)
	}
	if n := statusCount(calls, 0); n > 0 {
		t.Errorf("%d calls were lost", n)
	}
	if n := countOf(third, http.StatusTooManyRequests); n != len(third) {
		t.Errorf("of %d calls at once with two that run %d were refused", len(third), n)
	}
	w.p.Disconnect() // ends the two
}

func countOf(list []int, status int) (n int) {
	for _, s := range list {
		if s == status {
			n++
		}
	}
	return n
}
