package fleet

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// envClaims makes the child of a test claim instead of hold.
const envClaims = "SLUICE_TEST_CLAIMS"

// leaseOfTest is what each account of the test begins with.
const leaseOfTest = 1000

func testAccounts(t *Table, n int) []Claimed {
	out := make([]Claimed, n)
	for i := range out {
		tag := uint64(i + 1)
		out[i].Tag = tag
		out[i].Record, _ = t.Leases().Find(tag)
	}
	return out
}

// claimForEver claims and gives as fast as it can, until it is killed. What an
// attempt costs follows from its reference.
func claimForEver() {
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	table, err := OpenTable(number(envTable), false)
	if err != nil {
		panic(err)
	}
	area := number(envArea)
	claims := NewClaims(table, area)
	for worker := range 2 {
		go func() {
			dice := rand.New(rand.NewPCG(uint64(number(envSeed)), uint64(worker)))
			accounts := testAccounts(table, 8)
			type flight struct {
				held uint32
				cost int64
			}
			var flights []flight
			for n := int64(0); ; n++ {
				if len(flights) > 6 || len(flights) > 0 && dice.IntN(2) == 0 {
					f := flights[len(flights)-1]
					flights = flights[:len(flights)-1]
					claims.Give(f.held, f.cost)
				} else {
					dice.Shuffle(len(accounts), func(i, j int) { accounts[i], accounts[j] = accounts[j], accounts[i] })
					ref := dice.Uint64()
					if held, failed := claims.Hold(ref, n, 1+dice.Int64N(300), accounts[:1+dice.IntN(5)]); failed < 0 {
						flights = append(flights, flight{held, 0})
					}
				}
				table.Generation(area).Requests.Add(1)
			}
		}()
	}
	select {}
}

// Processes are killed at any instruction while they claim and give back. What
// an account has, with what living claims have of it, is never more than was put
// in, and less only by what of a killed process nobody can know.
func TestClaimsNeverGiveTwice(t *testing.T) {
	table, fd := newTestTable(t, 1)
	accounts := testAccounts(table, 8)
	for _, a := range accounts {
		a.Record.Words[WordAvailable].Store(leaseOfTest)
	}
	dice := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 7))
	type process struct {
		cmd        *exec.Cmd
		area       int
		generation uint32
	}
	generation := 0
	start := func() process {
		generation++
		area, err := table.Claim(0, generation)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envClaims+"=1", envTable+"=3", envArea+"="+strconv.Itoa(area), envSeed+"="+strconv.Itoa(dice.Int()))
		dup, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup), "table")}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.ExtraFiles[0].Close()
		return process{cmd, area, uint32(generation)}
	}
	kill := func(p process) {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		table.Reap(p.area)
	}
	living := []process{start(), start(), start()}
	defer func() {
		for _, p := range living {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	}()
	kills, within, changes := 0, 0, uint64(0)
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
		time.Sleep(time.Duration(dice.IntN(8000)) * time.Microsecond)
		victim := dice.IntN(len(living))
		p := living[victim]
		n := table.Generation(p.area).Requests.Load()
		if n == 0 {
			continue // has not begun
		}
		kill(p)
		kills++
		changes += n
		table.EachClaim(func(c *ClaimInfo) {
			if c.Generation == p.generation && !c.Held {
				within++
			}
		})
		living[victim] = start() // in the same area, beside what the dead one has left
		if dice.IntN(3) > 0 {
			table.RecoverClaims(func(g uint32) bool { return g == p.generation }, func(uint64, int64) int64 { return 0 })
		}
	}
	for _, p := range living {
		kill(p)
	}
	living = nil
	lost := int64(0)
	table.RecoverClaims(func(uint32) bool { return true }, func(uint64, int64) int64 { return 0 })
	table.EachClaim(func(c *ClaimInfo) { t.Errorf("a claim of generation %d is left", c.Generation) })
	for i, a := range accounts {
		v := int64(a.Record.Words[WordAvailable].Load())
		if v > leaseOfTest || v < 0 {
			t.Errorf("account %d has %d of %d", i, v, leaseOfTest)
		}
		lost += leaseOfTest - v
	}
	t.Logf("show: %d processes killed after %d changes, %d claims within one: %d of %d lies idle, nothing was given twice",
		kills, changes, within, lost, 8*leaseOfTest)
	if kills < 10 || changes < 1000 {
		t.Errorf("%d kills after %d changes show nothing", kills, changes)
	}
	if lost > int64(within)*300 {
		t.Errorf("%d is lost of %d claims that were within a change", lost, within)
	}
}

// A process that is dead at each point of a claim: what its accounts have
// afterwards, and that recovering twice is recovering once.
func TestRecoverKnowsHowFarAClaimWas(t *testing.T) {
	const amount, cost = 100, 30
	const more = 170 // than was reserved
	type world struct {
		table  *Table
		claims *Claims
		a      []Claimed
	}
	begin := func(w *world, accounts int) *claim {
		cl := w.table.claim(w.claims.area, w.claims.take())
		cl.set(1, 9)
		cl.set(2, 1<<8|uint64(accounts))
		cl.set(3, amount)
		index := uint64(0)
		for i := range accounts {
			index |= uint64(w.table.Leases().Index(w.a[i].Record)) << (i * claimIndexBits)
		}
		cl.set(5, index)
		return cl
	}
	for _, c := range []struct {
		name  string
		until func(w *world)
		costs int64
		want  []int64
	}{
		{"taken from the list", func(w *world) { w.claims.take() }, 0, []int64{1000, 1000, 1000}},
		{"written, not begun", func(w *world) { begin(w, 3) }, 0, []int64{1000, 1000, 1000}},
		{"second account begun", func(w *world) {
			cl := begin(w, 3)
			cl.enter(claimTaking, 1, 1)
			w.a[0].take(amount)
			cl.enter(claimTaking, 2, 1)
		}, 0, []int64{1000, 1000, 1000}},
		{"second account taken", func(w *world) {
			cl := begin(w, 3)
			cl.enter(claimTaking, 1, 1)
			w.a[0].take(amount)
			cl.enter(claimTaking, 2, 1)
			w.a[1].take(amount)
		}, 0, []int64{1000, 900, 1000}}, // idle until the lease is returned
		{"held", func(w *world) { w.claims.Hold(9, 1, amount, w.a) }, cost, []int64{970, 970, 970}},
		{"held, and cost more", func(w *world) { w.claims.Hold(9, 1, amount, w.a) }, more, []int64{830, 830, 830}},
		{"first account given", func(w *world) {
			w.claims.Hold(9, 1, amount, w.a)
			cl := w.table.claim(w.claims.area, 1)
			cl.set(4, amount-cost)
			cl.enter(claimGiving, 1, 1)
			w.a[0].Record.Words[WordAvailable].Add(amount - cost)
		}, cost, []int64{970, 970, 970}},
		{"second account begun to be given", func(w *world) {
			w.claims.Hold(9, 1, amount, w.a)
			cl := w.table.claim(w.claims.area, 1)
			cl.set(4, amount-cost)
			cl.enter(claimGiving, 1, 1)
			w.a[0].Record.Words[WordAvailable].Add(amount - cost)
			cl.enter(claimGiving, 2, 1)
		}, cost, []int64{970, 900, 970}},
		{"less than nothing given", func(w *world) {
			w.claims.Hold(9, 1, amount, w.a)
			cl := w.table.claim(w.claims.area, 1)
			cl.set(4, uint64(1<<64-(more-amount)))
			cl.enter(claimGiving, 1, 1)
		}, more, []int64{830, 830, 830}},
		{"gone", func(w *world) {
			held, _ := w.claims.Hold(9, 1, amount, w.a)
			w.claims.Give(held, cost)
		}, more, []int64{970, 970, 970}},
	} {
		table, _ := newTestTable(t, 1)
		area, err := table.Claim(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{table, NewClaims(table, area), testAccounts(table, 3)}
		for _, a := range w.a {
			a.Record.Words[WordAvailable].Store(1000)
		}
		c.until(w)
		for range 2 {
			table.RecoverClaims(func(g uint32) bool { return g == 1 }, func(reference uint64, attempt int64) int64 {
				if reference != 9 || attempt != 1 {
					t.Errorf("%s: asked for attempt %d of %d", c.name, attempt, reference)
				}
				return c.costs
			})
			var got []int64
			for _, a := range w.a {
				got = append(got, int64(a.Record.Words[WordAvailable].Load()))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, err := table.Claim(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	claims, a := NewClaims(table, area), testAccounts(table, MaxClaimAccounts)
	for i := range a {
		a[i].Record.Words[WordAvailable].Store(100)
	}
	held, failed := claims.Hold(7, 3, 40, a)
	if held == 0 || failed >= 0 {
		t.Fatalf("%d accounts: claim %d, failed %d", len(a), held, failed)
	}
	seen := 0
	table.EachClaim(func(c *ClaimInfo) {
		seen++
		if c.Generation != 1 || c.Reference != 7 || c.Attempt != 3 || c.Amount != 40 || !c.Held {
			t.Errorf("%+v", c)
		}
	})
	claimed := table.Claimed()
	if seen != 1 || len(claimed) != len(a) || !claimed[a[MaxClaimAccounts-1].Record] {
		t.Errorf("%d claims, %d accounts of them", seen, len(claimed))
	}
	a[5].Record.Words[WordAvailable].Store(10)
	if _, failed := claims.Hold(8, 0, 40, a); failed != 5 {
		t.Errorf("account 5 has too little, and %d refuses", failed)
	}
	if v := a[4].Record.Words[WordAvailable].Load(); v != 60 {
		t.Errorf("account 4 has %d after a refusal", v)
	}
	a[5].Record.Words[WordAvailable].Store(60)
	claims.Give(held, 15)
	for i := range a {
		if v := a[i].Record.Words[WordAvailable].Load(); v != 85 {
			t.Errorf("account %d has %d", i, v)
		}
	}
	stale := []Claimed{{Record: a[0].Record, Tag: 999_999}}
	if _, failed := claims.Hold(9, 0, 1, stale); failed != 0 || a[0].Record.Words[WordAvailable].Load() != 85 {
		t.Error("an account was taken from that has another's record")
	}
	if _, failed := claims.Hold(1, 0, 0, append(a, a[0])); failed != len(a)+1 {
		t.Error("a claim names more accounts than it has room for")
	}
	for i := range MaxClaims - 1 {
		if _, failed := claims.Hold(uint64(i), 0, 0, a[:1]); failed >= 0 {
			t.Fatalf("claim %d failed", i)
		}
	}
	if _, failed := claims.Hold(0, 0, 0, a[:1]); failed != 1 {
		t.Errorf("a claim too many: %d", failed)
	}
	if n := testing.AllocsPerRun(100, func() {
		claims.Give(uint32(area*MaxClaims+1), 0)
		claims.Hold(0, 0, 0, a[:3])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkClaims(b *testing.B) {
	table, _ := newTestTable(b, 1)
	area, _ := table.Claim(0, 1)
	claims, a := NewClaims(table, area), testAccounts(table, 3)
	for i := range a {
		a[i].Record.Words[WordAvailable].Store(1 << 60)
	}
	b.ReportAllocs()
	for b.Loop() {
		held, _ := claims.Hold(7, 0, 40, a)
		claims.Give(held, 15)
	}
}

// What a killed generation has left is its successor's once it is recovered:
// else each kill would leave the area with fewer attempts that it can have in
// flight.
func TestClaimsLeftAreHandedOut(t *testing.T) {
	table, _ := newTestTable(t, 1)
	area, err := table.Claim(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	account := testAccounts(table, 1)
	account[0].Record.Words[WordAvailable].Store(MaxClaims)
	killed := NewClaims(table, area)
	const left = MaxClaims - 3
	for i := range left {
		if held, _ := killed.Hold(uint64(i), 0, 1, account); held == 0 {
			t.Fatalf("claim %d failed", i)
		}
	}
	table.Reap(area)
	if again, err := table.Claim(0, 2); err != nil || again != area {
		t.Fatalf("area %d, %v", again, err)
	}
	claims := NewClaims(table, area)
	hold := func() (n int) {
		for held, _ := claims.Hold(0, 0, 1, account); held != 0; held, _ = claims.Hold(0, 0, 1, account) {
			n++
		}
		return n
	}
	if n := hold(); n != MaxClaims-1-left {
		t.Errorf("%d claims beside %d that are not recovered", n, left)
	}
	if n := table.RecoverClaims(func(g uint32) bool { return g == 1 }, func(uint64, int64) int64 { return 0 }); n != left {
		t.Fatalf("%d recovered of %d", n, left)
	}
	if n := hold(); n != left {
		t.Errorf("%d claims of %d that were recovered", n, left)
	}
}
