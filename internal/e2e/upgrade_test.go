//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// replace puts one program in place of another by rename, as a package manager
// does it.
func replace(t *testing.T, program, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, program))
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(to, "."+program+".new")
	if err := os.WriteFile(next, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(to, program)); err != nil {
		t.Fatal(err)
	}
}

// USR2 after each of the four programs was replaced: the supervisor keeps its
// process number, the new versions run, and no request fails.
func TestUpgrade(t *testing.T) {
	const version = "e2e-next"
	p := Provider(t)
	bin, next := t.TempDir(), BuildVersion(t, version)
	CopyBinaries(t, Binaries(t, Plain), bin)
	a := boot(t, Options{Bin: bin, Config: faultConfig(p)})
	pid := a.PID()
	load := StartLoad(t, a.faultMix(5*time.Minute))
	for _, program := range []string{"proxy", "healthd", "migrator", "supervisor"} {
		time.Sleep(time.Second)
		before := a.MustStatus()
		runs := strings.Count(a.Log(), "migrating program=migrator version="+version)
		replace(t, program, next, bin)
		began := time.Now()
		a.Signal(syscall.SIGUSR2)
		s := a.WaitStatus(30*time.Second, "upgraded", func(s fleet.Status) bool {
			return renewed(s, before) && s.Healthd.PID != before.Healthd.PID && s.Migrator == "done"
		})
		t.Logf("show 2: USR2 with a new %s took %v", program, time.Since(began))
		if s.PID != pid || !a.Running() {
			t.Fatalf("the supervisor is process %d, was %d", s.PID, pid)
		}
		told := map[string]string{"supervisor": s.Version, "healthd": s.Healthd.Version, "proxy": version}
		for _, slot := range s.Slots {
			if v := slot.Generations[0].Version; v != version {
				told["proxy"] = v
			}
		}
		if program == "migrator" {
			if strings.Count(a.Log(), "migrating program=migrator version="+version) == runs {
				t.Error("the new migrator did not run")
			}
		} else if told[program] != version {
			t.Errorf("after the upgrade of %s the status tells version %q", program, told[program])
		}
	}
	a.NonBlocking("after upgrades")
	r := load.Stop()
	t.Logf("show 2: 4 upgrades: %d of %d requests failed", r.Failed(), r.Sent())
	NoneFailed(t, r)
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("exit %d", code)
	}
	a.NoneLeft(time.Second)
}

// A supervisor binary that cannot run is told of and changes nothing.
func TestUpgradeToBrokenBinary(t *testing.T) {
	bin := t.TempDir()
	CopyBinaries(t, Binaries(t, Plain), bin)
	a := boot(t, Options{Bin: bin})
	good := filepath.Join(bin, "supervisor.good")
	if err := os.Rename(filepath.Join(bin, "supervisor"), good); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "supervisor"), []byte("not a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.Signal(syscall.SIGUSR2)
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(a.Log(), "going on with the old one") {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is said of the broken binary\n%s", a.Tail(20))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := os.Rename(good, filepath.Join(bin, "supervisor")); err != nil {
		t.Fatal(err)
	}
	if s := a.MustStatus(); s.State != "ready" || s.PID != a.PID() {
		t.Errorf("after a broken upgrade: %+v", s)
	}
}
