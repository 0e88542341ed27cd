package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// envInherited names the descriptor of an inheritance, after an exec.
const envInherited = "SLUICE_INHERITED_FD"

// inheritance is what a supervisor leaves to itself when it executes itself
// anew: numbers of descriptors that stay open.
type inheritance struct {
	Table   int                `json:"table"`
	Lock    int                `json:"lock"`
	Log     int                `json:"log"`
	Bells   map[int]int        `json:"bells"`
	Sockets []inheritedSocket  `json:"sockets"`
	Config  fleet.ConfigStatus `json:"config"`
}

type inheritedSocket struct {
	fleet.Listener
	FD int `json:"fd"`
}

// inheritState reads what an earlier self left; nothing is the usual case.
func inheritState(e *env.Environ) (inheritance, error) {
	var past inheritance
	text := e.Get(envInherited)
	if text == "" {
		return past, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return past, fmt.Errorf("%s=%s: a descriptor is needed", envInherited, text)
	}
	b, err := readMemfd(fd)
	if err != nil {
		return past, fmt.Errorf("read what the supervisor left: %w", err)
	}
	if err := json.Unmarshal(b, &past); err != nil {
		return past, fmt.Errorf("read what the supervisor left: %w", err)
	}
	return past, nil
}

// upgradeStep executes the supervisor's binary on disk, when that was asked
// for and no child is half started. On success it does not return: the new
// program finds the children as orphans, replaces healthd and then the workers.
func (a *appliance) upgradeStep() {
	if !a.upgrade || a.stop.phase != stopNone {
		return
	}
	if a.begins() {
		return
	}
	a.upgrade = false
	a.notify.reloading(a.now())
	environ := a.environ.Scrubbed()
	go func() {
		err := tryBinary(a.self, environ)
		a.post(func() {
			if err == nil && a.begins() { // somebody died while the binary was tried
				a.upgrade = true
				return
			}
			if err == nil && a.stop.phase == stopNone {
				err = a.become(a.self)
			}
			if err != nil {
				a.log.Error("binary on disk cannot be executed, going on with the old one", slog.String("error", err.Error()))
				a.notify.send("READY=1")
			}
		})
	}()
}

// begins reports whether a worker is half started.
func (a *appliance) begins() bool {
	for _, g := range a.gens {
		if g.state == fleet.StateStarting {
			return true
		}
	}
	return false
}

// tryBinary has the binary on disk tell its version: one that cannot even do
// that would be the end of us.
func tryBinary(self string, environ []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	try := exec.CommandContext(ctx, self, "--version")
	try.Env = environ
	if out, err := try.CombinedOutput(); err != nil {
		return fmt.Errorf("try %s --version: %w: %.200s", self, err, out)
	}
	return nil
}

// become executes the binary in our place; it returns only when that fails.
func (a *appliance) become(self string) error {
	a.writeProcesses()
	past := inheritance{
		Table: a.tableFD, Lock: a.lockFD, Log: a.logFD, Bells: a.bells,
		Config: a.config,
	}
	keep := []int{a.tableFD, a.lockFD}
	for _, fd := range a.bells {
		keep = append(keep, fd)
	}
	for _, s := range a.sockets {
		past.Sockets = append(past.Sockets, inheritedSocket{s.Listener, s.fd})
		keep = append(keep, s.fd)
	}
	b, err := json.Marshal(past)
	if err != nil {
		return fmt.Errorf("write down what is held: %w", err)
	}
	state, err := memfd("inheritance", b)
	if err != nil {
		return err
	}
	secrets, err := memfd("environ", a.environ.With(map[string]string{envInherited: strconv.Itoa(state)}).Bytes())
	if err != nil {
		return err
	}
	keep = append(keep, state, secrets)
	// No child may be forked while the descriptors have no close-on-exec.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	for _, fd := range keep {
		if err := setCloexec(fd, false); err != nil {
			return fmt.Errorf("keep descriptor: %w", err)
		}
	}
	environ := append(a.environ.Scrubbed(),
		fleet.EnvEnvironFD+"="+strconv.Itoa(secrets), envInherited+"="+strconv.Itoa(state))
	a.log.Info("executing itself anew", slog.String("binary", self), slog.String("from", boot.Version))
	time.Sleep(20 * time.Millisecond) // for the log to be written
	// Until the new program listens, these would end it: it begins as it finds them.
	signal.Ignore(syscall.SIGUSR2, syscall.SIGHUP)
	err = syscall.Exec(self, append([]string{os.Args[0]}, a.args...), environ)
	signal.Notify(a.signals, syscall.SIGUSR2, syscall.SIGHUP)
	for _, fd := range keep {
		_ = setCloexec(fd, true)
	}
	_ = syscall.Close(state)
	_ = syscall.Close(secrets)
	return fmt.Errorf("execute %s: %w", self, err)
}
