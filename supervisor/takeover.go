package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// takeLock makes this the only supervisor of a state directory. inherited is
// the lock that an earlier self left open, or 0.
func takeLock(dir fleet.Dir, inherited int) (int, error) {
	if inherited > 0 {
		return inherited, setCloexec(inherited, true)
	}
	fd, err := unix.Open(dir.Lock(), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("open lock of state directory: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return -1, fmt.Errorf("state directory %s: another supervisor runs on it", dir)
		}
		return -1, fmt.Errorf("lock state directory: %w", err)
	}
	return fd, nil
}

// record is one child as processes.json names it.
type record struct {
	Role       string `json:"role"`
	Slot       int    `json:"slot"`
	Generation int    `json:"generation"`
	PID        int    `json:"pid"`
	Start      uint64 `json:"start"` // clock ticks since boot: tells a reused number
}

// lives reports whether the process runs. Where /proc hides processes that
// cannot be traced (ProtectProc=invisible), nobody knows when they began, or only who
// looked at them before they forbade it: then it is enough that one of ours has
// the number, and it is waited for in vain at most.
func (r record) lives() bool {
	if r.PID <= 1 { // the first process is nobody's child
		return false
	}
	_, err := os.Stat("/proc/" + strconv.Itoa(r.PID))
	if r.Start == 0 || err != nil {
		return syscall.Kill(r.PID, 0) == nil
	}
	return r.same()
}

// same reports whether it is the process beyond doubt.
func (r record) same() bool { return r.Start != 0 && startTicks(r.PID) == r.Start }

// processes is the document in the state directory.
type processes struct {
	Supervisor int      `json:"supervisor"`
	Next       int      `json:"next_generation"`
	Children   []record `json:"children"`
}

// readProcesses returns the children of an earlier supervisor that live.
func (a *appliance) readProcesses() map[int]record {
	b, err := os.ReadFile(a.plan.stateDir.Processes())
	if err != nil {
		return nil
	}
	var doc processes
	if err := json.Unmarshal(b, &doc); err != nil {
		a.log.Warn("list of processes cannot be read", slog.String("error", err.Error()))
		return nil
	}
	a.nextNumber = max(a.nextNumber, doc.Next)
	out := map[int]record{}
	for _, c := range doc.Children {
		if c.lives() {
			out[c.PID] = c
		}
	}
	return out
}

// writeProcesses replaces the list whole.
func (a *appliance) writeProcesses() {
	doc := processes{Supervisor: os.Getpid(), Next: a.nextNumber}
	for _, g := range a.gens {
		if g.pid != 0 {
			doc.Children = append(doc.Children, record{"proxy", g.slot, g.number, g.pid, g.ticks})
		}
	}
	for _, d := range a.daemons {
		if d.pid != 0 {
			doc.Children = append(doc.Children, record{"healthd", -1, d.number, d.pid, d.ticks})
		}
	}
	b, err := json.Marshal(doc)
	if err == nil {
		path := a.plan.stateDir.Processes()
		if err = os.WriteFile(path+".new", b, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		a.log.Error("write list of processes", slog.String("error", err.Error()))
	}
}

// collect waits until every living child of an earlier supervisor has handed
// back what it holds, at most for so long.
func (a *appliance) collect(patience time.Duration) {
	if len(a.known) == 0 {
		return
	}
	a.log.Info("taking over from an earlier supervisor", slog.Int("processes", len(a.known)))
	timer := time.NewTimer(patience)
	defer timer.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for a.missing() > 0 {
		select {
		case f := <-a.actions:
			f()
		case <-tick.C:
		case <-timer.C:
			a.log.Warn("some processes did not report", slog.Int("missing", a.missing()))
			return
		}
	}
}

// missing counts the known processes that live and have not handed back.
func (a *appliance) missing() int {
	n := 0
	for pid, c := range a.known {
		if c.lives() && !a.isBack(pid) {
			n++
		}
	}
	return n
}

func (a *appliance) isBack(pid int) bool {
	for _, l := range a.orphans {
		if l.hello.PID == pid {
			return true
		}
	}
	return false
}

// welcomeOrphans counts those who came back as generations of ours. What is
// left over of the known processes and holds none of our sockets is ended.
func (a *appliance) welcomeOrphans() {
	for _, l := range a.orphans {
		delete(a.known, l.hello.PID)
		if l.hello.Role == "healthd" {
			a.welcomeHealthd(l)
		} else {
			a.welcomeWorker(l)
		}
		l.drop()
	}
	a.orphans = nil
	for pid, c := range a.known {
		name := "stray-" + strconv.Itoa(pid)
		if !c.same() || a.engine.watch(name, pid) != nil {
			continue
		}
		a.log.Warn("ending a process of an earlier supervisor", slog.Int("pid", pid), slog.String("role", c.Role))
		a.kill(name, syscall.SIGTERM)
		a.strays[name] = a.now() + int64(30*time.Second)
	}
	a.known = nil
	a.dirty = true
}

func (a *appliance) welcomeWorker(l *link) {
	m := l.hello
	g := &generation{
		name: fmt.Sprintf("proxy-%d-g%d", m.Slot, m.Generation), number: m.Generation, slot: m.Slot,
		area: -1, pid: m.PID, ticks: startTicks(m.PID), link: l, version: m.Version, adopted: true,
		state: fleet.StateLame, launched: a.now(),
	}
	if area := a.table.Find(m.Generation); area >= 0 && area == m.Area {
		g.area = area
		page := a.table.Generation(area)
		g.launched, g.ready = page.Started.Load(), page.Ready.Load()
		if m.State == fleet.StateReady.String() {
			g.state = fleet.StateReady
			g.ready = max(g.ready, 1)
		}
	}
	if g.slot < 0 || g.slot >= len(a.slots) || a.gens[g.name] != nil {
		l.close()
		return
	}
	if err := a.engine.watch(g.name, g.pid); err != nil {
		l.close()
		return
	}
	l.gen = g
	a.gens[g.name] = g
	a.nextNumber = max(a.nextNumber, g.number+1)
	if g.state == fleet.StateLame {
		l.send(fleet.Message{Kind: fleet.KindLame}, -1, false)
		return
	}
	a.everReady = true
	reason := reasonTakeover
	if a.renewed {
		reason = reasonUpgrade
	}
	a.want(a.slots[g.slot], reason, false)
	a.log.Info("worker taken over", slog.Int("slot", g.slot), slog.Int("generation", g.number), slog.Int("pid", g.pid))
}

// reapDead frees the areas of generations that no longer live, after a
// takeover of the host table.
func (a *appliance) reapDead() {
	for area := range a.table.Areas() {
		number := int(a.table.Generation(area).Number.Load())
		// One that was spawned at the very end may not stand in the list yet.
		a.nextNumber = max(a.nextNumber, number+1)
		if number == 0 || a.byNumber(number) != nil {
			continue
		}
		if livesAs(int(a.table.Generation(area).PID.Load()), number) {
			continue // it drains as a stray and still writes here
		}
		a.table.Reap(area)
	}
}

// livesAs reports whether a process is the worker of a generation. One whose
// environment cannot be read, because it cannot be traced, is taken for it: what
// a living worker writes to must not be given to another.
func livesAs(pid, generation int) bool {
	if pid == 0 {
		return false
	}
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	return bytes.Contains(b, []byte(fleet.EnvGeneration+"="+strconv.Itoa(generation)+"\x00"))
}

// readMemfd reads a memory file that was inherited by number.
func readMemfd(fd int) ([]byte, error) {
	f := os.NewFile(uintptr(fd), "inherited")
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.NewSectionReader(f, 0, 16<<20))
}
