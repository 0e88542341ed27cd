package app

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// storedMasterKey is the key of an appliance that was given none: read from
// the state directory, or made there. made tells the one worker of the host
// that made it, which says once where it lies. What it is nobody says: a terminal
// cannot be told from the log of a container that has one.
func storedMasterKey(dir fleet.Dir) (key env.Secret, made bool, err error) {
	path := dir.MasterKey()
	for range 2 {
		switch b, err := os.ReadFile(path); {
		case err == nil:
			if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 { // it was made 0600
				return "", false, fmt.Errorf("%s has mode %04o, so that others can read it: chmod 0600 it, and change the key if somebody else was here",
					path, info.Mode().Perm())
			}
			key := strings.TrimSpace(string(b))
			if !strings.HasPrefix(key, "sk-") {
				return "", false, fmt.Errorf("%s holds no key that starts with sk-: remove the file to have one made, or set LITELLM_MASTER_KEY", path)
			}
			return env.Secret(key), false, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", false, fmt.Errorf("read master key: %w", err)
		}
		switch key, err := makeMasterKey(path); {
		case err == nil:
			return key, true, nil
		case !errors.Is(err, fs.ErrExist):
			return "", false, fmt.Errorf("store master key: %w", err)
		}
	}
	return "", false, fmt.Errorf("%s appears and vanishes", path)
}

// makeMasterKey makes a key and stores it, unless another process was faster.
func makeMasterKey(path string) (env.Secret, error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	key := "sk-" + base64.RawURLEncoding.EncodeToString(random[:])
	return env.Secret(key), createOnce(path, key+"\n")
}
