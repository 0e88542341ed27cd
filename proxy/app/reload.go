package app

import (
	"log/slog"
	"strings"
	"time"

	"sluice/proxy/config"
	"sluice/proxy/seal"
	"sluice/supervisor/fleet"
)

// reload reads the configuration again and puts it in force for the requests
// to come. A bad one changes nothing and is said why.
func (w *worker) reload() {
	began := time.Now()
	if err := w.tryReload(); err != nil {
		if w.link == nil { // the supervisor counts a round once, however many refuse
			w.table.Header().ConfigRejected.Add(1)
		}
		w.log.Error("reload refused, the configuration in use stays", errAttr(err))
		w.tell(fleet.Message{Kind: fleet.KindRefused, Reason: err.Error()})
		return
	}
	w.log.Info("configuration reloaded", slog.Uint64("number", w.applied), slog.Duration("took", time.Since(began)))
	w.tell(fleet.Message{Kind: fleet.KindApplied, Config: w.applied})
}

func (w *worker) tryReload() error {
	log := w.log.Logger
	if w.slot != 0 { // one worker speaks for all
		log = slog.New(slog.DiscardHandler)
	}
	before := w.files
	file, err := w.loadRecorded(log)
	if err != nil {
		return err
	}
	// All are read before any is in force: everything is, or nothing.
	useTLS, err := w.server.ReadTLS()
	useRing := func() {}
	if err == nil {
		useRing, err = w.readRing(file)
	}
	if err == nil {
		err = w.apply(file)
	}
	if err != nil {
		w.files = before
		return err
	}
	useTLS()
	useRing()
	w.renewLogin(file)
	if a := w.accounting; a != nil {
		if names := lasting(a.began, file); len(names) > 0 {
			w.once("workers that start from now on go by the new " + strings.Join(names, ", ") + "; this one goes by what was there at its start")
		}
	}
	return nil
}

// renewLogin takes a password of the database that has changed, for the
// connections to come.
func (w *worker) renewLogin(file *config.File) {
	deps, err := w.dependencies(file)
	if err != nil || deps.Postgres == nil || w.postgres == nil || w.postgres.Renew(deps.Postgres) {
		return
	}
	w.log.Warn("another database is configured: workers that start from now on use it, this one goes on with its own", slog.String("database", deps.Postgres.String()))
}

// readRing reads the keys that seal again, and says what keeps them from being
// used.
func (w *worker) readRing(file *config.File) (use func(), err error) {
	if w.data == nil {
		return func() {}, nil
	}
	ring, _, err := seal.FromEnviron(w.sources(file))
	if err != nil {
		return nil, err
	}
	by := givenBy(file)
	if err := w.data.mayUse(w.data.ctx, ring, by); err != nil {
		return nil, err
	}
	return func() {
		w.data.replaceRing(ring, by)
		w.keepKeyring(file, ring)
	}, nil
}

func (w *worker) tell(m fleet.Message) {
	if w.link == nil {
		return
	}
	if err := w.link.conn.Send(m, -1); err != nil {
		w.log.Warn("supervisor not reached", errAttr(err))
	}
}
