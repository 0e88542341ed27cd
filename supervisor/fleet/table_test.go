package fleet

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newTestTable is a host table of the test's own and its descriptor.
func newTestTable(t testing.TB, slots int) (table *Table, fd int) {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err = NewTable(fd, slots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	return table, fd
}

// The layout is a contract between processes of different releases: the
// numbers of this test are never changed, only added to.
func TestLayoutStaysAsItIs(t *testing.T) {
	var h Header
	var s Slot
	var g Generation
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"slots at", slotsAt, 4096},
		{"generations at", gensAt, 36864},
		{"cells at", cellsAt, 561152},
		{"holders at", holdersAt, 593920},
		{"changes at", changesAt, 67702784},
		{"least size", leastSize, 67702784},
		{"limits at", limitsAt, 67735552},
		{"slot size", unsafe.Sizeof(s), 128},
		{"generation size", unsafe.Sizeof(g), 512},

		{"header.version", unsafe.Offsetof(h.version), 8},
		{"header.slots", unsafe.Offsetof(h.slots), 12},
		{"header.size", unsafe.Offsetof(h.size), 16},
		{"header.State", unsafe.Offsetof(h.State), 24},
		{"header.SupervisorPID", unsafe.Offsetof(h.SupervisorPID), 28},
		{"header.Heartbeat", unsafe.Offsetof(h.Heartbeat), 32},
		{"header.StartedAt", unsafe.Offsetof(h.StartedAt), 40},
		{"header.ConfigApplied", unsafe.Offsetof(h.ConfigApplied), 48},
		{"header.ConfigRejected", unsafe.Offsetof(h.ConfigRejected), 56},
		{"header.AuthEpoch", unsafe.Offsetof(h.AuthEpoch), 64},
		{"header.ObserveNext", unsafe.Offsetof(h.ObserveNext), 72},
		{"header.Database", unsafe.Offsetof(h.Database), 80},
		{"header.Redis", unsafe.Offsetof(h.Redis), 84},
		{"header.Schema", unsafe.Offsetof(h.Schema), 88},
		{"header.SchemaWant", unsafe.Offsetof(h.SchemaWant), 92},
		{"header.ObservedAt", unsafe.Offsetof(h.ObservedAt), 96},
		{"header.DatabaseUp", unsafe.Offsetof(h.DatabaseUp), 104},
		{"header.NeedsDatabase", unsafe.Offsetof(h.NeedsDatabase), 108},
		{"header.MigratorState", unsafe.Offsetof(h.MigratorState), 112},
		{"header.MigratorExit", unsafe.Offsetof(h.MigratorExit), 116},
		{"header.Areas", unsafe.Offsetof(h.Areas), 120},
		{"header.Recycles", unsafe.Offsetof(h.Recycles), 128},
		{"header.FeedNext", unsafe.Offsetof(h.FeedNext), 256},
		{"header.FeedNumber", unsafe.Offsetof(h.FeedNumber), 264},
		{"header.IdentityContact", unsafe.Offsetof(h.IdentityContact), 272},
		{"header.Unavailable", unsafe.Offsetof(h.Unavailable), 280},
		{"header.FeedListen", unsafe.Offsetof(h.FeedListen), 288},
		{"header.Custody", unsafe.Offsetof(h.Custody), 296},
		{"header.ImportRows", unsafe.Offsetof(h.ImportRows), 304},
		{"header.ImportOf", unsafe.Offsetof(h.ImportOf), 312},

		{"slot.State", unsafe.Offsetof(s.State), 0},
		{"slot.Generation", unsafe.Offsetof(s.Generation), 4},
		{"slot.AdoptedBy", unsafe.Offsetof(s.AdoptedBy), 8},
		{"slot.Offered", unsafe.Offsetof(s.Offered), 12},
		{"slot.Restarts", unsafe.Offsetof(s.Restarts), 16},
		{"slot.Recycles", unsafe.Offsetof(s.Recycles), 24},
		{"slot.LastRecycle", unsafe.Offsetof(s.LastRecycle), 32},

		{"generation.Number", unsafe.Offsetof(g.Number), 0},
		{"generation.Slot", unsafe.Offsetof(g.Slot), 4},
		{"generation.PID", unsafe.Offsetof(g.PID), 8},
		{"generation.State", unsafe.Offsetof(g.State), 12},
		{"generation.Started", unsafe.Offsetof(g.Started), 16},
		{"generation.Ready", unsafe.Offsetof(g.Ready), 24},
		{"generation.Beat", unsafe.Offsetof(g.Beat), 32},
		{"generation.RSS", unsafe.Offsetof(g.RSS), 40},
		{"generation.Panics", unsafe.Offsetof(g.Panics), 48},
		{"generation.Config", unsafe.Offsetof(g.Config), 56},
		{"generation.Cut", unsafe.Offsetof(g.Cut), 64},
		{"generation.Failed", unsafe.Offsetof(g.Failed), 72},
		{"generation.Holders", unsafe.Offsetof(g.Holders), 80},
		{"generation.Overlay", unsafe.Offsetof(g.Overlay), 88},
		{"generation.Keys", unsafe.Offsetof(g.Keys), 96},
		{"generation.Conns", unsafe.Offsetof(g.Conns), 128},
		{"generation.Accepted", unsafe.Offsetof(g.Accepted), 136},
		{"generation.Requests", unsafe.Offsetof(g.Requests), 192},
		{"generation.InFlight", unsafe.Offsetof(g.InFlight), 200},
		{"generation.Streams", unsafe.Offsetof(g.Streams), 208},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, the layout says %d", c.name, c.got, c.want)
		}
	}
	if n := unsafe.Sizeof(h); n > pageSize {
		t.Errorf("header of %d bytes does not fit its page", n)
	}
	for i, name := range []string{"none", "starting", "ready", "lame", "dead", "failed", "draining", "stopping"} {
		if got := State(i).String(); got != name {
			t.Errorf("state %d is %s, the layout says %s", i, got, name)
		}
	}
	for i, name := range []string{
		"other", "requests", "memory", "hang", "panics", "crash", "start_failed", "operator", "takeover", "upgrade",
	} {
		if got := Reason(i).String(); got != name || ParseReason(name) != Reason(i) {
			t.Errorf("reason %d is %s, the layout says %s", i, got, name)
		}
	}
	if State(99).String() != "unknown" || Reason(99).String() != "other" || ParseReason("whim") != ReasonOther {
		t.Error("numbers and names of a later release are not understood")
	}
}

// Every word is naturally aligned wherever its page is.
func TestWordsAreAligned(t *testing.T) {
	table, _ := newTestTable(t, MaxSlots)
	for name, p := range map[string]unsafe.Pointer{
		"slot 1": unsafe.Pointer(&table.Slot(1).Restarts), "generation 1023": unsafe.Pointer(&table.Generation(1023).Requests),
		"cell 4095": unsafe.Pointer(table.Cell(MaxCells - 1)), "holder": unsafe.Pointer(table.hosts.holder(1023, MaxHolders-1)),
	} {
		if uintptr(p)%8 != 0 {
			t.Errorf("%s is not aligned", name)
		}
	}
	end := uintptr(unsafe.Pointer(table.hosts.holder(MaxGenerations-1, MaxHolders-1))) - uintptr(unsafe.Pointer(&table.mem[0])) + 8
	if end != changesAt {
		t.Errorf("the last holder word ends at %d, the ring of changes begins at %d", end, changesAt)
	}
	end = uintptr(unsafe.Pointer(table.ringWord(MaxChanges-1))) - uintptr(unsafe.Pointer(&table.mem[0])) + 8
	if end != limitsAt {
		t.Errorf("the last change ends at %d, the table at %d", end, limitsAt)
	}
}

func TestOpenTableTakesOnlyWhatItKnows(t *testing.T) {
	if _, err := NewTable(-1, 0); err == nil {
		t.Error("a table for 0 slots was made")
	}
	if _, err := NewTable(-1, MaxSlots+1); err == nil {
		t.Error("a table for 257 slots was made")
	}
	table, fd := newTestTable(t, 3)
	reader, err := OpenTable(fd, true)
	if err != nil {
		t.Fatal(err)
	}
	table.Slot(2).Restarts.Store(7)
	if reader.Slots() != 3 || reader.Slot(2).Restarts.Load() != 7 {
		t.Errorf("slots %d, restarts %d", reader.Slots(), reader.Slot(2).Restarts.Load())
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Header){
		"magic":   func(h *Header) { h.magic++ },
		"version": func(h *Header) { h.version++ },
		"size":    func(h *Header) { h.size = leastSize - 1 },
	} {
		table, fd := newTestTable(t, 1)
		spoil(table.Header())
		if _, err := OpenTable(fd, false); err == nil {
			t.Errorf("a table with another %s was opened", name)
		}
	}
	// A later release of the same layout version may have a longer table.
	table.Header().size = tableSize + 4096
	if again, err := OpenTable(fd, false); err != nil {
		t.Errorf("a longer table of the same version: %v", err)
	} else {
		_ = again.Close()
	}
	short, err := unix.MemfdCreate("short", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(short) }()
	if _, err := OpenTable(short, false); err == nil || !strings.Contains(err.Error(), "0 bytes") {
		t.Errorf("an empty file: %v", err)
	}
}

func TestClaimFindReap(t *testing.T) {
	table, _ := newTestTable(t, 2)
	if table.Areas() != 0 || table.Find(1) != -1 {
		t.Error("an empty table has a generation")
	}
	for n := 1; n <= MaxGenerations; n++ {
		if area, err := table.Claim(n%2, n); err != nil || area != n-1 {
			t.Fatalf("claim %d: area %d, %v", n, area, err)
		}
	}
	if _, err := table.Claim(0, MaxGenerations+1); err == nil {
		t.Fatal("more generations than areas")
	}
	if table.Areas() != MaxGenerations || table.Find(700) != 699 {
		t.Errorf("areas %d, generation 700 in %d", table.Areas(), table.Find(700))
	}
	table.Generation(41).Requests.Store(9)
	table.Reap(41)
	if table.Find(42) != -1 || State(table.Generation(41).State.Load()) != StateDead {
		t.Error("a reaped generation is still there")
	}
	area, err := table.Claim(1, 5000)
	if err != nil || area != 41 || table.Generation(area).Requests.Load() != 0 || table.Generation(area).Slot.Load() != 1 {
		t.Errorf("claimed area %d, %v, requests %d", area, err, table.Generation(area).Requests.Load())
	}
}

// A table costs what is used of it: neither making nor searching nor reaping
// touches the areas that no generation ever had.
func TestTableIsSparse(t *testing.T) {
	table, fd := newTestTable(t, 4)
	for n := 1; n <= 8; n++ {
		area, err := table.Claim(n%4, n)
		if err != nil {
			t.Fatal(err)
		}
		h := NewHolders(table, area)
		for range 100 {
			if _, ok := h.Acquire(CellInFlight, 1, 1000); !ok {
				t.Fatal("refused")
			}
		}
	}
	for area := range table.Areas() {
		table.Reap(area)
	}
	if table.Find(9) != -1 || table.Cell(CellInFlight).Load() != 0 {
		t.Errorf("in flight %d after all were reaped", table.Cell(CellInFlight).Load())
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	t.Logf("show: table of %d MB, 8 generations with 100 holders each: %d KB used", tableSize>>20, st.Blocks/2)
	if st.Blocks/2 > 128 {
		t.Errorf("%d KB of the table are used, want at most 128", st.Blocks/2)
	}
}

func TestDirNames(t *testing.T) {
	d := Dir("/x")
	for got, want := range map[string]string{
		d.Control(): "/x/run/control.sock", d.Lock(): "/x/run/supervisor.lock", d.Processes(): "/x/run/processes.json",
		d.Worker(3, 4711): "/x/run/worker-3-4711.sock", d.Metrics(0, 10): "/x/run/worker-0-10.prom",
		d.Health(): "/x/run/healthd.sock", d.Run(): "/x/run", d.SQLite(): "/x/sluice.db", d.MasterKey(): "/x/master_key",
		d.Worker(-1, 1): "/x/run/worker--1-1.sock",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if Outlives() && os.Getenv(EnvControl) == "" {
		t.Error("a process without a supervisor outlives one")
	}
}
