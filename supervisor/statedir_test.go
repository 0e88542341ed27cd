package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// asNobody runs f in a thread of user 65532, if this is root: who is root may
// write everywhere.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // its thread ends with it
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread()
			const id = 65532
			if _, _, err := unix.RawSyscall(unix.SYS_SETRESGID, id, id, id); err != 0 {
				t.Errorf("set group: %v", err)
				return
			}
			if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id); err != 0 {
				t.Errorf("set user: %v", err)
				return
			}
		}
		f()
	}()
	<-done
}

// TestStateDirectory: a folder that cannot be written is refused with one line
// that names the folder, its owner and what to do.
func TestStateDirectory(t *testing.T) {
	root, err := os.MkdirTemp("", "state") // t.TempDir may not be entered by others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	folder := func(name string, mode os.FileMode) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := folder("foreign", 0o555)
	inside := folder("inside", 0o777)
	folder("inside/run", 0o555)
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, dir string
		want      []string // nil: it is taken
	}{
		{"a new one", filepath.Join(root, "new"), nil},
		{"one that is ours", folder("ours", 0o777), nil},
		{"another's", foreign, []string{"state directory " + foreign + " cannot be written", foreign + " belongs to ", "mode 0555", "chown "}},
		{"in another's", foreign + "/sluice", []string{"state directory " + foreign + "/sluice cannot be made", foreign + " belongs to ", "make it and chown "}},
		{"with another's folder in it", inside, []string{inside + "/run belongs to ", "chown -R "}},
		{"a file", file, []string{"a file is in its place"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			asNobody(t, func() {
				err := makeStateDir(fleet.Dir(c.dir))
				if (err == nil) != (c.want == nil) {
					t.Errorf("got %v", err)
					return
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%q does not contain %q", err, want)
					}
				}
			})
		})
	}
	if err := stateDirError("/s", &os.PathError{Op: "mkdir", Path: "/s/run", Err: unix.EROFS}); !strings.Contains(err.Error(), "mount a volume") {
		t.Errorf("read-only: %v", err)
	}
}
