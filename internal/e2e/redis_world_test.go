//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/redistest"
)

const redisModels = `
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
`

// redisKey is a key that an administrator chose: the same on hosts with
// databases of their own.
func redisKey(n int) string { return fmt.Sprintf("sk-the-same-key-on-all-hosts-%04d", n) }

// redisHosts boots appliances that share nothing but a Redis, each in a network
// namespace of its own on a bridge where namespaces is set, and makes keys on
// all of them, from the bodies of /key/generate.
func redisHosts(t *testing.T, n int, namespaces bool, router string, keys ...string) []*Appliance {
	t.Helper()
	var all []*Appliance
	for i := range n {
		o := Options{Workers: 2, Config: redisModels + "router_settings: {num_retries: 0, " + router + "}\n"}
		if namespaces {
			o.Bin, o.Host = namespace(t, i)
		}
		all = append(all, Boot(t, o))
	}
	for _, a := range all {
		a.allReady()
		a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
		for k, body := range keys {
			a.manage("/key/generate", fmt.Sprintf(`{"key":%q,%s}`, redisKey(k), body))
		}
	}
	if n > 1 { // they have seen each other
		time.Sleep(2500 * time.Millisecond)
	}
	return all
}

// bridge makes a bridge with an address; namespaces hang on it.
func bridge(t *testing.T) (address string) {
	t.Helper()
	ip(t, "link", "add", "slc-br", "type", "bridge")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "slc-br").Run() })
	ip(t, "addr", "add", "10.213.77.1/24", "dev", "slc-br")
	ip(t, "link", "set", "slc-br", "up")
	return "10.213.77.1"
}

// namespace makes a network namespace on the bridge. bin has a supervisor that
// runs in it, address is its own.
func namespace(t *testing.T, i int) (bin, address string) {
	t.Helper()
	return namespaceWith(t, i, Binaries(t, Plain))
}

// namespaceWith is namespace with the programs of a folder.
func namespaceWith(t *testing.T, i int, real string) (bin, address string) {
	t.Helper()
	name, out, in := fmt.Sprintf("slc-host%d", i), fmt.Sprintf("slc-o%d", i), fmt.Sprintf("slc-i%d", i)
	address = fmt.Sprintf("10.213.77.%d", 10+i)
	ip(t, "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ip(t, "link", "add", out, "type", "veth", "peer", "name", in)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", out).Run() })
	ip(t, "link", "set", out, "master", "slc-br", "up")
	ip(t, "link", "set", in, "netns", name)
	ip(t, "-n", name, "addr", "add", address+"/24", "dev", in)
	ip(t, "-n", name, "link", "set", in, "up")
	ip(t, "-n", name, "link", "set", "lo", "up")
	bin = t.TempDir()
	wrapper := "#!/bin/sh\nexec ip netns exec " + name + " " + real + "/supervisor \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "supervisor"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin, address
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if said, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, said)
	}
}

// redisCall is one call: between two moments it was admitted or refused.
type redisCall struct {
	before, after time.Time
	status        int
	text          string // of an error
}

func (c *redisCall) took() time.Duration { return c.after.Sub(c.before) }

// redisLoad has clients call the hosts, each on a connection of its own and
// with a pause of up to twice pause, until stop says so.
type redisLoad struct {
	mu    sync.Mutex
	calls []redisCall
	stop  chan struct{}
	done  sync.WaitGroup
}

func startRedisLoad(hosts []*Appliance, key string, clients int, pause time.Duration) *redisLoad {
	l := &redisLoad{stop: make(chan struct{})}
	for i := range clients {
		a := hosts[i%len(hosts)]
		l.done.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				case <-time.After(rand.N(2*pause + 1)):
				}
				c := redisCall{before: time.Now()}
				c.status, c.text = oneCall(client, a, key)
				c.after = time.Now()
				l.mu.Lock()
				l.calls = append(l.calls, c)
				l.mu.Unlock()
			}
		})
	}
	return l
}

func oneCall(client *http.Client, a *Appliance, key string) (status int, text string) {
	r, err := http.NewRequest(http.MethodPost, a.URL()+"/v1/chat/completions", strings.NewReader(`{"model":"fast","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK {
		text = string(body)
	}
	return answer.StatusCode, text
}

// end stops the load and returns its calls in the order of their beginning.
func (l *redisLoad) end() []redisCall {
	close(l.stop)
	l.done.Wait()
	slices.SortFunc(l.calls, func(a, b redisCall) int { return a.before.Compare(b.before) })
	return l.calls
}

// since returns the calls that began between two moments.
func between(calls []redisCall, from, to time.Time) (out []redisCall) {
	for _, c := range calls {
		if !c.before.Before(from) && c.before.Before(to) {
			out = append(out, c)
		}
	}
	return out
}

// withStatus returns the calls with a status.
func withStatus(calls []redisCall, status int) (out []redisCall) {
	for _, c := range calls {
		if c.status == status {
			out = append(out, c)
		}
	}
	return out
}

// failures are the calls that were answered with something else than 200.
func failures(t *testing.T, when string, calls []redisCall) {
	t.Helper()
	n := 0
	for _, c := range calls {
		if c.status != http.StatusOK {
			if n++; n < 4 {
				t.Errorf("%s: %d %s", when, c.status, c.text)
			}
		}
	}
	if n > 0 {
		t.Errorf("%s: %d of %d calls failed", when, n, len(calls))
	}
}

// percentile is that of how long calls took.
func percentile(calls []redisCall, p float64) time.Duration {
	if len(calls) == 0 {
		return 0
	}
	took := make([]time.Duration, len(calls))
	for i := range calls {
		took[i] = calls[i].took()
	}
	slices.Sort(took)
	return took[min(int(p*float64(len(took))), len(took)-1)]
}

// alone says how much the hosts let through without asking Redis: they took it
// for away, after a call that was not answered in time, or many that were slow.
func alone(t *testing.T, hosts []*Appliance) (n int) {
	t.Helper()
	for _, a := range hosts {
		passed := int(a.metric(t, "sluice_limits_alone_total"))
		t.Logf("%d let through alone; calls of Redis %.0f, failed %.0f, breaker opened %.0f", passed, a.metric(t, "sluice_redis_calls_total"),
			a.metric(t, "sluice_redis_failed_calls_total"), a.metric(t, "sluice_redis_breaker_opened_total"))
		n += passed
	}
	return n
}

// aboveLimit looks for an interval in which more was admitted than the limit a
// minute promises, and so many more, wherever within its call each admission was.
func aboveLimit(calls []redisCall, limit, more int) (worst string) {
	passed := withStatus(calls, http.StatusOK)
	for i := range passed {
		rest := slices.Clone(passed[i:])
		slices.SortFunc(rest, func(a, b redisCall) int { return a.after.Compare(b.after) })
		for k := limit; k < len(rest); k++ {
			d := rest[k].after.Sub(passed[i].before)
			if may := limit + more + int(float64(limit)*d.Seconds()/60); k+1 > may {
				return fmt.Sprintf("%d admitted in %v, where %d may be", k+1, d, may)
			}
		}
	}
	return ""
}

// redisAt is the setting for one server.
func redisAt(s *redistest.Server) string {
	host, port, _ := net.SplitHostPort(s.Addr)
	return "redis_host: " + host + ", redis_port: " + port
}
