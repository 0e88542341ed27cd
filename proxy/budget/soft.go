package budget

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// Exceeded is the event that more was spent than a soft budget says.
type Exceeded struct {
	Limit *Limit
	Spent money.Nano
	Start int64 // unix seconds of the window, 0 for all time
}

// soft is a budget that may have passed its soft one: what is settled is not in
// the database yet.
type soft struct {
	limit *Limit
	account
	start int64
}

// watch looks whether a soft budget was passed, going by what is known on this
// host.
func (b *Budgets) watch(l *Limit, start int64) {
	p := l.place.Load()
	if p == nil || !p.record.Is(l.Tag) {
		return
	}
	now, a := fleet.Now(), account{p.record}
	used, _ := a.used(now)
	if a.spent()+used < l.Soft || a.told(l.Soft, start) {
		return
	}
	last := l.looked.Load()
	if now < last+int64(time.Second) || !l.looked.CompareAndSwap(last, now) {
		return
	}
	b.mu.Lock()
	b.soft[l.Tag] = soft{l, a, start}
	b.mu.Unlock()
}

// lookAtSoft asks the database what the watched budgets have come to. Those that
// are told of, or have not got there by what is known now, are watched no more.
func (b *Budgets) lookAtSoft() {
	b.mu.Lock()
	watched := make([]soft, 0, len(b.soft))
	for tag, s := range b.soft {
		used, _ := s.used(fleet.Now())
		if s.told(s.limit.Soft, s.start) || !s.Is(tag) || s.spent()+used < s.limit.Soft {
			delete(b.soft, tag)
			continue
		}
		watched = append(watched, s)
	}
	b.mu.Unlock()
	slices.SortFunc(watched, func(x, y soft) int { return int(x.start - y.start) })
	for _, s := range watched {
		b.ask(s.limit, s.account, s.start, 1)
	}
}

// exceeded tells of a soft budget that was passed, where no other host has.
// Where the database does not say, this one does.
func (b *Budgets) exceeded(all context.Context, e *Exceeded) {
	l := e.Limit
	if b.c.FirstPast != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(all), b.c.Wait)
		defer cancel()
		first, err := b.c.FirstPast(ctx, bill.Account{Kind: l.Kind, ID: l.ID, Window: l.Duration, Start: e.Start}, l.Soft)
		if err == nil && !first {
			return
		}
	}
	b.c.Metrics.exceeded(l.Kind)
	b.c.Log.Warn("a soft budget is exceeded", slog.String("scope", l.Kind.String()), slog.String("id", l.ID), slog.String("spend", e.Spent.String()),
		slog.String("soft_budget", l.Soft.String()), slog.String("budget_duration", l.Duration))
	if b.c.Exceeded != nil {
		b.c.Exceeded(*e)
	}
}
