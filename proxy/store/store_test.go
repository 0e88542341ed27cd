package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"sluice/internal/dbtest"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// both runs a test on an empty, migrated database of either kind, beside others
// that do: most of the time they wait for their database.
func both(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	t.Parallel()
	open := func(t *testing.T, c store.Config) {
		s, err := store.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		test(t, s)
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		open(t, store.Config{Postgres: dbtest.Postgres(t)})
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		open(t, store.Config{SQLite: dbtest.SQLite(t)})
	})
}

func TestObjects(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		budget, rpm := 5*money.Dollar, int64(60)
		k := &identity.Key{
			Token: "t1", Alias: "one", Type: "default", Models: []string{"m"}, Aliases: map[string]string{"a": "m"},
			Metadata: identity.Fields{"x": []byte(`{"y":[1,2]}`)},
		}
		k.MaxBudget, k.RPMLimit = &budget, &rpm
		by := store.Actor{User: "u", Reason: "because"}
		err := s.Change(ctx, by, func(tx *store.Tx) error {
			now := tx.Now()
			k.Expires = &now
			return tx.Insert(k)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Get[identity.Key](ctx, s, "t1")
		if err != nil {
			t.Fatal(err)
		}
		if got.Alias != "one" || *got.MaxBudget != budget || *got.RPMLimit != 60 || got.TPMLimit != nil ||
			!got.Expires.Equal(*k.Expires) || got.CreatedBy != "u" || got.ChangeNumber != 1 || string(got.Metadata["x"]) == "" || got.UserID != "" {
			t.Errorf("%+v", got)
		}
		err = s.Change(ctx, by, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: "t1"}) })
		if !errors.Is(err, store.ErrExists) {
			t.Errorf("again: %v", err)
		}
		if _, err := store.Get[identity.Key](ctx, s, "t2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
		for name, where := range map[string][]store.Cond{
			"in": {store.In("token", []string{"t1", "x"})}, "contains": {store.Contains("key_alias", "N")}, "has": {store.Has("models", "m")},
			"null": {store.Null("user_id"), store.NotNull("max_budget")}, "any": {store.Any(store.Eq("user_id", "x"), store.Eq("key_alias", "one"))},
			"bool": {store.Eq("blocked", false)},
		} {
			if n, err := store.Count[identity.Key](ctx, s, where...); err != nil || n != 1 {
				t.Errorf("%s: %d %v", name, n, err)
			}
		}
		changes, err := s.Since(ctx, 0, 10)
		if err != nil || !slices.Equal(changes, []store.Changed{{Number: 1, Kind: identity.KindKey, ID: "t1"}}) {
			t.Errorf("%+v %v", changes, err)
		}
	})
}

// document is the JSON of a record.
func document(t *testing.T, raw json.RawMessage) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return out
}
