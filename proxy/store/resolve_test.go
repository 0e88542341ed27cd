package store_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// insert writes objects in one change.
func insert(t *testing.T, s *store.Store, objects ...identity.Object) {
	t.Helper()
	err := s.Change(t.Context(), store.Actor{User: "admin"}, func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Insert(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// names are the ids of what was found, in order.
func names[T any](found []*T, id func(*T) string) []string {
	out := make([]string, len(found))
	for i, o := range found {
		out[i] = id(o)
	}
	slices.Sort(out)
	return out
}

func TestResolve(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		limit := int64(3)
		team := &identity.Team{ID: "t1", OrganizationID: "o1", BudgetID: "b-team"}
		team.Settings = identity.Fields{"access_group_ids": []byte(`["g-team"]`)}
		team.Metadata = identity.Fields{"team_member_budget_id": []byte(`"b-members"`)}
		key := &identity.Key{Token: "k1", UserID: "u1", TeamID: "t1", OrganizationID: "o2", ProjectID: "p1", BudgetID: "b-key"}
		key.Settings = identity.Fields{"access_group_ids": []byte(`["g-key"]`)}
		insert(t, s, &identity.Organization{ID: "o1", Alias: "one", BudgetID: "b-org"}, &identity.Organization{ID: "o2", Alias: "two"},
			&identity.Organization{ID: "o3", Alias: "of the user"}, &identity.Organization{ID: "o4", Alias: "nobody's"},
			team, &identity.Team{ID: "t2"}, &identity.User{ID: "u1", OrganizationID: "o3", BudgetID: "b-user"}, &identity.User{ID: "u2"},
			&identity.Member{TeamID: "t1", UserID: "u1", Role: "user", BudgetID: "b-member"},
			&identity.Member{TeamID: "t1", UserID: "u2", Role: "user"}, &identity.Member{TeamID: "t2", UserID: "u1", Role: "user"},
			&identity.OrganizationMember{OrganizationID: "o3", UserID: "u1", BudgetID: "b-orgmember"},
			&identity.Project{ID: "p1", BudgetID: "b-project"}, &identity.Project{ID: "p2"},
			&identity.AccessGroup{ID: "g-key", Name: "1"}, &identity.AccessGroup{ID: "g-team", Name: "2"}, &identity.AccessGroup{ID: "g", Name: "3"},
			key, &identity.Key{Token: "k2"}, &identity.Key{Token: "k3"},
			&identity.RetiredKey{Token: "old", Active: "k1", RevokeAt: time.Now().Add(time.Hour)})
		for _, id := range []string{"team", "key", "org", "user", "member", "orgmember", "project", "members", "other"} {
			b := &identity.Budget{ID: "b-" + id}
			b.RPMLimit = &limit
			insert(t, s, b)
		}
		head, err := s.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, asked := range [][]string{{"k1", "nothing"}, {"old"}, {"k1", "old", "k1"}} {
			r, err := s.Resolve(ctx, asked)
			if err != nil {
				t.Fatal(err)
			}
			got := [][]string{
				names(r.Keys, func(o *identity.Key) string { return o.Token }),
				names(r.Users, func(o *identity.User) string { return o.ID }),
				names(r.Teams, func(o *identity.Team) string { return o.ID }),
				names(r.Members, func(o *identity.Member) string { return o.TeamID + o.UserID }),
				names(r.Organizations, func(o *identity.Organization) string { return o.ID }),
				names(r.OrganizationMembers, func(o *identity.OrganizationMember) string { return o.OrganizationID + o.UserID }),
				names(r.Projects, func(o *identity.Project) string { return o.ID }),
				names(r.Budgets, func(o *identity.Budget) string { return o.ID }),
				names(r.AccessGroups, func(o *identity.AccessGroup) string { return o.ID }),
			}
			want := [][]string{
				{"k1"},
				{"u1"},
				{"t1"},
				{"t1u1"},
				{"o1", "o2", "o3"},
				{"o3u1"},
				{"p1"},
				{"b-key", "b-member", "b-members", "b-org", "b-orgmember", "b-project", "b-team", "b-user"},
				{"g-key", "g-team"},
			}
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%v: list %d is %v, want %v", asked, i, got[i], want[i])
				}
			}
			if r.Number != head || len(r.Retired) == 1 != slices.Contains(asked, "old") {
				t.Errorf("%v: number %d of %d, %d retired", asked, r.Number, head, len(r.Retired))
			}
			if b := r.Budgets[0]; *b.RPMLimit != limit {
				t.Errorf("budget %+v", b)
			}
		}
		unknown := make([]string, 1000)
		for i := range unknown {
			unknown[i] = strconv.Itoa(i)
		}
		if r, err := s.Resolve(ctx, unknown); err != nil || r.Number != head || len(r.Keys)+len(r.Retired) != 0 {
			t.Errorf("unknown: %+v %v", r, err)
		}
		if r, err := s.Resolve(ctx, slices.Concat(unknown, []string{"k2", "k3"})); err != nil || len(r.Keys) != 2 || len(r.Budgets) != 0 {
			t.Errorf("keys of nobody: %+v %v", r, err)
		}
		if r, err := s.Resolve(ctx, nil); err != nil || r.Number != head || len(r.Keys) != 0 {
			t.Errorf("nothing asked: %+v %v", r, err)
		}
	})
}

func TestChanges(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		k := &identity.Key{Token: "k", Alias: "before"}
		by := store.Actor{User: "u", Key: "digest", Claimed: "me", Source: "10.0.0.1", RequestID: "r", Reason: "why"}
		start := time.Now().Add(-time.Second)
		insert(t, s, &identity.Team{ID: "t"})
		for _, change := range []func(tx *store.Tx) error{
			func(tx *store.Tx) error { return tx.Insert(k) },
			func(tx *store.Tx) error {
				k.Alias, k.Spend = "after", money.Dollar
				return tx.UpdateAs(store.Blocked, k)
			},
			func(tx *store.Tx) error { return tx.Delete(k) },
		} {
			if err := s.Change(ctx, by, change); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			name  string
			f     store.ChangeFilter
			page  []int64
			total int
		}{
			{"all", store.ChangeFilter{}, []int64{4, 3, 2, 1}, 4},
			{"oldest", store.ChangeFilter{Oldest: true, Limit: 2}, []int64{1, 2}, 4},
			{"second page", store.ChangeFilter{Limit: 2, Offset: 2}, []int64{2, 1}, 4},
			{"past the end", store.ChangeFilter{Offset: 9}, nil, 4},
			{"one", store.ChangeFilter{Number: 3}, []int64{3}, 1},
			{"actor", store.ChangeFilter{Actor: "u", Claimed: "me", Key: "digest"}, []int64{4, 3, 2}, 3},
			{"action", store.ChangeFilter{Action: store.Blocked}, []int64{3}, 1},
			{"kinds", store.ChangeFilter{Kinds: []identity.Kind{identity.KindTeam, identity.KindUser}}, []int64{1}, 1},
			{"object", store.ChangeFilter{Kinds: []identity.Kind{identity.KindKey}, ID: "k"}, []int64{4, 3, 2}, 3},
			{"time", store.ChangeFilter{From: start, To: time.Now()}, []int64{4, 3, 2, 1}, 4},
			{"too late", store.ChangeFilter{From: time.Now().Add(time.Minute)}, nil, 0},
			{"too early", store.ChangeFilter{To: start}, nil, 0},
			{"injected", store.ChangeFilter{Actor: "u' OR '1'='1"}, nil, 0},
		} {
			changes, total, err := s.Changes(ctx, tt.f)
			var page []int64
			for _, c := range changes {
				page = append(page, c.Number)
			}
			if err != nil || total != tt.total || !slices.Equal(page, tt.page) {
				t.Errorf("%s: %v of %d, %v", tt.name, page, total, err)
			}
		}
		changes, _, _ := s.Changes(ctx, store.ChangeFilter{Number: 3})
		c := changes[0]
		if c.Actor != by || c.Action != store.Blocked || c.Kind != identity.KindKey || c.KindNamed != "key" || c.ID != "k" || time.Since(c.At) > time.Minute {
			t.Errorf("%+v", c)
		}
		before, after := document(t, c.Before), document(t, c.After)
		if before["key_alias"] != "before" || after["key_alias"] != "after" || after["spend"] != 1e9 {
			t.Errorf("from %v to %v", before, after)
		}
		changes, _, _ = s.Changes(ctx, store.ChangeFilter{Oldest: true})
		if changes[1].Before != nil || changes[1].After == nil || changes[3].Before == nil || changes[3].After != nil {
			t.Errorf("%s %s", changes[1].Before, changes[3].After)
		}
	})
}

func TestTouchKeys(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		insert(t, s, &identity.Key{Token: "a"}, &identity.Key{Token: "b"})
		at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		last := func(want time.Time) {
			t.Helper()
			k, err := store.Get[identity.Key](ctx, s, "a")
			if err != nil || k.LastActive == nil || !k.LastActive.Equal(want) || k.ChangeNumber != 1 {
				t.Errorf("%+v %v, want %s", k, err, want)
			}
		}
		for _, step := range []struct{ used, want time.Duration }{
			{0, 0}, {30 * time.Second, 0}, {-time.Hour, 0}, {time.Minute, time.Minute}, {time.Hour, time.Hour},
		} {
			if err := s.TouchKeys(ctx, map[string]time.Time{"a": at.Add(step.used), "unknown": at}); err != nil {
				t.Fatal(err)
			}
			last(at.Add(step.want))
		}
		if b, _ := store.Get[identity.Key](ctx, s, "b"); b.LastActive != nil {
			t.Errorf("b: %v", b.LastActive)
		}
		if n, _ := s.Head(ctx); n != 2 {
			t.Errorf("it was recorded as a change: head %d", n)
		}
	})
}

func TestListen(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		heard, ended := make(chan struct{}, 10), make(chan error, 1)
		go func() { ended <- s.Listen(ctx, func() { heard <- struct{}{} }) }()
		select {
		case err := <-ended:
			if !errors.Is(err, store.ErrNone) {
				t.Fatal(err)
			}
			return // SQLite
		case <-heard:
		}
		insert(t, s, &identity.Team{ID: "t"})
		select {
		case <-heard:
		case <-time.After(5 * time.Second):
			t.Fatal("nothing heard")
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("it ended well")
		}
		if _, err := s.Head(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
