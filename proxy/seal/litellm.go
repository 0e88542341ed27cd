package seal

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"

	"sluice/internal/env"
)

// form is how LiteLLM has sealed a text.
type form int

const (
	plainForm form = iota // not at all, or nobody can tell
	boxForm               // nonce and NaCl secretbox, no mark
	gcmForm               // "v2:gcm:", key is the digest of the salt key
	hkdfForm              // "v3:gcm:", key by HKDF
)

const (
	gcmMark  = "v2:gcm:"
	hkdfMark = "v3:gcm:"

	boxNonce = 24
	boxLeast = boxNonce + secretbox.Overhead
)

// litellm opens what LiteLLM has sealed, in its three forms. It seals nothing.
type litellm struct {
	box       [32]byte
	gcm, hkdf cipher.AEAD
}

func newLiteLLM(salt env.Secret) (l litellm, err error) {
	l.box = sha256.Sum256([]byte(salt.Reveal()))
	if l.gcm, err = gcm(l.box[:], cipher.NewGCM); err != nil {
		return l, err
	}
	key := derive(salt, "litellm-at-rest-v3")
	l.hkdf, err = gcm(key[:], cipher.NewGCM)
	return l, err
}

func recognise(text string) form {
	switch {
	case strings.HasPrefix(text, gcmMark):
		return gcmForm
	case strings.HasPrefix(text, hkdfMark):
		return hkdfForm
	}
	if data, ok := unbase64(text); ok && len(data) >= boxLeast {
		return boxForm
	}
	return plainForm
}

func (l *litellm) open(text string) (string, error) {
	switch recognise(text) {
	case gcmForm:
		return openGCM(l.gcm, text[len(gcmMark):])
	case hkdfForm:
		return openGCM(l.hkdf, text[len(hkdfMark):])
	case boxForm:
		data, _ := unbase64(text)
		plain, ok := secretbox.Open(nil, data[boxNonce:], (*[boxNonce]byte)(data), &l.box)
		if !ok {
			return "", ErrBroken
		}
		return string(plain), nil
	}
	return "", ErrNotSealed
}

func openGCM(aead cipher.AEAD, text string) (string, error) {
	data, ok := unbase64(text)
	if !ok || len(data) < aead.NonceSize()+aead.Overhead() {
		return "", ErrBroken
	}
	plain, err := aead.Open(nil, data[:aead.NonceSize()], data[aead.NonceSize():], nil)
	if err != nil {
		return "", ErrBroken
	}
	return string(plain), nil
}

// unbase64 reads the URL's alphabet, with which LiteLLM writes, or the standard
// one of older rows.
func unbase64(text string) ([]byte, bool) {
	text = strings.TrimRight(text, "=")
	for _, e := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
		if data, err := e.DecodeString(text); err == nil {
			return data, true
		}
	}
	return nil, false
}
