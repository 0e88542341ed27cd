package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// States of the migrator, as they stand in the host table.
const (
	migratorIdle = iota
	migratorRuns
	migratorDone
	migratorWaits
)

var migratorNames = [...]string{"not run", "running", "done", "waiting for the database"}

// migration is the gate before the workers. It is run by os/exec: the process
// engine loses the exit codes of short programs.
type migration struct {
	state   int
	passed  bool // workers may start
	retryAt int64
	cancel  context.CancelFunc
	stderr  io.Writer
	again   onceWriter // to stderr, for what is tried again
	started int64
}

// onceWriter passes on what the migrator says, but not what is the same as
// before: in an outage it would say it each second. It is for one run at a time.
type onceWriter struct {
	to   io.Writer
	last string
}

// Write is part of io.Writer.
func (w *onceWriter) Write(b []byte) (int, error) {
	if string(b) == w.last {
		return len(b), nil
	}
	w.last = string(b)
	return w.to.Write(b)
}

// migrateAgain runs the migrator when it is its turn: at the start, and each
// second while the database is busy or away.
func (a *appliance) migrateAgain(now int64) {
	m := &a.migration
	if a.stop.phase != stopNone || m.state != migratorIdle && (m.state != migratorWaits || now < m.retryAt) {
		return
	}
	m.state, m.started = migratorRuns, now
	a.table.Header().MigratorState.Store(migratorRuns)
	path, err := a.binary("migrator")
	if err != nil {
		a.migrated(fleet.ExitFailed, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	cmd, err := a.migratorCommand(ctx, path)
	if err != nil {
		cancel()
		a.migrated(fleet.ExitFailed, err)
		return
	}
	go func() {
		defer cancel()
		err := cmd.Run()
		for _, f := range cmd.ExtraFiles {
			_ = f.Close()
		}
		code := fleet.ExitOK
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			code = fleet.ExitFailed
		}
		a.post(func() { a.migrated(code, err) })
	}()
}

// migratorCommand passes the environment, secrets and all, in a memory file.
func (a *appliance) migratorCommand(ctx context.Context, path string) (*exec.Cmd, error) {
	fd, err := memfd("environ", a.full.With(map[string]string{fleet.EnvStateDir: string(a.plan.stateDir)}).Bytes())
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "up")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "environ")}
	cmd.Env = append(a.environ.Scrubbed(), fleet.EnvEnvironFD+"=3")
	cmd.Stdout, cmd.Stderr = a.migration.stderr, a.migration.stderr
	if a.migration.passed {
		cmd.Stdout, cmd.Stderr = &a.migration.again, &a.migration.again
	}
	return cmd, nil
}

// migrated acts on the migrator's exit: 0 go on, 75 start all the same and
// try again, anything else ends the appliance with that code.
func (a *appliance) migrated(code int, err error) {
	m := &a.migration
	took := time.Duration(a.now() - m.started)
	h := a.table.Header()
	h.MigratorExit.Store(uint32(code))
	switch code {
	case fleet.ExitOK:
		m.state, m.passed = migratorDone, true
		a.log.Info("schema is ready", slog.Duration("took", took))
	case fleet.ExitTryAgain:
		if !m.passed {
			a.log.Warn("database is busy or away, starting without the migration")
		}
		m.state, m.passed, m.retryAt = migratorWaits, true, a.now()+int64(time.Second)
	default:
		m.state = migratorDone
		if code < 0 {
			code = fleet.ExitFailed
		}
		if a.stop.phase == stopNone {
			a.log.Error("migrator failed", slog.Int("code", code), slog.String("error", fmt.Sprint(err)))
			a.stop.code = code
			a.stop.err = fmt.Errorf("migrator: %w", err)
			a.beginStop(0, 30*time.Second)
		}
	}
	h.MigratorState.Store(uint32(m.state))
	if a.plan.skipServers && a.stop.phase == stopNone {
		a.finished, a.result = true, nil
		if code != fleet.ExitOK {
			a.result = boot.Exit(code, errors.New("the migration could not be done now"))
		}
	}
}
