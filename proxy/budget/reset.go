package budget

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"sluice/proxy/window"
)

// ResetConfig is what the resets of spend need.
type ResetConfig struct {
	// ResetSpend does what is due by a clock, in small steps: the store's.
	ResetSpend func(ctx context.Context, now time.Time, window func(duration string, reset time.Time) (start, end time.Time)) (int, error)
	// Meta reads a text that the whole cluster has, "" where there is none, and
	// SwapMeta replaces it where it is still the old one.
	Meta     func(ctx context.Context, name string) (string, error)
	SwapMeta func(ctx context.Context, name, old, value string) (bool, error)

	Zone        *time.Location // of windows; nil: UTC
	Least, Most time.Duration  // between two looks; 0: 597 s and 605 s
	HostID      string
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

// resetMeta is the text that says when resets were looked for last.
const resetMeta = "budget_reset"

// A process looks first when it has been there for a while: one of those that
// start together.
const (
	firstReset = 30 * time.Second
	firstApart = 30 * time.Second
)

// RunResets sets the spend of objects to nothing when their window has ended, until
// ctx ends. It is for who reads: what a budget refuses goes by the windows
// themselves, which need no reset. One process of the cluster looks at a time.
func RunResets(ctx context.Context, c ResetConfig) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Least <= 0 {
		c.Least = 597 * time.Second
	}
	c.Most = max(c.Most, c.Least)
	if c.Zone == nil {
		c.Zone = time.UTC
	}
	wait := min(firstReset, c.Least) + rand.N(min(firstApart, c.Least))
	for {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		n, err := c.turn(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			c.Log.Warn("the spend of budgets could not be reset: it is tried again at the next look", slog.String("error", err.Error()))
		case n > 0:
			c.Log.Info("windows of budgets have begun", slog.Int("objects", n))
		}
		wait = c.Least + rand.N(c.Most-c.Least+1)
	}
}

// turn resets what is due where no other process has looked lately.
func (c *ResetConfig) turn(ctx context.Context) (int, error) {
	now := c.Now()
	old, err := c.Meta(ctx, resetMeta)
	if err != nil {
		return 0, err
	}
	stamp, _, _ := strings.Cut(old, " ")
	if at, err := time.Parse(time.RFC3339, stamp); err == nil && now.After(at) && now.Sub(at) < c.Least/2 {
		return 0, nil
	}
	mine, err := c.SwapMeta(ctx, resetMeta, old, now.UTC().Format(time.RFC3339)+" "+c.HostID)
	if err != nil || !mine {
		return 0, err
	}
	return c.ResetSpend(ctx, now, func(duration string, reset time.Time) (start, end time.Time) {
		return window.Start(duration, reset, c.Zone, now)
	})
}
