//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// coreFolders are where the kernel writes core dumps of processes of an
// appliance, "" where it hands them to a program that this test cannot ask. As
// root the test has them written.
func coreFolders(t *testing.T, a *Appliance) []string {
	t.Helper()
	const file = "/proc/sys/kernel/core_pattern"
	pattern, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	switch pattern[0] {
	case '|':
		if err := os.WriteFile(file, []byte("core"), 0o644); err != nil {
			return nil
		}
		t.Cleanup(func() { _ = os.WriteFile(file, pattern, 0o644) })
	case '/':
		return []string{filepath.Dir(strings.TrimSpace(string(pattern)))}
	}
	return []string{a.Dir, filepath.Dir(a.Dir)}
}

// cores are the core dumps in folders that were written after a moment.
func cores(folders []string, since time.Time) (found []string) {
	for _, folder := range folders {
		entries, _ := os.ReadDir(folder)
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(since) || info.Size() < 1<<20 {
				continue
			}
			path := filepath.Join(folder, e.Name())
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			head := make([]byte, 18)
			_, _ = f.Read(head)
			_ = f.Close()
			if bytes.HasPrefix(head, []byte("\x7fELF")) && head[16] == 4 { // ET_CORE, elf(5)
				found = append(found, path)
			}
		}
	}
	return found
}

// TestCoreDumps: processes that are made to crash where dumps are unlimited leave
// none, and say nothing secret; with SLUICE_ALLOW_CORE_DUMPS they do leave one,
// with what is secret in it, so that the test can see a dump.
func TestCoreDumps(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		name := map[bool]string{false: "forbidden", true: "allowed"}[allowed]
		t.Run(name, func(t *testing.T) {
			real, dir := Binaries(t, Plain), t.TempDir()
			wrapper := "#!/bin/sh\nulimit -c unlimited\nexec " + real + "/supervisor \"$@\"\n"
			if err := os.WriteFile(filepath.Join(dir, "supervisor"), []byte(wrapper), 0o755); err != nil {
				t.Fatal(err)
			}
			env := map[string]string{"LITELLM_SALT_KEY": "sk-canary-salt-8Zx4Qw9Er2Ty6Ui1Op", "GOTRACEBACK": "crash", "OPENAI_API_KEY": "sk-canary-of-provider-3Er5Ty"}
			if allowed {
				env["SLUICE_ALLOW_CORE_DUMPS"] = "true"
			}
			a := New(t, Options{Bin: dir, Config: identityConfig, Env: env})
			folders := coreFolders(t, a)
			if folders == nil {
				t.Log("dumps are piped to a program here: nothing is shown")
				return
			}
			began := time.Now().Add(-time.Second)
			a.Start()
			a.allReady()
			a.manage("/credentials", `{"credential_name":"c","credential_info":{},"credential_values":{"api_key":"sk-canary-of-credential"}}`)
			var killed []int // all at once: with GOTRACEBACK=crash each takes its seconds
			for _, program := range []string{"healthd", "proxy", "supervisor"} {
				for _, p := range a.Processes() {
					if p.Program != program {
						continue
					}
					if !allowed { // as somebody does who wants one
						_ = unix.Prlimit(p.PID, unix.RLIMIT_CORE, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}, nil)
					}
					if err := syscall.Kill(p.PID, syscall.SIGABRT); err != nil {
						t.Error(err)
					}
					killed = append(killed, p.PID)
					break
				}
			}
			for _, pid := range killed {
				Gone(t, pid, 30*time.Second)
			}
			a.Wait(30 * time.Second)
			found := cores(folders, began)
			secret := false
			for _, path := range found {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				secret = secret || bytes.Contains(b, []byte("sk-canary"))
				_ = os.Remove(path)
			}
			t.Logf("canaries: %d core dumps, something secret in them: %v", len(found), secret)
			if allowed && (len(found) == 0 || !secret) {
				t.Errorf("%d core dumps where they are allowed, secrets in them: %v: the test does not see what it should", len(found), secret)
			}
			if !allowed && len(found) > 0 {
				t.Errorf("%d core dumps were written: %v", len(found), found)
			}
			log := a.Log()
			if !strings.Contains(log, "SIGABRT") {
				t.Error("the log holds no text of a crash")
			}
			if at := strings.Index(log, "canary"); at >= 0 {
				t.Errorf("the text of a crash: %q", log[max(0, at-200):min(len(log), at+60)])
			}
			a.Start() // on what the crashed one left
			a.allReady()
			if code := a.Stop(); code != fleet.ExitOK {
				t.Errorf("stopped with %d", code)
			}
		})
	}
}
