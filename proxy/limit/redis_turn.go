package limit

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"sluice/supervisor/fleet"
)

// hostsKey is a hash: a field for each process, and until when it is believed
// to live.
const hostsKey = "sluice:hosts:{sluice}"

// Run keeps the share going until ctx ends: signs of life, what is given back
// and charged, claims on parallel requests. At the end this process leaves.
func (r *RedisShare) Run(ctx context.Context) {
	k := keeper{r: r, down: fleet.Now()}
	t := time.NewTimer(0)
	defer t.Stop()
	for soon := false; ; {
		select {
		case <-ctx.Done():
			k.leave()
			return
		case <-t.C:
			soon = false
			k.turn(fleet.Now())
			t.Reset(k.pause())
		case <-r.kick: // together with what else comes until then
			if !soon {
				soon = true
				t.Reset(briefly)
			}
		}
	}
}

// keeper is the goroutine of a share.
type keeper struct {
	r         *RedisShare
	down      int64 // since when Redis is away, 0 while it is there
	up        int64 // since when it is back
	settle    bool  // it was away for long
	nextBeat  int64
	nextSweep int64
}

func (k *keeper) pause() time.Duration {
	if !k.r.ready.Load() && !k.settle {
		return briefly // a start, or a moment without Redis
	}
	return turn
}

// turn does what is due. After a long outage nobody asks Redis at once: it
// knows nothing of what the hosts have admitted meanwhile. Every host first
// charges it, goes on by itself until all others have noticed that Redis is
// back, and charges the rest.
func (k *keeper) turn(now int64) {
	r := k.r
	if !r.client.Up() {
		if k.down == 0 {
			k.down = now
		}
		k.up = 0
		r.ready.Store(false)
		k.settle = k.settle || now-k.down > int64(long)
		return
	}
	first := k.up == 0
	if first {
		k.up, k.down, k.nextBeat = now, 0, min(k.nextBeat, now)
	}
	if now >= k.nextBeat {
		k.nextBeat = now + int64(beat) - rand.Int64N(int64(beat)/8)
		r.beat(false)
	}
	done := !k.settle || now-k.up >= int64(settling)
	r.work(now, first || k.settle && done)
	if done {
		k.settle = false
		r.ready.Store(true)
	}
	if now >= k.nextSweep {
		k.nextSweep = now + int64(idle)/2
		r.forget(now)
	}
}

// beat is a sign of life, or the last one.
func (r *RedisShare) beat(leave bool) {
	last := "0"
	if leave {
		last = "1"
	}
	answer, err := r.client.Eval(script, hostsKey, "host", text(beatLife.Microseconds()), r.self, last)
	if err == nil && len(answer) == 2 && !leave {
		r.alive(answer[0], answer[1], fleet.Now())
	}
}

// alive notes how many hosts and processes there are. More are believed at
// once, fewer when it was so for a while: in a Redis that was flushed or
// started anew nobody has shown a sign of life yet.
func (r *RedisShare) alive(hosts, processes, now int64) {
	if hosts >= r.Hosts() && processes >= r.processes.Load() {
		r.fewer = 0
	} else if r.fewer == 0 {
		r.fewer = now
	}
	sure := r.fewer != 0 && now-r.fewer >= int64(2*beat+beat/4)
	if sure || hosts >= r.Hosts() {
		r.hosts.Store(max(hosts, 1))
	}
	if sure || processes >= r.processes.Load() {
		r.processes.Store(max(processes, 1))
	}
	if sure {
		r.fewer = 0
	}
}

// work goes through the list. owed says that what was used during an outage is
// charged now; otherwise the next who asks does.
func (r *RedisShare) work(now int64, owed bool) {
	r.listMu.Lock()
	list := r.list
	r.list = nil
	r.listMu.Unlock()
	if len(list) == 1 {
		r.tend(list[0], now, owed)
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, e := range list {
		slots <- struct{}{}
		wg.Go(func() {
			r.tend(e, now, owed)
			<-slots
		})
	}
	wg.Wait()
}

// tend does what is to be done for one limit.
func (r *RedisShare) tend(e *permits, now int64, owed bool) {
	if e.kind == Parallel {
		r.renew(e, now)
		e.mu.Lock()
		e.listed = false
		if e.held > 0 || e.quota > 0 {
			r.enlist(e)
		}
		e.mu.Unlock()
		return
	}
	e.mu.Lock()
	e.listed = false
	limit, back, charge := e.limit, e.back, e.charge
	e.back, e.charge = nil, 0
	if owed {
		charge += int64(math.Ceil(r.owing(e, now)))
		e.owed = 0
	}
	e.mu.Unlock()
	if limit <= 0 {
		return
	}
	if charge > 0 {
		if _, err := r.call(e, "charge", limit, charge, 0, 0); err != nil {
			e.mu.Lock()
			r.owe(e, now, charge)
			e.mu.Unlock()
		}
	}
	for _, b := range back {
		// What does not arrive is lost, and the limit too strict for a while.
		_, _ = r.call(e, "back", limit, b.n, max(0, now-b.taken)/1000, 0)
	}
}

// forget drops what nobody has used for a while.
func (r *RedisShare) forget(now int64) {
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		for s, e := range p.entries {
			e.mu.Lock()
			if now-e.seen.Load() > int64(idle) && !e.listed && !e.asking && e.held == 0 && e.waiting == 0 {
				delete(p.entries, s)
				r.count.Add(-1)
			}
			e.mu.Unlock()
		}
		p.mu.Unlock()
	}
}

// leave gives back what this process has, so that the others need not wait
// until it is not believed any more.
func (k *keeper) leave() {
	r := k.r
	r.ready.Store(false)
	if !r.client.Up() {
		return
	}
	now := fleet.Now()
	r.work(now, true)
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		for _, e := range p.entries {
			if e.kind == Parallel && e.quota > 0 && r.client.Up() {
				_, _, _ = r.claim(e, e.limit, 0, 0, 0)
			}
		}
		p.mu.Unlock()
	}
	r.beat(true)
}
