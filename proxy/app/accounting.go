package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/budget"
	"sluice/proxy/config"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/limit"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	// journalFolder is the folder of the journals in the state directory, and
	// envJournal a second one, where segments are made once that one fails.
	journalFolder = "journal"
	envJournal    = "SLUICE_JOURNAL_DIR"

	flushPatience = 20 * time.Second // for what is left in the journals, at a stop
	awayPatience  = 2 * time.Second  // likewise while the database is known to be away
	fullEvery     = time.Second / 2  // the host table is told so often that the journal is full
	yieldFor      = 2 * time.Second  // a lame worker leaves the journals to others for so long
)

// accounting is the worker's part in limits, budgets and what calls cost. It
// lives as long as the process: what is counted goes on through reloads.
type accounting struct {
	limiter *limit.Limiter
	budgets *budget.Budgets // nil where there is no database
	journal *journal.Writer // likewise: nobody would ever ship it
	ledger  *ledger.Ledger
	shipped *ledger.Metrics
	spent   *budget.Metrics
	share   *sharing // nil without Redis
	table   *fleet.Table
	log     *slog.Logger

	began *config.File // what it was made with

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	yield  context.CancelFunc // gives the journals up to another worker
	done   sync.WaitGroup
}

// account makes what limits and charges calls, and starts it.
func (w *worker) account(file *config.File) error {
	a := &accounting{table: w.table, log: w.log.Logger, began: file}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	w.accounting = a
	a.share = w.openShare(file)
	c := limit.Config{
		Table: w.table, Area: w.area, Holders: fleet.NewRecordHolders(w.table, w.area),
		Window: file.General.WindowSize, Fixed: file.General.RateWindow == "fixed", Counted: counted(file.General.TokenType),
	}
	if a.share != nil {
		c.Share = a.share.share
	}
	if localLimits() {
		own, area, err := ownTable()
		if err != nil {
			return err
		}
		c.Table, c.Area, c.Holders = own, area, fleet.NewRecordHolders(own, area)
	}
	a.limiter = limit.New(c)
	if w.data == nil {
		return nil
	}
	if err := a.openJournal(w, file); err != nil {
		return err
	}
	a.openBudgets(w, file)
	a.openLedger(w, file)
	a.done.Go(func() { a.budgets.Run(a.ctx) })
	if !file.General.DisableReset {
		a.done.Go(func() { budget.RunResets(a.ctx, w.resets(file)) })
	}
	a.done.Go(func() { a.watchFull() })
	return nil
}

func counted(tokens string) limit.TokenType {
	switch tokens {
	case "input":
		return limit.CountInput
	case "output":
		return limit.CountOutput
	}
	return limit.CountTotal
}

// openJournal makes the worker's own journal. A directory that cannot be written
// ends the start: no call could be written down.
func (a *accounting) openJournal(w *worker, file *config.File) error {
	g := &file.General
	sync, _ := journal.SyncNamed(g.JournalSync) // the configuration has checked it
	dirs := w.journals(file)
	c := journal.Config{
		Dir: dirs[0], Host: w.data.host, Holder: budget.Holder(w.table), Slot: w.slot, Generation: int64(w.number),
		Bound: int64(g.JournalMaxGB * (1 << 30)), BodyBound: int64(g.JournalBodiesMax * (1 << 20)), Sync: sync, Log: w.log.Logger,
	}
	if len(dirs) > 1 {
		c.Second = dirs[1]
	}
	var err error
	if a.journal, err = journal.Open(c); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if w.slot == 0 {
		s := a.journal.Stats()
		w.log.Info("journal", slog.String("directory", dirs[0]), slog.Int64("bound_bytes", s.Bound), slog.Int64("free_bytes", s.Free),
			slog.Int64("unshipped_bytes", s.Unshipped))
	}
	return nil
}

// journals are the directories of journals.
func (w *worker) journals(file *config.File) []string {
	dirs := []string{filepath.Join(string(w.dir), journalFolder)}
	if second := file.Environ.Get(envJournal); second != "" {
		dirs = append(dirs, second)
	}
	return dirs
}

func (a *accounting) openBudgets(w *worker, file *config.File) {
	a.spent = budget.NewMetrics()
	a.budgets = budget.New(budget.Config{
		Table: w.table, Area: w.area, HostID: w.data.host, HostName: w.data.hostName,
		Leaser: w.data.store, History: w.data.store.History, Clock: w.data.store.Clock, FirstPast: w.data.store.FirstPast,
		Allowance: file.General.OutageAllowance, Metrics: a.spent, Log: w.log.Logger,
	})
}

// resets is how the spend that objects show is set to nothing when a window ends.
func (w *worker) resets(file *config.File) budget.ResetConfig {
	return budget.ResetConfig{
		ResetSpend: w.data.store.ResetSpend, SwapMeta: w.data.store.SwapMeta,
		Meta: func(ctx context.Context, name string) (string, error) {
			text, err := w.data.store.Meta(ctx, name)
			if errors.Is(err, store.ErrNotFound) {
				err = nil
			}
			return text, err
		},
		Zone: file.LiteLLM.Zone, Least: file.General.ResetLeast, Most: file.General.ResetMost, HostID: w.data.host, Log: w.log.Logger,
		Now: w.now,
	}
}

// now is the present by the database's clock, as far as that is known: what is
// done once for a whole window must not be done by a clock that is ahead.
func (w *worker) now() time.Time {
	if at, ok := w.table.DatabaseTime(); ok {
		return at
	}
	return time.Now()
}

func (a *accounting) openLedger(w *worker, file *config.File) {
	g := &file.General
	cron, _ := retentionCron(file) // it was read at the start
	a.shipped = ledger.NewMetrics()
	a.ledger = ledger.New(ledger.Config{
		Dirs: w.journals(file), HostID: w.data.host, Holder: budget.Holder(w.table), Table: w.table, Database: w.data.store,
		WriteWithin: g.WriteWithin,
		Rows:        ledger.Retention{Period: g.Retention, Every: g.RetentionEvery, Cron: cron},
		DisableRows: g.DisableRows, DisableErrors: g.DisableErrors, DisableSpend: g.DisableSpend,
		Metrics: a.shipped, Log: w.log.Logger,
	})
	ctx, yield := context.WithCancel(a.ctx)
	a.yield = yield
	a.done.Go(func() {
		a.ledger.Run(ctx)
		// Lame. Whoever takes requests comes first; where nobody does any more,
		// because the appliance stops, the journals go on being shipped.
		timer := time.NewTimer(yieldFor)
		defer timer.Stop()
		select {
		case <-a.ctx.Done():
		case <-timer.C:
			a.ledger.Run(a.ctx)
		}
	})
}

// lame gives the journals up to a worker that takes requests.
func (a *accounting) lame() {
	if a != nil && a.yield != nil {
		a.yield()
	}
}

// watchFull tells the host that no more can be written down, while that is so.
func (a *accounting) watchFull() {
	tick := time.NewTicker(fullEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
			if a.journal.Full() {
				a.table.Header().JournalFull.Store(fleet.Now())
			}
		}
	}
}

// settle writes the end of the journal, after the last request has ended. The
// workers that stay ship it; of a host that stops the last ones do, or wait for
// who does. The database is open.
func (a *accounting) settle() {
	if a == nil {
		return
	}
	a.cancel()
	a.done.Wait()
	if a.journal != nil {
		if err := a.journal.Close(); err != nil {
			a.log.Error("the journal could not be ended", errAttr(err))
		}
		h := a.table.Header()
		if st := fleet.State(h.State.Load()); st == fleet.StateDraining || st == fleet.StateStopping {
			a.flush(fleet.Dependency(h.Database.Load()) == fleet.DependencyDown)
		}
	}
	if a.share != nil {
		a.share.close()
	}
}

// flush ships what is left in the journals and gives back what is leased: of a
// host that stops nobody knows when it is back.
func (a *accounting) flush(away bool) {
	patience := flushPatience
	if away {
		patience = awayPatience
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.ledger.Flush(ctx); err != nil {
		a.log.Warn("not all that calls cost is in the database yet: it is shipped at the next start", errAttr(err))
	}
	if err := a.budgets.Drain(ctx); err != nil {
		a.log.Warn("what this host has leased of budgets is given back at its next start", errAttr(err))
	}
}

// write writes what is counted of it as metrics.
func (a *accounting) write(to io.Writer) {
	if a == nil {
		return
	}
	if a.shipped != nil {
		a.shipped.Write(to)
	}
	if a.spent != nil {
		a.spent.WritePrometheus(to)
	}
	if a.journal != nil {
		writeJournal(to, a.journal.Stats())
	}
	if a.share != nil {
		a.share.write(to)
	}
}
