package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func digest(n int) string {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return hex.EncodeToString(sum[:])
}

// million is a database with 1,000,000 keys and a budget of its own for each.
func million(b *testing.B) (*store.Store, string) {
	b.Helper()
	url := pgtest.Database(b)
	source, err := postgres.ParseURL(url)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := migrate.Up(b.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	for _, statement := range []string{
		`INSERT INTO sluice.organizations (organization_id, organization_alias, budget_id, created_at, updated_at)
			SELECT 'o' || n, 'o', 'b' || n, now(), now() FROM generate_series(1, 1000) n`,
		`INSERT INTO sluice.teams (team_id, organization_id, budget_id, settings, created_at, updated_at)
			SELECT 't' || n, 'o' || (n % 1000), 'b' || n, '{"access_group_ids": ["g1", "g2"]}', now(), now() FROM generate_series(1, 10000) n`,
		`INSERT INTO sluice.users (user_id, budget_id, created_at, updated_at) SELECT 'u' || n, 'b' || n, now(), now() FROM generate_series(1, 100000) n`,
		`INSERT INTO sluice.team_members (team_id, user_id, budget_id, created_at, updated_at)
			SELECT 't' || (n % 10000 + 1), 'u' || n, 'b' || n, now(), now() FROM generate_series(1, 100000) n`,
		`INSERT INTO sluice.budgets (budget_id, created_at, updated_at) SELECT 'b' || n, now(), now() FROM generate_series(1, 1000000) n`,
		`INSERT INTO sluice.access_groups (access_group_id, access_group_name, created_at, updated_at) SELECT 'g' || n, 'g' || n, now(), now() FROM generate_series(1, 1000) n`,
		`INSERT INTO sluice.keys (token, user_id, team_id, budget_id, created_at, updated_at)
			SELECT encode(sha256(n::text::bytea), 'hex'), 'u' || (n % 100000 + 1), 't' || ((n % 100000 + 1) % 10000 + 1), 'b' || n, now() - n * interval '1 s', now() FROM generate_series(1, 1000000) n`,
		`INSERT INTO sluice.retired_keys (token, active_token, revoke_at, created_at, updated_at)
			SELECT 'old' || n, encode(sha256(n::text::bytea), 'hex'), now(), now(), now() FROM generate_series(1, 10000) n`,
	} {
		if _, err := conn.Exec(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	s, err := store.Open(store.Config{Postgres: source})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s, url
}

// BenchmarkMillionKeys looks up keys that nobody has asked for yet, before and
// after the server has looked at its tables.
func BenchmarkMillionKeys(b *testing.B) {
	s, url := million(b)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			pgtest.Exec(b, url, "ANALYZE")
		}
		plans(b, s, url)
		b.Run(fmt.Sprintf("analyzed=%v/cold", analyzed), func(b *testing.B) {
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				asked := digest(rand.IntN(1_000_000) + 1)
				start := time.Now()
				r, err := s.Resolve(b.Context(), []string{asked})
				took = append(took, time.Since(start))
				if err != nil || len(r.Keys) != 1 || len(r.Users) != 1 || len(r.Teams) != 1 || len(r.Members) != 1 || len(r.Budgets) < 3 || len(r.AccessGroups) != 2 {
					b.Fatalf("%+v %v", r, err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
		b.Run(fmt.Sprintf("analyzed=%v/1000 unknown", analyzed), func(b *testing.B) {
			unknown := make([]string, 1000)
			for b.Loop() {
				for i := range unknown {
					unknown[i] = digest(-1 - rand.IntN(1<<40))
				}
				if r, err := s.Resolve(b.Context(), unknown); err != nil || len(r.Keys) != 0 {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("analyzed=%v/1000 known", analyzed), func(b *testing.B) {
			known := make([]string, 1000)
			for b.Loop() {
				for i := range known {
					known[i] = digest(rand.IntN(1_000_000) + 1)
				}
				if r, err := s.Resolve(b.Context(), known); err != nil || len(r.Keys) < 990 {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("analyzed=%v/page", analyzed), func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Find[identity.Key](b.Context(), s, store.Query{Order: "created_at", Desc: true, Limit: 100}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plans fails where a lookup would read a whole table of those that grow.
func plans(b *testing.B, s *store.Store, url string) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	for name, st := range store.Lookups(s, digest(1), "u1", "t1", "b1", "o1") {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			if _, err := conn.Exec(b.Context(), "SET plan_cache_mode = "+mode); err != nil {
				b.Fatal(err)
			}
			rows, err := conn.Query(b.Context(), "EXPLAIN "+st.SQL, st.Args...)
			if err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				b.Fatalf("%s: %v", name, err)
			}
			plan := strings.Join(lines, "\n")
			for _, table := range []string{"keys", "budgets", "users", "teams", "team_members", "retired_keys"} {
				if strings.Contains(plan, "Seq Scan on "+table+" ") {
					b.Errorf("%s, %s: reads all %s:\n%s", name, mode, table, plan)
				}
			}
		}
	}
}

func BenchmarkGet(b *testing.B) {
	for _, kind := range []string{"postgres", "sqlite"} {
		b.Run(kind, func(b *testing.B) {
			target, c := migrate.Target{SQLite: b.TempDir() + "/sluice.db"}, store.Config{}
			c.SQLite = target.SQLite
			if kind == "postgres" {
				source, err := postgres.ParseURL(pgtest.Database(b))
				if err != nil {
					b.Fatal(err)
				}
				target, c = migrate.Target{Postgres: source}, store.Config{Postgres: source}
			}
			if _, err := migrate.Up(b.Context(), target, migrate.Options{}); err != nil {
				b.Fatal(err)
			}
			s, err := store.Open(c)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			err = s.Change(b.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: "k"}) })
			if err != nil {
				b.Fatal(err)
			}
			b.Run("get", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := store.Get[identity.Key](b.Context(), s, "k"); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("resolve", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if r, err := s.Resolve(b.Context(), []string{"k"}); err != nil || len(r.Keys) != 1 {
						b.Fatal(err)
					}
				}
			})
			b.Run("change", func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					n++
					err := s.Change(b.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Key{Token: digest(n)}) })
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
