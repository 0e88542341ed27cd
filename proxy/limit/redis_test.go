package limit

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/redistest"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

// host is a host of its own in a test: a host table, a limiter, a share.
type host struct {
	*Limiter
	share  *RedisShare
	client *redis.Client
	stop   func() // in order
}

func newHost(t testing.TB, name string, c RedisConfig, address string, wait time.Duration) *host {
	t.Helper()
	c.Client = connected(t, redis.Config{Addresses: []string{address}, Wait: wait})
	c.Host, c.Process = name, "1"
	share := NewRedisShare(c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { share.Run(ctx) })
	h := &host{share: share, client: c.Client, stop: func() { cancel(); wg.Wait() }}
	t.Cleanup(h.stop)
	h.Limiter = newLimiter(t, Config{Window: c.Window, Fixed: c.Fixed, Share: share})
	eventually(t, "the share is ready", share.usable)
	return h
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// admission is a request that passed, at a moment between two.
type admission struct{ before, after int64 }

// press asks on all hosts at once, from several goroutines each, with a pause
// of up to twice pause between two requests, and returns what passed.
func press(hosts []*host, length time.Duration, pause func(host int) time.Duration, rules func() []*Rule) []admission {
	var mu sync.Mutex
	var all []admission
	var wg sync.WaitGroup
	end := fleet.Now() + int64(length)
	for i, h := range hosts {
		for range 4 {
			wg.Go(func() {
				mine := rules()
				var hold Hold
				for fleet.Now() < end {
					before := fleet.Now()
					refused := h.Reserve(&hold, mine, 0)
					if after := fleet.Now(); refused == nil {
						mu.Lock()
						all = append(all, admission{before, after})
						mu.Unlock()
					}
					h.Settle(&hold, 0)
					if p := pause(i); p > 0 {
						time.Sleep(rand.N(2 * p))
					}
				}
			})
		}
	}
	wg.Wait()
	return all
}

// tooMany looks for an interval in which more was admitted than is promised,
// wherever between its two moments each admission was.
func tooMany(all []admission, limit int64, window time.Duration) string {
	slices.SortFunc(all, func(a, b admission) int { return int(a.before - b.before) })
	for i := range all {
		rest := slices.Clone(all[i:])
		slices.SortFunc(rest, func(a, b admission) int { return int(a.after - b.after) })
		for k, b := range rest {
			t := b.after - all[i].before
			if n := int64(k + 1); n > limit+limit*t/int64(window) {
				return fmt.Sprintf("%d admitted in %v, limit %d in %v", n, time.Duration(t), limit, window)
			}
		}
	}
	return ""
}

// TestOneAsksForABlock: of many who find a block used up one asks Redis, and the
// others get their part of what it brings.
func TestOneAsksForABlock(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	h := newHost(t, "host", RedisConfig{}, s.Addr, 5*time.Second)
	rules := []*Rule{NewRule(ScopeKey, "hot", 1_000_000_000, None, None)}
	before := h.client.Stats().Calls
	var passed atomic.Int64
	var wg sync.WaitGroup
	end := fleet.Now() + int64(time.Second)
	for range 32 {
		wg.Go(func() {
			var hold Hold
			for fleet.Now() < end {
				if r := h.Reserve(&hold, rules, 0); r != nil {
					t.Errorf("%+v", r)
					return
				}
				h.Settle(&hold, 0)
				passed.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	wg.Wait()
	if calls := h.client.Stats().Calls - before; int64(calls) > 100+passed.Load()/150 {
		t.Errorf("%d calls of Redis for %d requests", calls, passed.Load())
	} else {
		t.Logf("%d calls of Redis for %d requests", calls, passed.Load())
	}
}

// TestHostsShareALimit has three hosts press one limit: never above it, and
// not far below.
func TestHostsShareALimit(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	const window, length = 2 * time.Second, 3 * time.Second
	for _, limit := range []int64{12, 300} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			var hosts []*host
			for i := range 3 {
				hosts = append(hosts, newHost(t, fmt.Sprint("host", limit, i), RedisConfig{Window: window}, s.Addr, 500*time.Millisecond))
			}
			id := fmt.Sprint("gcra", limit)
			all := press(hosts, length, func(i int) time.Duration { return time.Duration(i+1) * time.Millisecond },
				func() []*Rule { return []*Rule{NewRule(ScopeKey, id, limit, None, None)} })
			if bad := tooMany(all, limit, window); bad != "" {
				t.Error(bad)
			}
			if n, least := int64(len(all)), limit*3/2; n < least { // limit·5/2, on a machine that has nothing else to do
				t.Errorf("%d admitted in %v, limit %d in %v", n, length, limit, window)
			}
		})
	}
	t.Run("fixed", func(t *testing.T) {
		t.Parallel()
		var hosts []*host
		for i := range 3 {
			hosts = append(hosts, newHost(t, fmt.Sprint("hostfixed", i), RedisConfig{Window: window, Fixed: true}, s.Addr, 500*time.Millisecond))
		}
		offset := time.Now().UnixNano() - fleet.Now()
		all := press(hosts, length, func(int) time.Duration { return time.Millisecond },
			func() []*Rule { return []*Rule{NewRule(ScopeKey, "fixed", 150, None, None)} })
		in := map[int64]int{}
		for _, a := range all {
			if w := (a.before + offset) / int64(window); w == (a.after+offset)/int64(window) {
				in[w]++
			}
		}
		for w, n := range in {
			if n > 150 {
				t.Errorf("%d in window %d", n, w)
			}
		}
		if len(all) < 150 {
			t.Errorf("%d admitted", len(all))
		}
	})
}

// TestBlocks shows that a hot limit does not ask for each request, and a small
// one does.
func TestBlocks(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	h := newHost(t, "host", RedisConfig{}, s.Addr, 5*time.Second)
	calls := func(limit int64, n int) uint64 {
		before := h.client.Stats().Calls
		rules := []*Rule{NewRule(ScopeKey, fmt.Sprint("hot", limit), limit, None, None)}
		for range n {
			var hold Hold
			if r := h.Reserve(&hold, rules, 0); r != nil {
				t.Fatalf("%+v", r)
			}
			h.Settle(&hold, 0)
		}
		return h.client.Stats().Calls - before
	}
	if n := calls(99, 99); n < 99 {
		t.Errorf("a small limit: %d calls for 99 requests", n)
	}
	if n := calls(1_000_000, 20_000); n > 4_000 {
		t.Errorf("a hot limit: %d calls for 20000 requests", n)
	}
}

// TestPlaces has three hosts hold parallel places: never more than there are,
// and those of a host that is gone come back.
func TestPlaces(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	var hosts []*host
	for i := range 3 {
		hosts = append(hosts, newHost(t, fmt.Sprint("host", i), RedisConfig{}, s.Addr, 500*time.Millisecond))
	}
	for _, limit := range []int64{7, 120} {
		var now, most, passed atomic.Int64
		var wg sync.WaitGroup
		for _, h := range hosts {
			for range 2 * limit / 3 {
				wg.Go(func() {
					for range 40 {
						hold, refused := reserve(h.Limiter, 0, NewRule(ScopeTeam, fmt.Sprint("places", limit), None, None, limit))
						if refused == nil {
							passed.Add(1)
							n := now.Add(1)
							for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
							}
							time.Sleep(rand.N(4 * time.Millisecond))
							now.Add(-1)
						}
						h.Settle(hold, 0)
						time.Sleep(rand.N(4 * time.Millisecond))
					}
				})
			}
		}
		wg.Wait()
		if most.Load() > limit || most.Load() < limit/2 || passed.Load() < limit {
			t.Errorf("limit %d: %d at once, %d passed", limit, most.Load(), passed.Load())
		}
	}
	rule := func() *Rule { return NewRule(ScopeTeam, "gone", None, None, 2) }
	for range 2 {
		if _, refused := reserve(hosts[0].Limiter, 0, rule()); refused != nil {
			t.Fatalf("%+v", refused)
		}
	}
	time.Sleep(holdLife + holdBeat/2) // they are stated again and again
	if _, refused := reserve(hosts[1].Limiter, 0, rule()); refused == nil {
		t.Error("a third place of two")
	}
	hosts[0].client.Close() // as if it had lost its power
	eventually(t, "the places of a dead host", func() bool {
		hold, refused := reserve(hosts[1].Limiter, 0, rule())
		hosts[1].Settle(hold, 0)
		return refused == nil
	})
}

// TestFewerPlaces: a limit that is lowered while its places are taken holds over
// all hosts as requests end, however many come meanwhile; and one that is raised
// again is there at once.
func TestFewerPlaces(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	hosts := []*host{newHost(t, "a", RedisConfig{}, s.Addr, 500*time.Millisecond), newHost(t, "b", RedisConfig{}, s.Addr, 500*time.Millisecond)}
	var held [2][]*Hold
	fill := func(limit int64) (sum int) {
		for i, h := range hosts {
			for {
				hold, refused := reserve(h.Limiter, 0, NewRule(ScopeTeam, "fewer", None, None, limit))
				if refused != nil {
					break
				}
				held[i] = append(held[i], hold)
			}
			sum += len(held[i])
		}
		return sum
	}
	for i, h := range hosts { // ten each
		for range 10 {
			hold, refused := reserve(h.Limiter, 0, NewRule(ScopeTeam, "fewer", None, None, 20))
			if refused != nil {
				t.Fatalf("%+v", refused)
			}
			held[i] = append(held[i], hold)
		}
	}
	sum := 20
	for turn := 0; turn < 40 && sum > 10; turn++ { // one ends, and many want its place
		for i, h := range hosts {
			if n := len(held[i]); n > 0 {
				h.Settle(held[i][n-1], 0)
				held[i] = held[i][:n-1]
			}
		}
		sum = fill(10)
	}
	if sum > 10 {
		t.Fatalf("%d requests at once where 10 are allowed by now", sum)
	}
	eventually(t, "all ten places", func() bool { return fill(10) == 10 })
	if sum := fill(20); sum != 20 {
		t.Errorf("%d requests at once of 20", sum)
	}
}

// TestPlacesAfterAnOutage: places that ran out while Redis was away, and whose
// requests have ended, are nobody's business any more.
func TestPlacesAfterAnOutage(t *testing.T) {
	r := NewRedisShare(RedisConfig{Client: redis.New(redis.Config{Addresses: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)})})
	defer r.client.Close()
	e, _ := r.entry(7, Parallel)
	now := fleet.Now()
	e.limit, e.quota, e.till = 10, 5, now-1
	r.enlist(e)
	r.work(now, false)
	r.forget(now + 2*int64(idle))
	if len(r.list) != 0 || r.count.Load() != 0 {
		t.Errorf("%d are looked after, %d are known", len(r.list), r.count.Load())
	}
}

// TestHosts counts who is alive.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	var known atomic.Int64
	first := newHost(t, "first", RedisConfig{Hosts: &known}, s.Addr, 0)
	second := newHost(t, "second", RedisConfig{}, s.Addr, 0)
	eventually(t, "two", func() bool { return first.share.Hosts() == 2 && second.share.Hosts() == 2 && known.Load() == 2 })
	s.Kill(t)
	eventually(t, "away", func() bool { return !first.client.Up() })
	if n := first.share.Hosts(); n != 2 {
		t.Errorf("while Redis is away there are %d", n)
	}
	s.Start(t)
	eventually(t, "two again", func() bool { return first.share.usable() && first.share.Hosts() == 2 })
}

// TestFewerHosts: more hosts are believed at once, fewer after two beats, or a
// flushed Redis would give each host the whole limit.
func TestFewerHosts(t *testing.T) {
	r := NewRedisShare(RedisConfig{Client: redis.New(redis.Config{Addresses: []string{"127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)})})
	defer r.client.Close()
	second := int64(time.Second)
	for i, c := range []struct{ at, hosts, want int64 }{
		{1, 3, 3}, {2, 1, 3}, {4, 2, 3}, {5, 3, 3}, {6, 2, 3}, {8, 2, 3}, {11, 2, 2}, {12, 5, 5}, {13, 1, 5}, {18, 1, 1},
	} {
		r.alive(c.hosts, c.hosts, c.at*second)
		if r.Hosts() != c.want || r.processes.Load() != c.want {
			t.Errorf("step %d: %d hosts, %d processes, want %d", i, r.Hosts(), r.processes.Load(), c.want)
		}
	}
}

// TestUser has a share work for a user who may do no more than
// docs/operations.md says.
func TestUser(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules, ok := strings.Cut(string(page), "`ACL SETUSER sluice on >PASSWORD ")
	rules, _, closed := strings.Cut(rules, "`")
	if !ok || !closed {
		t.Fatal("the page does not say what a user needs")
	}
	s := redistest.New(t)
	args := append([]string{"ACL", "SETUSER", "sluice", "on", ">secret"}, strings.Fields(strings.ReplaceAll(rules, `\|`, "|"))...)
	if said := s.Do(t, args...); said != "OK" {
		t.Fatalf("%q: %s", args, said)
	}
	client := connected(t, redis.Config{Addresses: []string{s.Addr}, Username: "sluice", Password: "secret", Wait: time.Second})
	for _, fixed := range []bool{false, true} {
		share := NewRedisShare(RedisConfig{Client: client, Host: "h", Process: fmt.Sprint(fixed), Fixed: fixed})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { share.Run(ctx) })
		eventually(t, "ready", share.usable)
		for kind := Requests; kind <= Parallel; kind++ {
			tag := uint64(kind) + 1000
			if fixed {
				tag += 1000
			}
			if g, ok := share.Take(tag, kind, 10, 2); !ok || g.N < 2 {
				t.Errorf("%s, fixed %v: %+v, %v", kind, fixed, g, ok)
			}
			share.Give(tag, kind, 10, 1, fleet.Now())
			if kind == Tokens {
				share.Give(tag, kind, 10, -1, fleet.Now())
			}
		}
		eventually(t, "hosts", func() bool { return share.hosts.Load() == 1 })
		cancel()
		wg.Wait()
	}
	if n := client.Stats().Failed; n != 0 {
		t.Errorf("%d calls failed", n)
	}
}

// TestRedisAway stalls and kills Redis under load: nobody waits long, nobody
// is refused who is far below the limit, and the limit holds in parts.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	var hosts []*host
	for i := range 2 {
		hosts = append(hosts, newHost(t, fmt.Sprint("host", i), RedisConfig{}, s.Addr, 0))
	}
	eventually(t, "two hosts", func() bool { return hosts[0].share.Hosts() == 2 && hosts[1].share.Hosts() == 2 })
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var refusals atomic.Int64
	for _, h := range hosts {
		for range 4 {
			wg.Go(func() {
				rules := []*Rule{NewRule(ScopeKey, "key", 1_000_000, None, 1000), NewRule(ScopeUser, "user", 1_000_000, 10_000_000, None)}
				var hold Hold
				for {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					if refused := h.Reserve(&hold, rules, 100); refused != nil {
						refusals.Add(1)
						t.Errorf("%s %s: %+v", refused.Rule.ID, refused.Type, refused)
					}
					h.Settle(&hold, 50)
				}
			})
		}
	}
	faults := []func(){
		func() { s.Stall(t) }, func() { s.Continue(t) }, func() { s.Do(t, "FLUSHALL") }, func() { s.Do(t, "SCRIPT", "FLUSH") },
		func() { s.Kill(t) }, func() { s.Start(t) }, func() { s.Do(t, "CONFIG", "SET", "maxmemory", "1") }, func() { s.Do(t, "CONFIG", "SET", "maxmemory", "0") },
	}
	for _, fault := range faults {
		fault()
		time.Sleep(400 * time.Millisecond)
	}
	eventually(t, "Redis is used again", func() bool { return hosts[0].share.usable() && hosts[1].share.usable() })
	close(stop)
	wg.Wait()
	s.Stall(t)
	rule := NewRule(ScopeKey, "fresh", 10, None, None)
	passed := 0
	for range 20 {
		if _, refused := reserve(hosts[0].Limiter, 0, rule); refused == nil {
			passed++
		}
	}
	if passed != 5 {
		t.Errorf("one of two hosts admits %d of a limit of 10", passed)
	}
	time.Sleep(long + long/2)
	s.Continue(t)
	eventually(t, "Redis is used again", func() bool { return hosts[0].share.usable() && hosts[1].share.usable() })
	// What was used meanwhile counts on the other host too.
	n := 0
	for range 20 {
		if _, refused := reserve(hosts[1].Limiter, 0, NewRule(ScopeKey, "fresh", 10, None, None)); refused == nil {
			n++
		}
	}
	if n > 6 {
		t.Errorf("then the other one admits %d more", n)
	}
	for i, h := range hosts {
		if h.share.Alone() == 0 {
			t.Errorf("host %d let nothing through alone while Redis was away", i)
		}
	}
}
