package limit

import (
	"sync"

	"sluice/supervisor/fleet"
)

// parallel is this process's part of a limit of parallel requests: held of them
// are under way, and Redis believes until a moment that there may be quota.
type parallel struct {
	ask     sync.Mutex // one call at a time: it states the whole quota
	waiting int64      // places that those want who wait for it
	held    int64
	quota   int64
	till    int64 // fleet.Now until which the quota is good
	over    int64 // places that all processes have beyond the limit, as of the last answer
}

// bounded notes the limit that holds now. As long as all processes have more
// places than it allows, because it was lowered or Redis was away, what is left of
// the quota is not taken without asking: whoever ends gives his place up.
func (e *permits) bounded(limit, now int64) {
	if limit < e.limit || e.over > 0 {
		e.till = min(e.till, now)
	}
	if limit != e.limit {
		e.limit, e.no = limit, 0
	}
}

// takes takes n places of the quota.
func (e *permits) takes(n, now int64) bool {
	if e.held+n > e.quota || now >= e.till {
		return false
	}
	e.held += n
	return true
}

// own is what this process claims without asking for more.
func (e *permits) own(now int64) int64 {
	if now >= e.till {
		return e.held
	}
	return e.quota
}

// hold takes parallel places. What this process has and does not use goes
// first; those who wait while somebody calls are asked for along with the next.
func (r *RedisShare) hold(tag uint64, limit, n int64) (g Grant, ok bool) {
	if n <= 0 {
		return Grant{N: n}, true
	}
	e, kept := r.entry(tag, Parallel)
	if !kept {
		return Grant{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bounded(limit, fleet.Now())
	if e.takes(n, fleet.Now()) {
		return Grant{N: n}, true
	}
	e.waiting += n
	e.mu.Unlock()
	e.ask.Lock() // always before mu
	defer e.ask.Unlock()
	e.mu.Lock()
	e.waiting -= n
	start := fleet.Now()
	e.bounded(limit, start)
	switch {
	case !r.usable():
		return Grant{}, false
	case e.takes(n, start):
		return Grant{N: n}, true
	case start < e.no && n >= e.noFor:
		return Grant{}, true
	}
	own, more := e.own(start), e.waiting
	if limit >= small {
		more += e.held / sharePart
	}
	need := e.held + n - own
	e.mu.Unlock()
	got, over, err := r.claim(e, limit, own, need, more)
	e.mu.Lock()
	if err != nil {
		return Grant{}, false
	}
	e.quota, e.till, e.over = own+got, start+int64(holdLife), over
	r.enlist(e)
	if !e.takes(n, fleet.Now()) {
		e.no, e.noFor = fleet.Now()+int64(briefly), n
		return Grant{}, true
	}
	return Grant{N: n}, true
}

// claim states what this process has and asks for n more places, or for more
// than that if there are. over is how many all processes have beyond the limit.
func (r *RedisShare) claim(e *permits, limit, own, n, more int64) (got, over int64, err error) {
	answer, err := r.client.Eval(script, e.key, "hold", text(limit), text(holdLife.Microseconds()), r.self, text(own), text(n), text(more))
	if err != nil {
		return 0, 0, err
	}
	if len(answer) != 4 {
		return 0, 0, errAnswer
	}
	return answer[0], max(0, -answer[2]), nil
}

// renew tells Redis again what this process has, before it is not believed any
// more, and gives up what it does not use: at once where a limit is small, else
// half of it each time.
func (r *RedisShare) renew(e *permits, now int64) {
	if !e.ask.TryLock() {
		return // somebody is telling it
	}
	defer e.ask.Unlock()
	e.mu.Lock()
	own := e.own(now)
	keep := e.held
	if e.limit >= small && own > e.held {
		keep += (own - e.held) / 2
	}
	fresh := e.till-now > int64(holdLife-holdBeat)
	if keep == own && (fresh || own == 0) {
		if own == 0 {
			e.quota = 0 // it may have run out while Redis was away: nothing is left to renew
		}
		e.mu.Unlock()
		return
	}
	// Nobody takes what is being given up while Redis is told of it.
	e.quota, e.till = keep, now+int64(holdLife)
	limit := e.limit
	e.mu.Unlock()
	if _, _, err := r.claim(e, limit, keep, 0, 0); err != nil {
		e.mu.Lock()
		e.till = now
		e.mu.Unlock()
	}
}
