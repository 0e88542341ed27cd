package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// joined gives a generation a control connection, and returns the worker's end.
func (r *rig) joined(g *generation) *fleet.Conn {
	r.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var ends [2]*fleet.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = f.Close()
		ends[i] = fleet.NewConn(c.(*net.UnixConn))
	}
	g.link = &link{conn: ends[0], gen: g, out: make(chan packet, 4096), gone: make(chan struct{})}
	go g.link.write()
	r.t.Cleanup(func() { g.link.close(); _ = ends[1].Close() })
	return ends[1]
}

// told is the next message of a kind that a worker gets.
func told(t *testing.T, c *fleet.Conn, kind fleet.Kind) fleet.Message {
	t.Helper()
	for {
		m, _, err := c.Receive()
		if err != nil {
			t.Fatalf("waiting for %s: %v", kind, err)
		}
		if m.Kind == kind {
			return m
		}
	}
}

func (r *rig) answer(g *generation, kind fleet.Kind) {
	r.received(g.link, fleet.Message{Kind: kind, Config: 7, Reason: "line 3"}, -1)
}

// counted is what the status document and the host table say of reloads.
func (r *rig) counted(applied, rejected uint64) {
	r.t.Helper()
	if c := r.status().Config; c.Applied != applied || c.Rejected != rejected || r.table.Header().ConfigRejected.Load() != rejected {
		r.t.Errorf("applied %d, rejected %d (in the table %d), want %d and %d",
			c.Applied, c.Rejected, r.table.Header().ConfigRejected.Load(), applied, rejected)
	}
}

func TestReloadRounds(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	a, b := r.newest(0), r.newest(1)
	atA, atB := r.joined(a), r.joined(b)

	r.reloadAll()
	told(t, atA, fleet.KindReload)
	told(t, atB, fleet.KindReload)
	r.answer(a, fleet.KindApplied)
	r.answer(b, fleet.KindApplied)
	r.counted(1, 0)
	if r.table.Header().ConfigApplied.Load() != 7 || r.reload.at != 0 {
		t.Errorf("generation %d in the table, round %+v", r.table.Header().ConfigApplied.Load(), r.reload)
	}

	// A bad file: refused once, by however many.
	r.reloadAll()
	r.answer(a, fleet.KindRefused)
	r.answer(b, fleet.KindRefused)
	r.answer(b, fleet.KindRefused) // one answer too many is nobody's
	r.counted(1, 1)

	// Many during one round become one round after it.
	r.reloadAll()
	for range 50 {
		r.reloadAll()
	}
	r.answer(a, fleet.KindApplied)
	r.answer(b, fleet.KindApplied)
	r.counted(2, 1)
	if r.reload.at == 0 || len(r.reload.waiting) != 2 {
		t.Fatalf("no round for those who asked meanwhile: %+v", r.reload)
	}
	r.answer(a, fleet.KindApplied)
	r.answer(b, fleet.KindApplied)
	r.counted(3, 1)
	if r.reload.at != 0 {
		t.Errorf("a third round is open: %+v", r.reload)
	}

	// A worker that dies meanwhile does not hold the round open, one that says
	// nothing holds it 30 s.
	r.reloadAll()
	r.answer(a, fleet.KindApplied)
	r.exit(b, -9)
	if r.reload.at != 0 {
		t.Errorf("the round waits for a dead worker: %+v", r.reload)
	}
	r.up(1)
	r.joined(r.newest(1))
	r.reloadAll()
	r.answer(a, fleet.KindApplied)
	r.pass(29 * time.Second)
	if r.reload.at == 0 {
		t.Error("the round did not wait")
	}
	r.pass(2 * time.Second)
	if r.reload.at != 0 {
		t.Error("the round waits for ever")
	}
	r.counted(5, 1)
}

// A worker that is starting may have read the file already: it reads it again
// when it is ready.
func TestReloadDuringAStart(t *testing.T) {
	r := newRig(t, 1)
	r.step()
	g := r.newest(0)
	worker := r.joined(g)
	r.reloadAll()
	if r.reload.at != 0 {
		t.Error("the round waits for a worker that does not serve")
	}
	r.up(0)
	told(t, worker, fleet.KindReload)
	r.answer(g, fleet.KindApplied)
	r.counted(0, 0) // it belongs to no round
}

// QUIT ends everything, and nothing comes back meanwhile.
func TestQuitStartsNothing(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	started := len(r.engine.spawned)
	r.quit()
	r.step()
	for _, name := range []string{"healthd-g0 killed", r.newest(0).name + " killed", r.newest(1).name + " killed"} {
		if !slices.Contains(r.engine.signals, name) {
			t.Errorf("not sent: %s", name)
		}
	}
	r.child(childEvent{name: "healthd-g0", exited: true, status: -9})
	r.pass(time.Second)
	r.exit(r.newest(0), -9)
	r.pass(time.Second)
	r.exit(r.newest(1), -9)
	r.step()
	if n := len(r.engine.spawned); n != started || r.healthNew != 0 {
		t.Errorf("%d starts after QUIT, %d restarts of healthd counted", n-started, r.healthNew)
	}
	if !r.finished || r.result != nil {
		t.Errorf("finished %v with %v", r.finished, r.result)
	}
}

// What an earlier supervisor left and nobody knows is told to end, and killed
// when it does not.
func TestStrays(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	self := record{Role: "proxy", Slot: 0, Generation: 99, PID: os.Getpid(), Start: startTicks(os.Getpid())}
	r.known = map[int]record{self.PID: self, 1 << 22: {Role: "proxy", PID: 1 << 22, Start: 4711}}
	r.welcomeOrphans()
	name := "stray-" + strconv.Itoa(self.PID)
	if !slices.Equal(r.engine.signals, []string{name + " terminated"}) || len(r.strays) != 1 || !r.busy() {
		t.Fatalf("signals %v, strays %v", r.engine.signals, r.strays)
	}
	r.pass(29 * time.Second)
	if len(r.engine.signals) != 1 {
		t.Errorf("signals %v before its time is over", r.engine.signals)
	}
	r.pass(2 * time.Second)
	if !slices.Contains(r.engine.signals, name+" killed") {
		t.Errorf("signals %v, want it killed", r.engine.signals)
	}
	r.child(childEvent{name: name, exited: true})
	r.engine.signals = nil
	r.pass(time.Second)
	if len(r.strays) != 0 || len(r.engine.signals) != 0 {
		t.Errorf("strays %v, signals %v after its end", r.strays, r.engine.signals)
	}
}

// The list of processes names who lives, and only those are awaited.
func TestListOfProcesses(t *testing.T) {
	r := newRig(t, 1)
	if err := os.MkdirAll(r.plan.stateDir.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	r.allUp()
	g := r.newest(0)
	g.pid, g.ticks = os.Getpid(), startTicks(os.Getpid())
	r.daemons[0].pid, r.daemons[0].ticks = 1<<22, 4711 // has ended
	r.writeProcesses()
	next := r.nextNumber
	r.nextNumber = 1
	got := r.readProcesses()
	if len(got) != 1 || got[g.pid].Generation != g.number || got[g.pid].Role != "proxy" || r.nextNumber != next {
		t.Errorf("read %+v, next %d, want %d", got, r.nextNumber, next)
	}
	file := r.plan.stateDir.Processes()
	for _, text := range []string{"", "{", `{"children":[{"pid":-1,"start":5},{"pid":1,"start":0}]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := r.readProcesses(); len(got) != 0 {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// Recycles are counted by reason in the host table, where they outlive the
// supervisor.
func TestRecyclesAreInTheTable(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	r.plan.recycleFloor = 0
	for _, reason := range []string{"requests", "panics", "whim"} {
		r.want(r.slots[0], reason, false)
		r.pass(time.Second)
		old := r.inSlot(0)
		r.up(0)
		for _, g := range old {
			if g.state == fleet.StateLame {
				r.exit(g, 0)
			}
		}
	}
	r.pass(2 * time.Second)
	r.exit(r.newest(0), -11)
	for reason, want := range map[fleet.Reason]uint64{
		fleet.ReasonRequests: 1, fleet.ReasonPanics: 1, fleet.ReasonOther: 1, fleet.ReasonCrash: 1, fleet.ReasonHang: 0,
	} {
		if got := r.table.Recycled(reason).Load(); got != want {
			t.Errorf("%s: %d, want %d", reason, got, want)
		}
	}
}
