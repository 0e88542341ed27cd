package budget

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// tryAt reserves for a new attempt of a host whose clock is off by so much.
func (h *host) tryAt(off time.Duration, hold *Hold, amount money.Nano, limits ...*Limit) *Refusal {
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], h.ids.Add(1))
	now := time.Now().Add(off).UnixNano()
	return h.Reserve(hold, limits, amount, id, 0, now, now+int64(time.Minute))
}

// A host's clock is set: an hour, a month, a year forwards or backwards. Its calls
// stay in the window that it is by the database's clock, and no window has more
// than the budget.
func TestClockOfTheHostJumps(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		h := start(t, s, newTable(t), func(c *Config) { c.Clock = s.Clock })
		eventually(t, "the database's clock is known", func() bool { return h.c.Table.Header().DatabaseClock.Load() != 0 })
		// The window that it is has begun half an hour ago, whenever that is.
		l := NewLimit(bill.KindKey, "purse", 20*cent, None, "1h", time.Now().Add(30*time.Minute), nil)
		spent, refused := money.Nano(0), 0
		starts := map[int64]bool{}
		for _, off := range []time.Duration{
			0, time.Hour, -time.Hour, 0, 30 * 24 * time.Hour, -30 * 24 * time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour, 500 * time.Millisecond, 0,
		} {
			for range 5 {
				var hold Hold
				if r := h.tryAt(off, &hold, cent, l); r != nil {
					if r.Away {
						t.Fatalf("off by %v: %+v", off, r)
					}
					refused++
					continue
				}
				accounts := hold.Accounts(nil)
				starts[accounts[0].Start] = true
				h.Settle(&hold, cent)
				h.ship(t, cent, accounts)
				spent += cent
			}
		}
		if spent != 20*cent || refused != 30 || len(starts) != 1 {
			t.Errorf("%s were spent of 0.2 in %d windows, %d refused", spent, len(starts), refused)
		}
		windows, err := s.WindowsOf(t.Context(), bill.KindKey)
		if err != nil || len(windows) != 1 || windows[0].Spend != 20*cent {
			t.Errorf("the windows are %+v %v", windows, err)
		}
	})
}

// A clock that differs, or was set, is told of once, and when it is right again.
func TestClockIsToldOf(t *testing.T) {
	var off atomic.Int64
	table := newTable(t)
	h := start(t, nil, table, func(c *Config) {
		c.Leaser = nil
		c.Clock = func(context.Context) (time.Time, error) { return time.Now().Add(time.Duration(off.Load())), nil }
	})
	looks := func(by time.Duration, differs, again, set int) {
		t.Helper()
		off.Store(int64(by))
		for range 3 {
			if err := h.compareClocks(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		a, b, c := h.log.Count("is not that of the database"), h.log.Count("of the database again"), h.log.Count("of the database was set")
		if a != differs || b != again || c != set {
			t.Errorf("off by %v: told %d times that it differs, %d that it is right again, %d that it was set; want %d, %d, %d", by, a, b, c, differs, again, set)
		}
		at, ok := table.DatabaseTime()
		if wrong := time.Until(at) - by; !ok || wrong.Abs() > time.Second {
			t.Errorf("off by %v: the database's clock is wrong by %v", by, wrong)
		}
	}
	if _, ok := table.DatabaseTime(); ok {
		t.Error("nobody has looked, and the database's clock is known")
	}
	looks(time.Second, 0, 0, 0)
	looks(-time.Hour, 1, 0, 1)
	looks(-time.Hour-2*time.Second, 1, 0, 1)
	looks(time.Hour, 2, 0, 2)
	looks(0, 2, 1, 3)
}
