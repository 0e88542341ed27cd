package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes, in bytes.
const (
	segmentMost  = 8 << 20
	segmentLeast = 256 << 10
	boundMost    = 8 << 30
	reserveMost  = 64 << 20
)

// sizes are chosen once, from the bound and the file system.
type sizes struct {
	segment int64
	reserve int // segments that are kept for the settlements of running requests
}

// sizesOf scales segments and reserve to what there is: a journal of 10 MiB for
// four workers cannot have segments of 8 MiB.
func sizesOf(dir string, bound int64) (sizes, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return sizes{}, fmt.Errorf("%w %s: its file system tells nothing: %w", ErrDirectory, dir, err)
	}
	total := int64(fs.Blocks) * fs.Bsize
	if bound <= 0 {
		bound = min(boundMost, total*6/10)
	}
	s := sizes{segment: segmentLeast}
	for s.segment < segmentMost && s.segment*2 <= bound/64 {
		s.segment *= 2
	}
	s.reserve = int(max(min(reserveMost, bound/4, total/16)/s.segment, 1))
	return s, nil
}

// free is the room of a file system, in bytes.
func free(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}

// keep makes the next segment in time, the reserve whole again, and sees whether
// intents are to be refused.
func (w *Writer) keep(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.queue.drain(w)
			w.recover()
			w.look()
		case <-w.wakeKeeper:
			w.look()
		}
		w.prepare()
	}
}

// prepare has a file ready once the present segment is half full, for whoever of
// the slot needs it next.
func (w *Writer) prepare() {
	w.mu.Lock()
	needed := w.cur != nil && w.cur.end > w.cur.size/2 && !w.closed
	w.mu.Unlock()
	if needed {
		_ = w.stock(sparePath(w.c.Dir, w.c.Slot)) // turn tries again, and says so
	}
}

// stock makes a preallocated file, unless it is there.
func (w *Writer) stock(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	made := fmt.Sprintf("%s.%d-%d%s", path, w.c.Slot, w.c.Generation, suffixNew)
	err := create(made, w.sizes.segment)
	if err != nil {
		return err
	}
	// Another worker may have made it meanwhile: that is as well.
	if err = os.Link(made, path); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	_ = os.Remove(made) // it is linked, or not needed
	return err
}

// recover tries to write again after nothing could be written.
func (w *Writer) recover() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = false
	if w.closed || !w.sick && w.cur != nil {
		return
	}
	if w.cur == nil {
		if err := w.turn(); err != nil {
			w.ail(err)
			return
		}
	}
	if w.c.Sync != SyncNone {
		w.wake(w.wakeFlush) // which says whether it works
		return
	}
	w.well()
}

// well notes that records can be written again. w.mu is held.
func (w *Writer) well() {
	if w.sick {
		w.sick = false
		w.c.Log.Info("the journal can be written again")
	}
}

// known is what is remembered of a segment that does not change any more.
type known struct {
	size int64
	done bool // finished and shipped, or not ours
}

// look counts what waits for the database, fills the reserve and decides
// whether intents are refused.
func (w *Writer) look() {
	waiting, own := w.count()
	w.mu.Lock()
	since := w.since
	w.mu.Unlock()
	complete := w.refill()
	room := free(w.c.Dir)
	bound := w.c.Bound
	if bound <= 0 {
		bound = min(boundMost, (room+own)/10*6)
	}
	w.mu.Lock()
	w.unshipped, w.bound = waiting, bound
	w.since -= since // what was written while counting may be counted twice
	w.stats.Free = room
	was := w.full.Load() && w.cur != nil
	// A little room first, so that it does not come and go with each row.
	atBound := waiting >= bound || was && waiting >= bound/16*15
	full := w.sick || atBound || !complete
	w.full.Store(full)
	told := w.toldFull
	w.toldFull = full
	w.mu.Unlock()
	switch {
	case full && !told:
		w.c.Log.Error("the journal is full: billable requests get 503 until the database has taken rows or the disk has room",
			slog.Int64("waiting_bytes", waiting), slog.Int64("bound_bytes", bound), slog.Int64("free_bytes", room), slog.Bool("disk_full", !complete))
	case !full && told:
		w.c.Log.Info("the journal has room again", slog.Int64("waiting_bytes", waiting), slog.Int64("free_bytes", room))
	}
}

// count adds up what waits in the segments of this host, and the space that the
// journal takes.
func (w *Writer) count() (waiting, own int64) {
	seen := make(map[string]known, len(w.known))
	for _, dir := range w.dirs() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // what is known of it is forgotten: it is away
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if strings.HasSuffix(e.Name(), suffixNew) {
				w.sweep(path)
			}
			if strings.HasSuffix(e.Name(), suffixReserve) {
				own += w.sizes.segment
			}
			if !strings.HasSuffix(e.Name(), suffixMoney) {
				continue
			}
			k, ok := w.known[path]
			if !ok || !k.done {
				s := Segment{Path: path}
				switch err := s.look(); {
				case errors.Is(err, fs.ErrNotExist):
					continue
				case err != nil || s.Host != w.c.Host: // nobody ships it; the ledger says so
					k = known{done: err == nil || s.Problem != nil, size: s.Size}
				default:
					k = known{size: s.Size, done: s.Finished && s.Unshipped() == 0}
					waiting += s.Unshipped()
				}
			}
			own += k.size
			seen[path] = k
		}
	}
	w.known = seen
	return waiting, own
}

// sweep removes what a process that died left of a segment it was making.
func (w *Writer) sweep(path string) {
	if info, err := os.Lstat(path); err == nil && w.c.Now().Sub(info.ModTime()) > 10*time.Minute {
		_ = os.Remove(path) // tried again later
	}
}

// refill makes what is missing of the reserve. It reports whether that is whole.
func (w *Writer) refill() bool {
	for k := range w.sizes.reserve {
		if w.stock(reservePath(w.c.Dir, k)) != nil {
			return false
		}
	}
	return true
}
