package app

import (
	"sluice/internal/postgres"
	"sluice/proxy/config"
	"sluice/proxy/observe"
	"sluice/proxy/store"
)

// storeConfig is how the database is reached. What the file leaves open is left
// to the URL, and then to the store.
func storeConfig(file *config.File, deps observe.Config) store.Config {
	g := &file.General
	return store.Config{
		Postgres: deps.Postgres, SQLite: deps.SQLite, Pool: g.DatabasePoolLimit, Wait: g.DatabaseTimeout, Idle: g.DatabaseIdle,
		Options: postgres.Options{
			ConnectTimeout: g.DatabaseConnect, StatementTimeout: g.StatementTimeout(),
			LockTimeout: g.DatabaseLock, IdleInTransaction: g.DatabaseTransaction,
			NoStatements: g.DatabaseUnprepared, Parameters: g.DatabaseParameters,
		},
	}
}
