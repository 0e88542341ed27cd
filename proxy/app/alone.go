package app

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/proxy/config"
	"sluice/proxy/server"
	"sluice/supervisor/fleet"
)

// runAlone is the life of a worker without a supervisor: for development, with
// a host table and a listener of its own.
func runAlone(p *boot.Process, flags config.Flags, stateDir string) error {
	dir, err := ownStateDir(p, stateDir)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	table, area, err := ownTable()
	if err != nil {
		return err
	}
	w := &worker{
		dir: dir, table: table, area: area, number: 1, wantRecycle: make(chan string, 1), overlaying: newOverlaying(),
		socket: filepath.Join(dir.Run(), "proxy-"+strconv.Itoa(os.Getpid())+".sock"),
		source: source(flags, p.Environ),
		log:    newLog(p.Stderr, p.Environ),
	}
	defer w.log.Close()
	if err := w.start(); err != nil {
		return err
	}
	if err := w.listenAlone(); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	table.Header().State.Store(uint32(fleet.StateReady))
	table.Slot(0).State.Store(uint32(fleet.StateReady))
	w.ready()
	if said := exposed(w.config); said != "" {
		w.log.Warn("secrets are given by the environment", slog.String("note", said))
	}
	return w.run()
}

// ownStateDir is the state directory of a worker that was told none by a
// supervisor.
func ownStateDir(p *boot.Process, flag string) (fleet.Dir, error) {
	path := flag
	if path == "" {
		path = p.Environ.Get(fleet.EnvStateDir)
	}
	if path == "" {
		path = ".sluice"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir := fleet.Dir(path)
	if err := os.MkdirAll(dir.Run(), 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w; choose another with --state_dir", err)
	}
	return dir, nil
}

func ownTable() (*fleet.Table, int, error) {
	fd, err := unix.MemfdCreate("sluice-table", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, 0, fmt.Errorf("make host table: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		return nil, 0, err
	}
	area, err := table.Claim(0, 1)
	if err != nil {
		return nil, 0, err
	}
	table.Generation(area).PID.Store(uint32(os.Getpid()))
	return table, area, nil
}

func (w *worker) listenAlone() error {
	l := fleet.Listener{
		Name: "main", Network: "tcp", TLS: w.config.Server.TLSCert != "",
		Address: net.JoinHostPort(w.config.Server.Host, strconv.Itoa(w.config.Server.Port)),
	}
	if path, ok := strings.CutPrefix(w.config.Server.Host, "unix:"); ok {
		l.Network, l.Address = "unix", path
	}
	fd, err := server.Bind(l.Network, l.Address)
	if err != nil {
		return err
	}
	if err := w.server.Listen(l, fd); err != nil {
		return err
	}
	w.server.Adopt(nil)
	w.log.Info("listening", slog.String("address", l.Address), slog.Bool("tls", l.TLS))
	return nil
}
