package chain_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/chain"
)

var keyA, keyB = [32]byte{1}, [32]byte{2}

func keys(id string) ([32]byte, bool) {
	switch id {
	case "a":
		return keyA, true
	case "b":
		return keyB, true
	}
	return [32]byte{}, false
}

var started = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// record is a chained record of n rows with all kinds of columns.
func record(n int, random *rand.Rand) []chain.Row {
	texts := []string{"", "x", "ключ 🔑", "a\nb", strings.Repeat("y", 700)}
	some := func() string { return texts[random.IntN(len(texts))] }
	document := func() []byte {
		return [][]byte{nil, {}, []byte(`{"a": 1}`), []byte(`{"a":1}`), bytes.Repeat([]byte("z"), 2000)}[random.IntN(5)]
	}
	rows := make([]chain.Row, n)
	var previous []byte
	for i := range rows {
		r := &rows[i]
		*r = chain.Row{
			Number: int64(i + 1), At: started.Add(time.Duration(i) * time.Second), Actor: some(), ActorKey: some(), ClaimedActor: some(),
			Action: "updated", ObjectType: "key", ObjectID: some(), Before: document(), After: document(),
			Source: some(), RequestID: some(), Host: some(), Reason: some(), Key: "a",
		}
		key := keyA
		if i > n/2 {
			r.Key, key = "b", keyB
		}
		r.MAC = chain.MAC(key, previous, r)
		previous = r.MAC
	}
	return rows
}

// copied is a record that may be changed.
func copied(rows []chain.Row) []chain.Row {
	out := slices.Clone(rows)
	for i := range out {
		out[i].MAC = slices.Clone(out[i].MAC)
	}
	return out
}

func verify(rows []chain.Row, anchors ...chain.Anchor) chain.Report {
	v := chain.NewVerifier(keys)
	v.Expect(anchors...)
	for _, r := range rows {
		if err := v.Add(r); err != nil {
			panic(err)
		}
	}
	return v.End(0)
}

func anchor(r chain.Row) chain.Anchor { return chain.Anchor{Number: r.Number, MAC: r.MAC, At: r.At} }

func numbered(rows []chain.Row, from int) []chain.Row {
	for i := from; i < len(rows); i++ {
		rows[i].Number = int64(i + 1)
	}
	return rows
}

// mutations are what somebody without the key can do to a record, at a place i
// of it, and what the verifier calls it.
var mutations = []struct {
	name string
	kind chain.Kind
	do   func(rows []chain.Row, i int) []chain.Row
}{
	{"content", chain.Changed, func(r []chain.Row, i int) []chain.Row { r[i].Reason += "!"; return r }},
	{"time", chain.Changed, func(r []chain.Row, i int) []chain.Row { r[i].At = r[i].At.Add(time.Microsecond); return r }},
	{"NULL for empty", chain.Changed, func(r []chain.Row, i int) []chain.Row {
		if r[i].Before == nil {
			r[i].Before = []byte{}
		} else {
			r[i].Before = nil
		}
		return r
	}},
	{"text moved over a border", chain.Changed, func(r []chain.Row, i int) []chain.Row {
		r[i].Actor, r[i].ActorKey = r[i].Actor+"k", r[i].ActorKey+"l"
		return r
	}},
	{"code", chain.Changed, func(r []chain.Row, i int) []chain.Row { r[i].MAC[7] ^= 1; return r }},
	{"code removed", chain.Changed, func(r []chain.Row, i int) []chain.Row { r[i].MAC, r[i].Key = nil, ""; return r }},
	{"another key's id", chain.Changed, func(r []chain.Row, i int) []chain.Row {
		r[i].Key = map[string]string{"a": "b", "b": "a"}[r[i].Key]
		return r
	}},
	{"content, with a code under a key of one's own", chain.Changed, func(r []chain.Row, i int) []chain.Row {
		r[i].Reason += "!"
		r[i].MAC = chain.MAC([32]byte{66}, r[i-1].MAC, &r[i])
		return r
	}},
	{"deleted", chain.Deleted, func(r []chain.Row, i int) []chain.Row { return slices.Delete(r, i, i+1) }},
	{"three deleted", chain.Deleted, func(r []chain.Row, i int) []chain.Row { return slices.Delete(r, i, i+3) }},
	{"deleted and numbered anew", chain.Deleted, func(r []chain.Row, i int) []chain.Row { return numbered(slices.Delete(r, i, i+2), i) }},
	{"inserted", chain.Inserted, func(r []chain.Row, i int) []chain.Row { return slices.Insert(r, i+1, r[i]) }},
	{"inserted and numbered anew", chain.Inserted, func(r []chain.Row, i int) []chain.Row {
		return numbered(slices.Insert(r, i, chain.Row{At: started, Actor: "forged", Key: "a", MAC: make([]byte, 32)}), i)
	}},
	{"copy inserted and numbered anew", chain.Inserted, func(r []chain.Row, i int) []chain.Row { return numbered(slices.Insert(r, i, r[i]), i) }},
	{"order of rows", chain.Reordered, func(r []chain.Row, i int) []chain.Row { r[i], r[i+1] = r[i+1], r[i]; return r }},
	{"neighbours changed places", chain.Reordered, func(r []chain.Row, i int) []chain.Row { r[i], r[i+1] = r[i+1], r[i]; return numbered(r, i) }},
	{"distant rows changed places", chain.Reordered, func(r []chain.Row, i int) []chain.Row {
		r[i], r[i+5] = r[i+5], r[i]
		return numbered(r, i)
	}},
	{"end cut off", chain.Truncated, func(r []chain.Row, i int) []chain.Row { return r[:i] }},
}

// TestTampering does each kind of tampering at many places of many records.
func TestTampering(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(100) {
				random := rand.New(rand.NewPCG(seed, 1))
				whole := record(12+random.IntN(30), random)
				i := 1 + random.IntN(len(whole)-10)
				got := verify(m.do(copied(whole), i), anchor(whole[len(whole)-1]))
				if len(got.Problems) == 0 || got.Problems[0].Kind != m.kind {
					t.Fatalf("%d of %d rows: %v", i+1, len(whole), got.Problems)
				}
				if p := got.Problems[0]; p.First > int64(i+2) || p.Last < int64(i) {
					t.Fatalf("it is told to be elsewhere: %d: %v", i+1, p)
				}
				if m.kind == chain.Changed && len(got.Problems) != 1 {
					t.Fatalf("one row was changed: %v", got.Problems)
				}
				if got.OK() {
					t.Fatal("OK")
				}
			}
		})
	}
}

// TestAnyBit flips single bits of single columns of random rows: none is let
// through, wherever it is.
func TestAnyBit(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		rows := copied(record(8, random))
		r := &rows[random.IntN(len(rows))]
		texts := []*string{
			&r.Actor, &r.ActorKey, &r.ClaimedActor, &r.Action, &r.ObjectType, &r.ObjectID, &r.Source, &r.RequestID, &r.Host, &r.Reason,
		}
		what := random.IntN(len(texts) + 4)
		flip := func(b []byte) []byte {
			if len(b) == 0 {
				return []byte{'x'}
			}
			b = slices.Clone(b)
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			return b
		}
		switch what {
		case len(texts):
			r.Before = flip(r.Before)
		case len(texts) + 1:
			r.After = flip(r.After)
		case len(texts) + 2:
			r.MAC = flip(r.MAC)
		case len(texts) + 3:
			r.At = time.UnixMicro(r.At.UnixMicro() ^ 1<<random.IntN(40))
		default:
			*texts[what] = string(flip([]byte(*texts[what])))
		}
		if got := verify(rows); len(got.Problems) != 1 || got.Problems[0].Kind != chain.Changed || got.Problems[0].First != r.Number {
			t.Fatalf("column %d of row %d: %v", what, r.Number, got.Problems)
		}
	}
}

func TestWhole(t *testing.T) {
	rows := record(100, rand.New(rand.NewPCG(1, 1)))
	got := verify(rows, anchor(rows[0]), anchor(rows[49]), anchor(rows[99]))
	if !got.OK() || got.Rows != 100 || got.Last != 100 || !bytes.Equal(got.MAC, rows[99].MAC) || got.Unchained != 0 {
		t.Errorf("%+v", got)
	}
	if got := verify(nil); !got.OK() || got.Last != 0 {
		t.Errorf("an empty record: %+v", got)
	}
	if got := verify(nil, chain.Anchor{Number: 3}); len(got.Problems) != 1 || got.Problems[0].Kind != chain.Truncated {
		t.Errorf("all is gone: %+v", got)
	}
	v := chain.NewVerifier(keys)
	v.After(40, rows[39].MAC)
	for _, r := range rows[40:] {
		_ = v.Add(r)
	}
	if got := v.End(100); !got.OK() {
		t.Errorf("a part: %+v", got)
	}
	if err := v.Add(rows[0]); err == nil {
		t.Error("a row after the end is taken")
	}
}

// TestRewritten has somebody with the key make the record anew: only what was
// kept elsewhere can tell.
func TestRewritten(t *testing.T) {
	whole := record(20, rand.New(rand.NewPCG(1, 2)))
	forged := copied(whole)
	var previous []byte
	for i := range forged {
		r := &forged[i]
		if i == 4 {
			r.Actor = "nobody"
		}
		key, _ := keys(r.Key)
		r.MAC = chain.MAC(key, previous, r)
		previous = r.MAC
	}
	if got := verify(forged); !got.OK() {
		t.Errorf("%v", got.Problems)
	}
	got := verify(forged, anchor(whole[2]), anchor(whole[9]))
	if len(got.Problems) != 1 || got.Problems[0].Kind != chain.Changed || got.Problems[0].First != 10 {
		t.Errorf("%v", got.Problems)
	}
}

// TestUnknownKeys counts rows that cannot be checked, and checks the others.
func TestUnknownKeys(t *testing.T) {
	rows := record(20, rand.New(rand.NewPCG(1, 3)))
	var previous []byte
	for i := range rows {
		if i == 5 || i == 6 {
			rows[i].Key = "gone"
		}
		key, _ := keys(rows[i].Key)
		rows[i].MAC = chain.MAC(key, previous, &rows[i])
		previous = rows[i].MAC
	}
	got := verify(rows)
	if got.OK() || len(got.Problems) != 0 || got.Unverified["gone"] != 2 {
		t.Errorf("%+v", got)
	}
	rows[7].Reason += "x"
	if got := verify(rows); len(got.Problems) != 1 || got.Problems[0].First != 8 {
		t.Errorf("%+v", got)
	}
	for i := range rows {
		rows[i].Key = fmt.Sprint("k", i%2)
	}
	if got := verify(rows); got.Unverified["k0"] != 10 || got.Unverified["k1"] != 10 {
		t.Errorf("%+v", got)
	}
}

// TestUnchained lets rows at the end have no code yet, and no others.
func TestUnchained(t *testing.T) {
	rows := record(20, rand.New(rand.NewPCG(1, 4)))
	for i := 15; i < 20; i++ {
		rows[i].MAC, rows[i].Key = nil, ""
	}
	if got := verify(rows, anchor(rows[14]), chain.Anchor{Number: 20}); !got.OK() || got.Unchained != 5 {
		t.Errorf("%+v", got)
	}
	if got := verify(rows, chain.Anchor{Number: 17, MAC: []byte("x")}); got.OK() {
		t.Error("a code that was there is gone and nobody tells")
	}
	v := chain.NewVerifier(keys)
	for _, r := range rows {
		_ = v.Add(r)
	}
	if got := v.End(18); len(got.Problems) != 1 || got.Problems[0].Kind != chain.Inserted || got.Problems[0].First != 19 {
		t.Errorf("beyond the head: %+v", got)
	}
}

// stretchOf is a stretch of a record as the database knows it.
func stretchOf(rows []chain.Row, first, last int) chain.Stretch {
	s := chain.Stretch{
		First: int64(first), Last: int64(last), LastMAC: rows[last-1].MAC, File: "f", Digest: []byte("d"), At: started, Key: "b",
	}
	if first > 1 {
		s.Before = rows[first-2].MAC
	}
	s.MAC = s.Sum(keyB)
	return s
}

func TestStretches(t *testing.T) {
	rows := record(30, rand.New(rand.NewPCG(1, 5)))
	stretches := []chain.Stretch{stretchOf(rows, 1, 10), stretchOf(rows, 11, 20)}
	run := func(stretches []chain.Stretch, rows []chain.Row, anchors ...chain.Anchor) chain.Report {
		v := chain.NewVerifier(keys)
		v.Archived(stretches...)
		v.Expect(anchors...)
		for _, r := range rows {
			_ = v.Add(r)
		}
		return v.End(30)
	}
	for name, tt := range map[string]struct {
		rows     []chain.Row
		archived int64
	}{
		"gone": {rows[20:], 20}, "one file read": {rows[10:], 10}, "both read": {rows, 0}, "half removed": {rows[14:], 20},
		"none is left": {nil, 20}, "the second file is not read": {append(slices.Clone(rows[:10]), rows[20:]...), 10},
	} {
		anchors := []chain.Anchor{anchor(rows[4]), anchor(rows[9]), anchor(rows[19])}
		if got := run(stretches, tt.rows, anchors...); !got.OK() || got.Archived != tt.archived {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, tt := range map[string]struct {
		do   func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row)
		kind chain.Kind
	}{
		"rows after it":        {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) { return s, r[22:] }, chain.Deleted},
		"no word of a stretch": {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) { return s[:1], r[20:] }, chain.Deleted},
		"longer than it was": {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) {
			s[1].Last, s[1].LastMAC = 22, r[21].MAC
			return s, r[22:]
		}, chain.Changed},
		"another file": {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) {
			s[0].Digest = []byte("e")
			return s, r[20:]
		}, chain.Changed},
		"changed in the file": {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) {
			r[3].Reason += "!"
			return s, r
		}, chain.Changed},
		"another end in the file": {func(s []chain.Stretch, r []chain.Row) ([]chain.Stretch, []chain.Row) {
			r[19].MAC[0] ^= 1
			return s, r
		}, chain.Changed},
	} {
		s, r := tt.do(slices.Clone(stretches), copied(rows))
		if got := run(s, r); len(got.Problems) == 0 || got.Problems[0].Kind != tt.kind {
			t.Errorf("%s: %+v", name, got.Problems)
		}
	}
	if got := run(stretches, rows[20:], chain.Anchor{Number: 20, MAC: []byte("other")}); got.OK() {
		t.Error("the end of a stretch is not compared with what was kept of it")
	}
}

// TestMany keeps the list short, whatever the record looks like.
func TestMany(t *testing.T) {
	rows := record(2000, rand.New(rand.NewPCG(1, 6)))
	for i := 0; i < len(rows); i += 2 {
		rows[i].Reason += "!"
	}
	got := verify(rows)
	if len(got.Problems) != chain.MostProblems || got.More != 900 {
		t.Errorf("%d problems, %d more", len(got.Problems), got.More)
	}
	if s := got.Problems[0].String(); !strings.HasPrefix(s, "row 1: changed: ") {
		t.Error(s)
	}
}

func BenchmarkMAC(b *testing.B) {
	r := record(1, rand.New(rand.NewPCG(1, 1)))[0]
	r.Before, r.After = bytes.Repeat([]byte("a"), 900), bytes.Repeat([]byte("b"), 900)
	b.ReportAllocs()
	for b.Loop() {
		chain.MAC(keyA, r.MAC, &r)
	}
}

func BenchmarkVerify(b *testing.B) {
	rows := record(1000, rand.New(rand.NewPCG(1, 1)))
	b.ReportAllocs()
	for b.Loop() {
		verify(rows)
	}
}
