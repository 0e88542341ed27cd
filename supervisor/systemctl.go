package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/supervisor/fleet"
)

// service is the appliance as whoever keeps it alive sees it.
type service interface {
	look(ctx context.Context) (unitState, error)
	signal(ctx context.Context, sig syscall.Signal) error // to the main process alone
	start(ctx context.Context) error
	status() (*fleet.Status, error)
}

// unitState is what a service manager knows of it.
type unitState struct {
	main     int  // process, 0 none
	restarts int  // that nobody asked for, since somebody last started it
	failed   bool // given up
	stopped  bool // nobody wants it to run now
}

// systemdUnit is a service of systemd.
type systemdUnit struct {
	unit string
	dir  fleet.Dir
}

// systemctl runs one command.
func systemctl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %.200s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}

func (s systemdUnit) look(ctx context.Context) (unitState, error) {
	out, err := systemctl(ctx, "show", s.unit, "--property=ActiveState,Result,MainPID,NRestarts")
	if err != nil {
		return unitState{}, err
	}
	return parseUnit(out)
}

// parseUnit reads lines NAME=value. A unit that waits to be restarted is
// activating; one whose process has failed is deactivating before, as one that
// somebody stops, but with another result.
func parseUnit(text string) (unitState, error) {
	var state unitState
	seen, ends, result := 0, false, ""
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		var err error
		switch name {
		case "ActiveState":
			state.failed = value == "failed"
			state.stopped, ends = value == "inactive", value == "deactivating"
		case "Result":
			result = value
		case "MainPID":
			state.main, err = strconv.Atoi(value)
		case "NRestarts":
			state.restarts, err = strconv.Atoi(value)
		default:
			continue
		}
		if err != nil {
			return state, fmt.Errorf("property %s of the unit is %q, not a number", name, value)
		}
		seen++
	}
	if seen != 4 {
		return state, fmt.Errorf("%d of 4 properties of the unit are known", seen)
	}
	state.stopped = state.stopped || ends && result == "success"
	return state, nil
}

func (s systemdUnit) signal(ctx context.Context, sig syscall.Signal) error {
	_, err := systemctl(ctx, "kill", "--kill-whom=main", "--signal="+strconv.Itoa(int(sig)), s.unit)
	return err
}

func (s systemdUnit) start(ctx context.Context) error {
	_, err := systemctl(ctx, "start", "--no-block", s.unit)
	return err
}

func (s systemdUnit) status() (*fleet.Status, error) { return askStatus(s.dir) }
