package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// A server that only follows another one is read from, and a change on it says
// that the database is not available, not that something is broken. Once it is
// the primary, changes are made.
func TestStandby(t *testing.T) {
	primary := pgtest.New(t)
	url := migrated(t, primary.Database(t))
	put := func(s *store.Store, token string) error {
		return s.Change(t.Context(), store.Actor{User: "u"}, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: token}) })
	}
	if err := put(openAt(t, url, store.Config{}), "before"); err != nil {
		t.Fatal(err)
	}
	standby := primary.Standby(t)
	primary.CaughtUp(t, 10*time.Second)
	s := openAt(t, strings.Replace(url, fmt.Sprintf(":%d/", primary.Port), fmt.Sprintf(":%d/", standby.Port), 1), store.Config{})
	if _, err := store.Get[identity.Key](t.Context(), s, "before"); err != nil {
		t.Errorf("read from a standby: %v", err)
	}
	for range 3 {
		if err := put(s, "meanwhile"); !store.Away(err) || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("change on a standby: %v", err)
		}
	}
	if name, err := s.History(t.Context()); err != nil || name != "" {
		t.Errorf("a standby has the history %q: %v", name, err)
	}
	was, err := openAt(t, url, store.Config{}).History(t.Context())
	if err != nil || was == "" {
		t.Errorf("the primary has the history %q: %v", was, err)
	}
	standby.Promote(t)
	if name, err := s.History(t.Context()); err != nil || name == "" || name == was {
		t.Errorf("after the promotion the history is %q, it was %q: %v", name, was, err)
	}
	if err := put(s, "after"); err != nil {
		t.Errorf("change after the promotion: %v", err)
	}
}
