package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Attempts to write a record, each in another segment than the one before.
const tries = 3

// write appends rec, behind the document of its price where the segment does not
// hold it. A segment that fails is left for another one. w.mu is held, since rec
// was made: it stands in memory of the writer.
func (w *Writer) write(rec []byte, version int64, price Price) error {
	if w.closed {
		return ErrClosed
	}
	if w.queue.add(rec) {
		return nil
	}
	var err error
	for range tries {
		doc := w.document(version, price)
		if w.cur == nil || !w.cur.fits(padded(len(rec))+padded(len(doc))) {
			if err = w.turn(); err != nil {
				break
			}
			doc = w.document(version, price)
		}
		if err = w.put(rec, doc, version); err == nil {
			return nil
		}
		w.leave(w.cur, err)
	}
	w.stats.Lost++
	w.ail(err)
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// put appends rec, behind doc where that is not empty. The segment has room.
func (w *Writer) put(rec, doc []byte, version int64) error {
	if len(doc) > 0 {
		if err := w.append(doc); err != nil {
			return err
		}
		w.prices[version] = struct{}{}
	}
	return w.append(rec)
}

// document is the record of a price that the segment does not hold yet, nil
// where there is none to write.
func (w *Writer) document(version int64, price Price) []byte {
	if version == 0 || price == nil {
		return nil
	}
	if _, ok := w.prices[version]; ok {
		return nil
	}
	w.doc = putText(putInt(begin(w.doc, typePrice), fVersion, version), fDocument, price.Document())
	if len(w.doc) > recordMax/2 {
		w.stats.Cut++
		w.prices[version] = struct{}{}
		return nil
	}
	return w.doc
}

// append seals rec and appends it to the present segment, which has room.
func (w *Writer) append(rec []byte) error {
	seal(rec, w.cur.mark, w.sequence+1)
	if err := w.cur.append(rec); err != nil {
		return err
	}
	w.sequence++
	n := int64(padded(len(rec)))
	w.stats.Records++
	w.stats.Bytes += n
	w.since += n
	if w.unshipped+w.since >= w.bound && !w.full.Load() {
		w.wake(w.wakeKeeper) // who looks, and says so
		w.full.Store(true)
	}
	if w.cur.end > w.cur.size/2 && !w.asked {
		w.asked = true
		w.wake(w.wakeKeeper)
	}
	if w.c.Sync != SyncNone {
		w.tail = append(w.tail, rec...)
		w.tail = append(w.tail, make([]byte, padded(len(rec))-len(rec))...)
		if !w.dirty {
			w.dirty = true
			w.wake(w.wakeFlush)
		}
	}
	return nil
}

// wake tells a goroutine that there is something to do.
func (w *Writer) wake(who chan struct{}) {
	select {
	case who <- struct{}{}:
	default:
	}
}

// turn goes on in another segment: one that was prepared, a new one, or one of
// the reserve. Its name appears when the present one has got its last record but
// for the one that ends it. An error leaves the present one.
func (w *Writer) turn() error {
	id, dirs := w.nextIdent(), w.order()
	p, err := w.prepared(id, dirs[0])
	if err != nil {
		p, err = w.make(id, dirs)
	}
	if noSpace(err) {
		p, err = w.reserved(id, err)
	}
	if err != nil {
		return err
	}
	w.stats.Segments++
	w.end(false)
	w.cur, w.asked = p, false
	clear(w.prices)
	return nil
}

// end ends the present segment. last says that none follows.
func (w *Writer) end(last bool) {
	p := w.cur
	if w.cur = nil; p == nil {
		return
	}
	if p.records > 0 && !p.broken {
		rec := putBool(begin(w.doc, typeFinish), fLast, last)
		w.doc = rec
		seal(rec, p.mark, w.sequence+1)
		if p.append(rec) == nil {
			w.sequence++
			w.since += finishSize
		}
	}
	w.ended = append(w.ended, p)
	w.wake(w.wakeFlush)
}

// leave gives up a segment that failed. What it holds stays readable as far as
// the kernel still has it; nothing is synced there again.
func (w *Writer) leave(p *pages, err error) {
	if p.broken {
		return
	}
	p.broken = true
	w.stats.Moved++
	w.failed[filepath.Dir(p.path)] = w.c.Now()
	w.c.Log.Error("a journal segment failed; going on in another one", slog.String("segment", p.path), slog.Any("error", err))
	if w.cur == p {
		w.cur = nil
		w.ended = append(w.ended, p)
		w.wake(w.wakeFlush)
	}
}

// ail notes that nothing can be written at present.
func (w *Writer) ail(err error) {
	if !w.sick {
		w.c.Log.Error("the journal cannot be written; billable requests get 503 until it can", slog.Any("error", err))
	}
	w.sick = true
	w.full.Store(true)
}

// nextIdent is that of the segment to be made now.
func (w *Writer) nextIdent() ident {
	w.number++
	id := w.ident
	id.number, id.created, id.mark = w.number, w.c.Now().UnixNano(), newMark()
	return id
}

// newMark is a random number that is not 0.
func newMark() uint32 {
	for {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		if mark := le.Uint32(b[:]); mark != 0 {
			return mark
		}
	}
}

// order is the directories in which a segment is to be made, the first one to be
// tried first: one that failed in the last minute comes last.
func (w *Writer) order() []string {
	dirs := w.dirs()
	if len(dirs) > 1 && w.c.Now().Sub(w.failed[dirs[0]]) < time.Minute {
		dirs[0], dirs[1] = dirs[1], dirs[0]
	}
	return dirs
}

// prepared makes a segment of the file that the keeper has made for that.
func (w *Writer) prepared(id ident, dir string) (*pages, error) {
	if dir != w.c.Dir {
		return nil, fs.ErrNotExist
	}
	return w.place(id.path(dir), id, func(path string) error { return os.Rename(sparePath(dir, w.c.Slot), path) })
}

// make makes a segment in the first of the directories that allows it.
func (w *Writer) make(id ident, dirs []string) (p *pages, err error) {
	var errs []error
	for _, dir := range dirs {
		p, err := w.place(id.path(dir), id, func(path string) error { return create(path, w.sizes.segment) })
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// reserved makes a segment of a file of the reserve, because of an error. From
// then on intents are refused until the reserve is whole again.
func (w *Writer) reserved(id ident, because error) (*pages, error) {
	for k := range w.sizes.reserve {
		p, err := w.place(id.path(w.c.Dir), id, func(path string) error { return os.Rename(reservePath(w.c.Dir, k), path) })
		if err == nil {
			w.full.Store(true)
			w.wake(w.wakeKeeper)
			return p, nil
		}
	}
	return nil, because
}

// place has a file of zeros made under a name of its own, makes it a segment and
// moves it to path, so that a reader never sees one without a header.
func (w *Writer) place(path string, id ident, file func(path string) error) (*pages, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s is there already", path)
	}
	made := path + suffixNew
	if err := file(made); err != nil {
		return nil, err
	}
	p, err := openPages(made, path, id, !w.c.unmapped)
	if err != nil {
		_ = os.Remove(made)
		return nil, err
	}
	if err := os.Rename(made, path); err != nil {
		p.unmap()
		_ = p.file.Close() // it goes
		_ = os.Remove(made)
		return nil, err
	}
	return p, nil
}

// create makes a preallocated file.
func create(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = preallocate(f, size)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// SyncDir makes the names of a directory survive a power cut.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	_ = f.Close() // nothing was written
	return err
}

// Endings of files that are no segments yet.
const (
	suffixNew     = ".new"
	suffixReserve = ".pre"
)

func reservePath(dir string, k int) string {
	return filepath.Join(dir, "reserve-"+strconv.Itoa(k)+suffixReserve)
}

func sparePath(dir string, slot int) string {
	return filepath.Join(dir, "spare-"+strconv.Itoa(slot)+suffixReserve)
}

// noSpace reports whether a file could not be made for want of space.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
