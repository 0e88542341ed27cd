package limit

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

const (
	envTable = "SLUICE_TEST_TABLE" // descriptor of the host table, in a child of the test
	envArea  = "SLUICE_TEST_AREA"
	envFixed = "SLUICE_TEST_FIXED"

	testWindow   = 500 * time.Millisecond
	testRequests = 10_000
	testTokens   = 45_000
	testParallel = 7
)

func TestMain(m *testing.M) {
	if os.Getenv(envTable) != "" {
		hammer()
	}
	os.Exit(m.Run())
}

// passage is what a child says about one request that passed: a moment before
// and one after, the tokens that it used in the end, and whether it was counted as
// a request.
type passage struct{ from, to, tokens, requests int64 }

// told appends it as hammers.start reads it.
func (p passage) told(to []byte) []byte {
	for _, n := range []int64{p.from, p.to, p.tokens, p.requests} {
		to = binary.LittleEndian.AppendUint64(to, uint64(n))
	}
	return to
}

// hammer reserves as fast as it can, until it is killed, and tells what passed. The limit of requests
// changes all the time, below the one that is judged by.
func hammer() {
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	table, err := fleet.OpenTable(number(envTable), false)
	if err != nil {
		panic(err)
	}
	area := number(envArea)
	table.Generation(area).PID.Store(uint32(os.Getpid()))
	l := New(Config{
		Table: table, Area: area, Holders: fleet.NewRecordHolders(table, area), Window: testWindow, Fixed: os.Getenv(envFixed) != "",
	})
	var rules []*Rule
	for _, n := range []int64{testRequests, testRequests / 2, testRequests - 1, testRequests} {
		rules = append(rules, NewRule(ScopeKey, "k", n, None, None))
	}
	tokens := NewRule(ScopeTeam, "t", None, testTokens, None)
	places := NewRule(ScopeUser, "u", None, None, testParallel)
	var out sync.Mutex
	for worker := range 4 {
		go func() {
			dice := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(worker)))
			var told []byte
			tell := func(p passage) {
				if told = p.told(told); len(told) >= 2400 {
					out.Lock()
					_, _ = os.Stdout.Write(told)
					out.Unlock()
					told = told[:0]
				}
			}
			if worker == 0 {
				hold(l, NewRule(ScopeTeam, "held", None, testTokens, None), dice, tell)
			}
			var h Hold
			for {
				estimate := 1 + dice.Int64N(20)
				from := fleet.Now()
				if r := l.Reserve(&h, []*Rule{rules[dice.IntN(len(rules))], tokens, places}, estimate); r != nil {
					runtime.Gosched()
					continue
				}
				used := dice.Int64N(estimate + 1)
				tell(passage{from, fleet.Now(), used, 1})
				l.Settle(&h, used)
			}
		}()
	}
	select {}
}

// hold reserves tokens, ten times what is used in the end, and settles them long
// after, in any order.
func hold(l *Limiter, tokens *Rule, dice *rand.Rand, tell func(passage)) {
	type open struct {
		h    Hold
		used int64
	}
	var all [48]open
	for {
		i := dice.IntN(len(all))
		if o := &all[i]; o.h.Mark() > 0 {
			l.Settle(&o.h, o.used)
		}
		estimate := 1 + dice.Int64N(testTokens/100)
		from := fleet.Now()
		if r := l.Reserve(&all[i].h, []*Rule{tokens}, estimate); r != nil {
			runtime.Gosched()
			continue
		}
		all[i].used = dice.Int64N(estimate/5 + 1)
		tell(passage{from, fleet.Now(), all[i].used, 0})
	}
}

// hammers are the children that hammer one table.
type hammers struct {
	t      *testing.T
	table  *fleet.Table
	fd     int
	fixed  bool
	next   int
	living []hammering

	mu     sync.Mutex
	passed []passage
	reads  sync.WaitGroup
}

type hammering struct {
	cmd  *exec.Cmd
	area int
}

func (p *hammers) start() hammering {
	p.next++
	area, err := p.table.Claim(0, 100+p.next)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envTable+"=3", envArea+"="+strconv.Itoa(area))
	if p.fixed {
		cmd.Env = append(cmd.Env, envFixed+"=1")
	}
	dup, err := syscall.Dup(p.fd)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup), "table")}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = cmd.ExtraFiles[0].Close()
	p.reads.Add(1)
	go func() {
		defer p.reads.Done()
		r, b := bufio.NewReader(out), make([]byte, 32)
		for {
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			n := func(at int) int64 { return int64(binary.LittleEndian.Uint64(b[at:])) }
			p.mu.Lock()
			p.passed = append(p.passed, passage{n(0), n(8), n(16), n(24)})
			p.mu.Unlock()
		}
	}()
	return hammering{cmd, area}
}

func (p *hammers) kill(i int) {
	c := p.living[i]
	_ = c.cmd.Process.Kill()
	_, _ = c.cmd.Process.Wait()
	p.table.Reap(c.area)
}

// Processes with several goroutines each, killed and started again, against the
// exact bounds: GCRA in any span of time, fixed windows in each of them, places
// at every moment; and all places are back when the dead are reaped.
func TestProcessesKeepToTheLimits(t *testing.T) {
	for name, fixed := range map[string]bool{"gcra": false, "fixed": true} {
		t.Run(name, func(t *testing.T) {
			table, _, fd := newTable(t)
			table.Limits().SetIdle(2)
			p := &hammers{t: t, table: table, fd: fd, fixed: fixed}
			for range 3 {
				p.living = append(p.living, p.start())
			}
			places := NewRule(ScopeUser, "u", None, None, testParallel)
			dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 5))
			begin, kills, most := fleet.Now(), 0, int64(0)
			next := begin + int64(200*time.Millisecond)
			for now := begin; now < begin+int64(5*testWindow); now = fleet.Now() {
				time.Sleep(time.Millisecond)
				if r := table.Limits().Peek(places.Tag); r != nil {
					most = max(most, fleet.ParallelOf(r))
				}
				if now > next {
					victim := dice.IntN(len(p.living))
					p.kill(victim)
					p.living[victim] = p.start()
					next, kills = now+dice.Int64N(int64(300*time.Millisecond)), kills+1
				}
			}
			for i := range p.living {
				p.kill(i)
			}
			p.reads.Wait()
			span := fleet.Now() - begin
			if most > testParallel {
				t.Errorf("%d places of %d", most, testParallel)
			}
			if n := fleet.ParallelOf(table.Limits().Peek(places.Tag)); n != 0 {
				t.Errorf("%d places held by the dead", n)
			}
			if fixed {
				judgeFixed(t, p.passed, table.Header().WallOffset.Load())
			} else {
				judgeGCRA(t, "requests", p.passed, testRequests, func(a passage) int64 { return a.requests })
				judgeGCRA(t, "tokens", p.passed, testTokens, func(a passage) int64 { return a.tokens * a.requests })
				judgeGCRA(t, "tokens that were held", p.passed, testTokens, func(a passage) int64 { return a.tokens * (1 - a.requests) })
			}
			t.Logf("show: %d admissions in %v with %d processes killed, at most %d places of %d", len(p.passed), time.Duration(span), kills, most, testParallel)
			if len(p.passed) < testRequests {
				t.Errorf("%d admissions show nothing", len(p.passed))
			}
		})
	}
}

// judgeGCRA looks at spans that begin with one of 300 admissions and end with any
// other: what surely passed within it must not be more than the limit and
// what has flowed off meanwhile.
func judgeGCRA(t *testing.T, what string, passed []passage, limit int64, weigh func(passage) int64) {
	t.Helper()
	byEnd := slices.Clone(passed)
	slices.SortFunc(byEnd, func(a, b passage) int { return int(a.to - b.to) })
	fullest := 0.0
	for i := 0; i < len(passed); i += 1 + len(passed)/300 {
		first, sum := passed[i], int64(0)
		for _, a := range byEnd {
			if a.from < first.from {
				continue
			}
			sum += weigh(a)
			bound := limit + limit*(a.to-first.from)/int64(testWindow)
			fullest = max(fullest, float64(sum)/float64(bound))
			if sum > bound {
				t.Errorf("%d %s in %v, %d allowed", sum, what, time.Duration(a.to-first.from), bound)
				return
			}
		}
	}
	t.Logf("show: %s at most %.1f %% of the bound in any span", what, 100*fullest)
}

func judgeFixed(t *testing.T, passed []passage, offset int64) {
	t.Helper()
	requests, tokens, held := map[int64]int64{}, map[int64]int64{}, map[int64]int64{}
	for _, a := range passed {
		n := (a.from + offset) / int64(testWindow)
		if (a.to+offset)/int64(testWindow) != n {
			continue // passed in one or the other
		}
		requests[n] += a.requests
		tokens[n] += a.tokens * a.requests
		held[n] += a.tokens * (1 - a.requests)
	}
	for n := range requests {
		if requests[n] > testRequests || max(tokens[n], held[n]) > testTokens {
			t.Errorf("window %d: %d requests of %d, %d and %d tokens of %d", n, requests[n], testRequests, tokens[n], held[n], testTokens)
		}
	}
	t.Logf("show: requests by window %v", requests)
}
