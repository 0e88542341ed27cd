//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/redistest"
)

// TestRedisLimits has three hosts in network namespaces of their own share a
// limit, one that asks for each request and one that takes blocks: never above
// it, and not much below. Meanwhile workers are killed.
func TestRedisLimits(t *testing.T) {
	t.Parallel()
	s := redistest.On(t, bridge(t), "--protected-mode", "no")
	limits := []int{60, 300}
	hosts := redisHosts(t, 3, true, redisAt(s), `"rpm_limit":60`, `"rpm_limit":300`)
	began := time.Now()
	var loads []*redisLoad
	for k := range limits {
		loads = append(loads, startRedisLoad(hosts, redisKey(k), 9, 25*time.Millisecond))
	}
	kills := 0
	for end := began.Add(length(10*time.Second, 5*time.Minute)); time.Now().Before(end); kills++ {
		time.Sleep(2 * time.Second)
		for _, p := range hosts[kills%3].Processes() {
			if p.Program == "proxy" {
				_ = syscall.Kill(p.PID, syscall.SIGKILL)
				break
			}
		}
	}
	// A host that does not reach Redis in time, as on a machine with more to do than
	// processors, goes by itself: docs/operations.md says by how much it may be wrong.
	more := alone(t, hosts)
	for k, limit := range limits {
		calls := loads[k].end()
		passed, refused := len(withStatus(calls, http.StatusOK)), withStatus(calls, http.StatusTooManyRequests)
		lost := len(calls) - passed - len(refused)
		least := limit + int(float64(limit)*(time.Since(began).Seconds()-4)/60)
		t.Logf("limit %d a minute on three hosts, %v, %d workers killed: %d admitted, %d refused, %d lost with workers",
			limit, time.Since(began).Round(time.Second), kills, passed, len(refused), lost)
		if worst := aboveLimit(calls, limit, min(more, limit*2/3)); worst != "" {
			t.Errorf("limit %d: %s", limit, worst)
		}
		if passed < least*9/10-lost {
			t.Errorf("limit %d: %d admitted, about %d should have been", limit, passed, least)
		}
		if len(refused) == 0 || !strings.Contains(refused[0].text, fmt.Sprintf("Current limit: %d", limit)) {
			t.Errorf("limit %d: nobody is told of it: %+v", limit, refused[:min(1, len(refused))])
		}
	}
}

// TestRedisLimitsKnownBad: the same finds hosts that count each for itself.
func TestRedisLimitsKnownBad(t *testing.T) {
	t.Parallel()
	var hosts []*Appliance
	for range 2 {
		a := Boot(t, Options{Config: redisModels})
		a.allReady()
		a.manage("/key/generate", fmt.Sprintf(`{"key":%q,"rpm_limit":60}`, redisKey(0)))
		hosts = append(hosts, a)
	}
	l := startRedisLoad(hosts, redisKey(0), 6, 5*time.Millisecond)
	time.Sleep(2 * time.Second)
	worst := aboveLimit(l.end(), 60, 0)
	t.Logf("hosts without Redis: %s", worst)
	if worst == "" {
		t.Error("nothing was found: the test does not see what it should")
	}
}

// TestRedisStalled stops Redis (SIGSTOP) under a load that is far below its
// limits: for up to a second calls take up to the deadline longer, then nearly
// nothing, and none fails. The same with a Redis that is killed.
func TestRedisStalled(t *testing.T) {
	s := redistest.New(t)
	hosts := redisHosts(t, 1, false, redisAt(s), `"rpm_limit":1000000,"tpm_limit":1000000000,"max_parallel_requests":1000`)
	for name, fault := range map[string][2]func(testing.TB){"stalled": {s.Stall, s.Continue}, "killed": {s.Kill, s.Start}} {
		// The machine has other things to do at times. What is Redis' doing
		// shows again.
		const tries = 3
		for try := 1; ; try++ {
			first, later := withoutRedis(t, name, hosts[0], fault)
			if first <= 60*time.Millisecond && later <= 2*time.Millisecond {
				break
			}
			if try == tries {
				t.Errorf("%s: the first second adds %v, then it is %v", name, first, later)
				break
			}
		}
		if n := strings.Count(hosts[0].Log(), "redis is not used until"); n > 2*tries {
			t.Errorf("%d lines say that Redis is away\n%s", n, hosts[0].Tail(20))
		}
	}
}

// withoutRedis has a load meet a fault, and returns what it adds to the 99th
// percentile of calls in its first second, and later.
func withoutRedis(t *testing.T, name string, a *Appliance, fault [2]func(testing.TB)) (first, later time.Duration) {
	t.Helper()
	l := startRedisLoad([]*Appliance{a}, redisKey(0), 8, 8*time.Millisecond)
	settled := time.Now().Add(time.Second)
	time.Sleep(length(2500*time.Millisecond, 20*time.Second))
	at := time.Now()
	fault[0](t)
	time.Sleep(length(3*time.Second, 60*time.Second))
	back := time.Now()
	fault[1](t)
	a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
	time.Sleep(time.Second)
	calls := l.end()
	failures(t, name, calls)
	parts := [][]redisCall{between(calls, settled, at), between(calls, at, at.Add(time.Second)), between(calls, at.Add(time.Second), back)}
	p99 := make([]time.Duration, len(parts))
	for i := range parts {
		p99[i] = percentile(parts[i], 0.99)
	}
	t.Logf("Redis %s: p99 %v before (%d calls), %v in the first second (%d), %v later (%d); p50 %v, %v, %v", name, p99[0], len(parts[0]),
		p99[1], len(parts[1]), p99[2], len(parts[2]), percentile(parts[0], 0.5), percentile(parts[1], 0.5), percentile(parts[2], 0.5))
	return p99[1] - p99[0], p99[2] - p99[0]
}

// TestRedisFaults does to Redis what happens to one: nobody sees an error.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	s, other := redistest.New(t), redistest.New(t)
	hosts := redisHosts(t, 2, false, redisAt(s), `"rpm_limit":1000000,"max_parallel_requests":1000`)
	l := startRedisLoad(hosts, redisKey(0), 8, 10*time.Millisecond)
	otherHost, otherPort, _ := strings.Cut(other.Addr, ":")
	for _, fault := range []struct {
		args  []string
		state string // of Redis, then, in readiness
	}{
		{[]string{"FLUSHALL"}, "connected"},
		{[]string{"SCRIPT", "FLUSH"}, "connected"},
		{[]string{"CLIENT", "PAUSE", "700", "ALL"}, "connected"},
		{[]string{"CONFIG", "SET", "maxmemory", "1"}, "unusable"},
		{[]string{"CONFIG", "SET", "maxmemory", "0"}, "connected"},
		{[]string{"REPLICAOF", otherHost, otherPort}, "unusable"},
		{[]string{"REPLICAOF", "NO", "ONE"}, "connected"},
		{[]string{"ACL", "SETUSER", "default", "-evalsha"}, "unusable"},
		{[]string{"ACL", "SETUSER", "default", "+@all"}, "connected"},
		{[]string{"CLIENT", "KILL", "TYPE", "normal"}, "connected"},
	} {
		if said := s.Do(t, fault.args...); strings.HasPrefix(said, "ERR") {
			t.Fatalf("%s: %s", fault.args, said)
		}
		hosts[0].WaitHealth(t, "/health/readiness", `"redis":"`+fault.state+`"`)
		time.Sleep(300 * time.Millisecond)
	}
	calls := l.end()
	t.Logf("%d calls", len(calls))
	failures(t, "faults of Redis", calls)
}

// TestRedisClusterAndSentinel: limits over two hosts by a Redis Cluster and by
// a master that a sentinel watches; both lose a master meanwhile.
func TestRedisClusterAndSentinel(t *testing.T) {
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		all := redistest.Cluster(t, 1)
		var nodes []string
		for _, s := range all[1:3] {
			host, port, _ := strings.Cut(s.Addr, ":")
			nodes = append(nodes, "{host: "+host+", port: "+port+"}")
		}
		failover(t, "redis_startup_nodes: ["+strings.Join(nodes, ", ")+"]", all[0])
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		master, _, sentinel := redistest.Sentinels(t, "of-the-sentinel")
		host, port, _ := strings.Cut(sentinel.Addr, ":")
		failover(t, "sentinel_nodes: [["+host+", "+port+"]], service_name: "+redistest.MasterName+", sentinel_password: of-the-sentinel", master)
	})
}

// failover has two hosts share limits while a master dies.
func failover(t *testing.T, router string, master *redistest.Server) {
	t.Helper()
	hosts := redisHosts(t, 2, false, router, `"rpm_limit":1000000`, `"rpm_limit":60`, `"rpm_limit":60`)
	whole := func(key string) {
		t.Helper()
		l := startRedisLoad(hosts, key, 6, 5*time.Millisecond)
		time.Sleep(3 * time.Second)
		calls := l.end()
		if worst := aboveLimit(calls, 60, 0); worst != "" {
			t.Error(worst)
		}
		if n := len(withStatus(calls, http.StatusOK)); n < 55 {
			t.Errorf("%d of 60 admitted", n)
		}
	}
	whole(redisKey(1))
	l := startRedisLoad(hosts, redisKey(0), 6, 10*time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	master.Kill(t)
	time.Sleep(3 * time.Second)
	for _, a := range hosts {
		a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
	}
	time.Sleep(4 * time.Second) // the hosts settle
	failures(t, "a master dies", l.end())
	whole(redisKey(2))
}
