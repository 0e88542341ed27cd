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
	"sluice/proxy/identity"
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
// process: a reload changes the keys that seal, and not the database.
type data struct {
	keyring
	store     *store.Store
	snapshot  *auth.Snapshot
	directory *auth.Directory
	table     *fleet.Table
	area      int
	log       *slog.Logger
	host      string // id of this host
	hostName  string

	away       bool // the database was, at the start
	remembered bool // there was a key snapshot when the worker was born
	fromGood   bool // the ring is that of the last good keyring file

	changes     *fleet.ChangeReader // of followKeys
	ringChanged chan struct{}       // wakes who looks after the keys
	wanted      chan struct{}       // wakes followKeys: a change was refused because the keys are not known
	otherKeys   func()              // is told of other keys than before
	resealDue   atomic.Bool         // another key was promoted
	rowsLeft    atomic.Int64        // that wait to be sealed anew, as far as this process looks after them

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// openData connects to nothing yet. It is nil where there is no database.
func (w *worker) openData(file *config.File, deps observe.Config) (*data, error) {
	if deps.Postgres == nil && deps.SQLite == "" {
		return nil, nil
	}
	d := &data{
		table: w.table, area: w.area, log: w.log.Logger, changes: fleet.NewChangeReader(w.table),
		ringChanged: make(chan struct{}, 1), wanted: make(chan struct{}, 1), otherKeys: w.otherKeys,
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	var err error
	if d.host, err = hostID(w.dir); err != nil {
		return nil, err
	}
	d.hostName, _ = os.Hostname()
	c := storeConfig(file, deps)
	c.Options.Application = "sluice proxy slot " + strconv.Itoa(w.slot)
	c.Log, c.Committed, c.Host, c.Chain = w.log.Logger, w.committed, d.hostName, d.chained
	if d.store, err = store.Open(c); err != nil {
		return nil, err
	}
	ring, good, err := w.firstRing(file)
	if err == nil {
		d.fromGood = good
		d.hold(nil, &keys{ring: ring, by: givenBy(file)})
		err = d.openCaches(w, file)
	}
	if err != nil {
		d.store.Close()
		return nil, err
	}
	return d, nil
}

// openCaches opens what this host remembers of the database.
func (d *data) openCaches(w *worker, file *config.File) error {
	path := filepath.Join(string(w.dir), auth.SnapshotFile)
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		d.remembered = true
	}
	var err error
	if d.snapshot, err = auth.OpenSnapshot(path, d.ring().Keys(snapshotKey), w.log.Logger); err != nil {
		return err
	}
	d.snapshot.Hold()
	d.directory, err = auth.NewDirectory(auth.DirectoryConfig{
		Source: d.store, Table: w.table, Snapshot: d.snapshot, Log: w.log.Logger, AdminUser: file.General.AdminUser,
		Journal: auth.OpenJournal(filepath.Join(string(w.dir), auth.JournalFile), w.log.Logger),
	})
	return err
}

// start checks the keys, where the database answers, and follows its changes
// from then on. A wrong key is an error, unless good is another ring, which is
// right. A database that was just found to be away is not waited for again.
func (d *data) start(away bool, good func() *seal.Ring) error {
	if d.away = away; !away {
		err := d.checkKeys(d.ctx)
		var wrong *wrongKeyError
		if errors.As(err, &wrong) {
			if err = d.checkOther(good()); err != nil {
				return boot.Exit(fleet.ExitConfig, wrong)
			}
			d.fromGood = true
			d.log.Error(keptKeyring, errAttr(wrong))
		}
		d.away = err != nil && !errors.Is(err, errWaits) && !errors.Is(err, store.ErrUnchained)
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

// remembers reports whether the host knows keys from an earlier life, which are
// served while the database is away.
func (d *data) remembers() bool {
	return d != nil && d.remembered
}

// remember notes changes in the key snapshot, so that a worker which is born in
// an outage does not take an old record for the last word. Keys that seal are no
// records: the first one is promoted while the snapshot waits for it.
func (d *data) remember(changes []store.Changed) {
	for _, c := range changes {
		if c.Kind == identity.KindSealingKey {
			continue
		}
		if err := d.snapshot.Changed(c.Number, c.Kind, c.ID); err != nil {
			d.log.Warn("key snapshot not written", errAttr(err))
			return
		}
	}
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
