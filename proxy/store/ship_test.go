package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// ship ships a batch that must be taken.
func ship(t *testing.T, s *store.Store, b *store.Batch, inserted int) store.Shipped {
	t.Helper()
	out, err := s.Ship(t.Context(), b)
	if err != nil || out.Inserted != inserted {
		t.Fatalf("%d of %d rows inserted, %d expected: %v", out.Inserted, len(b.Rows), inserted, err)
	}
	return out
}

// value reads one number.
func value(t *testing.T, s *store.Store, sql string, args ...any) int64 {
	t.Helper()
	n, err := store.Number(t.Context(), s, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// mustBalance compares all sums with their rows.
func mustBalance(t *testing.T, s *store.Store) store.Reconciled {
	t.Helper()
	out, err := s.Reconcile(t.Context(), store.Reconciling{From: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	if out.Drift != 0 || len(out.Places) > 0 {
		t.Errorf("drift %s: %+v", out.Drift, out.Places)
	}
	return out
}

func TestShip(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const keys = 10
		loadObjects(t, s, keys)
		insert(t, s, &identity.Organization{ID: "o"}, &identity.Project{ID: "p"}, &identity.Tag{Name: "red"})
		insert(t, s, &identity.Member{TeamID: "team-1", UserID: "user-1", Role: identity.TeamUser}, &identity.OrganizationMember{OrganizationID: "o", UserID: "user-1"})
		b := &store.Batch{
			Host: "h", Prices: []store.PriceVersion{{Version: 4711, Document: []byte(`{"input":"1"}`)}},
			Bodies:  []store.SpendBody{{Messages: []byte(`[{"role":"user"}]`)}},
			Cursors: []store.Cursor{{Segment: "a", To: 5000}, {Segment: "b", To: 6000}},
		}
		for n := range 333 {
			a := attemptOf(n, keys)
			if n%keys == 1 {
				a.Organization, a.Project, a.EndUser, a.Tags = "o", "p", "customer "+fmt.Sprint(n%3), []string{"red", "blue", "red"}
				a.Metadata, a.Session = `{"a":[1]}`, "s"
				a.Usage.AudioIn, a.Usage.CachedIn = 3, 7
			}
			if n%50 == 49 {
				a.Status, a.Cost, a.HTTPStatus, a.ErrorKind, a.FirstByteAt = bill.StatusFailure, 0, 503, "upstream", 0
			}
			b.Rows = append(b.Rows, a)
		}
		out := ship(t, s, b, len(b.Rows))
		var cost, key1 money.Nano
		for i := range b.Rows {
			cost += b.Rows[i].Cost
			if b.Rows[i].Token == digest(1) {
				key1 += b.Rows[i].Cost
			}
		}
		if out.Cost != cost {
			t.Errorf("cost %s, not %s", out.Cost, cost)
		}
		check := func() {
			t.Helper()
			for sql, want := range map[string]int64{
				"SELECT count(*) FROM sluice.spend":                                                                              int64(len(b.Rows)),
				"SELECT CAST(sum(cost) AS BIGINT) FROM sluice.spend":                                                             int64(cost),
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.keys":                                                             int64(cost),
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.users":                                                            int64(cost),
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.teams":                                                            int64(cost),
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.daily_spend WHERE entity_type = ''":                               int64(cost),
				"SELECT CAST(sum(failed_requests) AS BIGINT) FROM sluice.daily_spend WHERE entity_id=''":                         6,
				"SELECT spend FROM sluice.keys WHERE token = '" + digest(1) + "'":                                                int64(key1),
				"SELECT spend FROM sluice.team_members":                                                                          int64(key1),
				"SELECT total_spend FROM sluice.team_members":                                                                    int64(key1),
				"SELECT spend FROM sluice.organizations":                                                                         int64(key1),
				"SELECT spend FROM sluice.organization_members":                                                                  int64(key1),
				"SELECT spend FROM sluice.projects":                                                                              int64(key1),
				"SELECT spend FROM sluice.tags":                                                                                  int64(key1),
				"SELECT count(*) FROM sluice.end_users":                                                                          3,
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.end_users":                                                        int64(key1),
				"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.daily_spend WHERE entity_type = 'tag' AND entity_id = 'red'":      int64(key1),
				"SELECT count(*) FROM sluice.price_versions":                                                                     1,
				"SELECT count(*) FROM sluice.spend_bodies":                                                                       1,
				"SELECT count(*) FROM sluice.spend WHERE usage_detail IS NOT NULL AND tags IS NOT NULL AND metadata IS NOT NULL": 34,
			} {
				if got := value(t, s, sql); got != want {
					t.Errorf("%s: %d, not %d", sql, got, want)
				}
			}
			mustBalance(t, s)
		}
		check()
		if cursors, err := s.Cursors(t.Context(), "h"); err != nil || cursors["a"] != 5000 || cursors["b"] != 6000 || len(cursors) != 2 {
			t.Errorf("%v %v", cursors, err)
		}
		// The same again: the cursors have moved.
		if _, err := s.Ship(t.Context(), b); !errors.Is(err, store.ErrMoved) {
			t.Errorf("the same batch again: %v", err)
		}
		// Somebody else's segments with the same rows, new ones among them, and one of
		// them twice.
		for i := range b.Cursors {
			b.Cursors[i] = store.Cursor{Segment: "clone", From: 0, To: 5000}
		}
		b.Cursors = b.Cursors[:1]
		again := *b
		again.Rows = slices.Clone(b.Rows)
		fresh := attemptOf(1000, keys)
		again.Rows = append(again.Rows[:100:100], append([]*bill.Attempt{fresh, fresh}, again.Rows[100:]...)...)
		ship(t, s, &again, 1)
		b.Rows = append(b.Rows, fresh)
		cost += fresh.Cost
		if fresh.Token == digest(1) {
			key1 += fresh.Cost
		}
		check()
	})
}

// TestWindows adds to windows that are there, begin, or are over.
func TestWindows(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const day = int64(1793491200)
		insert(t, s, &identity.Key{Token: digest(0), Spend: 500})
		n := 0
		add := func(cost money.Nano, start int64, leased bool, holder string) {
			t.Helper()
			a := attemptOf(n, 1)
			n++
			a.Cost, a.Holder = cost, holder
			a.Accounts = []bill.Account{
				{Kind: bill.KindKey, ID: a.Token, Window: "1d", Start: start, Leased: leased},
				{Kind: bill.KindKey, ID: a.Token, Window: "30d", Start: day - 20*86400, Leased: leased},
			}
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{a}}, 1)
		}
		want := func(key, window, month, leased, amount int64) {
			t.Helper()
			for sql, want := range map[string]int64{
				"SELECT spend FROM sluice.keys":                                         key,
				"SELECT spend FROM sluice.budget_windows WHERE window_duration = '1d'":  window,
				"SELECT spend FROM sluice.budget_windows WHERE window_duration = '30d'": month,
				"SELECT leased FROM sluice.budget_windows WHERE window_duration = '1d'": leased,
				"SELECT amount FROM sluice.budget_leases WHERE window_duration = '1d'":  amount,
			} {
				if got := value(t, s, sql); got != want {
					t.Errorf("%s: %d, not %d", sql, got, want)
				}
			}
		}
		at := time.Unix(day, 0)
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			return tx.TakeWindows([]store.BudgetWindow{
				{EntityType: "key", EntityID: digest(0), Duration: "1d", Start: at, Spend: 500},
				{EntityType: "key", EntityID: digest(0), Duration: "30d", Start: at.AddDate(0, 0, -20), Spend: 700},
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, window := range []string{"1d", "30d"} {
			store.Exec(t.Context(), s, "UPDATE sluice.budget_windows SET leased = 100")
			if err := store.Exec(t.Context(), s, "INSERT INTO sluice.budget_leases (holder, entity_type, entity_id, window_duration, amount, taken_at) VALUES ('holder', 'key', '"+
				digest(0)+"', '"+window+"', 100, "+store.Moment(s, at)+")"); err != nil {
				t.Fatal(err)
			}
		}
		add(7, day, true, "holder") // what was there before anybody knew of windows is of this one
		want(507, 507, 707, 93, 93)
		add(3, day, false, "") // not from a lease
		want(510, 510, 710, 93, 93)
		add(5, day+86400, true, "holder") // the next day
		want(5, 5, 715, 88, 88)
		add(11, day, true, "holder") // late, of the day before
		want(5, 5, 726, 77, 77)
		add(13, day+86400, true, "another") // whose lease has been released
		want(18, 18, 739, 77, 77)
		add(2, 0, false, "") // without a window
		want(20, 20, 741, 77, 77)
		if out, err := s.Reconcile(t.Context(), store.Reconciling{From: at, To: at.AddDate(0, 1, 0)}); err != nil || out.Drift != 0 {
			t.Errorf("%+v %v", out, err)
		}
	})
}

// TestSetSpend sets what an object has spent, gives it another key and deletes
// it: the windows of its budgets follow.
func TestSetSpend(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		const day = int64(1793491200)
		insert(t, s, &identity.Key{Token: digest(0), Caps: identity.Caps{BudgetDuration: "1d"}}, &identity.Team{ID: "team-0"})
		change(t, s, func(tx *store.Tx) error {
			return tx.TakeWindows([]store.BudgetWindow{
				{EntityType: "key", EntityID: digest(0), Duration: "1d", Start: time.Unix(day, 0)},
				{EntityType: "key", EntityID: digest(0), Duration: "30d", Start: time.Unix(day-86400, 0)},
			})
		})
		n := 0
		add := func(key string) {
			t.Helper()
			a := attemptOf(n, 1)
			n++
			a.Token, a.Cost = key, 100
			a.Accounts = []bill.Account{{Kind: bill.KindKey, ID: key, Window: "1d", Start: day}, {Kind: bill.KindKey, ID: key, Window: "30d", Start: day - 86400}}
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{a}}, 1)
		}
		want := func(key string, spend, window, month int64) {
			t.Helper()
			for sql, want := range map[string]int64{
				"SELECT CAST(COALESCE(sum(spend), 0) AS BIGINT) FROM sluice.keys WHERE token = '" + key + "'":                                            spend,
				"SELECT CAST(COALESCE(sum(spend), -1) AS BIGINT) FROM sluice.budget_windows WHERE entity_id = '" + key + "' AND window_duration = '1d'":  window,
				"SELECT CAST(COALESCE(sum(spend), -1) AS BIGINT) FROM sluice.budget_windows WHERE entity_id = '" + key + "' AND window_duration = '30d'": month,
			} {
				if got := value(t, s, sql); got != want {
					t.Errorf("%s: %d, not %d", sql, got, want)
				}
			}
		}
		set := func(spend money.Nano) {
			t.Helper()
			change(t, s, func(tx *store.Tx) error {
				k, err := store.Get[identity.Key](t.Context(), tx, digest(0))
				if err != nil {
					return err
				}
				k.Spend = spend
				return tx.Update(k)
			})
		}
		add(digest(0))
		want(digest(0), 100, 100, 100)
		set(30)
		want(digest(0), 30, 30, 100)
		add(digest(0))
		want(digest(0), 130, 130, 200)
		set(0)
		want(digest(0), 0, 0, 0)
		add(digest(0))
		change(t, s, func(tx *store.Tx) error {
			k, err := store.Get[identity.Key](t.Context(), tx, digest(0))
			if err != nil {
				return err
			}
			is := *k
			is.Token = digest(1)
			return tx.Rekey(store.Rotated, k, &is)
		})
		want(digest(0), 0, -1, -1)
		want(digest(1), 100, 100, 100)
		add(digest(1))
		want(digest(1), 200, 200, 200)
		change(t, s, func(tx *store.Tx) error { return tx.Delete(&identity.Key{Token: digest(1)}) })
		want(digest(1), 0, -1, -1)
		mustBalance(t, s)
	})
}

// TestShipAnything ships what no database takes as it is.
func TestShipAnything(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		var b store.Batch
		b.Host = "h"
		for i, text := range []string{
			"a\x00b", "\xff\xfe", strings.Repeat("x", 5000), strings.Repeat("\u00e9", 2000), "\u2028'\"\\", "", "\ud7ff", `{"a":"\u0000"}`, `{"a":1e999}`, `{`,
			"[1]", `{"a":"\ud800"}`,
		} {
			a := attemptOf(i, 1)
			a.User, a.Team, a.Organization, a.Project, a.EndUser, a.CallID, a.Session, a.ClientAddress = text, text, text, text, text, text, text, text
			a.CallType, a.Model, a.ModelID, a.Provider, a.ProviderModel, a.ProviderID, a.ErrorKind = text, text, text, text, text, text, text
			a.Tags, a.Metadata = []string{text, "b"}, text
			b.Rows = append(b.Rows, a)
			b.Bodies = append(b.Bodies, store.SpendBody{RequestID: a.RequestID, Messages: []byte(text), Response: []byte(text), Metadata: []byte(text)})
			b.Prices = append(b.Prices, store.PriceVersion{Version: int64(i), Document: []byte(text)})
		}
		ship(t, s, &b, len(b.Rows))
		mustBalance(t, s)
		a := attemptOf(100, 1)
		a.Cost = 1<<63 - 1
		a.EndUser, a.Tags = "rich", nil
		if _, err := s.Ship(t.Context(), &store.Batch{Host: "h", Rows: []*bill.Attempt{a, a}}); err != nil {
			t.Errorf("the largest cost once: %v", err)
		}
		c := attemptOf(101, 1)
		c.Cost, c.EndUser = 1, "rich"
		c.User, c.Team = "", ""
		if _, err := s.Ship(t.Context(), &store.Batch{Host: "h", Rows: []*bill.Attempt{c}}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a sum beyond 64 bits: %v", err)
		}
	})
}

// TestShipSlim keeps nothing that tells who called what, and counts all the same.
func TestShipSlim(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		loadObjects(t, s, 2)
		b := &store.Batch{Host: "h", Slim: true}
		for n := range 20 {
			b.Rows = append(b.Rows, attemptOf(n, 2))
		}
		ship(t, s, b, 20)
		ship(t, s, b, 0)
		for sql, want := range map[string]int64{
			"SELECT count(*) FROM sluice.spend WHERE token <> '' OR user_id <> '' OR model <> '' OR call_type <> '' OR client_address <> '' OR prompt_tokens > 0": 0,
			"SELECT CAST(sum(spend) AS BIGINT) FROM sluice.keys":           20*1000 + 57,
			"SELECT CAST(sum(requests) AS BIGINT) FROM sluice.daily_spend": 20,
		} {
			if got := value(t, s, sql); got != want {
				t.Errorf("%s: %d, not %d", sql, got, want)
			}
		}
		mustBalance(t, s)
		ship(t, s, &store.Batch{Host: "h", Uncounted: true, Rows: []*bill.Attempt{attemptOf(100, 2)}}, 1)
		if got := value(t, s, "SELECT CAST(sum(spend) AS BIGINT) FROM sluice.keys"); got != 20*1000+57 {
			t.Errorf("uncounted: %d", got)
		}
	})
}

// TestReconcile finds what somebody has changed.
func TestReconcile(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		loadObjects(t, s, 3)
		madeAt(t, s, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "keys", "users", "teams")
		b := &store.Batch{Host: "h"}
		for n := range 30 {
			a := attemptOf(n, 3)
			a.Tags, a.EndUser = []string{"t"}, "c"
			b.Rows = append(b.Rows, a)
		}
		ship(t, s, b, 30)
		if out := mustBalance(t, s); out.Rows != 30 || out.Days != 31 {
			t.Errorf("%+v", out)
		}
		for _, tt := range []struct {
			change, where string
			places        int
		}{
			{"UPDATE sluice.daily_spend SET spend = spend + 5 WHERE entity_type = 'tag' AND token = '" + digest(0) + "'", "tag t", 1},
			{"UPDATE sluice.daily_spend SET spend = spend + 5 WHERE entity_type = 'customer' AND token = '" + digest(0) + "'", "customer c", 1},
			{"UPDATE sluice.daily_spend SET spend = spend + 5 WHERE entity_type = '' AND token = '" + digest(2) + "'", "key " + digest(2), 3}, // and its user and team
			{"UPDATE sluice.users SET spend = spend + 5 WHERE user_id = 'user-1'", "spend of user user-1", 1},
		} {
			if err := store.Exec(t.Context(), s, tt.change); err != nil {
				t.Fatal(err)
			}
			out, err := s.Reconcile(t.Context(), store.Reconciling{From: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Deep: true})
			if err != nil || out.Drift != money.Nano(5*tt.places) || len(out.Places) != tt.places || !strings.Contains(out.Places[0].Where, tt.where) {
				t.Errorf("%s: %+v %v", tt.where, out, err)
			}
			if err := store.Exec(t.Context(), s, strings.ReplaceAll(tt.change, "+ 5", "- 5")); err != nil {
				t.Fatal(err)
			}
		}
		// Rows that are deleted take their day out of the comparison.
		for total := 0; ; {
			n, err := s.DeleteSpend(t.Context(), time.Date(2026, 11, 21, 12, 0, 0, 10e6, time.UTC), time.Time{}, 7)
			if total += n; err != nil || n == 0 {
				if total != 10 || err != nil {
					t.Errorf("%d rows deleted, %v", total, err)
				}
				break
			}
		}
		if out := mustBalance(t, s); out.Rows != 0 || len(out.Skipped) != 21 {
			t.Errorf("%+v", out)
		}
		if err := s.DeleteUnused(t.Context(), time.Now(), 7); err != nil {
			t.Error(err)
		}
	})
}

// TestShipBeside ships from two hosts, in both orders of everything, beside
// changes of the same objects, through PgBouncer too: nobody waits for ever, and
// nothing is lost.
func TestShipBeside(t *testing.T) {
	const keys, rounds = 20, 15
	url := dbtest.PostgresURL(t)
	s := openAt(t, url, store.Config{})
	loadObjects(t, s, keys)
	ended := make(chan error, 3)
	for host := range 2 {
		mine := openAt(t, url, store.Config{Pool: 2})
		go func() {
			for round := range rounds {
				b := &store.Batch{Host: fmt.Sprint(host), Cursors: []store.Cursor{{Segment: fmt.Sprint(host), From: int64(round), To: int64(round + 1)}}}
				for i := range 50 {
					n := i
					if host == 1 {
						n = 49 - i
					}
					a := attemptOf((host*rounds+round)*50+n, keys)
					a.EndUser, a.Tags = "c"+fmt.Sprint(n%5), []string{"x"}
					b.Rows = append(b.Rows, a)
				}
				out, err := mine.Ship(t.Context(), b)
				if err != nil || out.Inserted != 50 {
					ended <- fmt.Errorf("round %d of %d: %+v %w", round, host, out, err)
					return
				}
			}
			ended <- nil
		}()
	}
	go func() {
		for i := range 40 {
			err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				for _, n := range []int{19, 3, 11} {
					k, err := store.Get[identity.Key](t.Context(), tx, digest(n))
					if err != nil {
						return err
					}
					k.Alias = fmt.Sprint("round ", i)
					if err := tx.Update(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	for range 3 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	want := int64(0)
	for n := range 2 * rounds * 50 {
		want += int64(attemptOf(n, keys).Cost)
	}
	if got := value(t, s, "SELECT CAST(sum(spend) AS BIGINT) FROM sluice.keys"); got != want {
		t.Errorf("keys have spent %d, not %d", got, want)
	}
	mustBalance(t, s)
}

// TestShipBouncer ships through PgBouncer in transaction mode.
func TestShipBouncer(t *testing.T) {
	server := pgtest.New(t)
	url := server.Bouncer(t, migrated(t, server.Database(t)))
	for i, told := range []string{"", "&pgbouncer=true"} {
		s := openAt(t, url+told, store.Config{})
		for round := range 3 {
			a := attemptOf(i*10+round, 1)
			a.EndUser = "c"
			ship(t, s, &store.Batch{Host: "h", Rows: []*bill.Attempt{a}}, 1)
		}
		mustBalance(t, s)
	}
}
