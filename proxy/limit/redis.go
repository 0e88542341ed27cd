package limit

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

const (
	small     = 100 // limits under it ask for each request and get no block
	sharePart = 10  // of a process's part of a limit: the most in one block

	beat     = 2 * time.Second         // between two signs of life of a process
	beatLife = 10 * time.Second        // until a silent one is not counted any more
	holdBeat = time.Second             // the same for parallel requests
	holdLife = 3 * time.Second         //
	turn     = 50 * time.Millisecond   // of the goroutine that returns and renews
	briefly  = 5 * time.Millisecond    // the same where somebody may wait for it; a refusal of places is believed so long
	long     = time.Second             // an outage after which the hosts settle before they ask again
	settling = 2500 * time.Millisecond // until every host has noticed that Redis is back: its look, and a margin
	sureNo   = 250 * time.Millisecond  // the longest time that a refusal is believed without asking
	recent   = 2 * time.Second         // an answer tells how things stand

	requestSlots = 2 // in which the script remembers the lowest debt, a second each
	tokenSlots   = 16

	idle        = 20 * time.Second // of a subject, until it is forgotten here
	mostEntries = 1 << 17
	parts       = 32
	atOnce      = 16 // calls of the goroutine
)

// RedisConfig is what a RedisShare is made of.
type RedisConfig struct {
	Client *redis.Client
	Host   string // of this host, the same for all its processes and for no other's
	// Process tells this process from the host's others, also from those that
	// have ended in the last ten seconds.
	Process string
	Window  time.Duration // 0: a minute
	Fixed   bool
	// Hosts is where this host's processes note how many hosts there are: who is
	// born while Redis is away reads it there. nil: nobody else's business.
	Hosts *atomic.Int64
}

// RedisShare is a Share whose truth is in Redis. What it promises stands beside
// its script.
type RedisShare struct {
	client *redis.Client
	self   string
	window time.Duration
	fixed  bool
	late   time.Duration // the longest time between a grant by Redis and the moment in which it is spent

	parts [parts]struct {
		mu      sync.Mutex
		entries map[subject]*permits
	}
	count     atomic.Int64
	hosts     *atomic.Int64
	processes atomic.Int64
	fewer     int64       // of the goroutine: since when there are fewer hosts or processes than are believed, 0 there are not
	ready     atomic.Bool // Redis is there, and every host has settled
	alone     atomic.Uint64

	listMu sync.Mutex
	list   []*permits // with something to do for the goroutine
	kick   chan struct{}
}

var _ Share = (*RedisShare)(nil)

var errAnswer = errors.New("redis answers something else than the script does")

type subject struct {
	tag  uint64
	kind Type
}

// permits is what this process knows of one limit.
type permits struct {
	subject
	key  string
	seen atomic.Int64 // fleet.Now when somebody last looked for it

	mu     sync.Mutex
	limit  int64
	listed bool // stands in the list

	// Of a limit in a window.
	asking    bool     // somebody asks for a block
	waiters   []waiter // for a part of it
	span      int64    // number of the 25 ms that used[0] is of
	used      [8]int64 // permits wanted in it and in those before: of twice BlockLife
	no, noFor int64    // until when Redis has said no, and to how many
	room      int64    // what was left when Redis answered last
	roomAt    int64
	alone     float64 // what may be spent without Redis at present
	aloneAt   int64   // 0: Redis is there
	owed      float64 // used while Redis was away, to be charged
	owedAt    int64
	back      []returned // to be given back
	charge    int64      // to be charged

	parallel
}

type returned struct{ n, taken int64 }

// NewRedisShare makes a share; Run keeps it going.
func NewRedisShare(c RedisConfig) *RedisShare {
	r := &RedisShare{
		client: c.Client, self: c.Host + "/" + c.Process, window: c.Window, fixed: c.Fixed, hosts: c.Hosts,
		late: c.Client.Wait() + BlockLife, kick: make(chan struct{}, 1),
	}
	if r.window == 0 {
		r.window = time.Minute
	}
	if r.hosts == nil {
		r.hosts = new(atomic.Int64)
	}
	for i := range r.parts {
		r.parts[i].entries = map[subject]*permits{}
	}
	r.processes.Store(1)
	return r
}

// Hosts is how many hosts have shown a sign of life in the last ten seconds
// that Redis was there.
func (r *RedisShare) Hosts() int64 { return max(r.hosts.Load(), 1) }

// Alone counts what was let through without asking, because Redis was away, slow,
// or not there yet.
func (r *RedisShare) Alone() uint64 { return r.alone.Load() }

// Await waits until Redis can be asked, for at most d: who begins to admit before
// knows nothing of what others have used. Unless others can ask it, it waits no
// longer when it turns out that it cannot.
func (r *RedisShare) Await(d time.Duration, others bool) {
	for end := fleet.Now() + int64(d); !r.usable() && (others || !r.client.Tried()) && fleet.Now() < end; {
		<-time.After(time.Millisecond)
	}
}

func (r *RedisShare) usable() bool { return r.ready.Load() && r.client.Up() }

// entry finds or makes what is known of a limit. kept is false where there are
// too many of them: the entry is forgotten after the call.
func (r *RedisShare) entry(tag uint64, t Type) (e *permits, kept bool) {
	s := subject{tag, t}
	p := &r.parts[tag%parts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if e = p.entries[s]; e != nil {
		e.seen.Store(fleet.Now())
		return e, true
	}
	e = &permits{subject: s, key: key(s)}
	e.seen.Store(fleet.Now())
	if kept = r.count.Load() < mostEntries; kept {
		r.count.Add(1)
		p.entries[s] = e
	}
	return e, kept
}

// key of a limit in Redis; what is in braces chooses the node of a cluster.
func key(s subject) string {
	return fmt.Sprintf("sluice:limit:{%016x}:%c", s.tag, "rtp"[s.kind])
}

// Take asks Redis, unless it has just said no. Who comes while a block is being
// asked for gets his part of that.
func (r *RedisShare) Take(tag uint64, t Type, limit, n int64) (g Grant, ok bool) {
	switch {
	case t == Parallel:
		return r.hold(tag, limit, n)
	case n <= 0:
		return Grant{N: n, Since: fleet.Now()}, true
	case limit <= 0:
		return Grant{Reset: r.window}, true
	}
	e, _ := r.entry(tag, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.limit != limit {
		e.limit, e.no = limit, 0
	}
	for tries := 0; e.asking && tries < 3 && r.usable(); tries++ {
		if g = e.wait(n); g.N == n {
			return g, true
		}
	}
	start := fleet.Now()
	switch {
	case !r.usable():
		return r.without(e, start, n)
	case start < e.no && n >= e.noFor:
		return Grant{Reset: time.Duration(e.no - start)}, true
	}
	more := r.block(e, start)
	owed := int64(math.Ceil(r.owing(e, start)))
	e.owed, e.aloneAt = 0, 0
	e.mu.Unlock()

	answer, err := r.call(e, "ask", limit, n, more, owed)
	now := fleet.Now()
	e.mu.Lock()
	if more > 0 {
		e.asking = false
		defer e.refuse() // who was not served below
	}
	if err != nil {
		e.owed, e.owedAt = e.owed+float64(owed), now
		return r.without(e, now, n)
	}
	g = Grant{N: answer[0], Since: start, Reset: time.Duration(answer[1]) * time.Microsecond}
	e.room, e.roomAt = answer[2], start
	switch {
	case g.N == 0:
		e.no, e.noFor = now+int64(min(g.Reset, sureNo)), n
		return g, true
	case now-start > int64(r.client.Wait()), r.fixed && now-start >= int64(g.Reset):
		// This process was held up, and what it got may not be spent any more.
		e.back = append(e.back, returned{g.N, start})
		r.enlist(e)
		return r.without(e, now, n)
	}
	e.use(start, g.N)
	if more > 0 {
		g.N = n + e.serve(g.N-n, start)
	}
	return g, true
}

// block is how many permits to take beyond those that are needed now: what
// this process took and wanted in 100 ms, as a mean of twice that time, for a block that is
// spent evenly was taken up to BlockLife ago; and no more than a tenth of its
// part of the limit. One call at a time takes a block.
func (r *RedisShare) block(e *permits, now int64) int64 {
	if e.limit < small || e.asking {
		return 0
	}
	e.use(now, 0)
	most := e.limit / max(r.processes.Load(), 1) / sharePart
	more := max(0, min(most, (e.wanted()+1)/2))
	e.asking = more > 0
	return more
}

// use notes n permits as used now; the present and seven full spans of 25 ms
// are kept.
func (e *permits) use(now, n int64) {
	span := now / int64(BlockLife/4)
	if d := span - e.span; d > 0 {
		for i := len(e.used) - 1; i >= 0; i-- {
			if j := int64(i) - d; j >= 0 {
				e.used[i] = e.used[j]
			} else {
				e.used[i] = 0
			}
		}
		e.span = span
	}
	e.used[0] = e.used[0] + n
}

// waiter wants n permits of a block that is being asked for.
type waiter struct {
	n    int64
	gets chan Grant
}

// wait is called with the lock held, and comes back with it. Nobody waits longer
// than a call to Redis may take; none are granted where the block was too small,
// or there was none.
func (e *permits) wait(n int64) Grant {
	w := waiter{n, make(chan Grant, 1)}
	e.waiters = append(e.waiters, w)
	e.mu.Unlock()
	g := <-w.gets
	e.mu.Lock()
	return g
}

// serve gives of a block to those who wait for it, and returns what is left.
func (e *permits) serve(over, since int64) int64 {
	for _, w := range e.waiters {
		g := Grant{}
		if w.n <= over {
			over -= w.n
			g = Grant{N: w.n, Since: since}
		}
		w.gets <- g
	}
	e.waiters = e.waiters[:0]
	return over
}

// refuse sends those who still wait to ask for themselves.
func (e *permits) refuse() { e.serve(0, 0) }

// wanted is the sum of what use has noted.
func (e *permits) wanted() (sum int64) {
	for _, n := range e.used {
		sum += n
	}
	return sum
}

// without is the answer while nobody can be asked: the host decides, by its
// part of the limit and what it has used of it. But where Redis has just said
// what was left for all, this process begins with its part of that, and gets
// nothing beyond it in the first second, in which the others may still be
// asking: what is used up does not begin anew because Redis is away.
func (r *RedisShare) without(e *permits, now, n int64) (g Grant, ok bool) {
	part := float64(e.limit) / float64(r.Hosts())
	rate := part / float64(r.window)
	if e.aloneAt == 0 {
		e.alone, e.aloneAt = part, now
		if age := now - e.roomAt; e.roomAt != 0 && age < int64(recent) {
			e.alone, e.aloneAt = min(part, float64(e.room)/float64(max(r.processes.Load(), 1))), now+int64(long)
		}
	}
	if now > e.aloneAt {
		e.alone, e.aloneAt = min(part, e.alone+rate*float64(now-e.aloneAt)), now
	}
	if need := float64(n); e.alone < need && e.alone < part {
		return Grant{Reset: time.Duration(e.aloneAt-now) + time.Duration((min(need, part)-e.alone)/rate)}, true
	}
	e.alone -= float64(n)
	r.owe(e, now, n)
	r.alone.Add(1)
	return Grant{}, false
}

// owe notes what was wanted while Redis was away. Some of it the host refused;
// so no more is owed than the host's part of the limit, and it is paid off at
// the rate of that part.
func (r *RedisShare) owe(e *permits, now, n int64) {
	e.owed, e.owedAt = min(r.owing(e, now)+float64(n), float64(e.limit)/float64(r.Hosts())), now
	r.enlist(e)
}

func (r *RedisShare) owing(e *permits, now int64) float64 {
	if e.owed == 0 {
		return 0
	}
	rate := float64(e.limit) / float64(r.Hosts()) / float64(r.window)
	return max(0, e.owed-rate*float64(now-e.owedAt))
}

// Give returns permits, or charges tokens, within a turn of the goroutine.
func (r *RedisShare) Give(tag uint64, t Type, limit, n, taken int64) {
	if n == 0 {
		return
	}
	e, _ := r.entry(tag, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	r.give(e, limit, n, taken)
}

// Unspent returns what nobody wanted of a block. It may be one that another
// process of this host has taken, so it takes half of this one's next at most.
func (r *RedisShare) Unspent(tag uint64, t Type, limit, n, taken int64) {
	e, _ := r.entry(tag, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.use(fleet.Now(), 0)
	e.used[0] -= max(0, min(n, e.wanted()/2))
	r.give(e, limit, n, taken)
}

func (r *RedisShare) give(e *permits, limit, n, taken int64) {
	if e.kind != Parallel || e.limit == 0 { // a place may be of a limit that was another
		e.limit = limit
	}
	switch {
	case e.kind == Parallel:
		e.held = max(0, e.held-n)
	case n < 0:
		e.charge -= n
	case r.ready.Load():
		if k := len(e.back); k > 0 && e.back[k-1].taken-taken < int64(turn) && taken-e.back[k-1].taken < int64(turn) {
			e.back[k-1].n += n
			e.back[k-1].taken = min(e.back[k-1].taken, taken)
		} else {
			e.back = append(e.back, returned{n, taken})
		}
	}
	r.enlist(e)
	if e.kind == Parallel && limit < small {
		select {
		case r.kick <- struct{}{}:
		default:
		}
	}
}

// enlist puts a limit on the goroutine's list.
func (r *RedisShare) enlist(e *permits) {
	if e.listed {
		return
	}
	e.listed = true
	r.listMu.Lock()
	r.list = append(r.list, e)
	r.listMu.Unlock()
}

func (r *RedisShare) call(e *permits, op string, limit, n, arg, owed int64) ([]int64, error) {
	span, slots := int64(0), int64(requestSlots)
	if !r.fixed {
		if span = time.Second.Microseconds(); e.kind == Tokens {
			slots = tokenSlots
			span = r.window.Microseconds() / (slots - 1)
		}
	}
	answer, err := r.client.Eval(script, e.key, op, text(limit), text(r.window.Microseconds()), text(r.late.Microseconds()),
		text(n), text(arg), text(owed), text(span), text(slots))
	if err == nil && len(answer) != 4 {
		err = errAnswer
	}
	return answer, err
}

func text(n int64) string { return strconv.FormatInt(n, 10) }
