package server

import (
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/gateway"
)

// watchAfter is the age from which an exchange's client is looked at: shorter
// ones end before anybody could save anything.
const watchAfter = 250 * time.Millisecond

// sweep is the one goroutine that keeps the deadlines of all connections and
// notices clients that hang up. fasthttp tells nobody (F1), and a timer or a
// deadline for each request would cost more than this does for all.
func (s *Server) sweep() {
	defer s.sweeping.Done()
	t := time.NewTicker(tick)
	defer t.Stop()
	turn := 0
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		now := s.clock.now()
		s.clock.coarse.Store(now)
		turn ^= 1 // each connection is peeked at every other time; its number stays
		s.conns.each(func(c *conn) { s.look(c, now, c.fd&1 == turn) })
	}
}

// look does what one connection's phase asks for.
func (s *Server) look(c *conn, now int64, peek bool) {
	phase, limit := c.phase.Load(), c.limit.Load()
	late := limit != 0 && now >= limit
	switch phase {
	case phaseIdle:
		end := c.idleEnd()
		if late = end != 0 && now >= end; late || c.held.Load() && now-c.since.Load() >= int64(parkAfter) {
			c.wakeRead()
		}
	case phaseHeader, phaseBody, phaseLinger:
		if late {
			c.wakeRead()
			c.wakeWrite()
		}
	case phaseWork, phaseWrite:
		if late {
			c.wakeWrite()
			if phase == phaseWrite {
				c.wakeRead()
			}
		}
		if peek && now-c.since.Load() >= int64(watchAfter) && !s.bad.deaf() && c.gone() {
			c.cancel(gateway.CauseClientGone)
		}
	}
}

// pollGone reports whether the peer has sent FIN or the connection is reset.
func pollGone(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
