package limit

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/redistest"
	"sluice/proxy/redis"
)

// connected is a client of a server that answers.
func connected(tb testing.TB, c redis.Config) *redis.Client {
	tb.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	client := redis.New(c)
	tb.Cleanup(client.Close)
	for end := time.Now().Add(20 * time.Second); !client.Up(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("no connection to Redis")
		}
	}
	return client
}

// outstanding is how late a permit may be spent.
const outstanding = redis.Deadline + BlockLife

// imagined is the script with a clock that the test sets.
type imagined struct {
	tb     testing.TB
	client *redis.Client
	script *redis.Script
	key    string
	now    int64 // microseconds
	limit  int64
	window int64
	fixed  bool
	tokens bool // what is not used is known late
}

func imagine(tb testing.TB, client *redis.Client, text string) *imagined {
	clock := strings.Replace(text, "redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}", 1)
	if clock == text {
		tb.Fatal("the script does not read the clock")
	}
	return &imagined{
		tb: tb, client: client, script: redis.NewScript(clock), window: time.Minute.Microseconds(),
		key: fmt.Sprintf("test:{%d}", rand.Uint64()), now: 1_700_000_000_000_000,
	}
}

func (m *imagined) call(op string, n, arg, owed int64) []int64 {
	m.tb.Helper()
	span, slots := time.Second.Microseconds(), int64(requestSlots)
	switch {
	case m.fixed:
		span = 0
	case m.tokens:
		span, slots = m.window/(tokenSlots-1), tokenSlots
	}
	var answer []int64
	var err error
	for range 20 { // a busy machine may miss the deadline, before the call as well as after it
		answer, err = m.client.Eval(m.script, m.key, op, text(m.limit), text(m.window), text(outstanding.Microseconds()),
			text(n), text(arg), text(owed), text(span), text(slots), text(m.now/1e6), text(m.now%1e6))
		if err == nil {
			return answer
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.tb.Fatal(err)
	return nil
}

// spends are the instants in which permits were spent, in microseconds.
type spends []int64

// above looks for an interval in which more was spent than is promised.
func (s spends) above(limit, window int64) string {
	slices.Sort(s)
	for i := range s {
		for j := i + int(limit); j < len(s); j++ {
			if n := int64(j - i + 1); n > limit+limit*(s[j]-s[i])/window {
				return fmt.Sprintf("%d spent in %d µs, limit %d in %d", n, s[j]-s[i], limit, window)
			}
		}
	}
	return ""
}

// run lets hosts take permits at random, spend them as late as they may, or
// give them back, and returns when they were spent.
func (m *imagined) run(rng *rand.Rand, steps int) spends {
	type block struct{ n, taken int64 }
	var spent spends
	var kept []block
	d := outstanding.Microseconds()
	longest, mostly, often := 3*d, 2, 8 // how long something is kept, one in how many comes back, and asks for much
	if m.tokens {
		longest, mostly, often = m.window, 8, 3
	}
	every := m.window / m.limit
	for range steps {
		switch rng.IntN(12) {
		case 0:
			m.now += rng.Int64N(2 * m.window)
		case 1, 2, 3:
			m.now += rng.Int64N(d)
		case 4, 5, 6, 7:
			m.now += rng.Int64N(2 * every)
		}
		kept = slices.DeleteFunc(kept, func(b block) bool { // what is not given back in time is lost
			if m.now-b.taken > longest || rng.IntN(mostly) != 0 {
				return false
			}
			m.call("back", b.n, m.now-b.taken, 0)
			return true
		})
		n, more := 1+rng.Int64N(1+m.limit/20), int64(0)
		if m.limit >= small {
			more = rng.Int64N(m.limit/10 + 1)
		}
		if rng.IntN(often) == 0 {
			n = 1 + rng.Int64N(m.limit)
		}
		got := m.call("ask", n, more, 0)[0]
		if got != 0 && got < n {
			m.tb.Fatalf("asked for %d, got %d", n, got)
		}
		lose := int64(0)
		if rng.IntN(3) == 0 {
			lose = rng.Int64N(got + 1)
		}
		if lose > 0 {
			kept = append(kept, block{lose, m.now})
		}
		late := d * rng.Int64N(2)
		for range got - lose {
			at := m.now + late
			if rng.IntN(4) == 0 {
				at = m.now + rng.Int64N(d+1)
			}
			spent = append(spent, at)
		}
	}
	return spent
}

// TestNeverAbove lets hosts behave as badly as they may, with a clock of their
// own, and looks at every interval. The same finds that two simpler scripts,
// which this one is often mistaken for, are not enough.
func TestNeverAbove(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	try := func(text string, tokens bool, limits []int64, rounds int) string {
		for _, limit := range limits {
			for seed := range rounds {
				m := imagine(t, client, text)
				m.limit, m.tokens = limit, tokens
				rng := rand.New(rand.NewPCG(uint64(limit), uint64(seed)))
				if bad := m.run(rng, 150).above(limit, m.window); bad != "" {
					return fmt.Sprintf("seed %d: %s", seed, bad)
				}
			}
		}
		return ""
	}
	for _, tokens := range []bool{false, true} {
		if bad := try(source, tokens, []int64{1, 2, 3, 7, 60, 100, 450, 1000}, 6); bad != "" {
			t.Errorf("tokens %v: %s", tokens, bad)
		}
	}
	for name, change := range map[string]struct {
		from, to string
		tokens   bool
	}{
		"no time is lost between grant and spending": {"E = math.max(E, now + math.ceil(math.max(0, d - x / L)))", "", false},
		"everything comes back":                      {"local back = math.max(0, n * W - (arg + d) * L)", "local back = n * W", true},
		"each comes back as if it were alone":        {"m[i] = math.max(0, m[i] - back)", "", true},
		"only the present slot is looked at":         {"math.ceil((arg + d - now + S) / span) + 1", "1", true},
	} {
		text := strings.Replace(source, change.from, change.to, 1)
		if text == source {
			t.Fatalf("%s: the script has no such line", name)
		}
		if try(text, change.tokens, []int64{2, 3, 7, 60, 100}, 40) == "" {
			t.Errorf("%s: nobody notices", name)
		}
	}
}

// TestOverestimates has requests reserve ten times what they use: what they do
// not use is there for others.
func TestOverestimates(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	m := imagine(t, client, source)
	m.limit, m.tokens = 6000, true
	var running []int64 // when they began
	used, begin := int64(0), m.now
	for ; m.now < begin+3*m.window; m.now += 100_000 {
		for len(running) > 0 && m.now-running[0] >= time.Second.Microseconds() {
			m.call("back", 90, m.now-running[0], 0)
			running, used = running[1:], used+10
		}
		for m.call("ask", 100, 0, 0)[0] != 0 {
			running = append(running, m.now)
		}
	}
	if most := 4 * m.limit; used < most*3/5 || used > most { // a whole limit at once, and three minutes
		t.Errorf("%d used of %d", used, most)
	}
}

// TestWhole shows that the strictness costs nobody the limit.
func TestWhole(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	for _, limit := range []int64{1, 3, 60, 100, 1000} {
		m := imagine(t, client, source)
		m.limit = limit
		for i := range limit {
			if answer := m.call("ask", 1, 0, 0); answer[0] != 1 || answer[2] != limit-i-1 {
				t.Fatalf("limit %d: permit %d: %v", limit, i+1, answer)
			}
		}
		answer := m.call("ask", 1, 0, 0)
		if answer[0] != 0 || answer[1] > m.window/limit+outstanding.Microseconds()+1 {
			t.Fatalf("limit %d is used up: %v", limit, answer)
		}
		m.now += answer[1]
		if answer := m.call("ask", 1, 0, 0); answer[0] != 1 {
			t.Errorf("limit %d: not when it said: %v", limit, answer)
		}
		// A minute of asking all the time gets the rate.
		got := int64(0)
		for end := m.now + m.window; m.now < end; m.now += m.window / limit / 3 {
			got += m.call("ask", 1, 0, 0)[0]
		}
		if got < limit-1 {
			t.Errorf("limit %d: %d in a minute", limit, got)
		}
	}
}

// TestBack shows what comes back.
func TestBack(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	left := func(m *imagined) int64 { return m.call("ask", 1<<40, 0, 0)[2] }
	m := imagine(t, client, source)
	m.limit = 6000
	m.call("ask", 600, 0, 0)
	m.now += 50_000
	m.call("back", 600, 50_000, 0)
	if n := left(m); n < 5975 {
		t.Errorf("at once, of a limit that nobody presses: %d left", n)
	}
	for range 30 { // a second under pressure: the debt does not fall
		m.now += 100_000
		m.call("ask", 5000, 0, 0)
		m.call("ask", 10, 0, 0)
	}
	before := left(m)
	for range 100 { // as many small ones: nothing is withheld for each
		m.call("back", 1, 80_000, 0)
	}
	if n := left(m); n != before+100 {
		t.Errorf("under pressure: %d left after %d", n, before)
	}
	m.now += 2 * m.window
	m.call("ask", 1000, 0, 0)
	m.now += m.window / 2
	m.call("back", 1000, m.window/2, 0)
	if n := left(m); n != 6000 {
		t.Errorf("what was paid off came back: %d", n)
	}
	m.call("charge", 7000, 0, 0)
	if answer := m.call("ask", 1, 0, 0); answer[0] != 0 || answer[1] < 9_000_000 {
		t.Errorf("after a charge beyond the limit: %v", answer)
	}
}

// TestFixed counts in the windows of Redis' clock.
func TestFixed(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	m := imagine(t, client, source)
	m.limit, m.fixed = 10, true
	m.now += m.window - m.now%m.window + 59_900_000 // 100 ms before the end
	if answer := m.call("ask", 1, 5, 0); answer[0] != 1 || answer[1] != 100_000 || answer[2] != 9 {
		t.Errorf("a block that would outlive its window: %v", answer)
	}
	taken := m.now
	m.now += 100_000
	m.call("back", 1, m.now-taken, 0)
	if answer := m.call("ask", 4, 4, 0); answer[0] != 8 || answer[2] != 2 {
		t.Errorf("the next window: %v", answer)
	}
	if answer := m.call("ask", 3, 0, 0); answer[0] != 0 || answer[1] != m.window {
		t.Errorf("too many: %v", answer)
	}
	m.now += 1000
	m.call("back", 4, 1000, 0)
	m.call("charge", 1, 0, 0)
	if answer := m.call("ask", 5, 0, 0); answer[0] != 5 || answer[2] != 0 {
		t.Errorf("what came back, without what was charged: %v", answer)
	}
	m.now -= 30_000_000 // a clock that goes back opens nothing
	if answer := m.call("ask", 1, 0, 0); answer[0] != 0 {
		t.Errorf("a clock that goes back: %v", answer)
	}
}

// TestForeign writes what others may write into a key.
func TestForeign(t *testing.T) {
	client := connected(t, redis.Config{Addresses: []string{redistest.Addr(t)}, Wait: 5 * time.Second})
	put := redis.NewScript(`redis.call('DEL', KEYS[1]) redis.call(unpack(ARGV)) return {1}`)
	for _, garbage := range [][]string{
		{"SET", "KEY", "rubbish"},
		{"SET", "KEY", ""},
		{"SET", "KEY", "99999999999999999999999999 1 1 1 1"},
		{"SET", "KEY", "1 0 99999999999999999999 1 1"},
		{"RPUSH", "KEY", "x"},
		{"HSET", "KEY", "some/process", "x"},
		{"HSET", "KEY", "some/process", "999 99999999999999999999"},
	} {
		for _, fixed := range []bool{false, true} {
			m := imagine(t, client, source)
			m.limit, m.fixed = 10, fixed
			garbage[1] = m.key
			if _, err := client.Eval(put, m.key, garbage...); err != nil {
				t.Fatal(err)
			}
			if answer := m.call("ask", 1, 0, 0); answer[0] != 1 {
				t.Errorf("%q: %v", garbage, answer)
			}
		}
		m := imagine(t, client, source)
		garbage[1] = m.key
		if _, err := client.Eval(put, m.key, garbage...); err != nil {
			t.Fatal(err)
		}
		answer, err := client.Eval(script, m.key, "hold", "10", "3000000", "host/1", "0", "1", "0")
		if err != nil || answer[0] != 1 {
			t.Errorf("%q: places: %v, %v", garbage, answer, err)
		}
	}
}
