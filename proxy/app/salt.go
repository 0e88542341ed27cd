package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/proxy/config"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// canary is the name under which a text stands in the database that only the
// right salt key opens. Releases before this one know no other mark.
const (
	canary     = "seal_check"
	canaryText = "sluice"
)

// hostAlive is how long after it was seen last a host counts as one that works.
const hostAlive = time.Minute

// wrongKeyError ends a start and refuses a reload: with these keys, what the
// database holds cannot be read, or what would be written could not be read by
// the others. It is one line that says which key, what it holds and what to do.
type wrongKeyError struct{ text string }

func (e *wrongKeyError) Error() string { return e.text }

// given says how the operator gave the keys, so that an error can name what is
// to be mended.
type given struct {
	file string // path of the keyring
	salt bool   // LITELLM_SALT_KEY is set
	old  bool   // SLUICE_OLD_MASTER_KEY is set
}

func givenBy(file *config.File) given {
	g := &file.General
	return given{file: g.KeyringFile, salt: g.SaltKey != "", old: g.OldMasterKey != ""}
}

// sealed is what a database says about the keys that it is sealed with.
type sealed struct {
	promoted string // id of the key that everybody seals with; "" before the first promotion
	keys     []store.SealingKey
	rows     map[string]map[string]int // by key id and kind; the record's kept keys are none of them
	hosts    []store.Host              // that are alive
	canary   string
}

func readSealed(ctx context.Context, s *store.Store) (*sealed, error) {
	var out sealed
	var err error
	if out.promoted, err = s.SealingKey(ctx); err != nil {
		return nil, err
	}
	if out.keys, err = s.SealingKeys(ctx); err != nil {
		return nil, err
	}
	if out.rows, err = s.SealedRows(ctx); err != nil {
		return nil, err
	}
	for id, kinds := range out.rows {
		delete(kinds, identity.KindSealingKey.String()) // they keep nobody's secret
		if len(kinds) == 0 {
			delete(out.rows, id)
		}
	}
	if out.hosts, err = s.Hosts(ctx, hostAlive); err != nil {
		return nil, err
	}
	out.canary, err = s.Meta(ctx, canary)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return &out, err
}

// judge is nil where a ring can read all that is sealed, and what it seals can be
// read by the other hosts; else a *wrongKeyError. self is the id of this host.
func (s *sealed) judge(ring *seal.Ring, self string, by given) error {
	for _, k := range s.keys {
		if ring.Has(k.ID) && ring.IsOf(k.ID, k.Check) != nil {
			return wrongf("key %s of %s is not the key that the database knows by this name: give it the secret back that it had, "+
				"or give the new secret an id that was never used", k.ID, by.name())
		}
	}
	if ring.Has(ring.SealedWith(s.canary)) {
		if _, err := ring.Open(seal.Place("meta", canary, "value"), s.canary); err != nil {
			return wrongf("key %s of %s does not open what the database keeps to tell the right key: give it the secret back that it had",
				ring.SealedWith(s.canary), by.name())
		}
	}
	var missing []string
	for _, id := range slices.Sorted(maps.Keys(s.rows)) {
		if !ring.Has(id) {
			total := 0
			for _, n := range s.rows[id] {
				total += n
			}
			rows := fmt.Sprintf("%d rows of the database (%s) are", total, store.Rows(s.rows[id]))
			if total == 1 {
				rows = "1 row of the database (" + store.Rows(s.rows[id]) + ") is"
			}
			missing = append(missing, rows+" sealed with key "+id)
		}
	}
	if len(missing) > 0 {
		return wrongf("%s: %s", strings.Join(missing, ", "), by.whatToDo())
	}
	if s.promoted == "" || ring.Has(s.promoted) {
		return nil
	}
	for _, h := range s.hosts {
		if h.ID != self && !left(&h) && accepts(&h, s.promoted, "") {
			return wrongf("the host %s seals with key %s, which this host does not have: %s", h.Name, s.promoted, by.whatToDo())
		}
	}
	return nil // nothing is sealed with it, and nobody has it any more
}

func wrongf(format string, args ...any) error { return &wrongKeyError{fmt.Sprintf(format, args...)} }

// name is what the operator calls the ring.
func (g given) name() string {
	if g.file != "" {
		return "the keyring file " + g.file
	}
	return "this host"
}

// whatToDo ends the sentence about a key that is missing.
func (g given) whatToDo() string {
	switch {
	case g.file != "":
		return "it is not in the keyring file " + g.file + " (SLUICE_KEYRING_FILE); put its line id:secret back until nothing names it any more"
	case g.salt:
		return "LITELLM_SALT_KEY is another key, or a part of it; set it to the one that was in use, or to the master key of then where there was none"
	case g.old:
		return "neither the master key nor SLUICE_OLD_MASTER_KEY is that key; set SLUICE_OLD_MASTER_KEY to the master key of then, or LITELLM_SALT_KEY where one was in use"
	default:
		return "the master key is another one; set SLUICE_OLD_MASTER_KEY to the master key of then, or LITELLM_SALT_KEY where one was in use"
	}
}

// left reports whether a host was stopped, as far as it could tell. For a minute
// it counts among those that need to have a key: it may be started again.
func left(h *store.Host) bool { return h.WritesWith == "" }

// accepts reports whether a host opens what a key seals. Without a fingerprint
// any key of that name will do.
func accepts(h *store.Host, id, mark string) bool {
	has, ok := h.Keys[id]
	switch {
	case ok:
		return mark == "" || has == mark
	case mark != "" && id != mark:
		return false
	}
	for _, derived := range h.Keys { // an entry answers to its derived id too
		if derived == id {
			return true
		}
	}
	return false
}

// markCanary leaves the mark that earlier releases look for, under the key that
// is sealed with. Of several who do so one wins, which does not matter.
func markCanary(ctx context.Context, s *store.Store, ring *seal.Ring, stands string) error {
	place := seal.Place("meta", canary, "value")
	if ring.SealedWith(stands) == ring.ID() {
		if plain, err := ring.Open(place, stands); err == nil && plain == canaryText {
			return nil
		}
	}
	text, err := ring.Seal(place, canaryText)
	if err != nil {
		return err
	}
	_, err = s.SwapMeta(ctx, canary, stands, text)
	return err
}
