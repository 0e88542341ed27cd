package boot

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/internal/env"
)

// again runs a test of this package anew as a process of its own, with more
// arguments and one more variable, and returns what it printed.
func again(t *testing.T, test, variable string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-test.run=^" + test + "$", "--"}, args...)...)
	cmd.Env = append(os.Environ(), "BOOT_TEST_CHILD=1", variable)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func isChild() bool { return os.Getenv("BOOT_TEST_CHILD") != "" }

// TestSeclude: neither a core nor a look into the process, unless that is
// allowed.
func TestSeclude(t *testing.T) {
	if isChild() {
		if err := seclude(env.Process()); err != nil {
			t.Fatal(err)
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var core unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
			t.Fatal(err)
		}
		t.Logf("dumpable %d core %d", dumpable, core.Max)
		return
	}
	for variable, want := range map[string]string{
		"UNSET=1": "dumpable 0 core 0", allowDumps + "=false": "dumpable 0 core 0", allowDumps + "=true": "dumpable 1",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSeclude$", "-test.v")
		cmd.Env = append(os.Environ(), "BOOT_TEST_CHILD=1", variable)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v; want %q in:\n%s", variable, err, want, out)
		}
	}
	if err := seclude(env.Parse([]byte(allowDumps + "=maybe"))); err == nil || !strings.Contains(err.Error(), allowDumps) {
		t.Errorf("a value that is none: %v", err)
	}
}
