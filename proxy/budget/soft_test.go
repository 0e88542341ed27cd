package budget

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// Many hosts pass a soft budget: one of them tells, in each window, and again when
// the soft budget is another one. While the database does not say who, each does.
func TestSoftBudgetIsToldOfOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		var told atomic.Int64
		var away atomic.Bool
		var hosts []*host
		for _, name := range []string{"one", "two", "three"} {
			hosts = append(hosts, start(t, s, newTable(t), func(c *Config) {
				c.HostID, c.HostName, c.Idle = name, name, 3*time.Second
				c.Exceeded = func(Exceeded) { told.Add(1) }
				c.FirstPast = func(ctx context.Context, a bill.Account, soft money.Nano) (bool, error) {
					if away.Load() {
						return false, errors.New("no answer")
					}
					return s.FirstPast(ctx, a, soft)
				}
			}))
		}
		marked := func(l *Limit) bool { // every host knows that somebody has told
			for _, h := range hosts {
				r := h.bank.Peek(l.Tag)
				if r == nil || !(account{r}).told(l.Soft, 0) {
					return false
				}
			}
			return true
		}
		pass := func(what string, amount money.Nano, want int64) {
			t.Helper()
			var l *Limit
			for _, h := range hosts {
				l = NewLimit(bill.KindTeam, "t", None, amount, "", time.Time{}, nil)
				for range 3 {
					h.spend(t, 2*cent, 2*cent, l)
				}
			}
			eventually(t, what+": every host has seen it", func() bool { return marked(l) })
			eventually(t, what+": it is told of", func() bool { return told.Load() >= want })
			time.Sleep(200 * time.Millisecond) // for those who tell what was told already
			if n := told.Load(); n != want {
				t.Errorf("%s: told %d times, want %d", what, n, want)
			}
		}
		pass("passed", 3*cent, 1)
		pass("still passed", 3*cent, 1)
		pass("another soft budget", 5*cent, 2)
		away.Store(true)
		pass("the database does not answer", 7*cent, 2+3)
	})
}

// A window that begins is told of anew, whoever told of the last one.
func TestSoftBudgetOfEachWindow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *store.Store) {
		a := bill.Account{Kind: bill.KindKey, ID: "k", Window: "1h", Start: time.Now().Truncate(time.Hour).Unix()}
		asks := []bill.LeaseAsk{{Kind: a.Kind, ID: a.ID, Window: a.Window, Start: a.Start, Max: money.Dollar, Least: 1, Want: 1, First: true}}
		if _, err := s.Lease(t.Context(), "h", asks); err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct {
			later int64
			soft  money.Nano
			first bool
		}{{0, cent, true}, {0, cent, false}, {0, 2 * cent, true}, {0, 2 * cent, false}, {3600, 2 * cent, true}, {3600, 2 * cent, false}} {
			at := a
			at.Start += c.later
			if first, err := s.FirstPast(t.Context(), at, c.soft); err != nil || first != c.first {
				t.Errorf("%d: first is %v, want %v: %v", i, first, c.first, err)
			}
		}
		if first, err := s.FirstPast(t.Context(), bill.Account{Kind: bill.KindKey, ID: "of nobody"}, cent); err != nil || first {
			t.Errorf("a window that is not there: %v %v", first, err)
		}
	})
}
