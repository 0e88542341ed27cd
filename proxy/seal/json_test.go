package seal

import (
	"encoding/json"
	"errors"
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
