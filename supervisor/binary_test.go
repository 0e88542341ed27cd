package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A program is found beside the path that we were called by, beside what that
// is a link to, and under the installed names.
func TestBeside(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"v1/supervisor", "v1/proxy", "v2/supervisor", "v2/proxy", "usr/sluice-supervisor", "usr/sluice-proxy"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(filepath.Join(root, target), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("v2", "current")
	link("v1/supervisor", "bin/supervisor")
	for self, want := range map[string]string{
		"v1/supervisor":         "v1/proxy",
		"current/supervisor":    "current/proxy",
		"bin/supervisor":        "v1/proxy",
		"usr/sluice-supervisor": "usr/sluice-proxy",
	} {
		got, err := beside(filepath.Join(root, self), "proxy")
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("beside %s: %s, %v, want %s", self, got, err, want)
		}
	}
	if got, err := beside(filepath.Join(root, "v1/supervisor"), "healthd"); err == nil {
		t.Errorf("a program that is not there was found: %s", got)
	}
}

// The own binary is the file that runs.
func TestOwnPath(t *testing.T) {
	got, err := ownPath()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(got); err != nil || !os.SameFile(ours, info) {
		t.Errorf("%s is not the program that runs: %v", got, err)
	}
}
