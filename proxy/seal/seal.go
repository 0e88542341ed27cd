// Package seal keeps secrets unreadable in the database: provider keys inside
// models and credentials, and nothing that the request path has to open. A
// sealed text says with which key it was sealed, and opens only in the place
// that it was sealed for. What LiteLLM has sealed can be opened too.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"sluice/internal/env"
)

// Errors of opening. None of them holds a part of a secret.
var (
	ErrNotSealed = errors.New("the text is not sealed in a form that is known")
	ErrOtherKey  = errors.New("the text is sealed with another salt key")
	ErrBroken    = errors.New("the sealed text was changed, moved from another place or sealed with another salt key")
)

// prefix starts what this package seals: the version of the form.
const prefix = "sluice1:"

// Ring holds the keys that are derived from a salt key. It is immutable.
type Ring struct {
	id   string
	aead cipher.AEAD
	salt env.Secret
	old  litellm
}

// New derives the keys of a salt key: LITELLM_SALT_KEY, or the master key where
// that is not set, as with LiteLLM.
func New(salt env.Secret) (*Ring, error) {
	if salt == "" {
		return nil, errors.New("a salt key is empty: set LITELLM_SALT_KEY")
	}
	r := &Ring{salt: salt}
	id := r.Key("key id")
	r.id = hex.EncodeToString(id[:8])
	key := r.Key("sealed text")
	var err error
	if r.aead, err = gcm(key[:], cipher.NewGCMWithRandomNonce); err != nil {
		return nil, err
	}
	r.old, err = newLiteLLM(salt)
	return r, err
}

// gcm is AES-256-GCM under a key.
func gcm(key []byte, mode func(cipher.Block) (cipher.AEAD, error)) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return mode(block)
}

// derive is HKDF-SHA256 without salt: its input is the salt key, which is long
// and random or cannot be helped by a constant either.
func derive(salt env.Secret, info string) (key [32]byte) {
	out, err := hkdf.Key(sha256.New, []byte(salt.Reveal()), nil, info, len(key))
	if err != nil {
		panic("BUG: HKDF refuses 32 bytes: " + err.Error())
	}
	copy(key[:], out)
	return key
}

// ID names the salt key without telling anything of it.
func (r *Ring) ID() string { return r.id }

// Key derives a key for a purpose of its own.
func (r *Ring) Key(purpose string) [32]byte { return derive(r.salt, "sluice "+purpose) }

// Place is the context of a value in the database: its table, the primary key
// of its row and its field. Different places have different contexts, whatever
// their names hold.
func Place(table, key, field string) string {
	escape := strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	return table + "|" + escape.Replace(key) + "|" + escape.Replace(field)
}

// Seal makes a text unreadable without the salt key. The same text is never
// sealed twice to the same result. It opens with the same context only; see
// Place.
func (r *Ring) Seal(context, plain string) (string, error) {
	box := r.aead.Seal(nil, nil, []byte(plain), []byte(context))
	return prefix + r.id + ":" + base64.RawURLEncoding.EncodeToString(box), nil
}

// Open returns the text that Seal, or LiteLLM, has sealed. What LiteLLM sealed
// knows no place.
func (r *Ring) Open(context, sealed string) (string, error) {
	rest, ours := strings.CutPrefix(sealed, prefix)
	if !ours {
		return r.old.open(sealed)
	}
	id, text, ok := strings.Cut(rest, ":")
	if !ok {
		return "", ErrNotSealed
	}
	if id != r.id {
		return "", ErrOtherKey
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", ErrBroken
	}
	plain, err := r.aead.Open(nil, nil, box, []byte(context))
	if err != nil {
		return "", ErrBroken
	}
	return string(plain), nil
}

// Sealed reports whether a text looks sealed, by whomever and with whatever
// key. LiteLLM's oldest form has no mark: a long text in base64 may be one.
func Sealed(text string) bool {
	return strings.HasPrefix(text, prefix) || recognise(text) != plainForm
}
