package fleet

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	envTable = "SLUICE_TEST_TABLE" // descriptor of the table that a child of the test holds words of
	envArea  = "SLUICE_TEST_AREA"
	envSeed  = "SLUICE_TEST_SEED"
	envWhat  = "SLUICE_TEST_WHAT" // what the child does
)

// cellsOfTest have limits that the children of the test run into all the time.
var cellsOfTest = [...]struct {
	cell  int
	limit int64
}{{0, 20}, {7, 3}, {MaxCells - 1, 1000}}

func TestMain(m *testing.M) {
	if os.Getenv(envClaims) != "" {
		claimForEver()
	}
	if os.Getenv(envTable) != "" {
		holdForEver()
	}
	os.Exit(m.Run())
}

// holdForEver takes and gives back as fast as it can, until it is killed.
func holdForEver() {
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	table, err := OpenTable(number(envTable), false)
	if err != nil {
		panic(err)
	}
	area := number(envArea)
	h := NewHolders(table, area)
	switch os.Getenv(envWhat) {
	case "take":
		takeForEver(table, area)
	case "records":
		h = NewRecordHolders(table, area)
	}
	for worker := range 3 {
		go func() {
			dice := rand.New(rand.NewPCG(uint64(number(envSeed)), uint64(worker)))
			var holds []Hold
			for {
				if len(holds) > 8 || len(holds) > 0 && dice.IntN(2) == 0 {
					h.Release(holds[len(holds)-1])
					holds = holds[:len(holds)-1]
				} else {
					c := cellsOfTest[dice.IntN(len(cellsOfTest))]
					if hold, ok := h.Acquire(c.cell, dice.Int64N(4), c.limit); ok {
						holds = append(holds, hold)
					}
				}
				table.Generation(area).Requests.Add(1)
			}
		}()
	}
	select {}
}

// held is what the holder words say that an area holds of a cell; an announced
// change counts when the cell shows it. Nobody may change the table meanwhile.
func held(c *cells, area, cell int) (sum int64) {
	for i := range c.used(area) {
		v := c.holder(area, i).Load()
		if c.cellOf(v) != cell {
			continue
		}
		happened := c.sign(c.cell(cell).Load()) == c.signature(area, i, v)
		state := v & stateMask
		if state == stateHeld || state == stateAdding && happened || state == stateRemoving && !happened {
			sum += int64(v >> amountAt & amountMask)
		}
	}
	return sum
}

// Processes are stopped and killed at any instruction while they take and give
// back. Whenever they stand still a cell is exactly the sum of what is held of
// it, it never passes its limit, and nothing is left once all are reaped.
func TestCellsAreExactWhoeverIsKilled(t *testing.T) {
	for _, what := range []string{"cells", "records"} {
		t.Run(what, func(t *testing.T) {
			table, fd := newTestTable(t, 1)
			kind := &table.hosts
			if what == "records" {
				kind = &table.parallel
			}
			killAtAnyInstruction(t, table, kind, newChildren(t, table, fd, what))
		})
	}
}

func killAtAnyInstruction(t *testing.T, table *Table, kind *cells, p *children) {
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	value := func(cell int) int64 { return kind.value(kind.cell(cell).Load()) }
	var watching atomic.Bool
	watching.Store(true)
	var watcher sync.WaitGroup
	watcher.Add(1)
	go func() {
		defer watcher.Done()
		for watching.Load() {
			for _, c := range cellsOfTest {
				if n := value(c.cell); n < 0 || n > c.limit {
					t.Errorf("cell %d is %d, its limit %d", c.cell, n, c.limit)
					return
				}
			}
		}
	}()
	living := []child{p.start(), p.start(), p.start()}
	changes, kills, announced := uint64(0), 0, 0
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		time.Sleep(time.Duration(dice.IntN(10_000)) * time.Microsecond)
		victim := dice.IntN(len(living))
		c := living[victim]
		if table.Generation(c.area).Requests.Load() == 0 {
			continue // has not begun
		}
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		kills++
		changes += table.Generation(c.area).Requests.Load()
		for i := range kind.used(c.area) {
			if s := kind.holder(c.area, i).Load() & stateMask; s == stateAdding || s == stateRemoving {
				announced++
			}
		}
		p.kill(c) // which reaps, beside neighbours that go on
		for i := range kind.used(c.area) {
			if kind.holder(c.area, i).Load()&stateMask != stateFree {
				t.Fatalf("holder word %d of a reaped area is taken", i)
			}
		}
		living[victim] = p.start()
		if kills%5 == 0 {
			standStill(t, table, kind, living[0].cmd, living[1].cmd, living[2].cmd)
		}
	}
	watching.Store(false)
	watcher.Wait()
	for _, c := range living {
		p.kill(c)
	}
	for _, c := range cellsOfTest {
		if n := value(c.cell); n != 0 {
			t.Errorf("cell %d is %d after the last was reaped", c.cell, n)
		}
	}
	t.Logf("show: %d processes killed after %d changes, %d of them within a change: cells exact", kills, changes, announced)
	if kills < 10 || changes < 1000 {
		t.Errorf("%d kills after %d changes show nothing", kills, changes)
	}
}

// standStill stops all processes, compares, and lets them go on.
func standStill(t *testing.T, table *Table, kind *cells, commands ...*exec.Cmd) {
	t.Helper()
	stopped(t, func() {
		for _, c := range cellsOfTest {
			sum := int64(0)
			for area := range table.Areas() {
				sum += held(kind, area, c.cell)
			}
			if got := kind.value(kind.cell(c.cell).Load()); got != sum {
				t.Errorf("cell %d is %d, its holders have %d", c.cell, got, sum)
			}
		}
	}, commands...)
}

// stopped calls look while all processes stand still.
func stopped(t *testing.T, look func(), commands ...*exec.Cmd) {
	t.Helper()
	for _, c := range commands {
		_ = c.Process.Signal(syscall.SIGSTOP)
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(c.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("process has not stopped: %v, %v", status, err)
		}
	}
	look()
	for _, c := range commands {
		_ = c.Process.Signal(syscall.SIGCONT)
	}
}

// A process that is dead in the middle of a change: each point, with and
// without a neighbour that changes the cell before the area is reaped.
func TestReapKnowsWhetherAChangeHappened(t *testing.T) {
	const cell, n = 5, 3
	for _, c := range []struct {
		name  string
		until func(table *Table, h *Holders) // as far as the dead process came
	}{
		{"adding, announced", func(table *Table, h *Holders) {
			table.hosts.announce(h.area, h.take(), stateAdding, n, cell)
		}},
		{"adding, changed", func(table *Table, h *Holders) {
			table.hosts.change(cell, n, 100, table.hosts.announce(h.area, h.take(), stateAdding, n, cell))
		}},
		{"held", func(_ *Table, h *Holders) { h.Acquire(cell, n, 100) }},
		{"removing, announced", func(table *Table, h *Holders) {
			h.Acquire(cell, n, 100)
			table.hosts.announce(h.area, 0, stateRemoving, n, cell)
		}},
		{"removing, changed", func(table *Table, h *Holders) {
			h.Acquire(cell, n, 100)
			table.hosts.change(cell, -n, 100, table.hosts.announce(h.area, 0, stateRemoving, n, cell))
		}},
		{"gone", func(_ *Table, h *Holders) {
			hold, _ := h.Acquire(cell, n, 100)
			h.Release(hold)
		}},
	} {
		for _, neighbour := range []bool{false, true} {
			table, _ := newTestTable(t, 1)
			dead, _ := table.Claim(0, 1)
			other, _ := table.Claim(0, 2)
			c.until(table, NewHolders(table, dead))
			want := int64(0)
			if neighbour {
				if _, ok := NewHolders(table, other).Acquire(cell, 10, 100); !ok {
					t.Errorf("%s: neighbour refused", c.name)
				}
				want = 10
			}
			table.Reap(dead)
			if got := table.Cell(cell).Load(); got != want {
				t.Errorf("%s, neighbour %v: cell is %d, want %d", c.name, neighbour, got, want)
			}
			table.Reap(dead) // by the successor of a supervisor that died meanwhile
			if got := table.Cell(cell).Load(); got != want {
				t.Errorf("%s, neighbour %v: reaped twice, cell is %d, want %d", c.name, neighbour, got, want)
			}
		}
	}
}

func TestAcquireRefuses(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, _ := table.Claim(0, 1)
	h := NewHolders(table, area)
	for _, c := range []struct {
		name     string
		cell     int
		n, limit int64
		ok       bool
	}{
		{"beyond the limit", 1, 6, 5, false},
		{"exactly the limit", 1, 5, 5, true},
		{"nothing of a full cell", 1, 0, 5, true},
		{"one more", 1, 1, 5, false},
		{"limit lowered", 1, 0, 4, false},
		{"negative", 2, -1, 5, false},
		{"too large an amount", 2, 1 << 30, 1 << 40, false},
		{"largest amount", 2, 1<<30 - 1, 1 << 40, true},
		{"largest amount again", 2, 1<<30 - 1, 1 << 40, true},
		{"beyond what a cell holds", 2, 2, 1 << 40, false},
		{"no such cell", MaxCells, 1, 5, false},
		{"negative cell", -1, 1, 5, false},
	} {
		if _, ok := h.Acquire(c.cell, c.n, c.limit); ok != c.ok {
			t.Errorf("%s: %v, want %v", c.name, ok, c.ok)
		}
	}
	h.Release(Hold{})
	if got := table.Cell(1).Load(); got != 5 {
		t.Errorf("cell is %d, want 5", got)
	}
}

func TestHoldersRunOut(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, _ := table.Claim(0, 1)
	h := NewHolders(table, area)
	var last Hold
	for i := range MaxHolders {
		hold, ok := h.Acquire(0, 1, 1<<20)
		if !ok {
			t.Fatalf("refused at %d", i)
		}
		last = hold
	}
	if _, ok := h.Acquire(0, 1, 1<<20); ok {
		t.Error("more holds than words")
	}
	h.Release(last)
	if _, ok := h.Acquire(0, 1, 1<<20); !ok {
		t.Error("refused though one was given back")
	}
	table.Reap(area)
	if n := table.Cell(0).Load(); n != 0 {
		t.Errorf("cell is %d after the reap", n)
	}
}

// The sequence of a word comes round after 1,023 changes; what is signed with
// the same number before and after must not be taken for one another.
func TestSequenceComesRound(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, _ := table.Claim(0, 1)
	h := NewHolders(table, area)
	hold, _ := h.Acquire(3, 1, 10)
	h.Release(hold) // cell 3 shows word 0 and stays as it is
	for changes := range 3000 {
		sign := table.hosts.announce(area, 0, stateAdding, 1, 3)
		if sign&seqMask == 0 || hostCells.sign(table.Cell(3).word.Load()) == sign {
			t.Fatalf("after %d changes: signature %x cannot be told from an older one", changes, sign)
		}
		if table.hosts.settle(area, 0) {
			t.Fatalf("after %d changes: a change that did not happen is taken for one that did", changes)
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	table, _ := newTestTable(b, 1)
	area, _ := table.Claim(0, 1)
	h := NewHolders(table, area)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			hold, ok := h.Acquire(0, 1, 1<<20)
			if !ok {
				b.Error("refused")
				return
			}
			h.Release(hold)
		}
	})
}

// The worst table that there is: every area was used and every word is held.
func BenchmarkReapFullArea(b *testing.B) {
	table, _ := newTestTable(b, 1)
	for n := 1; n <= MaxGenerations; n++ {
		if _, err := table.Claim(0, n); err != nil {
			b.Fatal(err)
		}
	}
	h := NewHolders(table, 0)
	for b.Loop() {
		b.StopTimer()
		h.free, h.used = nil, 0
		for range MaxHolders {
			h.Acquire(0, 1, 1<<20)
		}
		b.StartTimer()
		table.Reap(0)
	}
}
