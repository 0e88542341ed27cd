package store_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"sluice/internal/dbtest"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

func eachStore(b *testing.B, c store.Config, run func(b *testing.B, s *store.Store)) {
	for _, kind := range []string{"postgres", "sqlite"} {
		b.Run(kind, func(b *testing.B) {
			c := c
			if kind == "postgres" {
				c.Postgres = dbtest.Postgres(b)
			} else {
				c.SQLite = dbtest.SQLite(b)
			}
			s, err := store.Open(c)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			run(b, s)
		})
	}
}

// BenchmarkTake takes 1,000 keys at once: new ones, the same again, and with
// more spend than before.
func BenchmarkTake(b *testing.B) {
	eachStore(b, store.Config{Chain: withKey}, func(b *testing.B, s *store.Store) {
		n := 0
		keys := func(from int, spend money.Nano) []identity.Object {
			out := make([]identity.Object, 1000)
			for i := range out {
				k := &identity.Key{
					Token: digest(from + i), Name: "sk-...abcd", Alias: fmt.Sprint("alias ", from+i), Type: "default", UserID: fmt.Sprint("user-", i%100),
					TeamID: fmt.Sprint("team-", i%10), Models: []string{"gpt-5", "claude"}, Spend: spend,
					Metadata: identity.Fields{"department": json.RawMessage(`"research"`), "tags": json.RawMessage(`["a","b"]`)},
				}
				k.CreatedBy = "default_user_id"
				out[i] = k
			}
			return out
		}
		take := func(objects []identity.Object) {
			err := s.Change(b.Context(), store.Actor{}, func(tx *store.Tx) error {
				taken, err := tx.Take(identity.KindKey, objects)
				if err != nil || taken.Same == len(objects) {
					return err
				}
				return tx.Note(store.Imported, identity.KindImport, "litellm/keys/1", nil, nil)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.Run("new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				objects := keys(n, 1)
				n += 1000
				b.StartTimer()
				take(objects)
			}
		})
		b.Run("same", func(b *testing.B) {
			b.ReportAllocs()
			objects := keys(0, 1)
			for b.Loop() {
				take(objects)
			}
		})
		b.Run("more spend", func(b *testing.B) {
			b.ReportAllocs()
			spend := money.Nano(1)
			for b.Loop() {
				b.StopTimer()
				spend++
				objects := keys(0, spend)
				b.StartTimer()
				take(objects)
			}
		})
	})
}

// BenchmarkChange is one change with its row of the record, with and without a
// code.
func BenchmarkChange(b *testing.B) {
	for name, c := range map[string]store.Config{"plain": {}, "chained": {Chain: withKey}} {
		b.Run(name, func(b *testing.B) {
			eachStore(b, c, func(b *testing.B, s *store.Store) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n++
					err := s.Change(b.Context(), store.Actor{User: "admin"}, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: digest(n)}) })
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
