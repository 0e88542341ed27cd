package journal

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of bodies.
const (
	bodiesMost  = 256 << 20 // bytes of all body segments of a host, unless it is configured
	bodyQueue   = 16 << 20  // bytes that wait to be written
	bodyWaiting = 256       // records that wait
)

// bodies keeps requests and answers, as far as that costs nobody any time: what
// is kept is copied and written by a goroutine of its own, with a file, a lock
// and a bound of its own.
type bodies struct {
	w     *Writer
	bound int64
	queue chan []byte
	done  sync.WaitGroup

	mu            sync.Mutex // guards what follows
	waiting       int64      // bytes in queue
	closed        bool
	written, lost int64

	// Of the goroutine alone.
	file   *os.File
	id     ident
	number int64 // of the segment
	count  int64 // of records
	end    int64
	looked time.Time
	used   int64 // bytes of body segments when last looked, and written since
}

func newBodies(w *Writer) *bodies {
	b := &bodies{w: w, bound: w.c.BodyBound, queue: make(chan []byte, bodyWaiting)}
	if b.bound == 0 {
		b.bound = min(bodiesMost, w.bound/4)
	}
	b.done.Go(b.run)
	return b
}

// add copies what is to be kept, or drops and counts it.
func (b *bodies) add(id [16]byte, attempt int64, messages, response, metadata []byte) {
	size := headSize + len(messages) + len(response) + len(metadata) + 64
	b.mu.Lock()
	fits := b.bound > 0 && !b.closed && size <= bodyMax && b.waiting+int64(size) <= bodyQueue && len(b.queue) < bodyWaiting
	if fits {
		b.waiting += int64(size)
	} else {
		b.lost++
	}
	b.mu.Unlock()
	if !fits {
		return
	}
	rec := begin(make([]byte, 0, size), typeBody)
	rec = putText(rec, fRequest, id[:])
	rec = putInt(rec, fAttempt, attempt)
	rec = putText(rec, fMessages, messages)
	rec = putText(rec, fResponse, response)
	rec = putText(rec, fExtra, metadata)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting += int64(len(rec) - size)
	if !b.closed {
		select {
		case b.queue <- rec:
			return
		default:
		}
	}
	b.lost++
	b.waiting -= int64(len(rec))
}

func (b *bodies) figures() (written, lost int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written, b.lost
}

// close writes what waits.
func (b *bodies) close() {
	b.mu.Lock()
	b.closed = true
	close(b.queue)
	b.mu.Unlock()
	b.done.Wait()
}

func (b *bodies) run() {
	for rec := range b.queue {
		ok := b.write(rec)
		b.mu.Lock()
		b.waiting -= int64(len(rec))
		if ok {
			b.written++
		} else {
			b.lost++
		}
		b.mu.Unlock()
	}
	b.finish()
}

// write appends a record; it is not kept where the disk or the bound says no.
func (b *bodies) write(rec []byte) bool {
	if now := time.Now(); now.Sub(b.looked) > lookEvery {
		b.looked, b.used = now, b.size()
	}
	n := int64(padded(len(rec)))
	if b.used+n > b.bound || b.w.Full() {
		return false
	}
	if b.file != nil && b.end+n+finishSize > b.w.sizes.segment && b.end > Start {
		b.finish()
	}
	if b.file == nil && !b.make() {
		return false
	}
	b.count++
	seal(rec, b.id.mark, uint64(b.count))
	if _, err := b.file.WriteAt(append(rec, make([]byte, int(n)-len(rec))...), b.end); err != nil || !b.commit(b.end+n) {
		b.drop()
		return false
	}
	b.end += n
	b.used += n
	return true
}

// commit tells readers where the records end.
func (b *bodies) commit(end int64) bool {
	var page [8]byte
	le.PutUint64(page[:], checked(end))
	_, err := b.file.WriteAt(page[:], wordCommitted)
	return err == nil
}

// make begins a body segment. It is not preallocated.
func (b *bodies) make() bool {
	b.number++
	b.id = b.w.ident
	b.id.body, b.id.number, b.id.created, b.id.mark = true, b.number, b.w.c.Now().UnixNano(), newMark()
	path := b.id.path(b.w.c.Dir)
	page := make([]byte, Start)
	b.id.put(page)
	if err := os.WriteFile(path+suffixNew, page, 0o600); err != nil {
		_ = os.Remove(path + suffixNew)
		return false
	}
	f, err := os.OpenFile(path+suffixNew, os.O_RDWR, 0)
	if err == nil {
		hold(f) // before it can be listed: nobody's, and empty, it would go
		err = os.Rename(path+suffixNew, path)
	}
	if err != nil {
		_ = os.Remove(path + suffixNew)
		return false
	}
	b.file, b.end = f, Start
	return true
}

// finish ends the body segment.
func (b *bodies) finish() {
	if b.file == nil {
		return
	}
	rec := begin(nil, typeFinish)
	b.count++
	seal(rec, b.id.mark, uint64(b.count))
	rec = append(rec, make([]byte, padded(len(rec))-len(rec))...)
	if _, err := b.file.WriteAt(rec, b.end); err == nil && b.commit(b.end+int64(len(rec))) {
		_, _ = b.file.WriteAt([]byte{stateFinished}, wordState) // else who reads it asks the host table
	}
	b.drop()
}

// drop lets go of the file.
func (b *bodies) drop() {
	if err := b.file.Close(); err != nil {
		b.w.c.Log.Warn("a body segment could not be closed", slog.Any("error", err))
	}
	b.file = nil
}

// size adds up the body segments of the directory.
func (b *bodies) size() (bytes int64) {
	entries, err := os.ReadDir(b.w.c.Dir)
	if err != nil {
		return b.bound
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffixBody) {
			continue
		}
		if info, err := os.Lstat(filepath.Join(b.w.c.Dir, e.Name())); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
