package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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

// sweep ends what is left of the appliance in its control group. systemd runs it
// after every end of the main process, which leaves workers alive on purpose
// (KillMode=process): they serve until the next supervisor takes them over. So it
// acts only when a stop was asked for.
func sweep(p *boot.Process, log *slog.Logger) error {
	dir := stateDir(p.Environ, machine{root: os.Geteuid() == 0})
	if !stopWanted(p.Environ, dir) {
		return nil
	}
	file, err := groupFile()
	if err != nil {
		return err
	}
	end := time.Now().Add(sweepPatience)
	told := map[int]bool{}
	for {
		left, err := leftIn(file)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
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
		if time.Now().After(end.Add(sweepPatience)) {
			return fmt.Errorf("%d processes are left in the control group and do not end", len(left))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stopWanted says that somebody asked for the end: the supervisor had begun to
// stop, or systemd lost patience with it, or its signal came before there was
// anybody to note it. A crash is none of these.
func stopWanted(e *env.Environ, dir fleet.Dir) bool {
	if _, err := os.Stat(dir.Stopping()); err == nil {
		return true
	}
	return e.Get("SERVICE_RESULT") == "timeout" ||
		e.Get("EXIT_CODE") == "killed" && e.Get("EXIT_STATUS") == "TERM"
}

// groupFile is where the kernel lists the processes of our own control group, in
// the hierarchy that systemd keeps: that of version 2, or its named one.
func groupFile() (string, error) {
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
			file := filepath.Join(root, fields[2], "cgroup.procs")
			if ours, err := leftIn(file); err == nil && ours != nil {
				return file, nil
			}
		}
	}
	return "", errors.New("find own control group: it is not under /sys/fs/cgroup")
}

// leftIn lists the processes of a control group without this one. It is nil
// where this one is not in it: then it is not the group that we mean.
func leftIn(file string) ([]int, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("list control group: %w", err)
	}
	left, here := []int{}, false
	for _, text := range strings.Fields(string(b)) {
		pid, err := strconv.Atoi(text)
		switch {
		case err != nil || pid <= 1: // 0 is a process of another namespace
		case pid == os.Getpid():
			here = true
		default:
			left = append(left, pid)
		}
	}
	if !here {
		return nil, nil
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
