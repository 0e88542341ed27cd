package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// times of a trial.
type trialTimes struct {
	tick   time.Duration // between two looks
	ready  time.Duration // within it everything runs on the new release, and is ready again after a lapse
	proven time.Duration // so long after it was first ready it has proved itself
	again  time.Duration // between two signals: the program that one of them started must be able to take the next
	back   time.Duration // for the way back
}

var usualTimes = trialTimes{
	tick: time.Second, ready: time.Minute, proven: 10 * time.Minute, again: 25 * time.Second, back: 3 * time.Minute,
}

// deathsMost is how many workers and health daemons may die in a trial: one may
// be chance, and a supervisor never dies by chance.
const deathsMost = 1

// trial moves a running service onto another release, watches it, and moves it
// back. It is no part of the appliance: it runs as root, in a unit of its own,
// from the release that has proved itself, because what it judges may not start,
// or may die, and may not write where its own binaries are.
type trial struct {
	releases
	service service
	log     *slog.Logger
	times   trialTimes

	restarts int // of the unit, when the trial began
	deaths   int // base of those that the supervisor counts; -1 not seen yet
	signaled time.Time
}

// run does what there is to do: nothing, a trial to its end, or none yet because
// the service does not run. An error is a trial that was lost.
func (t *trial) run(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	current, err := t.folder(linkCurrent)
	if err != nil {
		return err
	}
	proven, err := t.folder(linkProven)
	if err != nil {
		return err
	}
	if current == proven || current == "" || proven == "" {
		return t.tidy()
	}
	doc := fleet.UpgradeStatus{State: fleet.UpgradeTrial, From: t.version(proven), To: t.version(current)}
	if begun := t.read(); begun != nil && begun.State == doc.State && begun.To == doc.To {
		t.restarts = min(t.restarts, begun.Restarts) // what happened while nobody watched counts
	}
	doc.Restarts = t.restarts
	if err := t.write(doc); err != nil {
		return err
	}
	t.log.Info("upgrade on trial", slog.String("from", doc.From), slog.String("to", doc.To))
	reason := t.watch(ctx, doc.To)
	switch {
	case reason == nil:
		return t.accept(doc, current)
	case !errors.Is(reason, errLater):
		return t.rollBack(ctx, doc, proven, reason)
	}
	t.log.Info("the trial goes on when the service is started next", slog.String("reason", reason.Error()))
	return nil
}

// begin makes what a package has brought the current release, if it can be
// executed at all.
func (t *trial) begin(ctx context.Context) error {
	state, err := t.service.look(ctx)
	if err != nil {
		return err
	}
	t.restarts, t.deaths = state.restarts, -1
	next, err := t.folder(linkNext)
	if err != nil || next == "" {
		return err
	}
	current, err := t.folder(linkCurrent)
	if err != nil {
		return err
	}
	if err := t.try(ctx, next); err != nil {
		doc := fleet.UpgradeStatus{State: fleet.UpgradeRefused, From: t.version(current), To: t.version(next), Reason: err.Error()}
		t.log.Error("upgrade refused: its programs cannot be executed; going on with the release that runs",
			slog.String("to", doc.To), slog.String("error", doc.Reason))
		err = errors.Join(t.drop(linkNext), t.write(doc), t.tidy())
		return boot.Exit(fleet.ExitFailed, err)
	}
	if err := t.turn(linkCurrent, next); err != nil {
		return err
	}
	return t.drop(linkNext)
}

// errLater says that there is nothing to watch now.
var errLater = errors.New("nothing to watch now")

// watch returns nil when the release has proved itself, else why not.
func (t *trial) watch(ctx context.Context, want string) error {
	tick := time.NewTicker(t.times.tick)
	defer tick.Stop()
	lapse := time.Now() // ready was last seen then, or the trial began
	var first, stopped time.Time
	for {
		state, err := t.service.look(ctx)
		switch {
		case err != nil:
			t.log.Warn("service manager does not answer", slog.String("error", err.Error()))
		case state.failed:
			return errors.New("the service has failed")
		case state.stopped && stopped.IsZero():
			stopped = time.Now() // or it failed a moment ago, and is about to be restarted
		case state.stopped && time.Since(stopped) >= t.times.again:
			return fmt.Errorf("%w: the service is stopped", errLater)
		case state.restarts < t.restarts:
			t.restarts = state.restarts // stopped and started by somebody: counted from 0
		case state.restarts > t.restarts:
			return errors.New("the supervisor died")
		}
		if err == nil && !state.stopped {
			stopped = time.Time{}
		}
		status, why := t.service.status()
		now := time.Now()
		if why == nil {
			if why = readyOn(status, want); status.Version != want {
				t.signal(ctx)
			} else if n := t.died(status); n > deathsMost {
				return fmt.Errorf("%d workers or health daemons died", n)
			}
			if status.Migrator == migratorNames[fleet.MigratorRuns] || status.Migrator == migratorNames[fleet.MigratorImports] {
				lapse = now // it has deadlines of its own
			}
		}
		if why == nil {
			lapse = now
			if first.IsZero() {
				first = now
				t.log.Info("new release is ready, watching it", slog.String("version", want), slog.Duration("for", t.times.proven))
			}
			if now.Sub(first) >= t.times.proven {
				return nil
			}
		} else if now.Sub(lapse) >= t.times.ready {
			return fmt.Errorf("not ready for %v: %w", t.times.ready, why)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: told to stop", errLater)
		case <-tick.C:
		}
	}
}

// signal tells the supervisor to execute what current leads to: only one that
// has just answered, because a program that does not listen yet would die of it.
func (t *trial) signal(ctx context.Context) {
	if time.Since(t.signaled) < t.times.again {
		return
	}
	t.signaled = time.Now()
	if err := t.service.signal(ctx, syscall.SIGUSR2); err != nil {
		t.log.Warn("tell the supervisor to move", slog.String("error", err.Error()))
	}
}

// readyOn says what is missing until everything runs on a release; nil is nothing.
func readyOn(s *fleet.Status, want string) error {
	if s.Version != want {
		return fmt.Errorf("the supervisor runs %s", s.Version)
	}
	if s.State != fleet.StateReady.String() {
		return fmt.Errorf("the appliance is %s", s.State)
	}
	if s.Healthd.Version != want || s.Healthd.State != fleet.StateReady.String() {
		return fmt.Errorf("healthd is %s on %s", s.Healthd.State, s.Healthd.Version)
	}
	for _, slot := range s.Slots {
		if len(slot.Generations) == 0 {
			return fmt.Errorf("slot %d has no worker", slot.Slot)
		}
		if g := slot.Generations[0]; g.Version != want || g.State != fleet.StateReady.String() {
			return fmt.Errorf("the worker of slot %d is %s", slot.Slot, g.State)
		}
	}
	return nil
}

// died is how many processes died since the new release was first seen.
func (t *trial) died(s *fleet.Status) int {
	n := deaths(s)
	if t.deaths < 0 {
		t.deaths = n
	}
	return n - t.deaths
}

// deaths counts what nobody asked for.
func deaths(s *fleet.Status) int {
	n := s.Healthd.Restarts
	for _, reason := range []string{"crash", "hang", "start_failed"} {
		n += s.Recycles.ByReason[reason]
	}
	return int(n) //nolint:gosec // counts of processes
}

// accept makes the current release the proven one and removes the others.
func (t *trial) accept(doc fleet.UpgradeStatus, current string) error {
	if err := t.turn(linkProven, current); err != nil {
		return err
	}
	doc.State = fleet.UpgradeProven
	t.log.Info("upgrade has proved itself", slog.String("from", doc.From), slog.String("to", doc.To))
	return errors.Join(t.write(doc), t.tidy())
}

// rollBack moves the service back to the proven release, whatever state it is in.
func (t *trial) rollBack(ctx context.Context, doc fleet.UpgradeStatus, proven string, reason error) error {
	if err := t.turn(linkCurrent, proven); err != nil {
		return err
	}
	doc.State, doc.Reason = fleet.UpgradeRolledBack, reason.Error()
	if err := t.write(doc); err != nil {
		return err
	}
	t.log.Error("upgrade failed, going back", slog.String("from", doc.To), slog.String("to", doc.From), slog.String("reason", doc.Reason))
	tick := time.NewTicker(t.times.tick)
	defer tick.Stop()
	began, answered := time.Now(), time.Now()
	t.signaled = time.Time{}
	signals := 0
	for {
		state, err := t.service.look(ctx)
		if err == nil && state.failed {
			err = t.service.start(ctx)
		}
		status, asked := t.service.status()
		if asked == nil {
			answered = time.Now()
			asked = readyOn(status, doc.From)
			if status.Version != doc.From && time.Since(t.signaled) >= t.times.again {
				if signals++; signals == 1 {
					t.signal(ctx)
				} else {
					t.replace(ctx, "it does not move")
				}
			}
		} else if state.main != 0 && time.Since(answered) > t.times.again {
			t.replace(ctx, "it does not answer")
			answered = time.Now()
		}
		if asked == nil {
			t.log.Info("upgrade rolled back", slog.String("version", doc.From), slog.Duration("took", time.Since(began)))
			return boot.Exit(fleet.ExitFailed, t.tidy())
		}
		if time.Since(began) > t.times.back {
			return boot.Exit(fleet.ExitFailed, fmt.Errorf("release %s is not ready again: %w", doc.From, errors.Join(asked, err)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// replace kills a supervisor that cannot be told: the service manager starts the
// other release, which takes the workers over.
func (t *trial) replace(ctx context.Context, why string) {
	t.log.Warn("killing the supervisor, its workers serve on", slog.String("reason", why))
	t.signaled = time.Now()
	if err := t.service.signal(ctx, syscall.SIGKILL); err != nil {
		t.log.Warn("kill the supervisor", slog.String("error", err.Error()))
	}
}
