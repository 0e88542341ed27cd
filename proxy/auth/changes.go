package auth

import (
	"slices"
	"weak"

	"sluice/proxy/identity"
	"sluice/supervisor/fleet"
)

// follow takes over what the ring says. Whoever sees that something is pending
// waits here until it has been taken over.
func (d *Directory) follow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ring.Pending() {
		return
	}
	if d.ring.Next(func(kind uint8, hash uint64) { d.changed(change{kind, hash}) }) {
		d.everything()
	}
}

// changed marks what a change is about. What was in use a moment ago is read
// again at once. The mutex is held.
func (d *Directory) changed(c change) {
	d.stat.changes.Inc()
	if d.running {
		d.recent[c] = struct{}{}
	}
	switch kind := identity.Kind(c.kind); kind {
	case identity.KindNone:
		d.everything()
	case identity.KindKey, identity.KindRetiredKey:
		d.misses.drop(c.hash)
		d.records.each(c.hash, d.spoil)
		for _, old := range d.retired[c.hash] {
			if r := d.records.find(&old); r != nil {
				d.spoil(r)
			}
		}
	case identity.KindEndUser:
		d.customers.spoil(c.hash)
		d.poke()
	case identity.KindTag:
		d.spenders.spoil()
		d.poke()
	case identity.KindUser, identity.KindTeam, identity.KindMember, identity.KindOrganization, identity.KindOrganizationMember,
		identity.KindProject, identity.KindBudget, identity.KindAccessGroup:
		if kind == identity.KindBudget && d.spenders.uses(c.hash) {
			d.spenders.spoil()
			d.poke()
		}
		for _, w := range d.boxes[c] {
			if b := w.Value(); b != nil {
				d.spoilBox(b)
			}
		}
	}
}

// spoil marks a record.
func (d *Directory) spoil(r *record) {
	r.stale.Store(true)
	if d.now()/1e9-r.used.Load() < justUsed {
		d.fly(r.digest, background)
	}
}

func (d *Directory) spoilBox(b *box) {
	b.stale.Store(true)
	if r := d.records.find(&b.by); r != nil && d.now()/1e9-r.used.Load() < justUsed {
		d.fly(r.digest, background)
	}
}

// everything marks all that is known: changes were missed.
func (d *Directory) everything() {
	d.stat.overruns.Inc()
	d.overran = true
	d.misses.clear()
	d.customers.spoilAll()
	d.spenders.spoilAll()
	for _, list := range d.boxes {
		for _, w := range list {
			if b := w.Value(); b != nil {
				b.stale.Store(true)
			}
		}
	}
	d.records.all(d.spoil)
	d.poke()
}

// outdated reports whether an object may have changed since the query that is
// being applied began.
func (d *Directory) outdated(kind identity.Kind, id string) bool {
	if d.overran {
		return true
	}
	if len(d.recent) == 0 {
		return false
	}
	_, ok := d.recent[change{uint8(kind), fleet.HashID(id)}]
	return ok
}

// box finds or makes the box of a shared object. Boxes live as long as a record
// refers to them.
func (d *Directory) box(kind identity.Kind, id string) *box {
	if id == "" {
		return nil
	}
	c := change{uint8(kind), fleet.HashID(id)}
	for _, w := range d.boxes[c] {
		if b := w.Value(); b != nil && b.id == id {
			return b
		}
	}
	if len(d.boxes) >= d.purgeAt {
		d.purge()
	}
	b := &box{kind: kind, id: id}
	d.boxes[c] = append(d.boxes[c], weak.Make(b))
	return b
}

// leads notes that a retired digest leads to the key of a hash. What leads
// nowhere any more, because the record is gone, is taken out from time to time.
func (d *Directory) leads(digest *[32]byte, hash uint64) {
	was := d.retired[hash]
	if slices.Contains(was, *digest) {
		return
	}
	if len(d.retired) >= d.tidyAt {
		for h, list := range d.retired {
			list = slices.DeleteFunc(list, func(old [32]byte) bool { return d.records.find(&old) == nil })
			if d.retired[h] = list; len(list) == 0 {
				delete(d.retired, h)
			}
		}
		d.tidyAt = max(1024, 2*len(d.retired))
		was = d.retired[hash]
	}
	d.retired[hash] = append(was, *digest)
}

// purge takes out boxes that no record refers to any more.
func (d *Directory) purge() {
	for c, list := range d.boxes {
		list = slices.DeleteFunc(list, func(w weak.Pointer[box]) bool { return w.Value() == nil })
		if len(list) == 0 {
			delete(d.boxes, c)
		} else {
			d.boxes[c] = list
		}
	}
	d.purgeAt = max(1024, 2*len(d.boxes))
}
