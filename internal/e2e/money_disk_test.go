//go:build e2e

package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// segments are the files of an appliance's journal, money and bodies.
func (a *Appliance) segments() []string {
	a.t.Helper()
	list, err := filepath.Glob(filepath.Join(a.Dir, "journal", "*.seg"))
	if err != nil {
		a.t.Fatal(err)
	}
	return list
}

// damages are what may become of segments that nobody has read yet. Each changes
// files of the folder and returns what it did; spoils says that records are gone.
var damages = []struct {
	name   string
	spoils bool
	do     func(t *testing.T, list []string) string
}{
	{"torn tail", true, func(t *testing.T, list []string) string {
		for _, file := range list {
			b, end := content(t, file)
			if end > 8192 {
				clear(b[end-200:])
				write(t, file, b)
			}
		}
		return "the last 200 bytes that were written are zeros"
	}},
	{"bit flips", true, func(t *testing.T, list []string) string {
		n := 0
		for _, file := range list {
			b, end := content(t, file)
			for range 5 {
				if end > 8192 {
					b[4096+rand.IntN(end-4096)] ^= 1 << rand.IntN(8)
					n++
				}
			}
			write(t, file, b)
		}
		return fmt.Sprintf("%d bits flipped", n)
	}},
	{"truncated", true, func(t *testing.T, list []string) string {
		for _, file := range list {
			if _, end := content(t, file); end > 8192 {
				if err := os.Truncate(file, int64(4096+(end-4096)*3/4)); err != nil {
					t.Fatal(err)
				}
			}
		}
		return "a quarter cut off"
	}},
	{"duplicated", false, func(t *testing.T, list []string) string {
		for i, file := range list {
			b, _ := content(t, file)
			copied := strings.TrimSuffix(file, ".seg") + "9.seg"
			write(t, copied, b)
			if i == 0 {
				write(t, filepath.Join(filepath.Dir(file), "copy of "+filepath.Base(file)), b)
			}
		}
		return "each segment twice"
	}},
	{"strange files", false, func(t *testing.T, list []string) string {
		dir := filepath.Dir(list[0])
		write(t, filepath.Join(dir, strings.Repeat("f", 32)+"-0-1-1.seg"), nil)
		write(t, filepath.Join(dir, strings.Repeat("e", 32)+"-0-1-1.seg"), []byte("SLUICEJ\x09not of this release"))
		junk := make([]byte, 1<<20)
		for i := range junk {
			junk[i] = byte(rand.Uint32())
		}
		write(t, filepath.Join(dir, strings.Repeat("d", 32)+"-0-1-1.seg"), junk)
		write(t, filepath.Join(dir, "notes.txt"), []byte("hello"))
		return "an empty segment, one of another release, a megabyte of noise"
	}},
}

// content is a file and where its last byte that is not zero ends.
func content(t *testing.T, file string) (b []byte, end int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for end = len(b); end > 0 && b[end-1] == 0; {
		end--
	}
	return b, end
}

func write(t *testing.T, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// M6: segments that were not read yet are damaged. Nothing crashes, nothing is
// counted twice, what is sound is in the rows, and what is not is told of.
func TestMoneyDamaged(t *testing.T) {
	for _, damage := range damages {
		for name, sqlite := range map[string]bool{"postgres": false, "sqlite": true} {
			t.Run(damage.name+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newMoney(t, moneyOptions{sqlite: sqlite, models: plainModels})
				w.plain()
				a := w.hosts[0]
				// Nothing is shipped from here on: somebody holds the table.
				release := w.holdSpend()
				calls := w.newLoad("m6").start(8, 10*time.Millisecond, []moneyKind{{group: "plain", weight: 1}}).stopAfter(2 * time.Second)
				a.killAll()
				release()
				rows := len(w.rows())
				did := damage.do(t, a.segments())
				a.Start()
				a.slotsReady(2)
				more := w.newLoad("m6-after").start(8, 10*time.Millisecond, []moneyKind{{group: "plain", weight: 1}}).stopAfter(time.Second)
				w.judgeDamaged(append(calls, more...), len(more), damage.spoils)
				t.Logf("M6 %s: %s; %d of %d calls had rows before", damage.name, did, rows, len(calls))
				log := a.Log()
				if strings.Contains(log, "panic") {
					t.Errorf("a panic\n%s", a.Tail(40))
				}
				if damage.name != "duplicated" && !strings.Contains(log, "damaged") {
					t.Errorf("nothing is said of the damage\n%s", a.Tail(20))
				}
			})
		}
	}
}

// stopAfter lets a load run for a while.
func (l *moneyLoad) stopAfter(d time.Duration) []moneyCall {
	time.Sleep(d)
	return l.stop()
}

// holdSpend keeps everybody from writing rows until the function is called that
// it returns.
func (w *moneyWorld) holdSpend() (release func()) {
	w.t.Helper()
	if w.db.url != "" {
		s := pgtest.Open(w.t, w.db.url)
		if err := s.Exec("BEGIN"); err != nil {
			w.t.Fatal(err)
		}
		if err := s.Exec("LOCK TABLE sluice.spend IN EXCLUSIVE MODE"); err != nil {
			w.t.Fatal(err)
		}
		return s.Close
	}
	db := w.db.open()
	if _, err := db.ExecContext(w.t.Context(), "BEGIN IMMEDIATE"); err != nil {
		w.t.Fatal(err)
	}
	return func() { _ = db.Close() }
}

// judgeDamaged wants all that can be wanted where records were damaged: what is
// lost is lost by the damage, and told of.
func (w *moneyWorld) judgeDamaged(calls []moneyCall, after int, spoils bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var v *verdict
	for {
		v = w.compare(calls)
		lost := len(v.lost)
		for _, text := range v.lost {
			if strings.HasPrefix(text, "m6-after") {
				lost = len(calls) // these were written afterwards
			}
		}
		good := len(v.all()) == 0
		if spoils {
			good = len(v.double) == 0 && len(v.sums) == 0 && lost < len(calls)/2
		}
		if good {
			break
		}
		if time.Now().After(deadline) {
			w.t.Errorf("%v", v)
			break
		}
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(1500 * time.Millisecond)
	v = w.compare(calls)
	w.t.Logf("%v", v)
	problems := v.all()
	if spoils {
		problems = append(v.double, v.sums...)
	}
	for _, text := range problems[:min(8, len(problems))] {
		w.t.Error(text)
	}
	if spoils && len(v.lost) == 0 && len(v.wrong) == 0 && v.statuses["interrupted"] == 0 {
		w.t.Error("nothing was spoilt: too little to prove anything")
	}
	if after == 0 || v.statuses["success"] < after {
		w.t.Errorf("%d successes, %d calls were made afterwards", v.statuses["success"], after)
	}
}

// onTmpfs mounts a file system of its own at an appliance's state directory.
func onTmpfs(t *testing.T, size string) func(*Appliance) {
	return func(a *Appliance) {
		if err := syscall.Mount("tmpfs", a.Dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
			t.Fatalf("mount a small file system: %v", err)
		}
		// Before the appliance's own cleanup removes the folder, after it has ended.
		t.Cleanup(func() { _ = syscall.Unmount(a.Dir, syscall.MNT_DETACH) })
	}
}

// fill uses up what is free on the file system of a folder, and returns the file
// to remove.
func fill(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		block := make([]byte, size)
		for {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
	}
	return ballast
}

// M7: the disk is full when a worker needs another segment. What costs money is
// refused with 503, nothing is lost, and once there is room again service goes on.
func TestMoneyFullDisk(t *testing.T) {
	for name, sqlite := range map[string]bool{"postgres": false, "sqlite": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newMoney(t, moneyOptions{sqlite: sqlite, models: plainModels, before: onTmpfs(t, "64m")})
			w.plain()
			a := w.hosts[0]
			l := w.newLoad("m7").start(16, 20*time.Millisecond, plainKindsWeighed())
			time.Sleep(time.Second)
			ballast := fill(t, a.Dir)
			for range 2 { // their successors need segments
				v := pick(t, a.Table())
				_ = syscall.Kill(v.pid, syscall.SIGKILL)
				time.Sleep(300 * time.Millisecond)
			}
			time.Sleep(2 * time.Second)
			full := time.Now()
			if !a.Running() {
				t.Fatalf("the appliance has ended\n%s", a.Tail(30))
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			a.WaitReady(40 * time.Second)
			took := time.Since(full)
			time.Sleep(time.Second)
			calls := l.stop()
			refused := 0
			for i := range calls {
				if c := &calls[i]; c.status == http.StatusServiceUnavailable {
					if refused++; c.header.Get("Retry-After") == "" {
						t.Errorf("503 without Retry-After: %s", c.body)
					}
				}
			}
			v := w.settled(calls, 30*time.Second)
			t.Logf("M7 %s: full disk: %d calls refused, ready %v after there was room; %v", name, refused, took.Round(100*time.Millisecond), v)
			if refused == 0 {
				t.Error("nothing was refused: the disk was not full")
			}
			if !strings.Contains(a.Log(), "no space left") {
				t.Errorf("nothing is said of the disk\n%s", a.Tail(20))
			}
		})
	}
}

func plainKindsWeighed() []moneyKind {
	list := append([]moneyKind(nil), plainKinds...)
	for i := range list {
		list[i].weight = 1
	}
	return list
}

// M7: the journal's folder turns read only under load, and workers are killed: who
// is to follow them cannot start and says why, until it can.
func TestMoneyReadOnlyDisk(t *testing.T) {
	w := newMoney(t, moneyOptions{models: plainModels})
	w.plain()
	a := w.hosts[0]
	dir := filepath.Join(a.Dir, "journal")
	l := w.newLoad("ro").start(16, 20*time.Millisecond, plainKindsWeighed())
	time.Sleep(time.Second)
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Fatalf("mount: %v", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount: %v", err)
			}
		}
	}
	t.Cleanup(unmount)
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("remount read only: %v", err)
	}
	for range 2 {
		v := pick(t, a.Table())
		_ = syscall.Kill(v.pid, syscall.SIGKILL)
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	if !a.Running() {
		t.Fatalf("the appliance has ended\n%s", a.Tail(30))
	}
	unmount()
	a.WaitReady(40 * time.Second)
	time.Sleep(time.Second)
	v := w.settled(l.stop(), 30*time.Second)
	t.Logf("M7 read only: %v", v) // workers that are there go on with the segments that they have
	if !strings.Contains(a.Log(), "read-only file system") {
		t.Errorf("nothing is said of the disk\n%s", a.Tail(20))
	}
}

// copyTree copies a folder with its files, as a clone of a disk has them.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil // sockets
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// M13: two appliances from one cloned state directory, with records in it that
// were not shipped; then one of them goes back to a snapshot.
func TestMoneyClonedDisk(t *testing.T) {
	o := moneyOptions{models: plainModels}
	w := newMoney(t, o)
	w.plain()
	a := w.hosts[0]
	kinds := plainKindsWeighed()
	release := w.holdSpend()
	calls := w.newLoad("m13-one").start(8, 10*time.Millisecond, kinds).stopAfter(1500 * time.Millisecond)
	a.killAll()
	release()
	snapshot := t.TempDir()
	copyTree(t, a.Dir, snapshot)
	a.Start()
	o.url, o.settings = w.db.url, moneySettings
	o.before = func(b *Appliance) { copyTree(t, snapshot, b.Dir) }
	b := w.addHost(o)
	a.slotsReady(2)
	both := w.newLoad("m13-a").start(8, 10*time.Millisecond, kinds)
	w.url = b.URL()
	other := w.newLoad("m13-b").start(8, 10*time.Millisecond, kinds)
	calls = append(calls, both.stopAfter(2*time.Second)...)
	calls = append(calls, other.stop()...)
	if v := w.settled(calls, 30*time.Second); len(v.all()) > 0 {
		t.Fatalf("two appliances from one disk: %v", v)
	}
	if code := b.Stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	if err := os.RemoveAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	copyTree(t, snapshot, b.Dir)
	b.Start()
	b.slotsReady(2)
	calls = append(calls, w.newLoad("m13-back").start(8, 10*time.Millisecond, kinds).stopAfter(1500*time.Millisecond)...)
	v := w.settled(calls, 30*time.Second)
	t.Logf("M13: two appliances from one disk, one of them put back: %v", v)
}
