package journal

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
)

// Config is what a Writer is made of.
type Config struct {
	Dir        string // of the segments; it is made when it is not there
	Second     string // where segments are made once Dir fails; "" none (SLUICE_JOURNAL_DIR)
	Host       string // id of this host, at most 64 bytes
	Holder     string // the life of the host table, 32 hex digits
	Slot       int
	Generation int64

	Bound     int64 // bytes that may wait for the database; 0: min(8 GiB, 60 % of what is free)
	BodyBound int64 // bytes of body segments; 0: min(256 MiB, a quarter of Bound); negative: keep none
	Sync      Sync
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: none

	// unmapped writes by system calls, as where a file system cannot map.
	unmapped bool
	// syncFile is fdatasync; a test's may fail.
	syncFile func(*pages) error
}

// Writer writes the journal of one generation. Its methods may be called from
// many goroutines at once.
type Writer struct {
	c     Config
	ident ident // of every segment, but for number, mark, created
	sizes sizes
	full  atomic.Bool // intents are refused

	mu       sync.Mutex // guards what follows; never held over a call that waits for a disk
	flushed  sync.Cond  // on mu: a flush ended
	cur      *pages     // nil while none can be made
	number   int64
	sequence uint64
	prices   map[int64]struct{} // versions whose documents stand in cur
	rec, doc []byte             // scratch
	ended    []*pages           // waiting to be finished
	failed   map[string]time.Time
	closed   bool
	queue    memoryQueue
	toldFull bool // the log says so
	asked    bool // the keeper was asked for the next segment

	// What a power cut would take, in the modes that care: sealed records, for a
	// file whose fdatasync fails. unsynced is being flushed, tail comes next.
	tail, unsynced   []byte
	dirty            bool   // the flusher knows that there is something
	synced           uint64 // records up to here are on the disk
	lostFrom, lostTo uint64 // records after lostFrom up to lostTo could not be brought to it
	sick             bool   // a flush failed for good, or there is no segment

	unshipped, since, bound int64 // bytes when last looked, written since, allowed
	stats                   Stats

	known  map[string]known // segments of the directory, by path; of the keeper alone
	bodies *bodies

	wakeKeeper, wakeFlush, urgent chan struct{} // of one element
	stop                          context.CancelFunc
	keeping, flushing             sync.WaitGroup
}

// ErrDirectory says that a directory of the journal cannot be used. It is an
// error of the configuration.
var ErrDirectory = errors.New("directory of the journal")

// Open makes the directories and the first segment. Where only the disk is full
// it succeeds, and intents are refused until there is room.
func Open(c Config) (*Writer, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.syncFile == nil {
		c.syncFile = (*pages).sync
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	w := &Writer{
		c: c, prices: map[int64]struct{}{}, failed: map[string]time.Time{}, known: map[string]known{},
		rec: make([]byte, 0, 2*moneyMax), sequence: uint64(c.Generation) << 40,
		wakeKeeper: make(chan struct{}, 1), wakeFlush: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
	}
	w.flushed.L = &w.mu
	w.synced = w.sequence
	if holder, err := hex.DecodeString(c.Holder); err != nil || len(holder) != len(w.ident.holder) {
		return nil, fmt.Errorf("open the journal: holder %q is not 32 hex digits", c.Holder)
	} else if copy(w.ident.holder[:], holder); len(c.Host) > hostMax {
		return nil, fmt.Errorf("open the journal: the host's id has %d bytes, it may have %d", len(c.Host), hostMax)
	}
	w.ident.slot, w.ident.generation, w.ident.host, w.ident.boot = c.Slot, c.Generation, c.Host, bootID()
	for _, dir := range w.dirs() {
		if err := prepareDir(dir); err != nil {
			return nil, err
		}
	}
	var err error
	if w.sizes, err = sizesOf(c.Dir, c.Bound); err != nil {
		return nil, err
	}
	w.look()
	w.mu.Lock()
	err = w.turn()
	w.mu.Unlock()
	if err != nil && !noSpace(err) {
		return nil, fmt.Errorf("%w %s cannot be written: %w", ErrDirectory, c.Dir, err)
	}
	w.look()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.bodies = newBodies(w)
	w.keeping.Go(func() { w.keep(ctx) })
	w.flushing.Go(func() { w.flushLoop(ctx) })
	return w, nil
}

// dirs are the directories of the journal, the preferred one first.
func (w *Writer) dirs() []string { return unique([]string{w.c.Dir, w.c.Second}) }

// prepareDir makes a directory that only its owner may look into, and sees
// whether files can be made in it.
func prepareDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(dir, 0o700)
		}
	}
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dir, ".probe-"); err == nil {
			_ = f.Close() // nothing was written
			err = os.Remove(f.Name())
		}
	}
	if err != nil && !noSpace(err) {
		return fmt.Errorf("%w %s cannot be written: %w", ErrDirectory, dir, err)
	}
	return nil
}

// bootID tells one boot of the machine from another.
func bootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	_, _ = hex.Decode(id[:], []byte(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))) // zeros say unknown
	return id
}

// Intent writes down an attempt before its first byte goes to a provider. price
// may be nil where in.Price is 0. After any error the attempt must not be made.
func (w *Writer) Intent(in *bill.Intent, price Price) error {
	w.mu.Lock()
	if w.full.Load() {
		w.stats.Refused++
		w.mu.Unlock()
		return ErrFull
	}
	w.awaitRoom()
	rec := appendIntent(begin(w.rec, typeIntent), in)
	if len(rec) > moneyMax {
		rec = w.shorten(typeIntent, in, nil)
	}
	w.rec = rec
	err := w.write(rec, in.Price, price)
	w.mu.Unlock()
	return err
}

// Progress writes down how many tokens a stream has produced so far.
func (w *Writer) Progress(id [16]byte, attempt, output int64) error {
	w.mu.Lock()
	w.awaitRoom()
	rec := putText(begin(w.rec, typeProgress), fRequest, id[:])
	rec = putInt(rec, fAttempt, attempt)
	rec = putInt(rec, fOutput, output)
	w.rec = rec
	err := w.write(rec, 0, nil)
	w.mu.Unlock()
	return err
}

// Settle writes down how an attempt ended. With SyncAlways it returns when that
// is on the disk. ErrLost: it could be written nowhere.
func (w *Writer) Settle(id [16]byte, attempt int64, s *bill.Settle) error {
	w.mu.Lock()
	w.awaitRoom()
	rec := putText(begin(w.rec, typeSettle), fRequest, id[:])
	rec = putInt(rec, fAttempt, attempt)
	head := len(rec)
	if rec = appendSettle(rec, s); len(rec) > moneyMax {
		cut := cutSettle(*s)
		rec = appendSettle(rec[:head], &cut)
		w.markCut(rec)
	}
	w.rec = rec
	err := w.write(rec, 0, nil)
	if err == nil && w.c.Sync == SyncAlways {
		err = w.await(w.sequence)
	}
	w.mu.Unlock()
	return err
}

// Reject writes down a request that was refused before any provider was called.
// It costs nothing, so that it is left out when the journal is full: ErrFull.
func (w *Writer) Reject(in *bill.Intent, s *bill.Settle) error {
	w.mu.Lock()
	if w.full.Load() {
		w.mu.Unlock()
		return ErrFull
	}
	w.awaitRoom()
	rec := appendSettle(appendIntent(begin(w.rec, typeReject), in), s)
	if len(rec) > moneyMax {
		rec = w.shorten(typeReject, in, s)
	}
	w.rec = rec
	err := w.write(rec, 0, nil)
	w.mu.Unlock()
	return err
}

// shorten encodes a record that is too long once more, cut.
func (w *Writer) shorten(kind byte, in *bill.Intent, s *bill.Settle) []byte {
	var settle []byte
	if s != nil {
		cut := cutSettle(*s)
		settle = appendSettle(nil, &cut)
	}
	cut, _ := cutIntent(nil, *in, len(settle))
	rec := append(appendIntent(begin(w.rec, kind), &cut), settle...)
	w.markCut(rec)
	return rec
}

func (w *Writer) markCut(rec []byte) {
	rec[14] |= flagCut
	w.stats.Cut++
}

// Body keeps a request and its answer, each a JSON text or nil. What cannot be
// kept at once is dropped and counted.
func (w *Writer) Body(id [16]byte, attempt int64, messages, response, metadata []byte) {
	w.bodies.add(id, attempt, messages, response, metadata)
}

// Full reports whether intents are refused at present. It is cheap.
func (w *Writer) Full() bool { return w.full.Load() }

// Stats are the figures so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	s := w.stats
	s.Unshipped, s.Bound, s.Full = w.unshipped+w.since, w.bound, w.full.Load()
	w.mu.Unlock()
	s.Bodies, s.BodiesLost = w.bodies.figures()
	return s
}

// Close finishes the segment. Nothing can be written afterwards.
func (w *Writer) Close() error {
	w.queue.drain(w)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.keeping.Wait()
	w.flushing.Wait()
	w.bodies.close()
	w.mu.Lock()
	w.end(true)
	w.mu.Unlock()
	err := w.flush()
	for _, p := range w.ended { // what a flush that failed has left
		err = cmp.Or(err, p.finish())
	}
	if err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// path is where a segment of dir stands.
func (id *ident) path(dir string) string { return filepath.Join(dir, id.name()) }
