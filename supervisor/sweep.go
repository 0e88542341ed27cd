package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// sweepPatience is how long a process that is left may take to end by itself.
const sweepPatience = 5 * time.Second

// sweep ends what is left of the appliance in the control group of its unit. The
// end of the main process leaves workers alive on purpose (KillMode=process): they
// serve until the next supervisor takes them over. So it acts only when a stop was
// asked for. A stop in the moment between such an end and the new start runs
// nothing of the unit: the workers end by themselves then, a minute later.
func sweep(p *boot.Process, unit string, log *slog.Logger) error {
	own, err := ownGroup()
	if err != nil {
		return err
	}
	dir := stateDir(p.Environ, machine{root: os.Geteuid() == 0})
	patience, wanted, err := sweepWindow(p.Environ, dir, func() bool { return stopWanted(p.Environ, unit) })
	if err != nil || !wanted {
		return err
	}
	return endGroup(own, patience, sweepPatience, log)
}

// sweepWindow says whether what is left is to be ended, and how long it may take
// to end by itself.
func sweepWindow(e *env.Environ, dir fleet.Dir, wanted func() bool) (time.Duration, bool, error) {
	_, err := os.Stat(dir.Stopping())
	switch {
	case err == nil, e.Get("SERVICE_RESULT") == "timeout":
		return sweepPatience, true, nil // all that was running had its time
	case wanted():
		// Nobody has told the workers yet: they end their requests first.
		window, err := e.Seconds("SUPERVISORD_STOPWAITSECS", time.Hour)
		if err != nil {
			return 0, false, boot.Exit(fleet.ExitUsage, err)
		}
		return window + sweepPatience, true, nil
	}
	return 0, false, nil
}

// endGroup ends the processes of a control group but this one: told once, killed
// after the patience, given up so much later.
func endGroup(group string, patience, giveUp time.Duration, log *slog.Logger) error {
	end := time.Now().Add(patience)
	told := map[int]bool{}
	for {
		left, err := leftIn(group)
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			switch {
			case time.Now().After(end):
				_ = syscall.Kill(pid, syscall.SIGKILL)
			case !told[pid]:
				told[pid] = true
				log.Warn("ending what a stop has left", slog.Int("pid", pid))
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
		if time.Now().After(end.Add(giveUp)) {
			return fmt.Errorf("%d processes are left in the control group and do not end", len(left))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stopWanted says that somebody asked for the end of a supervisor that could not
// note it: the signal came before it listened, or a stop was asked for after it
// had died. A restart is none: its workers are taken over.
func stopWanted(e *env.Environ, unit string) bool {
	if endedByTerm(e) {
		return true
	}
	jobs, err := systemctl(context.Background(), "list-jobs", "--plain", "--no-legend", "--full")
	return err == nil && stopQueued(jobs, unit)
}

// endedByTerm reads what systemd tells of the end of the main process.
func endedByTerm(e *env.Environ) bool {
	return e.Get("EXIT_CODE") == "killed" && e.Get("EXIT_STATUS") == "TERM"
}

// stopQueued finds the job that stops a unit in a list of lines "ID UNIT TYPE
// STATE".
func stopQueued(jobs, unit string) bool {
	for line := range strings.Lines(jobs) {
		fields := strings.Fields(line)
		if len(fields) >= 3 && fields[1] == unit && fields[2] == "stop" {
			return true
		}
	}
	return false
}

// ownGroup is the folder of our own control group, in the hierarchy that systemd
// keeps: that of version 2, or its named one.
func ownGroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find own control group: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || fields[1] != "" && fields[1] != "name=systemd" {
			continue
		}
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
			dir := filepath.Join(root, fields[2])
			b, err := os.ReadFile(filepath.Join(dir, groupList))
			if err == nil && slices.Contains(strings.Fields(string(b)), strconv.Itoa(os.Getpid())) {
				return dir, nil
			}
		}
	}
	return "", errors.New("find own control group: it is not under /sys/fs/cgroup")
}

// groupList is where the kernel lists the processes of a control group.
const groupList = "cgroup.procs"

// leftIn lists the processes of a control group, which may be gone, without this one.
func leftIn(dir string) ([]int, error) {
	b, err := os.ReadFile(filepath.Join(dir, groupList))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
		return nil, fmt.Errorf("list control group: %w", err)
	}
	var left []int
	for _, text := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(text); err == nil && pid > 1 && pid != os.Getpid() { // 0 is of another namespace
			left = append(left, pid)
		}
	}
	return left, nil
}

// noteStop leaves word for sweep that a stop was asked for, or takes it back at
// a start.
func (a *appliance) noteStop(on bool) {
	path := a.plan.stateDir.Stopping()
	var err error
	if on {
		err = os.WriteFile(path, nil, 0o600)
	} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		a.log.Warn("note that a stop was asked for", slog.String("error", err.Error()))
	}
}
