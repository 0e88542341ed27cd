package dbtest

import (
	"testing"

	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/migrator/schema"
)

// A copy is whole, and one test's writes are not in another's copy.
func TestCopies(t *testing.T) {
	for range 2 {
		url, source, path := PostgresURL(t), Postgres(t), SQLite(t)
		for _, target := range []migrate.Target{{Postgres: source}, {SQLite: path}} {
			state, err := migrate.Look(t.Context(), target, migrate.Options{})
			if err != nil || state.Have != schema.Version || state.Pending() != 0 {
				t.Errorf("%s: %+v, %v", target, state, err)
			}
		}
		pgtest.Exec(t, url, "CREATE TABLE sluice.mine (a INT)") // fails where it is already there
	}
}
