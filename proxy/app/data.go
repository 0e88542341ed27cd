package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/auth"
	"sluice/proxy/config"
	"sluice/proxy/feed"
	"sluice/proxy/observe"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	startPatience = 2 * time.Second // for the database, at a start
	saltAgain     = time.Second     // between two looks at the salt of a database that was away
)

// data is the worker's part in the identity data. It lives as long as the
// process: a reload changes neither the database nor the salt key.
type data struct {
	store     *store.Store
	ring      *seal.Ring
	snapshot  *auth.Snapshot
	directory *auth.Directory
	salted    atomic.Bool // the salt key is known to be the one of the database
	table     *fleet.Table
	log       *slog.Logger

	away  bool // the database was, at the start
	known bool // there was a key snapshot when the worker was born

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// openData connects to nothing yet. It is nil where there is no database.
func (w *worker) openData(file *config.File, deps observe.Config) (*data, error) {
	if deps.Postgres == nil && deps.SQLite == "" {
		return nil, nil
	}
	d := &data{table: w.table, log: w.log.Logger}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	var err error
	if d.ring, err = newRing(file, w.master(file)); err != nil {
		return nil, err
	}
	if file.General.SaltKey == "" && file.General.StoreModels {
		w.once("LITELLM_SALT_KEY is not set: secrets in the database are sealed with the master key, which then can never be changed")
	}
	path := filepath.Join(string(w.dir), auth.SnapshotFile)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		d.known = true
	}
	if d.snapshot, err = auth.OpenSnapshot(path, d.ring.Key("identity snapshot"), w.log.Logger); err != nil {
		return nil, err
	}
	d.snapshot.Hold()
	c := storeConfig(file, deps)
	c.Options.Application = "sluice proxy slot " + strconv.Itoa(w.slot)
	c.Log, c.Committed = w.log.Logger, w.committed
	c.Host, _ = os.Hostname()
	if d.store, err = store.Open(c); err != nil {
		return nil, err
	}
	d.directory, err = auth.NewDirectory(auth.DirectoryConfig{
		Source: d.store, Table: w.table, Snapshot: d.snapshot, Log: w.log.Logger, AdminUser: file.General.AdminUser,
		Journal: auth.OpenJournal(filepath.Join(string(w.dir), auth.JournalFile), w.log.Logger),
	})
	if err != nil {
		d.store.Close()
		return nil, err
	}
	return d, nil
}

// start checks the salt key, where the database answers, and follows its
// changes from then on. A wrong salt key is an error. A database that was just
// found to be away is not waited for again.
func (d *data) start(away bool) error {
	if d.away = away; !away {
		err := d.checkSalt(d.ctx)
		if errors.Is(err, errSalt) {
			return boot.Exit(fleet.ExitConfig, err)
		}
		d.away = err != nil
	}
	d.snapshot.Release()
	if unpolled() {
		return nil
	}
	f := feed.New(d.table, d.store, d.log)
	f.Changed, f.Remembered = d.remember, d.snapshot.Number
	d.done.Go(func() { f.Run(d.ctx) })
	return nil
}

func (d *data) checkSalt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	err := checkSalt(ctx, d.store, d.ring)
	d.salted.Store(err == nil)
	return err
}

// awaitSalt returns true once the salt key turned out to be right. Until then
// nothing is sealed: it could be with a key that nobody else has.
func (d *data) awaitSalt(ctx context.Context) bool {
	told := false
	for !d.salted.Load() {
		if !pause(ctx, saltAgain) {
			return false
		}
		if err := d.checkSalt(ctx); errors.Is(err, errSalt) && !told {
			told = true
			d.log.Error("secrets can neither be stored nor read", errAttr(err))
		}
	}
	return true
}

// remembers reports whether the host knows keys from an earlier life, which are
// served while the database is away.
func (d *data) remembers() bool {
	return d != nil && d.known
}

// remember notes changes in the key snapshot, so that a worker which is born in
// an outage does not take an old record for the last word.
func (d *data) remember(changes []store.Changed) {
	for _, c := range changes {
		if err := d.snapshot.Changed(c.Number, c.Kind, c.ID); err != nil {
			d.log.Warn("key snapshot not written", errAttr(err))
			return
		}
	}
}

// sealing is the ring, once it is known to be the right one.
func (d *data) sealing() *seal.Ring {
	if d == nil || !d.salted.Load() {
		return nil
	}
	return d.ring
}

// close ends everything. What was noted and not written yet is written.
func (d *data) close() {
	if d == nil {
		return
	}
	d.cancel()
	d.done.Wait()
	d.directory.Close()
	d.snapshot.Close()
	d.store.Close()
}

// checkRoom says what all workers together may take of the server's
// connections, where that is too much.
func (d *data) checkRoom(ctx context.Context, workers int) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	room, err := d.store.Room(ctx, 1, workers)
	if err == nil && room.Tight() {
		d.log.Warn("this host alone may need most of the database's connections: lower database_connection_pool_limit, or raise max_connections",
			slog.String("formula", room.String()))
	}
}

// pause waits; it is false when ctx ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
