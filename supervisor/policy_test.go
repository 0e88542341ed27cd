package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// fakeEngine records what the policy asks for; the test plays the processes.
type fakeEngine struct {
	spawned []string
	signals []string
	fail    error
}

func (e *fakeEngine) spawn(s childSpec) error {
	if e.fail != nil {
		return e.fail
	}
	e.spawned = append(e.spawned, s.name)
	return nil
}
func (e *fakeEngine) watch(string, int) error { return nil }
func (e *fakeEngine) signal(name string, sig syscall.Signal) error {
	e.signals = append(e.signals, name+" "+sig.String())
	return nil
}
func (e *fakeEngine) events() <-chan childEvent { return nil }

// rig is an appliance whose clock, processes and dice belong to the test.
type rig struct {
	*appliance
	t      *testing.T
	engine *fakeEngine
	clock  int64
	queued int64 // what workers have waited for a processor
}

func newRig(t *testing.T, slots int) *rig {
	t.Helper()
	fd, err := memfd("table", nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, slots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	r := &rig{t: t, engine: &fakeEngine{}, clock: int64(time.Hour)}
	r.appliance = &appliance{
		plan: plan{
			slots: slots, memory: 1 << 30, memLimit: 1 << 28, maxRSS: 1 << 27, recycleFloor: time.Minute,
			prestop: 15 * time.Second, window: time.Hour, stateDir: fleet.Dir(t.TempDir()),
		},
		log: slog.New(slog.DiscardHandler), engine: r.engine,
		now: func() int64 { return r.clock }, random: func() float64 { return 0.5 },
		binary: func(program string) (string, error) { return "/bin/" + program, nil },
		notify: &notifier{fd: -1}, environ: env.Parse(nil), server: &controlServer{done: make(chan struct{})},
		actions: make(chan func(), 16), table: table, tableFD: fd, gens: map[string]*generation{},
		strays: map[string]int64{}, recycles: map[string]uint64{}, nextNumber: 1,
		waited: func(int) int64 { return r.queued },
	}
	r.migration.state, r.migration.passed = fleet.MigratorDone, true
	r.started, r.readyAt, r.healthUp = r.clock, r.clock, r.clock
	for i := range slots {
		r.slots = append(r.slots, &slot{index: i})
	}
	r.daemons = []*daemon{{name: "healthd-g0", state: fleet.StateReady}}
	return r
}

// pass lets time go by in steps of the busy pace, with every worker alive.
func (r *rig) pass(d time.Duration) {
	for end := r.clock + int64(d); r.clock < end; {
		r.clock += int64(paceBusy)
		for _, g := range r.gens {
			if !r.frozen(g) && g.area >= 0 {
				r.table.Generation(g.area).Beat.Store(r.clock)
			}
		}
		r.step()
	}
}

func (r *rig) frozen(g *generation) bool { return r.table.Generation(g.area).Failed.Load() == 99 }
func (r *rig) freeze(g *generation)      { r.table.Generation(g.area).Failed.Store(99) }

// newest is the youngest generation of a slot.
func (r *rig) newest(slot int) *generation {
	r.t.Helper()
	var out *generation
	for _, g := range r.inSlot(slot) {
		if out == nil || g.number > out.number {
			out = g
		}
	}
	if out == nil {
		r.t.Fatalf("slot %d has no generation", slot)
	}
	return out
}

// up makes the newest generation of a slot ready.
func (r *rig) up(slot int) *generation {
	r.t.Helper()
	g := r.newest(slot)
	g.pid = 1 << 22 // nobody's
	r.isReady(g)
	r.step()
	return g
}

func (r *rig) exit(g *generation, status int) {
	r.child(childEvent{name: g.name, exited: true, status: status})
	r.step()
}

func (r *rig) allUp() {
	r.step()
	for i := range r.slots {
		r.up(i)
	}
	r.pass(2 * time.Second)
}

func (r *rig) slotState(i int) fleet.State { return fleet.State(r.table.Slot(i).State.Load()) }

func TestNothingStartsBeforeTheMigrator(t *testing.T) {
	r := newRig(t, 2)
	r.migration.passed = false
	r.pass(2 * time.Minute)
	if len(r.engine.spawned) != 0 || r.finished || r.stop.phase != stopNone {
		t.Fatalf("spawned %v while the migrator ran; phase %d", r.engine.spawned, r.stop.phase)
	}
	r.migrated(fleet.ExitTryAgain, errors.New("busy"))
	r.step()
	if len(r.engine.spawned) != 2 {
		t.Fatalf("spawned %v, want one a slot", r.engine.spawned)
	}
}

func TestMigratorFailureIsTheExitCode(t *testing.T) {
	r := newRig(t, 1)
	r.migration.passed = false
	r.migrated(fleet.ExitConfig, errors.New("wrong password"))
	r.pass(2 * time.Second)
	r.child(childEvent{name: "healthd-g0", exited: true})
	r.step()
	var exit *boot.ExitError
	if !r.finished || !errors.As(r.result, &exit) || exit.Code != fleet.ExitConfig {
		t.Fatalf("finished %v with %v, want code 78", r.finished, r.result)
	}
}

func TestDeathOfASettledWorkerIsReplacedAtOnce(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	for range 20 { // far more than five: it counts towards nothing
		g := r.newest(0)
		r.exit(g, -9)
		if n := r.newest(0); n == g || n.launched != r.clock {
			t.Fatal("no successor in the moment of the death")
		}
		r.up(0)
		r.pass(1100 * time.Millisecond)
	}
	if r.slots[0].failed || r.recycles["crash"] != 20 || r.table.Slot(0).Restarts.Load() != 20 {
		t.Fatalf("failed %v, crashes %d, want false and 20", r.slots[0].failed, r.recycles["crash"])
	}
}

func TestSlotThatCannotStartIsAdopted(t *testing.T) {
	r := newRig(t, 2)
	r.step()
	keeper := r.up(1)
	var starts []int64
	last := 0
	for end := r.clock + int64(100*time.Second); r.clock < end; {
		if n := r.nextNumber; n != last {
			last = n
			starts = append(starts, r.clock)
			r.exit(r.newest(0), 1)
		}
		r.pass(paceBusy)
	}
	if len(starts) < failedAfter+2 || len(starts) > failedAfter+4 {
		t.Fatalf("%d starts in 100 s", len(starts))
	}
	for i := 1; i < failedAfter-1; i++ {
		wait := starts[i] - starts[i-1]
		least := backoffLeast << (i - 1) / 2
		if wait < least || wait > 3*least {
			t.Errorf("wait %d is %v, want about %v", i, time.Duration(wait), time.Duration(2*least))
		}
	}
	if r.slotState(0) != fleet.StateFailed || !slices.Equal(keeper.adopting, []int{0}) ||
		int(r.table.Slot(0).AdoptedBy.Load()) != keeper.number {
		t.Fatalf("state %v, adopting %v", r.slotState(0), keeper.adopting)
	}
	for len(r.inSlot(0)) == 0 {
		r.pass(paceBusy)
	}
	r.up(0)
	r.pass(200 * time.Millisecond)
	if len(keeper.adopting) != 0 || r.slotState(0) != fleet.StateReady {
		t.Fatalf("still adopting %v, state %v", keeper.adopting, r.slotState(0))
	}
}

func TestAdoptionComesAfterATenthOfASecond(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	keeper := r.newest(1)
	r.exit(r.newest(0), -9)
	r.clock += int64(90 * time.Millisecond)
	r.step()
	if len(keeper.adopting) != 0 {
		t.Fatal("adopted too early")
	}
	r.clock += int64(20 * time.Millisecond)
	r.step()
	if !slices.Equal(keeper.adopting, []int{0}) {
		t.Fatal("not adopted after 110 ms")
	}
}

func TestRecycleIsMakeBeforeBreakOneSlotAtATime(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	old0, old1 := r.newest(0), r.newest(1)
	r.want(r.slots[0], reasonRequests, false)
	r.want(r.slots[1], reasonRequests, false)
	r.pass(time.Second)
	if r.newest(0) == old0 || r.newest(1) != old1 || old0.state != fleet.StateReady {
		t.Fatal("want a successor in slot 0 only, and its predecessor serving")
	}
	r.up(0)
	if old0.state != fleet.StateLame {
		t.Fatal("predecessor is not lame though its successor is ready")
	}
	r.pass(time.Second)
	if r.newest(1) == old1 {
		t.Fatal("slot 1 had to wait for slot 0 only")
	}
	r.exit(r.newest(1), 1) // its successor cannot start
	if old1.state != fleet.StateReady || r.slotState(1) != fleet.StateReady {
		t.Fatal("a failed successor cost the predecessor its place")
	}
	if r.recycles[reasonRequests] != 1 {
		t.Fatalf("%d recycles counted, want 1", r.recycles[reasonRequests])
	}
}

func TestRecycleFloorAndCaps(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	recycle := func() bool {
		before := r.nextNumber
		r.want(r.slots[0], reasonRequests, false)
		r.pass(time.Second)
		if r.nextNumber == before {
			return false
		}
		r.up(0)
		return true
	}
	if !recycle() || recycle() {
		t.Fatal("want one recycle, and the floor against the second")
	}
	r.pass(time.Minute)
	r.up(0)
	r.plan.recycleFloor = 0
	if !recycle() || recycle() {
		t.Fatal("want three draining generations and no more")
	}
	var oldest *generation
	for _, g := range r.gens {
		if g.state == fleet.StateLame && (oldest == nil || g.number < oldest.number) {
			oldest = g
		}
	}
	r.want(r.slots[0], reasonMemory, true)
	r.pass(time.Second)
	if r.newest(0).state != fleet.StateStarting || oldest.windowEnd == 0 {
		t.Fatal("memory in need had to wait, or the oldest keeps its window")
	}
	r.up(0)
	r.pass(40 * time.Second)
	if !slices.Contains(r.engine.signals, oldest.name+" killed") {
		t.Fatalf("oldest draining generation lives on: %v", r.engine.signals)
	}
}

func TestHangIsReplacedThenKilled(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	old := r.newest(0)
	r.freeze(old)
	r.pass(3 * time.Second)
	if r.newest(0) != old {
		t.Fatal("replaced before 3.5 s")
	}
	r.pass(time.Second)
	if r.newest(0) == old || len(r.engine.signals) != 0 || !slices.Equal(r.newest(1).adopting, []int{0}) {
		t.Fatalf("want a successor and a neighbour at the queue, no signal yet: %v", r.engine.signals)
	}
	r.up(0)
	r.pass(time.Second)
	if !slices.Equal(r.engine.signals, []string{old.name + " quit"}) {
		t.Fatalf("signals %v, want quit", r.engine.signals)
	}
	r.pass(5 * time.Second)
	if !slices.Contains(r.engine.signals, old.name+" killed") {
		t.Fatalf("signals %v, want killed", r.engine.signals)
	}
}

func TestOurOwnStallMakesNobodyHung(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	r.clock += int64(time.Minute) // nobody ran
	r.step()
	r.pass(2 * time.Second)
	if r.newest(0).hung || len(r.inSlot(0)) != 1 {
		t.Fatal("a worker was blamed for the machine's pause")
	}
}

// A worker that is late with its requests to itself, but answers others, is
// overloaded: killing it would lose what it has accepted.
func TestOverloadIsNoHang(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	g := r.newest(0)
	r.freeze(g)
	for range 100 {
		r.table.Generation(g.area).Requests.Add(1)
		r.pass(100 * time.Millisecond)
	}
	if g.hung || len(r.inSlot(0)) != 1 || len(r.engine.signals) != 0 {
		t.Fatalf("hung %v, %d generations, signals %v", g.hung, len(r.inSlot(0)), r.engine.signals)
	}
	r.pass(4 * time.Second)
	if !g.hung {
		t.Fatal("a worker that does nothing does not count as hung")
	}
}

// A worker that other processes keep from the processors is no hang, unless they
// do it for so long that it may be one.
func TestStarvedIsNoHang(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	g := r.newest(0)
	r.freeze(g)
	for range 90 { // 9 s
		r.queued += int64(90 * time.Millisecond)
		r.pass(100 * time.Millisecond)
	}
	if g.hung || len(r.engine.signals) != 0 {
		t.Fatalf("hung %v, signals %v", g.hung, r.engine.signals)
	}
	r.pass(3 * time.Second)
	if !g.hung {
		t.Fatal("a worker that nobody keeps from the processors and that says nothing does not count as hung")
	}

	r = newRig(t, 1)
	r.allUp()
	g = r.newest(0)
	r.freeze(g)
	for range 150 { // 15 s
		r.queued += int64(100 * time.Millisecond)
		r.pass(100 * time.Millisecond)
	}
	if !g.hung {
		t.Fatal("a worker that has said nothing for 15 s does not count as hung")
	}
}

func TestWaitedFor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * runtime.NumCPU()))
	before := waitedFor(os.Getpid())
	var wg sync.WaitGroup
	for range 4 * runtime.NumCPU() {
		wg.Go(func() {
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			}
		})
	}
	wg.Wait()
	if waited := time.Duration(waitedFor(os.Getpid()) - before); waited < 100*time.Millisecond {
		t.Errorf("waited %v while four threads wanted each processor", waited)
	}
	if waited := waitedFor(1 << 30); waited != 0 {
		t.Errorf("a process that is not there has waited %d", waited)
	}
}

// A worker that accepts nothing but lives is replaced and finishes what it
// has; when it falls silent too, it is killed.
func TestStalledButAlive(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	old := r.newest(0)
	old.hung = true
	r.fillSlots(r.clock)
	r.up(0)
	if old.state != fleet.StateLame || old.windowEnd == 0 || len(r.engine.signals) != 0 || r.recycles["hang"] != 1 {
		t.Fatalf("state %v, window %d, signals %v, %v", old.state, old.windowEnd, r.engine.signals, r.recycles)
	}
	r.pass(5 * time.Second)
	if len(r.engine.signals) != 0 {
		t.Fatalf("signals %v while it lives", r.engine.signals)
	}
	r.freeze(old)
	r.pass(4 * time.Second)
	if !slices.Equal(r.engine.signals, []string{old.name + " quit"}) {
		t.Fatalf("signals %v, want quit", r.engine.signals)
	}
	r.pass(4 * time.Second)
	if !slices.Contains(r.engine.signals, old.name+" killed") {
		t.Fatalf("signals %v, want killed", r.engine.signals)
	}
}

func TestWholeStop(t *testing.T) {
	r := newRig(t, 2)
	r.allUp()
	a, b := r.newest(0), r.newest(1)
	r.askStop()
	r.step()
	if fleet.State(r.table.Header().State.Load()) != fleet.StateDraining || a.state != fleet.StateReady {
		t.Fatal("want draining said at once and everybody serving")
	}
	r.pass(15200 * time.Millisecond)
	if (a.state == fleet.StateLame) == (b.state == fleet.StateLame) {
		t.Fatal("want one lame and one that takes over the queues")
	}
	r.pass(time.Second)
	if a.state != fleet.StateLame || b.state != fleet.StateLame {
		t.Fatal("queues are empty, want both lame")
	}
	r.exit(a, 0)
	if len(r.engine.signals) != 0 {
		t.Fatal("healthd told to stop before the last worker")
	}
	r.exit(b, 0)
	if !slices.Equal(r.engine.signals, []string{"healthd-g0 terminated"}) {
		t.Fatalf("signals %v", r.engine.signals)
	}
	r.child(childEvent{name: "healthd-g0", exited: true})
	r.step()
	if !r.finished || r.result != nil {
		t.Fatalf("finished %v, %v; want code 0", r.finished, r.result)
	}
	if n := len(r.engine.spawned); n != 2 {
		t.Fatalf("%d starts, want none during the stop", n-2)
	}
}

func TestStopWindowEnds(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	g := r.newest(0)
	r.askStop()
	r.pass(20 * time.Second)
	r.askStop()
	r.pass(29 * time.Second)
	if r.stop.phase != stopLame {
		t.Fatal("cut too early")
	}
	r.pass(2 * time.Second)
	if r.stop.phase != stopCut {
		t.Fatal("a second signal leaves 30 s")
	}
	r.table.Generation(g.area).Cut.Store(3)
	r.exit(g, 0)
	r.child(childEvent{name: "healthd-g0", exited: true})
	r.step()
	var exit *boot.ExitError
	if !r.finished || !errors.As(r.result, &exit) || exit.Code != fleet.ExitFailed || r.stop.cut != 3 {
		t.Fatalf("finished %v with %v, cut %d; want code 1 and 3", r.finished, r.result, r.stop.cut)
	}
}

func TestConfigurationErrorOfTheFirstWorkerEndsTheAppliance(t *testing.T) {
	r := newRig(t, 1)
	r.step()
	r.exit(r.newest(0), fleet.ExitConfig)
	r.pass(time.Second)
	r.child(childEvent{name: "healthd-g0", exited: true})
	r.step()
	var exit *boot.ExitError
	if !errors.As(r.result, &exit) || exit.Code != fleet.ExitConfig {
		t.Fatalf("result %v, want code 78", r.result)
	}
}

func TestGivesUpAfterAMinuteWithoutAReadySlot(t *testing.T) {
	r := newRig(t, 1)
	r.engine.fail = errors.New("no such file")
	r.pass(59 * time.Second)
	if r.stop.phase != stopNone {
		t.Fatal("gave up too early")
	}
	r.pass(3 * time.Second)
	r.child(childEvent{name: "healthd-g0", exited: true})
	r.step()
	var exit *boot.ExitError
	if !errors.As(r.result, &exit) || exit.Code != fleet.ExitGaveUp {
		t.Fatalf("result %v, want code 70", r.result)
	}
}

func TestMemoryRecycle(t *testing.T) {
	r := newRig(t, 1)
	r.allUp()
	g := r.newest(0)
	r.table.Generation(g.area).RSS.Store(r.plan.maxRSS + 1)
	r.pass(29 * time.Second)
	if r.newest(0) != g {
		t.Fatal("recycled before 30 s")
	}
	r.pass(2 * time.Second)
	if r.newest(0) == g {
		t.Fatal("not recycled after 30 s")
	}
}

func TestRecycleAfterIsSpread(t *testing.T) {
	r := newRig(t, 1)
	r.plan.recycleAfter = 1000
	for dice, want := range map[float64]int{0: 800, 0.5: 1000, 0.999: 1200} {
		r.random = func() float64 { return dice }
		if got := r.recycleAfter(); got != want {
			t.Errorf("dice %v: %d, want %d", dice, got, want)
		}
	}
	r.plan.recycleJitter = 100
	r.random = func() float64 { return 0.5 }
	if got := r.recycleAfter(); got != 1050 {
		t.Errorf("with a jitter of 100: %d, want 1050", got)
	}
}
