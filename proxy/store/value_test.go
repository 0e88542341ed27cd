package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// TestInvalid: what no database could keep, or only at a multiple of its size,
// is refused by both, with the name of the column and what is wrong.
func TestInvalid(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		note := func(raw string) *identity.Key {
			return &identity.Key{Token: "t", Type: "default", Metadata: identity.Fields{"n": []byte(raw)}}
		}
		for _, c := range []struct {
			key           *identity.Key
			column, wants string
		}{
			{&identity.Key{}, "token", "is empty"},
			{&identity.Key{Token: "t", Alias: strings.Repeat("a", 1025)}, "key_alias", "has 1025 bytes; at most 1024"},
			{&identity.Key{Token: "t", Alias: "a\x00"}, "key_alias", "U+0000"},
			{&identity.Key{Token: "t", Alias: "\xff"}, "key_alias", "UTF-8"},
			{note(`"\u0000"`), "metadata", "U+0000"},
			{note(`"\ud800"`), "metadata", "surrogates"},
			{note(`1e309`), "metadata", "exponent"},
			{note(`[-1E-100000]`), "metadata", "exponent"},
			{note(`1e99999999999999999999`), "metadata", "exponent"},
			{note(`[` + strings.Repeat("1e300,", 4000) + `1]`), "metadata", "bytes; at most 1048576"},
			{note(`"` + strings.Repeat("x", 1<<20) + `"`), "metadata", "bytes; at most 1048576"},
		} {
			err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(c.key) })
			var v *store.InvalidError
			if !errors.As(err, &v) || !errors.Is(err, store.ErrInvalid) || v.Column != c.column || !strings.Contains(v.Problem, c.wants) {
				t.Errorf("%.80s: %v, want %s %s", fmt.Sprint(c.key), err, c.column, c.wants)
			}
		}
		for _, raw := range []string{`1e308`, `-1.5E-9`, `"1e400"`, `{"e":"\\1e400","a\"1e400":true}`, `[false,1e+2]`} {
			k := note(raw)
			k.Token = raw
			insert(t, s, k)
		}
		if _, err := store.One[identity.Key](t.Context(), s, store.Eq("key_alias", "\x00")); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a condition with a NUL: %v", err)
		}
	})
}
