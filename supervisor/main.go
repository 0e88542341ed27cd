// Command supervisor runs the appliance: it owns the listening sockets and the
// host table, runs the migrator, starts and recycles the workers, keeps the
// health daemon alive and stops everything in order.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

func main() { boot.Main("supervisor", run) }

// run parses the arguments and does what they ask for.
func run(p *boot.Process) error {
	for i, arg := range p.Args {
		if arg == "-v" {
			p.Args[i] = "--version"
		}
	}
	var c cli
	ctx, done, err := p.Parse(&c, "Run the Sluice appliance: workers, health daemon, migrator.")
	if err != nil || done {
		return err
	}
	environ := p.Environ.With(c.environ())
	if handled, err := aside(p, &c, ctx.Command(), environ); handled {
		return err
	}
	first, err := newPlan(environ, lookAround())
	if err != nil { // wrong flags first: that is usage, not configuration
		return &boot.ExitError{Code: fleet.ExitUsage, Err: err}
	}
	log, err := newLog(p, environ)
	if err != nil {
		return err
	}
	defer log.Close()
	st := newStarts(first.stateDir, first.startPause)
	if !first.skipServers && environ.Get(envInherited) == "" {
		st.begin(environ, log.Logger)
	}
	err = start(p, &c, environ, st, log.Logger)
	st.ended(err)
	return err
}

// start reads the configuration and runs the appliance that it describes.
func start(p *boot.Process, c *cli, environ *env.Environ, st *starts, log *slog.Logger) error {
	if badStart() {
		return errors.New("a release that does not start")
	}
	full, err := preflight(p.Stderr, environ)
	if err != nil {
		if environ.Get(envInherited) == "" {
			return err
		}
		full = environ // a renewed supervisor does not stop at a file that went bad meanwhile
	}
	plan, err := newPlan(full, lookAround())
	if err != nil {
		return &boot.ExitError{Code: fleet.ExitUsage, Err: err}
	}
	if err := plan.certified(full); err != nil && environ.Get(envInherited) == "" {
		return &boot.ExitError{Code: fleet.ExitConfig, Err: err}
	}
	if err := plan.room(); err != nil && environ.Get(envInherited) == "" { // a running appliance goes on
		return &boot.ExitError{Code: fleet.ExitConfig, Err: err}
	}
	for _, flag := range c.idle() {
		log.Warn("flag has no meaning here", slog.String("flag", flag))
	}
	return supervise(p, plan, environ, full, st, log)
}

// newLog is the log of the settings in the environment.
func newLog(p *boot.Process, environ *env.Environ) (*boot.Log, error) {
	level, ok := boot.ParseLevel(environ.Get("LITELLM_LOG"))
	if !ok {
		level = slog.LevelInfo
	}
	lines, err := environ.Bool("JSON_LOGS", false)
	if err != nil {
		return nil, &boot.ExitError{Code: fleet.ExitUsage, Err: err}
	}
	return boot.NewLogger(p.Stderr, boot.LogOptions{Program: p.Program, JSON: lines, Level: min(level, slog.LevelInfo)}), nil
}

// aside does what is not running the appliance, if a command asks for it.
func aside(p *boot.Process, c *cli, command string, environ *env.Environ) (handled bool, err error) {
	switch {
	case strings.HasPrefix(command, "status"):
		return true, showStatus(p, stateDir(environ, machine{root: os.Geteuid() == 0}), c.Status.JSON)
	case strings.HasPrefix(command, "upgrade status"):
		return true, showUpgrade(p, releases{c.Upgrade.Root}, c.Upgrade.Status.JSON)
	case !strings.HasPrefix(command, "upgrade") && !strings.HasPrefix(command, "sweep"):
		return false, nil
	}
	log, err := newLog(p, environ)
	if err != nil {
		return true, err
	}
	defer log.Close()
	if strings.HasPrefix(command, "sweep") {
		return true, sweep(p, c.Sweep.Unit, log.Logger)
	}
	return true, upgradeUnit(c, environ, log.Logger)
}

// showStatus asks the running supervisor and prints what it says.
func showStatus(p *boot.Process, dir fleet.Dir, asJSON bool) error {
	status, err := askStatus(dir)
	if err != nil {
		return fmt.Errorf("ask the supervisor of %s: %w", dir, err)
	}
	if asJSON {
		out := json.NewEncoder(p.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(status)
	}
	return writeTable(p.Stdout, status)
}

// askStatus fetches the status document over the control socket.
func askStatus(dir fleet.Dir) (*fleet.Status, error) {
	conn, err := fleet.Dial(dir.Control())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	const patience = 10 * time.Second // one that hangs does not answer
	defer time.AfterFunc(patience, func() { _ = conn.Close() }).Stop()
	if err := conn.Send(fleet.Message{Kind: fleet.KindHello, Role: "status", PID: os.Getpid()}, -1); err != nil {
		return nil, err
	}
	m, fd, err := conn.Receive()
	if err != nil {
		return nil, err
	}
	if fd < 0 || m.Kind != fleet.KindStatus {
		return nil, fmt.Errorf("unexpected answer %q", m.Kind)
	}
	f := os.NewFile(uintptr(fd), "status")
	defer func() { _ = f.Close() }()
	// The descriptor shares its offset with nobody who reads.
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	var status fleet.Status
	if err := json.Unmarshal(text, &status); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	return &status, nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// childEnviron is what a worker gets in memory: the environment of the
// appliance with the flags merged in.
func childEnviron(e *env.Environ, p *plan) *env.Environ {
	vars := map[string]string{
		"SLUICE_SLOTS":    strconv.Itoa(p.slots),
		fleet.EnvStateDir: string(p.stateDir),
		envInherited:      "",
	}
	return e.With(vars)
}
