package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// Pace of the loop: how often it looks when nothing tells it to.
const (
	paceBusy = 100 * time.Millisecond
	paceIdle = 500 * time.Millisecond
)

// appliance is the whole state of the supervisor. One goroutine owns it: the
// loop. Others post functions to actions.
type appliance struct {
	plan    plan
	log     *slog.Logger
	starts  *starts // nil in tests
	engine  engine
	now     func() int64        // fleet.Now; nanoseconds
	waited  func(pid int) int64 // waitedFor
	random  func() float64      // [0,1)
	self    string              // where our binary was when it was executed
	binary  func(program string) (string, error)
	notify  *notifier
	actions chan func()
	signals chan os.Signal
	server  *controlServer
	environ *env.Environ // what workers get
	full    *env.Environ // completed by the configuration: what the migrator gets
	args    []string     // of our own command line, for an exec; no secrets
	lockFD  int
	logFD   int

	table   *fleet.Table
	tableFD int
	bells   map[int]int // slot → eventfd
	sockets []socket

	slots      []*slot
	gens       map[string]*generation // by engine name, all that live
	daemons    []*daemon              // healthd, newest last
	strays     map[string]int64       // left over by an earlier supervisor → when to kill
	nextNumber int
	everReady  bool
	settled    bool  // the start is over
	readyAt    int64 // last instant with a READY slot, or the start
	started    int64
	lastStep   int64
	gracedTill int64 // nobody counts as hung before, because we were stalled

	recycles  map[string]uint64
	healthUp  int64
	healthNew uint64 // restarts of healthd
	reload    reloadRound
	config    fleet.ConfigStatus
	migration migration
	stop      stopping
	upgrade   bool           // asked for
	renewed   bool           // this life began with an exec of an earlier one
	known     map[int]record // by pid: expected to come back at a takeover
	orphans   []*link
	dirty     bool // processes.json is older than the state

	finished bool
	result   error
}

// supervise runs the appliance until it has stopped. Its error carries the
// exit code.
func supervise(p *boot.Process, pl plan, environ, full *env.Environ, st *starts, log *slog.Logger) error {
	runtime.GOMAXPROCS(1)
	const heap = 12 << 20
	debug.SetMemoryLimit(heap)
	if err := makeStateDir(pl.stateDir); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	past, err := inheritState(environ)
	if err != nil {
		return err
	}
	self, err := ownPath()
	if err != nil {
		return err
	}
	a := &appliance{
		plan: pl, log: log, starts: st, now: fleet.Now, random: random, self: self,
		binary:  func(program string) (string, error) { return beside(self, program) },
		environ: childEnviron(environ, &pl), full: full, args: p.Public, renewed: past.Table > 0, actions: make(chan func(), 1024),
		bells: map[int]int{}, gens: map[string]*generation{}, strays: map[string]int64{},
		recycles: map[string]uint64{}, tableFD: -1, nextNumber: 1, dirty: true, waited: waitedFor,
	}
	a.started = a.now()
	a.readyAt, a.healthUp = a.started, a.started
	a.migration.stderr, a.migration.again.to = p.Stderr, p.Stderr
	if a.renewed {
		a.config = past.Config
	}
	if a.lockFD, err = takeLock(pl.stateDir, past.Lock); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if a.logFD, err = a.ownEnvironment(environ, past.Log); err != nil {
		return err
	}
	if a.engine, err = newEngine(log, p.Stderr); err != nil {
		return err
	}
	a.notify = newNotifier(environ, log)
	a.notify.send("STATUS=starting")
	a.noteStop(false)
	a.signals = make(chan os.Signal, 64)
	signal.Notify(a.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP,
		syscall.SIGUSR2, syscall.SIGCHLD, syscall.SIGPIPE)
	defer signal.Stop(a.signals)
	if st.early != nil {
		a.signals <- st.early
	}
	if err := a.prepare(past); err != nil {
		return err
	}
	defer a.server.close()
	return a.loop(a.signals)
}

// prepare takes over what an earlier life left and makes the rest.
func (a *appliance) prepare(past inheritance) error {
	var err error
	if a.server, err = listenControl(a.plan.stateDir.Control()); err != nil {
		return err
	}
	go a.server.accept(a)
	a.known = a.readProcesses()
	a.collect(2 * time.Second)
	if err := a.custody(past); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	h := a.table.Header()
	h.SupervisorPID.Store(uint32(os.Getpid()))
	h.State.Store(uint32(fleet.StateStarting))
	h.Heartbeat.Store(a.now())
	a.config.Rejected = max(a.config.Rejected, h.ConfigRejected.Load())
	for r := range fleet.Reasons {
		if n := a.table.Recycled(fleet.Reason(r)).Load(); n > 0 {
			a.recycles[fleet.Reason(r).String()] = n
		}
	}
	a.slots = make([]*slot, a.table.Slots())
	for i := range a.slots {
		a.slots[i] = &slot{index: i}
	}
	a.welcomeOrphans()
	a.reapDead()
	return nil
}

// ownEnvironment leaves in our environment, which every child inherits, only
// what a child may know. It returns the descriptor that children log to.
func (a *appliance) ownEnvironment(e *env.Environ, inherited int) (int, error) {
	fd := inherited
	if fd <= 0 {
		var err error
		if fd, err = syscall.Dup(int(os.Stderr.Fd())); err != nil {
			return -1, fmt.Errorf("duplicate standard error: %w", err)
		}
	}
	if err := setCloexec(fd, false); err != nil {
		return -1, fmt.Errorf("keep log descriptor open: %w", err)
	}
	os.Clearenv()
	for _, entry := range e.Scrubbed() {
		for i := range entry {
			if entry[i] == '=' {
				if err := os.Setenv(entry[:i], entry[i+1:]); err != nil {
					return -1, fmt.Errorf("set environment: %w", err)
				}
				break
			}
		}
	}
	for _, name := range []string{fleet.EnvSlot, fleet.EnvGeneration, fleet.EnvEnvironFD, envInherited} {
		if err := os.Unsetenv(name); err != nil {
			return -1, fmt.Errorf("set environment: %w", err)
		}
	}
	for name, value := range map[string]string{
		fleet.EnvControl: a.plan.stateDir.Control(), fleet.EnvStateDir: string(a.plan.stateDir),
		fleet.EnvLogFD: strconv.Itoa(fd),
		// healthd reads no configuration: this is what it must know of it.
		envHealthTLS: strconv.FormatBool(a.plan.health.tls), envCertFile: a.full.Get(envCertFile), envKeyFile: a.full.Get(envKeyFile),
	} {
		if err := os.Setenv(name, value); err != nil {
			return -1, fmt.Errorf("set environment: %w", err)
		}
	}
	return fd, nil
}

// loop is the life of the supervisor: one event, then one look at everything.
func (a *appliance) loop(signals <-chan os.Signal) error {
	a.log.Info("supervising", slog.Int("slots", len(a.slots)), slog.String("state_dir", string(a.plan.stateDir)),
		slog.Uint64("memory_per_worker", a.plan.memLimit))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !a.finished {
		select {
		case <-timer.C:
		case f := <-a.actions:
			f()
		case ev := <-a.engine.events():
			a.child(ev)
		case s := <-signals:
			a.signal(s)
		}
		a.step()
		pace := paceIdle
		if a.busy() {
			pace = paceBusy
		}
		timer.Reset(pace)
	}
	return a.result
}

// step looks at everything once. It is cheap and may be called at any time.
func (a *appliance) step() {
	now := a.now()
	if a.lastStep != 0 && now-a.lastStep > int64(time.Second+paceIdle) {
		// We did not run, so others may not have either.
		a.gracedTill = now + fleet.HungAfter
	}
	a.lastStep = now
	a.table.Header().Heartbeat.Store(now)
	a.watchHangs(now)
	a.watchMemory(now)
	a.deadlines(now)
	a.fillSlots(now)
	a.recycleStep(now)
	a.adoptSlots(now)
	a.keepHealthd(now)
	a.migrateAgain(now)
	a.reloadStep(now)
	a.stopStep(now)
	a.upgradeStep()
	a.publish(now)
	a.giveUp(now)
	if a.dirty {
		a.dirty = false
		a.writeProcesses()
	}
}

// busy says that something is about to change.
func (a *appliance) busy() bool {
	if a.stop.phase != stopNone || a.upgrade || len(a.strays) > 0 {
		return true
	}
	for _, s := range a.slots {
		if s.emptySince != 0 || s.wanted != "" {
			return true
		}
	}
	for _, g := range a.gens {
		if g.state == fleet.StateStarting || g.hung || g.stalledSince != 0 {
			return true
		}
	}
	d := a.healthd()
	return d == nil || d.state != fleet.StateReady
}

// publish writes the state words of the host table, and tells systemd.
func (a *appliance) publish(now int64) {
	ready := 0
	for _, s := range a.slots {
		state := fleet.StateNone
		newest := 0
		for _, g := range a.inSlot(s.index) {
			switch {
			case g.serving():
				state, newest = fleet.StateReady, max(newest, g.number)
			case state != fleet.StateReady && g.state == fleet.StateStarting:
				state = fleet.StateStarting
			}
		}
		switch {
		case state == fleet.StateReady:
			ready++
		case s.failed:
			state = fleet.StateFailed
		case state == fleet.StateNone && a.stop.phase == stopNone:
			state = fleet.StateStarting
		}
		t := a.table.Slot(s.index)
		t.State.Store(uint32(state))
		t.Generation.Store(uint32(newest))
		t.AdoptedBy.Store(uint32(s.adopter))
	}
	if ready > 0 {
		a.readyAt, a.everReady = now, true
	}
	state := fleet.StateStarting
	switch {
	case a.stop.phase >= stopLame:
		state = fleet.StateStopping
	case a.stop.phase != stopNone:
		state = fleet.StateDraining
	case a.everReady:
		state = fleet.StateReady
	}
	a.table.Header().State.Store(uint32(state))
	var counts [fleet.Reasons]uint64
	for name, n := range a.recycles {
		counts[fleet.ParseReason(name)] += n
	}
	for r, n := range counts {
		a.table.Recycled(fleet.Reason(r)).Store(n)
	}
	if !a.settled && ready > 0 && a.allSettled() {
		a.settled = true
		boot.ForgetStart()
	}
	if a.settled {
		a.starts.serves(now)
	}
	a.tellSystemd(now, state, ready)
}

// giveUp ends an appliance that cannot serve, so that whoever started it
// learns of it.
func (a *appliance) giveUp(now int64) {
	const patience = int64(60 * time.Second)
	if a.stop.phase != stopNone || a.finished {
		return
	}
	if !a.migration.passed {
		a.readyAt = now // the migrator has its own deadlines
	}
	switch {
	case now-a.readyAt > patience:
		a.log.Error("giving up: no slot has been ready for 60 s")
	case now-a.healthUp > patience:
		a.log.Error("giving up: healthd has not run for 60 s")
	default:
		return
	}
	a.stop.code = fleet.ExitGaveUp
	a.beginStop(0, 30*time.Second)
}

// finish ends the loop with an exit code.
func (a *appliance) finish(code int, err error) {
	a.finished = true
	a.result = nil
	if code != fleet.ExitOK {
		a.result = boot.Exit(code, err)
	}
}

// signal acts on one signal of the operating system.
func (a *appliance) signal(s os.Signal) {
	switch s {
	case syscall.SIGTERM, syscall.SIGINT:
		a.askStop()
	case syscall.SIGQUIT:
		a.quit()
	case syscall.SIGHUP:
		a.reloadAll()
	case syscall.SIGUSR2:
		a.log.Info("told to move onto the binaries on disk")
		a.upgrade = true
	case syscall.SIGCHLD:
		go a.reap(a.ours())
	}
}
