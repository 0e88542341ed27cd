//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// killWorkers kills a random worker every so often until it is stopped. Hosts
// that are killed themselves meanwhile are not for it.
func (w *moneyWorld) killWorkers(least, most time.Duration, stop <-chan struct{}, hosts ...*Appliance) (kills int) {
	w.t.Helper()
	if len(hosts) == 0 {
		hosts = w.hosts
	}
	for {
		select {
		case <-stop:
			return kills
		case <-time.After(least + rand.N(most-least)):
		}
		a := hosts[rand.IntN(len(hosts))]
		v := pick(w.t, a.Table())
		if syscall.Kill(v.pid, syscall.SIGKILL) == nil {
			kills++
		}
	}
}

// shipper is the process that holds the lock of a host's ledger, 0 for none.
func (a *Appliance) shipper() int {
	var stat syscall.Stat_t
	if syscall.Stat(filepath.Join(a.Dir, "journal", "ledger.lock"), &stat) != nil {
		return 0
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text()) // 1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF
		if len(field) < 6 || field[1] == "->" || !strings.HasSuffix(field[5], fmt.Sprintf(":%d", stat.Ino)) {
			continue
		}
		if pid, err := strconv.Atoi(field[4]); err == nil {
			return pid
		}
	}
	return 0
}

// killShippers kills the worker that ships, every so often.
func (w *moneyWorld) killShippers(least, most time.Duration, stop <-chan struct{}) (kills int) {
	w.t.Helper()
	for {
		select {
		case <-stop:
			return kills
		case <-time.After(least + rand.N(most-least)):
		}
		a := w.hosts[rand.IntN(len(w.hosts))]
		if pid := a.shipper(); pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			kills++
		}
	}
}

// killAll ends every process of an appliance at once, as a container's end does.
func (a *Appliance) killAll() {
	a.t.Helper()
	killed := map[int]bool{}
	for deadline := time.Now().Add(10 * time.Second); ; {
		left := a.Processes()
		for _, p := range left {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
			killed[p.PID] = true
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%d processes do not end", len(left))
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.Wait(5 * time.Second)
	for pid := range killed { // its descriptors, the listeners too, close after its memory is gone
		Gone(a.t, pid, 5*time.Second)
	}
}

// chaos is one run: a load, what happens meanwhile, and the comparison.
type chaos struct {
	name   string
	lasts  time.Duration
	o      func(t *testing.T) moneyOptions
	fault  func(w *moneyWorld, stop <-chan struct{}) string // returns what it did
	within time.Duration                                    // of the rows being right after the load
	trims  bool                                             // what the dead have left of the disk is looked at as soon as the fault is over
}

func (c *chaos) run(t *testing.T) {
	t.Helper()
	o := moneyOptions{}
	if c.o != nil {
		o = c.o(t)
	}
	w := newMoney(t, o)
	w.cast()
	load := w.newLoad("m").start(24, 60*time.Millisecond, moneyKinds)
	stop, did := make(chan struct{}), make(chan string, 1)
	time.Sleep(500 * time.Millisecond)
	if c.fault != nil {
		go func() { defer close(did); did <- c.fault(w, stop) }() // ends with stop
	} else {
		did <- "nothing"
	}
	time.Sleep(c.lasts)
	close(stop)
	what := <-did
	if c.trims {
		a := w.hosts[0] // of four workers, one that dies leaves one more for a moment
		within(t, 9*time.Second, "the segments of the dead being trimmed", w.hosts, func() bool { return a.untrimmed() <= 2*4 })
	}
	calls := load.stop()
	v := w.settled(calls, c.within)
	t.Logf("%s: %s; %v", c.name, what, v)
	if v.statuses["success"] < 100 || v.entries == 0 {
		t.Errorf("too little happened to prove anything: %v", v)
	}
	// No budget is spent. What killed attempts have reserved is held until their rows
	// are in the database, which can be all that is left of a lease for a moment.
	if n := v.answers[http.StatusTooManyRequests]; n > v.calls/100 {
		t.Errorf("%d of %d calls were refused for budgets that were not spent", n, v.calls)
	}
	for _, a := range w.hosts {
		if log := a.Log(); strings.Contains(log, "panic") {
			t.Errorf("a panic\n%s", a.Tail(40))
		}
	}
}

// untrimmed is how many segments have the size that they were made with.
func (a *Appliance) untrimmed() (n int) {
	a.t.Helper()
	for _, path := range a.segments() {
		if st, err := os.Stat(path); err == nil && st.Size() >= 8<<20 {
			n++
		}
	}
	return n
}

// onSQLite is a world of one host whose database is in its state directory.
func onSQLite(*testing.T) moneyOptions {
	return moneyOptions{Options: Options{Workers: 4}, sqlite: true}
}

// onPostgres is a world of one host on the server of all tests.
func onPostgres(*testing.T) moneyOptions { return moneyOptions{Options: Options{Workers: 4}} }

// TestMoney is the load alone: what was served is in the rows.
func TestMoney(t *testing.T) {
	for name, o := range map[string]func(*testing.T) moneyOptions{"postgres": onPostgres, "sqlite": onSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&chaos{name: "no fault", lasts: length(4*time.Second, time.Minute), o: o, within: 15 * time.Second}).run(t)
		})
	}
}

// M1: workers are killed all the time.
func TestMoneyKilledWorkers(t *testing.T) {
	for name, o := range map[string]func(*testing.T) moneyOptions{"postgres": onPostgres, "sqlite": onSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&chaos{
				name: "M1 " + name, lasts: length(8*time.Second, 30*time.Minute), o: o, within: 20 * time.Second, trims: true,
				fault: func(w *moneyWorld, stop <-chan struct{}) string {
					return fmt.Sprintf("%d workers killed", w.killWorkers(100*time.Millisecond, 500*time.Millisecond, stop))
				},
			}).run(t)
		})
	}
}

// M2: the worker that ships is killed all the time.
func TestMoneyKilledShipper(t *testing.T) {
	for name, o := range map[string]func(*testing.T) moneyOptions{"postgres": onPostgres, "sqlite": onSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&chaos{
				name: "M2 " + name, lasts: length(8*time.Second, 10*time.Minute), o: o, within: 20 * time.Second, trims: true,
				fault: func(w *moneyWorld, stop <-chan struct{}) string {
					n := w.killShippers(200*time.Millisecond, time.Second, stop)
					if n == 0 {
						w.t.Error("nobody held the lock of the ledger")
					}
					return fmt.Sprintf("%d shippers killed", n)
				},
			}).run(t)
		})
	}
}

// M3: PostgreSQL is killed, and stopped at once, while shippers are killed too.
func TestMoneyKilledPostgres(t *testing.T) {
	db := pgtest.New(t)
	(&chaos{
		name: "M3", lasts: length(10*time.Second, 10*time.Minute), within: 30 * time.Second,
		o: func(*testing.T) moneyOptions { return moneyOptions{Options: Options{Workers: 4}, server: db} },
		fault: func(w *moneyWorld, stop <-chan struct{}) string {
			kills := make(chan int, 1)
			go func() { defer close(kills); kills <- w.killShippers(500*time.Millisecond, 2*time.Second, stop) }() // ends with stop
			for n := 0; ; n++ {
				select {
				case <-stop:
					return fmt.Sprintf("the database killed %d times, %d shippers", n, <-kills)
				case <-time.After(1500*time.Millisecond + rand.N(1500*time.Millisecond)):
				}
				db.Kill(w.t)
				time.Sleep(rand.N(500 * time.Millisecond))
				db.Start(w.t)
			}
		},
	}).run(t)
}

// M3, failover: a standby that lacks the last commits is promoted, and the rows
// that were lost with the primary are written again from the journals.
func TestMoneyFailover(t *testing.T) {
	db := pgtest.New(t)
	url := db.Database(t)
	standby := db.Standby(t)
	both := strings.Replace(url, fmt.Sprintf("127.0.0.1:%d", db.Port), fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", db.Port, standby.Port), 1) +
		"&target_session_attrs=read-write"
	w := newMoney(t, moneyOptions{Options: Options{Workers: 4}, url: both, hosts: 1})
	w.cast()
	db.CaughtUp(t, 10*time.Second)
	load := w.newLoad("m").start(24, 60*time.Millisecond, moneyKinds)
	time.Sleep(2 * time.Second)
	standby.Stop(t) // what is committed from now on is lost
	time.Sleep(length(3*time.Second, 10*time.Second))
	committed := w.db.number("SELECT count(*) FROM sluice.spend")
	db.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	kept := w.db.number("SELECT count(*) FROM sluice.spend")
	time.Sleep(length(4*time.Second, 20*time.Second))
	v := w.settled(load.stop(), 30*time.Second)
	t.Logf("M3 failover: %d rows were committed, %d of them kept by the standby; %v", committed, kept, v)
	if committed <= kept {
		t.Errorf("no commit was lost: %d rows before, %d after; too little to prove anything", committed, kept)
	}
}

// M4: the whole appliance is killed, as the end of a container does it.
func TestMoneyKilledAppliance(t *testing.T) {
	for name, o := range map[string]func(*testing.T) moneyOptions{"postgres": onPostgres, "sqlite": onSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&chaos{
				// Whose table is gone is dead when nobody has heard of it for 30 s.
				name: "M4 " + name, lasts: length(9*time.Second, 10*time.Minute), within: time.Minute,
				o: func(t *testing.T) moneyOptions {
					o := o(t)
					o.Env = map[string]string{"SLUICE_START_PAUSE": "0"} // it would wait longer and longer for a start that lasts
					return o
				},
				fault: func(w *moneyWorld, stop <-chan struct{}) string {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return fmt.Sprintf("the appliance killed %d times", n)
						case <-time.After(length(2*time.Second, 10*time.Second)):
						}
						w.hosts[0].killAll()
						w.hosts[0].Start()
						w.hosts[0].slotsReady(4)
					}
				},
			}).run(t)
		})
	}
}

// The same finds a worker that acknowledges records before it has written them,
// and a ledger that adds up rows that were there already.
func TestMoneyKnownBad(t *testing.T) {
	for bad, found := range map[string]func(v *verdict) int{
		"memory-queue": func(v *verdict) int { return len(v.lost) },
		"double-ship":  func(v *verdict) int { return len(v.double) },
	} {
		t.Run(bad, func(t *testing.T) {
			t.Parallel()
			w := newMoney(t, moneyOptions{Options: Options{Workers: 4, Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": bad}}, sqlite: true})
			w.cast()
			load := w.newLoad("bad").start(16, 60*time.Millisecond, moneyKinds)
			// What is read twice is what stood behind a stream that was running when
			// the one that ships was killed: not in every round.
			for round := 1; ; round++ {
				stop, workers, shippers := make(chan struct{}), make(chan int, 1), make(chan int, 1)
				go func() { // ends with stop
					defer close(workers)
					workers <- w.killWorkers(200*time.Millisecond, 600*time.Millisecond, stop)
				}()
				go func() { // ends with stop
					defer close(shippers)
					shippers <- w.killShippers(1200*time.Millisecond, 2*time.Second, stop)
				}()
				time.Sleep(5 * time.Second)
				close(stop)
				n := <-workers + <-shippers
				calls := load.sofar()
				time.Sleep(2 * time.Second) // until their rows are there
				v := w.compare(calls)
				t.Logf("known bad %s: round %d, %d processes killed: %v", bad, round, n, v)
				if found(v) > 0 {
					break
				}
				if round == 5 {
					t.Errorf("%s: nothing was found: the test does not see what it should", bad)
					break
				}
			}
			load.stop()
		})
	}
}
