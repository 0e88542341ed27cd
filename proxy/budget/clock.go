package budget

import (
	"context"
	"log/slog"
	"time"

	"sluice/supervisor/fleet"
)

// Hosts count in the same windows only where they agree what time it is. What
// they agree on is the database's clock: it is looked at with every sign of life,
// and kept in the host table as its distance from Now, which nobody can set. So
// this host's own clock may be wrong, or jump, and no window ends early or late.
const (
	clockSlack  = time.Second     // this host's clock is taken for right so far: its rows and windows agree
	clockTold   = 5 * time.Second // from here on the log says that the clocks differ
	clockWithin = time.Second     // an answer that took longer says too little
)

// moment is when something happens for windows, in unix nanoseconds: by this
// host's clock, or by the database's where that differs. at is Now.
func (b *Budgets) moment(now, at int64) int64 {
	clock := b.c.Table.Header().DatabaseClock.Load()
	if clock == 0 {
		return now
	}
	if is := clock + at; apart(is, now) > clockSlack {
		return is
	}
	return now
}

func apart(x, y int64) time.Duration { return max(time.Duration(x-y), time.Duration(y-x)) }

// compareClocks looks what time the database has, and tells when that is not this
// host's, or goes on from somewhere else.
func (b *Budgets) compareClocks(ctx context.Context) error {
	if b.c.Clock == nil {
		return nil
	}
	began := fleet.Now()
	at, err := b.c.Clock(ctx)
	if err != nil {
		return err
	}
	ended, here := fleet.Now(), time.Now().UnixNano()
	if ended-began > int64(clockWithin) {
		return nil
	}
	clock := at.UnixNano() - began - (ended-began)/2
	was := b.c.Table.Header().DatabaseClock.Swap(clock)
	if was != 0 && apart(clock, was) > clockTold {
		b.c.Log.Warn("the clock of the database was set: windows of budgets go by it", slog.Duration("by", rounded(clock-was)))
	}
	ahead, told := here-clock-ended, b.astray.Load()
	switch far := apart(ahead, 0) > clockTold; {
	case far && (told == 0 || apart(ahead, told) > clockTold):
		b.astray.Store(ahead)
		b.c.Log.Warn("the clock of this host is not that of the database: windows of budgets go by the database's, times in rows and logs by this host's",
			slog.Duration("ahead", rounded(ahead)))
	case !far && told != 0:
		b.astray.Store(0)
		b.c.Log.Info("the clock of this host is that of the database again")
	}
	return nil
}

func rounded(n int64) time.Duration { return time.Duration(n).Round(time.Millisecond) }
