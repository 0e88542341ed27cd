package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// take takes objects as an import does, with one row of the record.
func take(t *testing.T, s *store.Store, objects ...identity.Object) store.Taken {
	t.Helper()
	var out store.Taken
	change(t, s, func(tx *store.Tx) error {
		var err error
		if out, err = tx.Take(objects[0].Kind(), objects); err != nil || out.Inserted+out.Replaced == 0 {
			return err
		}
		return tx.Note(store.Imported, identity.KindImport, "litellm/x/1", nil, map[string]int{"count": len(objects)})
	})
	return out
}

func counts(x store.Taken) string {
	return fmt.Sprint(x.Inserted, x.Replaced, x.Same, x.Kept, x.Deleted, len(x.Refused))
}

func wants(t *testing.T, what string, got store.Taken, want string) {
	t.Helper()
	if counts(got) != want {
		t.Errorf("%s: %s, want %s: %+v", what, counts(got), want, got)
	}
}

// TestTakeKinds takes an object of every kind with a value in every column, and
// again, and with other values.
func TestTakeKinds(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		for kind := range store.Types() {
			first, second := filled(kind, int(kind)*10), filled(kind, int(kind)*10+1)
			copyKey(second, first)
			insert(t, s, parents(first)...)
			for i, step := range []struct {
				o    identity.Object
				want string
			}{{first, "1 0 0 0 0 0"}, {first, "0 0 1 0 0 0"}, {second, "0 1 0 0 0 0"}, {second, "0 0 1 0 0 0"}} {
				// Spend is at the edge of what can be stored; it is added up elsewhere.
				if _, columns := any(step.o), store.Columns(kind); columns["spend"] != nil {
					at := reflect.ValueOf(step.o).Elem()
					at.FieldByIndex(columns["spend"]).SetInt(int64(i / 2))
				}
				wants(t, fmt.Sprint(kind, " ", i), take(t, s, step.o), step.want)
			}
			got, err := store.Load(t.Context(), s, first)
			if err != nil {
				t.Fatal(err)
			}
			stamp := reflect.ValueOf(second).Elem().FieldByName("Stamp").Addr().Interface().(*identity.Stamp)
			head, err := s.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			stamp.ChangeNumber = head
			if columns := store.Columns(kind); columns["last_active"] != nil { // the later one stays
				at := columns["last_active"]
				reflect.ValueOf(second).Elem().FieldByIndex(at).Set(reflect.ValueOf(first).Elem().FieldByIndex(at))
				if a, b := filled(kind, int(kind)*10), filled(kind, int(kind)*10+1); a.(*identity.Key).LastActive.Before(*b.(*identity.Key).LastActive) {
					reflect.ValueOf(second).Elem().FieldByIndex(at).Set(reflect.ValueOf(b).Elem().FieldByIndex(at))
				}
			}
			if canonical(t, got) != canonical(t, second) {
				t.Errorf("%s\n%s\n%s", kind, canonical(t, got), canonical(t, second))
			}
		}
	})
}

// TestTakeAgain takes keys again after they were changed here, changed there,
// used, and deleted.
func TestTakeAgain(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		s := open(store.Config{Chain: withKey})
		created := time.Date(2024, 2, 3, 4, 5, 6, 7000, time.UTC)
		theirs := func(spend money.Nano, alias string) []identity.Object {
			var out []identity.Object
			for i := range 6 {
				k := &identity.Key{Token: fmt.Sprint("k", i), Alias: alias, Spend: spend}
				k.CreatedAt, k.CreatedBy = created, "them"
				out = append(out, k)
			}
			return out
		}
		key := func(token string) *identity.Key {
			t.Helper()
			k, err := store.Get[identity.Key](t.Context(), s, token)
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		wants(t, "first", take(t, s, theirs(10, "a")...), "6 0 0 0 0 0")
		if k := key("k0"); k.ChangeNumber != 1 || !k.CreatedAt.Equal(created) || k.CreatedBy != "them" || k.Spend != 10 || k.UpdatedAt.IsZero() {
			t.Errorf("%+v", k)
		}
		if head, _ := s.Head(t.Context()); head != 1 {
			t.Errorf("%d changes for one batch", head)
		}
		wants(t, "again", take(t, s, theirs(10, "a")...), "0 0 6 0 0 0")
		if head, _ := s.Head(t.Context()); head != 1 {
			t.Errorf("head %d after a batch in which nothing was new", head)
		}
		if err := store.Run(t.Context(), s, "UPDATE sluice.keys SET spend = spend + 5"); err != nil { // used here
			t.Fatal(err)
		}
		change(t, s, func(tx *store.Tx) error {
			k := key("k1")
			k.Alias = "ours"
			return errors.Join(tx.Update(k), tx.Delete(key("k2")))
		})
		if err := store.Run(t.Context(), s, "UPDATE sluice.keys SET spend = 1 WHERE token = 'k3'"); err != nil { // its window ended here
			t.Fatal(err)
		}
		got := take(t, s, theirs(12, "b")...)
		wants(t, "changed", got, "0 4 0 1 1 0")
		if !slices.Equal(got.KeptIDs, []string{"k1"}) || !slices.Equal(got.DeletedIDs, []string{"k2"}) {
			t.Errorf("%+v", got)
		}
		for token, want := range map[string]struct {
			alias string
			spend money.Nano
		}{"k0": {"b", 17}, "k1": {"ours", 17}, "k3": {"b", 3}, "k4": {"b", 17}} {
			if k := key(token); k.Alias != want.alias || k.Spend != want.spend {
				t.Errorf("%s: %s %d, want %+v", token, k.Alias, k.Spend, want)
			}
		}
		if _, err := store.Get[identity.Key](t.Context(), s, "k2"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what was deleted here is back: %v", err)
		}
		wants(t, "once more", take(t, s, theirs(12, "b")...), "0 0 4 1 1 0")
		wants(t, "their window ended", take(t, s, theirs(0, "b")...), "0 4 0 1 1 0")
		if k := key("k3"); k.Spend != 0 {
			t.Errorf("spend %d is below nothing", k.Spend)
		}
		if k := key("k1"); k.Spend != 5 || k.Alias != "ours" {
			t.Errorf("%+v", k)
		}
		mustVerify(t, s, 5)
	})
}

// TestTakeForeign meets objects that are here and never came from there.
func TestTakeForeign(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		same := &identity.Team{ID: "same", Alias: "a", Metadata: identity.Fields{"b": json.RawMessage(`{"y": 1, "x": [2]}`), "a": json.RawMessage(`"é"`)}}
		insert(t, s, same, &identity.Team{ID: "other", Alias: "a"}, &identity.Team{ID: "spent", Spend: 5})
		got := take(t, s, &identity.Team{ID: "same", Alias: "a", Metadata: identity.Fields{"a": json.RawMessage(`"\u00e9"`), "b": json.RawMessage(`{"x":[2],"y":1}`)}},
			&identity.Team{ID: "other", Alias: "b"}, &identity.Team{ID: "spent", Spend: 6}, &identity.Team{ID: "new"})
		wants(t, "merged", got, "1 0 1 2 0 0")
		if !slices.Equal(got.KeptIDs, []string{"other", "spent"}) {
			t.Errorf("%+v", got)
		}
		got = take(t, s, &identity.Team{ID: "same", Alias: "b"}, &identity.Team{ID: "other", Alias: "c"})
		wants(t, "again", got, "0 1 0 1 0 0")
		var many []identity.Object
		for i := range 150 {
			many = append(many, &identity.Tag{Name: fmt.Sprint(i)})
		}
		insert(t, s, many...)
		for _, o := range many {
			o.(*identity.Tag).Description = "x"
		}
		if got := take(t, s, many...); got.Kept != 150 || len(got.KeptIDs) != 100 {
			t.Errorf("%d kept, %d named", got.Kept, len(got.KeptIDs))
		}
	})
}

// TestTakeRefused meets what cannot be here. The rest of the batch is taken.
func TestTakeRefused(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		refused := func(got store.Taken, want map[string]string) {
			t.Helper()
			for id, problem := range want {
				if !slices.ContainsFunc(got.Refused, func(r store.Refused) bool { return r.ID == id && strings.Contains(r.Problem, problem) }) {
					t.Errorf("%s: want %q: %+v", id, problem, got.Refused)
				}
			}
			if len(got.Refused) != len(want) {
				t.Errorf("%d are refused: %+v", len(got.Refused), got.Refused)
			}
		}
		insert(t, s, &identity.User{ID: "here", SSOUserID: "s"}, &identity.Credential{ID: "c1", Name: "openai"},
			&identity.AccessGroup{ID: "g1", Name: "all"}, &identity.JWTMapping{ID: "j1", ClaimName: "sub", ClaimValue: "x", Token: "t"},
			&identity.Team{ID: "team"}, &identity.Organization{ID: "org"})
		got := take(t, s, &identity.User{ID: "u1", SSOUserID: "s"}, &identity.User{ID: "u2", SSOUserID: "s2"}, &identity.User{ID: "u3", SSOUserID: "s2"},
			&identity.User{ID: "u4"}, &identity.User{ID: "u5"}, &identity.User{ID: "u4"}, &identity.User{ID: "u6", Alias: "a\x00"},
			&identity.User{ID: strings.Repeat("i", 1025)}, &identity.User{ID: ""})
		if got.Inserted != 3 {
			t.Errorf("%+v", got)
		}
		refused(got, map[string]string{
			"u1": "sso_user_id: another user", "u3": "sso_user_id", "u4": "twice", "u6": "user_alias", strings.Repeat("i", 1025): "1025 bytes", "": "is empty",
		})
		refused(take(t, s, &identity.Credential{ID: "c2", Name: "openai"}, &identity.Credential{ID: "c3", Name: "x"}), map[string]string{"c2": "credential_name"})
		refused(take(t, s, &identity.AccessGroup{ID: "g2", Name: "all"}, &identity.AccessGroup{ID: "g3", Name: "x"}), map[string]string{"g2": "access_group_name"})
		refused(take(t, s, &identity.JWTMapping{ID: "j2", ClaimName: "sub", ClaimValue: "x", Token: "u"},
			&identity.JWTMapping{ID: "j3", Issuer: "i", ClaimName: "sub", ClaimValue: "x", Token: "u"}), map[string]string{"j2": "jwt_claim_value"})
		refused(take(t, s, &identity.Member{TeamID: "team", UserID: "u", Role: "user"}, &identity.Member{TeamID: "gone", UserID: "u", Role: "user"},
			&identity.Member{TeamID: "team", UserID: "v", Role: "boss"}), map[string]string{"gone/u": "its team is not here", "team/v": "role"})
		refused(take(t, s, &identity.OrganizationMember{OrganizationID: "org", UserID: "u"}, &identity.OrganizationMember{OrganizationID: "gone", UserID: "u"}),
			map[string]string{"gone/u": "its organization is not here"})
		// The same text in another row is not in the way of its own row.
		wants(t, "own value", take(t, s, &identity.Credential{ID: "c3", Name: "x", Info: identity.Fields{"a": json.RawMessage("1")}}), "0 1 0 0 0 0")
		// Ids with a slash in them are not mixed up.
		insert(t, s, &identity.Team{ID: "a"}, &identity.Team{ID: "a/b"}, &identity.Team{ID: `a\`})
		wants(t, "slashes", take(t, s, &identity.Member{TeamID: "a", UserID: "b/c", Role: "user"}, &identity.Member{TeamID: "a/b", UserID: "c", Role: "user"},
			&identity.Member{TeamID: `a\`, UserID: "b/c", Role: "user"}), "3 0 0 0 0 0")
	})
}

// TestTakeWithoutNote leaves nothing behind that no row of the record tells of.
func TestTakeWithoutNote(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		objects := []identity.Object{&identity.Tag{Name: "x"}}
		for name, fn := range map[string]func(tx *store.Tx) error{
			"no note":          func(tx *store.Tx) error { return nil },
			"something before": func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "y"}) },
			"two kinds mixed": func(tx *store.Tx) error {
				_, err := tx.Take(identity.KindTag, []identity.Object{&identity.Team{ID: "x"}})
				return err
			},
		} {
			err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				if _, err := tx.Take(identity.KindTag, objects); err != nil {
					return err
				}
				return fn(tx)
			})
			if err == nil {
				t.Errorf("%s is let through", name)
			}
		}
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			_, err := tx.Take(identity.KindTag, make([]identity.Object, 1001))
			return err
		})
		if err == nil {
			t.Error("1001 objects are taken at once")
		}
		if n, err := store.Count[identity.Tag](t.Context(), s); err != nil || n != 0 {
			t.Errorf("%d tags, %v", n, err)
		}
	})
}

// TestTakeResealed: an object that was sealed anew was not changed here.
func TestTakeResealed(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		model := func(name, sealed string) *identity.Model {
			return &identity.Model{ID: "m", Name: name, Params: identity.Fields{"api_key": json.RawMessage(`"` + sealed + `"`)}}
		}
		wants(t, "first", take(t, s, model("a", "1")), "1 0 0 0 0 0")
		change(t, s, func(tx *store.Tx) error { return tx.UpdateAs(store.Resealed, model("a", "2")) })
		wants(t, "again", take(t, s, model("b", "3")), "0 1 0 0 0 0")
		change(t, s, func(tx *store.Tx) error { return tx.Update(model("c", "2")) })
		change(t, s, func(tx *store.Tx) error { return tx.UpdateAs(store.Resealed, model("c", "4")) })
		wants(t, "changed and sealed anew", take(t, s, model("d", "3")), "0 0 0 1 0 0")
	})
}

func TestLastActive(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		at := func(hour int) *time.Time { v := time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC); return &v }
		for _, step := range []struct {
			theirs, ours, want *time.Time
		}{{at(5), nil, at(5)}, {at(5), at(9), at(9)}, {at(8), nil, at(9)}, {at(11), nil, at(11)}, {nil, nil, at(11)}} {
			if step.ours != nil {
				if err := s.TouchKeys(t.Context(), map[string]time.Time{"k": *step.ours}); err != nil {
					t.Fatal(err)
				}
			}
			take(t, s, &identity.Key{Token: "k", LastActive: step.theirs})
			k, err := store.Get[identity.Key](t.Context(), s, "k")
			if err != nil || k.LastActive == nil || !k.LastActive.Equal(*step.want) {
				t.Errorf("%+v: %v %v", step, k.LastActive, err)
			}
		}
	})
}
