package server

import (
	"errors"
	"log/slog"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// Hashing alone loads 4 slots with 16 connections 1.5 : 1, so a worker with
// more connections than the least loaded one leaves its queue to that one for a
// moment.
const (
	offerTime   = time.Millisecond
	offerTries  = 3                     // for one connection
	offerVain   = 5                     // connections in a row that nobody took
	offerPause  = 50 * time.Millisecond // after so many
	leastExcess = 2

	// Of so few connections each counts, and the neighbour may have to wait for
	// a processor: they are offered for longer.
	fewConns  = 64
	fewTries  = 10
	fewInVain = 16

	// A neighbour that has not come by then may have no processor: whoever else
	// has room is asked too.
	triesForOne = 2
)

// load knows where the READY generation of each slot counts its connections.
// It belongs to one goroutine.
type load struct {
	refs   []ref
	paused time.Time
	vain   int
	to     int // the slot that heavy found the least loaded
}

type ref struct {
	generation uint32
	area       *fleet.Generation
}

// conns is the open connections of a slot's READY generation.
func (d *load) conns(t *fleet.Table, slot int) (int64, bool) {
	if d.refs == nil {
		d.refs = make([]ref, t.Slots())
	}
	r := &d.refs[slot]
	g := t.Slot(slot).Generation.Load()
	if g == 0 {
		return 0, false
	}
	if r.generation != g || r.area == nil || r.area.Number.Load() != g {
		i := t.Find(int(g))
		if i < 0 {
			return 0, false
		}
		*r = ref{generation: g, area: t.Generation(i)}
	}
	if fleet.State(r.area.State.Load()) != fleet.StateReady {
		return 0, false
	}
	return r.area.Conns.Load(), true
}

// heavy reports whether this worker has so many more connections than the least
// loaded READY neighbour that the next one should be that neighbour's.
func (d *load) heavy(s *Server) bool {
	t := s.c.Table
	if t.Slots() < 2 || s.bad.unshared() {
		return false
	}
	mine := s.own.Conns.Load()
	if mine < leastExcess || !d.paused.IsZero() && time.Since(d.paused) < offerPause {
		return false
	}
	least, found := int64(0), false
	for i := range t.Slots() {
		if i == s.c.Slot {
			continue
		}
		if n, ok := d.conns(t, i); ok && (!found || n < least) {
			least, found, d.to = n, true, i
		}
	}
	return found && mine-least >= max(leastExcess, least/8)
}

// offer leaves the queue to the least loaded neighbour for offerTime, a few
// times as long as there is one, later to every neighbour that would still have
// fewer, and then accepts what is still there; EAGAIN means that it was taken.
func (lp *loop) offer() (int, syscall.Sockaddr, error) {
	s, d := lp.s, &lp.load
	slot := s.c.Table.Slot(max(lp.l.about.Slot, 0))
	tries, inVain := offerTries, offerVain
	if s.own.Conns.Load() <= fewConns {
		tries, inVain = fewTries, fewInVain
	}
	try := 0
	for ; try == 0 || try < tries && d.heavy(s); try++ {
		slot.Offered.Store(1)
		if try < triesForOne {
			s.accept.ring(d.to)
		} else {
			s.accept.ringOthers()
		}
		time.Sleep(offerTime)
		slot.Offered.Store(0)
		if !queued(lp.l.fd) {
			d.vain = 0
			return -1, nil, syscall.EAGAIN
		}
	}
	if try < tries { // no longer heavy: somebody took one, and more have come
		d.vain = 0
	} else if d.vain++; d.vain >= inVain {
		d.vain, d.paused = 0, time.Now()
	}
	return syscall.Accept4(lp.l.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
}

// queued reports whether a connection waits on a listener.
func queued(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

func (a *acceptors) ring(slot int) {
	a.shared.RLock()
	fd, ok := a.bells[slot]
	a.shared.RUnlock()
	if ok {
		ring(fd)
	}
}

// ringOthers wakes every other slot; take decides who is light enough.
func (a *acceptors) ringOthers() {
	a.shared.RLock()
	defer a.shared.RUnlock()
	for slot, fd := range a.bells {
		if slot != a.s.c.Slot {
			ring(fd)
		}
	}
}

func ring(fd int) {
	one := [8]byte{1}
	_, _ = syscall.Write(fd, one[:])
}

// answerBell starts the goroutine that hears the own doorbell; it ends when the
// worker stops accepting. mu is held.
func (a *acceptors) answerBell() {
	a.shared.RLock()
	fd, ok := a.bells[a.s.c.Slot]
	a.shared.RUnlock()
	if !ok || a.ringing != nil || a.closed {
		return
	}
	f, err := pollable(fd, "doorbell")
	if err != nil {
		a.s.log.Error("doorbell", errAttr(err))
		return
	}
	a.ringing = f
	a.running.Add(1)
	go func() {
		defer a.running.Done()
		var count [8]byte
		var d load
		for {
			if _, err := f.Read(count[:]); err != nil {
				if errors.Is(err, syscall.EAGAIN) {
					continue
				}
				return
			}
			a.take(&d)
		}
	}()
}

// take accepts on the listeners of slots that are offered, as long as that
// leaves this worker no heavier than the one that offers.
func (a *acceptors) take(d *load) {
	s := a.s
	for _, l := range a.listeners() {
		slot := l.about.Slot
		if slot < 0 || slot == s.c.Slot || slot >= s.c.Table.Slots() {
			continue
		}
		for s.c.Table.Slot(slot).Offered.Load() == 1 && !s.lame.Load() {
			if theirs, ok := d.conns(s.c.Table, slot); ok && s.own.Conns.Load()+leastExcess > theirs {
				break
			}
			fd, from, err := syscall.Accept4(l.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			s.welcome(l, fd, from)
		}
	}
}

func errAttr(err error) slog.Attr { return slog.String("error", err.Error()) }
