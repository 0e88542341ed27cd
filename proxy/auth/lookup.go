package auth

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// Urgency of a lookup: what one query has no room for waits for the next.
const (
	needed     = iota // a known key that has changed, and somebody waits
	wanted            // an unknown key, and somebody waits
	background        // nobody waits
)

// flight is one lookup of one digest; everybody who asks meanwhile waits for
// the same one.
type flight struct {
	digest  [32]byte
	level   int
	started bool
	done    chan struct{}
	err     error // the database did not answer
	none    bool  // it knows no such key
	record  *record
}

// join makes sure that a digest is looked up and returns the lookup. r is what
// is known about it, and may not be used as it is. The flight is nil where the
// database has not answered lately: the lookup is tried all the same, but it
// is not waited for.
func (d *Directory) join(digest *[32]byte, r *record) (*flight, *llm.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	level, target := wanted, *digest
	if r != nil {
		level, target = needed, d.bestFor(r)
	}
	failing := d.failing()
	if failing {
		level = background
	}
	f := d.fly(target, level)
	switch {
	case f == nil && failing:
		return nil, nil
	case f == nil:
		d.stat.crowded.Inc()
		return nil, crowded()
	case failing:
		return nil, nil
	}
	return f, nil
}

// failing reports whether the database does not answer, so that nobody should
// wait for it. A process that has never heard from it believes what the host
// has seen, and one that has not heard from it lately that another one has.
func (d *Directory) failing() bool {
	if d.failures.Load() >= 2 {
		return !d.heard()
	}
	return !d.answers.Load() && fleet.Dependency(d.head.Database.Load()) == fleet.DependencyDown
}

// heard reports whether the database has answered another process of the host
// since it last failed this one.
func (d *Directory) heard() bool {
	return d.failures.Load() > 0 && d.head.IdentityContact.Load() > d.failedAt.Load()
}

// bestFor is the key to read where a record is not ready: where only an object
// that it shares with others has changed, the key that all of them read.
func (d *Directory) bestFor(r *record) [32]byte {
	if r.facts == nil || r.stale.Load() {
		return r.digest
	}
	var v view
	b := r.facts.load(&v)
	if b == nil || b.by == r.digest {
		return r.digest
	}
	if other := d.records.find(&b.by); other != nil && other.facts != nil && other.facts.refersTo(b) {
		return b.by
	}
	return r.digest
}

// ask reads a record again in the background.
func (d *Directory) ask(r *record) {
	d.mu.Lock()
	if d.fly(r.digest, background) == nil {
		r.asked.Store(false)
	}
	d.mu.Unlock()
}

// fly finds or starts the flight of a digest; nil where too many wait. The
// mutex is held.
func (d *Directory) fly(digest [32]byte, level int) *flight {
	f := d.flights[digest]
	if f == nil {
		if level == wanted && d.waiting >= maxWaiting || level == background && len(d.queues[background]) >= maxWaiting {
			return nil
		}
		f = &flight{digest: digest, level: level, done: make(chan struct{})}
		d.flights[digest] = f
	} else if f.started || f.level <= level {
		return f
	}
	if f.level == wanted && level != wanted {
		d.waiting--
	}
	f.level = level
	if level == wanted {
		d.waiting++
	}
	d.queues[level] = append(d.queues[level], f)
	d.poke()
	return f
}

// poke wakes the goroutine that looks up.
func (d *Directory) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take is the next batch. While it is looked up, changes are remembered, so
// that an answer which may be older than a change is not taken for the truth.
func (d *Directory) take() []*flight {
	d.mu.Lock()
	defer d.mu.Unlock()
	var batch []*flight
	for level := range d.queues {
		q := d.queues[level]
		for len(q) > 0 && len(batch) < maxBatch {
			f := q[0]
			q[0], q = nil, q[1:]
			if f.started || f.level != level {
				continue
			}
			f.started = true
			if level == wanted {
				d.waiting--
			}
			batch = append(batch, f)
		}
		if len(q) == 0 {
			q = nil
		}
		d.queues[level] = q
	}
	if len(batch) > 0 {
		d.running, d.overran = true, false
		clear(d.recent)
	}
	return batch
}

// pace lets queries through. One that somebody waits for goes at once, unless
// the last ones found next to nothing: of those there are perSecond, so that a
// flood of wrong keys is a small load. What nobody waits for is gathered. Of a
// database that does not answer it asks less and less often.
type pace struct {
	tokens float64
	last   time.Time
	behind time.Time     // when what nobody waits for was last asked
	not    time.Time     // before this nothing is asked
	back   time.Duration // how long it was waited after the last failure
}

const (
	backFirst = 50 * time.Millisecond
	backMost  = 500 * time.Millisecond
)

// next is how long to wait before the next query.
func (p *pace) next(now time.Time, waited bool) time.Duration {
	p.tokens = min(p.tokens+now.Sub(p.last).Seconds()*perSecond, burst)
	p.last = now
	wait := p.not.Sub(now)
	switch {
	case !waited:
		wait = max(wait, p.behind.Add(time.Second/perSecond).Sub(now))
	case p.tokens < 1:
		wait = max(wait, time.Duration((1-p.tokens)*float64(time.Second)/perSecond))
	}
	return wait
}

// asked notes a query: whether it was answered, and whether it was in vain.
func (p *pace) asked(now time.Time, waited, ok, vain bool) {
	if !waited {
		p.behind = now
	} else if vain || !ok {
		p.tokens--
	}
	if ok {
		p.back = 0
		return
	}
	p.back = min(max(2*p.back, backFirst), backMost)
	p.not = now.Add(p.back/2 + rand.N(p.back/2))
}

// look is the goroutine that asks the database: one query at a time.
func (d *Directory) look(ctx context.Context) {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	p := pace{tokens: burst, last: time.Now()}
	for ctx.Err() == nil {
		some, waited := d.pending()
		customers := d.customers.due() || d.spenders.dirty.Load()
		if !some && !customers {
			select {
			case <-ctx.Done():
			case <-d.wake:
			case <-tick.C:
				if d.ring.Pending() {
					d.follow()
				}
			}
			continue
		}
		if d.heard() {
			p.not, p.back = time.Time{}, 0
			d.c.Source.Reached()
		}
		if wait := p.next(time.Now(), waited || customers); wait > 0 && !badPace() {
			d.pause(ctx, wait) // less, if somebody comes who is waiting
			continue
		}
		if customers {
			ok := d.readCustomers(ctx)
			p.asked(time.Now(), true, ok, true)
		}
		if batch := d.take(); len(batch) > 0 {
			ok := d.resolve(ctx, batch)
			p.asked(time.Now(), waited, ok, inVain(batch))
		}
	}
}

// inVain reports whether most of a batch were keys that nobody has.
func inVain(batch []*flight) bool {
	none := 0
	for _, f := range batch {
		if f.none {
			none++
		}
	}
	return 2*none > len(batch)
}

// pending reports whether there is something to look up, and whether somebody
// waits for it.
func (d *Directory) pending() (some, waited bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	waited = len(d.queues[needed])+len(d.queues[wanted]) > 0
	return waited || len(d.queues[background]) > 0, waited
}

// pause waits until there is something new to look up, at most so long.
func (d *Directory) pause(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-d.wake:
	case <-t.C:
	}
}

// resolve asks for a batch and puts what the database says in place.
func (d *Directory) resolve(ctx context.Context, batch []*flight) (ok bool) {
	digests := make([]string, len(batch))
	for i, f := range batch {
		digests[i] = hexOf(&f.digest)
	}
	d.stat.queries.Inc()
	d.stat.digests.Add(len(batch))
	within, cancel := context.WithTimeout(ctx, d.c.Query)
	began := fleet.Now()
	found, err := d.c.Source.Resolve(within, digests)
	cancel()
	d.answered(ctx, began, err)
	if d.ring.Pending() {
		d.follow()
	}
	d.mu.Lock()
	if err == nil {
		d.apply(found, batch)
	}
	d.running = false
	for _, f := range batch {
		if r := d.records.find(&f.digest); r != nil {
			r.asked.Store(false)
		}
		f.err = err
		delete(d.flights, f.digest)
		close(f.done)
	}
	d.mu.Unlock()
	return err == nil
}

// answered notes whether the database has answered a query that began then, and
// says so once when that changes. A failure is dated by its beginning: what
// another process has heard meanwhile is the newer truth.
func (d *Directory) answered(ctx context.Context, began int64, err error) {
	if err == nil {
		d.Contact()
		d.answers.Store(true)
		if d.failures.Swap(0) >= 2 {
			d.log.Info("keys can be checked again")
		}
		return
	}
	if ctx.Err() != nil {
		return // a stop is no failure
	}
	d.stat.failures.Inc()
	d.failedAt.Store(began)
	if d.failures.Add(1) == 2 {
		d.log.Error("keys cannot be checked, known ones are served", slog.String("error", err.Error()))
	}
}
