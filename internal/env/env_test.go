package env

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSecretIsNeverShown(t *testing.T) {
	const hidden = "sk-hidden"
	s := Secret(hidden)
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", slog.Any("key", s))
	marshalled, err := json.Marshal(map[string]any{"a": s, "b": struct{ S Secret }{s}})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text.WriteString(fmt.Sprintf(verb, s) + fmt.Sprintf(verb, struct{ S Secret }{s}))
	}
	all := text.String() + string(marshalled)
	if strings.Contains(all, hidden) || strings.Contains(all, fmt.Sprintf("%x", hidden)) {
		t.Errorf("the secret is shown: %s", all)
	}
	if s.Reveal() != hidden {
		t.Errorf("Reveal = %q", s.Reveal())
	}
}

func TestBytesAndParse(t *testing.T) {
	e := (*Environ)(nil).With(map[string]string{"B": "2\n=x", "A": "", "C": "ü"})
	back := Parse(e.Bytes())
	if got, want := string(back.Bytes()), "A=\x00B=2\n=x\x00C=ü\x00"; got != want {
		t.Errorf("Bytes = %q, want %q", got, want)
	}
	if v, ok := back.Lookup("A"); v != "" || !ok {
		t.Errorf("Lookup(A) = %q, %v", v, ok)
	}
	if _, ok := back.Lookup("D"); ok {
		t.Error("D is set")
	}
	if got := Parse([]byte("novalue\x00=x\x00X=1\x00X=2")).Names(); !slices.Equal(got, []string{"X"}) {
		t.Errorf("Names = %q", got)
	}
}

func TestScrubbed(t *testing.T) {
	e := Parse([]byte("PATH=/bin\x00LC_ALL=C\x00OPENAI_API_KEY=sk-1\x00DATABASE_URL=postgres://u:p@h\x00SLUICE_STATE_DIR=/s\x00SLUICE_MASTER_KEY=sk-2\x00FOO=bar\x00SLUICE_MODEL_API_BASE=https://u:p@h/v1\x00SLUICE_X=a@b"))
	want := []string{"LC_ALL=C", "PATH=/bin", "SLUICE_STATE_DIR=/s", "SLUICE_X=a@b"}
	if got := e.Scrubbed(); !slices.Equal(got, want) {
		t.Errorf("Scrubbed = %q, want %q", got, want)
	}
}

func TestTyped(t *testing.T) {
	e := Parse([]byte("N=12\x00BAD=x1\x00API_KEY=sk-1\x00T=On\x00D=1.5\x00M=2m\x00W=7d\x00NEG=-1\x00NAN=NaN\x00E="))
	check := func(name string, got, want any, err error, refused bool) {
		t.Helper()
		if got != want || (err != nil) != refused {
			t.Errorf("%s = %v, %v; want %v, refused %v", name, got, err, want, refused)
		}
		if err != nil && strings.Contains(err.Error(), "sk-1") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
	for name, want := range map[string]struct {
		n       int
		refused bool
	}{"N": {12, false}, "BAD": {7, true}, "API_KEY": {7, true}, "E": {7, false}, "NONE": {7, false}} {
		n, err := e.Int(name, 7)
		check(name, n, want.n, err, want.refused)
	}
	b, err := e.Bool("T", false)
	check("T", b, true, err, false)
	b, err = e.Bool("BAD", true)
	check("BAD", b, true, err, true)
	for name, want := range map[string]time.Duration{"D": 1500 * time.Millisecond, "M": 2 * time.Minute, "W": 168 * time.Hour, "NONE": time.Second} {
		d, err := e.Seconds(name, time.Second)
		check(name, d, want, err, false)
	}
	for _, name := range []string{"NEG", "NAN", "BAD"} {
		d, err := e.Duration(name, time.Second)
		check(name, d, time.Second, err, true)
	}
}

func TestSecretForms(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"file": "from-file\n", "b": "from-credential\r\n", "empty": "\n", "long": strings.Repeat("x", 64<<10+1), "EMPTY_CRED": "", "sluice_openai_api_key": "from-folder\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := (*Environ)(nil).With(map[string]string{
		"A": "direct", "A_FILE": "/nowhere", "F_FILE": filepath.Join(dir, "file"), "G": "", "G_FILE": filepath.Join(dir, "file"),
		"X_FILE": filepath.Join(dir, "none"), "EMPTY_FILE": filepath.Join(dir, "empty"), "LONG_FILE": filepath.Join(dir, "long"),
		"DIR_FILE": dir, "ZERO_FILE": "/dev/zero", "WRONG_FILE": "sk-canary", "CREDENTIALS_DIRECTORY": dir, "SET": "",
	})
	for name, want := range map[string]struct {
		value string
		ok    bool
		says  string // what the error says, "" for none
	}{
		"A": {"direct", true, ""}, "F": {"from-file", true, ""}, "G": {"from-file", true, ""}, "B": {"from-credential", true, ""},
		"OPENAI_API_KEY": {"from-folder", true, ""},
		"NONE":           {"", false, ""}, "SET": {"", true, ""}, "../" + filepath.Base(dir) + "/b": {"", false, ""}, "a.b": {"", false, ""},
		"X": {"", false, "X_FILE: " + dir + "/none cannot be read"}, "EMPTY": {"", false, "is empty"}, "EMPTY_CRED": {"", false, "is empty"},
		"LONG": {"", false, "64 KiB"}, "DIR": {"", false, "no regular file"}, "ZERO": {"", false, "no regular file"},
		"WRONG": {"", false, "WRONG_FILE: the file that it names cannot be read"},
	} {
		got, err := e.Secret(name)
		if got.Reveal() != want.value || (err != nil) != (want.says != "") {
			t.Errorf("Secret(%s) = %.20q, %v; want %q", name, got.Reveal(), err, want.value)
		}
		if err != nil && (!strings.Contains(err.Error(), want.says) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("Secret(%s): %v; want %q", name, err, want.says)
		}
		text, ok, err := e.Value(name)
		if text != want.value || ok != want.ok || (err != nil) != (want.says != "") {
			t.Errorf("Value(%s) = %.20q, %v, %v", name, text, ok, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"1", "1.5", "7d", "1h", "-1", "1e400", "99999999999w", "0x1p-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := ParseDuration(s); ok && (d < 0 || d > 101*365*24*time.Hour) {
			t.Errorf("ParseDuration(%q) = %v", s, d)
		}
	})
}
