package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"sluice/internal/boot"
	"sluice/internal/postgres"
	"sluice/migrator/migrate"
	"sluice/proxy/chain"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// openStore opens the identity data for a command of the migrator. What a
// command changes is chained under the key that all hosts seal with now, or,
// before the first promotion, the one that the ring seals with. Without a ring
// nothing can be changed. It connects to nothing yet.
func openStore(t migrate.Target, ring *seal.Ring, log *slog.Logger) (*store.Store, error) {
	c := store.Config{
		Postgres: t.Postgres, SQLite: t.SQLite, Pool: 4, Log: log,
		// Statements of a command are longer than those of a worker.
		Options: postgres.Options{Application: "sluice migrator", StatementTimeout: time.Minute, IdleInTransaction: time.Minute},
	}
	if t.Postgres != nil {
		c.SQLite = ""
	}
	c.Host, _ = os.Hostname()
	var s *store.Store
	var once sync.Mutex
	var writing *seal.Ring
	c.Chain = func() (string, [32]byte, error) {
		once.Lock()
		defer once.Unlock()
		if writing == nil {
			var err error
			if writing, err = promoted(s, ring); err != nil {
				return "", [32]byte{}, err
			}
		}
		return writing.ID(), writing.Key(chain.Purpose), nil
	}
	s, err := store.Open(c)
	return s, err
}

// promoted is the ring, sealing with the key that all hosts seal with.
func promoted(s *store.Store, ring *seal.Ring) (*seal.Ring, error) {
	if ring == nil {
		return nil, errors.New("there is no key to chain the record with: set SLUICE_KEYRING_FILE or LITELLM_SALT_KEY as the gateway has them")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id, err := s.SealingKey(ctx)
	if err != nil || id == "" {
		return ring, err
	}
	writing, ok := ring.Writing(id)
	if !ok {
		return nil, fmt.Errorf("this database is sealed with key %s, which is not among the keys given here (%s): give the keyring of the gateway", id, strings.Join(ring.IDs(), ", "))
	}
	return writing, nil
}

// migrated refuses a database that is not there, or older than this release:
// commands that read or change it would fail at some statement.
func migrated(ctx context.Context, t migrate.Target, o migrate.Options) error {
	state, err := migrate.Look(ctx, t, o)
	if err != nil {
		return exit(err)
	}
	switch {
	case state.Have == 0:
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%s is empty: name the gateway's database by DATABASE_URL, --database_url or --state_dir", t))
	case state.Pending() > 0:
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%s has schema %d, this release needs %d: run migrator up first", t, state.Have, state.Want))
	}
	return nil
}

// storeExit gives an error of the store its exit code.
func storeExit(err error) error {
	var known *boot.ExitError
	switch kind := postgres.Classify(err); {
	case err == nil || errors.As(err, &known):
		return err
	case kind == postgres.Permission:
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%w: this needs the role that owns the tables, which is the migrator's (DIRECT_URL)", err))
	case kind != postgres.Other && kind != postgres.None && !kind.Temporary():
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%w: %s", err, kind.Advice()))
	case store.Away(err), errors.Is(err, context.Canceled):
		return boot.Exit(fleet.ExitTryAgain, err)
	default:
		return boot.Exit(fleet.ExitFailed, err)
	}
}
