package seal

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	r, err := New("sk-salt-for-this-test")
	if err != nil {
		t.Fatal(err)
	}
	plain := `{"a/b":"sk-canary","extra":["sk-canary",{"n":2.50,"t":true,"x":"sk-canary","z":null}]}`
	sealed, err := r.SealJSON("models", "m1", "p", json.RawMessage(plain))
	if err != nil || strings.Contains(string(sealed), "canary") || !strings.Contains(string(sealed), "2.50") {
		t.Fatalf("%s %v", sealed, err)
	}
	opened, err := r.OpenJSON("models", "m1", "p", sealed)
	if err != nil || string(opened) != plain {
		t.Errorf("%s %v", opened, err)
	}
	for name, open := range map[string]func() error{
		"another row":   func() error { _, err := r.OpenJSON("models", "m2", "p", sealed); return err },
		"another field": func() error { _, err := r.OpenJSON("models", "m1", "q", sealed); return err },
	} {
		if err := open(); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two fields of one object change places.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(sealed, &fields); err != nil {
		t.Fatal(err)
	}
	moved := `{"extra":` + string(fields["a/b"]) + `}`
	if _, err := r.OpenJSON("models", "m1", "p", json.RawMessage(moved)); !errors.Is(err, ErrBroken) {
		t.Errorf("moved: %v", err)
	}
	if _, err := r.OpenJSON("models", "m1", "p", json.RawMessage(`{"extra":"http://attacker.example"}`)); err == nil {
		t.Error("a text that nobody sealed was opened")
	}
	for _, bad := range []string{``, `"x`, `{"a":}`, `[1,`} {
		if _, err := r.SealJSON("models", "m1", "p", json.RawMessage(bad)); err == nil {
			t.Errorf("%q was sealed", bad)
		}
	}
}

// FuzzSealJSON: what is sealed opens to the same value, in its place and in no
// other, and none of its texts can be read before.
func FuzzSealJSON(f *testing.F) {
	ring, err := New("sk-salt-for-tests")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`"secret-text"`, `{"a":["secret-text",1,null,{"b/c~":"x"}]}`, `[]`, `1e5`, `{"":"secret-text"}`, `"\ud800"`} {
		f.Add(s, "field")
	}
	f.Fuzz(func(t *testing.T, s, field string) {
		value := json.RawMessage(s)
		if !json.Valid(value) {
			return
		}
		sealed, err := ring.SealJSON("models", "id", field, value)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		opened, err := ring.OpenJSON("models", "id", field, sealed)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var was, is any
		if json.Unmarshal(value, &was) != nil { // a number beyond what a float holds
			return
		}
		if err := json.Unmarshal(opened, &is); err != nil || !reflect.DeepEqual(was, is) {
			t.Errorf("%q became %q: %v", s, opened, err)
		}
		if strings.Contains(s, "secret-text") && !strings.Contains(s, `"secret-text":`) && strings.Contains(string(sealed), `"secret-text"`) {
			t.Errorf("%s holds a text", sealed)
		}
		if text, ok := was.(string); ok {
			if other, err := ring.OpenJSON("models", "other", field, sealed); err == nil {
				t.Errorf("%q opens elsewhere as %q", text, other)
			}
		}
	})
}
