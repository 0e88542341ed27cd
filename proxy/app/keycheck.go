package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// keysLook is how often a worker looks whether another key was promoted. What it
// seals with the old one meanwhile is refused by the store and sealed again.
const keysLook = time.Second

// chainPatience is how long a start waits for the record of an earlier release
// to be chained. What is left then is chained while the worker serves.
const chainPatience = 20 * time.Second

// errWaits is that no key is in use yet, because the hosts do not agree on one.
var errWaits = errors.New("no key is in use yet")

// hold takes keys into use in place of those of before. It is false, and does
// nothing, where others are in use meanwhile.
func (d *data) hold(before, k *keys) bool {
	if !d.now.CompareAndSwap(before, k) {
		return false
	}
	d.table.Generation(d.area).Keys.Store(digestOf(k.ring))
	select {
	case d.ringChanged <- struct{}{}:
	default:
	}
	return true
}

// checkKeys finds out with which key the database is sealed, and whether this
// host has what it needs: a *wrongKeyError says that it has not. The first host
// of a database promotes its own first key.
func (d *data) checkKeys(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, startPatience)
	defer cancel()
	now := d.now.Load()
	st, err := readSealed(ctx, d.store)
	if err != nil {
		return err
	}
	if err := st.judge(now.ring, d.host, now.by); err != nil {
		return err
	}
	promoted := st.promoted
	if promoted == "" || !now.ring.Has(promoted) {
		if promoted, err = d.promoteFirst(parent, now.ring); err != nil {
			return err
		}
	}
	ring, ok := now.ring.Writing(promoted)
	if !ok {
		return errWaits // somebody was faster, with another key: the next look judges it
	}
	mark, cancel := context.WithTimeout(parent, startPatience)
	defer cancel()
	if err := markCanary(mark, d.store, ring, st.canary); err != nil {
		return err
	}
	d.use(now, &keys{ring: ring, known: true, by: now.by})
	return nil
}

// promoteFirst promotes the first key of a ring where no key is in use: there
// never was one, or nobody has it any more and nothing needs it.
func (d *data) promoteFirst(parent context.Context, ring *seal.Ring) (promoted string, err error) {
	ctx, cancel := context.WithTimeout(parent, startPatience)
	defer cancel()
	if err := d.store.SawHost(ctx, d.hostRow(ring)); err != nil {
		return "", err
	}
	defer d.first.Store(nil)
	p, err := d.tryFirst(ctx, ring)
	if errors.Is(err, store.ErrUnchained) {
		if err = d.chainFirst(parent); err != nil {
			return "", err
		}
		again, cancel := context.WithTimeout(parent, startPatience)
		defer cancel()
		p, err = d.tryFirst(again, ring)
	}
	if err != nil {
		return "", err
	}
	if p.waits != "" {
		return "", fmt.Errorf("%w: key %s is the first of this host's ring, but %s", errWaits, ring.First(), p.waits)
	}
	p.say(d.log)
	return p.id, nil
}

// tryFirst promotes the first key of a ring, which chains the record meanwhile.
func (d *data) tryFirst(ctx context.Context, ring *seal.Ring) (promotion, error) {
	writing, ok := ring.Writing(ring.First())
	if !ok {
		panic("BUG: a ring does not have its first entry")
	}
	d.first.Store(writing)
	return promote(ctx, d.store, ring, d.host)
}

// chainFirst chains what the release before this one has recorded, where that is
// more than one change does in passing. It is called behind tryFirst, which has
// found that every host would accept the key.
func (d *data) chainFirst(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, chainPatience)
	defer cancel()
	began := time.Now()
	n, err := d.store.ChainUp(ctx)
	d.log.Info("the record of changes was chained", slog.Int("rows", n), slog.Duration("took", time.Since(began)))
	if err != nil && ctx.Err() != nil {
		return store.ErrUnchained
	}
	return err
}

// checkOther takes another ring where that is the right one.
func (d *data) checkOther(ring *seal.Ring) error {
	if ring == nil {
		return errors.New("there is no other ring")
	}
	before := d.now.Load()
	other := &keys{ring: ring, by: before.by}
	d.hold(before, other)
	err := d.checkKeys(d.ctx)
	if err != nil {
		d.hold(other, before)
	}
	return err
}

// use takes keys into use that are known to be right, and has the key snapshot
// follow.
func (d *data) use(before, k *keys) bool {
	if !d.hold(before, k) {
		return false
	}
	if before.known && before.ring.ID() != k.ring.ID() {
		d.resealDue.Store(true)
	}
	if !before.known || digestOf(before.ring) != digestOf(k.ring) {
		d.otherKeys()
	}
	if len(k.ring.IDs()) == 1 && len(before.ring.IDs()) == 1 && k.ring.ID() == before.ring.ID() {
		return true // as it always was
	}
	d.done.Go(func() {
		if err := d.snapshot.Use(k.ring.Keys(snapshotKey)); err != nil {
			d.log.Warn("key snapshot not sealed with the key in use", errAttr(err))
		}
	})
	return true
}

// takePromoted takes over which key is sealed with.
func (d *data) takePromoted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	id, err := d.store.SealingKey(ctx)
	if err != nil {
		return err
	}
	now := d.now.Load()
	if now.known && now.ring.ID() == id {
		return nil
	}
	ring, ok := now.ring.Writing(id)
	if !ok { // the next look says what is wrong
		d.hold(now, &keys{ring: now.ring, by: now.by})
		return fmt.Errorf("this host does not have key %s, which is in use", id)
	}
	d.use(now, &keys{ring: ring, known: true, by: now.by})
	return nil
}

// chained is chainKey for the store. Where the keys are not known yet, it has
// them looked at now: whoever was refused comes again shortly.
func (d *data) chained() (id string, key [32]byte, err error) {
	if id, key, err = d.chainKey(); err != nil {
		select {
		case d.wanted <- struct{}{}:
		default: // somebody has asked already
		}
	}
	return id, key, err
}

// followKeys keeps the worker in step with which key is sealed with, until ctx
// ends. Until the keys are known to be right nothing is sealed: it could be with
// a key that nobody else has.
func (d *data) followKeys(ctx context.Context) {
	t := time.NewTicker(keysLook)
	defer t.Stop()
	said, stale := "", false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-d.wanted:
		}
		if !d.known() {
			err := d.checkKeys(ctx)
			if err == nil {
				said = ""
				d.log.Info("secrets can be stored and read", slog.String("key_id", d.ring().ID()))
			} else if text := err.Error(); text != said && !store.Away(err) && ctx.Err() == nil {
				said = text
				d.log.Error("secrets can neither be stored nor read", errAttr(err))
			}
			continue
		}
		if d.changes.Pending() {
			stale = d.changes.Next(func(kind uint8, _ uint64) { stale = stale || identity.Kind(kind) == identity.KindSealingKey }) || stale
		}
		if stale {
			stale = d.takePromoted(ctx) != nil && d.known()
		}
	}
}

// mayUse says whether a ring can take the place of the one in use: nil, or why
// not. Where the database is away, no key may be missing.
func (d *data) mayUse(ctx context.Context, ring *seal.Ring, by given) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	st, err := readSealed(ctx, d.store)
	if err == nil {
		return st.judge(ring, d.host, by)
	}
	has := store.Host{Keys: ring.Fingerprints()}
	for id, mark := range d.ring().Fingerprints() {
		if !accepts(&has, id, mark) {
			return fmt.Errorf("key %s is not in the ring any more, and whether it is still needed cannot be told: %w; reload again when the database is back", id, err)
		}
	}
	return nil
}

// replaceRing takes a ring that may be used in place of the one in use.
func (d *data) replaceRing(ring *seal.Ring, by given) {
	for {
		now := d.now.Load()
		if writing, ok := ring.Writing(now.ring.ID()); ok && now.known {
			if d.use(now, &keys{ring: writing, known: true, by: by}) {
				return
			}
		} else if d.hold(now, &keys{ring: ring, by: by}) { // followKeys finds out
			return
		}
	}
}

// hostRow is this host as the others are to see it.
func (d *data) hostRow(ring *seal.Ring) store.Host {
	return store.Host{
		ID: d.host, Name: d.hostName, Version: boot.Version, Keys: ring.Fingerprints(), WritesWith: ring.First(),
		StartedAt: time.Unix(0, d.table.Header().StartedAt.Load()).UTC(),
	}
}
