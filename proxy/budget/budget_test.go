package budget

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/dbtest"
	"sluice/internal/logtest"
	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const cent = money.Dollar / 100

// host is a host table, with the budgets of one process on it.
type host struct {
	*Budgets
	table *fleet.Table
	store *store.Store
	log   *logtest.Log
	ids   atomic.Uint64
	stop  func()
}

func newTable(t testing.TB) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	table, err := fleet.NewTable(fd, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	return table
}

// start makes a host's budgets and runs them until the test ends.
func start(t testing.TB, s *store.Store, table *fleet.Table, change func(*Config)) *host {
	t.Helper()
	area, err := table.Claim(0, 1+table.Areas())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{table: table, store: s, log: &logtest.Log{}}
	c := Config{
		Table: table, Area: area, HostID: "host", HostName: "name", Leaser: s, Idle: time.Hour, Wait: 30 * time.Second,
		Log: h.log.Logger(),
	}
	if change != nil {
		change(&c)
	}
	h.Budgets = New(c)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	h.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(h.stop)
	return h
}

// try reserves for a new attempt.
func (h *host) try(hold *Hold, amount money.Nano, limits ...*Limit) *Refusal {
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], h.ids.Add(1))
	now := time.Now().UnixNano()
	return h.Reserve(hold, limits, amount, id, 0, now, now+int64(time.Minute))
}

// spend reserves and settles, and ships what it cost.
func (h *host) spend(t testing.TB, amount, cost money.Nano, limits ...*Limit) {
	t.Helper()
	var hold Hold
	if r := h.try(&hold, amount, limits...); r != nil {
		t.Fatalf("refused: %+v", r)
	}
	accounts := hold.Accounts(nil)
	h.Settle(&hold, cost)
	h.ship(t, cost, accounts)
}

// ship writes what an attempt cost into the database, as the ledger does.
func (h *host) ship(t testing.TB, cost money.Nano, accounts []bill.Account) {
	t.Helper()
	row := bill.Attempt{Holder: h.holder, Host: "host"}
	binary.BigEndian.PutUint64(row.RequestID[:], h.ids.Add(1))
	copy(row.RequestID[8:], h.holder)
	row.Intent.At, row.Settle.At, row.Accounts, row.Cost = time.Now().UnixNano(), time.Now().UnixNano(), accounts, cost
	row.Status = bill.StatusSuccess
	if _, err := h.store.Ship(context.Background(), &store.Batch{Host: "host", Rows: []*bill.Attempt{&row}}); err != nil {
		t.Fatal(err)
	}
}

func (h *host) leases(t testing.TB) []bill.Lease {
	t.Helper()
	out, err := h.store.Leases(context.Background(), h.holder, 0, bill.Lease{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually waits for something that others bring about.
func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func both(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	open := func(t *testing.T, c store.Config) {
		c.Pool = 4
		s, err := store.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		test(t, s)
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		open(t, store.Config{Postgres: dbtest.Postgres(t)})
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		open(t, store.Config{SQLite: dbtest.SQLite(t)})
	})
}

func team(id string, maximum money.Nano) *Limit {
	return NewLimit(bill.KindTeam, id, maximum, None, "", time.Time{}, nil)
}

func TestReserve(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), nil)
		key := NewLimit(bill.KindKey, "k", money.Dollar, None, "30d", time.Time{}, nil)
		counts := NewLimit(bill.KindUser, "u", None, None, "", time.Time{}, nil)
		small := team("small", 10*cent)
		var a, b Hold
		if r := h.try(&a, 6*cent, key, counts, small); r != nil {
			t.Fatalf("%+v", r)
		}
		got := fmt.Sprint(a.Accounts(nil))
		start, _ := key.grid.At(time.Now())
		if want := fmt.Sprintf("[{key k 30d %d true} {user u  0 false} {team small  0 true}]", start.Unix()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if a.Claim() == 0 || a.Amount() != 6*cent {
			t.Errorf("claim %d, amount %s", a.Claim(), a.Amount())
		}
		r := h.try(&b, 5*cent, key, counts, small)
		if r == nil || r.Limit != small || r.Away || r.Max != 10*cent || r.Spent != 6*cent || b.Claim() != 0 || len(b.Accounts(nil)) != 0 {
			t.Fatalf("%+v %+v", r, b.Accounts(nil))
		}
		h.Settle(&a, cent)
		if r := h.try(&b, 9*cent, key, counts, small); r != nil {
			t.Errorf("what was given back is not there: %+v", r)
		}
		h.Settle(&b, 9*cent)
		h.Settle(&b, 9*cent) // empty
		if r := h.try(&b, 1, small); r == nil || r.Spent != 10*cent {
			t.Errorf("all is spent: %+v", r)
		}
		if r := h.try(&b, 0, small, key); r != nil {
			t.Errorf("what costs nothing is refused: %+v", r)
		}
		h.Settle(&b, 0)
		if r := h.try(&b, 0, key, team("none", 0)); r == nil || r.Limit.ID != "none" || r.Max != 0 {
			t.Errorf("a budget of nothing: %+v", r)
		}
	})
}

// Nobody has to ask the database for each attempt, and what is leased is never
// more than a tenth of what is left where less will do.
func TestLeasesAreKeptAhead(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), nil)
		l := team("t", 1000*money.Dollar)
		var hold Hold
		for range 3000 {
			if r := h.try(&hold, cent, l); r != nil {
				t.Fatalf("%+v", r)
			}
			h.Settle(&hold, cent)
		}
		asked := h.c.Metrics.asked.Get()
		if asked > 60 || asked < 2 {
			t.Errorf("3000 attempts asked %d times", asked)
		}
		if got := h.leases(t); len(got) != 1 || got[0].Amount > 130*money.Dollar || got[0].Amount < 30*money.Dollar {
			t.Errorf("%+v", got)
		}
		if r := h.try(&hold, 995*money.Dollar, l); r == nil {
			t.Error("more than is left was reserved")
		}
	})
}

// However many ask at the same time, no more is admitted than the budget has, and
// all of it.
func TestNeverTooMuch(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		table := newTable(t)
		hosts := []*host{start(t, s, table, nil), start(t, s, table, nil)} // processes of one host
		hosts = append(hosts, start(t, s, newTable(t), nil))
		limits := []*Limit{team("t", money.Dollar), NewLimit(bill.KindKey, "k", 5*money.Dollar, None, "", time.Time{}, nil)}
		var admitted, refused atomic.Int64
		var wg sync.WaitGroup
		for w := range 24 {
			wg.Go(func() {
				h := hosts[w%len(hosts)]
				var hold Hold
				for range 20 {
					if r := h.try(&hold, cent, limits...); r != nil {
						if r.Away {
							t.Errorf("away: %+v", r)
						}
						refused.Add(1)
						continue
					}
					admitted.Add(1)
					h.Settle(&hold, cent)
				}
			})
		}
		wg.Wait()
		// Each host may keep a rest of its lease that is less than an attempt needs.
		if n := admitted.Load(); n > 100 || n < 98 {
			t.Errorf("%d were admitted to a budget of 100, %d refused", n, refused.Load())
		}
	})
}

// What is leased is spent while the database is away; then nobody knows.
func TestOutage(t *testing.T) {
	h := start(t, nil, newTable(t), func(c *Config) { c.Leaser, c.Allowance, c.Wait = nil, 0, 200*time.Millisecond })
	h.stop()
	s, err := store.Open(store.Config{SQLite: dbtest.SQLite(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	gone := &away{Leaser: s}
	h = start(t, s, newTable(t), func(c *Config) { c.Leaser, c.Allowance, c.Wait = gone, 3*cent, 10*time.Second })
	l, other := team("t", 100*cent), team("other", money.Dollar)
	var holds [40]Hold
	if r := h.try(&holds[0], cent, l); r != nil {
		t.Fatalf("%+v", r)
	}
	gone.off.Store(true)
	n := 1
	for ; n < len(holds); n++ {
		if r := h.try(&holds[n], cent, l); r != nil {
			if !r.Away || r.Limit != l || r.RetryAfter <= 0 {
				t.Errorf("%+v", r)
			}
			break
		}
	}
	if n != 13 { // a tenth of the budget, and the allowance
		t.Fatalf("%d attempts in an outage", n)
	}
	if a := holds[12].Accounts(nil); a[0].Leased || holds[12].Claim() == 0 {
		t.Errorf("reserved from the allowance: %+v", a)
	}
	if r := h.try(&holds[39], cent, other); r == nil || !r.Away {
		t.Errorf("another budget: %+v", r)
	}
	h.Settle(&holds[12], 0)
	if r := h.try(&holds[12], cent, other); r != nil {
		t.Errorf("what was given back of the allowance is not there: %+v", r)
	}
	gone.off.Store(false)
	eventually(t, "the database answers again", func() bool { return h.try(&holds[39], cent, other) == nil })
	gone.off.Store(true)
	for n := range holds {
		h.Settle(&holds[n], cent)
	}
	if got := h.log.Count("budgets cannot be leased now"); got != 1 {
		t.Errorf("an outage is told of %d times", got)
	}
	if one, _ := h.allowance(); money.Nano(one.Record.Words[wordAvailable].Load()) < cent {
		t.Error("the allowance is not whole again")
	}
}

// away is a database that can be switched off.
type away struct {
	Leaser
	off atomic.Bool
}

func (a *away) Lease(ctx context.Context, holder string, asks []bill.LeaseAsk) ([]bill.Granted, error) {
	if a.off.Load() {
		return nil, store.ErrAway
	}
	return a.Leaser.Lease(ctx, holder, asks)
}

func (a *away) Beat(ctx context.Context, h bill.Holder) (bool, error) {
	if a.off.Load() {
		return false, store.ErrAway
	}
	return a.Leaser.Beat(ctx, h)
}

// A maximum that an admin changes holds at once: what was leased under the old
// one goes back.
func TestMaximumIsChanged(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), nil)
		var hold Hold
		h.spend(t, money.Dollar, 50*cent, team("t", 100*money.Dollar))
		low := team("t", 60*cent)
		if r := h.try(&hold, 11*cent, low); r == nil || r.Max != 60*cent || r.Spent != 50*cent {
			t.Fatalf("%+v", r)
		}
		asked := h.c.Metrics.asked.Get()
		for range 20 {
			if r := h.try(&hold, 11*cent, low); r == nil {
				t.Fatal("it fits now")
			}
		}
		if n := h.c.Metrics.asked.Get() - asked; n > 3 {
			t.Errorf("20 refusals asked %d times", n)
		}
		if r := h.try(&hold, 10*cent, low); r != nil {
			t.Errorf("what is left is refused: %+v", r)
		}
		h.Settle(&hold, 10*cent)
		if r := h.try(&hold, cent, low); r == nil {
			t.Error("all is spent")
		}
		if r := h.try(&hold, cent, team("t", 62*cent)); r != nil {
			t.Errorf("a raised budget: %+v", r)
		}
	})
}

// Idle leases go back, what a dead process has left of them too, and the record
// is free for another budget.
func TestIdleLeases(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), func(c *Config) { c.Idle = time.Second })
		l := team("t", 100*cent)
		var hold, open Hold
		for _, hold := range []*Hold{&hold, &open} {
			if r := h.try(hold, cent, l); r != nil {
				t.Fatalf("%+v", r)
			}
		}
		accounts := hold.Accounts(nil)
		h.Settle(&hold, cent)
		r := h.bank.Peek(l.Tag)
		r.Words[wordAvailable].Add(^uint64(2*cent - 1)) // a killed process was between two instructions
		eventually(t, "what is available went back; one cent is spent, one reserved, and of two nobody knows", func() bool {
			got := h.leases(t)
			return account{r}.available() == 0 && len(got) == 1 && got[0].Amount == 4*cent
		})
		h.table.Header().JournalShipped.Store(fleet.Now() + int64(time.Hour)) // but one is in flight
		time.Sleep(2 * time.Second)
		if got := h.leases(t); len(got) != 1 || got[0].Amount != 4*cent {
			t.Errorf("an attempt is in flight: %+v", got)
		}
		h.table.Header().JournalShipped.Store(0)
		accounts = append(accounts, open.Accounts(nil)...)
		h.Settle(&open, 0)
		h.ship(t, cent, accounts[:1])
		h.table.Header().JournalShipped.Store(fleet.Now() + int64(time.Hour))
		eventually(t, "the lease is ended", func() bool { return len(h.leases(t)) == 0 })
		eventually(t, "its record is free", func() bool { return r.Words[wordLeased].Load() == 0 })
		if got, err := s.Lease(t.Context(), "other", []bill.LeaseAsk{{Kind: bill.KindTeam, ID: "t", Max: 100 * cent, Least: 99 * cent, Want: 99 * cent}}); err != nil ||
			got[0].Amount != 99*cent || got[0].Spend != cent {
			t.Errorf("%+v %v", got, err)
		}
	})
}

// What an earlier life of the host held is given back when its journals are
// shipped and it was silent for a while; another host's is not.
func TestEarlierLives(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		first := start(t, s, newTable(t), nil)
		elsewhere := start(t, s, newTable(t), func(c *Config) { c.HostID = "elsewhere" })
		var hold Hold
		for _, h := range []*host{first, elsewhere} {
			if r := h.try(&hold, 40*cent, team("t", money.Dollar)); r != nil {
				t.Fatalf("%+v", r)
			}
		}
		first.stop()
		elsewhere.stop()
		second := start(t, s, newTable(t), func(c *Config) { c.Idle, c.Gone = time.Second, 2*time.Second })
		if r := second.try(&hold, 50*cent, team("t", money.Dollar)); r == nil || r.Away {
			t.Fatalf("%+v", r)
		}
		second.table.Header().Earlier.Tell(nil)
		eventually(t, "the earlier life's lease went back", func() bool { return len(first.leases(t)) == 0 })
		eventually(t, "it can be leased", func() bool { return second.try(&hold, 50*cent, team("t", money.Dollar)) == nil })
		if len(elsewhere.leases(t)) != 1 {
			t.Error("another host's lease is gone")
		}
	})
}

// A host that was released while it was out of touch has nothing of what it had.
func TestReleasedMeanwhile(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), func(c *Config) { c.Idle = 2 * time.Second })
		l := team("t", money.Dollar)
		var hold Hold
		if r := h.try(&hold, cent, l); r != nil {
			t.Fatalf("%+v", r)
		}
		h.Settle(&hold, 0)
		if _, _, err := s.ReleaseHolder(t.Context(), h.holder); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is forgotten", func() bool { return h.c.Metrics.forgotten.Get() > 0 })
		if r := h.try(&hold, money.Dollar, l); r != nil {
			t.Errorf("the whole budget is there: %+v", r)
		}
	})
}

// A database that has lost commits does not know a lease any more: what is left of
// it is not spent.
func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), nil)
		l := team("t", 10*money.Dollar)
		var hold, more Hold
		if r := h.try(&hold, 10*cent, l); r != nil {
			t.Fatalf("%+v", r)
		}
		if err := s.ReturnLeases(t.Context(), h.holder, []bill.Lease{{Kind: bill.KindTeam, ID: "t", Amount: 90 * cent}}); err != nil {
			t.Fatal(err)
		}
		if r := h.try(&more, 9*money.Dollar, l); r != nil {
			t.Fatalf("%+v", r)
		}
		leases := h.leases(t)
		if a := (account{h.bank.Peek(l.Tag)}); len(leases) != 1 || a.available()+more.Amount() > leases[0].Amount {
			t.Errorf("%s are available, %s reserved, and the lease is %+v", a.available(), more.Amount(), leases)
		}
		if n := h.log.Count("has lost a lease"); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

func TestSoftBudget(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		var told atomic.Int64
		var last atomic.Pointer[Exceeded]
		h := start(t, s, newTable(t), func(c *Config) {
			c.Idle = 3 * time.Second
			c.Exceeded = func(e Exceeded) {
				last.Store(&e)
				told.Add(1)
			}
		})
		only := NewLimit(bill.KindTeam, "only", None, 5*cent, "1d", time.Time{}, nil)
		under := NewLimit(bill.KindKey, "k", 50*cent, 40*cent, "", time.Time{}, nil)
		for range 4 {
			h.spend(t, 2*cent, cent, only, under)
		}
		time.Sleep(1500 * time.Millisecond)
		if told.Load() != 0 {
			t.Fatalf("told of %+v", last.Load())
		}
		for range 3 {
			h.spend(t, 2*cent, cent, only, under)
		}
		eventually(t, "the soft budget is told of", func() bool { return told.Load() == 1 })
		if e := last.Load(); e.Limit != only || e.Spent < 5*cent || e.Spent > 7*cent || e.Start == 0 {
			t.Errorf("%+v", e)
		}
		for range 5 {
			h.spend(t, 2*cent, cent, only)
		}
		time.Sleep(1500 * time.Millisecond)
		if told.Load() != 1 || h.log.Count("a soft budget is exceeded") != 1 {
			t.Errorf("told %d times", told.Load())
		}
	})
}

// In a new window there is room again, and rows of the old one change nothing.
func TestWindowChanges(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), nil)
		l := NewLimit(bill.KindTeam, "t", 10*cent, None, "1h", time.Time{}, nil)
		at := time.Date(2026, 11, 21, 10, 59, 59, 0, time.UTC).UnixNano()
		reserve := func(hold *Hold, amount money.Nano, now int64) *Refusal {
			return h.Reserve(hold, []*Limit{l}, amount, [16]byte{}, 0, now, now+int64(time.Minute))
		}
		var old, hold Hold
		if r := reserve(&old, 8*cent, at); r != nil {
			t.Fatalf("%+v", r)
		}
		late := old.Accounts(nil)
		if r := reserve(&hold, 4*cent, at); r == nil {
			t.Fatal("12 cents of 10")
		}
		next := at + int64(2*time.Second)
		eventually(t, "a refusal is not repeated in the next window, in which 8 cents are still reserved", func() bool {
			return reserve(&hold, 2*cent, next) == nil
		})
		if a := hold.Accounts(nil); a[0].Start != late[0].Start+3600 {
			t.Errorf("%+v after %+v", a, late)
		}
		h.Settle(&old, 8*cent)
		h.ship(t, 8*cent, late)
		var more Hold
		eventually(t, "there is room for what the old window's attempt had", func() bool { return reserve(&more, 8*cent, next) == nil })
	})
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("ü", 2000)
	if l := NewLimit(bill.KindKeyModel, long, 1, None, "", time.Time{}, nil); len(l.ID) > 1024 || l.Tag == NewLimit(bill.KindKeyModel, long+"x", 1, None, "", time.Time{}, nil).Tag {
		t.Errorf("%d bytes", len(l.ID))
	}
	if l := NewLimit(bill.KindTeam, "t\x00\xff", -7, -9, "often", time.Time{}, nil); l.Max != None || l.Soft != None || l.Duration != "" || strings.Contains(l.ID, "\xff") || strings.Contains(l.ID, "\x00") {
		t.Errorf("%+v", l)
	}
	seen := map[uint64]string{}
	for _, k := range []bill.Kind{bill.KindKey, bill.KindTeam, bill.KindProxy} {
		for _, id := range []string{"", "a", "b", "ab"} {
			for _, d := range []string{"", "1d", "30d"} {
				name := fmt.Sprint(k, id, d)
				if tag := Tag(k, id, d); tag == 0 || seen[tag] != "" {
					t.Errorf("%s and %s are one", name, seen[tag])
				} else {
					seen[tag] = name
				}
			}
		}
	}
}

func TestWords(t *testing.T) {
	for _, n := range []money.Nano{0, 1, 1023, 1024, 999_999, money.Dollar, 12_345_678 * money.Dollar / 100, endless} {
		if got := exact(rough(n)); got > n || got < n-n/500 {
			t.Errorf("%d is kept as %d", n, got)
		}
	}
	a := account{&fleet.Record{}}
	now := int64(1000 * time.Second)
	if a.need(now, time.Minute) != 0 || !a.under(5) {
		t.Error("a new record knows something")
	}
	a.noteLease(now-int64(10*time.Second), 5, 100*cent)
	a.Words[wordAvailable].Store(uint64(40 * cent))
	if n := a.need(now, time.Minute); n < 350*cent || n > 365*cent {
		t.Errorf("60 cents in 10 seconds are %s in a minute", n)
	}
	if !a.under(5) || a.under(6) {
		t.Error("under another maximum")
	}
	a.refuse(now+int64(time.Second), 5, 3*cent)
	if a.refused(now, 5, 43*cent) || !a.refused(now, 5, 44*cent) || a.refused(now, 6, 99*cent) || a.refused(now+int64(2*time.Second), 5, 99*cent) {
		t.Error("refusals")
	}
	if !a.tell(7, 8) || a.tell(7, 8) || !a.told(7, 8) || !a.tell(7, 9) || !a.refused(now, 5, 99*cent) {
		t.Error("told once")
	}
	table := newTable(t)
	for n := range 4 {
		if area, err := table.Claim(0, n+1); err != nil || area != n {
			t.Fatal(area, err)
		}
	}
	second := int64(time.Second)
	lock := a.lock(table, 3, now, now+second)
	if lock == 0 || a.lock(table, 2, now, now+second) != 0 {
		t.Error("two have the right to lease")
	}
	late := a.lock(table, 2, now+2*second, now+9*second)
	if late == 0 || a.mine(lock) || !a.mine(late) {
		t.Error("the right of one that hangs does not end")
	}
	a.unlock(lock)
	if !a.busy() {
		t.Error("who lost the right gives it back")
	}
	table.Reap(2)
	if a.lock(table, 1, now+3*second, now+9*second) == 0 {
		t.Error("the right of a dead process does not end with it")
	}
	table.Reap(1)
	if _, err := table.Claim(0, 77); err != nil || a.lock(table, 0, now+4*second, now+9*second) == 0 {
		t.Error("the right of a dead process goes over to another one in its area")
	}
}

func TestReserveAllocatesNothing(t *testing.T) {
	h, limits := benchHost(t)
	var hold Hold
	id, now := [16]byte{9}, time.Now().UnixNano()
	if n := testing.AllocsPerRun(1000, func() {
		if r := h.Reserve(&hold, limits, 100, id, 1, now, now); r != nil {
			t.Fatalf("%+v", r)
		}
		h.Settle(&hold, 50)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// benchHost has budgets of three objects with a large lease each.
func benchHost(t testing.TB) (*host, []*Limit) {
	t.Helper()
	s, err := store.Open(store.Config{SQLite: filepath.Join(t.TempDir(), "none.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h := start(t, s, newTable(t), nil)
	limits := []*Limit{
		NewLimit(bill.KindKey, "k", 1000*money.Dollar, None, "30d", time.Time{}, nil), team("t", 1000*money.Dollar),
		NewLimit(bill.KindUser, "u", 1000*money.Dollar, None, "1d", time.Time{}, nil),
	}
	for _, l := range limits {
		a := account{l.record(h.bank, fleet.Now())}
		a.add(1000 * money.Dollar)
		a.noteLease(fleet.Now(), l.Max, 1000*money.Dollar)
	}
	return h, limits
}

func BenchmarkReserveAndSettle(b *testing.B) {
	h, limits := benchHost(b)
	var hold Hold
	id, now := [16]byte{9}, time.Now().UnixNano()
	b.ReportAllocs()
	for b.Loop() {
		if r := h.Reserve(&hold, limits, 100, id, 1, now, now); r != nil {
			b.Fatalf("%+v", r)
		}
		h.Settle(&hold, 0)
	}
}
