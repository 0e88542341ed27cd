// Package ledger reads the journals of a host and writes them into the
// database, every attempt once. One process of the host does it at a time: who
// holds the lock on the directory of the journals. It joins what was known
// before an attempt with how it ended, ships rows in batches, and remembers in
// the same transaction how far each segment was read: the cursor, which is the
// oldest record of a segment whose attempt is not in the database yet. Twice is
// once by two means: a row has the key of its attempt, and sums are made of
// inserted rows alone; and a batch is refused where the cursors in the database
// are not those that it begins at.
//
// What a dead process left open becomes a row, interrupted, with what was known
// of it by then. docs/ledger.md says what is lost when: nothing.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/bill"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// Database is what the ledger needs of the store. Methods are called by one
// goroutine at a time.
type Database interface {
	Ship(ctx context.Context, b *store.Batch) (store.Shipped, error)
	Cursors(ctx context.Context, hostID string) (map[string]int64, error)
	RowsFrom(ctx context.Context) (time.Time, error)
	DropCursors(ctx context.Context, segments []string) error
	Holders(ctx context.Context, hostID string) ([]bill.Holder, error)
	Meta(ctx context.Context, name string) (string, error)
	SwapMeta(ctx context.Context, name, old, value string) (bool, error)
	DeleteSpend(ctx context.Context, before, slimBefore time.Time, most int) (int, error)
	DeleteUnused(ctx context.Context, before time.Time, most int) error
	Reconcile(ctx context.Context, what store.Reconciling) (store.Reconciled, error)
}

// Config is what a ledger is made of.
type Config struct {
	Dirs     []string // of journals: SLUICE_STATE_DIR's and, where it is set, SLUICE_JOURNAL_DIR
	HostID   string
	Holder   string       // the life of the host table, 32 hex digits
	Table    *fleet.Table // nil: claims are not given back
	Database Database

	// Batch is how long a row may wait for others; 0: a second. WriteWithin is
	// the upper bound that proxy_batch_write_at sets; 0: none.
	Batch, WriteWithin time.Duration
	Most               int // rows of a batch; 0: 5,000

	// Tick is how often it looks for records while there are some; 0: 250 ms. With
	// none, and for the lock of another process, it looks a fourth as often.
	Tick time.Duration

	KeepSegments time.Duration // segments that are shipped stay so long; 0: 24 h
	KeepBytes    int64         // or until they have so many bytes; 0: 2 GiB

	Rows          Retention
	DisableRows   bool // disable_spend_logs
	DisableErrors bool // disable_error_logs
	DisableSpend  bool // disable_spend_updates

	Metrics *Metrics // nil: none
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Defaults of Config.
const (
	batchWait    = time.Second
	batchRows    = 5000
	keepSegments = 24 * time.Hour
	keepBytes    = 2 << 30
	keepFiles    = 1000 // all are listed every second; workers that die in a loop leave small ones
)

// Ledger ships the journals of its host while it holds their lock. Its methods
// may be called from several goroutines.
type Ledger struct {
	c     Config
	holds atomic.Bool
	jobs  jobs
}

// New makes a ledger; it starts nothing.
func New(c Config) *Ledger {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Batch <= 0 {
		c.Batch = batchWait
	}
	if c.WriteWithin > 0 {
		c.Batch = min(c.Batch, c.WriteWithin)
	}
	if c.Most <= 0 {
		c.Most = batchRows
	}
	if c.Tick <= 0 {
		c.Tick = tickEvery
	}
	if c.KeepSegments <= 0 {
		c.KeepSegments = keepSegments
	}
	if c.KeepBytes <= 0 {
		c.KeepBytes = keepBytes
	}
	l := &Ledger{c: c}
	l.jobs.init(&l.c)
	return l
}

// now is the present for what is deleted by its age: this host's, or what the
// database says where that is earlier.
func (c *Config) now() time.Time {
	now := c.Now()
	if c.Table != nil {
		if at, ok := c.Table.DatabaseTime(); ok && at.Before(now) {
			return at
		}
	}
	return now
}

const tickEvery = 250 * time.Millisecond

// idleEvery is how often it looks while there is nothing.
func (c *Config) idleEvery() time.Duration { return 4 * c.Tick }

// Run ships whenever no other process of the host does, until ctx ends: of a
// worker that does not take requests any more, or stops. It returns when the
// lock has been given up.
func (l *Ledger) Run(ctx context.Context) {
	told := false
	for ctx.Err() == nil {
		release, err := l.lock()
		switch {
		case err == nil:
			l.serve(ctx)
			release()
		case errors.Is(err, errLocked):
		case !told:
			told = true
			l.c.Log.Error("the journals cannot be shipped", slog.Any("error", err))
		}
		_ = store.Pause(ctx, l.c.idleEvery())
	}
}

// Flush ships what is in the journals, itself or by waiting for who holds the
// lock, until everything of dead and stopped processes is in the database or
// ctx ends. The caller has closed its own journal.
func (l *Ledger) Flush(ctx context.Context) error {
	for {
		release, err := l.lock()
		if err == nil {
			defer release()
			return l.drain(ctx)
		}
		if !errors.Is(err, errLocked) {
			return err
		}
		if allShipped(l.c.Dirs, l.c.HostID) {
			return nil
		}
		if err := store.Pause(ctx, l.c.Tick/5); err != nil {
			return fmt.Errorf("another worker ships what is left in the journals: %w", err)
		}
	}
}

// Holds says whether this process ships at present.
func (l *Ledger) Holds() bool { return l.holds.Load() }

var errLocked = errors.New("another process ships")

// lock takes the lock on the directory of journals. The kernel gives it up when
// the process dies. A process that hangs while it holds it keeps others from
// shipping until the supervisor has killed it, which it does within 10 s.
func (l *Ledger) lock() (release func(), err error) {
	dir := l.c.Dirs[0]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of journals: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "ledger.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the journals: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock the journals: %w", err)
	}
	l.holds.Store(true)
	l.c.Metrics.holds(true)
	return func() {
		l.holds.Store(false)
		l.c.Metrics.holds(false)
		f.Close()
	}, nil
}

// serve ships until ctx ends.
func (l *Ledger) serve(ctx context.Context) {
	s := newSession(l)
	defer func() { l.c.Metrics.forget() }()
	for ctx.Err() == nil {
		moved, err := s.turn(ctx, false)
		wait := l.c.Tick
		switch {
		case err != nil && ctx.Err() == nil:
			wait = s.failed(err)
		case moved:
			wait = 0
		case s.idle():
			wait = l.c.idleEvery()
		}
		l.jobs.turn(ctx, s)
		if wait > 0 {
			_ = store.Pause(ctx, wait)
		}
	}
	// What has been read is shipped by the next holder of the lock, from where
	// the cursors are.
}

// drain ships until nothing is left of processes that are gone.
func (l *Ledger) drain(ctx context.Context) error {
	s := newSession(l)
	defer l.c.Metrics.forget()
	for {
		_, err := s.turn(ctx, true)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%d rows and %d bytes of the journals stay for the next start: %w", len(s.ready), s.unshipped(), ctx.Err())
		case err != nil:
			_ = store.Pause(ctx, s.failed(err))
		case s.drained():
			s.tidied = time.Time{}
			s.tidy(ctx, l.c.Now())
			return nil
		default:
			_ = store.Pause(ctx, l.c.Tick/10)
		}
	}
}
