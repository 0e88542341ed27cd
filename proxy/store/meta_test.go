package store_test

import (
	"errors"
	"testing"

	"sluice/proxy/store"
)

func TestMeta(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		if _, err := s.Meta(ctx, "x"); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("%v", err)
		}
		for _, step := range []struct {
			old, value string
			done       bool
			stands     string
		}{
			{"a", "b", false, ""}, {"", "a", true, "a"}, {"", "b", false, "a"}, {"b", "c", false, "a"}, {"a", "c", true, "c"},
		} {
			done, err := s.SwapMeta(ctx, "x", step.old, step.value)
			if err != nil || done != step.done {
				t.Errorf("%+v: %v, %v", step, done, err)
			}
			if got, err := s.Meta(ctx, "x"); got != step.stands || step.stands != "" && err != nil {
				t.Errorf("%+v: %q stands, %v", step, got, err)
			}
		}
		if id, err := s.Meta(ctx, "database_id"); err != nil || len(id) < 32 {
			t.Errorf("database_id %q, %v", id, err)
		}
	})
}
