package store_test

import (
	"errors"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

func TestRekey(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		was := &identity.Key{Token: "old", Alias: "one", Spend: money.Dollar}
		insert(t, s, was)
		is := *was
		is.Token, is.Alias = "new", "two"
		err := s.Change(t.Context(), store.Actor{User: "u"}, func(tx *store.Tx) error { return tx.Rekey(store.Rotated, was, &is) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Get[identity.Key](t.Context(), s, "old"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the old one is there: %v", err)
		}
		got, err := store.Get[identity.Key](t.Context(), s, "new")
		if err != nil {
			t.Fatal(err)
		}
		if got.Alias != "two" || got.Spend != money.Dollar || !got.CreatedAt.Equal(was.CreatedAt) || got.CreatedBy != was.CreatedBy ||
			got.UpdatedBy != "u" || got.ChangeNumber != 3 {
			t.Errorf("%+v, made from %+v", got, was)
		}
		changes, err := s.Since(t.Context(), 1, 10)
		if err != nil || len(changes) != 2 || changes[0].ID != "old" || changes[1].ID != "new" {
			t.Errorf("%+v %v", changes, err)
		}
		err = s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Rekey(store.Rotated, was, &is) })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("again: %v", err)
		}
	})
}
