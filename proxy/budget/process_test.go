package budget

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/proxy/bill"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

var full = flag.Bool("full", false, "run the crashes of processes in their full form")

// crew is what a worker of the crash test is told.
type crew struct {
	Postgres, SQLite string
	Dir              string // state directory of the host
	Served           string // file in which the provider counts what it was asked for
	Host             string
	Area, Number     int
	Clients, Keys    int
}

// besides is how many tests run at the same time.
const besides = 8

const envCrew = "SLUICE_TEST_CREW"

func TestMain(m *testing.M) {
	if text := os.Getenv(envCrew); text != "" {
		var c crew
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			panic(err)
		}
		if err := c.work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// Tests that run beside others wait for most of their time.
	if n, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String()); err == nil && n < besides {
		if err := flag.Set("test.parallel", strconv.Itoa(besides)); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func (c *crew) store() (*store.Store, error) {
	sc := store.Config{SQLite: c.SQLite, Pool: 8}
	if c.Postgres != "" {
		var err error
		if sc.Postgres, err = postgres.ParseURL(c.Postgres); err != nil {
			return nil, err
		}
		sc.SQLite = ""
	}
	return store.Open(sc)
}

// work is a worker's life: its clients call as fast as they can, until it is
// killed.
func (c *crew) work() error {
	table, err := fleet.OpenTable(3, false)
	if err != nil {
		return err
	}
	s, err := c.store()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	dir := filepath.Join(c.Dir, "journal")
	w, err := journal.Open(journal.Config{
		Dir: dir, Host: c.Host, Holder: Holder(table), Slot: c.Area, Generation: int64(c.Number), Log: log,
	})
	if err != nil {
		return err
	}
	b := New(Config{Table: table, Area: c.Area, HostID: c.Host, HostName: c.Host, Leaser: s, Idle: time.Second, Wait: 20 * time.Second, Log: log})
	l := ledger.New(ledger.Config{Dirs: []string{dir}, HostID: c.Host, Holder: Holder(table), Table: table, Database: s, Batch: 50 * time.Millisecond, Log: log})
	go l.Run(context.Background())
	go b.Run(context.Background())
	tariff, err := price.Compile(map[string]json.RawMessage{"input_cost_per_token": json.RawMessage("0.00001")}, "test")
	if err != nil {
		return err
	}
	served, err := os.OpenFile(c.Served, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	for range c.Clients {
		go c.call(b, w, tariff, served)
	}
	select {}
}

// call is a client: a thousand tokens for a cent, again and again.
func (c *crew) call(b *Budgets, w *journal.Writer, tariff *price.Price, served *os.File) {
	limits := make([][]*Limit, c.Keys)
	for i := range limits {
		limits[i] = []*Limit{
			NewLimit(bill.KindKey, keyName(i), money.Dollar, None, "30d", time.Time{}, nil),
			NewLimit(bill.KindTeam, "everyone", None, None, "", time.Time{}, nil),
			NewLimit(bill.KindUser, "everyone", 1000*money.Dollar, None, "1d", time.Time{}, nil),
		}
	}
	var hold Hold
	for {
		key := mrand.IntN(c.Keys)
		now := time.Now().UnixNano()
		in := &bill.Intent{At: now, CallType: "/v1/chat/completions", Token: keyName(key), Model: "m", Price: tariff.Version(), Prompt: 1000}
		_, _ = rand.Read(in.RequestID[:])
		if r := b.Reserve(&hold, limits[key], cent, in.RequestID, 0, now, now+int64(10*time.Second)); r != nil {
			time.Sleep(time.Duration(20+mrand.IntN(60)) * time.Millisecond)
			continue
		}
		in.Reserved, in.Claim, in.Accounts = hold.Amount(), hold.Claim(), hold.Accounts(nil)
		if err := w.Intent(in, tariff); err != nil {
			b.Settle(&hold, 0)
			continue
		}
		_, _ = served.Write([]byte(keyName(key) + "\n"))
		time.Sleep(time.Duration(mrand.IntN(10)) * time.Millisecond)
		end := &bill.Settle{At: time.Now().UnixNano(), Status: bill.StatusSuccess, HTTPStatus: 200, Cost: cent}
		end.Usage.Input, end.Usage.Total = 1000, 1000
		if err := w.Settle(in.RequestID, 0, end); err == nil {
			b.Settle(&hold, cent)
		}
	}
}

func keyName(i int) string { return fmt.Sprintf("key%02d", i) }

// machine is a host of the crash test: a table, a state directory and workers.
type machine struct {
	t       *testing.T
	crew    crew
	table   *fleet.Table
	fd      int
	number  int
	workers []*worker
}

type worker struct {
	cmd  *exec.Cmd
	area int
}

func newMachine(t *testing.T, c crew) *machine {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 8)
	if err != nil {
		t.Fatal(err)
	}
	c.Dir = t.TempDir()
	m := &machine{t: t, crew: c, table: table, fd: fd}
	t.Cleanup(func() {
		for _, w := range m.workers {
			m.kill(w)
		}
		_ = table.Close()
		_ = unix.Close(fd)
	})
	return m
}

func (m *machine) start() *worker {
	m.number++
	area, err := m.table.Claim(0, m.number)
	if err != nil {
		m.t.Error(err)
		return nil
	}
	c := m.crew
	c.Area, c.Number = area, m.number
	text, err := json.Marshal(c)
	if err != nil {
		m.t.Error(err)
		return nil
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envCrew+"="+string(text), "GOMAXPROCS=2")
	cmd.Stderr = os.Stderr
	dup, err := syscall.Dup(m.fd)
	if err != nil {
		m.t.Error(err)
		return nil
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(dup), "table")}
	if err := cmd.Start(); err != nil {
		m.t.Error(err)
		return nil
	}
	_ = cmd.ExtraFiles[0].Close()
	return &worker{cmd, area}
}

func (m *machine) kill(w *worker) {
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	m.table.Reap(w.area)
}

// Budgets of a dollar, calls of a cent, many clients in many processes on several
// hosts, which are killed all the time: no budget ever admits more than a hundred
// calls. Once the killing has ended nearly all of it can be used: at once what no
// killed process had leased and not noted, a tenth of what was left each time, and in the
// full form the rest too, which is given back when the journals are shipped.
func TestProcessesAreKilled(t *testing.T) {
	workers, clients, least := 2, 16, 50*cent
	if *full {
		workers, clients, least = 4, 64, 99*cent
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		crash(t, crew{Postgres: dbtest.PostgresURL(t)}, 3, workers, clients, least)
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		crash(t, crew{SQLite: dbtest.SQLite(t)}, 1, workers+2, clients, least)
	})
}

func crash(t *testing.T, c crew, hosts, workers, clients int, usable money.Nano) {
	c.Served, c.Clients, c.Keys = filepath.Join(t.TempDir(), "served"), clients, 12
	if err := os.WriteFile(c.Served, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := c.store()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var machines []*machine
	for i := range hosts {
		c.Host = "host" + strconv.Itoa(i)
		m := newMachine(t, c)
		for range workers {
			m.workers = append(m.workers, m.start())
		}
		machines = append(machines, m)
	}
	kills := 0
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); kills++ {
		time.Sleep(time.Duration(20+mrand.IntN(60)) * time.Millisecond)
		m := machines[mrand.IntN(len(machines))]
		i := mrand.IntN(len(m.workers))
		m.kill(m.workers[i])
		m.workers[i] = m.start()
	}
	// What the dead have left is given back, leased again and used.
	var spent map[string]money.Nano
	used := func() bool {
		spent = map[string]money.Nano{}
		asks := make([]bill.LeaseAsk, c.Keys) // that can only be refused
		for i := range asks {
			start, _ := NewLimit(bill.KindKey, "", 1, None, "30d", time.Time{}, nil).grid.At(time.Now())
			asks[i] = bill.LeaseAsk{Kind: bill.KindKey, ID: keyName(i), Window: "30d", Start: start.Unix(), Least: endless, Want: endless}
		}
		windows, err := s.Lease(t.Context(), "observer", asks)
		if err != nil {
			t.Fatal(err)
		}
		for i := range windows {
			spent[keyName(i)] = windows[i].Spend
		}
		for i := range c.Keys {
			if spent[keyName(i)] < usable {
				return false
			}
		}
		return true
	}
	began := time.Now()
	for !used() && time.Since(began) < 2*time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	took := time.Since(began)
	time.Sleep(500 * time.Millisecond) // for one that should not have been
	served := count(t, c.Served)
	least := 100
	for i := range c.Keys {
		name := keyName(i)
		if served[name] > 100 {
			t.Errorf("%s admitted %d calls to a budget of 100", name, served[name])
		}
		if spent[name] > money.Dollar || spent[name] < usable {
			t.Errorf("%s came to %s of a budget of 1.0", name, spent[name])
		}
		least = min(least, served[name])
	}
	t.Logf("show: %d hosts x %d workers x %d clients, %d kills, %d budgets of 100 calls: none admitted more, the least %d; usable %s after the last kill",
		hosts, workers, clients, kills, c.Keys, least, took.Round(100*time.Millisecond))
}

// count counts the lines of a file.
func count(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for line := range bytes.Lines(text) {
		out[string(bytes.TrimSpace(line))]++
	}
	return out
}
