package importer

import (
	"testing"

	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/store"
)

// TestBouncer imports through PgBouncer in transaction mode, where the second
// import is given server connections that the first one has used.
func TestBouncer(t *testing.T) {
	server := pgtest.New(t)
	direct := fill(t, server.Database(t))
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: parse(t, direct)}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	pooled := parse(t, server.Bouncer(t, direct))
	for i := range 3 {
		o := target(t, store.Config{Postgres: pooled})
		o.Source = pooled
		if got := good(t, o).of(t, "LiteLLM_VerificationToken"); got.Rows != 3 {
			t.Errorf("import %d: %d keys were read, want 3", i, got.Rows)
		}
	}
}
