package journal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventually waits for something that a goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s still not: %s", what)
		}
	}
}

// tmpfs is a file system of that size, in memory; "" where this process may not
// mount.
func tmpfs(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("journal", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Logf("no file system can be mounted here (%v): nothing is shown", err)
		return ""
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// ext4 is a file system of 16 MiB in a file, and what mounts it again after it
// was shut down; nil where this process may not mount.
func ext4(t testing.TB) (dir string, again func()) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 16<<20))
	mount := func() error {
		out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-m", "0", image).CombinedOutput()
	if err == nil {
		err = mount()
	}
	if err != nil {
		t.Logf("no file system can be mounted here (%v, %s): nothing is shown", err, out)
		return "", nil
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, func() {
		t.Helper()
		must(t, unix.Unmount(dir, 0))
		must(t, mount())
	}
}

// powerCut takes everything from an ext4 that is not on its disk yet, its log
// included, and fails every call from then on: EXT4_IOC_SHUTDOWN with
// EXT4_GOING_FLAGS_NOLOGFLUSH.
func powerCut(t testing.TB, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 2))
}

// fill takes all the room of a file system; the result gives it back.
func fill(t testing.TB, dir string) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	must(t, err)
	b := make([]byte, 64<<10)
	for {
		if _, err = f.Write(b); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close()
	return func() { must(t, os.Remove(path)) }
}

// TestDiskFull: on a file system that is full, intents are refused in time, all
// requests that run can settle, nothing that was acknowledged is lost, and when
// there is room again service goes on by itself.
func TestDiskFull(t *testing.T) {
	loop, _ := ext4(t)
	for name, dir := range map[string]string{"tmpfs": tmpfs(t, "16m"), "ext4": loop} {
		if dir == "" {
			continue
		}
		t.Run(name, func(t *testing.T) { diskFull(t, dir) })
	}
}

func diskFull(t *testing.T, dir string) {
	c := config(t)
	c.Dir, c.Bound = filepath.Join(dir, "journal"), 0
	w := open(t, c)
	release := fill(t, dir)
	n, settled := 0, 0
	const running = 500
	for ; ; n++ {
		err := w.Intent(intent(n), priced)
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		if n >= running {
			must(t, w.Settle(id(settled), 0, settle(settled)))
			settled++
		}
	}
	if n <= running || !w.Full() {
		t.Fatalf("refused after %d intents, full: %v", n, w.Full())
	}
	for ; settled < n; settled++ {
		if err := w.Settle(id(settled), 0, settle(settled)); err != nil {
			t.Fatalf("%d of %d running requests could not settle: %v", n-settled, running, err)
		}
	}
	release()
	eventually(t, "intents are taken again", func() bool { return !w.Full() })
	must(t, w.Intent(intent(n), priced))
	must(t, w.Settle(id(n), 0, settle(n)))
	must(t, w.Close())
	records := read(t, c.Dir)
	if got := only[*Settle](records); len(got) != n+1 || len(only[*Intent](records)) != n+1 || len(only[*Damaged](records)) > 0 {
		t.Errorf("%d settlements of %d were read", len(got), n+1)
	}
	if s := w.Stats(); s.Lost != 0 || s.Refused == 0 {
		t.Errorf("figures are %+v", s)
	}
}

// TestStartsFull: a full disk does not keep a worker from starting.
func TestStartsFull(t *testing.T) {
	dir := tmpfs(t, "4m")
	if dir == "" {
		return
	}
	release := fill(t, dir)
	c := config(t)
	c.Dir = filepath.Join(dir, "journal")
	w := open(t, c)
	if err := w.Intent(intent(1), nil); !errors.Is(err, ErrFull) || !w.Full() {
		t.Errorf("an intent on a full disk gets %v", err)
	}
	if err := w.Settle(id(1), 0, settle(1)); !errors.Is(err, ErrLost) {
		t.Errorf("a settlement that has no place gets %v", err)
	}
	release()
	eventually(t, "intents are taken", func() bool { return w.Intent(intent(2), nil) == nil })
}

// TestReadOnly: a directory that cannot be written is told at the start.
func TestReadOnly(t *testing.T) {
	dir := tmpfs(t, "4m")
	if dir == "" {
		return
	}
	c := config(t)
	c.Dir = filepath.Join(dir, "journal")
	must(t, os.Mkdir(c.Dir, 0o700))
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	w, err := Open(c)
	if err == nil {
		_ = w.Close()
		t.Fatal("a read-only directory is taken")
	}
	if !errors.Is(err, ErrDirectory) || !strings.Contains(err.Error(), c.Dir) || !errors.Is(err, syscall.EROFS) {
		t.Errorf("the error says %v", err)
	}
}

// TestBound: at the bound of what waits for the database intents are refused,
// settlements are not, and when the ledger has shipped it goes on by itself.
func TestBound(t *testing.T) {
	c := config(t)
	c.Bound = 1 << 20
	w := open(t, c)
	n := 0
	for ; w.Intent(intent(n), priced) == nil; n++ {
		if n > 10_000 {
			t.Fatal("the bound does not hold")
		}
	}
	if s := w.Stats(); s.Unshipped < c.Bound || s.Unshipped > c.Bound+4*moneyMax || s.Bound != c.Bound || !s.Full {
		t.Errorf("refused with %+v", s)
	}
	if err := w.Reject(intent(n), settle(n)); !errors.Is(err, ErrFull) {
		t.Errorf("a refused request gets %v", err)
	}
	for i := range n {
		must(t, w.Settle(id(i), 0, settle(i)))
	}
	if err := w.Intent(intent(n), priced); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound an intent gets %v", err)
	}
	segments, err := Scan(c.Dir)
	must(t, err)
	for _, s := range segments {
		must(t, s.MarkShipped(s.Committed))
	}
	eventually(t, "intents are taken again", func() bool { return !w.Full() })
	must(t, w.Intent(intent(n), priced))
	must(t, w.Close())
	if got := only[*Settle](read(t, c.Dir)); len(got) != n {
		t.Errorf("%d of %d settlements were read", len(got), n)
	}
}

// TestPowerCut takes what is not on the disk of a file system from it, while
// requests are written, and looks at what is left.
func TestPowerCut(t *testing.T) {
	for name, sync := range map[string]Sync{"none": SyncNone, "interval": SyncInterval, "always": SyncAlways} {
		t.Run(name, func(t *testing.T) {
			dir, again := ext4(t)
			if dir == "" {
				return
			}
			c := config(t)
			c.Dir, c.Sync, c.Bound = filepath.Join(dir, "journal"), sync, 64<<20
			w, err := Open(c)
			must(t, err)
			l := write(w, 4)
			eventually(t, "requests were written", func() bool {
				s := w.Stats()
				return s.Records > 1000 && (sync == SyncNone || s.Syncs > 5)
			})
			w.mu.Lock()
			synced := w.synced // this much must be there
			w.mu.Unlock()
			l.moment.Store(failing) // whatever is acknowledged from now on is by a dead machine
			powerCut(t, dir)
			acknowledged := l.stop()
			_ = w.Close() // it says what it could not do
			again()
			settles, highest := map[[16]byte]bool{}, int64(0)
			records := read(t, c.Dir)
			for _, s := range only[*Settle](records) {
				settles[s.RequestID] = true
				highest = max(highest, s.Sequence)
			}
			intents := map[[16]byte]bool{}
			for _, in := range only[*Intent](records) {
				intents[in.RequestID] = true
			}
			lost := 0
			for _, n := range acknowledged {
				if !settles[id(n)] || !intents[id(n)] {
					lost++
				}
			}
			t.Logf("%d requests were acknowledged, %d of them are lost", len(acknowledged), lost)
			switch {
			case sync == SyncNone && lost == 0:
				t.Error("nothing is lost where nothing was synced: the cut takes nothing away")
			case sync == SyncInterval && (highest < int64(synced)-1 || len(settles) == 0):
				t.Errorf("records up to %d were synced, they are there up to %d", synced, highest)
			case sync == SyncAlways && lost > 0:
				t.Error("acknowledged requests are lost")
			}
		})
	}
}

// TestDiskFails: the disk of a file system fails under the writer. It goes on in
// the second directory, and nothing that was acknowledged is lost, though what
// had not reached the first disk is gone.
func TestDiskFails(t *testing.T) {
	dir, again := ext4(t)
	if dir == "" {
		return
	}
	c := config(t)
	c.Dir, c.Second, c.Sync, c.Bound = filepath.Join(dir, "journal"), filepath.Join(t.TempDir(), "second"), SyncAlways, 64<<20
	w := open(t, c)
	l := write(w, 8)
	eventually(t, "requests were written", func() bool { return w.Stats().Records > 1000 })
	l.moment.Store(failing)
	powerCut(t, dir)
	eventually(t, "an fdatasync fails", func() bool { return w.Stats().SyncErrors > 0 })
	l.moment.Store(failed)
	before := w.Stats().Records
	eventually(t, "requests are written elsewhere", func() bool { return w.Stats().Records > before+1000 })
	acknowledged := l.stop()
	if s := w.Stats(); s.Lost != 0 || s.Moved == 0 || s.Full {
		t.Errorf("figures are %+v", s)
	}
	_ = w.Close() // segments of the failed disk cannot be trimmed
	again()
	records := read(t, c.Dir, c.Second)
	settles, intents := map[[16]byte]bool{}, map[[16]byte]bool{}
	for _, s := range only[*Settle](records) {
		settles[s.RequestID] = true
	}
	for _, in := range only[*Intent](records) {
		intents[in.RequestID] = true
	}
	for _, n := range acknowledged {
		if !settles[id(n)] || !intents[id(n)] {
			t.Errorf("request %d is lost", n)
		}
	}
	t.Logf("%d requests were acknowledged", len(acknowledged))
}

// Moments of a writer's file system.
const (
	healthy = iota
	failing // an fdatasync may say that all is well while the disk goes away
	failed
)

// load is requests that are written until stop.
type load struct {
	moment  atomic.Int32
	stopped atomic.Bool
	all     sync.WaitGroup

	mu           sync.Mutex
	acknowledged []int // but for those that were while the disk was failing
}

func write(w *Writer, clients int) *load {
	l := &load{}
	for k := range clients {
		l.all.Go(func() {
			for i := 0; !l.stopped.Load(); i++ {
				n, before := k*1_000_000+i, l.moment.Load()
				if w.Intent(intent(n), priced) != nil || w.Settle(id(n), 0, settle(n)) != nil {
					return
				}
				if l.moment.Load() == healthy || before == failed {
					l.mu.Lock()
					l.acknowledged = append(l.acknowledged, n)
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *load) stop() []int {
	l.stopped.Store(true)
	l.all.Wait()
	return l.acknowledged
}

// TestSyncFails makes the n-th fdatasync fail, for many n, and takes from the
// file what had not been synced: no acknowledged record is missing, and the file
// is never synced or written again.
func TestSyncFails(t *testing.T) {
	for n := 1; n <= 50; n++ {
		c := config(t)
		c.Sync = SyncAlways
		calls, failed := 0, map[*pages]bool{}
		sizes := map[*pages]int64{}
		c.syncFile = func(p *pages) error {
			if failed[p] {
				t.Error("a file that failed is synced again")
			}
			if calls++; calls%60 == n {
				failed[p] = true
				size := max(sizes[p], Start)
				must(t, os.Truncate(p.path, size)) // whoever writes there again faults
				return syscall.EIO
			}
			sizes[p] = p.end
			return nil
		}
		w, err := Open(c)
		must(t, err)
		for i := range 60 {
			must(t, w.Intent(intent(i), priced))
			must(t, w.Settle(id(i), 0, settle(i)))
		}
		s := w.Stats()
		_ = w.Close()
		settles, intents := map[[16]byte]bool{}, map[[16]byte]bool{}
		for _, r := range read(t, c.Dir) {
			switch r := r.(type) {
			case *Settle:
				settles[r.RequestID] = true
			case *Intent:
				intents[r.RequestID] = true
			}
		}
		if s.SyncErrors == 0 || s.Moved != s.SyncErrors || len(settles) != 60 || len(intents) != 60 {
			t.Errorf("fdatasync %d fails: %d intents, %d settlements of 60; %+v", n, len(intents), len(settles), s)
		}
	}
}

// A settlement that did not reach the disk is lost too where the next flush has
// worked before who waits for it was woken.
func TestLostBeforeTheNextFlush(t *testing.T) {
	c := config(t)
	c.Sync = SyncAlways
	w := open(t, c)
	must(t, w.Intent(intent(1), priced))
	must(t, w.Settle(intent(1).RequestID, 0, settle(1)))
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := w.sequence
	w.lostFrom, w.lostTo, w.synced = lost-1, lost, lost+5
	if err := w.await(lost); !errors.Is(err, ErrLost) {
		t.Errorf("what is lost: %v", err)
	}
	if err := w.await(lost + 1); err != nil {
		t.Errorf("what came after it: %v", err)
	}
}

// TestSyncFailsAtTheEnd: without journal_sync a segment is synced once, when it is
// finished. Where that fails, all that it holds is written once more.
func TestSyncFailsAtTheEnd(t *testing.T) {
	c := config(t)
	c.Bound = 1 << 20
	var lost []string
	c.syncFile = func(p *pages) error {
		if len(lost) > 0 {
			return nil
		}
		lost = append(lost, p.path)
		return syscall.EIO
	}
	w := open(t, c)
	const requests = 700 // more than a segment of 256 KiB
	for i := range requests {
		must(t, w.Intent(intent(i), priced))
		must(t, w.Settle(id(i), 0, settle(i)))
	}
	eventually(t, "a segment was synced", func() bool { return w.Stats().SyncErrors > 0 })
	must(t, w.Close())
	must(t, os.Remove(lost[0]))
	settles := map[[16]byte]bool{}
	for _, s := range only[*Settle](read(t, c.Dir)) {
		settles[s.RequestID] = true
	}
	if s := w.Stats(); len(settles) != requests || s.Moved != 1 || s.Lost != 0 {
		t.Errorf("%d settlements of %d are there; %+v", len(settles), requests, s)
	}
}

// TestPagesGone cuts the file under the writer, who gets a fault for an answer:
// it goes on in another segment.
func TestPagesGone(t *testing.T) {
	for _, unmapped := range []bool{false, true} {
		c := config(t)
		c.unmapped = unmapped
		w := open(t, c)
		must(t, w.Intent(intent(1), priced))
		segments, err := Scan(c.Dir)
		must(t, err)
		must(t, os.Truncate(segments[0].Path, 0))
		for i := 2; i < 40; i++ {
			must(t, w.Intent(intent(i), priced))
		}
		if s := w.Stats(); !unmapped && s.Moved != 1 {
			t.Errorf("figures are %+v", s)
		}
		must(t, w.Close())
	}
}

// TestSyncFailsBesideWriters makes an fdatasync fail during which a record was
// written into the same segment: what is acknowledged afterwards stands in a
// segment that was synced.
func TestSyncFailsBesideWriters(t *testing.T) {
	c := config(t)
	c.Sync = SyncAlways
	var failed string
	syncing, fail := make(chan struct{}), make(chan struct{})
	c.syncFile = func(p *pages) error {
		if failed != "" {
			return nil
		}
		failed = p.path
		close(syncing)
		<-fail
		return syscall.EIO
	}
	w := open(t, c)
	must(t, w.Intent(intent(1), nil))
	<-syncing
	must(t, w.Intent(intent(2), nil))
	close(fail)
	must(t, w.Settle(id(2), 0, settle(2)))
	must(t, w.Close())
	must(t, os.Remove(failed)) // the kernel has dropped what it could not write
	records := read(t, c.Dir)
	if intents, settles := only[*Intent](records), only[*Settle](records); len(intents) != 2 || len(settles) != 1 {
		t.Errorf("%d intents and %d settlements are on the disk, not 2 and 1", len(intents), len(settles))
	}
}

// TestWaitsForTheDisk holds writers up while more than a megabyte waits for the
// disk: what each of them writes is its own all the same.
func TestWaitsForTheDisk(t *testing.T) {
	c := config(t)
	c.Sync = SyncInterval
	goOn := make(chan struct{})
	c.syncFile = func(*pages) error { <-goOn; return nil }
	w := open(t, c)
	waits := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.tail) > tailMost
	}
	n := 0
	for ; !waits(); n++ {
		must(t, w.Intent(intent(n), nil))
	}
	const clients = 20
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			if err := w.Intent(intent(n+i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(300 * time.Millisecond) // they have come to wait
	close(goOn)
	all.Wait()
	must(t, w.Close())
	seen := map[[16]byte]int{}
	for _, in := range only[*Intent](read(t, c.Dir)) {
		seen[in.RequestID]++
	}
	for i := range n + clients {
		if seen[id(i)] != 1 {
			t.Errorf("intent %d of %d is there %d times", i, n+clients, seen[id(i)])
		}
	}
}
