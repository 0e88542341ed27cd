package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/supervisor/fleet"
)

// envLogDescriptor and envRecycleAfter are told by the supervisor: a duplicate
// of its standard error, and the jittered number of requests of this life.
const (
	envLogDescriptor = "SLUICE_LOG_FD"
	envRecycleAfter  = "SLUICE_RECYCLE_AFTER"
	envOrphanDrain   = "SLUICE_ORPHAN_DRAIN"
)

// runSupervised is the life of a worker that a supervisor started.
func runSupervised(p *boot.Process, control string) error {
	slot, err := p.Environ.Int(fleet.EnvSlot, -1)
	if err != nil {
		return boot.Exit(fleet.ExitUsage, err)
	}
	generation, err := p.Environ.Int(fleet.EnvGeneration, -1)
	if err != nil || slot < 0 || generation < 1 {
		return boot.Exit(fleet.ExitUsage, errors.Join(err, errors.New("the supervisor gave no slot or generation")))
	}
	dir := fleet.Dir(p.Environ.Get(fleet.EnvStateDir))
	l, err := dialSupervisor(control, slot, generation)
	if err != nil {
		return boot.Exit(fleet.ExitTryAgain, err)
	}
	w := &worker{
		dir: dir, table: l.table, area: l.area, slot: slot, number: generation,
		socket: dir.Worker(slot, generation), link: l, wantRecycle: make(chan string, 1), overlaying: newOverlaying(),
		source: source(config.Flags{}, l.environ),
		log:    newLog(logWriter(p), l.environ, slog.Int("slot", slot), slog.Int("generation", generation)),
	}
	defer w.log.Close()
	w.source.Supervised = true
	if err := fleet.Scored(); err != nil {
		w.log.Warn("the kernel may end others before this worker when memory runs out", errAttr(err))
	}
	after, err := l.environ.Int(envRecycleAfter, 0)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	orphan, err := l.environ.Duration(envOrphanDrain, fleet.OrphanDrain)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	w.recycleAfter, w.orphanDrain = uint64(max(after, 0)), int64(orphan)
	w.table.Generation(w.area).PID.Store(uint32(os.Getpid()))
	if err := w.start(); err != nil {
		return err
	}
	if err := w.acceptInherited(); err != nil {
		return err
	}
	w.ready()
	if err := l.conn.Send(fleet.Message{Kind: fleet.KindReady, Config: w.applied}, -1); err != nil {
		w.log.Warn("could not say ready", errAttr(err)) // the loop sees the supervisor's death
	}
	return w.run()
}

// acceptInherited gives the server duplicates of the descriptors in custody,
// because those themselves are kept for a successor of the supervisor, and
// accepts on the worker's own slot.
func (w *worker) acceptInherited() error {
	for slot, fd := range w.link.doorbells {
		if err := w.server.Doorbell(slot, fd); err != nil {
			return err
		}
	}
	for _, in := range w.link.listeners {
		fd, err := duplicate(in.fd)
		if err != nil {
			return fmt.Errorf("duplicate listener %s of slot %d: %w", in.Name, in.Slot, err)
		}
		if err := w.server.Listen(in.Listener, fd); err != nil {
			return boot.Exit(fleet.ExitConfig, err)
		}
	}
	w.server.Adopt(nil)
	return nil
}

func duplicate(fd int) (int, error) {
	n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// logWriter is where lines go: the supervisor's own standard error, so that no
// pipe stands between; the captured one carries only crash traces.
func logWriter(p *boot.Process) io.Writer {
	fd, err := p.Environ.Int(envLogDescriptor, -1)
	if err != nil || fd < 3 {
		return p.Stderr
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "log")
}

// newLog is the log as the environment asks for it; the configuration may say
// more when it is read.
func newLog(to io.Writer, environ *env.Environ, attrs ...slog.Attr) *boot.Log {
	level, ok := boot.ParseLevel(environ.Get("LITELLM_LOG"))
	if !ok {
		level = slog.LevelInfo
	}
	json, _ := environ.Bool("JSON_LOGS", false)
	return boot.NewLogger(to, boot.LogOptions{Program: "proxy", JSON: json, Level: level, Attrs: attrs})
}
