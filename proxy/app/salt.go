package app

import (
	"context"
	"errors"
	"fmt"

	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// canary is the name under which a text stands in the database that only the
// right salt key opens.
const (
	canary     = "seal_check"
	canaryText = "sluice"
)

// errSalt ends a start: with this key, what the database holds cannot be read,
// and what would be written could not be read by the others.
var errSalt = errors.New("the database holds secrets that were sealed with another salt key: set LITELLM_SALT_KEY to the one that was in use, or to the master key of then where there was none")

// newRing derives the keys of the salt key, or of the master key where there is
// none, as LiteLLM does.
func newRing(file *config.File, master env.Secret) (*seal.Ring, error) {
	salt := file.General.SaltKey
	if salt == "" {
		salt = master
	}
	return seal.New(salt)
}

// checkSalt is nil when the salt key is the one of the database, errSalt when it
// is another one. Whoever finds no canary puts one there. A key may be replaced
// as long as nothing was sealed with the old one.
func checkSalt(ctx context.Context, s *store.Store, ring *seal.Ring) error {
	place := seal.Place("meta", canary, "value")
	for range 3 { // several workers may find none at once
		stands, err := s.Meta(ctx, canary)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if stands != "" {
			if plain, err := ring.Open(place, stands); err == nil && plain == canaryText {
				return nil
			}
		}
		others, err := sealedByOthers(ctx, s, ring.ID())
		if err != nil {
			return err
		}
		if others > 0 {
			return errSalt
		}
		sealed, err := ring.Seal(place, canaryText)
		if err != nil {
			return err
		}
		if done, err := s.SwapMeta(ctx, canary, stands, sealed); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%s in the database changes all the time: do all hosts have the same LITELLM_SALT_KEY?", canary)
}

// sealedByOthers counts what is sealed with another key of ours. Rows without a
// key's name were sealed by LiteLLM, or by nobody.
func sealedByOthers(ctx context.Context, s *store.Store, id string) (int, error) {
	where := []store.Cond{store.Ne("sealed_with", ""), store.Ne("sealed_with", id)}
	models, err := store.Count[identity.Model](ctx, s, where...)
	if err != nil {
		return 0, err
	}
	credentials, err := store.Count[identity.Credential](ctx, s, where...)
	return models + credentials, err
}
