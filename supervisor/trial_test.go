package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// host is a service manager with a supervisor that obeys: it runs what current
// led to when it was told.
type host struct {
	t       *testing.T
	r       releases
	runs    string // version; "" is one that does not answer
	unit    unitState
	told    []syscall.Signal
	starts  int
	moved   time.Time
	deaf    bool                                                // obeys no USR2
	behaves func(h *host, since time.Duration, s *fleet.Status) // of the new release
}

func (h *host) look(context.Context) (unitState, error) { return h.unit, nil }

func (h *host) start(context.Context) error {
	h.starts++
	h.unit.failed, h.unit.restarts = false, 0
	h.exec()
	return nil
}

func (h *host) exec() {
	folder, err := h.r.folder(linkCurrent)
	if err != nil {
		h.t.Error(err)
	}
	h.runs, h.moved, h.unit.main = h.r.version(folder), time.Now(), 7
}

func (h *host) signal(_ context.Context, sig syscall.Signal) error {
	h.told = append(h.told, sig)
	if sig == syscall.SIGKILL || !h.deaf {
		h.exec()
		h.deaf = false
	}
	return nil
}

func (h *host) status() (*fleet.Status, error) {
	s := &fleet.Status{
		State: "ready", Version: h.runs, Healthd: fleet.ChildStatus{State: "ready", Version: h.runs},
		Slots:    []fleet.SlotStatus{{Generations: []fleet.GenerationStatus{{State: "ready", Version: h.runs}}}},
		Recycles: fleet.Recycles{ByReason: map[string]uint64{"crash": 3}}, // of the days before
	}
	if h.behaves != nil && h.runs == "2.0" {
		h.behaves(h, time.Since(h.moved), s)
	}
	if h.runs == "" {
		return nil, errors.New("connection refused")
	}
	return s, nil
}

// newTrial is a service on 1.0 to which a package has brought 2.0.
func newTrial(t *testing.T) (*trial, *host) {
	t.Helper()
	r := releases{t.TempDir()}
	for _, version := range []string{"1.0", "2.0", "0.9", "package"} {
		if err := os.MkdirAll(filepath.Join(r.root, version), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, program := range programs {
			if err := os.WriteFile(filepath.Join(r.root, version, program), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for link, to := range map[string]string{linkCurrent: "1.0", linkProven: "1.0", linkNext: "2.0"} {
		if err := r.turn(link, to); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{t: t, r: r, runs: "1.0", unit: unitState{main: 7, restarts: 2}}
	return &trial{releases: r, service: h, log: slog.New(slog.DiscardHandler), times: trialTimes{
		tick: 5 * time.Millisecond, ready: 150 * time.Millisecond, proven: 300 * time.Millisecond,
		again: 100 * time.Millisecond, back: 2 * time.Second,
	}}, h
}

func (h *host) links(t *testing.T) string {
	t.Helper()
	var out []string
	for _, link := range []string{linkCurrent, linkProven, linkNext} {
		folder, err := h.r.folder(link)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, folder)
	}
	return strings.Join(out, " ")
}

func TestTrialProven(t *testing.T) {
	tr, h := newTrial(t)
	began := time.Now()
	if err := tr.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < tr.times.proven {
		t.Errorf("proven after %v", took)
	}
	if h.links(t) != "2.0 2.0 " || len(h.told) != 1 || h.told[0] != syscall.SIGUSR2 {
		t.Errorf("links %q, signals %v", h.links(t), h.told)
	}
	if doc := h.r.read(); doc == nil || doc.State != fleet.UpgradeProven || doc.From != "1.0" || doc.To != "2.0" {
		t.Errorf("report %v", doc)
	}
	entries, _ := filepath.Glob(filepath.Join(h.r.root, "*", "proxy"))
	if len(entries) != 4 { // 2.0 three times, and the package's
		t.Errorf("left over: %v", entries)
	}
	if err := tr.run(t.Context()); err != nil || len(h.told) != 1 {
		t.Errorf("with nothing to do: %v, signals %v", err, h.told)
	}
}

func TestTrialRolledBack(t *testing.T) {
	for name, c := range map[string]struct {
		behaves func(h *host, since time.Duration, s *fleet.Status)
		reason  string
		starts  int
	}{
		"supervisor dies late": {func(h *host, since time.Duration, _ *fleet.Status) {
			if since > 100*time.Millisecond {
				h.unit.restarts++
				h.exec() // by systemd, again what current leads to
			}
		}, "the supervisor died", 0},
		"dies, and is looked at before it is restarted": {func(h *host, since time.Duration, _ *fleet.Status) {
			h.unit.stopped = since < 50*time.Millisecond
			if !h.unit.stopped {
				h.unit.restarts = 3
			}
		}, "the supervisor died", 0},
		"does not start": {func(h *host, _ time.Duration, _ *fleet.Status) {
			h.runs, h.unit.main, h.unit.failed = "", 0, true
		}, "the service has failed", 1},
		"workers never ready": {func(_ *host, _ time.Duration, s *fleet.Status) {
			s.Slots[0].Generations[0].State = "starting"
		}, "the worker of slot 0 is starting", 0},
		"no worker":     {func(_ *host, _ time.Duration, s *fleet.Status) { s.Slots[0].Generations = nil }, "slot 0 has no worker", 0},
		"healthd stays": {func(_ *host, _ time.Duration, s *fleet.Status) { s.Healthd.Version = "1.0" }, "healthd is ready on 1.0", 0},
		"gets unready": {func(_ *host, since time.Duration, s *fleet.Status) {
			if since > 100*time.Millisecond {
				s.State = "starting"
			}
		}, "the appliance is starting", 0},
		"workers crash": {func(_ *host, since time.Duration, s *fleet.Status) {
			s.Recycles.ByReason["crash"] += uint64(since / (50 * time.Millisecond))
		}, "workers or health daemons died", 0},
	} {
		t.Run(name, func(t *testing.T) {
			tr, h := newTrial(t)
			h.behaves = c.behaves
			err := tr.run(t.Context())
			var exit *boot.ExitError
			if !errors.As(err, &exit) || exit.Code != fleet.ExitFailed {
				t.Fatalf("error %v, want exit %d", err, fleet.ExitFailed)
			}
			doc := h.r.read()
			if h.links(t) != "1.0 1.0 " || h.runs != "1.0" || h.starts != c.starts {
				t.Errorf("links %q, runs %q, started %d times", h.links(t), h.runs, h.starts)
			}
			if doc == nil || doc.State != fleet.UpgradeRolledBack || !strings.Contains(doc.Reason, c.reason) {
				t.Errorf("report %v, want %q", doc, c.reason)
			}
		})
	}
}

func TestTrialDeafSupervisorIsReplaced(t *testing.T) {
	tr, h := newTrial(t)
	h.behaves = func(h *host, _ time.Duration, s *fleet.Status) {
		h.deaf = true
		s.State = "starting"
	}
	if err := tr.run(t.Context()); err == nil || h.runs != "1.0" {
		t.Errorf("%v, runs %s", err, h.runs)
	}
	if last := h.told[len(h.told)-1]; last != syscall.SIGKILL {
		t.Errorf("signals %v, want a kill at the end", h.told)
	}
}

func TestTrialRefusesWhatCannotBeExecuted(t *testing.T) {
	tr, h := newTrial(t)
	if err := os.WriteFile(filepath.Join(h.r.root, "2.0", "proxy"), []byte("\x7fELF torn"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tr.run(t.Context()); err == nil {
		t.Error("no error")
	}
	doc := h.r.read()
	if h.links(t) != "1.0 1.0 " || len(h.told) != 0 || doc == nil || doc.State != fleet.UpgradeRefused || !strings.Contains(doc.Reason, "proxy") {
		t.Errorf("links %q, signals %v, report %v", h.links(t), h.told, doc)
	}
}

// A release that dies while nobody watches has died all the same.
func TestTrialCountsWhatItDidNotSee(t *testing.T) {
	tr, h := newTrial(t)
	h.behaves = func(h *host, _ time.Duration, _ *fleet.Status) { h.unit.stopped = true }
	if err := tr.run(t.Context()); err != nil || h.links(t) != "2.0 1.0 " {
		t.Fatalf("%v, links %q", err, h.links(t))
	}
	h.unit.stopped, h.unit.restarts, h.behaves = false, 13, nil
	if err := tr.run(t.Context()); err == nil || h.links(t) != "1.0 1.0 " {
		t.Errorf("%v, links %q", err, h.links(t))
	}
	if doc := h.r.read(); doc == nil || doc.State != fleet.UpgradeRolledBack || !strings.Contains(doc.Reason, "the supervisor died") {
		t.Errorf("report %v", doc)
	}
}

// A service that is stopped meanwhile is left alone; its next start begins the
// trial anew. A migrator that takes long does not end one.
func TestTrialWaits(t *testing.T) {
	tr, h := newTrial(t)
	h.behaves = func(h *host, since time.Duration, s *fleet.Status) {
		s.State, s.Migrator = "starting", "running"
		if since > 3*tr.times.ready {
			h.unit.stopped = true
		}
	}
	if err := tr.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.links(t) != "2.0 1.0 " {
		t.Errorf("links %q", h.links(t))
	}
	h.unit.stopped, h.behaves = false, nil
	if err := tr.run(t.Context()); err != nil || h.links(t) != "2.0 2.0 " {
		t.Errorf("%v, links %q", err, h.links(t))
	}
}

func TestParseUnit(t *testing.T) {
	for text, want := range map[string]unitState{
		"Result=exit-code\nMainPID=42\nNRestarts=3\nActiveState=failed\n":      {main: 42, restarts: 3, failed: true},
		"Result=success\nMainPID=42\nNRestarts=3\nActiveState=active\n":        {main: 42, restarts: 3},
		"ActiveState=deactivating\nResult=success\nMainPID=42\nNRestarts=3\n":  {main: 42, restarts: 3, stopped: true},
		"ActiveState=deactivating\nResult=exit-code\nMainPID=0\nNRestarts=3\n": {restarts: 3}, // failed, and is about to be restarted
		"ActiveState=inactive\nResult=success\nMainPID=0\nNRestarts=0\n":       {stopped: true},
	} {
		if got, err := parseUnit(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MainPID=42\nNRestarts=3\n", "MainPID=x\nNRestarts=3\nActiveState=active\nResult=success\n"} {
		if _, err := parseUnit(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
