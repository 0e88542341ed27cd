package app

import (
	"os"
	"strings"
	"sync"
	"testing"

	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

func TestStoredMasterKeyIsMadeOnce(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		keys = map[env.Secret]int{}
		made int
	)
	for range 16 {
		wg.Go(func() {
			key, mine, err := storedMasterKey(dir)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			keys[key]++
			if mine {
				made++
			}
		})
	}
	wg.Wait()
	if len(keys) != 1 || made != 1 {
		t.Errorf("16 workers saw %d keys, %d made one; want 1 and 1", len(keys), made)
	}
	for key := range keys {
		if text := key.Reveal(); !strings.HasPrefix(text, "sk-") || len(text) != 46 {
			t.Errorf("key of %d characters, want sk- and 43", len(text))
		}
	}
	st, err := os.Stat(dir.MasterKey())
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o, want 600", st.Mode().Perm())
	}
	left, err := os.ReadDir(string(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 {
		t.Errorf("%d files left in the state directory, want the key alone", len(left))
	}
}

func TestStoredMasterKeyRefusesGarbage(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	if err := os.WriteFile(dir.MasterKey(), []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := storedMasterKey(dir)
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "sk-") {
		t.Errorf("got %v, want an error that says what is allowed and does not show the content", err)
	}
}

// A key that was made is not used when others can read it.
func TestStoredMasterKeyIsClosed(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	if err := os.WriteFile(dir.MasterKey(), []byte("sk-of-this-test\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, _, err := storedMasterKey(dir)
	if err == nil || !strings.Contains(err.Error(), "chmod 0600") || strings.Contains(err.Error(), "sk-of-this") {
		t.Errorf("a key with mode 0640: %v", err)
	}
}
