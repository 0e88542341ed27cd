// Package feed tells the processes of a host what was changed in the identity
// data, whoever of the cluster did it: what this process commits goes into the
// host's ring of changes before the change returns, what other hosts commit is
// found by polling the numbered record of changes. One process of a host polls
// at a time; a notification of the database only makes it earlier.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	// every leaves an idle host, whose dependencies are looked at once a second,
	// below three statements a second.
	every   = 550 * time.Millisecond
	patient = time.Second // a claim holds so long: whoever died with one delays the next poll by this
	answer  = 900 * time.Millisecond
	pause   = 50 * time.Millisecond // between two polls that notifications ask for

	// most is how many changes are told one by one. After more, everything may
	// have changed: that is cheaper, and readers of the ring would be overrun.
	most = fleet.MaxChanges / 2

	recalled = 50 // pages of this many changes that are passed on at most after a time away

	listenClaim = 3 * time.Second
	listenAgain = 2 * time.Second // after a connection that broke
)

// Source is the record of changes: the store.
type Source interface {
	Head(ctx context.Context) (int64, error)
	Since(ctx context.Context, number int64, limit int) ([]store.Changed, error)
	Listen(ctx context.Context, notify func()) error
}

// Feed is one process's part in following the record.
type Feed struct {
	// Changed, where not nil, is told of changes of other hosts before the ring
	// is, those from before this host's first look included: of these all since
	// the number that Remembered says.
	Changed    func([]store.Changed)
	Remembered func() int64

	table  *fleet.Table
	source Source
	log    *slog.Logger
	every  time.Duration
	wake   chan struct{}
	broken bool // the last poll failed in a way that an outage does not explain
}

// New makes a feed; it starts nothing.
func New(table *fleet.Table, source Source, log *slog.Logger) *Feed {
	return &Feed{table: table, source: source, log: log, every: every, wake: make(chan struct{}, 1)}
}

// Committed tells the host of changes that this process has committed, in the
// order of their numbers: it is the store's Config.Committed. When it returns,
// every process of the host sees that something has changed.
func Committed(table *fleet.Table, changes []store.Changed) {
	if len(changes) == 0 {
		return
	}
	tell(table, changes)
	// Where nothing lies between what the host knew and these changes, they need
	// not be polled. Numbers have no gaps.
	table.Header().FeedNumber.CompareAndSwap(changes[0].Number-1, changes[len(changes)-1].Number)
}

// tell publishes changes. One that is a batch of an import stands for a thousand
// objects, of which the record has but a digest.
func tell(table *fleet.Table, changes []store.Changed) {
	batch := func(c store.Changed) bool { return c.Kind == identity.KindImport }
	if len(changes) > most || slices.ContainsFunc(changes, batch) {
		table.PublishChange(fleet.AnyChange, "")
		return
	}
	for i := range changes {
		table.PublishChange(uint8(changes[i].Kind), changes[i].ID)
	}
}

// Run takes this process's turns until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	var listening sync.WaitGroup
	defer listening.Wait()
	listening.Go(func() { f.listen(ctx) })
	next := &f.table.Header().FeedNext
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		woken := false
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-f.wake:
			woken = true
		}
		now, due := fleet.Now(), next.Load()
		claimed := now >= due && next.CompareAndSwap(due, now+int64(patient))
		if claimed || woken {
			f.poll(ctx)
		}
		if claimed {
			next.Store(now + int64(f.every+rand.N(f.every/10))) // hosts do not ask in step
		}
		if woken && store.Pause(ctx, pause) != nil {
			return
		}
		wait := time.Duration(next.Load() - fleet.Now())
		if !claimed { // whoever had the last turn has a connection: it goes first
			wait += 50*time.Millisecond + rand.N(100*time.Millisecond)
		}
		t.Reset(max(wait, 10*time.Millisecond))
	}
}

// poll tells the host what it does not know yet.
func (f *Feed) poll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	err := f.catchUp(ctx)
	broken := err != nil && !store.Away(err) && ctx.Err() == nil
	if broken && !f.broken {
		f.log.Error("the record of changes cannot be read; changes of other hosts are seen late", slog.String("error", err.Error()))
	}
	f.broken = broken
}

func (f *Feed) catchUp(ctx context.Context) error {
	h := f.table.Header()
	known := h.FeedNumber.Load() // before the head is read: it may only grow meanwhile
	head, err := f.source.Head(ctx)
	if err != nil {
		return err
	}
	first := h.IdentityContact.Swap(fleet.Now()) == 0
	switch {
	case head == known:
		return nil
	case first || head-known > most:
		// The first look of this host, which may serve what it knew in an
		// earlier life, or the end of a long outage.
		if err := f.recall(ctx, known, head); err != nil {
			return err
		}
		f.table.PublishChange(fleet.AnyChange, "")
		h.FeedNumber.CompareAndSwap(known, head)
		return nil
	case head < known:
		if h.FeedNumber.CompareAndSwap(known, head) {
			f.table.PublishChange(fleet.AnyChange, "")
			f.log.Warn("the database has fewer changes than before: it was restored or fell back; everything is read again",
				slog.Int64("number", head), slog.Int64("known", known))
		}
		return nil
	}
	changes, err := f.source.Since(ctx, known, most)
	if err != nil || len(changes) == 0 {
		return err
	}
	if f.Changed != nil {
		f.Changed(changes)
	}
	if changes[0].Number > known+1 { // what lies between was moved to a file
		f.table.PublishChange(fleet.AnyChange, "")
	}
	tell(f.table, changes)
	h.FeedNumber.CompareAndSwap(known, changes[len(changes)-1].Number)
	return nil
}

// recall passes on what was changed while this host looked away.
func (f *Feed) recall(ctx context.Context, known, head int64) error {
	if f.Changed == nil {
		return nil
	}
	if known == 0 && f.Remembered != nil {
		known = f.Remembered()
	}
	if known == 0 {
		return nil // nothing is remembered that could be wrong
	}
	for pages := 0; known < head && pages < recalled; pages++ {
		changes, err := f.source.Since(ctx, known, most)
		if err != nil || len(changes) == 0 {
			return err
		}
		f.Changed(changes)
		known = changes[len(changes)-1].Number
	}
	return nil
}

// listen keeps one process of the host listening for notifications.
func (f *Feed) listen(ctx context.Context) {
	claim := &f.table.Header().FeedListen
	for {
		now, until := fleet.Now(), claim.Load()
		if now >= until && claim.CompareAndSwap(until, now+int64(listenClaim)) {
			if err := f.hear(ctx, claim.Store); errors.Is(err, store.ErrNone) || ctx.Err() != nil {
				claim.Store(0) // another process may
				return
			}
			claim.Store(fleet.Now() + int64(listenAgain))
		}
		if store.Pause(ctx, listenAgain/2+rand.N(listenAgain/2)) != nil {
			return
		}
	}
}

// hear listens until the connection breaks, and renews the claim meanwhile.
func (f *Feed) hear(ctx context.Context, renew func(until int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var renewing sync.WaitGroup
	defer renewing.Wait()
	renewing.Go(func() {
		for store.Pause(ctx, listenClaim/3) == nil {
			renew(fleet.Now() + int64(listenClaim))
		}
	})
	defer cancel()
	return f.source.Listen(ctx, func() {
		select {
		case f.wake <- struct{}{}:
		default: // a poll is due already
		}
	})
}
