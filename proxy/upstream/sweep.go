package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	sweepEvery = 25 * time.Millisecond // while calls are live
	reapEvery  = time.Second           // while connections idle
	linger     = 2 * time.Second       // stays awake after the last call
	oversleep  = time.Second           // after that the process was stopped, not the providers
)

// sweeper enforces the deadlines of all live calls with one goroutine, so that
// a call costs neither timers nor deadlines of its own. It starts with the
// first call, sleeps when nothing is live or idle, and ends with stop.
type sweeper struct {
	base time.Time
	reap func(now int64) bool // closes idle connections; reports whether any are left

	now   atomic.Int64 // the clock, at most a sweep old while calls are live
	awake atomic.Bool
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}

	mu      sync.Mutex // guards the rest; taken before any Handle's
	live    []*Handle
	started bool
	stopped bool
}

func newSweeper(reap func(now int64) bool) *sweeper {
	return &sweeper{
		base: time.Now(), reap: reap,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// clock is the monotonic time in nanoseconds since the sweeper was made.
func (s *sweeper) clock() int64 { return int64(time.Since(s.base)) }

// add puts a call under the deadlines. It reports false after stop.
func (s *sweeper) add(h *Handle, now int64) bool {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return false
	}
	if !s.started {
		s.started = true
		go s.run()
	}
	h.place = len(s.live)
	s.live = append(s.live, h)
	s.mu.Unlock()
	if !s.awake.Load() && s.awake.CompareAndSwap(false, true) {
		s.now.Store(now)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// remove ends the watch over a call.
func (s *sweeper) remove(h *Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.live) - 1
	moved := s.live[last]
	s.live[h.place] = moved
	moved.place = h.place
	s.live[last] = nil
	s.live = s.live[:last]
}

// stop ends the goroutine and waits for it. Calls that are live are cut.
func (s *sweeper) stop() {
	s.mu.Lock()
	first := !s.stopped
	s.stopped = true
	started := s.started
	for _, h := range s.live {
		h.Cancel(ErrClosed)
	}
	s.mu.Unlock()
	if first {
		close(s.quit)
	}
	if started {
		<-s.done
	}
}

// run sweeps every 25 ms while calls are live, reaps every second while
// connections idle, and otherwise waits to be woken.
func (s *sweeper) run() {
	defer close(s.done)
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	last, reaped, busy := s.clock(), int64(0), s.clock()
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		case <-timer.C:
		}
		now := s.clock()
		s.now.Store(now)
		awake := s.awake.Load()
		// A gap means that this process was stopped: first let the calls
		// read what has arrived meanwhile.
		if s.sweep(now, awake && now-last > int64(oversleep)) {
			busy = now
		}
		last = now
		idle := true
		if now-reaped >= int64(reapEvery) {
			reaped, idle = now, s.reap(now)
		}
		switch {
		case now-busy < int64(linger):
			timer.Reset(sweepEvery)
		case s.doze():
			timer.Reset(sweepEvery)
		case idle:
			timer.Reset(reapEvery)
		default:
			timer.Stop()
		}
	}
}

// doze marks the sweeper as asleep unless a call came meanwhile; it reports
// whether one did.
func (s *sweeper) doze() bool {
	s.awake.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.live) > 0 {
		s.awake.Store(true)
		return true
	}
	return false
}

// sweep ends the calls whose deadline has passed and reports whether any call
// is live. With spare it only looks.
func (s *sweeper) sweep(now int64, spare bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !spare {
		for _, h := range s.live {
			if at := h.deadline.Load(); at != 0 && now >= at {
				h.expire()
			}
		}
	}
	return len(s.live) > 0
}
