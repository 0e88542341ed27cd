package journal

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// tailMost is how many bytes may wait for an fdatasync; writers wait beyond.
const tailMost = 1 << 20

// awaitRoom waits while too much waits for the disk. Others write meanwhile, so
// that nothing may stand in the memory in which records are made.
func (w *Writer) awaitRoom() {
	for len(w.tail) > tailMost && !w.closed {
		w.wake(w.urgent)
		w.flushed.Wait()
	}
}

// await waits until the record of that number is on the disk.
func (w *Writer) await(sequence uint64) error {
	for {
		switch { // lost first: later records may be on the disk by the time that this one is told
		case w.lostFrom < sequence && sequence <= w.lostTo:
			return fmt.Errorf("%w: it did not reach the disk", ErrLost)
		case w.synced >= sequence:
			return nil
		}
		w.wake(w.urgent)
		w.flushed.Wait()
	}
}

// flushLoop finishes segments that were left, and in the modes that care brings
// what is written to the disk: at once when a settlement waits for it, otherwise
// 10 ms later.
func (w *Writer) flushLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.urgent:
		case <-w.wakeFlush:
			select {
			case <-ctx.Done():
				return
			case <-w.urgent:
			case <-time.After(syncEvery):
			}
		}
		_ = w.flush() // told in the log, and to who waits
	}
}

// flush brings everything written so far to the disk. A file whose fdatasync
// fails is never synced again: the kernel has dropped what it could not write
// and says so once only. What was not synced goes to another segment.
func (w *Writer) flush() error {
	for try := 1; ; try++ {
		w.mu.Lock()
		cur, ended, target := w.cur, w.ended, w.sequence
		w.ended, w.dirty = nil, false
		w.unsynced = append(w.unsynced, w.tail...)
		w.tail = w.tail[:0]
		w.mu.Unlock()

		bad, err := w.syncAll(ended, cur, target)

		w.mu.Lock()
		if err == nil {
			w.unsynced = w.unsynced[:0]
			w.synced = max(w.synced, target)
			if w.cur != nil {
				w.well()
			}
			w.flushed.Broadcast()
			w.mu.Unlock()
			return nil
		}
		w.leave(bad, err)
		// What was written meanwhile may stand in that one too.
		w.unsynced, w.tail, target = append(w.unsynced, w.tail...), w.tail[:0], w.sequence
		if try < tries && len(w.unsynced) > 0 {
			if againErr := w.again(); againErr == nil {
				w.mu.Unlock()
				continue
			}
		}
		w.unsynced = w.unsynced[:0]
		w.lostFrom, w.lostTo = w.synced, target
		w.ail(err)
		w.flushed.Broadcast()
		w.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
}

// syncAll syncs and finishes segments that were left, then syncs the present
// one. It gives the segment that failed.
func (w *Writer) syncAll(ended []*pages, cur *pages, target uint64) (bad *pages, err error) {
	for _, p := range ended {
		if !p.broken && p.records > 0 {
			if syncErr := w.sync(p); syncErr != nil {
				bad, err = p, syncErr
				if w.c.Sync == SyncNone {
					w.keepFrom(p)
				}
			}
		}
		if finishErr := p.finish(); finishErr != nil && !p.broken {
			w.c.Log.Warn("a journal segment could not be trimmed", slog.String("segment", p.path), slog.Any("error", finishErr))
		}
	}
	if err == nil && cur != nil && w.c.Sync != SyncNone && target > w.synced {
		if syncErr := w.sync(cur); syncErr != nil {
			bad, err = cur, syncErr
		}
	}
	return bad, err
}

// sync is one counted fdatasync.
func (w *Writer) sync(p *pages) error {
	err := w.c.syncFile(p)
	if err == nil && !p.named && w.c.Sync != SyncNone {
		err = SyncDir(filepath.Dir(p.path))
		p.named = err == nil
	}
	w.mu.Lock()
	w.stats.Syncs++
	if err != nil {
		w.stats.SyncErrors++
	}
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	return nil
}

// keepFrom takes the records of a finished segment that could not be synced from
// the page cache, where nothing was remembered beside it.
func (w *Writer) keepFrom(p *pages) {
	r := reader{file: p.file, mark: p.mark, most: recordMax, ahead: readAhead}
	for off := int64(Start); off < p.end; {
		rec, err := r.record(off)
		if err != nil || rec == nil {
			return
		}
		off += int64(padded(len(rec)))
		if rec[12] == typeFinish {
			return
		}
		w.unsynced = append(w.unsynced, rec...)
		w.unsynced = append(w.unsynced, make([]byte, padded(len(rec))-len(rec))...)
	}
}

// again writes what was not synced once more. Readers pass over what they have
// seen already: every record says which attempt it is about.
func (w *Writer) again() error {
	for at := 0; at < len(w.unsynced); {
		size := int(le.Uint32(w.unsynced[at:]))
		rec := w.unsynced[at : at+size]
		at += padded(size)
		if w.cur == nil || !w.cur.fits(padded(size)) {
			if err := w.turn(); err != nil {
				return err
			}
		}
		seal(rec, w.cur.mark, le.Uint64(rec[16:]))
		if err := w.cur.append(rec); err != nil {
			w.leave(w.cur, err)
			return err
		}
		w.since += int64(padded(size))
	}
	return nil
}
