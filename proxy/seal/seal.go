// Package seal keeps secrets unreadable in the database: provider keys inside
// models and credentials, and nothing that the request path has to open. A
// sealed text says with which key it was sealed, and opens only in the place
// that it was sealed for. What LiteLLM has sealed can be opened too.
//
// Keys come in a ring, so that one can be replaced while everything runs: all
// entries open, one seals. Where the entries come from is in FromEnviron.
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

// entry holds the keys that are derived from one secret of a ring.
type entry struct {
	id      string // as the ring's file has it, else derived
	derived string
	secret  env.Secret
	aead    cipher.AEAD
	old     litellm
}

func newEntry(e Entry) (*entry, error) {
	if e.Secret == "" {
		return nil, errors.New("a salt key is empty: set LITELLM_SALT_KEY")
	}
	id := derive(e.Secret, ours("key id"))
	out := &entry{id: e.ID, derived: hex.EncodeToString(id[:8]), secret: e.Secret}
	if out.id == "" {
		out.id = out.derived
	}
	key := derive(e.Secret, ours("sealed text"))
	var err error
	if out.aead, err = gcm(key[:], cipher.NewGCMWithRandomNonce); err != nil {
		return nil, err
	}
	out.old, err = newLiteLLM(e.Secret)
	return out, err
}

// ours names the purpose of a key of this product; LiteLLM's have other names.
func ours(purpose string) string { return "sluice " + purpose }

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

// Place is the context of a value in the database: its table, the primary key
// of its row and its field. Different places have different contexts, whatever
// their names hold.
func Place(table, key, field string) string {
	escape := strings.NewReplacer(`\`, `\\`, `|`, `\|`)
	return table + "|" + escape.Replace(key) + "|" + escape.Replace(field)
}

// Seal makes a text unreadable without the ring's writing key, and names that
// key. The same text is never sealed twice to the same result. It opens with
// the same context only; see Place.
func (r *Ring) Seal(context, plain string) (string, error) {
	box := r.writes.aead.Seal(nil, nil, []byte(plain), []byte(context))
	return prefix + r.id + ":" + base64.RawURLEncoding.EncodeToString(box), nil
}

// Open returns the text that Seal, or LiteLLM, has sealed with any key of the
// ring: ErrOtherKey where the text names a key that the ring does not have,
// ErrBroken where no key opens it. What LiteLLM sealed knows no place.
func (r *Ring) Open(context, sealed string) (string, error) {
	rest, ours := strings.CutPrefix(sealed, prefix)
	if !ours {
		return r.openLiteLLM(sealed)
	}
	id, text, ok := strings.Cut(rest, ":")
	if !ok {
		return "", ErrNotSealed
	}
	e := r.find(id)
	if e == nil {
		return "", ErrOtherKey
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", ErrBroken
	}
	plain, err := e.aead.Open(nil, nil, box, []byte(context))
	if err != nil {
		return "", ErrBroken
	}
	return string(plain), nil
}

// openLiteLLM tries every entry: LiteLLM does not say with which key it sealed.
func (r *Ring) openLiteLLM(sealed string) (plain string, err error) {
	for _, e := range r.entries {
		if plain, err = e.old.open(sealed); err == nil || errors.Is(err, ErrNotSealed) {
			return plain, err
		}
	}
	return "", err
}

// SealedWith returns the key that a sealed text of ours names, "" for every
// other text. The ring need not have that key.
func (*Ring) SealedWith(text string) string {
	rest, ours := strings.CutPrefix(text, prefix)
	if !ours {
		return ""
	}
	id, _, ok := strings.Cut(rest, ":")
	if !ok {
		return ""
	}
	return id
}

// Sealed reports whether a text looks sealed, by whomever and with whatever
// key. LiteLLM's oldest form has no mark: a long text in base64 may be one.
func Sealed(text string) bool {
	return strings.HasPrefix(text, prefix) || recognise(text) != plainForm
}
