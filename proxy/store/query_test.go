package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// TestConditions holds both databases to the same answers.
func TestConditions(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		limit, at := money.Dollar, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		rich := &identity.Key{Token: "rich", Alias: `100%_\done`, UserID: "u1", Models: []string{"gpt", `a"b`, ""}, Blocked: true, Expires: &at}
		rich.MaxBudget = &limit
		rich.Settings = identity.Fields{"groups": []byte(`["x","y"]`), "other": []byte(`"x"`)}
		insert(t, s, rich, &identity.Key{Token: "poor", Alias: "Ärger ÜBER Alles", UserID: "u2", Models: []string{"GPT"}},
			&identity.Key{Token: "none"}, &identity.Team{ID: "u1"})
		later := at.Add(time.Microsecond)
		for _, tt := range []struct {
			name  string
			where []store.Cond
			want  string
		}{
			{"all", nil, "none poor rich"},
			{"equal", []store.Cond{store.Eq("user_id", "u1")}, "rich"},
			{"not equal", []store.Cond{store.Ne("user_id", "u1")}, "poor"},
			{"truth", []store.Cond{store.Eq("blocked", true)}, "rich"},
			{"before", []store.Cond{store.Before("expires", later)}, "rich"},
			{"not before", []store.Cond{store.Before("expires", at)}, ""},
			{"after", []store.Cond{store.After("max_budget", limit-1)}, "rich"},
			{"missing", []store.Cond{store.Null("user_id")}, "none"},
			{"there", []store.Cond{store.NotNull("max_budget")}, "rich"},
			{"in", []store.Cond{store.In("token", []string{"rich", "poor", "'", "x"})}, "poor rich"},
			{"in nothing", []store.Cond{store.In("token", nil)}, ""},
			{"percent", []store.Cond{store.Contains("key_alias", "0%_")}, "rich"},
			{"underscore", []store.Cond{store.Contains("key_alias", "0_")}, ""},
			{"backslash", []store.Cond{store.Contains("key_alias", `\D`)}, "rich"},
			{"case", []store.Cond{store.Contains("key_alias", "ber aLL")}, "poor"},
			{"beyond ASCII", []store.Cond{store.Contains("key_alias", "Ärger Ü")}, "poor"},
			{"everything", []store.Cond{store.Contains("key_alias", "")}, "poor rich"},
			{"fold", []store.Cond{store.Fold("key_alias", "Ärger Über ALLES"), store.Fold("user_id", "U2")}, "poor"},
			{"fold beyond ASCII", []store.Cond{store.Fold("key_alias", "ärger über alles")}, ""},
			{"has", []store.Cond{store.Has("models", "gpt")}, "rich"},
			{"has a quote", []store.Cond{store.Has("models", `a"b`)}, "rich"},
			{"has an empty one", []store.Cond{store.Has("models", "")}, "rich"},
			{"has part", []store.Cond{store.Has("models", "gp")}, ""},
			{"has in a field", []store.Cond{store.HasIn("settings", "groups", "y")}, "rich"},
			{"has in no list", []store.Cond{store.HasIn("settings", "none", "y")}, ""},
			{"any", []store.Cond{store.Any(store.Eq("user_id", "u2"), store.Null("user_id"))}, "none poor"},
			{"any of nothing", []store.Cond{store.Any()}, ""},
			{"all of nothing", []store.Cond{store.All()}, "none poor rich"},
			{"not", []store.Cond{store.Not(store.Any(store.Eq("token", "rich"), store.Eq("token", "none")))}, "poor"},
			{"among", []store.Cond{store.Among("user_id", identity.KindTeam, "team_id", store.Eq("blocked", false))}, "rich"},
			{"injected value", []store.Cond{store.Eq("token", "x' OR '1'='1")}, ""},
			{"injected list", []store.Cond{store.In("token", []string{`x"]') OR 1=1 --`, "{x}"})}, ""},
			{"injected text", []store.Cond{store.Has("models", `"] OR 1=1`)}, ""},
			{"injected pattern", []store.Cond{store.Contains("key_alias", "%' OR 1=1 --")}, ""},
		} {
			found, err := store.Find[identity.Key](t.Context(), s, store.Query{Where: tt.where})
			got := strings.Join(names(found, func(k *identity.Key) string { return k.Token }), " ")
			if err != nil || got != tt.want {
				t.Errorf("%s: %q, want %q, %v", tt.name, got, tt.want, err)
			}
			if n, err := store.Count[identity.Key](t.Context(), s, tt.where...); err != nil || n != len(found) {
				t.Errorf("%s: counted %d of %d, %v", tt.name, n, len(found), err)
			}
		}
		for _, column := range []string{"token; DROP TABLE sluice.keys", "1=1 OR token", "", "password", "\"token\"", "Token"} {
			for _, c := range []store.Cond{
				store.Eq(column, "x"), store.In(column, []string{"x"}), store.Contains(column, "x"), store.Has(column, "x"), store.Null(column),
				store.Fold(column, "x"), store.HasIn(column, "a", "x"), store.Among(column, identity.KindTeam, "team_id"),
				store.Among("token", identity.KindTeam, column), store.Not(store.Any(store.Ne(column, "x"))), store.NotNull(column),
			} {
				if _, err := store.Find[identity.Key](t.Context(), s, store.Query{Where: []store.Cond{c}}); err == nil || store.Away(err) {
					t.Errorf("column %q: %v", column, err)
				}
			}
			if _, err := store.Find[identity.Key](t.Context(), s, store.Query{Order: column + " "}); err == nil {
				t.Errorf("ordered by %q", column)
			}
		}
	})
}

// pages reads a listing page by page.
func pages(t *testing.T, s *store.Store, q store.Query, size int) string {
	t.Helper()
	var got []string
	for q.Limit = size; ; q.Offset += size {
		found, err := store.Find[identity.Key](t.Context(), s, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range found {
			got = append(got, k.Token)
		}
		if len(found) < size {
			return strings.Join(got, " ")
		}
	}
}

func listed(t *testing.T, s *store.Store) {
	t.Helper()
	aliases := map[string]string{"1": "b", "2": "B", "3": "ä", "4": "_", "5": "", "6": "a", "7": "Z", "8": "aa", "9": "a", "A": "a b", "a": "", "_": "a-b", "é": "ab"}
	var tokens []string
	for token, alias := range aliases {
		k := &identity.Key{Token: token, Alias: alias, Spend: money.Nano(len(alias))}
		tokens = append(tokens, token)
		insert(t, s, k)
	}
	slices.Sort(tokens)
	backwards := slices.Clone(tokens)
	slices.Reverse(backwards)
	by := func(desc bool) string {
		out := slices.Clone(tokens)
		slices.SortFunc(out, func(a, b string) int {
			x, y := aliases[a], aliases[b]
			switch {
			case x == "" != (y == ""): // missing: last, in both directions
				return map[bool]int{true: 1, false: -1}[x == ""]
			case desc:
				return strings.Compare(y+"\x00"+b, x+"\x00"+a)
			}
			return strings.Compare(x+"\x00"+a, y+"\x00"+b)
		})
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		q    store.Query
		want string
	}{
		{store.Query{}, strings.Join(tokens, " ")},
		{store.Query{Desc: true}, strings.Join(backwards, " ")},
		{store.Query{Order: "key_alias"}, by(false)},
		{store.Query{Order: "key_alias", Desc: true}, by(true)},
	} {
		for _, size := range []int{1, 3, 13, 100} {
			if got := pages(t, s, tt.q, size); got != tt.want {
				t.Errorf("%+v by %d:\n%s, want\n%s", tt.q, size, got, tt.want)
			}
		}
	}
	if found, err := store.Find[identity.Key](t.Context(), s, store.Query{Offset: 10}); err != nil || len(found) != 3 {
		t.Errorf("the rest: %d, %v", len(found), err)
	}
}

// TestOrder lists by bytes, whatever the locale of the database is.
func TestOrder(t *testing.T) {
	both(t, listed)
	t.Run("postgres of another locale", func(t *testing.T) {
		server := pgtest.New(t)
		pgtest.Exec(t, server.URL("postgres"), "CREATE DATABASE icu TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
		listed(t, openAt(t, migrated(t, server.URL("icu")), store.Config{}))
	})
}

// TestUnique meets every unique column.
func TestUnique(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		for i, pair := range [][2]identity.Object{
			{&identity.Key{Token: "k"}, &identity.Key{Token: "k"}},
			{&identity.User{ID: "1", SSOUserID: "sso"}, &identity.User{ID: "2", SSOUserID: "sso"}},
			{&identity.AccessGroup{ID: "1", Name: "g"}, &identity.AccessGroup{ID: "2", Name: "g"}},
			{&identity.Credential{ID: "1", Name: "c"}, &identity.Credential{ID: "2", Name: "c"}},
			{&identity.JWTMapping{ID: "1", ClaimName: "a", ClaimValue: "b"}, &identity.JWTMapping{ID: "2", ClaimName: "a", ClaimValue: "b"}},
		} {
			insert(t, s, pair[0])
			err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				if err := tx.Insert(&identity.Team{ID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				return tx.Insert(pair[1])
			})
			if !errors.Is(err, store.ErrExists) {
				t.Errorf("%T: %v", pair[1], err)
			}
		}
		insert(t, s, &identity.User{ID: "3"}, &identity.User{ID: "4"}) // both without the unique one
		if n, err := store.Count[identity.Team](t.Context(), s); n != 0 || err != nil {
			t.Errorf("%d teams are left of refused changes, %v", n, err)
		}
		if n, err := s.Head(t.Context()); n != 7 || err != nil {
			t.Errorf("head %d, %v", n, err)
		}
	})
}
