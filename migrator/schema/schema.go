// Package schema is the contract between the migrator, which brings a database
// to this release, and the programs that need it: the SQL files and the
// numbers of the schema. It imports embed alone.
//
// Files are named NNNNN_name.sql, are append-only, and every one suits the
// previous release too: add first, remove one release later. Both dialects
// have the same numbers, tables and columns, but for spend, which is a view on
// SQLite (ADR 14): what ships there and is older than schema 5 is refused, and
// its rows wait in the journals for a program of this release. What differs
// else is the type:
//
//	meaning            PostgreSQL     SQLite
//	money              BIGINT         INTEGER   nano-dollars
//	time               TIMESTAMPTZ    INTEGER   microseconds since 1970, UTC
//	truth              BOOLEAN        INTEGER   0 or 1
//	JSON               JSONB          TEXT      checked by json_valid
//	JSON, kept to the
//	letter             JSON           TEXT      the record of changes is hashed
//	request id         UUID           BLOB      16 bytes
//
// On PostgreSQL everything is in the schema sluice; on SQLite every file also
// sets user_version to its number, which can be read at offset 60 of the
// database file without opening it.
package schema

import "embed"

const (
	// Version is the number of the newest migration of this release.
	Version = 6
	// Minimum is the oldest schema that this release's programs can work with.
	// Newer ones are always accepted. With 5 each host tells of a soft budget.
	Minimum = 5
	// Name is the PostgreSQL schema that holds everything of ours.
	Name = "sluice"
	// VersionTable holds the applied numbers; in PostgreSQL it is in the
	// schema Name.
	VersionTable = "schema_versions"
)

// Postgres holds the files of PostgreSQL in the folder postgres.
//
//go:embed postgres/*.sql
var Postgres embed.FS

// SQLite holds the files of SQLite in the folder sqlite.
//
//go:embed sqlite/*.sql
var SQLite embed.FS
