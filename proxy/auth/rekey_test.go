package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/proxy/identity"
)

// TestSnapshotIsKeptOverARotation: what was written under the key of before, by
// this process and by one that had not heard yet, opens under the new one alone.
func TestSnapshotIsKeptOverARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	old, fresh := [32]byte{1}, [32]byte{2}
	first, _ := openSnapshot(t, path, old)
	late, _ := openSnapshot(t, path, old, fresh) // a key is used once everybody has it
	put := func(s *Snapshot, name string) {
		t.Helper()
		if err := s.Put(name, []byte("value of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	has := func(s *Snapshot, names ...string) {
		t.Helper()
		s.Forget()
		for _, name := range names {
			if got, ok := s.Get(name); !ok || string(got) != "value of "+name {
				t.Errorf("%s is lost: %q", name, got)
			}
		}
	}
	for i := range 200 {
		put(first, fmt.Sprint("before", i))
	}
	if err := first.Changed(7, identity.KindKey, "k"); err != nil {
		t.Fatal(err)
	}
	dated := first.lastContact()
	if err := first.Use([][32]byte{fresh, old}); err != nil {
		t.Fatal(err)
	}
	if got := first.lastContact(); got.After(dated) {
		t.Errorf("the rotation counts as contact: %v, before %v", got, dated)
	}
	put(late, "of one that had not heard")
	has(first, "before0", "before199", "of one that had not heard")
	if err := late.Use([][32]byte{fresh, old}); err != nil {
		t.Fatal(err)
	}
	put(late, "after")
	if err := first.Use([][32]byte{fresh}); err != nil { // the old one is retired
		t.Fatal(err)
	}
	has(first, "before0", "before199", "of one that had not heard", "after")
	alone, said := openSnapshot(t, path, fresh)
	has(alone, "before0", "before199", "of one that had not heard", "after")
	if n := alone.Number(); n != 7 {
		t.Errorf("the newest change is %d", n)
	}
	if said.Len() > 0 {
		t.Errorf("said: %s", said)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".snapshot-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSnapshotIsLeftAlone: a file that needs nothing is not written, and one of
// somebody else stays until it has to go.
func TestSnapshotIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), SnapshotFile)
	s, _ := openSnapshot(t, path, sealKey)
	if err := s.Use([][32]byte{{9}}); err != nil {
		t.Fatalf("without a file: %v", err)
	}
	if err := s.Put("a", []byte("value of a")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Use([][32]byte{{9}, {8}}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written anew: %v", err)
	}
	stranger, said := openSnapshot(t, path, [32]byte{5})
	if err := stranger.Use([][32]byte{{6}}); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file of another key was written: %v", err)
	}
	if !strings.Contains(said.String(), "another salt key") {
		t.Errorf("said: %s", said)
	}
	if _, err := OpenSnapshot(path, nil, nil); err == nil {
		t.Error("opened without a key")
	}
}
