package fleet

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A record and the regions of banks are a contract between releases too.
func TestLayoutOfBanks(t *testing.T) {
	var r Record
	var s stripe
	var d region
	var h Header
	var g Generation
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"limits at", limitsAt, 67735552},
		{"leases at", leasesAt, 154025984},
		{"grants at", grantsAt, 164818944},
		{"claims at", claimsAt, 433254400},
		{"claims end", claimsEnd, 1506996224},
		{"record size", unsafe.Sizeof(r), 64},
		{"record.used", unsafe.Offsetof(r.used), 8},
		{"record.Words", unsafe.Offsetof(r.Words), 16},
		{"stripe size", unsafe.Sizeof(s), 64},
		{"stripe.depth", unsafe.Offsetof(s.depth), 8},
		{"directory entry", unsafe.Sizeof(d), 64},
		{"directory.layout", unsafe.Offsetof(d.layout), 8},
		{"directory.at", unsafe.Offsetof(d.at), 16},
		{"directory.stride", unsafe.Offsetof(d.stride), 24},
		{"directory.records", unsafe.Offsetof(d.records), 32},
		{"directory.parallel", unsafe.Offsetof(d.parallel), 40},
		{"directory.olderSeen", unsafe.Offsetof(d.olderSeen), 48},
		{"header.Keep", unsafe.Offsetof(h.Keep), 320},
		{"header.Holder", unsafe.Offsetof(h.Holder), 352},
		{"header.LimitsShared", unsafe.Offsetof(h.LimitsShared), 368},
		{"header.LimitsTaken", unsafe.Offsetof(h.LimitsTaken), 376},
		{"header.WallOffset", unsafe.Offsetof(h.WallOffset), 384},
		{"header.LeaseTurn", unsafe.Offsetof(h.LeaseTurn), 392},
		{"header.JournalFull", unsafe.Offsetof(h.JournalFull), 400},
		{"generation.Layouts", unsafe.Offsetof(g.Layouts), 104},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, the layout says %d", c.name, c.got, c.want)
		}
	}
	for name, at := range map[string]int{"limits": limitsAt, "leases": leasesAt, "grants": grantsAt, "claims": claimsAt, "end": tableSize} {
		if at%pageSize != 0 {
			t.Errorf("%s do not begin on a page", name)
		}
	}
}

func TestBankFindsWhatItTook(t *testing.T) {
	table, _ := newTestTable(t, 1)
	for name, b := range map[string]*Bank{"limits": table.Limits(), "leases": table.Leases()} {
		if b.Peek(7) != nil {
			t.Errorf("%s: an empty bank has a record", name)
		}
		seen := map[*Record]uint64{}
		for tag := uint64(1); tag <= 20_000; tag++ {
			r, shared := b.Find(tag)
			if other := seen[r]; shared || other != 0 || !r.Is(tag) {
				t.Fatalf("%s: subject %d has the record of %d, shared %v", name, tag, other, shared)
			}
			seen[r] = tag
		}
		for r, tag := range seen {
			again, _ := b.Find(tag)
			if again != r || b.Peek(tag) != r || b.At(b.Index(r)) != r {
				t.Fatalf("%s: subject %d is found elsewhere", name, tag)
			}
		}
		n := 0
		b.Each(func(tag uint64, r *Record) {
			if seen[r] != tag {
				t.Errorf("%s: each knows record %d as that of %d", name, seen[r], tag)
			}
			n++
		})
		if n != len(seen) {
			t.Errorf("%s: each calls for %d of %d", name, n, len(seen))
		}
	}
	if got := table.Header().LimitsTaken.Load(); got != 20_000 {
		t.Errorf("%d records taken", got)
	}
}

// Few subjects touch few pages, however their tags are spread.
func TestFewSubjectsTouchFewPages(t *testing.T) {
	table, fd := newTestTable(t, 1)
	dice := rand.New(rand.NewPCG(1, 2))
	used := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks / 2
	}
	before := used()
	for _, c := range []struct {
		subjects int
		most     int64 // KB
	}{{100, 64}, {1000, 512}, {10_000, 4096}} {
		for range c.subjects {
			table.Limits().Find(dice.Uint64() | 1)
		}
		grown := used() - before
		t.Logf("show: %d subjects more: %d KB used in all", c.subjects, grown)
		if grown > c.most {
			t.Errorf("%d subjects use %d KB, want at most %d", c.subjects, grown, c.most)
		}
	}
}

// A record that nobody used for long goes to another subject; one in which
// places are held does not, and none of a lease that holds something.
func TestIdleRecordsAreReused(t *testing.T) {
	table, _ := newTestTable(t, 1)
	b := table.Limits()
	area, _ := table.Claim(0, 1)
	h := NewRecordHolders(table, area)
	now := Now()
	r, _ := b.FindAt(1, now)
	held, _ := b.FindAt(2, now)
	if _, ok := h.Acquire(b.Cell(b.Index(held)), 1, 5); !ok {
		t.Fatal("refused")
	}
	rivals := rivalsOf(b, 1, 9) // fill the bucket of 1, and one more
	later := now + 121e9
	moved := false
	for _, tag := range rivals {
		got, _ := b.FindAt(tag, now+1e9)
		moved = moved || got == r
	}
	if moved || !r.Is(1) {
		t.Fatal("a record in use went to another subject")
	}
	got, _ := b.FindAt(rivalsOf(b, 1, 20)[19], later)
	if got == held || !held.Is(2) {
		t.Error("a record in which a place is held went to another subject")
	}
	if got.Used() != later/1e9 {
		t.Errorf("used %d, now %d", got.Used(), later/1e9)
	}
	if index := b.Index(got); index/bucketSlots != b.Index(r)/bucketSlots {
		t.Errorf("the subject got record %d though one of the bucket of %d was idle", index, b.Index(r))
	}

	l := table.Leases()
	full, _ := l.FindAt(1, now)
	full.Words[0].Store(1)
	for _, tag := range rivalsOf(l, 1, 20) {
		l.FindAt(tag, now+2*3600e9)
	}
	if !full.Is(1) {
		t.Error("a lease that holds something went to another account")
	}
}

// rivalsOf are tags in the same first bucket.
func rivalsOf(b *Bank, tag uint64, n int) (out []uint64) {
	want := b.bucket(b.spread(tag), 0)
	for other := tag + 1000; len(out) < n; other++ {
		if b.bucket(b.spread(other), 0) == want {
			out = append(out, other)
		}
	}
	return out
}

// Where there is no room all share one record, and begin with what stands in it
// once there is some.
func TestFullBankShares(t *testing.T) {
	table, _ := newTestTable(t, 1)
	b := table.Limits()
	now := Now()
	rivals := rivalsOf(b, 1, 1)
	// All of the places of one tag are somebody's.
	h := b.spread(rivals[0])
	for p := range b.probes() {
		for i := range bucketSlots {
			r := b.At(b.bucket(h, p) + i)
			r.tag.Store(1 << 60)
			r.Touch(now / 1e9)
		}
	}
	r, shared := b.FindAt(rivals[0], now)
	if !shared || r != b.Shared() || table.Header().LimitsShared.Load() != 1 {
		t.Fatalf("shared %v, counted %d", shared, table.Header().LimitsShared.Load())
	}
	r.Words[0].Store(77)
	b.At(b.bucket(h, 0)).tag.Store(0)
	if r, shared = b.FindAt(rivals[0], now+1e9); shared || r.Words[0].Load() != 77 {
		t.Errorf("shared %v, begins with %d", shared, r.Words[0].Load())
	}
}

// The lock of a process that is gone is broken, that of one that lives is not.
func TestLockOfTheDead(t *testing.T) {
	table, _ := newTestTable(t, 1)
	b := table.Limits()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	s := &b.stripes[b.spread(5)>>(64-stripeBits)]
	lock := func(pid int, at int64) { s.lock.Store(uint64(pid)<<lockPIDAt | uint64(at/1e6)&lockSince) }
	lock(cmd.Process.Pid, Now())
	if _, shared := b.Find(5); shared || s.lock.Load() != 0 {
		t.Error("the lock of a process that is gone holds")
	}
	lock(1, Now())
	tag := uint64(6)
	for b.spread(tag)>>(64-stripeBits) != b.spread(5)>>(64-stripeBits) {
		tag++
	}
	if _, shared := b.Find(tag); !shared {
		t.Error("the lock of a living process was broken")
	}
	lock(1, Now()-11e9)
	if _, shared := b.Find(tag); shared {
		t.Error("the lock of a process that has stood still for 11 s holds")
	}
}

// A table of an earlier release gets a holder and the directory once somebody
// opens it for writing, and every process sees the same.
func TestOlderTableIsCompleted(t *testing.T) {
	fd, err := unix.MemfdCreate("old", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	table, err := NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	h := table.Header()
	h.size = limitsAt
	h.Holder[0].Store(0)
	h.Holder[1].Store(0)
	_ = table.Close()
	if err := syscall.Ftruncate(fd, limitsAt); err != nil {
		t.Fatal(err)
	}
	if r, err := OpenTable(fd, true); err != nil {
		t.Errorf("reading a table of an earlier release: %v", err)
	} else {
		_ = r.Close()
	}
	a, err := OpenTable(fd, false)
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenTable(fd, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range h.Holder {
		if v := a.Header().Holder[i].Load(); v == 0 || v != b.Header().Holder[i].Load() {
			t.Errorf("holder %d is %x and %x", i, v, b.Header().Holder[i].Load())
		}
	}
	if _, shared := a.Limits().Find(3); shared || b.Limits().Peek(3) == nil {
		t.Error("what one process takes the other does not find")
	}
	_, _ = a.Close(), b.Close()
}

// Reaping gives parallel places back that a later release counts in records
// that lie where this one knows nothing of.
func TestReapKnowsLaterLayouts(t *testing.T) {
	table, fd := newTestTable(t, 1)
	const records = 64
	at := tableSize
	if err := syscall.Ftruncate(fd, int64(at+bankPages+records*256)); err != nil {
		t.Fatal(err)
	}
	later, err := OpenTable(fd, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = later.Close() }()
	later.describe(9, layout{at: at, stride: 256, region: 1}, records)
	area, _ := table.Claim(0, 1)
	h := NewRecordHolders(later, area)
	cell := 1<<regionBits | 5
	if _, ok := h.Acquire(cell, 3, 10); !ok || recordCells.value(later.recordCell(cell).Load()) != 3 {
		t.Fatal("cannot count in records of a later layout")
	}
	if _, ok := h.Acquire(1<<regionBits|(records+1), 1, 10); !ok {
		t.Error("a record that is not there refuses") // it counts nowhere
	}
	again, err := OpenTable(fd, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	again.Reap(area)
	if n := recordCells.value(later.recordCell(cell).Load()); n != 0 {
		t.Errorf("%d places held by the dead", n)
	}
}

// What an earlier release's supervisor has not given back, because it knows
// nothing of it, the next generation of the area does.
func TestAreaThatWasReapedByAnEarlierRelease(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, _ := table.Claim(0, 1)
	h := NewRecordHolders(table, area)
	for range 3 {
		if _, ok := h.Acquire(9, 1, 10); !ok {
			t.Fatal("refused")
		}
	}
	table.hosts.reap(area)
	table.Generation(area).Number.Store(0)
	again, _ := table.Claim(0, 2)
	if again != area {
		t.Fatalf("area %d, want %d", again, area)
	}
	NewRecordHolders(table, area)
	if n := recordCells.value(table.recordCell(9).Load()); n != 0 {
		t.Errorf("%d places held by nobody", n)
	}
}

// takeForEver finds subjects as fast as it can, until it is killed. All children
// want the same new one at the same moment, and time passes a hundred times as
// fast for them, so that they take idle records from each other too.
func takeForEver(table *Table, area int) {
	b := table.Limits()
	b.SetIdle(idleOfTest)
	for range 2 {
		go func() {
			for {
				now := Now()
				if _, shared := b.FindAt(uint64(now/10_000), 100*now); shared {
					table.Generation(area).Cut.Add(1)
				}
				table.Generation(area).Requests.Add(1)
			}
		}()
	}
	select {}
}

// idleOfTest are hundredths of a second.
const idleOfTest = 30

// Processes are killed at any instruction while they take records from each
// other. No subject ever has two, whoever is killed, and no lock stays.
func TestNoSubjectHasTwoRecords(t *testing.T) {
	table, fd := newTestTable(t, 1)
	table.Limits().SetIdle(idleOfTest)
	p := newChildren(t, table, fd, "take")
	living := []child{p.start(), p.start(), p.start()}
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	kills, finds := 0, uint64(0)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		time.Sleep(time.Duration(dice.IntN(10_000)) * time.Microsecond)
		victim := dice.IntN(len(living))
		if table.Generation(living[victim].area).Requests.Load() == 0 {
			continue
		}
		finds += table.Generation(living[victim].area).Requests.Load()
		p.kill(living[victim])
		kills++
		if kills%4 == 0 {
			var commands []*exec.Cmd
			for i, c := range living {
				if i != victim {
					commands = append(commands, c.cmd)
				}
			}
			stopped(t, func() { noTwo(t, table) }, commands...)
		}
		living[victim] = p.start()
	}
	for _, c := range living {
		p.kill(c)
	}
	noTwo(t, table)
	b := table.Limits()
	locked := 0
	for i := range b.stripes {
		if b.stripes[i].lock.Load() != 0 {
			locked++
		}
	}
	for tag := uint64(1); tag <= 3000; tag++ {
		if _, shared := b.FindAt(tag, 100*Now()); shared {
			t.Fatalf("subject %d finds no room", tag)
		}
	}
	t.Logf("show: %d processes killed after %d finds and %d takings, %d locks left by the dead: no subject twice",
		kills, finds, table.Header().LimitsTaken.Load(), locked)
	if kills < 10 || table.Header().LimitsTaken.Load() < 10_000 {
		t.Errorf("%d kills after %d takings show nothing", kills, table.Header().LimitsTaken.Load())
	}
}

func noTwo(t *testing.T, table *Table) {
	t.Helper()
	seen := map[uint64]*Record{}
	b := table.Limits()
	b.Each(func(tag uint64, r *Record) {
		if other := seen[tag]; other != nil {
			t.Errorf("subject %d has records %d and %d", tag, b.Index(other), b.Index(r))
		}
		seen[tag] = r
	})
}

// children are processes of the test that work on its table.
type children struct {
	t          *testing.T
	table      *Table
	fd         int
	what       string
	generation int
	living     sync.Map
}

type child struct {
	cmd  *exec.Cmd
	area int
}

func newChildren(t *testing.T, table *Table, fd int, what string) *children {
	p := &children{t: t, table: table, fd: fd, what: what}
	t.Cleanup(func() {
		p.living.Range(func(_, c any) bool { p.kill(c.(child)); return true })
	})
	return p
}

func (p *children) start() child {
	p.generation++
	area, err := p.table.Claim(0, p.generation)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envWhat+"="+p.what, envTable+"=3", envArea+"="+strconv.Itoa(area), envSeed+"="+strconv.Itoa(p.generation))
	dup, err := syscall.Dup(p.fd)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup), "table")}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	_ = cmd.ExtraFiles[0].Close()
	c := child{cmd, area}
	p.living.Store(area, c)
	return c
}

// kill ends a child at whatever instruction it is and reaps its area.
func (p *children) kill(c child) {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	p.living.Delete(c.area)
	p.table.Reap(c.area)
}
