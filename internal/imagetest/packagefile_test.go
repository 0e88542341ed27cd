//go:build image

package imagetest

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/internal/e2e"
	"sluice/supervisor/fleet"
)

// TestPackageFiles: Debian's own checks find no error in the package, and the
// same sources give the same bytes twice.
func TestPackageFiles(t *testing.T) {
	build := func(out string) {
		Command{
			Args: []string{"systemd/build"}, Dir: Root(t), Within: 10 * time.Minute,
			Env: []string{
				"VERSION=1.0.0", "PACKAGE_ARCHES=" + runtime.GOARCH, "PACKAGE_OUT=" + out, "PACKAGE_TAGS=",
				"SOURCE_DATE_EPOCH=1767225600", // by itself it is the time of the last commit
			},
		}.Run(t)
	}
	one, two := filepath.Join(RunDir(), "files1"), filepath.Join(RunDir(), "files2")
	build(one)
	build(two)
	files, err := os.ReadDir(one)
	if err != nil || len(files) != 2 {
		t.Fatalf("built %v, %v; want a .deb and an .rpm", files, err)
	}
	for _, f := range files {
		first, err := os.ReadFile(filepath.Join(one, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(two, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MB", f.Name(), float64(len(first))/1e6)
		if !bytes.Equal(first, second) {
			t.Errorf("%s has other bytes the second time", f.Name())
		}
		if filepath.Ext(f.Name()) == ".deb" {
			out := Run(t, "lintian", "--fail-on", "error", "--allow-root", filepath.Join(one, f.Name()))
			t.Logf("lintian finds no error\n%s", out)
		}
	}
}

// TestPackageRPM: the .rpm installs without starting anything, serves, upgrades
// under load and goes, and leaves the state. The machine is a Debian, so nobody
// looks at what the package depends on.
func TestPackageRPM(t *testing.T) {
	one, two := buildPackage(t, packageSpec{version: "1.0.0", format: "rpm"}), buildPackage(t, packageSpec{version: "1.1.0", format: "rpm"})
	g := prepare(t, "")
	g.sh("rpm -i --nodeps /p/" + one)
	if got := g.try("systemctl is-active sluice").Output(); got != "inactive" {
		t.Errorf("after the installation the service is %s", got)
	}
	if got := g.sh("stat -c %U:%G:%a /etc/sluice/config.yaml"); got != "root:sluice:640" {
		t.Errorf("the configuration is %s", got)
	}
	g.sh("systemctl enable --now sluice")
	g.awaitVersion("1.0.0")
	l := g.load(600)
	g.sh("rpm -U --nodeps /p/" + two)
	g.awaitVersion("1.1.0")
	g.awaitUpgrade(fleet.UpgradeProven, "1.1.0")
	e2e.NoneFailed(t, l.Stop())

	if out := g.sh("rpm -e sluice 2>&1"); strings.Contains(out, "failed") {
		t.Errorf("the removal says %s", out)
	}
	if left := g.try("pgrep -u sluice -a"); left.Output() != "" {
		t.Errorf("after the removal there run: %s", left.Output())
	}
	if got := g.try("test -e /var/lib/sluice/host_id -a -e /etc/sluice/credentials/litellm_master_key -a ! -e /usr/lib/sluice/current"); got.Code != 0 {
		t.Errorf("the removal left %s", g.try("find /var/lib/sluice /etc/sluice /usr/lib/sluice").Output())
	}
}
