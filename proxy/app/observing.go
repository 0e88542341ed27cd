package app

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/proxy/config"
	"sluice/proxy/observe"
	"sluice/supervisor/fleet"
)

// observing is the worker's part in watching the dependencies.
type observing struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	away   bool // the database was, when it was waited for
}

func (o *observing) stop() {
	o.cancel()
	o.done.Wait()
}

// observe waits for the schema, unless the database is away, and then watches
// the dependencies until it is stopped.
func (w *worker) observe(c observe.Config) (*observing, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o := &observing{cancel: cancel}
	observer := observe.New(w.table, c, w.log.Logger)
	if w.link != nil { // alone there is no migrator to wait for
		if err := observer.WaitSchema(ctx); err != nil && !errors.Is(err, observe.ErrAway) {
			cancel()
			return nil, boot.Exit(fleet.ExitTryAgain, err)
		} else if err != nil {
			o.away = true
			w.log.Warn("serving without the database", errAttr(err))
		}
	}
	o.done.Go(func() { observer.Run(ctx) })
	return o, nil
}

func (w *worker) dependencies(file *config.File) (observe.Config, error) {
	var c observe.Config
	if url := file.General.DatabaseURL.Reveal(); url != "" {
		source, err := postgres.ParseURL(url)
		if err != nil {
			return c, err
		}
		c.Postgres = source
		if file.Environ.Get("DATABASE_URL") == "" { // else the migrator has said it
			for _, note := range source.Notes {
				w.once(note)
			}
		}
	} else if source, ok, err := postgres.FromParts(secretOr(file.Environ)); err != nil {
		return c, err
	} else if ok {
		c.Postgres = source
	} else if w.link != nil || observe.Migrated(w.dir.SQLite()) {
		c.SQLite = w.dir.SQLite() // alone there is no migrator that would make it
	}
	c.NeedsDatabase = c.Postgres != nil && !file.General.AllowRequestsOnDBDown
	var err error
	c.Redis, err = redisConfig(file)
	return c, err
}

// secretOr looks a variable up as itself, as a file named by NAME_FILE, or as a
// credential of the service manager.
func secretOr(e *env.Environ) func(name string) string {
	return func(name string) string {
		if v, err := e.Secret(name); err == nil && v != "" {
			return v.Reveal()
		}
		return e.Get(name)
	}
}

// writeMetrics writes what this process counts, in Prometheus' text format.
func (w *worker) writeMetrics(to io.Writer) {
	w.metrics.Write(to)
	if w.data != nil {
		w.data.directory.WriteMetrics(to)
	}
	w.accounting.write(to)
	metrics.WriteGoMetrics(to)
	writeProcess(to, w.born)
	own := metrics.NewSet()
	own.NewGauge("litellm_in_flight_requests", func() float64 { return float64(w.table.Generation(w.area).InFlight.Load()) })
	if d := w.data; d != nil { // 0 but in the one process of the host that looks after the keys
		own.NewGauge("sluice_resealing_waiting", func() float64 { return float64(d.rowsLeft.Load()) })
	}
	own.NewGauge("sluice_log_dropped_lines", func() float64 { return float64(w.log.Dropped()) })
	own.WritePrometheus(to)
}
