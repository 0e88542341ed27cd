package app

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"sluice/internal/env"
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
	if s.Keyring = w.goodText(); s.Keyring == "" {
		return nil
	}
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
	keeper := w.keeper()
	if s.KeyringFile == "" || keeper == nil {
		_ = os.Remove(good) // where there was one
		return
	}
	kept := w.goodText()
	text, err := os.ReadFile(filepath.Clean(s.KeyringFile))
	if err == nil {
		s.Keyring = env.Secret(text)
		err = sameRing(s, ring)
	}
	if err == nil && kept != s.Keyring {
		var sealed string
		if sealed, err = keeper.Seal(keptPlace, string(text)); err == nil {
			err = replaceFile(good, []byte(sealed))
		}
	}
	if s.Keyring = kept; err == nil || kept != "" && sameRing(s, ring) == nil { // a neighbour was in time
		return
	}
	_ = os.Remove(good)
	w.log.Warn("the keyring in use could not be kept for later workers", errAttr(err))
}

// sameRing is nil where a ring would be made of the same keys again.
func sameRing(s seal.Sources, ring *seal.Ring) error {
	again, _, err := seal.FromEnviron(s)
	if err == nil && !slices.Equal(again.IDs(), ring.IDs()) {
		err = errors.New("the file has changed meanwhile")
	}
	return err
}

// keptPlace is what the kept keyring is bound to.
const keptPlace = "kept keyring"

// keeper seals what is kept on disk for workers of this host to come, under a
// key that is in memory alone: keys that were given as a credential, which no
// disk holds, and the sealed copies beside which it would lie, stay apart. It is
// nil where the host table is of an earlier release.
func (w *worker) keeper() *seal.Ring {
	var key [32]byte
	h := w.table.Header()
	for i := range h.Keep {
		binary.LittleEndian.PutUint64(key[8*i:], h.Keep[i].Load())
	}
	if key == [32]byte{} {
		return nil
	}
	ring, err := seal.New(env.Secret(hex.EncodeToString(key[:])))
	if err != nil {
		return nil
	}
	return ring
}

// goodText is what keepKeyring has kept, "" for nothing that can be read.
func (w *worker) goodText() env.Secret {
	keeper := w.keeper()
	sealed, err := os.ReadFile(w.dir.GoodKeyring())
	if keeper == nil || err != nil {
		return ""
	}
	text, err := keeper.Open(keptPlace, string(sealed))
	if err != nil {
		return ""
	}
	return env.Secret(text)
}
