package store_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/bill"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// openLimited opens a new SQLite database for so many contexts.
func openLimited(t *testing.T, contexts int64) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{SQLite: dbtest.SQLite(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	store.LimitContexts(s, contexts)
	return s
}

// anyAttempt is an attempt of which every part may be there or not.
func anyAttempt(r *rand.Rand, n int) *bill.Attempt {
	a := attemptOf(n, 3)
	texts := []string{"", "a", "Ünïcode 🔑 \u2028", `"quoted" \ <&> '`, "nul \x00 and \xff", strings.Repeat("long", 400), "null", "7"}
	for _, s := range []*string{
		&a.Token, &a.User, &a.Team, &a.Organization, &a.Project, &a.EndUser, &a.CallID, &a.Session, &a.ClientAddress, &a.Model, &a.ModelID,
		&a.Provider, &a.ProviderModel, &a.ProviderID, &a.ErrorKind, &a.CallType,
	} {
		if r.IntN(3) == 0 {
			*s = texts[r.IntN(len(texts))]
		}
	}
	if id := fmt.Sprintf("%x", a.RequestID); r.IntN(2) == 0 { // as most calls have it
		a.CallID = id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
	}
	number := func() int64 { return []int64{0, 0, 1, 300, 1 << 40}[r.IntN(5)] }
	u := &a.Usage
	for _, n := range []*int64{&u.Input, &u.Output, &u.CachedIn, &u.CacheWrite, &u.Reasoning, &u.AudioIn, &a.Attempt, &a.Price, &a.Sequence} {
		*n = number()
	}
	if u.Total = u.Input + u.Output; r.IntN(2) == 0 {
		u.Total = number()
	}
	if r.IntN(4) == 0 {
		u.Tier = llm.TierPriority
	}
	a.FirstByteAt, a.Settle.At = a.Intent.At+number()*1001, a.Intent.At-number() // a clock that jumped
	if r.IntN(3) == 0 {
		a.FirstByteAt = 0
	}
	a.Streamed, u.Estimated, a.CacheHit = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	a.Status, a.HTTPStatus, a.Cost = bill.Status(1+r.IntN(5)), []int{0, 200, 503}[r.IntN(3)], money.Nano(number())
	if r.IntN(3) == 0 {
		a.Tags = []string{texts[r.IntN(len(texts))], "b"}
	}
	a.Metadata = []string{"", `{"a": 1.50, "b":"\u00e9 é","c":[ ]}`, `{"broken`, `{"é":"\\"}`}[r.IntN(4)]
	return a
}

// TestCallsReadAsRows ships the same calls with contexts and as whole rows: who
// reads them cannot tell.
func TestCallsReadAsRows(t *testing.T) {
	const rows = 2000
	seed := uint64(time.Now().UnixNano())
	read := func(contexts int64, slim bool) ([]store.SpendRow, *store.Store) {
		s := openLimited(t, contexts)
		r := rand.New(rand.NewPCG(seed, 1))
		b := &store.Batch{Host: "h", Slim: slim}
		for n := range rows {
			b.Rows = append(b.Rows, anyAttempt(r, n))
		}
		ship(t, s, b, rows)
		if slim {
			if n := value(t, s, "SELECT count(*) FROM spend WHERE call_type = '' AND call_id = '' AND model = ''"); n != rows {
				t.Errorf("%d of %d slim rows", n, rows)
			}
		}
		var out []store.SpendRow
		err := s.EachSpend(t.Context(), store.SpendFilter{}, func(r *store.SpendRow) error {
			out = append(out, *r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return out, s
	}
	for _, slim := range []bool{false, true} {
		whole, w := read(0, slim)
		calls, c := read(1<<40, slim)
		half, h := read(300, slim)
		if n := value(t, w, "SELECT count(*) FROM spend_calls"); n != 0 {
			t.Errorf("%d rows have contexts", n)
		}
		if n := value(t, c, "SELECT count(*) FROM spend_whole"); n != 0 {
			t.Errorf("%d rows have no contexts", n)
		}
		if n := value(t, h, "SELECT count(*) FROM spend_contexts"); n > 300 || !slim && value(t, h, "SELECT count(*) FROM spend_whole") == 0 {
			t.Errorf("%d contexts, 300 allowed", n)
		}
		if len(calls) != len(whole) || len(half) != len(whole) || !slim && len(whole) < rows/2 {
			t.Fatalf("seed %d: %d, %d and %d rows", seed, len(whole), len(calls), len(half))
		}
		for i := range whole {
			if !reflect.DeepEqual(whole[i], calls[i]) || !reflect.DeepEqual(whole[i], half[i]) {
				t.Fatalf("seed %d:\n%+v\n%+v\n%+v", seed, whole[i], calls[i], half[i])
			}
		}
		const types = "SELECT count(*) FROM spend WHERE typeof(first_byte_at) NOT IN ('integer', 'null') OR typeof(call_id) <> 'text' OR " +
			"typeof(total_tokens) <> 'integer' OR typeof(tags) NOT IN ('text', 'null') OR typeof(end_user) <> 'text' OR typeof(reasoning_tokens) <> 'integer'"
		if n := value(t, c, types); n != 0 {
			t.Errorf("%d rows have other types", n)
		}
	}
}

// TestCallsOnce: a row that is there, as a call or as a whole, is not written as
// the other.
func TestCallsOnce(t *testing.T) {
	s := openLimited(t, 1)
	loadObjects(t, s, 4)
	batch := func(from, to int) *store.Batch {
		b := &store.Batch{Host: "h"}
		for n := from; n < to; n++ {
			b.Rows = append(b.Rows, attemptOf(n, 4)) // four contexts
		}
		return b
	}
	ship(t, s, batch(0, 200), 200)
	if calls, whole := value(t, s, "SELECT count(*) FROM spend_calls"), value(t, s, "SELECT count(*) FROM spend_whole"); calls != 50 || whole != 150 {
		t.Errorf("%d calls and %d whole rows", calls, whole)
	}
	store.LimitContexts(s, 100)
	ship(t, s, batch(0, 300), 100) // whole ones could be calls now
	store.LimitContexts(s, 0)
	if err := store.Exec(t.Context(), s, "UPDATE spend_contexts SET digest = randomblob(16)"); err != nil { // as if it were another one
		t.Fatal(err)
	}
	if err := store.Exec(t.Context(), s, "UPDATE meta SET value = '7' WHERE name = 'spend_contexts_deleted'"); err != nil {
		t.Fatal(err)
	}
	ship(t, s, batch(0, 400), 100) // calls could be whole ones now
	twice := batch(400, 410)
	twice.Rows = append(twice.Rows, batch(400, 420).Rows...)
	ship(t, s, twice, 20)
	if n := value(t, s, "SELECT count(*) FROM spend"); n != 420 {
		t.Errorf("%d rows, not 420", n)
	}
	mustBalance(t, s)
}

// TestContextsEnd: contexts go when the last row that may name them has gone, and
// who remembered their numbers does not use them any more.
func TestContextsEnd(t *testing.T) {
	s := openLimited(t, 1000)
	other, err := store.Open(store.Config{SQLite: s.Path()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	at := func(key int, hours float64) *store.Batch {
		a := attemptOf(key, 100)
		began := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours * float64(time.Hour)))
		binary.BigEndian.PutUint64(a.RequestID[:8], uint64(began.UnixMilli())<<16|0x7000)
		a.Intent.At = began.UnixNano()
		return &store.Batch{Host: "h", Rows: []*bill.Attempt{a}}
	}
	contexts := func(want int64) {
		t.Helper()
		if err := other.DeleteUnused(t.Context(), time.Time{}, 2); err != nil {
			t.Fatal(err)
		}
		if n := value(t, s, "SELECT count(*) FROM spend_contexts"); n != want {
			t.Errorf("%d contexts, not %d", n, want)
		}
		if n := value(t, s, "SELECT count(*) FROM spend_calls WHERE context_id NOT IN (SELECT context_id FROM spend_contexts)"); n != 0 {
			t.Errorf("%d rows lost their context", n)
		}
	}
	forget := func(hours float64, want int) {
		t.Helper()
		n, err := other.DeleteSpend(t.Context(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hours*float64(time.Hour))), time.Time{}, 1000)
		if err != nil || n != want {
			t.Fatalf("%d rows deleted, not %d: %v", n, want, err)
		}
	}
	for key := range 5 {
		ship(t, s, at(key, float64(key)), 1)
	}
	ship(t, s, at(0, 10), 1) // named again
	contexts(5)
	forget(4, 4) // keys 0 to 3, but the first one's later row
	contexts(3)  // key 3's promise reaches to key 4's row
	forget(6, 1)
	contexts(1)
	ship(t, s, at(1, 11), 1) // one that s remembers, and that is gone
	contexts(2)
	forget(20, 2)
	contexts(0)
	for key := range 5 { // their numbers are used again
		ship(t, other, at(key, 30), 1)
		ship(t, s, at(4-key, 31), 1)
	}
	contexts(5)
	if n := value(t, s, "SELECT count(*) FROM spend"); n != 10 {
		t.Errorf("%d rows, not 10", n)
	}
	for key := range 5 {
		n := value(t, s, "SELECT count(*) FROM spend WHERE token = '"+digest(key)+"'")
		if n != 2 {
			t.Errorf("%d rows of key %d, not 2", n, key)
		}
	}
}

// TestClientsMakeNoContexts: what a client may choose freely stays with its call.
func TestClientsMakeNoContexts(t *testing.T) {
	s := openLimited(t, 1000)
	b := &store.Batch{Host: "h"}
	for n := range 500 {
		a, any := attemptOf(n, 1), fmt.Sprint("any ", n)
		a.EndUser, a.Session, a.CallID, a.ClientAddress, a.Metadata, a.Tags = any, any, any, any, `{"any":`+fmt.Sprint(n)+`}`, []string{any}
		if n%2 == 0 { // refused for its model
			a.Model, a.ModelID, a.Provider, a.ProviderModel, a.Status, a.Cost = any, "", "", "", bill.StatusRejected, 0
		}
		b.Rows = append(b.Rows, a)
	}
	ship(t, s, b, 500)
	if n := value(t, s, "SELECT count(*) FROM spend_contexts"); n != 2 {
		t.Errorf("%d contexts", n)
	}
	if n := value(t, s, "SELECT count(DISTINCT model) FROM spend"); n != 251 {
		t.Errorf("%d models", n)
	}
}
