package store_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/proxy/store"
)

// FuzzDocument: a document that is let through holds no text that PostgreSQL
// cannot keep, wherever it stands, and becomes no text that reads otherwise.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{
		`{}`, `"\u0000"`, `"\\u0000"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `{"\u0000":1}`, `[1e308,-1E-308,1e309]`, `"1e999"`,
		`{"a":"\\\"1e999"}`, `"\\\u0000"`, "\"\xff\"", `1e`, `[true,false]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if store.CheckDocument(s) != nil || !json.Valid([]byte(s)) {
			return
		}
		var v any
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var walk func(v any)
		text := func(s string) {
			if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
				t.Errorf("%q is let through", s)
			}
		}
		walk = func(v any) {
			switch v := v.(type) {
			case string:
				text(v)
				if strings.ContainsRune(v, utf8.RuneError) && !strings.ContainsRune(s, utf8.RuneError) && !strings.Contains(strings.ToLower(s), `\ufffd`) {
					t.Errorf("%q: half of a pair of surrogates is let through", s)
				}
			case json.Number:
				if _, err := v.Float64(); err != nil && strings.ContainsAny(v.String(), "eE") && len(v) < 300 {
					t.Errorf("%s is let through", v)
				}
			case []any:
				for _, v := range v {
					walk(v)
				}
			case map[string]any:
				for name, v := range v {
					text(name)
					walk(v)
				}
			}
		}
		walk(v)
	})
}
