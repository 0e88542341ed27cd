package ledger

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"sluice/proxy/store"
)

// Retention is how long rows of spend are kept. Sums are kept for ever.
type Retention struct {
	Period time.Duration // 0: for ever
	Every  time.Duration // 0: a day
	Cron   *Cron         // nil: every Every
}

// leastRetention is how long a row stays at least: as long as it may be shipped
// again, because a failover lost it, or its neighbours in a segment.
const leastRetention = 48 * time.Hour

const (
	deleteRows   = 1000
	deletePause  = 50 * time.Millisecond
	deleteTime   = 10 * time.Minute // of one run; where rows are left, the next is soon
	compareEvery = time.Hour
	compareRows  = 2_000_000        // of a day that is compared every hour
	apartFor     = 30 * time.Minute // from one run in the cluster to the next
)

// jobDelete is the job that deletes rows.
const jobDelete = "delete"

// jobs are what one process of the cluster does now and then: rows that are too
// old are deleted, sums are compared with rows. They run beside shipping.
type jobs struct {
	c       *Config
	running atomic.Bool

	nextDelete, nextCompare time.Time // a job that runs may set its own
}

func (j *jobs) init(c *Config) {
	j.c = c
	now := c.now()
	j.nextDelete, j.nextCompare = now.Add(5*time.Minute), now.Add(10*time.Minute)
	if c.Rows.Cron != nil {
		j.nextDelete = c.Rows.Cron.Next(now)
	}
}

// turn starts what is due. Only who ships does it.
func (j *jobs) turn(ctx context.Context, s *session) {
	now := j.c.now()
	if s.failures > 0 || j.running.Load() {
		return
	}
	switch {
	case !now.Before(j.nextDelete) && (j.c.Rows.Period > 0 || j.c.DisableRows):
		j.nextDelete = j.after(now)
		j.run(ctx, jobDelete, "spend_retention", now, j.deleteOld)
	case !now.Before(j.nextCompare):
		j.nextCompare = now.Add(compareEvery)
		if !j.c.DisableSpend {
			j.run(ctx, "compare", "spend_compared", now, j.compare)
		}
	}
}

// after is when rows are deleted next.
func (j *jobs) after(now time.Time) time.Time {
	if j.c.Rows.Cron != nil {
		return j.c.Rows.Cron.Next(now)
	}
	every := j.c.Rows.Every
	if every <= 0 {
		every = 24 * time.Hour
	}
	return now.Add(every)
}

// run runs a job beside shipping, where no other host has begun it lately.
func (j *jobs) run(ctx context.Context, what, name string, now time.Time, job func(context.Context, time.Time) error) {
	j.running.Store(true)
	go func() {
		defer j.running.Store(false)
		ok, err := j.claim(ctx, what, name, now)
		if err == nil && ok {
			err = job(ctx, now)
		}
		if err != nil && ctx.Err() == nil && !store.Away(err) {
			j.c.Log.Error("a job of the ledger failed: it is tried again at its next time", slog.String("job", what), slog.Any("error", err))
		}
	}()
}

// stamp is what meta says of a job: when it was begun last, by which host, and
// since when nothing is deleted because the clock has gone on too far; zero where
// that is not so.
type stamp struct {
	at, held time.Time
	host     string
}

func readStamp(text string) (st stamp) {
	words := append(strings.Fields(text), "", "", "")
	st.at, _ = time.Parse(time.RFC3339, words[0]) // what cannot be read says nothing
	st.held, _ = time.Parse(time.RFC3339, words[2])
	return st
}

func (st *stamp) String() string {
	text := st.at.UTC().Format(time.RFC3339) + " " + st.host
	if !st.held.IsZero() {
		text += " " + st.held.UTC().Format(time.RFC3339)
	}
	return text
}

// claim takes a job for this process, by its stamp in meta.
func (j *jobs) claim(ctx context.Context, what, name string, now time.Time) (bool, error) {
	old, err := j.c.Database.Meta(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	was := readStamp(old)
	if now.Sub(was.at) < apartFor && now.After(was.at) {
		return false, nil
	}
	is := stamp{at: now, host: j.c.HostID}
	if what == jobDelete {
		is.held = j.held(&was, now)
	}
	ok, err := j.c.Database.SwapMeta(ctx, name, old, is.String())
	if ok && !is.held.IsZero() {
		j.c.Log.Warn("the clock has gone on since rows were deleted last by more than the time between two runs: no row is deleted until it has been so for that time, in case it is wrong",
			slog.Time("last", was.at), slog.Time("since", is.held))
	}
	return ok && is.held.IsZero(), err
}

// held is since when nothing is deleted; the zero time where old rows may be. What
// a clock deletes that was set ahead for a moment does not come back when it is put
// right, so that a leap must have lasted.
func (j *jobs) held(was *stamp, now time.Time) time.Time {
	const late = time.Hour
	since := was.held
	if since.IsZero() {
		since = now
	}
	switch {
	case was.at.IsZero() || !now.After(was.at): // the first time, or the clock was put back
		return time.Time{}
	case !was.held.IsZero() && !now.Before(j.after(was.held)):
		return time.Time{}
	case was.held.IsZero() && now.Before(j.after(j.after(was.at)).Add(late)):
		return time.Time{}
	}
	return since
}

// deleteOld deletes rows that are older than they are to be kept, in steps. What
// it has no time for is deleted as soon as it may run again: a day may add more
// than a run deletes.
func (j *jobs) deleteOld(ctx context.Context, now time.Time) error {
	var before, slim time.Time
	if j.c.Rows.Period > 0 {
		before = now.Add(-max(j.c.Rows.Period, leastRetention, 2*j.c.KeepSegments))
	}
	if j.c.DisableRows {
		slim = now.Add(-max(leastRetention, 2*j.c.KeepSegments))
	}
	total, n, until := 0, 0, now.Add(deleteTime)
	for j.c.now().Before(until) {
		var err error
		n, err = j.c.Database.DeleteSpend(ctx, before, slim, deleteRows)
		total += n
		j.c.Metrics.deleted.Add(n)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := store.Pause(ctx, deletePause); err != nil {
			return err
		}
	}
	if soon := j.c.now().Add(apartFor); n > 0 && soon.Before(j.nextDelete) {
		j.nextDelete = soon
	}
	if total > 0 {
		j.c.Log.Info("old rows of spend were deleted", slog.Int("rows", total), slog.Time("before", before), slog.Bool("more", n > 0))
	}
	return j.c.Database.DeleteUnused(ctx, before, deleteRows)
}

// compare compares yesterday and today.
func (j *jobs) compare(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := j.c.Database.Reconcile(ctx, store.Reconciling{From: now.Add(-24 * time.Hour), To: now, MostRows: compareRows})
	if err != nil {
		return err
	}
	j.c.Metrics.drift.Store(int64(out.Drift))
	j.c.Metrics.driftAt.Store(now.UnixNano())
	if len(out.Places) > 0 {
		d := out.Places[0]
		j.c.Log.Error("sums of spend are not those of their rows: see migrator spend reconcile", slog.Int64("drift_nanodollars", int64(out.Drift)),
			slog.Int("places", len(out.Places)), slog.String("first", d.Where), slog.String("is", d.Is.String()), slog.String("rows", d.Rows.String()))
	}
	return nil
}
