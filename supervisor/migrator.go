package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// migratorNames are the states of the migrator, as the status document has them.
var migratorNames = [...]string{"not run", "running", "done", "waiting for the database", "importing"}

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

	importing bool // it has begun to import: no worker may start before that is done
}

// runs says that the migrator is at work.
func (m *migration) runs() bool {
	return m.state == fleet.MigratorRuns || m.state == fleet.MigratorImports
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

// away is for how long at most the migrator waits for the workers to see the
// database again. A server that stands still keeps every connection that was
// asked of it, and has to look at all of them before it serves anybody.
const away = int64(15 * time.Second)

// migrateAgain runs the migrator when it is its turn: at the start, and each
// second while the database is busy, or away and no worker looks for it.
func (a *appliance) migrateAgain(now int64) {
	m := &a.migration
	if a.stop.phase != stopNone || m.state != fleet.MigratorIdle && (m.state != fleet.MigratorWaits || now < m.retryAt) {
		return
	}
	if h := a.table.Header(); m.state == fleet.MigratorWaits && now < m.retryAt+away &&
		fleet.Dependency(h.Database.Load()) == fleet.DependencyDown && now-h.ObservedAt.Load() < 5*fleet.ObservationFresh {
		return
	}
	m.state, m.started = fleet.MigratorRuns, now
	a.table.Header().MigratorState.Store(fleet.MigratorRuns)
	path, err := a.binary("migrator")
	if err != nil {
		a.migrated(fleet.ExitFailed, err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	cmd, told, err := a.migratorCommand(ctx, path)
	if err != nil {
		cancel()
		a.migrated(fleet.ExitFailed, err)
		return
	}
	go func() {
		defer cancel()
		err := cmd.Start()
		for _, f := range cmd.ExtraFiles {
			_ = f.Close()
		}
		if err == nil {
			a.followImport(told) // to the end of the program
			err = cmd.Wait()
		}
		_ = told.Close()
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

// migratorStops is how long the migrator may take to end the batch that it is
// writing.
const migratorStops = 8 * time.Second

// migratorCommand passes the environment, secrets and all, in a memory file. It
// also returns the pipe on which the migrator tells of an import.
func (a *appliance) migratorCommand(ctx context.Context, path string) (*exec.Cmd, *os.File, error) {
	fd, err := memfd("environ", a.full.With(map[string]string{fleet.EnvStateDir: string(a.plan.stateDir)}).Bytes())
	if err != nil {
		return nil, nil, err
	}
	environ := os.NewFile(uintptr(fd), "environ")
	told, tells, err := os.Pipe()
	if err != nil {
		_ = environ.Close()
		return nil, nil, fmt.Errorf("make a pipe for the migrator: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, "up")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = migratorStops
	cmd.ExtraFiles = []*os.File{environ, tells}
	cmd.Env = append(a.environ.Scrubbed(), fleet.EnvEnvironFD+"=3", fleet.EnvProgressFD+"=4")
	cmd.Stdout, cmd.Stderr = a.migration.stderr, a.migration.stderr
	if a.migration.passed {
		cmd.Stdout, cmd.Stderr = &a.migration.again, &a.migration.again
	}
	return cmd, told, nil
}

// followImport passes on what the migrator tells of its import until it ends.
func (a *appliance) followImport(told io.Reader) {
	lines := bufio.NewScanner(told)
	for lines.Scan() {
		var rows, of uint64
		if _, err := fmt.Sscan(lines.Text(), &rows, &of); err != nil {
			continue
		}
		a.post(func() {
			if m := &a.migration; m.runs() {
				m.state, m.importing = fleet.MigratorImports, true
				h := a.table.Header()
				h.ImportRows.Store(rows)
				h.ImportOf.Store(of)
				h.MigratorState.Store(fleet.MigratorImports)
			}
		})
	}
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
		m.state, m.passed = fleet.MigratorDone, true
		a.log.Info("schema is ready", slog.Duration("took", took))
	case fleet.ExitTryAgain:
		switch {
		case m.passed, a.stop.phase != stopNone:
		case m.importing: // a worker would refuse the keys that did not come over yet
			a.log.Warn("the import was interrupted and goes on before a worker starts; SLUICE_IMPORT=off starts without it")
		default:
			a.log.Warn("database is busy or away, starting without the migration")
			m.passed = true
		}
		m.state, m.retryAt = fleet.MigratorWaits, a.now()+int64(time.Second)
	default:
		m.state = fleet.MigratorDone
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
