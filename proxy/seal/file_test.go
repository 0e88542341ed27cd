package seal

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadFile(t *testing.T) {
	path := writeFile(t, "# the first line seals\n\n  \t\r\nnew.2: spaces : and colons \r\n2025-01_a:plain")
	got, err := ReadFile(path)
	want := []Entry{{"new.2", " spaces : and colons "}, {"2025-01_a", "plain"}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// TestReadFileRefuses: everything that is wrong is said at once, with its line
// and without a word of a secret.
func TestReadFileRefuses(t *testing.T) {
	const word = "CanaryWord"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"empty":        {"", []string{"has no key"}},
		"comments":     {"# a:b\n", []string{"has no key"}},
		"no colon":     {"a:" + word + "\n" + word + "\n", []string{"line 2: has no colon"}},
		"a bad id":     {word + "/" + word + ":x\n", []string{"line 1: the id before the colon"}},
		"blank id":     {" a:" + word, []string{"line 1: the id before the colon"}},
		"no secret":    {"a:\nb: \t\n", []string{"line 1: key a has no secret", "line 2: key b has no secret"}},
		"NUL":          {"a:" + word + "\x00\n", []string{"NUL"}},
		"id twice":     {"a:" + word + "1\n\nb:x\na:" + word + "2\n", []string{"line 4: key a is there twice (first on line 1)"}},
		"secret twice": {"a:" + word + "\nb:" + word + "\n", []string{"line 2: key b has the same secret as key a"}},
		"derived id":   {"a:" + word + "\n" + newRing(t, word).ID() + ":" + word + "2\n", []string{"line 2", "told apart"}},
		"swapped":      {word + "9fK2mPq7Xw4Zr8Tb1Vn6Hc3Yd5Gs0L:a\n", []string{"line 1", "looks like the secret"}},
		"all at once":  {"a:" + word + "\n" + word + "\na:x\n:\n", []string{"line 2", "line 3", "line 4"}},
		"long":         {strings.Repeat("# "+word+"\n", 64<<10/10), []string{"64 KiB"}},
	} {
		path := writeFile(t, c.text)
		_, err := ReadFile(path)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range append(c.want, path) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", name, err, want)
			}
		}
		if strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s shows a secret, or has several lines: %v", name, err)
		}
	}
}

func TestReadFileIsPrivate(t *testing.T) {
	path := writeFile(t, "a:secret\n")
	for _, mode := range []os.FileMode{0o604, 0o644, 0o622, 0o660, 0o666, 0o777, 0o620, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "none")} {
		if _, err := ReadFile(path); err == nil {
			t.Errorf("%s is read", path)
		}
	}
}

// TestContentAsPath: whoever writes the ring where its path belongs does not
// find it in the log.
func TestContentAsPath(t *testing.T) {
	for _, path := range []string{"k1:CanaryWord", "CanaryWord"} {
		if _, err := ReadFile(path); err == nil || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%v", err)
		}
	}
}

// TestForeign: a group may read a file of root's for a process that is not
// root, as systemd and Kubernetes hand out secrets, and nobody may write it.
func TestForeign(t *testing.T) {
	for _, c := range []struct {
		mode  os.FileMode
		owner uint32
		user  int
		want  bool
	}{
		{0o440, 0, 1000, false},
		{0o640, 0, 1000, false},
		{0o440, 0, 0, true},
		{0o440, 1000, 1000, true},
		{0o444, 0, 1000, true},
		{0o460, 0, 1000, true},
		{0o400, 1000, 1000, false},
	} {
		if got := foreign(c.mode, c.owner, c.user); got != c.want {
			t.Errorf("mode %04o of user %d read by %d: %v", c.mode, c.owner, c.user, got)
		}
	}
}

// FuzzReadFile: no text of a keyring file panics or shows what may be a secret.
func FuzzReadFile(f *testing.F) {
	for _, s := range []string{"a:secret\nb:secret\n", "#\n:", "secret", "a:secret\r\na:x", "\x00", "a b:secret"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, problems := parseFile(data)
		if (len(entries) == 0) && len(problems) == 0 {
			t.Error("nothing, and no problem")
		}
		if len(problems) == 0 {
			if _, err := NewRing(entries...); err != nil {
				t.Errorf("a good file makes no ring: %v", err)
			}
		}
		for _, p := range problems {
			for _, e := range entries {
				if secret := e.Secret.Reveal(); len(secret) > 40 && strings.Contains(p, secret) {
					t.Errorf("%q is shown", p)
				}
			}
		}
	})
}
