package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files and docs/config.md anew")

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale or wrong; go test ./proxy/config -update writes it. Got:\n%s", path, got)
	}
}

// TestBad loads each file of testdata/bad and compares everything that is said
// about it. None of it may show a secret.
func TestBad(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(paths) < 8 {
		t.Fatalf("corpus: %q, %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, problems := Load(Source{Flags: Flags{Config: path}, Environ: environ("A_SECRET=never-shown-either")})
			text := problems.String()
			if strings.Contains(text, "never-shown") {
				t.Errorf("a secret is shown:\n%s", text)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".problems", text)
		})
	}
}

func TestStrict(t *testing.T) {
	path := "testdata/bad/unknown.yaml"
	f, problems := Load(Source{Flags: Flags{Config: path}, Environ: environ()})
	if f == nil {
		t.Errorf("unknown keys stop the start:\n%s", problems)
	}
	f, problems = Load(Source{Flags: Flags{Config: path, Strict: true}, Environ: environ()})
	if f != nil || len(problems.Of(Error)) < 10 {
		t.Errorf("strict: loaded %v, %d errors", f != nil, len(problems.Of(Error)))
	}
}
