package seal

import (
	"errors"
	"testing"
)

// TestKept: a check names one key, and the key of a chain opens for its own id
// under another key of the ring.
func TestKept(t *testing.T) {
	both, err := NewRing(Entry{ID: "new", Secret: "sk-new-secret"}, Entry{ID: "old", Secret: "sk-old-secret"})
	if err != nil {
		t.Fatal(err)
	}
	check, err := both.Check()
	if err != nil || both.IsOf("new", check) != nil {
		t.Fatalf("%v", err)
	}
	impostor, err := NewRing(Entry{ID: "new", Secret: "sk-another-secret"})
	if err != nil {
		t.Fatal(err)
	}
	if err := impostor.IsOf("new", check); !errors.Is(err, ErrBroken) {
		t.Errorf("another secret of the same name: %v", err)
	}
	if both.IsOf("old", check) == nil {
		t.Error("a check counts for another key")
	}
	chain, _ := both.KeyOf("old", "audit chain")
	kept, err := both.KeepAudit("old", chain)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := NewRing(Entry{ID: "new", Secret: "sk-new-secret"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := alone.KeptAudit("old", kept); err != nil || got != chain {
		t.Errorf("%v", err)
	}
	if _, err := alone.KeptAudit("new", kept); !errors.Is(err, ErrBroken) {
		t.Errorf("for another id: %v", err)
	}
	text, err := alone.Seal(Place("sealing_keys", "old", "audit_key"), "no key")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.KeptAudit("old", text); err == nil {
		t.Error("a text that is no key was taken")
	}
}
