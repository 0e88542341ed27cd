//go:build image

package imagetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/e2e"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

const packageKey = "sk-of-the-package-tests-0123456789"

// gateway is a machine with the package on it.
type gateway struct {
	*machine
	provider *fakeprovider.Provider
}

// prepare boots a machine with the configuration of the tests.
func prepare(t *testing.T, environment string) *gateway {
	t.Helper()
	g := &gateway{startMachine(t, packagesDir()), Provider(t)}
	g.put("/etc/sluice/credentials/litellm_master_key", "0600", packageKey+"\n")
	g.put("/etc/sluice/credentials/openai_api_key", "0600", "sk-provider\n")
	g.put("/etc/sluice/environment", "0600", "SLUICE_PRESTOP_DELAY=1\nNUM_WORKERS=2\nSLUICE_RECYCLE_FLOOR=0\n"+environment)
	g.put("/etc/sluice/config.yaml", "0640", fmt.Sprintf(`model_list:
  - model_name: good
    litellm_params: {model: openai/gpt-4o-mini, api_base: %q, api_key: os.environ/OPENAI_API_KEY}
  - model_name: streams
    litellm_params: {model: openai/gpt-4o-mini, api_base: %q, api_key: os.environ/OPENAI_API_KEY}
`, ProviderURL(g.provider, Gateway, ""), ProviderURL(g.provider, Gateway, "stream,n=100,every=50ms")))
	g.put("/etc/systemd/system/sluice-upgrade.service.d/test.conf", "0644",
		"[Service]\nExecStart=\nExecStart=/usr/lib/sluice/proven/supervisor upgrade --watch 12s --ready 20s\n")
	return g
}

// install installs a package on a machine, whose service starts.
func install(t *testing.T, deb, environment string) *gateway {
	t.Helper()
	g := prepare(t, environment)
	g.sh("DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /p/" + deb)
	g.awaitVersion(versionOf(deb))
	return g
}

func versionOf(deb string) string { return strings.Split(deb, "_")[1] }

// status is what `sluice status` says.
func (g *gateway) status() (*fleet.Status, error) {
	r := g.try("sluice status --json")
	if r.Code != 0 {
		return nil, fmt.Errorf("status: %s", r.Output())
	}
	var s fleet.Status
	return &s, json.Unmarshal([]byte(r.Stdout), &s)
}

// awaitVersion waits until everything runs on a release.
func (g *gateway) awaitVersion(version string) *fleet.Status {
	g.t.Helper()
	var status *fleet.Status
	Wait(g.t, "release "+version, 90*time.Second, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		status = s
		if s.State != "ready" || s.Version != version || s.Healthd.Version != version {
			return fmt.Errorf("%s, supervisor %s, healthd %s", s.State, s.Version, s.Healthd.Version)
		}
		for _, slot := range s.Slots {
			if len(slot.Generations) == 0 || slot.Generations[0].Version != version || slot.Generations[0].State != "ready" {
				return fmt.Errorf("slot %d: %v", slot.Slot, slot.Generations)
			}
		}
		return nil
	})
	return status
}

// awaitUpgrade waits until the last upgrade has ended as it should.
func (g *gateway) awaitUpgrade(state, to string) *fleet.UpgradeStatus {
	g.t.Helper()
	var doc *fleet.UpgradeStatus
	Wait(g.t, "upgrade to "+to+" "+state, 150*time.Second, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		if doc = s.Upgrade; doc == nil || doc.State != state || doc.To != to {
			return fmt.Errorf("upgrade is %v", doc)
		}
		return nil
	})
	return doc
}

// load is ordinary traffic: short calls on new and on kept connections, and streams.
func (g *gateway) load(seconds int) *e2e.Load {
	g.t.Helper()
	return e2e.StartLoad(g.t, loadgen.Spec{
		Addr: net.JoinHostPort(g.IP(), "4000"), Key: packageKey, Model: "good", Duration: time.Duration(seconds) * time.Second,
		Classes: []loadgen.Class{
			{Name: "fresh", Fresh: true, Rate: 20},
			{Name: "kept", Conns: 8, Rate: 40},
			{Name: "streams", Conns: 4, Stream: true, Model: "streams"},
		},
	})
}

// TestPackageInstall: installed, it serves under its sandbox; stopped, nothing of
// it runs; removed, its state stays; purged, nothing stays.
func TestPackageInstall(t *testing.T) {
	deb := buildPackage(t, packageSpec{version: "1.0.0"})
	g := install(t, deb, "")
	mustPass(t, g.load(3))

	if out := g.try("systemd-analyze verify --man=no sluice.service sluice-upgrade.service"); out.Code != 0 || out.Output() != "" {
		t.Errorf("systemd-analyze verify: exit %d, %s", out.Code, out.Output())
	}
	if out := g.try("systemd-analyze security --threshold=12 sluice.service"); out.Code != 0 {
		t.Errorf("exposure above 1.2:\n%s", out.Output())
	}
	t.Log(g.sh("systemd-analyze security sluice.service | tail -n 1"))
	g.checkProcesses(t)
	g.checkDocs(t)

	g.sh("systemctl stop sluice")
	if left := g.sh("cat $(find /sys/fs/cgroup/systemd -path '*sluice.service/cgroup.procs') 2>/dev/null | wc -l"); left != "0" {
		t.Errorf("after the stop %s processes are in the control group", left)
	}
	if left := g.try("pgrep -u sluice -a"); left.Output() != "" {
		t.Errorf("after the stop there run: %s", left.Output())
	}
	if got := g.sh("systemctl show sluice -P Result"); got != "success" {
		t.Errorf("result of the stop: %s", got)
	}
	g.sh("systemctl start sluice")
	g.awaitVersion("1.0.0")

	g.sh("dpkg -r sluice")
	if left := g.try("pgrep -u sluice -a"); left.Output() != "" {
		t.Errorf("after the removal there run: %s", left.Output())
	}
	for _, path := range []string{"/var/lib/sluice/host_id", "/etc/sluice/config.yaml", "/etc/sluice/credentials/litellm_master_key"} {
		if g.try("test -e "+path).Code != 0 {
			t.Errorf("the removal took %s", path)
		}
	}
	if out := g.try("ls -A /usr/lib/sluice").Output(); !strings.Contains(out, "No such file") && out != "" {
		t.Errorf("the removal left in /usr/lib/sluice: %s", out)
	}
	g.sh("dpkg -P sluice")
	left := g.sh("find / -xdev -name '*sluice*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/p/*' -not -path '/tmp/*' -not -path '/etc/systemd/system/sluice-upgrade.service.d*'; getent passwd sluice; getent group sluice; true")
	if left != "" {
		t.Errorf("the purge left: %s", left)
	}
}

// checkProcesses looks at what the sandbox must not have taken away.
func (g *gateway) checkProcesses(t *testing.T) {
	t.Helper()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	stat := func(pid int) (nice, score string) {
		return g.sh(fmt.Sprintf("awk '{print $19}' /proc/%d/stat", pid)), g.sh(fmt.Sprintf("cat /proc/%d/oom_score_adj", pid))
	}
	own, _ := stat(s.PID) // that of the machine's systemd, which has that of whoever runs the tests
	if nice, score := stat(s.Healthd.PID); nice != own || score != "0" {
		t.Errorf("healthd has nice %s and score %s", nice, score)
	}
	base, err := strconv.Atoi(own)
	if err != nil {
		t.Fatal(err)
	}
	behind := strconv.Itoa(min(base+5, 19))
	for _, slot := range s.Slots {
		if nice, score := stat(slot.Generations[0].PID); nice != behind || score != "500" {
			t.Errorf("a worker has nice %s and score %s: it must stand behind healthd and die before it", nice, score)
		}
	}
	for name, want := range map[string]string{"CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := g.sh(fmt.Sprintf("awk '/^%s:/ {print $2}' /proc/%d/status", name, s.PID)); got != want {
			t.Errorf("%s of the supervisor is %s", name, got)
		}
	}
	if out := g.sh("ps -eo args; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; journalctl --no-pager -u sluice"); strings.Contains(out, packageKey) {
		t.Error("the master key is shown by processes or log")
	}
}

// mustPass waits for a load of which nothing may fail.
func mustPass(t *testing.T, l *e2e.Load) *loadgen.Report {
	t.Helper()
	r := l.Wait()
	e2e.NoneFailed(t, r)
	return r
}

// TestPackageUpgrade: under load, an upgrade, a killed supervisor and an upgrade
// back fail no request.
func TestPackageUpgrade(t *testing.T) {
	one, two := buildPackage(t, packageSpec{version: "1.0.0"}), buildPackage(t, packageSpec{version: "1.1.0"})
	g := install(t, one, "")
	pid := g.sh("systemctl show sluice -P MainPID")
	l := g.load(Length(45, 240))
	g.sh("dpkg --force-confold -i /p/" + two)
	g.awaitVersion("1.1.0")
	if got := g.sh("readlink /usr/lib/sluice/proven /usr/lib/sluice/current | tr '\\n' ' '"); got != "1.0.0 1.1.0" {
		t.Errorf("while the upgrade is on trial proven and current are %s", got)
	}
	g.awaitUpgrade(fleet.UpgradeProven, "1.1.0")
	if got := g.sh("ls /usr/lib/sluice | tr '\\n' ' '"); strings.Contains(got, "1.0.0") {
		t.Errorf("the release before is kept for ever: %s", got)
	}
	if now := g.sh("systemctl show sluice -P MainPID"); now != pid {
		t.Errorf("main process was %s and is %s: restarted", pid, now)
	}
	g.sh("kill -9 " + pid)
	Wait(t, "another supervisor", 20*time.Second, func() error {
		if now := g.sh("systemctl show sluice -P MainPID"); now == pid || now == "0" {
			return fmt.Errorf("main process %s", now)
		}
		return nil
	})
	g.awaitVersion("1.1.0")
	g.sh("dpkg --force-confold --force-downgrade -i /p/" + one) // a downgrade is an upgrade
	g.awaitVersion("1.0.0")
	mustPass(t, l)
}

// TestPackageRestart: a restart lets streams end, and what was left of a killed
// supervisor ends with a stop.
func TestPackageRestart(t *testing.T) {
	g := install(t, buildPackage(t, packageSpec{version: "1.0.0"}), "SLUICE_ORPHAN_DRAIN=10s\n")
	l := e2e.StartLoad(t, loadgen.Spec{
		Addr: net.JoinHostPort(g.IP(), "4000"), Key: packageKey, Model: "streams", Duration: 500 * time.Millisecond, Timeout: 2 * time.Minute,
		Classes: []loadgen.Class{{Name: "streams", Conns: 200, Stream: true}},
	})
	Wait(t, "200 streams", 30*time.Second, func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		n := int64(0)
		for _, slot := range s.Slots {
			for _, gen := range slot.Generations {
				n += gen.Streams
			}
		}
		if n < 200 {
			return fmt.Errorf("%d streams", n)
		}
		return nil
	})
	g.sh("systemctl restart sluice")
	r := mustPass(t, l)
	if r.Sent() < 200 {
		t.Errorf("%d streams were sent", r.Sent())
	}
	g.awaitVersion("1.0.0")

	// Orphans of a killed supervisor are taken over, and a stop ends them too.
	g.sh("kill -9 $(systemctl show sluice -P MainPID)")
	g.sh("systemctl stop sluice")
	Wait(t, "end of the orphans", 30*time.Second, func() error {
		if left := g.try("pgrep -u sluice -a").Output(); left != "" {
			return fmt.Errorf("after kill and stop there run: %s", left)
		}
		return nil
	})
}

// TestPackageBrokenUpgrade: a release that cannot be executed, does not start,
// never gets ready or dies after half a minute is left for the one before it,
// and no request fails.
func TestPackageBrokenUpgrade(t *testing.T) {
	one := buildPackage(t, packageSpec{version: "1.0.0"})
	broken := buildPackage(t, packageSpec{version: "1.2.0", tags: "sluicebad"})
	type kind struct{ name, bad, deb, state, says string }
	kinds := []kind{
		{"cannot be executed", "", tear(t, broken), fleet.UpgradeRefused, "proxy"},
		{"does not start", "no-start", broken, fleet.UpgradeRolledBack, "died"},
	}
	if Full() {
		kinds = append(kinds,
			kind{"never ready", "never-ready", broken, fleet.UpgradeRolledBack, "not ready"},
			kind{"dies", "dies", broken, fleet.UpgradeRolledBack, "died"})
	}
	for _, c := range kinds {
		t.Run(c.name, func(t *testing.T) {
			g := install(t, one, "SLUICE_TEST_BAD="+c.bad+"\n")
			g.sh("sed -i 's/--watch 12s/--watch 90s/' /etc/systemd/system/sluice-upgrade.service.d/test.conf")
			l := g.load(600)
			g.sh("dpkg --force-confold -i /p/" + c.deb)
			doc := g.awaitUpgrade(c.state, versionOf(c.deb))
			if !strings.Contains(doc.Reason, c.says) {
				t.Errorf("reason %q, want %q", doc.Reason, c.says)
			}
			g.awaitVersion("1.0.0")
			Wait(t, "end of the watch", time.Minute, func() error {
				if s := g.sh("systemctl show sluice-upgrade -P ActiveState"); s != "failed" {
					return fmt.Errorf("sluice-upgrade is %s", s)
				}
				return nil
			})
			r := l.Stop()
			e2e.NoneFailed(t, r)
			// Workers of before serve on: nobody waits for what never comes.
			if slowest := time.Duration(r.Class("kept").Latency().Max) * time.Microsecond; slowest > 5*time.Second {
				t.Errorf("a request took %v", slowest)
			}
			if out := g.sh("journalctl --no-pager -u sluice-upgrade"); !strings.Contains(out, "upgrade refused") && !strings.Contains(out, "upgrade rolled back") {
				t.Errorf("the log does not say so:\n%s", out)
			}
			if out := g.sh("sluice status; sluice upgrade status"); strings.Count(out, doc.State) != 2 {
				t.Errorf("status does not say so:\n%s", out)
			}
		})
	}
}

// tear makes a package whose proxy is cut short.
func tear(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "torn")
	Run(t, "dpkg-deb", "-R", filepath.Join(packagesDir(), deb), dir)
	for name, edit := range map[string]func([]byte) []byte{
		"usr/lib/sluice/package/proxy":   func(b []byte) []byte { return b[:1000] },
		"usr/lib/sluice/package/version": func([]byte) []byte { return []byte("1.3.0\n") },
		"DEBIAN/control":                 func(b []byte) []byte { return bytes.Replace(b, []byte("1.2.0"), []byte("1.3.0"), 1) },
	} {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, edit(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := strings.Replace(deb, "1.2.0", "1.3.0", 1)
	Run(t, "dpkg-deb", "-Zgzip", "--root-owner-group", "-b", dir, filepath.Join(packagesDir(), name))
	return name
}
