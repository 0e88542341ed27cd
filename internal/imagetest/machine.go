//go:build image

package imagetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// systemdPackages are what a small server has, and what the tests look with.
const systemdPackages = "systemd,systemd-sysv,dbus,curl,procps,iproute2,passwd,rpm"

var systemdImage struct {
	once sync.Once
	err  error
}

// systemdRoot makes the image of a small Debian with systemd, sd:local, once a
// run; what it is made from stays in .run/imagetest for later ones.
func systemdRoot(t testing.TB) string {
	t.Helper()
	const name = "sd:local"
	systemdImage.once.Do(func() {
		cache := filepath.Join(Root(t), ".run", "imagetest")
		tar := filepath.Join(cache, "systemd.tar")
		if _, err := os.Stat(tar); err != nil {
			if systemdImage.err = os.MkdirAll(cache, 0o755); systemdImage.err != nil {
				return
			}
			fresh := fmt.Sprintf("%s.%d", tar, time.Now().UnixNano())
			Command{
				Args:    []string{"mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include=" + systemdPackages, "bookworm", fresh},
				Outside: true, Within: 5 * time.Minute,
			}.Run(t)
			if systemdImage.err = os.Rename(fresh, tar); systemdImage.err != nil {
				return
			}
		}
		Docker(t, "import", tar, name)
	})
	if systemdImage.err != nil {
		t.Fatal(systemdImage.err)
	}
	return name
}

// machine is a container with systemd as its first process: a server to install
// packages on, without its own kernel and limits of memory.
type machine struct {
	*Container
}

// startMachine boots one. packages is a folder that it sees as /p.
func startMachine(t testing.TB, packages string) *machine {
	t.Helper()
	image := systemdRoot(t)
	m := &machine{StartContainer(t, "--stop-signal", "SIGRTMIN+3", "-e", "container=docker", "--cgroupns", "private", "--security-opt", "seccomp=unconfined",
		"--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE", "--cap-add", "DAC_READ_SEARCH",
		"--cap-add", "SYS_NICE", "--cap-add", "IPC_LOCK", "--tmpfs", "/run", "--tmpfs", "/tmp",
		"-v", "/sys/fs/cgroup/systemd:/sys/fs/cgroup/systemd:rw", "-v", packages+":/p:ro", image,
		// As on a machine: what systemd mounts for a service, as its credentials, gets there.
		"/bin/sh", "-c", "mount --make-rshared / && exec /sbin/init")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("journal:\n%s", tail(m.try("journalctl --no-pager -o short-monotonic -u sluice -u sluice-upgrade | tail -n 120").Output(), 16000))
		}
	})
	Wait(t, "systemd", time.Minute, func() error {
		out := m.try("systemctl is-system-running").Output()
		if !strings.Contains(out, "running") && !strings.Contains(out, "degraded") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	return m
}

// try runs a line of shell on the machine.
func (m *machine) try(line string) Result {
	m.t.Helper()
	return DockerCommand(m.t, "exec", m.ID, "/bin/sh", "-c", line).Try(m.t)
}

// sh runs a line of shell that must succeed and returns its standard output.
func (m *machine) sh(line string) string {
	m.t.Helper()
	r := m.try(line)
	if r.Code != 0 {
		m.t.Fatalf("%s: exit %d\n%s", line, r.Code, tail(r.Output(), 4000))
	}
	return strings.TrimSpace(r.Stdout)
}

// put writes a file on the machine.
func (m *machine) put(path, mode, text string) {
	m.t.Helper()
	c := DockerCommand(m.t, "exec", "-i", m.ID, "/bin/sh", "-c", fmt.Sprintf("mkdir -p %s && cat >%s && chmod %s %s", filepath.Dir(path), path, mode, path))
	c.Stdin = text
	c.Run(m.t)
}

// packageSpec is a package to build.
type packageSpec struct {
	version string
	tags    string // build tags
	format  string // "" is deb
}

// buildPackage builds a package of this machine's architecture into the folder
// packages of the run and returns the file's name in it.
func buildPackage(t testing.TB, s packageSpec) string {
	t.Helper()
	if s.format == "" {
		s.format = "deb"
	}
	name := fmt.Sprintf("sluice_%s_%s.deb", s.version, runtime.GOARCH)
	if s.format == "rpm" {
		name = fmt.Sprintf("sluice-%s-1.%s.rpm", s.version, map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH])
	}
	if _, err := os.Stat(filepath.Join(packagesDir(), name)); err == nil {
		return name
	}
	Command{
		Args: []string{"systemd/build"}, Dir: Root(t), Within: 10 * time.Minute,
		Env: []string{
			"VERSION=" + s.version, "PACKAGE_ARCHES=" + runtime.GOARCH, "PACKAGE_FORMATS=" + s.format,
			"PACKAGE_OUT=" + packagesDir(), "PACKAGE_TAGS=" + s.tags,
		},
	}.Run(t)
	return name
}

// packagesDir is where the packages of this run lie.
func packagesDir() string { return filepath.Join(RunDir(), "packages") }
