package auth

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"sluice/proxy/identity"
)

// Snapshot is the host's sealed memory of what the database said: a file that
// all workers append to, so that one that starts while the database is away
// knows the keys that were in use. It is safe for concurrent use, by several
// processes too.
type Snapshot struct {
	path string
	most int64
	log  *slog.Logger
	held chan struct{} // nil, or closed once frames may be written

	mu    sync.Mutex // guards what follows
	seal  sealer
	file  *os.File // open for appending; nil until the first write
	lock  *os.File // its flock: shared to append, exclusive to replace the file
	index *index   // nil until something is looked up
	told  bool     // that the file is not ours
	after int64    // size at which the file is compacted next
}

// SnapshotFile is the name of the file in the state directory.
const SnapshotFile = "identity.snapshot"

const (
	snapshotMost = 256 << 20      // bytes of the file
	snapshotAge  = 24 * time.Hour // older frames are not used
	compactFrom  = 16 << 20       // smaller files are left alone
)

// OpenSnapshot uses the file at path, which need not exist. The first key seals
// it, all of them open it. The error is about the folder; a file that is not
// ours is said once and replaced.
func OpenSnapshot(path string, keys [][32]byte, log *slog.Logger) (*Snapshot, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	seal, err := newSealer(keys)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Clean(path+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the key snapshot: %w", err)
	}
	return &Snapshot{path: filepath.Clean(path), seal: seal, most: snapshotMost, log: log, lock: lock, after: compactFrom}, nil
}

// Hold has writers wait until Release: it is not known yet whether the key is
// the right one. It is called before anybody writes.
func (s *Snapshot) Hold() { s.held = make(chan struct{}) }

// Release lets writers go on. It is called once after Hold.
func (s *Snapshot) Release() { close(s.held) }

// Close closes the files.
func (s *Snapshot) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	s.forget()
	_ = s.lock.Close()
}

// first is the frame that a file of ours begins with.
func first() frame {
	return frame{kind: frameContact, id: sha256.Sum256([]byte("sluice identity snapshot 1"))}
}

// ours reports whether a file begins as ours do, sealed with our key.
func (s *Snapshot) ours(head []byte) bool {
	f, ok := frameAt(head, 0)
	want := first()
	if !ok || f.kind != want.kind || f.id != want.id {
		return false
	}
	_, err := s.seal.open(&f)
	return err == nil
}

const firstSize = frameHead + frameFixed + 12 + 16 // with nonce and tag of an empty value

// append writes frames behind the file, in one write.
func (s *Snapshot) append(frames []frame) error {
	if len(frames) == 0 {
		return nil
	}
	if s.held != nil {
		<-s.held
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch []byte
	now := time.Now()
	for i := range frames {
		var err error
		if batch, err = s.seal.append(batch, &frames[i], now); err != nil {
			return fmt.Errorf("seal for the key snapshot: %w", err)
		}
	}
	if err := s.locked(syscall.LOCK_SH); err != nil {
		return err
	}
	size, err := s.current()
	if err == nil {
		_, err = s.file.Write(batch)
	}
	if unlock := s.locked(syscall.LOCK_UN); err == nil {
		err = unlock
	}
	if err != nil {
		return fmt.Errorf("write the key snapshot: %w", err)
	}
	if size+int64(len(batch)) > s.after {
		return s.compact()
	}
	return nil
}

func (s *Snapshot) locked(how int) error {
	for {
		err := syscall.Flock(int(s.lock.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// current makes s.file the file that the path names now, and begins a new one
// where there is none or where it is not ours. It returns its size.
func (s *Snapshot) current() (int64, error) {
	if s.file != nil {
		here, err := s.file.Stat()
		if err != nil {
			return 0, err
		}
		if there, err := os.Stat(s.path); err == nil && os.SameFile(here, there) {
			return here.Size(), nil
		}
		_ = s.file.Close()
		s.file = nil
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	here, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return 0, err
	}
	s.file = f
	// A file that this process has not seen before was compacted just now, as
	// far as anybody knows.
	s.after = min(max(compactFrom, 2*here.Size()), s.most)
	return here.Size(), nil
}

// begin puts a new file at the path unless one of ours is there. Two processes
// that do so at once make two files, and the later one stays.
func (s *Snapshot) begin() error {
	head := make([]byte, firstSize)
	f, err := os.Open(s.path)
	if err == nil {
		n, _ := io.ReadFull(f, head)
		_ = f.Close()
		if s.ours(head[:n]) {
			return nil
		}
		s.foreign()
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.replace(func(w io.Writer) error { return s.write(w, first(), time.Now()) })
}

// write writes one frame.
func (s *Snapshot) write(w io.Writer, f frame, now time.Time) error {
	b, err := s.seal.append(nil, &f, now)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// replace puts a file with what fill writes at the path.
func (s *Snapshot) replace(fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(s.path), ".snapshot-") // made with mode 0600
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 256<<10)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// foreign says once that the file cannot be used.
func (s *Snapshot) foreign() {
	if !s.told {
		s.told = true
		s.log.Warn("the key snapshot is not used: it was not written here, or under another salt key", slog.String("file", s.path))
	}
}

// Changed notes that an object has changed, by the number of the change: what
// the file says of it from before is not used any more.
func (s *Snapshot) Changed(number int64, kind identity.Kind, id string) error {
	return s.append([]frame{changedFrame(number, kind, id)})
}

// Number is that of the newest change which was noted; 0 for none.
func (s *Snapshot) Number() (newest int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.read()
	if err != nil {
		return 0
	}
	for _, c := range x.changes {
		newest = max(newest, c.number)
	}
	return newest
}

// importID stands for all objects: a batch of an import changes a thousand of
// them, of which the record of changes has but a digest.
var importID = objectID(identity.KindImport, "")

func changedFrame(number int64, kind identity.Kind, id string) frame {
	if kind == identity.KindImport {
		id = ""
	}
	return frame{kind: frameChanged, id: objectID(kind, id), value: binary.LittleEndian.AppendUint64(nil, uint64(number))}
}

// Put keeps bytes under a name, in place of those that were kept before.
func (s *Snapshot) Put(name string, value []byte) error {
	if len(value) > maxFrame/2 {
		return fmt.Errorf("%d bytes are too many for the key snapshot", len(value))
	}
	return s.append([]frame{{kind: frameNamed, id: objectID(0, name), value: value}})
}

// Get returns what was kept under a name; ok is false where nothing was.
func (s *Snapshot) Get(name string) (value []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.read()
	if err != nil {
		return nil, false
	}
	return x.value(frameNamed, objectID(0, name))
}

// stored is what a snapshot knows of a digest.
type stored struct {
	found   *identity.Resolved
	at      time.Time // when the database said so
	gone    bool      // that there is no such key any more
	number  int64     // of the newest change of the key
	changes func(kind identity.Kind, id string) int64
}

// lookup finds a digest and everything that its key refers to.
func (s *Snapshot) lookup(digest *[32]byte) (out stored, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.read()
	if err != nil {
		return out, false
	}
	out.changes = func(kind identity.Kind, id string) int64 { return x.changes[objectID(kind, id)].number }
	place, ok := x.places[frameID{frameKey, *digest}]
	if !ok || time.Since(time.Unix(0, place.at)) > snapshotAge {
		return out, false
	}
	if place.at <= x.changes[importID].at { // it may be another key since
		return out, false
	}
	out.at = time.Unix(0, place.at)
	if place.gone {
		out.gone = true
		return out, true
	}
	raw, ok := x.value(frameKey, *digest)
	var k savedKey
	if !ok || json.Unmarshal(raw, &k) != nil || k.Key == nil {
		return out, false
	}
	out.found = x.related(k.Key)
	if k.Retired != nil {
		out.found.Retired = []*identity.RetiredKey{k.Retired}
		out.number = x.changes[objectID(identity.KindRetiredKey, k.Retired.Token)].number
		if out.number <= k.Retired.ChangeNumber {
			out.number = 0
		}
	}
	out.number = max(out.number, x.changes[objectID(identity.KindKey, k.Key.Token)].number)
	return out, true
}

// Forget frees what was read for lookups.
func (s *Snapshot) Forget() {
	s.mu.Lock()
	s.forget()
	s.mu.Unlock()
}

func (s *Snapshot) forget() {
	if s.index != nil {
		_ = s.index.file.Close()
		s.index = nil
	}
}
