package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/chain"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

var chainKey = [32]byte{7}

func withKey() (string, [32]byte, error) { return "ring-1", chainKey, nil }

// eachDatabase runs a test on an empty database of either kind. open makes
// stores on it.
func eachDatabase(t *testing.T, test func(t *testing.T, open func(c store.Config) *store.Store)) {
	t.Helper()
	for _, kind := range []string{"postgres", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var c store.Config
			if kind == "postgres" {
				c.Postgres = dbtest.Postgres(t)
			} else {
				c.SQLite = dbtest.SQLite(t)
			}
			test(t, func(with store.Config) *store.Store {
				with.Postgres, with.SQLite = c.Postgres, c.SQLite
				s, err := store.Open(with)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(s.Close)
				return s
			})
		})
	}
}

// chained verifies the whole record against its head.
func chained(t *testing.T, s *store.Store) chain.Report {
	t.Helper()
	head, err := s.ChainHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stretches, err := s.Stretches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := chain.NewVerifier(func(id string) ([32]byte, bool) { return chainKey, id == "ring-1" })
	v.Archived(stretches...)
	v.Expect(chain.Anchor{Number: head.Number}, chain.Anchor{Number: head.Chained, MAC: head.MAC})
	if err := s.Record(t.Context(), 0, v.Add); err != nil {
		t.Fatal(err)
	}
	after, err := s.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.End(after)
}

func mustVerify(t *testing.T, s *store.Store, rows int64) {
	t.Helper()
	if r := chained(t, s); !r.OK() || r.Last != rows || r.Unchained != 0 {
		t.Errorf("%d rows, want %d: %+v", r.Last, rows, r)
	}
}

func change(t *testing.T, s *store.Store, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := s.Change(t.Context(), store.Actor{User: "admin"}, fn); err != nil {
		t.Fatal(err)
	}
}

// TestChain records odd texts and reads them back: the row that is read has the
// code that was computed when it was written.
func TestChain(t *testing.T) {
	odd := []string{
		"", " ", "\t\r\n", "'; DROP TABLE changes; --", `\x00`, "\\", `"`, "ключ 🔑 \u2028 é e\u0301", "\ufeffbom", "\u200b", strings.Repeat("long ", 200),
		"null", "\x01\x1f\x7f", "\U0010ffff",
	}
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		at := time.Date(2026, 11, 21, 17, 59, 59, 123456789, time.FixedZone("x", 3600))
		s := open(store.Config{Chain: withKey, Host: "höst", Now: func() time.Time { return at }})
		for i, text := range odd {
			next := odd[(i+1)%len(odd)]
			by := store.Actor{User: text, Key: next, Claimed: text, Source: next, RequestID: text, Reason: next}
			k := &identity.Key{Token: fmt.Sprint("t", i), Metadata: identity.Fields{"a" + text: mustJSON(t, text)}}
			k.Alias = text
			for _, do := range []func(tx *store.Tx) error{
				func(tx *store.Tx) error { return tx.Insert(k) },
				func(tx *store.Tx) error { k.Blocked = true; return tx.UpdateAs(store.Blocked, k) },
				func(tx *store.Tx) error { return tx.Note(store.Imported, identity.KindImport, text, nil, nil) },
				func(tx *store.Tx) error {
					return tx.Note(store.Imported, identity.KindImport, text, text, json.RawMessage(` {"b": 1.50, "a":[ ] , "n" : 1e3} `))
				},
				func(tx *store.Tx) error { return errors.Join(tx.Delete(k), tx.Insert(k)) },
			} {
				if err := s.Change(t.Context(), by, do); err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				at = at.Add(time.Hour + 1001*time.Microsecond)
			}
		}
		mustVerify(t, s, int64(6*len(odd)))
		head, err := s.ChainHead(t.Context())
		if err != nil || head.Key != "ring-1" || head.Chained != head.Number || head.At.IsZero() {
			t.Errorf("%+v %v", head, err)
		}
		for _, bad := range []store.Actor{{User: "a\x00"}, {Claimed: "\xff"}, {Reason: "\xc3"}, {RequestID: "\x00"}} {
			err := s.Change(t.Context(), bad, func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "x"}) })
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
		mustVerify(t, s, int64(6*len(odd)))
	})
}

func mustJSON(t *testing.T, v any) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestChainedTogether has writers of several processes, some of which are of the
// release before, which knows of no chain.
func TestChainedTogether(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		stores := []*store.Store{open(store.Config{Chain: withKey}), open(store.Config{Chain: withKey}), open(store.Config{})}
		var writing sync.WaitGroup
		for i, s := range stores {
			for w := range 3 {
				writing.Go(func() {
					for n := range 15 {
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						err := s.Change(ctx, store.Actor{}, func(tx *store.Tx) error {
							err := tx.Insert(&identity.Tag{Name: fmt.Sprint(i, "-", w, "-", n)})
							if err == nil && rand.IntN(4) == 0 {
								err = errGivenUp
							}
							return err
						})
						cancel()
						if err != nil && !errors.Is(err, errGivenUp) {
							t.Error(err)
						}
					}
				})
			}
		}
		writing.Wait()
		change(t, stores[0], func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "last"}) })
		n, err := store.Count[identity.Tag](t.Context(), stores[0])
		if err != nil {
			t.Fatal(err)
		}
		mustVerify(t, stores[0], int64(n))
	})
}

var errGivenUp = errors.New("given up")

// TestUnauditable refuses changes that cannot be chained: nothing of them is
// there.
func TestUnauditable(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		broken := errors.New("no key")
		s := open(store.Config{Chain: func() (string, [32]byte, error) { return "", [32]byte{}, broken }})
		err := s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "x"}) })
		if !errors.Is(err, broken) {
			t.Error(err)
		}
		if n, err := store.Count[identity.Tag](t.Context(), s); err != nil || n != 0 {
			t.Errorf("%d tags, %v", n, err)
		}
		change(t, s, func(*store.Tx) error { return nil }) // changes nothing, needs no key
		if _, err := s.ChainUp(t.Context()); err != nil {
			t.Errorf("nothing is to be chained: %v", err)
		}
	})
}

// old writes rows as the release before did: it knows neither codes nor how far
// the record is chained.
func old(t *testing.T, s *store.Store, from, to int) {
	t.Helper()
	n, now := fmt.Sprint(from, " AND ", to), "now()"
	rows := "generate_series(" + fmt.Sprint(from, ", ", to) + ") AS g(n)"
	if s.Path() != "" {
		now = "1000000 * n"
		rows = "(WITH RECURSIVE g(n) AS (SELECT " + fmt.Sprint(from) + " UNION ALL SELECT n + 1 FROM g WHERE n < " + fmt.Sprint(to) + ") SELECT n FROM g)"
	}
	for _, statement := range []string{
		`INSERT INTO sluice.changes (number, at, actor, action, object_type, object_id, after_value)
			SELECT n, ` + now + `, 'admin', 'created', 'tag', 'x' || n, '{"tag_name": "x"}' FROM ` + rows,
		"UPDATE sluice.change_head SET number = " + fmt.Sprint(to) + " WHERE id = 1",
	} {
		if err := store.Run(t.Context(), s, statement); err != nil {
			t.Fatalf("%s: %v", n, err)
		}
	}
}

// TestChainUp takes over the record of the release before.
func TestChainUp(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		var said bytes.Buffer
		s := open(store.Config{Chain: withKey, Log: slog.New(slog.NewTextHandler(&said, nil))})
		insertTag := func() error {
			return s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
				return tx.Note(store.Imported, identity.KindImport, "x", nil, nil)
			})
		}
		old(t, s, 1, 1000)
		if err := insertTag(); err != nil { // chains them on its way
			t.Fatal(err)
		}
		mustVerify(t, s, 1001)
		if err := insertTag(); err != nil {
			t.Fatal(err)
		}
		if text := said.String(); strings.Count(text, "had no code") != 1 || !strings.Contains(text, "first=1 last=1000") {
			t.Errorf("said: %s", text)
		}
		old(t, s, 1003, 3502)
		if r := chained(t, s); !r.OK() || r.Unchained != 2500 {
			t.Errorf("%+v", r)
		}
		if err := insertTag(); !errors.Is(err, store.ErrUnchained) || !store.Away(err) {
			t.Errorf("a change before the record is chained: %v", err)
		}
		started := time.Now()
		if n, err := s.ChainUp(t.Context()); err != nil || n != 2500 {
			t.Errorf("%d %v", n, err)
		}
		t.Logf("2500 rows in %s", time.Since(started))
		mustVerify(t, s, 3502)
		if err := insertTag(); err != nil {
			t.Error(err)
		}
		if n, err := s.ChainUp(t.Context()); err != nil || n != 0 {
			t.Errorf("again: %d %v", n, err)
		}
		mustVerify(t, s, 3503)
	})
}

// TestChainUpKilled ends the chaining of an old record between and in its
// batches, and lets two do it at once.
func TestChainUpKilled(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		s := open(store.Config{Chain: withKey})
		old(t, s, 1, 3000)
		calls := 0
		broken := open(store.Config{Chain: func() (string, [32]byte, error) {
			if calls++; calls == 2 {
				return "", [32]byte{}, errGivenUp
			}
			return withKey()
		}})
		if n, err := broken.ChainUp(t.Context()); !errors.Is(err, errGivenUp) || n != 1000 {
			t.Errorf("%d %v", n, err)
		}
		mustVerifyPart(t, s, 2000)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := s.ChainUp(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		mustVerify(t, s, 3000)
	})
}

func mustVerifyPart(t *testing.T, s *store.Store, unchained int64) {
	t.Helper()
	if r := chained(t, s); !r.OK() || r.Unchained != unchained {
		t.Errorf("%+v", r)
	}
}

// TestInsertOnly tries to change the record, as the owner of the tables may try.
func TestInsertOnly(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		s := open(store.Config{Chain: withKey})
		for n := range 6 {
			change(t, s, func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: fmt.Sprint(n)}) })
		}
		old(t, s, 7, 8)
		postgres := s.Path() == ""
		for _, statement := range []string{
			"DELETE FROM sluice.changes", "DELETE FROM sluice.changes WHERE number = 8", "UPDATE sluice.changes SET reason = 'x' WHERE number = 3",
			"UPDATE sluice.changes SET reason = reason WHERE number = 3", "UPDATE sluice.changes SET chain_mac = NULL WHERE number = 3",
			"UPDATE sluice.changes SET chain_mac = chain_mac WHERE number = 3", "UPDATE sluice.changes SET chain_key = 'x' WHERE number = 8",
			"UPDATE sluice.changes SET chain_mac = 'x', chain_key = 'x', actor = 'y' WHERE number = 8",
			`UPDATE sluice.changes SET chain_mac = 'x', after_value = '{"tag_name":"x"}' WHERE number = 8`,
			"UPDATE sluice.changes SET chain_mac = 'x', number = 9 WHERE number = 8",
			"INSERT INTO sluice.changes SELECT * FROM sluice.changes WHERE number = 3 ON CONFLICT (number) DO UPDATE SET reason = 'x'",
			"TRUNCATE sluice.changes", "TRUNCATE sluice.changes, sluice.change_stretches",
		} {
			if !postgres && strings.HasPrefix(statement, "TRUNCATE") {
				continue
			}
			statement = strings.ReplaceAll(statement, "chain_mac = 'x'", "chain_mac = "+blob(postgres))
			if err := store.Run(t.Context(), s, statement); err == nil || !strings.Contains(err.Error(), "insert-only") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		mustVerifyPart(t, s, 2)
		if err := store.Run(t.Context(), s, "UPDATE sluice.changes SET chain_mac = "+blob(postgres)+", chain_key = 'k' WHERE number = 7"); err != nil {
			t.Errorf("a first code: %v", err)
		}
	})
}

func blob(postgres bool) string {
	if postgres {
		return `'\x00'`
	}
	return "x'00'"
}

// TestArchive moves the beginning of the record away, twice, and is killed while
// it removes rows.
func TestArchive(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		s := open(store.Config{Chain: withKey})
		old(t, s, 1, 2600)
		if _, err := s.ChainUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		var rows []chain.Row
		read := func() {
			rows = rows[:0]
			if err := s.Record(t.Context(), 0, func(r chain.Row) error { rows = append(rows, r); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		read()
		first := store.Stretch{First: 1, Last: 2300, LastMAC: rows[2299].MAC, File: "a.jsonl", Digest: bytes.Repeat([]byte{1}, 32)}
		for name, bad := range map[string]func(*store.Stretch){
			"another code": func(s *store.Stretch) { s.LastMAC = rows[2298].MAC }, "not the beginning": func(s *store.Stretch) { s.First = 2 },
			"the newest row": func(s *store.Stretch) { s.Last, s.LastMAC = 2600, rows[2599].MAC }, "beyond": func(s *store.Stretch) { s.Last = 9999 },
			"a code before the first": func(s *store.Stretch) { s.Before = rows[0].MAC }, "backwards": func(s *store.Stretch) { s.Last = 0 },
		} {
			st := first
			bad(&st)
			if err := s.Archive(t.Context(), st); err == nil {
				t.Errorf("%s is taken", name)
			}
		}
		if err := s.Archive(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		mustVerify(t, s, 2601)
		read()
		if len(rows) != 301 || rows[0].Number != 2301 || rows[300].Action != string(store.Archived) || rows[300].ObjectID != "1-2300" {
			t.Errorf("%d rows from %d: %+v", len(rows), rows[0].Number, rows[len(rows)-1])
		}
		second := store.Stretch{First: 2301, Last: 2400, Before: first.LastMAC, LastMAC: rows[99].MAC, File: "b.jsonl", Digest: []byte("x")}
		ctx, kill := context.WithCancel(t.Context())
		defer kill()
		killed := open(store.Config{Chain: withKey, Committed: func([]store.Changed) { kill() }})
		if err := killed.Archive(ctx, second); err == nil {
			t.Error("it was killed before it removed the rows, and says nothing")
		}
		mustVerify(t, s, 2602)
		if err := store.Run(t.Context(), s, "DELETE FROM sluice.changes WHERE number <= 2350"); err != nil {
			t.Fatal(err)
		}
		mustVerify(t, s, 2602)
		if n, err := s.Archived(t.Context()); err != nil || n != 50 {
			t.Errorf("%d rows were left, %v", n, err)
		}
		mustVerify(t, s, 2602)
		known, err := s.Stretches(t.Context())
		if err != nil || len(known) != 2 || known[1].File != "b.jsonl" || known[0].Last != 2300 || known[1].Before == nil || known[0].Before != nil {
			t.Errorf("%+v %v", known, err)
		}
		for _, st := range known {
			if !bytes.Equal(st.Sum(chainKey), st.MAC) {
				t.Errorf("%+v", st)
			}
		}
		for _, statement := range []string{"DELETE FROM sluice.changes WHERE number = 2500", "DELETE FROM sluice.change_stretches", "UPDATE sluice.change_stretches SET last_number = 9999"} {
			if err := store.Run(t.Context(), s, statement); err == nil {
				t.Errorf("%s is let through", statement)
			}
		}
		if n, err := s.Archived(t.Context()); err != nil || n != 0 {
			t.Errorf("%d rows were left, %v", n, err)
		}
		change(t, s, func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "x"}) })
		mustVerify(t, s, 2603)
	})
}

// TestLateKey: a change waits for the chain's key, which a process learns just
// after the database is back.
func TestLateKey(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		asked := 0
		s := open(store.Config{Chain: func() (string, [32]byte, error) {
			if asked++; asked < 4 {
				return "", [32]byte{}, errors.New("not known yet")
			}
			return withKey()
		}})
		change(t, s, func(tx *store.Tx) error { return tx.Insert(&identity.Tag{Name: "x"}) })
		mustVerify(t, s, 1)
	})
}
