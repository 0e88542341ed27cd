package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Variant says how the programs of an appliance are built.
type Variant string

// The variants. Bad has the known-bad switches compiled in (environment
// SLUICE_TEST_BAD), which must lose requests. Layout is a release whose host
// table has another layout.
const (
	Plain  Variant = "plain"
	Race   Variant = "race"
	Bad    Variant = "bad"
	Layout Variant = "layout"
)

// Programs are the four that make an appliance.
var Programs = []string{"supervisor", "proxy", "healthd", "migrator"}

// builds remembers what this test process has built, so that each variant is
// built once. It is a registry: nothing in it changes what a build contains.
var builds = struct {
	mu   sync.Mutex // guards once
	once map[Variant]*sync.Once
	err  map[Variant]error
}{once: map[Variant]*sync.Once{}, err: map[Variant]error{}}

// Root is the folder of the module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "supervisor", "fleet")); err == nil {
				return dir, nil
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("find the module: no go.mod above the working directory")
		}
		dir = up
	}
}

// Binaries builds a variant, at most once per test process, and returns the
// folder that holds its four programs. The folder is shared by all tests: who
// replaces a program copies them first (CopyBinaries).
func Binaries(t testing.TB, v Variant) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".run", "e2e", "bin-"+string(v))
	builds.mu.Lock()
	once := builds.once[v]
	if once == nil {
		once = new(sync.Once)
		builds.once[v] = once
	}
	builds.mu.Unlock()
	once.Do(func() {
		start := time.Now()
		err := build(root, dir, v, "e2e")
		builds.mu.Lock()
		builds.err[v] = err
		builds.mu.Unlock()
		t.Logf("built %s programs in %.1f s", v, time.Since(start).Seconds())
	})
	builds.mu.Lock()
	err = builds.err[v]
	builds.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// BuildVersion builds a plain variant with another version into a folder of
// the test, for tests that upgrade.
func BuildVersion(t testing.TB, version string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := build(root, dir, Plain, version); err != nil {
		t.Fatal(err)
	}
	return dir
}

func build(root, dir string, v Variant, version string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X sluice/internal/boot.Version=" + version, "-o", dir + "/"}
	env := append(os.Environ(), "CGO_ENABLED=0")
	switch v {
	case Race:
		args, env = append(args, "-race"), append(env, "CGO_ENABLED=1")
	case Bad:
		args = append(args, "-tags", "sluicebad")
	case Layout:
		args = append(args, "-tags", "sluicelayout")
	case Plain:
	}
	for _, p := range Programs {
		args = append(args, "./"+p)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = root, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s programs: %w\n%s", v, err, out)
	}
	return nil
}

// CopyBinaries copies the programs of one folder into another, each by rename
// as a package manager does it, so that a running one keeps its file.
func CopyBinaries(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range Programs {
		b, err := os.ReadFile(filepath.Join(from, p))
		if err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(to, "."+p+".new")
		if err := os.WriteFile(next, b, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(to, p)); err != nil {
			t.Fatal(err)
		}
	}
}
