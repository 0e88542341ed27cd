package app

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"sluice/proxy/chain"
	"sluice/proxy/config"
	"sluice/proxy/llm"
	"sluice/proxy/seal"
)

// snapshotKey is what the key of the host's snapshot is derived for.
const snapshotKey = "identity snapshot"

// keys are the keys that secrets are sealed with, as this worker has them. They
// are immutable: a reload or a promotion makes new ones.
type keys struct {
	ring  *seal.Ring // seals with the promoted key once that is known
	known bool       // that the database is sealed with keys of this ring, and with which
	by    given
}

// keyring is the worker's hold on the keys in force.
type keyring struct {
	now atomic.Pointer[keys]
	// first is the ring that the very first promotion is recorded under: until
	// then no key is known to be the right one.
	first atomic.Pointer[seal.Ring]
}

// ring opens whatever can be opened here.
func (k *keyring) ring() *seal.Ring { return k.now.Load().ring }

// sealing is the ring to seal with, or nil while nobody knows with which key.
func (k *keyring) sealing() *seal.Ring {
	if now := k.now.Load(); now.known {
		return now.ring
	}
	return nil
}

// known reports whether the keys are those of the database.
func (k *keyring) known() bool { return k.now.Load().known }

// chainKey is the key that the record of changes is chained under.
func (k *keyring) chainKey() (id string, key [32]byte, err error) {
	r := k.sealing()
	if r == nil {
		r = k.first.Load()
	}
	if r == nil {
		return "", key, errNoChain
	}
	key, _ = r.KeyOf(r.ID(), chain.Purpose)
	return r.ID(), key, nil
}

// errNoChain refuses changes while the salt key is not known to be right.
var errNoChain = &llm.Error{
	Kind: llm.KindUnavailable, Status: 503, Type: "db_unavailable", Param: "LITELLM_SALT_KEY", RetryAfter: saltAgain,
	Message: "The change cannot be recorded: it is not known yet whether this gateway has the key that the database is sealed with, or the key " +
		"is another one. Nothing was changed. Send the request again shortly; if that does not help, the gateway's log says what is wrong.",
}

// digestOf is what processes of a host compare their rings by: the keys, and
// which is first. It is never 0.
func digestOf(r *seal.Ring) uint64 {
	prints := r.Fingerprints()
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\n", r.First())
	for _, id := range slices.Sorted(maps.Keys(prints)) {
		_, _ = fmt.Fprintf(h, "%s=%s\n", id, prints[id])
	}
	return max(h.Sum64(), 1)
}

// sources says what a configuration's ring is made of.
func (w *worker) sources(file *config.File) seal.Sources {
	g := &file.General
	return seal.Sources{
		KeyringFile: g.KeyringFile, Salt: g.SaltKey, Master: w.master(file), OldMaster: g.OldMasterKey,
		Strict: w.source.Flags.Strict,
	}
}

// keptKeyring is what is said when a worker is born beside a bad keyring file.
const keptKeyring = "the keyring file on disk is wrong, the last good one stays in use"

// firstRing makes the ring for a start; good where it is that of the last good
// file.
func (w *worker) firstRing(file *config.File) (ring *seal.Ring, good bool, err error) {
	ring, notes, err := seal.FromEnviron(w.sources(file))
	if err != nil {
		if ring = w.goodRing(file); ring != nil {
			w.log.Error(keptKeyring, errAttr(err))
			return ring, true, nil
		}
		return nil, false, err
	}
	if g := &file.General; g.StoreModels || g.KeyringFile != "" || g.OldMasterKey != "" {
		for _, note := range notes {
			w.once(note)
		}
	}
	return ring, false, nil
}

// goodRing is what a worker uses that is born while the keyring file is wrong,
// because its predecessor died or was recycled: the file that its neighbours
// use. It is nil where there is none, and while no worker of this host has
// started yet: then the file has to be mended.
func (w *worker) goodRing(file *config.File) *seal.Ring {
	s := w.sources(file)
	if w.link == nil || s.KeyringFile == "" || w.table.Header().ConfigApplied.Load() == 0 {
		return nil
	}
	s.KeyringFile = w.dir.GoodKeyring()
	ring, _, err := seal.FromEnviron(s)
	if err != nil {
		return nil
	}
	return ring
}

// keepKeyring keeps the keyring file that is in force for workers to come. It is
// not kept where it has become another one than the ring that was made of it.
func (w *worker) keepKeyring(file *config.File, ring *seal.Ring) {
	if w.link == nil {
		return
	}
	good, s := w.dir.GoodKeyring(), w.sources(file)
	if s.KeyringFile == "" {
		_ = os.Remove(good) // where there was one
		return
	}
	text, err := os.ReadFile(filepath.Clean(s.KeyringFile))
	if old, readErr := os.ReadFile(good); err == nil && (readErr != nil || !bytes.Equal(old, text)) {
		err = replaceFile(good, text)
	}
	s.KeyringFile = good
	if err == nil {
		var kept *seal.Ring
		if kept, _, err = seal.FromEnviron(s); err == nil && !slices.Equal(kept.IDs(), ring.IDs()) {
			err = errors.New("the file has changed meanwhile")
		}
	}
	if err != nil {
		_ = os.Remove(good)
		w.log.Warn("the keyring in use could not be kept for later workers", errAttr(err))
	}
}
