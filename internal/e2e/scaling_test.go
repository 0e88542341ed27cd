//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// TestScaling has three hosts behind the HAProxy of docs/scaling.md live
// through what a fleet lives through, under load: upgraded one by one in place,
// stopped and started one by one, one cut off, PostgreSQL away, one killed.
func TestScaling(t *testing.T) {
	began := time.Now()
	p := newPark(t)
	t.Logf("show 6: three hosts behind HAProxy after %v", time.Since(began).Round(100*time.Millisecond))
	for _, part := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"upgraded in place", p.upgradedInPlace},
		{"stopped and started", p.stoppedAndStarted},
		{"one host cut off", p.cutOff},
		{"PostgreSQL away", p.databaseAway},
		{"one host killed", p.killed},
	} {
		began := time.Now()
		if !t.Run(part.name, part.run) {
			for i, a := range p.hosts {
				t.Logf("host%d: %s", i+1, a.Tail(15))
			}
			return
		}
		t.Logf("show 6: %s took %v", part.name, time.Since(began).Round(100*time.Millisecond))
	}
	p.oneBill(t)
}

// upgradedInPlace gives each host a new release by USR2. No host leaves the
// pool for it.
func (p *park) upgradedInPlace(t *testing.T) {
	const version = "e2e-scaled"
	next := BuildVersion(t, version)
	load, began := p.load(p.balancer.documented), time.Now()
	time.Sleep(length(time.Second, 20*time.Second))
	for i, a := range p.hosts {
		before := a.MustStatus()
		CopyBinaries(t, next, p.programs[i])
		a.Signal(syscall.SIGUSR2)
		a.WaitStatus(60*time.Second, "upgraded", func(s fleet.Status) bool {
			return renewed(s, before) && s.Version == version && s.Healthd.Version == version && s.Slots[0].Generations[0].Version == version
		})
	}
	time.Sleep(length(time.Second, 20*time.Second))
	r := load.Stop()
	NoneFailed(t, r)
	t.Logf("show 6: three hosts upgraded in place: %d of %d requests failed, out of the pool: %v", r.Failed(), r.Sent(), p.balancer.left(began))
	if left := p.balancer.left(began); len(left) > 0 {
		t.Errorf("%v left the pool for an upgrade in place", left)
	}
}

// stoppedAndStarted takes each host down and up again. Beside the documented
// balancer, which tries a connection again elsewhere, the same is asked of one
// that repeats nothing and only looks at readiness; and of one that does not
// even look, which must lose requests: so the loads can see a loss.
func (p *park) stoppedAndStarted(t *testing.T) {
	loads := map[string]*Load{
		"documented": p.load(p.balancer.documented), "readiness alone": p.load(p.balancer.strict), "known bad: blind": p.load(p.balancer.blind),
	}
	time.Sleep(length(500*time.Millisecond, 20*time.Second))
	hosts := p.hosts[:length(2, len(p.hosts))]
	for i, a := range hosts {
		name := "host" + strconv.Itoa(i+1)
		a.client.CloseIdleConnections()
		term := time.Now()
		a.Signal(syscall.SIGTERM)
		out := p.balancer.is(t, name, "DOWN", 5*time.Second)
		code := a.Wait(60 * time.Second)
		stopped := time.Since(term)
		a.Start()
		a.allReady()
		p.balancer.is(t, name, "UP", 10*time.Second)
		t.Logf("show 6: %s left the pool %v after TERM, ended with %d after %v, was back in the pool after %v", name,
			out.Round(10*time.Millisecond), code, stopped.Round(10*time.Millisecond), time.Since(term).Round(10*time.Millisecond))
		if code != fleet.ExitOK {
			t.Errorf("%s ended with %d", name, code)
		}
		time.Sleep(length(0, 20*time.Second))
	}
	for name, load := range loads {
		r := load.Stop()
		t.Logf("show 6: %d hosts stopped and started, %s: %d of %d requests failed", len(hosts), name, r.Failed(), r.Sent())
		switch bad := strings.HasPrefix(name, "known bad"); {
		case bad && r.Failed() == 0:
			t.Errorf("%s: nothing failed: the test does not see what it should", name)
		case !bad && r.Failed() > 0:
			NoneFailed(t, r)
		}
	}
}

// cutOff takes the network away from one host and gives it back. What was in
// flight there goes on, what is new goes elsewhere.
func (p *park) cutOff(t *testing.T) {
	load := p.load(p.balancer.documented)
	time.Sleep(length(time.Second, 20*time.Second))
	cut := time.Now()
	ip(t, "link", "set", "slc-o1", "down")
	out := p.balancer.is(t, "host2", "DOWN", 10*time.Second)
	time.Sleep(length(2*time.Second, 6*time.Second))
	ip(t, "link", "set", "slc-o1", "up")
	lasted := time.Since(cut)
	p.balancer.is(t, "host2", "UP", 10*time.Second)
	back := time.Since(cut)
	p.hosts[1].readinessIs(t, 15*time.Second, 200, "healthy")
	time.Sleep(length(time.Second, 20*time.Second))
	r := load.Stop()
	NoneFailed(t, r)
	t.Logf("show 6: a host cut off for %v left the pool after %v and was back after %v: %d of %d requests failed",
		lasted.Round(10*time.Millisecond), out.Round(10*time.Millisecond), back.Round(10*time.Millisecond), r.Failed(), r.Sent())
}

// databaseAway stops PostgreSQL for a while: nobody notices, and no host leaves
// the pool, because readiness of all would go with it.
func (p *park) databaseAway(t *testing.T) {
	load, began := p.load(p.balancer.documented), time.Now()
	time.Sleep(length(500*time.Millisecond, 10*time.Second))
	p.db.Stop(t)
	for _, a := range p.hosts {
		a.readinessIs(t, 10*time.Second, 200, "degraded")
	}
	time.Sleep(length(2*time.Second, 2*time.Minute))
	p.db.Start(t)
	for _, a := range p.hosts {
		a.readinessIs(t, 10*time.Second, 200, "healthy")
	}
	r := load.Stop()
	NoneFailed(t, r)
	left := p.balancer.left(began)
	t.Logf("show 6: PostgreSQL away: %d of %d requests failed, out of the pool: %v", r.Failed(), r.Sent(), left)
	if len(left) > 0 {
		t.Errorf("%v left the pool", left)
	}
}

// killed ends one host as a power cut does, and starts it again. What may fail
// is what the balancer had given to it by then.
func (p *park) killed(t *testing.T) {
	load := p.load(p.balancer.documented)
	time.Sleep(length(time.Second, 20*time.Second))
	a := p.hosts[2]
	inFlight, _ := strconv.Atoi(p.balancer.stats("sluice", "scur")["host3"])
	cut := time.Now()
	for _, process := range a.Processes() {
		_ = syscall.Kill(process.PID, syscall.SIGKILL)
	}
	dead := time.Now()
	a.Wait(5 * time.Second)
	out := p.balancer.is(t, "host3", "DOWN", 10*time.Second)
	time.Sleep(length(time.Second, 20*time.Second))
	a.Start()
	a.allReady()
	p.balancer.is(t, "host3", "UP", 10*time.Second)
	time.Sleep(length(time.Second, 20*time.Second))
	r := load.Stop()
	t.Logf("show 6: a host killed with %d requests in flight left the pool after %v: %d of %d requests failed",
		inFlight, out.Round(10*time.Millisecond), r.Failed(), r.Sent())
	// The balancer is told by the end of the connections, some milliseconds later.
	excused := func(f loadgen.Failure) bool {
		return !f.SentAt.After(dead.Add(100*time.Millisecond)) && !f.At.Before(cut)
	}
	if other := slices.DeleteFunc(slices.Clone(r.Failures), excused); len(other) > 0 {
		t.Errorf("%d requests failed that were not in flight on it: %+v\n%s", len(other), other[0], Text(r))
	}
	if most := inFlight + 10; r.Failed() > most { // those of the moment between the count and the kill
		t.Errorf("%d requests failed, %d at most were in flight", r.Failed(), most)
	}
}

// oneBill waits until all hosts have shipped what they wrote down, and compares
// it with what the provider served: the killed host's rows are there too, those
// of calls in flight once nobody has heard of its last life for half a minute.
func (p *park) oneBill(t *testing.T) {
	served := int(p.provider.Served())
	rows := 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		local := strings.Replace(p.url, "10.213.77.1", "127.0.0.1", 1)
		if rows = pgtest.Number(t, local, "SELECT count(*) FROM sluice.spend WHERE call_type <> ''"); rows >= served {
			break
		}
	}
	var said []string
	for i, a := range p.hosts {
		said = append(said, fmt.Sprintf("host%d %s", i+1, a.MustStatus().State))
	}
	t.Logf("show 6: the provider served %d calls, the ledger has %d rows; %s", served, rows, strings.Join(said, ", "))
	if rows < served {
		t.Errorf("%d calls were served and %d are in the ledger", served, rows)
	}
}
