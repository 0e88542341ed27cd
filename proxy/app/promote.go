package app

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"sluice/proxy/chain"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// itself is who makes changes that nobody asked for.
const itself = "sluice"

// waits says why the first key of a host is not promoted; "" where it can be.
// lost: nobody has the key that was sealed with before, and nothing needs it.
func waits(ring *seal.Ring, self string, keys []store.SealingKey, hosts []store.Host, lost bool) string {
	if eagerKey() {
		return ""
	}
	first := ring.First()
	mark := ring.Fingerprints()[first]
	replaced := slices.ContainsFunc(keys, func(k store.SealingKey) bool { return k.ID == first }) && !lost
	var without, otherwise []string
	for i := range hosts {
		h := &hosts[i]
		switch {
		case lost && left(h):
		case !accepts(h, first, mark):
			without = append(without, h.Name)
		case replaced && h.ID != self && !left(h) && h.WritesWith != first:
			otherwise = append(otherwise, h.Name)
		}
	}
	switch {
	case len(without) > 0:
		return "not every host has it: " + strings.Join(without, ", ")
	case len(otherwise) > 0: // else two hosts with two orders would promote in turns
		return "it was replaced before, and other hosts have another key first: " + strings.Join(otherwise, ", ")
	}
	return ""
}

// promotion is what became of an attempt to promote.
type promotion struct {
	id     string   // of the key that is sealed with now
	was    string   // and before
	done   bool     // by this attempt
	waits  string   // why it was not done
	unkept []string // keys of the record that nobody can open any more
}

// promote makes the first key of a ring the one that everybody seals with, where
// every living host accepts it. The chain keys of those before it are sealed
// under it in the same change, so that the record can be verified without them.
func promote(ctx context.Context, s *store.Store, ring *seal.Ring, self string) (p promotion, err error) {
	writing, ok := ring.Writing(ring.First())
	if !ok {
		panic("BUG: a ring does not have its first entry")
	}
	err = s.Change(ctx, store.Actor{User: itself, Reason: "the key is the first of the ring, and every host has it"}, func(tx *store.Tx) error {
		var err error
		p = promotion{}
		if p.was, err = tx.SealingKey(); err != nil {
			return err
		}
		if p.id = p.was; p.was == writing.ID() {
			return nil
		}
		keys, err := tx.SealingKeys()
		if err != nil {
			return err
		}
		hosts, err := tx.Hosts(hostAlive)
		if err != nil {
			return err
		}
		if p.waits = waits(ring, self, keys, hosts, p.was != "" && !ring.Has(p.was)); p.waits != "" {
			return nil
		}
		check, err := writing.Check()
		if err != nil {
			return err
		}
		old, unkept, err := keepAudits(writing, keys)
		if err != nil {
			return err
		}
		p.id, p.done, p.unkept = writing.ID(), true, unkept
		return tx.Promote(store.SealingKey{ID: writing.ID(), Check: check}, old)
	})
	return p, err
}

// keepAudits seals the chain keys of other keys under the writing one. unkept
// are the ids of those that cannot be had any more.
func keepAudits(writing *seal.Ring, keys []store.SealingKey) (old []store.SealingKey, unkept []string, err error) {
	for _, k := range keys {
		if k.ID == writing.ID() {
			continue
		}
		key, ok := writing.KeyOf(k.ID, chain.Purpose)
		if !ok && k.AuditKey != "" {
			var openErr error
			key, openErr = writing.KeptAudit(k.ID, k.AuditKey)
			ok = openErr == nil
		}
		if !ok {
			unkept = append(unkept, k.ID)
			continue
		}
		if k.AuditKey, err = writing.KeepAudit(k.ID, key); err != nil {
			return nil, nil, err
		}
		k.SealedWith = writing.ID()
		old = append(old, k)
	}
	return old, unkept, nil
}

// say logs a promotion.
func (p *promotion) say(log *slog.Logger) {
	if !p.done {
		return
	}
	log.Info("key promoted", slog.String("key_id", p.id), slog.String("previous", p.was))
	if len(p.unkept) > 0 {
		log.Warn("the key that was in use before is not here: what was recorded under it can be verified only where that key is given again",
			slog.Any("key_ids", p.unkept))
	}
}
