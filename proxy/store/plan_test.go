package store_test

import (
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// TestRecordPlans: nothing that the record of changes is commonly asked for reads
// all of it.
func TestRecordPlans(t *testing.T) {
	source, err := postgres.ParseURL(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Postgres: source})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for _, st := range []string{
		`INSERT INTO sluice.changes (number, at, actor, actor_key, action, object_type, object_id)
			SELECT n, now() - n * interval '1 minute', 'u' || n % 500, 'k' || n % 500, 'updated', 'key', 'o' || n FROM generate_series(1, 20000) n`,
		"ANALYZE sluice.changes",
	} {
		if err := store.Run(t.Context(), s, st); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]store.ChangeFilter{
		"number": {Number: 7}, "actor": {Actor: "u7"}, "key": {Key: "k7"}, "object": {ID: "o7"},
		"object and kind": {ID: "o7", Kinds: []identity.Kind{identity.KindKey}}, "time": {From: time.Now().Add(-time.Hour)},
	} {
		plan, err := store.Plan(t.Context(), s, f)
		if err != nil || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s: %v\n%s", name, err, plan)
		}
	}
	if plan, _ := store.Plan(t.Context(), s, store.ChangeFilter{Action: store.Updated}); !strings.Contains(plan, "Seq Scan") {
		t.Errorf("the test sees no scan where there is one:\n%s", plan)
	}
}
