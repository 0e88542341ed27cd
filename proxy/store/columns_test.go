package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// filled is an object with a value in every field. Different n, different values.
func filled(k identity.Kind, n int) identity.Object {
	o := reflect.New(store.Types()[k])
	i := int64(n)
	for name, at := range store.Columns(k) {
		f := o.Elem().FieldByIndex(at)
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = fmt.Sprintf("%s %d ключ 🔑 \"'\\%%_$1?1;--\t", name, n)
			if name == "role" {
				*p = identity.TeamUser
			}
		case *bool:
			*p = n%2 == 0
		case *int64:
			*p = math.MaxInt64 - i
		case **int64:
			v := math.MinInt64 + i
			*p = &v
		case *money.Nano:
			*p = money.Nano(math.MaxInt64 - i)
		case **money.Nano:
			v := money.Nano(i)
			*p = &v
		case *time.Time:
			*p = time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC).AddDate(n, 0, 0)
		case **time.Time:
			v := time.Date(9999, 12, 31, 23, 59, n%60, 1000, time.UTC)
			*p = &v
		case *[]string:
			*p = []string{"", name, "a\"b\\c", fmt.Sprint(n)}
		case *map[string]string:
			*p = map[string]string{"": name, "k\u2028": fmt.Sprint(n)}
		case *identity.Fields:
			*p = identity.Fields{
				"n": []byte(fmt.Sprint(n)), "deep": []byte(`{"a":[1,-2.5,null,true,{"b":"<&>😀\\u0000"}],"big":123456789012345678901234567890}`),
				"": []byte(`"x"`), "list": []byte(`[]`),
			}
		default:
			panic(fmt.Sprintf("BUG: %T has no value in this test", p))
		}
	}
	return o.Interface().(identity.Object)
}

// parents are what foreign keys of a kind want.
func parents(o identity.Object) []identity.Object {
	switch o := o.(type) {
	case *identity.Member:
		return []identity.Object{&identity.Team{ID: o.TeamID}}
	case *identity.OrganizationMember:
		return []identity.Object{&identity.Organization{ID: o.OrganizationID}}
	}
	return nil
}

// canonical is an object as a text in which documents that mean the same are the
// same.
func canonical(t *testing.T, o identity.Object) string {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// TestColumns writes and reads every column of every kind.
func TestColumns(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		for kind := range store.Types() {
			t.Run(kind.String(), func(t *testing.T) {
				first, second := filled(kind, int(kind)*10), filled(kind, int(kind)*10+1)
				insert(t, s, parents(first)...)
				insert(t, s, first)
				same := func(want identity.Object) {
					t.Helper()
					got, err := store.Load(t.Context(), s, first)
					if err != nil || canonical(t, got) != canonical(t, want) {
						t.Errorf("%v\n%s\n%s", err, canonical(t, got), canonical(t, want))
					}
				}
				same(first)
				copyKey(second, first)
				err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Update(second) })
				if err != nil {
					t.Fatal(err)
				}
				stamp := reflect.ValueOf(second).Elem().FieldByName("Stamp").Addr().Interface().(*identity.Stamp)
				before := reflect.ValueOf(first).Elem().FieldByName("Stamp").Interface().(identity.Stamp)
				stamp.CreatedAt, stamp.CreatedBy = before.CreatedAt, before.CreatedBy // stay
				if before.CreatedBy != "admin" || stamp.ChangeNumber <= before.ChangeNumber {
					t.Errorf("stamps %+v, %+v", before, stamp)
				}
				same(second)
				err = s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Delete(second) })
				if err != nil {
					t.Fatal(err)
				}
				for _, gone := range []func(tx *store.Tx) error{
					func(tx *store.Tx) error { return tx.Update(second) }, func(tx *store.Tx) error { return tx.Delete(second) },
				} {
					if err := s.Change(t.Context(), store.Actor{}, gone); !errors.Is(err, store.ErrNotFound) {
						t.Errorf("deleted: %v", err)
					}
				}
			})
		}
	})
}

func keyColumns(o identity.Object) [][]int {
	var out [][]int
	for i := range reflect.TypeOf(o).Elem().NumField() {
		if f := reflect.TypeOf(o).Elem().Field(i); strings.HasSuffix(f.Tag.Get("db"), ",key") {
			out = append(out, f.Index)
		}
	}
	return out
}

func copyKey(to, from identity.Object) {
	for _, at := range keyColumns(from) {
		reflect.ValueOf(to).Elem().FieldByIndex(at).Set(reflect.ValueOf(from).Elem().FieldByIndex(at))
	}
}

// TestAbsent keeps what is not there apart from what is zero.
func TestAbsent(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		for kind := range store.Types() {
			o := reflect.New(store.Types()[kind]).Interface().(identity.Object)
			copyKey(o, filled(kind, int(kind)))
			if m, ok := o.(*identity.Member); ok {
				m.Role = identity.TeamUser
			}
			insert(t, s, parents(o)...)
			insert(t, s, o)
			got, err := store.Load(t.Context(), s, o)
			if err != nil {
				t.Fatal(err)
			}
			for name, at := range store.Columns(kind) {
				f, was := reflect.ValueOf(got).Elem().FieldByIndex(at), reflect.ValueOf(o).Elem().FieldByIndex(at)
				switch f.Kind() {
				case reflect.Map, reflect.Slice: // an absent one is empty
					if f.IsNil() || f.Len() != 0 {
						t.Errorf("%s.%s is %v", kind, name, f)
					}
				default:
					if !reflect.DeepEqual(f.Interface(), was.Interface()) {
						t.Errorf("%s.%s is %v, not %v", kind, name, f, was)
					}
				}
			}
		}
		for column, want := range map[string]bool{"key_alias": true, "expires": true, "max_budget": true, "key_type": false, "spend": false} {
			n, err := store.Count[identity.Key](t.Context(), s, store.Null(column))
			if err != nil || n == 1 != want {
				t.Errorf("%s: NULL is %v, %v", column, n, err)
			}
		}
	})
}

// TestRefusedValues are those that one of the databases cannot keep: both refuse
// them, and nothing is written.
func TestRefusedValues(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		head, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		refused := func(o identity.Object, what, column string) {
			t.Helper()
			err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(o) })
			if !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), column) {
				t.Errorf("%s in %s.%s: %v", what, o.Kind(), column, err)
			}
		}
		for kind := range store.Types() {
			for name, at := range store.Columns(kind) {
				if strings.HasPrefix(name, "created_") || strings.HasPrefix(name, "updated_") {
					continue
				}
				values := map[string]any{}
				switch reflect.New(store.Types()[kind]).Elem().FieldByIndex(at).Interface().(type) {
				case string:
					values = map[string]any{"NUL": "a\x00b", "no UTF-8": "a\xffb"}
					if name != "description" && name != "password" {
						values["1025 bytes"] = strings.Repeat("x", 1025)
					}
				case identity.Fields:
					values = map[string]any{
						"NUL": identity.Fields{"a": []byte(`["\\\u0000"]`)}, "NUL in a name": identity.Fields{"a\x00": []byte(`1`)},
						"half a pair": identity.Fields{"a": []byte(`"\ud800x"`)}, "other half": identity.Fields{"a": []byte(`"\udc00"`)},
						"two first halves": identity.Fields{"a": []byte(`"\ud800\ud800"`)}, "no JSON": identity.Fields{"a": []byte(`{`)},
					}
				case []string:
					values = map[string]any{"NUL": []string{"a\x00"}}
				}
				for what, v := range values {
					o := filled(kind, 1)
					reflect.ValueOf(o).Elem().FieldByIndex(at).Set(reflect.ValueOf(v))
					refused(o, what, name)
				}
			}
		}
		refused(&identity.Key{}, "an empty key", "token")
		if n, err := s.Head(t.Context()); err != nil || n != head {
			t.Errorf("head %d, was %d, %v", n, head, err)
		}
		good := &identity.Key{Token: "k", Metadata: identity.Fields{"a": []byte(`"\ud83d\udd11 \\u0000 \\\\ud800"`)}}
		insert(t, s, good)
		if _, err := store.Get[identity.Key](t.Context(), s, "\x00"); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("NUL in a condition: %v", err)
		}
	})
}
