package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// Pauses before a start that follows failed ones: none after a good one, then
// the first, then twice as long each time. Whoever starts us again does so at
// once (RestartSec=100ms), because after a death in service every tenth of a
// second counts; a start that cannot succeed must not take a processor for it.
// The longest is well below fleet.OrphanDrain: orphans are still there then.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	goodService  = int64(time.Minute) // in service for so long: the start was a good one
)

// startRecord is the document of fleet.Dir.Starts.
type startRecord struct {
	Version string `json:"version"` // a release does not wait for the failures of another
	Failed  int    `json:"failed"`  // in a row; the start that goes on counts until it was good
}

// starts remembers how the starts of late went. A nil one remembers nothing.
type starts struct {
	path  string
	most  time.Duration // 0: no pauses
	early os.Signal     // asked for an end while we waited
	since int64         // in service since then, 0 not yet
	good  bool
	made  bool // the folder of path, by us
}

func newStarts(dir fleet.Dir, most time.Duration) *starts {
	return &starts{path: dir.Starts(), most: most}
}

// begin notes a start as failed until it has proved to be good, and waits if
// those before it failed.
func (s *starts) begin(e *env.Environ, log *slog.Logger) {
	failed := s.failed()
	if err := s.write(failed + 1); err != nil {
		log.Debug("note the start", slog.String("error", err.Error())) // the state directory is looked at later
	}
	wait := pause(failed, s.most)
	if wait == 0 {
		return
	}
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	log.Warn("starts failed, or did not last a minute: waiting before the next", slog.Int("failed", failed), slog.Duration("wait", wait))
	n := notifier{log: log, fd: -1}
	n.connect(e)
	n.send(fmt.Sprintf("STATUS=waiting %v: the last %d starts failed, or did not last a minute; the log says why", wait, failed))
	n.close()
	s.sleep(wait, asked)
}

// sleep waits. Whoever asks for an end meanwhile gets it from the start that
// follows at once: it takes over the workers that there may be, and lets them
// end what they carry.
func (s *starts) sleep(wait time.Duration, asked chan os.Signal) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			signal.Stop(asked)
			return
		case sig := <-asked:
			if sig == syscall.SIGTERM || sig == syscall.SIGINT {
				s.early = sig // and a second one finds somebody who listens
				s.forget()
				return
			}
			// A reload or an upgrade is what the start does anyway.
		}
	}
}

// pause is the time to wait after so many failed starts in a row.
func pause(failed int, most time.Duration) time.Duration {
	if failed <= 0 {
		return 0
	}
	d := firstPause
	for range failed - 1 {
		if d >= most {
			break
		}
		d *= 2
	}
	return min(d, most)
}

// failed is how many starts of this release have failed in a row.
func (s *starts) failed() int {
	var r startRecord
	b, err := os.ReadFile(s.path)
	if err != nil || json.Unmarshal(b, &r) != nil || r.Version != boot.Version {
		return 0
	}
	return r.Failed
}

func (s *starts) write(failed int) error {
	// The first start of all may fail before the state directory is made.
	err := os.Mkdir(filepath.Dir(s.path), 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	s.made = s.made || err == nil
	b, err := json.Marshal(startRecord{Version: boot.Version, Failed: failed})
	if err == nil {
		if err = os.WriteFile(s.path+".new", b, 0o600); err == nil {
			err = os.Rename(s.path+".new", s.path)
		}
	}
	return err
}

// serves is told that everything is in service.
func (s *starts) serves(now int64) {
	switch {
	case s == nil || s.good:
	case s.since == 0:
		s.since = now
	case now-s.since >= goodService:
		s.good = true
		s.forget()
	}
}

// ended is told how the appliance ended: what systemd does not try again is no
// failed start, somebody mends it first.
func (s *starts) ended(err error) {
	var exit *boot.ExitError
	if err == nil || errors.As(err, &exit) && (exit.Code == fleet.ExitOK || exit.Code == fleet.ExitUsage || exit.Code == fleet.ExitConfig) {
		s.forget()
	}
}

// forget begins anew: the start was good, or its end was asked for. A start that
// was refused before it made anything leaves the state directory as it was.
func (s *starts) forget() {
	if s == nil {
		return
	}
	_ = os.Remove(s.path)
	if s.made {
		_ = os.Remove(filepath.Dir(s.path)) // stays while there is something in it
	}
}
