package main

import (
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// daemon is one process life of healthd. Two live at once only while one
// replaces the other; both accept on the same socket.
type daemon struct {
	name     string
	number   int
	pid      int
	ticks    uint64
	state    fleet.State
	link     *link
	version  string
	launched int64
	ready    int64
	killAt   int64
	adopted  bool
}

// retryHealthd is the pause before healthd is started again after a life
// shorter than a second.
const retryHealthd = int64(500 * time.Millisecond)

// healthd is the newest one that is not being replaced, or nil.
func (a *appliance) healthd() *daemon {
	for i := len(a.daemons) - 1; i >= 0; i-- {
		if d := a.daemons[i]; d.state != fleet.StateLame {
			return d
		}
	}
	return nil
}

func (a *appliance) daemonByName(name string) *daemon {
	for _, d := range a.daemons {
		if d.name == name {
			return d
		}
	}
	return nil
}

// keepHealthd starts healthd when there is none, and its successor when the
// one that runs is of an earlier supervisor.
func (a *appliance) keepHealthd(now int64) {
	newest := a.healthd()
	if newest != nil && newest.state == fleet.StateReady {
		a.healthUp = now
	}
	for _, d := range a.daemons {
		if d.state == fleet.StateStarting && now-d.launched > readyWithin && d.killAt == 0 {
			d.killAt = now
		}
		if d.killAt != 0 && now >= d.killAt {
			a.kill(d.name, syscall.SIGKILL)
			d.killAt = now + int64(time.Second)
		}
	}
	if a.stop.phase >= stopHealthd || a.stop.now || now < a.stop.healthRetry {
		return
	}
	if newest == nil || newest.adopted && a.stop.phase == stopNone {
		a.launchHealthd(now)
	}
}

func (a *appliance) launchHealthd(now int64) {
	d := &daemon{number: a.nextNumber, state: fleet.StateStarting, launched: now}
	a.nextNumber++
	d.name = "healthd-g" + strconv.Itoa(d.number)
	path, err := a.binary("healthd")
	if err == nil {
		err = a.engine.spawn(childSpec{name: d.name, path: path, env: []string{"GOMAXPROCS=2", "GOMEMLIMIT=33554432"}})
	}
	if err != nil {
		a.log.Error("start healthd", slog.String("error", err.Error()))
		a.stop.healthRetry = now + retryHealthd
		return
	}
	a.daemons = append(a.daemons, d)
	a.dirty = true
}

// daemonChanged acts on start and end of a healthd.
func (a *appliance) daemonChanged(d *daemon, ev childEvent) {
	now := a.now()
	if !ev.exited {
		d.pid, d.ticks = ev.pid, startTicks(ev.pid)
		return
	}
	for i, other := range a.daemons {
		if other == d {
			a.daemons = append(a.daemons[:i:i], a.daemons[i+1:]...)
			break
		}
	}
	if d.link != nil {
		d.link.close()
	}
	if d.state == fleet.StateLame || a.stop.phase >= stopHealthd || a.stop.now {
		return
	}
	a.healthNew++
	a.log.Error("healthd died, starting it again", slog.Int("pid", d.pid), slog.Int("status", ev.status))
	if now-d.launched < settled {
		a.stop.healthRetry = now + retryHealthd
	}
}

// helloHealthd hands healthd the host table and its listener. Secrets and the
// workers' listeners are not for it.
func (a *appliance) helloHealthd(l *link, m fleet.Message) {
	var d *daemon
	for _, other := range a.daemons {
		if other.link == nil && other.state == fleet.StateStarting && (other.pid == 0 || other.pid == m.PID) {
			d = other
		}
	}
	if d == nil {
		a.log.Warn("unknown health daemon", slog.Int("pid", m.PID))
		l.close()
		return
	}
	d.link, l.daemon, d.version = l, d, m.Version
	l.send(fleet.Message{Kind: fleet.KindTable, Area: -1}, a.tableFD, false)
	for i := range a.sockets {
		if s := &a.sockets[i]; s.Slot == -1 {
			l.send(fleet.Message{Kind: fleet.KindListener, Listener: &s.Listener}, s.fd, false)
		}
	}
	l.send(fleet.Message{Kind: fleet.KindBegin}, -1, false)
}

// daemonReady lets the one before go.
func (a *appliance) daemonReady(d *daemon) {
	if d.state != fleet.StateStarting {
		return
	}
	now := a.now()
	d.state, d.ready = fleet.StateReady, now
	a.log.Info("healthd ready", slog.Int("pid", d.pid))
	for _, old := range a.daemons {
		if old != d && old.state != fleet.StateLame {
			old.state = fleet.StateLame
			a.kill(old.name, syscall.SIGTERM)
			old.killAt = now + int64(5*time.Second)
		}
	}
	a.dirty = true
}

// welcomeHealthd counts a healthd of an earlier supervisor.
func (a *appliance) welcomeHealthd(l *link) {
	m := l.hello
	d := &daemon{
		name: "healthd-p" + strconv.Itoa(m.PID), pid: m.PID, ticks: startTicks(m.PID),
		state: fleet.StateReady, launched: a.now(), link: l, version: m.Version, adopted: true,
	}
	if a.engine.watch(d.name, d.pid) != nil {
		l.close()
		return
	}
	l.daemon = d
	a.daemons = append([]*daemon{d}, a.daemons...)
}
