package server

import (
	"time"

	"sluice/proxy/gateway"
	"sluice/supervisor/fleet"
)

// Lame makes the worker a lame duck: it accepts nothing more, answers what it
// has with Connection: close, and lets idle connections live their keep-alive
// time. After window, if it is not 0, what is left is Cut within 5 s. Lame
// returns at once; see Wait.
func (s *Server) Lame(window time.Duration) {
	s.lame.Store(true)
	s.accept.only(nil)
	s.bad.lame(s)
	if s.bad.shutdown() {
		s.conns.each(func(c *conn) {
			if c.phase.Load() == phaseIdle {
				c.kill()
			}
		})
	}
	if window > 0 {
		s.accept.later(window, func() { s.Cut(5 * time.Second) })
	}
}

// Quiet ends idle connections d after their last answer and not before d from
// now, where their keep-alive time would be longer: for a stop of the whole
// appliance, where no successor is waited for. Only the first call counts.
func (s *Server) Quiet(d time.Duration) {
	if s.quietFrom.CompareAndSwap(0, s.clock.now()) {
		s.quiet.Store(int64(d))
	}
}

// closing says that clients are better served elsewhere: the worker is lame, or
// the whole appliance stops.
func (s *Server) closing() bool {
	if s.lame.Load() {
		return true
	}
	state := fleet.State(s.c.Table.Header().State.Load())
	return state == fleet.StateDraining || state == fleet.StateStopping
}

// Draining reports whether Lame was called.
func (s *Server) Draining() bool { return s.lame.Load() }

// Cut ends what is left: exchanges in flight are cancelled, so that streams end
// with an error event, idle connections are closed, and after window
// everything else is. It returns at once.
func (s *Server) Cut(window time.Duration) {
	s.lame.Store(true)
	now := s.clock.now()
	s.conns.each(func(c *conn) {
		if c.private {
			return
		}
		if c.cancel(gateway.CauseStopping) {
			if !c.cut.Swap(true) {
				s.own.Cut.Add(1)
			}
			return
		}
		if c.phase.Load() == phaseIdle {
			c.limit.Store(now)
			c.wakeRead()
		}
	})
	s.accept.later(window, func() {
		s.conns.each(func(c *conn) {
			if !c.private {
				c.kill()
			}
		})
	})
}
