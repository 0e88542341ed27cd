package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/server"
	"sluice/proxy/upstream"
	"sluice/supervisor/fleet"
)

// worker is one generation: what it was given, and what it made of it.
type worker struct {
	source config.Source
	dir    fleet.Dir
	log    *boot.Log
	table  *fleet.Table
	area   int
	slot   int
	number int    // generation
	socket string // private unix socket
	born   int64  // of the process; seconds since 1970
	link   *link  // nil when it runs alone

	config     *config.File
	files      files      // that it was read from
	masterKey  env.Secret // of the state directory, "" when one is configured
	applied    uint64     // number of the configuration in use
	logFile    logFile
	pools      *upstream.Pools
	server     *server.Server
	metrics    *gateway.Metrics
	observing  *observing
	data       *data            // nil where there is no database
	postgres   *postgres.Source // of data and observing; nil for SQLite
	accounting *accounting      // limits, budgets, the journal
	overlaying

	recycleAfter uint64
	orphanDrain  int64         // nanoseconds without a supervisor
	idle         chan struct{} // closed when a lame worker has no connection left
	wantRecycle  chan string   // reasons, from the request path
	asked        atomic.Bool   // one request for recycling is enough
	panics       panicWindow
	trimmer      trimmer
}

// start builds what the configuration says and serves it on the private
// socket, where it passes a request to itself.
func (w *worker) start() error {
	w.born = time.Now().Unix()
	if err := w.build(); err != nil {
		return err
	}
	if err := w.server.Private(w.socket); err != nil {
		return err
	}
	if err := askSelf(w.socket); err != nil {
		return fmt.Errorf("the worker does not answer itself: %w", err)
	}
	w.beat()
	return nil
}

// ready says that the worker takes traffic.
func (w *worker) ready() {
	g := w.table.Generation(w.area)
	g.Ready.Store(fleet.Now())
	g.State.Store(uint32(fleet.StateReady))
	w.log.Info("ready", slog.Duration("after", fleet.Since(g.Started.Load())))
}

// counted asks for a successor after the number of requests that the plan set.
// It runs on the request path.
func (w *worker) counted(total uint64) {
	if w.recycleAfter > 0 && total >= w.recycleAfter {
		w.askRecycle("requests")
	}
}

// panicked asks for a successor when five panics came within a minute.
func (w *worker) panicked(uint64) {
	w.table.Generation(w.area).Panics.Add(1)
	if w.panics.add(fleet.Now()) {
		w.askRecycle("panics")
	}
}

func (w *worker) askRecycle(reason string) {
	if w.asked.CompareAndSwap(false, true) {
		select {
		case w.wantRecycle <- reason:
		default:
		}
	}
}

// run serves until the worker is lame and its last connection is gone.
func (w *worker) run() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	beats, done := make(chan struct{}), make(chan struct{})
	stopBeating := sync.OnceFunc(func() { close(beats); <-done })
	defer stopBeating()
	go func() { defer close(done); w.beatUntil(beats) }()
	w.follow()

	var messages <-chan fleet.Message
	if w.link != nil {
		messages = w.link.follow()
	}
	var orphan *orphanage
	for {
		var drained <-chan struct{}
		if w.server.Draining() {
			drained = w.drained()
		}
		select {
		case m, ok := <-messages:
			if ok {
				w.obey(m)
				continue
			}
			messages, orphan = nil, w.orphaned()
		case <-orphan.tick():
			if w.rejoined(orphan) {
				messages, orphan = w.link.follow(), nil
			}
		case reason := <-w.wantRecycle:
			w.recycle(reason)
		case do := <-w.asks:
			do()
		case s := <-signals:
			if err := w.onSignal(s); err != nil {
				return err
			}
		case <-drained:
			stopBeating() // before the socket that it asks is closed
			return w.finish()
		}
	}
}

func (w *worker) beatUntil(stop <-chan struct{}) {
	tick := time.NewTicker(fleet.HeartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			w.beat()
		}
	}
}

// drained is closed when no client connection is left.
func (w *worker) drained() <-chan struct{} {
	if w.idle != nil {
		return w.idle
	}
	w.idle = make(chan struct{})
	go func() {
		defer close(w.idle)
		_ = w.server.Wait(context.Background()) // ends when the connections do: Cut bounds them
	}()
	return w.idle
}

// obey does what the supervisor says.
func (w *worker) obey(m fleet.Message) {
	switch m.Kind {
	case fleet.KindAdopt:
		w.server.Adopt(m.Slots)
	case fleet.KindLame:
		w.lame(time.Duration(m.Window), time.Duration(m.Quiet))
	case fleet.KindCut:
		w.server.Cut(time.Duration(m.Window))
	case fleet.KindReload:
		w.reload()
	default:
		w.log.Warn("unknown message from the supervisor", slog.String("kind", string(m.Kind)))
	}
}

// lame makes the worker finish. quiet bounds the life of idle connections where
// no successor takes their requests; 0 leaves them their keep-alive time.
func (w *worker) lame(window, quiet time.Duration) {
	w.table.Generation(w.area).State.Store(uint32(fleet.StateLame))
	w.accounting.lame()
	if quiet > 0 {
		w.server.Quiet(quiet)
	}
	w.server.Lame(window)
}

// recycle asks the supervisor for a successor. Alone there is nobody to ask.
func (w *worker) recycle(reason string) {
	if w.link == nil {
		w.log.Warn("would be recycled, but runs without a supervisor", slog.String("reason", reason))
		return
	}
	w.table.Generation(w.area).Failed.Store(1)
	if err := w.link.conn.Send(fleet.Message{Kind: fleet.KindRecycle, Reason: reason}, -1); err != nil {
		w.asked.Store(false) // an orphan asks its next supervisor
	}
}

// onSignal: supervised workers are spoken to over the control socket; a signal
// from elsewhere means the same as for a worker alone.
func (w *worker) onSignal(s os.Signal) error {
	switch s {
	case syscall.SIGHUP:
		w.reload()
	case syscall.SIGQUIT:
		return boot.Exit(fleet.ExitFailed, errors.New("told to quit"))
	case syscall.SIGTERM, syscall.SIGINT:
		switch {
		case w.server.Draining():
			w.lame(min(30*time.Second, w.config.Server.StopWait), fleet.StopQuiet)
		case w.link != nil:
			w.askRecycle("signal")
		default:
			w.log.Info("draining", slog.Duration("window", w.config.Server.StopWait))
			w.table.Header().State.Store(uint32(fleet.StateDraining))
			w.lame(w.config.Server.StopWait, fleet.StopQuiet)
		}
	}
	return nil
}

// finish leaves the last metrics and closes everything.
func (w *worker) finish() error {
	g := w.table.Generation(w.area)
	cut := g.Cut.Load()
	w.observing.stop()
	w.server.Close()
	w.accounting.settle()
	w.leave()
	w.data.close()
	w.pools.Close()
	if err := w.leaveMetrics(); err != nil {
		w.log.Warn("last metrics could not be left", errAttr(err))
	}
	w.log.Info("drained", slog.Uint64("requests", g.Requests.Load()), slog.Uint64("cut", cut))
	if cut > 0 && w.link == nil {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("%d requests were cut by the end of the stop window", cut))
	}
	return nil
}
