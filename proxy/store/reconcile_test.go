package store_test

import (
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// madeAt says that objects were made at a time.
func madeAt(t *testing.T, s *store.Store, at time.Time, tables ...string) {
	t.Helper()
	for _, table := range tables {
		if err := store.Exec(t.Context(), s, "UPDATE sluice."+table+" SET created_at = "+literal(s, at)+", updated_at = "+literal(s, at)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReconcileLateObjects: what was called in the name of an object before there
// was one is no drift. What it lacks of the calls since then is.
func TestReconcileLateObjects(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		attempts := func(first int) *store.Batch {
			b := &store.Batch{Host: "h"}
			for n := first; n < first+10; n++ {
				b.Rows = append(b.Rows, attemptOf(n, 1))
			}
			return b
		}
		loadObjects(t, s, 1)
		for _, sql := range []string{"DELETE FROM sluice.users", "DELETE FROM sluice.teams"} {
			if err := store.Exec(t.Context(), s, sql); err != nil {
				t.Fatal(err)
			}
		}
		ship(t, s, attempts(0), 10)
		insert(t, s, &identity.User{ID: "user-0"}, &identity.Team{ID: "team-0"})
		first, second := attempts(0), attempts(10)
		last := first.Rows[9].Intent.At + int64(time.Millisecond)/2
		madeAt(t, s, time.Unix(0, last), "users", "teams") // between the tenth call and the next one
		mustBalance(t, s)
		ship(t, s, second, 10)
		mustBalance(t, s)
		if err := store.Exec(t.Context(), s, "UPDATE sluice.users SET spend = spend - 5"); err != nil {
			t.Fatal(err)
		}
		out, err := s.Reconcile(t.Context(), store.Reconciling{From: time.Unix(0, last), To: time.Unix(0, last), Deep: true})
		if err != nil || len(out.Places) != 1 || !strings.Contains(out.Places[0].Where, "spend of user user-0") {
			t.Errorf("5 nano-dollars less than was called since: %+v %v", out, err)
		}
	})
}
