package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// cli are the arguments.
type cli struct {
	Serve serveCmd `cmd:"" default:"withargs" help:"Answer probes and scrapes."`
	Probe probeCmd `cmd:"" help:"Ask a health URL; exit 0 for 200, 1 for anything else."`
}

type serveCmd struct {
	Host     string `name:"host" placeholder:"ADDR" help:"Address to bind when run without a supervisor. Default: HOST, or all."`
	Port     string `name:"port" placeholder:"N" help:"Port to bind when run without a supervisor. Default: SEPARATE_HEALTH_PORT, or 4001."`
	StateDir string `name:"state_dir" placeholder:"DIR" help:"State directory. Default: SLUICE_STATE_DIR, or ./state."`
}

type probeCmd struct {
	URL     string        `name:"url" placeholder:"URL" help:"Default: liveness on SEPARATE_HEALTH_PORT, or 4001."`
	Timeout time.Duration `name:"timeout" default:"5s" help:"How long to wait for the answer."`

	Insecure bool `name:"insecure" help:"Take any certificate from --url, as from our own port."`
}

func run(p *boot.Process) error {
	var args cli
	command, done, err := p.Parse(&args, "Says whether the appliance is well.")
	if err != nil || done {
		return err
	}
	port, err := p.Environ.Int("SEPARATE_HEALTH_PORT", 4001)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if command.Command() == "probe" {
		ours := args.Probe.URL == ""
		if ours {
			if args.Probe.URL, err = ownURL(p.Environ, port); err != nil {
				return boot.Exit(fleet.ExitConfig, err)
			}
		}
		return probe(p, args.Probe.URL, ours || args.Probe.Insecure, args.Probe.Timeout)
	}
	if args.Serve.Port == "" {
		args.Serve.Port = strconv.Itoa(port)
	}
	return serve(p, args.Serve)
}

// serve runs until TERM. Under a supervisor INT and HUP of the terminal are not
// for us: the supervisor stops healthd last.
func serve(p *boot.Process, args serveCmd) error {
	level, _ := boot.ParseLevel(p.Environ.Get("LITELLM_LOG"))
	json, err := p.Environ.Bool("JSON_LOGS", false)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	log := boot.NewLogger(p.Stderr, boot.LogOptions{Program: p.Program, JSON: json, Level: level})
	defer log.Close()
	debug.SetGCPercent(50) // the heap is 1 MB or 2: memory counts here, a collection costs nothing
	seen := &observer{}
	if seen.requireDB, err = p.Environ.Bool("SLUICE_READY_NEEDS_DB", false); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	signals := []os.Signal{syscall.SIGTERM}
	control := p.Environ.Get(fleet.EnvControl)
	if control == "" {
		signals = append(signals, syscall.SIGINT)
	} else {
		signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()

	dir := stateDir(p, args)
	if err := os.MkdirAll(dir.Run(), 0o700); err != nil {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("make the state directory: %w", err))
	}
	certs, err := newShown(p.Environ, log.Logger)
	if err != nil {
		return err
	}
	srv := newServer(seen, certs, log.Logger)
	var waiting []net.Listener // until the scraper is there
	l := &link{path: control, log: log.Logger, seen: seen, serve: func(ln net.Listener) { waiting = append(waiting, ln) }}
	if control != "" {
		err = l.attach()
	} else {
		err = alone(seen, l, p.Environ.Get("HOST"), args)
	}
	if err != nil {
		return err
	}
	srv.scraper = newScraper(dir, seen, log.Logger)
	if err := srv.serveUnix(dir.Health()); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	certs.follow(seen.table.Load().Header().ConfigApplied.Load())
	l.serve = func(ln net.Listener) { srv.serve(certs.over(ln)) }
	for _, ln := range waiting {
		l.serve(ln)
	}
	defer srv.stop()
	return live(ctx, l, srv, log.Logger)
}

// live is the time from ready to stop.
func live(ctx context.Context, l *link, srv *server, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	scraped, followed := make(chan struct{}), make(chan struct{})
	go func() { defer close(scraped); srv.scraper.run(ctx) }()
	go func() {
		defer close(followed)
		if l.conn != nil {
			l.follow(ctx)
		}
	}()
	defer func() { cancel(); <-scraped; <-followed }()
	if l.conn != nil {
		if err := l.conn.Send(fleet.Message{Kind: fleet.KindReady, Role: "healthd", PID: os.Getpid(), Slot: -1}, -1); err != nil {
			log.Warn("say ready", slog.String("error", err.Error()))
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	boot.ForgetStart()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		srv.shown.follow(l.seen.table.Load().Header().ConfigApplied.Load())
		if abandoned(l.seen) {
			log.Warn("no supervisor and no worker is left, ending")
			return nil
		}
	}
}

// abandoned is true for an orphan after the last worker has drained: workers
// that wait for a supervisor in vain say draining first.
func abandoned(seen *observer) bool {
	if seen.alone || !seen.lost.Load() || !seen.gone.Load() || seen.workersAlive() {
		return false
	}
	h := seen.table.Load().Header()
	return fleet.State(h.State.Load()) == fleet.StateDraining || fleet.Since(h.Heartbeat.Load()) > goneSupervisor
}

func stateDir(p *boot.Process, args serveCmd) fleet.Dir {
	if args.StateDir != "" {
		return fleet.Dir(args.StateDir)
	}
	if dir := p.Environ.Get(fleet.EnvStateDir); dir != "" {
		return fleet.Dir(dir)
	}
	return "state"
}

// alone binds its own listener beside an empty table: for development.
func alone(seen *observer, l *link, host string, args serveCmd) error {
	seen.alone = true
	fd, err := unix.MemfdCreate("sluice-table", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a host table: %w", err)
	}
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		return err
	}
	_ = syscall.Close(fd)
	seen.table.Store(table)
	if args.Host != "" {
		host = args.Host
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, args.Port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %s is taken: another appliance, or LiteLLM's health app, may hold it", args.Port)
	}
	if err != nil {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("listen: %w", err))
	}
	l.serve(ln)
	return nil
}
