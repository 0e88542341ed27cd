package seal

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"sluice/internal/env"
)

func ringOf(t testing.TB, entries ...Entry) *Ring {
	t.Helper()
	r, err := NewRing(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRing: the first key seals until another one is chosen, and all of them
// open what any of them has sealed.
func TestRing(t *testing.T) {
	lone := newRing(t, "secret-one")
	r := ringOf(t, Entry{"two", "secret-two"}, Entry{"one", "secret-one"}, Entry{"", "secret-three"})
	three := newRing(t, "secret-three").ID()
	if got, want := r.IDs(), []string{"two", "one", three}; !slices.Equal(got, want) || r.ID() != "two" || r.First() != "two" {
		t.Errorf("ids %q, writes %s, first %s", got, r.ID(), r.First())
	}
	prints := map[string]string{"two": newRing(t, "secret-two").ID(), "one": lone.ID(), three: three}
	if got := r.Fingerprints(); !maps.Equal(got, prints) {
		t.Errorf("fingerprints %v, want %v", got, prints)
	}
	place := Place("models", "m", "p")
	open := func(what string, by *Ring, text string) {
		t.Helper()
		if got, err := by.Open(place, text); err != nil || got != "plain" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for _, id := range []string{"two", "one", three, lone.ID(), prints["two"]} {
		w, ok := r.Writing(id)
		if !ok || w.ID() != id || w.First() != "two" || !r.Has(id) {
			t.Fatalf("%s: writing %v", id, ok)
		}
		text, err := w.Seal(place, "plain")
		if err != nil || r.SealedWith(text) != id {
			t.Errorf("%s: sealed with %s, %v", id, r.SealedWith(text), err)
		}
		open(id, r, text)
		open(id, w, text)
		if id == lone.ID() {
			open("the release before", lone, text)
		}
		key, ok := r.KeyOf(id, "p")
		if !ok || key != w.Key("p") || w.Keys("p")[0] != key || len(w.Keys("p")) != 3 {
			t.Errorf("%s: keys for a purpose differ", id)
		}
	}
	text, err := lone.Seal(place, "plain")
	if err != nil {
		t.Fatal(err)
	}
	open("sealed while it was alone", r, text)
	if _, ok := r.Writing("four"); ok || r.Has("four") || r.Has("") {
		t.Error("the ring has what it has not")
	}
	if _, ok := r.KeyOf("four", "p"); ok {
		t.Error("a key of nobody")
	}
	other := ringOf(t, Entry{"two", "secret-of-another-host"})
	if _, err := other.Open(place, mustSeal(t, r, place)); !errors.Is(err, ErrBroken) {
		t.Errorf("the same id with another secret: %v", err)
	}
	if _, err := lone.Open(place, mustSeal(t, r, place)); !errors.Is(err, ErrOtherKey) {
		t.Errorf("an id that is not there: %v", err)
	}
	for _, text := range []string{"", "sk-plain", "sluice1:one", "v2:gcm:x"} {
		if got := r.SealedWith(text); got != "" {
			t.Errorf("%q is sealed with %q", text, got)
		}
	}
}

func mustSeal(t *testing.T, r *Ring, place string) string {
	t.Helper()
	text, err := r.Seal(place, "plain")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRingOpensLiteLLM: what names no key is tried with every one.
func TestRingOpensLiteLLM(t *testing.T) {
	const sealed = "9q0qkgeAGAq3Np27eS2eSGW75XN7iGnwNfVIZmTaH0rHrnZKVqsryg=="
	plain, err := newRing(t, "sk-1234").Open("", sealed)
	if err != nil {
		t.Fatal(err)
	}
	r := ringOf(t, Entry{"new", "secret-new"}, Entry{"", "sk-1234"})
	if got, err := r.Open("", sealed); err != nil || got != plain {
		t.Errorf("%q, %v", got, err)
	}
	r = ringOf(t, Entry{"new", "secret-new"}, Entry{"", "sk-other"})
	if _, err := r.Open("", sealed); !errors.Is(err, ErrBroken) {
		t.Errorf("no key fits: %v", err)
	}
	if _, err := r.Open("", "plain text"); !errors.Is(err, ErrNotSealed) {
		t.Errorf("plain: %v", err)
	}
}

func TestRingRefuses(t *testing.T) {
	derived := newRing(t, "secret-one").ID()
	for name, entries := range map[string][]Entry{
		"no entry":          {},
		"an empty secret":   {{"a", ""}},
		"a bad id":          {{"a:b", "secret-one"}},
		"a blank id":        {{" ", "secret-one"}},
		"a long id":         {{string(make([]byte, 65)), "secret-one"}},
		"one id twice":      {{"a", "secret-one"}, {"a", "secret-two"}},
		"one secret twice":  {{"a", "secret-one"}, {"b", "secret-one"}},
		"a foreign derived": {{"a", "secret-one"}, {derived, "secret-two"}},
		"derived first":     {{derived, "secret-two"}, {"", "secret-one"}},
	} {
		if _, err := NewRing(entries...); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if r := ringOf(t, Entry{derived, "secret-one"}); r.ID() != derived {
		t.Errorf("its own derived id: %s", r.ID())
	}
}

func TestFromEnviron(t *testing.T) {
	const one, two, three = "One-9fK2mPq7Xw4Zr8Tb1Vn6Hc3Yd5Gs0L", "Two-9fK2mPq7Xw4Zr8Tb1Vn6Hc3Yd5Gs0L", "Three-9fK2mPq7Xw4Zr8Tb1Vn6Hc3Yd5G"
	id := func(secret string) string { return newRing(t, secret).ID() }
	path := writeFile(t, "k2:"+two+"\nk1:"+one+"\n")
	for name, c := range map[string]struct {
		from  Sources
		ids   []string // in their order
		notes int
	}{
		"a lone salt key":         {Sources{Salt: one, Master: two}, []string{id(one)}, 0},
		"the master key":          {Sources{Master: two}, []string{id(two)}, 1},
		"a master key that moved": {Sources{Master: two, OldMaster: one}, []string{id(two), id(one)}, 1},
		"salt and old master":     {Sources{Salt: three, Master: two, OldMaster: one}, []string{id(three), id(one)}, 0},
		"old master is the same":  {Sources{Master: two, OldMaster: two}, []string{id(two)}, 2},
		"a file":                  {Sources{KeyringFile: path, Master: three}, []string{"k2", "k1", id(three)}, 0},
		"a file and its salt":     {Sources{KeyringFile: path, Salt: one}, []string{"k2", "k1"}, 0},
		"a file and another salt": {Sources{KeyringFile: path, Salt: three, Master: "sk-1"}, []string{"k2", "k1", id(three)}, 0},
		"a file alone":            {Sources{KeyringFile: path}, []string{"k2", "k1"}, 0},
		"weak keys":               {Sources{KeyringFile: writeFile(t, "w:sk-1234\nv:short\n"), Salt: one}, []string{"w", "v", id(one)}, 2},
	} {
		r, notes, err := FromEnviron(c.from)
		if err != nil || !slices.Equal(r.IDs(), c.ids) || r.ID() != c.ids[0] || len(notes) != c.notes {
			t.Errorf("%s: %v, %q; want %q and %d notes", name, err, notes, c.ids, c.notes)
		}
	}
	for name, from := range map[string]Sources{
		"nothing":       {},
		"only an old":   {OldMaster: one},
		"no such file":  {KeyringFile: path + "x", Salt: one},
		"weak, strict":  {KeyringFile: writeFile(t, "w:sk-1234\n"), Strict: true},
		"a derived id":  {KeyringFile: writeFile(t, id(one)+":"+two+"\n"), Salt: env.Secret(one)},
		"empty, a salt": {KeyringFile: writeFile(t, "# nothing yet\n"), Salt: one},
	} {
		if _, _, err := FromEnviron(from); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
