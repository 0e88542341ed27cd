package server

import (
	"time"

	"sluice/proxy/gateway"
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
			s.own.Cut.Add(1)
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
