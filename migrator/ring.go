package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"sluice/internal/env"
	"sluice/proxy/seal"
	"sluice/supervisor/fleet"
)

// findRing makes the ring that the proxy of this environment has: of the
// keyring file, the salt key, the master key, or the master key that an
// appliance without one has made in its state directory.
func findRing(e *env.Environ, dir fleet.Dir) (*seal.Ring, error) {
	s := seal.Sources{KeyringFile: e.SecretPath("SLUICE_KEYRING")}
	for name, to := range map[string]*env.Secret{
		"LITELLM_SALT_KEY": &s.Salt, "LITELLM_MASTER_KEY": &s.Master, "SLUICE_OLD_MASTER_KEY": &s.OldMaster,
	} {
		var err error
		if *to, err = e.Secret(name); err != nil {
			return nil, err
		}
	}
	if s.Master == "" {
		made, err := os.ReadFile(dir.MasterKey())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the master key: %w", err)
		}
		s.Master = env.Secret(strings.TrimSpace(string(made)))
	}
	ring, _, err := seal.FromEnviron(s)
	return ring, err
}
