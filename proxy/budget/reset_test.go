package budget

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"sluice/internal/logtest"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// Of many processes one looks at a time, and each again after its time.
func TestResets(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		past := time.Now().Add(-72 * time.Hour)
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			return tx.Insert(&identity.Key{Token: "k", Spend: money.Dollar, Caps: identity.Caps{BudgetDuration: "1d", BudgetResetAt: &past}})
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		looks, objects, at := 0, 0, time.Now()
		c := ResetConfig{
			ResetSpend: func(ctx context.Context, now time.Time, window store.Window) (int, error) {
				n, err := s.ResetSpend(ctx, now, window)
				mu.Lock()
				defer mu.Unlock()
				looks, objects = looks+1, objects+n
				return n, err
			},
			Meta: func(ctx context.Context, name string) (string, error) {
				text, err := s.Meta(ctx, name)
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
				return text, err
			},
			SwapMeta: s.SwapMeta, Least: 10 * time.Minute, Log: slog.New(slog.DiscardHandler),
			Now: func() time.Time { return at },
		}
		all := func(want int) {
			t.Helper()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if _, err := c.turn(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if looks != want {
				t.Errorf("%d processes have looked, want %d", looks, want)
			}
		}
		all(1)
		all(1)
		at = at.Add(11 * time.Minute)
		all(2)
		k, err := store.Get[identity.Key](t.Context(), s, "k")
		if err != nil || k.Spend != 0 || !k.BudgetResetAt.After(time.Now()) || objects != 1 {
			t.Errorf("%d objects are reset; %+v %v", objects, k, err)
		}
	})
}

func TestRunResets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	turns := 0
	log := &logtest.Log{}
	RunResets(ctx, ResetConfig{
		Meta: func(context.Context, string) (string, error) {
			if turns++; turns == 3 {
				cancel()
			}
			return "", errors.New("not now")
		},
		Least: time.Millisecond, Log: log.Logger(),
	})
	if turns != 3 || log.Count("not now") != 2 {
		t.Errorf("%d turns, %d told", turns, log.Count("not now"))
	}
}
