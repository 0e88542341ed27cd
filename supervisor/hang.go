package main

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// Times of a hang, in nanoseconds.
const (
	stalledFor = int64(time.Second)              // connections waited and none was accepted
	noSignFor  = 2 * int64(fleet.HeartbeatEvery) // no sign of life: it is looked at closely
	dumpTime   = int64(3 * time.Second)          // between SIGQUIT and SIGKILL

	// starvedMost bounds, in times of what makes a hang, how long others may keep
	// the processors from a worker: one that hangs in a loop waits for them too.
	starvedMost = 4
)

// watchHangs finds workers that do nothing at all, and those whose accept loop
// has stopped. The second is seen from outside: over TCP a worker cannot pass a
// request to itself. A hung one no longer counts as serving, so its slot is
// filled and adopted like an empty one. One that is merely overloaded is late
// with its requests to itself too, but others of its requests end. What a worker
// waits for a processor does not count: a successor would wait as long, and more
// are to share it then.
func (a *appliance) watchHangs(now int64) {
	for _, g := range a.gens {
		if g.area < 0 || g.killAt != 0 {
			continue
		}
		page := a.table.Generation(g.area)
		a.noteProgress(g, page, now)
		if g.state != fleet.StateReady || now < a.gracedTill {
			g.stalledSince = 0
			if g.state == fleet.StateLame && g.hung && a.silent(g, now) && now >= a.gracedTill {
				a.endHung(g, now)
			}
			continue
		}
		silent, stalled := a.silent(g, now), a.stalled(g, page, now)
		switch {
		case (silent || stalled) && !g.hung:
			g.hung = true
			a.log.Error("worker hangs, replacing it", slog.Int("slot", g.slot), slog.Int("generation", g.number),
				slog.Int("pid", g.pid), slog.Bool("silent", silent), slog.Bool("stalled", stalled))
		case g.hung && !silent && !stalled:
			g.hung = false
			a.log.Info("worker answers again", slog.Int("slot", g.slot), slog.Int("generation", g.number))
		}
		if g.hung {
			a.replaced(g, now)
		}
	}
}

// noteProgress notes the last sign of life: an answered request to itself, any
// other request that ended, a connection that was accepted.
func (a *appliance) noteProgress(g *generation, page *fleet.Generation, now int64) {
	if work := page.Requests.Load() + page.Accepted.Load(); work != g.work {
		g.work, g.lived = work, now
	}
	g.lived = max(g.lived, page.Beat.Load(), g.ready)
	switch {
	case now-g.lived <= noSignFor:
		g.quiet = 0
	case g.quiet == 0:
		g.quiet = max(a.waited(g.pid), 1)
	}
}

// silent reports that a worker has given no sign of life for too long.
func (a *appliance) silent(g *generation, now int64) bool {
	return a.lasts(g, now-g.lived, fleet.HungAfter, g.quiet)
}

// lasts reports whether a trouble of a worker is longer than it may be, without
// the time that it waited for a processor: before had been waited when the trouble
// was seen first.
func (a *appliance) lasts(g *generation, trouble, most, before int64) bool {
	if trouble < most || trouble >= starvedMost*most {
		return trouble >= most
	}
	return trouble-max(a.waited(g.pid)-before, 0) >= most
}

// waitedFor is how long the threads of a process have waited for a processor in
// all, in nanoseconds; 0 where the kernel does not say (/proc/PID/schedstat in its
// Documentation/scheduler/sched-stats.rst), or where the unit hides processes
// (ProtectProc=invisible hides those that nobody may trace, such as workers).
func waitedFor(pid int) int64 {
	tasks := "/proc/" + strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return 0
	}
	sum := int64(0)
	for _, t := range threads {
		b, err := os.ReadFile(tasks + "/" + t.Name() + "/schedstat")
		if err != nil {
			continue // it has ended
		}
		if fields := bytes.Fields(b); len(fields) == 3 {
			n, _ := strconv.ParseInt(string(fields[1]), 10, 64) // 0 like one that is not there
			sum += n
		}
	}
	return sum
}

// replaced ends a hung generation once its slot has another one.
func (a *appliance) replaced(g *generation, now int64) {
	for _, other := range a.inSlot(g.slot) {
		if other.serving() {
			a.endHung(g, now)
			return
		}
	}
}

// stalled compares the queues of a worker's own listeners with what it has
// accepted. Only the newest generation of a slot answers for the queue.
func (a *appliance) stalled(g *generation, page *fleet.Generation, now int64) bool {
	queue := 0
	for _, s := range a.sockets {
		if s.Slot == g.slot && s.Network == "tcp" {
			queue += waiting(s.fd)
		}
	}
	accepted := page.Accepted.Load()
	if queue == 0 || accepted != g.accepted {
		g.accepted, g.stalledSince = accepted, 0
		return false
	}
	if g.stalledSince == 0 {
		g.stalledSince, g.stalledWait = now, a.waited(g.pid)
	}
	return a.lasts(g, now-g.stalledSince, stalledFor, g.stalledWait)
}

// endHung ends a worker that gives no sign of life. One that does may finish
// what it has, for a while, and is watched on.
func (a *appliance) endHung(g *generation, now int64) {
	if g.killAt != 0 {
		return
	}
	if !a.silent(g, now) {
		a.recycles["hang"]++
		a.makeLame(g, 0)
		g.windowEnd = now + forcedWindow
		return
	}
	a.kill(g.name, syscall.SIGQUIT)
	g.killAt = now + dumpTime
}
