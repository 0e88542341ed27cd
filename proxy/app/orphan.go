package app

import (
	"log/slog"
	"time"

	"sluice/supervisor/fleet"
)

// orphanage is the time between the death of the supervisor and the arrival of
// its successor.
type orphanage struct {
	since  int64
	ticker *time.Ticker
}

// tick is when to look for a supervisor; never for a worker that has one.
func (o *orphanage) tick() <-chan time.Time {
	if o == nil {
		return nil
	}
	return o.ticker.C
}

// orphaned makes the worker serve on without a supervisor: on every listener,
// so that no slot is a black hole.
func (w *worker) orphaned() *orphanage {
	w.log.Warn("the supervisor is gone; serving on without it")
	w.server.AdoptAll()
	return &orphanage{since: fleet.Now(), ticker: time.NewTicker(redialEvery)}
}

// rejoined looks for a successor once. A worker that finds none for a minute
// drains.
func (w *worker) rejoined(o *orphanage) bool {
	state := fleet.State(w.table.Generation(w.area).State.Load())
	if err := w.link.rejoin(state); err == nil {
		o.ticker.Stop()
		w.asked.Store(false)
		w.log.Info("joined a new supervisor", slog.Duration("after", fleet.Since(o.since)))
		return true
	}
	if int64(fleet.Since(o.since)) > w.orphanDrain && !w.server.Draining() {
		w.log.Warn("no supervisor came back; draining", slog.Duration("window", w.config.Server.StopWait))
		w.table.Header().State.Store(uint32(fleet.StateDraining))
		w.lame(w.config.Server.StopWait, fleet.StopQuiet)
	}
	return false
}
