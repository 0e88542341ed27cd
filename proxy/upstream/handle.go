package upstream

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// longAgo is the deadline that wakes whatever waits on a socket.
var longAgo = time.Unix(1, 0)

// Timeouts bound the phases of a call; 0 means none. Connect covers the
// look-up and the proxy's consent, FirstByte starts when the request begins to
// be written, Idle is the longest wait for further bytes of the body (and for
// the rest of a begun header), Total runs from Do to the last byte. They are
// kept to within 50 ms.
type Timeouts struct {
	Connect, TLS, FirstByte, Idle, Total time.Duration
}

// Handle is the caller's grip on one call at a time: it can be cancelled
// through it from any goroutine, and the Response lives in it. Embed it where
// the call's owner is kept and use it again after Reset; the zero value is
// ready. It must not be copied.
type Handle struct {
	mu      sync.Mutex         // guards the next four
	raw     net.Conn           // the socket of the running call
	abort   context.CancelFunc // ends the running dial
	cause   error              // what Cancel was given
	expired bool               // a deadline passed

	deadline atomic.Int64 // nanoseconds of the sweeper's clock; 0: none
	total    int64        // the call's last instant, same clock; 0: none
	timeouts Timeouts
	phase    Phase
	reached  bool
	sweeper  *sweeper
	place    int // index among the live calls; guarded by the sweeper's mutex

	resp Response
}

// Cancel ends the running call at once, whatever phase it is in, and refuses
// later ones until Reset. The first cause stays. Safe from any goroutine.
func (h *Handle) Cancel(cause error) {
	if cause == nil {
		cause = context.Canceled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil {
		return
	}
	h.cause = cause
	h.cut()
}

// Reset makes the handle ready for another owner. The Response must be closed.
// What Response gave out is void from here on.
func (h *Handle) Reset() {
	if h.resp.cn != nil {
		panic("BUG: upstream.Handle reset while its response is open")
	}
	h.mu.Lock()
	h.cause, h.expired = nil, false
	h.mu.Unlock()
	if cap(h.resp.head) > readSize {
		h.resp.head, h.resp.fields = nil, nil
	}
}

// cut wakes the call. The caller holds h.mu.
func (h *Handle) cut() {
	if h.raw != nil {
		_ = h.raw.SetDeadline(longAgo) // fails only on a closed socket
	}
	if h.abort != nil {
		h.abort()
	}
}

// expire is the sweeper's Cancel.
func (h *Handle) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline.Store(0)
	if h.cause == nil && !h.expired {
		h.expired = true
		h.cut()
	}
}

// begin starts a call and puts it under the sweeper's eye.
func (h *Handle) begin(s *sweeper, t Timeouts) *Error {
	if h.resp.cn != nil {
		panic("BUG: upstream.Handle used for two calls at once")
	}
	h.mu.Lock()
	cause := h.cause
	h.expired = false
	h.mu.Unlock()
	h.phase, h.reached = PhaseDial, false
	h.resp.Attempts = 0
	if cause != nil {
		return &Error{Phase: PhaseDial, Canceled: true, Err: cause}
	}
	h.timeouts, h.sweeper, h.total = t, s, 0
	now := s.clock()
	if t.Total > 0 {
		h.total = now + int64(t.Total)
	}
	h.limit(now, t.Connect)
	if !s.add(h, now) {
		return &Error{Phase: PhaseDial, Err: ErrClosed}
	}
	return nil
}

// end takes the call from the sweeper's eye.
func (h *Handle) end() { h.sweeper.remove(h) }

// enter starts a phase that may take d; 0 leaves only the total.
func (h *Handle) enter(p Phase, d time.Duration) {
	h.phase = p
	if d > 0 || h.total > 0 {
		h.limit(h.sweeper.clock(), d)
		return
	}
	h.deadline.Store(0)
}

// limit sets the deadline to d after now, or the call's end if that is sooner.
func (h *Handle) limit(now int64, d time.Duration) {
	at := h.total
	if d > 0 && (at == 0 || now+int64(d) < at) {
		at = now + int64(d)
	}
	h.deadline.Store(at)
}

// bind makes raw the socket that Cancel and the sweeper cut. It reports false
// if the call has ended already.
func (h *Handle) bind(raw net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil || h.expired {
		return false
	}
	h.raw = raw
	return true
}

// unbind lets the socket go. It reports whether the socket is untouched and so
// may serve another call.
func (h *Handle) unbind() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.raw = nil
	return h.cause == nil && !h.expired
}

// dialing stores what ends the dial; nil when it is over. It reports false if
// the call has ended already.
func (h *Handle) dialing(abort context.CancelFunc) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abort = abort
	return h.cause == nil && !h.expired
}

// ended reports whether Cancel or a deadline ended the call.
func (h *Handle) ended() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cause != nil || h.expired
}

// fail turns what a phase gave into the call's error.
func (h *Handle) fail(err error) *Error {
	e := &Error{Phase: h.phase, Reached: h.reached, Attempts: h.resp.Attempts, Err: err}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.cause != nil:
		e.Canceled, e.Err = true, h.cause
	case h.expired:
		e.Timeout, e.Err = true, os.ErrDeadlineExceeded
	default:
		e.Timeout = timedOut(err)
	}
	return e
}
