package seal

import (
	"errors"
	"fmt"
	"regexp"

	"sluice/internal/env"
)

// Ring holds the keys that are derived from one or more secrets: all of them
// open, one seals. It is immutable and safe for use by several goroutines.
type Ring struct {
	entries []*entry // in the order in which they were given
	writes  *entry
	id      string // how the writing entry is named in what is sealed
}

// Entry is one secret of a ring. Where ID is "" it is derived from the secret:
// 16 hexadecimal digits that tell nothing of it.
type Entry struct {
	ID     string
	Secret env.Secret
}

// goodID is what an entry may be called.
var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// GoodID reports whether a text can be the id of an entry.
func GoodID(id string) bool { return goodID.MatchString(id) }

// New makes the ring of one salt key: LITELLM_SALT_KEY, or the master key where
// that is not set, as with LiteLLM.
func New(salt env.Secret) (*Ring, error) { return NewRing(Entry{Secret: salt}) }

// NewRing makes a ring whose first entry seals. No two entries may have one id
// or one secret, and none may be called as another one's derived id.
func NewRing(entries ...Entry) (*Ring, error) {
	if len(entries) == 0 {
		return nil, errors.New("a ring has no key: set LITELLM_SALT_KEY")
	}
	r := &Ring{}
	for _, e := range entries {
		if e.ID != "" && !goodID.MatchString(e.ID) {
			return nil, errors.New("an id of a ring has characters other than letters, digits, \".\", \"_\" and \"-\", or more than 64")
		}
		made, err := newEntry(e)
		if err != nil {
			return nil, err
		}
		if problem := r.clash(made); problem != "" {
			return nil, fmt.Errorf("key %s of the ring %s", made.id, problem)
		}
		r.entries = append(r.entries, made)
	}
	r.writes, r.id = r.entries[0], r.entries[0].id
	return r, nil
}

// clash says what keeps an entry out of the ring, "" for nothing.
func (r *Ring) clash(e *entry) string {
	for _, other := range r.entries {
		switch {
		case other.derived == e.derived:
			return "has the same secret as key " + other.id
		case other.id == e.id:
			return "is there twice"
		case other.derived == e.id, other.id == e.derived:
			return "and key " + other.id + " could not be told apart: the id of one is derived from the secret of the other"
		}
	}
	return ""
}

// find returns the entry of an id, be it derived or given; nil for none.
func (r *Ring) find(id string) *entry {
	for _, e := range r.entries {
		if e.id == id || e.derived == id {
			return e
		}
	}
	return nil
}

// ID is the name of the key that seals. It tells nothing of the key.
func (r *Ring) ID() string { return r.id }

// First is the id of the first entry: the one that this host would seal with.
func (r *Ring) First() string { return r.entries[0].id }

// IDs returns the ids of all entries in their order.
func (r *Ring) IDs() []string {
	out := make([]string, len(r.entries))
	for i, e := range r.entries {
		out[i] = e.id
	}
	return out
}

// Has reports whether the ring opens what names this id. An entry that was
// given an id answers to the derived one too, so that what was sealed while its
// secret was a lone salt key still opens.
func (r *Ring) Has(id string) bool { return r.find(id) != nil }

// Fingerprints returns the derived id of each entry by its id, by which hosts
// compare what they have without showing it.
func (r *Ring) Fingerprints() map[string]string {
	out := make(map[string]string, len(r.entries))
	for _, e := range r.entries {
		out[e.id] = e.derived
	}
	return out
}

// Writing returns the same ring sealing with another of its entries, and naming
// it exactly so: given or derived. ok is false where no entry has the id.
func (r *Ring) Writing(id string) (ring *Ring, ok bool) {
	e := r.find(id)
	if e == nil {
		return nil, false
	}
	return &Ring{entries: r.entries, writes: e, id: id}, true
}

// Key derives a key for a purpose of its own from the entry that seals.
func (r *Ring) Key(purpose string) [32]byte { return derive(r.writes.secret, ours(purpose)) }

// KeyOf is Key of the entry with an id, given or derived.
func (r *Ring) KeyOf(id, purpose string) (key [32]byte, ok bool) {
	e := r.find(id)
	if e == nil {
		return key, false
	}
	return derive(e.secret, ours(purpose)), true
}

// Keys is Key of every entry, that of the one that seals first.
func (r *Ring) Keys(purpose string) [][32]byte {
	out := [][32]byte{r.Key(purpose)}
	for _, e := range r.entries {
		if e != r.writes {
			out = append(out, derive(e.secret, ours(purpose)))
		}
	}
	return out
}
