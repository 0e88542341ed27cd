package store_test

import (
	"context"
	"maps"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestRelated(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		err := s.Change(ctx, store.Actor{}, func(tx *store.Tx) error {
			for _, o := range []identity.Object{
				&identity.User{ID: "a", Email: "A@example.org"}, &identity.User{ID: "b", Email: "ab@example.org"}, &identity.User{ID: "c"},
				&identity.Team{ID: "t"}, &identity.Team{ID: "u"}, &identity.Member{TeamID: "t", UserID: "a", Role: "user"},
				&identity.Member{TeamID: "t", UserID: "c", Role: "admin"}, &identity.Member{TeamID: "u", UserID: "b", Role: "user"},
				&identity.Key{Token: "1", UserID: "a"}, &identity.Key{Token: "2", UserID: "a"}, &identity.Key{Token: "3", UserID: "c"}, &identity.Key{Token: "4"},
			} {
				if err := tx.Insert(o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ids := func(where ...store.Cond) (out string) {
			users, err := store.Find[identity.User](ctx, s, store.Query{Where: where})
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range users {
				out += u.ID
			}
			return out
		}
		team := store.Among("user_id", identity.KindMember, "user_id", store.Eq("team_id", "t"))
		if got := ids(store.Fold("user_email", "a@EXAMPLE.org")); got != "a" {
			t.Errorf("fold: %q", got)
		}
		if got := ids(team); got != "ac" {
			t.Errorf("among: %q", got)
		}
		// The columns after it are those of the outer kind again.
		if got := ids(team, store.NotNull("user_email")); got != "a" {
			t.Errorf("among, and: %q", got)
		}
		if got := ids(store.Not(team)); got != "b" {
			t.Errorf("not among: %q", got)
		}
		got, err := store.CountBy[identity.Key](ctx, s, "user_id", store.Ne("token", "2"))
		if err != nil || !maps.Equal(got, map[string]int{"a": 1, "c": 1}) {
			t.Errorf("count by: %v %v", got, err)
		}
		if _, err := store.CountBy[identity.Key](ctx, s, "nope"); err == nil {
			t.Error("a column that does not exist is counted by")
		}
		if _, err := store.Count[identity.User](ctx, s, store.Among("user_id", identity.KindMember, "user_email")); err == nil {
			t.Error("a column that the other kind does not have is selected")
		}
	})
}
