package seal

import (
	"errors"
	"fmt"
	"strings"

	"sluice/internal/env"
)

// Sources are the settings that a ring is made of. All may be empty but one of
// KeyringFile, Salt and Master.
type Sources struct {
	KeyringFile string     // SLUICE_KEYRING_FILE: a path
	Keyring     env.Secret // what stood in the file, where it was read before; "": it is read now
	Salt        env.Secret // LITELLM_SALT_KEY
	Master      env.Secret // LITELLM_MASTER_KEY
	OldMaster   env.Secret // SLUICE_OLD_MASTER_KEY
	Strict      bool       // a weak secret in the keyring file is an error
}

// FromEnviron makes the ring of a process, the same one in every program. The
// entries of the keyring file come first; without a file the salt key does, or
// the master key where that is not set either. Behind them are, to open only:
// the salt key, the master key where it stood for the salt key, and the old
// master key. A secret that the file has already is not added again.
//
// The notes are warnings in one line each, without a secret.
func FromEnviron(s Sources) (ring *Ring, notes []string, err error) {
	var entries []Entry
	if s.KeyringFile != "" {
		if s.Keyring != "" {
			entries, err = parse(s.KeyringFile, []byte(s.Keyring.Reveal()))
		} else {
			entries, err = ReadFile(s.KeyringFile)
		}
		if err != nil {
			return nil, nil, err
		}
		if notes = weakEntries(s.KeyringFile, entries); s.Strict && len(notes) > 0 {
			return nil, nil, errors.New(strings.Join(notes, "; "))
		}
	}
	salt := s.Salt
	if salt == "" {
		salt = s.Master
		if s.KeyringFile == "" && salt != "" {
			notes = append(notes, "LITELLM_SALT_KEY is not set: what is stored is sealed with the master key, and the day that changes, SLUICE_OLD_MASTER_KEY has to hold the old one")
		}
	}
	if len(entries) == 0 && salt == "" {
		return nil, nil, errors.New("there is no key to seal secrets with: set LITELLM_SALT_KEY, SLUICE_KEYRING_FILE or LITELLM_MASTER_KEY")
	}
	if s.OldMaster != "" && s.OldMaster == s.Master {
		notes = append(notes, "SLUICE_OLD_MASTER_KEY is the master key itself: it has to hold the one that was in use before")
	}
	for _, secret := range []env.Secret{salt, s.OldMaster} {
		if secret != "" && !holds(entries, secret) {
			entries = append(entries, Entry{Secret: secret})
		}
	}
	ring, err = NewRing(entries...)
	if err != nil && s.KeyringFile != "" {
		err = fmt.Errorf("%s: %w", shown(s.KeyringFile), err)
	}
	return ring, notes, err
}

// weakEntries says which keys of a file are weak, and why.
func weakEntries(path string, entries []Entry) (notes []string) {
	for _, e := range entries {
		if why := Weak(e.Secret); why != "" {
			notes = append(notes, fmt.Sprintf("%s: the secret of key %s %s: add a line with a random one before it (openssl rand -base64 32)", shown(path), e.ID, why))
		}
	}
	return notes
}

func holds(entries []Entry, secret env.Secret) bool {
	for _, e := range entries {
		if e.Secret == secret {
			return true
		}
	}
	return false
}
