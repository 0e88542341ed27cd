package auth

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sluice/proxy/identity"
)

// touches are the keys whose last_active is to be written.
type touches struct {
	mu   sync.Mutex // guards used
	used map[string]time.Time
}

const maxTouches = 65_536 // keys whose use is remembered while it cannot be written

// touch notes that a key was used.
func (d *Directory) touch(r *record, at int64, now time.Time) {
	if was := r.touched.Load(); at-was < touchEvery || !r.touched.CompareAndSwap(was, at) {
		return
	}
	t := &d.touches
	t.mu.Lock()
	if t.used == nil {
		t.used = map[string]time.Time{}
	}
	if len(t.used) < maxTouches {
		t.used[r.facts.key.Token] = now
	}
	t.mu.Unlock()
}

// tidy is the goroutine that writes behind: last_active, and the snapshot.
func (d *Directory) tidy(ctx context.Context) {
	const flushEvery = time.Second
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for turn := 1; ; turn++ {
		select {
		case <-ctx.Done():
			d.flush()
			last, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			d.writeTouches(last)
			return
		case <-tick.C:
		}
		d.flush()
		if turn%int(tidyEvery/flushEvery) != 0 {
			continue
		}
		d.writeTouches(ctx)
		if d.c.Snapshot != nil && d.failures.Load() == 0 {
			d.c.Snapshot.Forget()
		}
	}
}

// writeTouches writes what was noted. What cannot be written is kept.
func (d *Directory) writeTouches(ctx context.Context) {
	t := &d.touches
	t.mu.Lock()
	used := t.used
	t.used = nil
	t.mu.Unlock()
	if len(used) == 0 {
		return
	}
	if d.failures.Load() == 0 {
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := d.c.Source.TouchKeys(within, used)
		cancel()
		if err == nil {
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, at := range t.used {
		used[token] = at
	}
	t.used = used
}

// contactEvery is how often the snapshot is told that the database answers.
const contactEvery = int64(60e9)

// outbox is what goes to the snapshot next.
type outbox struct {
	mu        sync.Mutex // guards frames
	frames    []frame
	contacted int64 // contact that the snapshot knows; the tidying goroutine's
	broken    bool  // writing failed, and it was said
}

const maxOutbox = 16_384 // frames that wait; further ones are left to the next reading

// save gives frames to the snapshot, to be written soon.
func (d *Directory) save(frames []frame) {
	if d.c.Snapshot == nil || len(frames) == 0 {
		return
	}
	d.outbox.mu.Lock()
	if len(d.outbox.frames) < maxOutbox {
		d.outbox.frames = append(d.outbox.frames, frames...)
	}
	d.outbox.mu.Unlock()
}

// flush writes what waits for the snapshot.
func (d *Directory) flush() {
	if d.c.Snapshot == nil {
		return
	}
	o := &d.outbox
	o.mu.Lock()
	frames := o.frames
	o.frames = nil
	o.mu.Unlock()
	if contact := d.head.IdentityContact.Load(); contact-o.contacted >= contactEvery {
		o.contacted = contact
		frames = append(frames, frame{kind: frameContact, at: d.wall(contact).UnixNano()})
	}
	err := d.c.Snapshot.append(frames)
	if err != nil && !o.broken {
		d.log.Error("the key snapshot cannot be written, workers that start while the database is away will not know these keys",
			slog.String("error", err.Error()))
	}
	o.broken = err != nil
}

// wall is the time of an instant of fleet.Now.
func (d *Directory) wall(at int64) time.Time {
	now := time.Now()
	return now.Add(-time.Duration(d.at(now) - at))
}

// instant is fleet.Now of a time.
func (d *Directory) instant(t time.Time) int64 {
	now := time.Now()
	return d.at(now) - int64(now.Round(0).Sub(t.Round(0)))
}

// recall takes over from the snapshot when this host last had contact, where
// nobody has had any since the host table was made.
func (d *Directory) recall() {
	if d.c.Snapshot == nil || d.head.IdentityContact.Load() != 0 {
		return
	}
	if last := d.c.Snapshot.lastContact(); !last.IsZero() && !last.After(time.Now().Add(time.Minute)) {
		d.head.IdentityContact.CompareAndSwap(0, d.instant(last))
	}
}

// remember puts what the snapshot knows of a digest in place. It returns nil
// where it knows nothing.
func (d *Directory) remember(digest *[32]byte) *record {
	if d.c.Snapshot == nil || badSnapshot() {
		return nil
	}
	known, ok := d.c.Snapshot.lookup(digest)
	if !ok {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.records.find(digest); r != nil {
		return r
	}
	d.stat.recalled.Inc()
	at := d.instant(known.at)
	if known.gone {
		r := &record{digest: *digest, fetched: at, size: recordSize}
		d.put(r)
		return r
	}
	a := d.newAnswer(known.found, at, false)
	a.changes = known.changes
	k := known.found.Keys[0]
	var old *identity.RetiredKey
	if len(known.found.Retired) > 0 {
		old = known.found.Retired[0]
	}
	r := a.record(digest, k, old)
	r.stale.Store(known.number > k.ChangeNumber)
	d.put(r)
	return r
}

// Publish tells all processes of the host that an object has changed, by the
// number of the change, and the snapshot that what it has is old. When it
// returns no process uses the object as it was.
func (d *Directory) Publish(number int64, kind identity.Kind, id string) {
	d.c.Table.PublishChange(uint8(kind), id)
	if d.c.Snapshot == nil {
		return
	}
	if err := d.c.Snapshot.Changed(number, kind, id); err != nil {
		d.stat.unsaved.Inc()
	}
}

// PublishAll is Publish where nobody knows what has changed.
func (d *Directory) PublishAll() { d.c.Table.PublishChange(0, "") }
