//go:build image

package imagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/e2e"
	"sluice/supervisor/fleet"
)

// onlyFull tells that a test has no short form.
func onlyFull(t *testing.T) bool {
	if !Full() {
		t.Log("the short form is TestVMBoot; ARGS=-full runs this")
	}
	return Full()
}

// TestVMReset boots by UEFI, starts the machine anew, and pulls its reset line
// under load.
func TestVMReset(t *testing.T) {
	if !onlyFull(t) {
		return
	}
	m := bootGuest(t, guestOptions{UEFI: true, CPUs: 2, Config: vmConfig(Provider(t), "general_settings:\n  journal_sync: always\n")})
	m.answered()
	if got := m.ssh("test -d /sys/firmware/efi && echo uefi"); got != "uefi" {
		t.Errorf("started by %q", got)
	}
	m.sub("reset", func(t *testing.T) { vmReset(t, m) })
	m.sub("reset unsynced", func(t *testing.T) { vmResetUnsynced(t, m) })
	m.sub("reboot", func(t *testing.T) { vmReboot(t, m) })
	m.press()
	m.off(10 * time.Minute)
}

// TestVMUpgrade upgrades the gateway in the machine, with releases good and bad.
func TestVMUpgrade(t *testing.T) {
	if !onlyFull(t) {
		return
	}
	m := bootGuest(t, guestOptions{
		CPUs:    2,
		Config:  vmConfig(Provider(t), ""),
		Environ: map[string]string{"SLUICE_RECYCLE_FLOOR": "0s", "SLUICE_TEST_BAD": "none"},
		// Emulated, everything takes ten times as long.
		DropIn: "[Service]\nTimeoutStartSec=600\nWatchdogSec=300\n",
	})
	m.answered()
	m.sub("steps", func(t *testing.T) { vmUpgrade(t, m) })
	m.press()
	m.off(10 * time.Minute)
}

// TestVMOnBoard builds an image with PostgreSQL and Redis on it and boots that:
// the gateway uses both, over the loopback, with a password that was made there.
func TestVMOnBoard(t *testing.T) {
	if !onlyFull(t) {
		return
	}
	image := filepath.Join(RunDir(), "board", "sluice.qcow2")
	Command{
		Args: []string{filepath.Join(Root(t), "image/vm/build")}, Dir: Root(t), Within: 20 * time.Minute, Outside: true,
		Env: []string{"VM_OUT=" + image, "VM_POSTGRES=1", "VM_REDIS=1"},
	}.Run(t)
	m := bootGuest(t, guestOptions{CPUs: 2, Image: image, Config: vmConfig(Provider(t), "")})
	m.answered()
	m.sub("both", func(t *testing.T) { vmOnBoard(t, m) })
	m.press()
	m.off(10 * time.Minute)
}

// vmOnBoard looks at a gateway that has PostgreSQL and Redis beside it.
func vmOnBoard(t *testing.T, m *guest) {
	// Emulated, the first looks at both may take too long to count.
	Wait(t, "PostgreSQL and Redis", 5*time.Minute, func() error {
		facts := m.facts(`
sleep 5
echo "rows=$(setpriv --reuid=postgres --regid=postgres --init-groups psql -At -d sluice -c 'SELECT count(*) FROM sluice.spend')"
echo "health=$(curl -s http://127.0.0.1:4001/health/readiness)"
`)
		if !strings.Contains(facts["health"], `"database":"connected","redis":"connected"`) || facts["rows"] == "0" || facts["rows"] == "" {
			return fmt.Errorf("readiness %s, %q rows of spend", facts["health"], facts["rows"])
		}
		return nil
	})
	facts := m.facts(`
echo "secret=$(stat -c %a:%U /etc/sluice/credentials/database_url)"
echo "migrated=$(journalctl -u sluice -o cat | grep -c 'migrating .*PostgreSQL')"
echo "redis=$(redis-cli client list | grep -v cmd=client | grep -q addr= && echo used)"
echo "listening=$(ss -Hltn | awk '{print $4}' | grep -v -e '^127\.' -e '^\[::1\]' | sed 's/.*://' | sort -nu | xargs)"
`)
	for name, value := range map[string]string{"secret": "600:root", "migrated": "1", "redis": "used", "listening": "22 4000 4001"} {
		if facts[name] != value {
			t.Errorf("%s is %q, not %q", name, facts[name], value)
		}
	}
}

// TestVMCloudInit builds an image on which cloud-init reads the seed, and boots
// that: files, keys, name and commands of the seed count, and what it does not
// give is made.
func TestVMCloudInit(t *testing.T) {
	if !onlyFull(t) {
		return
	}
	image := filepath.Join(RunDir(), "cloud", "sluice.qcow2")
	Command{
		Args: []string{filepath.Join(Root(t), "image/vm/build")}, Dir: Root(t), Within: 20 * time.Minute, Outside: true,
		Env: []string{"VM_OUT=" + image, "VM_CLOUD_INIT=1"},
	}.Run(t)
	m := bootGuest(t, guestOptions{
		CPUs: 2, Image: image, Cloud: true, Config: vmConfig(Provider(t), ""), DropIn: "[Service]\nMemoryMax=1G\n",
	})
	m.answered()
	facts := m.facts(`
echo "cloud=$(cloud-init status --wait --long | tr '\n' ' ')"
echo "hostname=$(hostname)"
echo "secrets=$(stat -c %n:%a:%U /etc/sluice/credentials/* | xargs -n1 basename | xargs)"
echo "memory_max=$(cat /sys/fs/cgroup/system.slice/sluice.service/memory.max)"
echo "commanded=$(test -e /run/commanded && echo yes)"
echo "users=$(awk -F: '$3 >= 1000 && $3 < 60000 {print $1}' /etc/passwd | xargs)"
echo "passwords=$(awk -F: '$2 !~ /^[*!]/ {print $1}' /etc/shadow | xargs)"
echo "sshd=$(sshd -T | grep -E '^(authenticationmethods|permitrootlogin) ' | sort | xargs)"
echo "listening=$(ss -Hltn | awk '{print $4}' | grep -v -e '^127\.' -e '^\[::1\]' | sed 's/.*://' | sort -nu | xargs)"
echo "failed=$(systemctl --failed --no-legend --plain | awk '{print $1}' | xargs)"
echo "root_mb=$(df -BM --output=size / | tail -n1 | tr -dc 0-9)"
`)
	for name, value := range map[string]string{
		"hostname": "vm-under-test", "secrets": "litellm_master_key:600:root litellm_salt_key:600:root", "memory_max": strconv.Itoa(1 << 30),
		"commanded": "yes", "users": "", "passwords": "", "listening": "22 4000 4001", "failed": "",
		"sshd": "authenticationmethods publickey permitrootlogin without-password",
	} {
		if facts[name] != value {
			t.Errorf("%s is %q, not %q", name, facts[name], value)
		}
	}
	if !strings.Contains(facts["cloud"], "status: done") || !strings.Contains(facts["cloud"], "DataSourceNoCloud") {
		t.Errorf("cloud-init says %s", facts["cloud"])
	}
	t.Logf("power-on to readiness %v; cloud-init says %s", m.ready.Round(time.Second), facts["cloud"])
	if mb, _ := strconv.Atoi(facts["root_mb"]); mb < 7000 {
		t.Errorf("the root file system has %d MB: it did not grow to the disk of 8 GB", mb)
	}
	m.press()
	m.off(10 * time.Minute)
}

// readyAgain waits for a machine that restarts.
func (m *guest) readyAgain(t *testing.T) {
	t.Helper()
	Wait(t, "readiness after a start", 10*time.Minute, m.readiness)
	m.answered()
}

// bootID is another one after each boot.
func (m *guest) bootID() string { return m.ssh("cat /proc/sys/kernel/random/boot_id") }

// vmReboot restarts the machine: secrets, host key and names stay.
func vmReboot(t *testing.T, m *guest) {
	const same = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /etc/sluice/credentials/* /var/lib/sluice/host_id | sha256sum"
	before, boot := m.ssh(same), m.bootID()
	m.ssh("hostnamectl hostname renamed; systemctl --no-block reboot")
	Wait(t, "another boot", 10*time.Minute, func() error {
		if r := m.trySSH("cat /proc/sys/kernel/random/boot_id"); r.Code != 0 || strings.TrimSpace(r.Stdout) == boot {
			return fmt.Errorf("exit %d: %s", r.Code, r.Output())
		}
		return nil
	})
	m.readyAgain(t)
	if after := m.ssh(same); after != before {
		t.Error("the machine is another one after a reboot")
	}
	if name := m.ssh("hostname"); name != "renamed" {
		t.Errorf("host name %q: the seed was applied again", name)
	}
}

// acknowledged is a load whose answered calls are known by their ids.
type acknowledged struct {
	m      *guest
	prefix string
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu     sync.Mutex
	ids    []string // guarded by mu
	failed int      // guarded by mu
}

// acknowledge makes calls on eight connections until stop.
func acknowledge(m *guest, prefix string) *acknowledged {
	ctx, cancel := context.WithCancel(context.Background())
	a := &acknowledged{m: m, prefix: prefix, cancel: cancel}
	for w := range 8 {
		a.wait.Go(func() { // ends with the context
			for i := 0; ctx.Err() == nil; i++ {
				a.call(ctx, fmt.Sprintf("%s-%d-%d", prefix, w, i))
			}
		})
	}
	return a
}

func (a *acknowledged) call(ctx context.Context, id string) {
	resp, err := a.m.chat(ctx, "whole", id, false)
	ok := err == nil
	if ok {
		_, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		ok = err == nil && resp.StatusCode == http.StatusOK
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok {
		a.ids = append(a.ids, id)
	} else {
		a.failed++
	}
}

func (a *acknowledged) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

// stop ends the calls; ids and failed stand still afterwards.
func (a *acknowledged) stop() {
	a.cancel()
	a.wait.Wait()
}

// resets is how often the line is pulled.
const resets = 3

// vmReset pulls the reset line under load. With journal_sync: always, what was
// answered is on the disk: once the ledger has shipped it, each answered call is
// one row.
func vmReset(t *testing.T, m *guest) {
	for round := range resets {
		load := m.resetUnderLoad(t, fmt.Sprintf("reset%d", round))
		Wait(t, "the ledger", 3*time.Minute, func() error {
			if lost := m.lost(t, load); lost != nil {
				return fmt.Errorf("%d of %d answered calls have no row: %.5v", len(lost), len(load.ids), lost)
			}
			return nil
		})
		t.Logf("reset %d: %d answered calls, each one row; %d in flight failed", round+1, len(load.ids), load.failed)
	}
}

// vmResetUnsynced is the known-bad form of vmReset: without a sync, the records
// that only the page cache had are gone, and the same look finds them missing.
func vmResetUnsynced(t *testing.T, m *guest) {
	m.ssh("sed -i 's/journal_sync: always/journal_sync: none/' /etc/sluice/config.yaml && systemctl restart sluice")
	m.readyAgain(t)
	for round := range resets {
		load := m.resetUnderLoad(t, fmt.Sprintf("unsynced%d", round))
		after := acknowledge(m, fmt.Sprintf("after%d", round))
		Wait(t, "an answer after the reset", 3*time.Minute, func() error {
			if after.count() == 0 {
				return errors.New("none")
			}
			return nil
		})
		after.stop()
		Wait(t, "the ledger", 3*time.Minute, func() error { return m.shipped(t, after.ids[0]) })
		if lost := m.lost(t, load); lost != nil {
			t.Logf("known bad, reset %d: %d of %d answered calls lost", round+1, len(lost), len(load.ids))
			return
		}
	}
	t.Errorf("journal_sync: none lost nothing in %d resets: this test would not see a loss", resets)
}

// resetUnderLoad pulls the reset line while calls are answered, and waits until
// the machine serves again.
func (m *guest) resetUnderLoad(t *testing.T, prefix string) *acknowledged {
	t.Helper()
	load := acknowledge(m, prefix)
	Wait(t, "answers", 5*time.Minute, func() error {
		if n := load.count(); n < 60 {
			return fmt.Errorf("%d answers", n)
		}
		return nil
	})
	m.monitor("system_reset")
	load.stop()
	m.readyAgain(t)
	return load
}

// lost are the answered calls of a load that have no row of spend. No call may
// have two.
func (m *guest) lost(t *testing.T, load *acknowledged) []string {
	t.Helper()
	rows := m.spendRows(load.prefix)
	var missing []string
	for _, id := range load.ids {
		switch rows[id] {
		case 0:
			missing = append(missing, id)
		case 1:
		default:
			t.Fatalf("%s has %d rows", id, rows[id])
		}
	}
	return missing
}

// shipped tells whether nothing that the journals hold waits for the database:
// a call made after the start has its row, and no attempt is older than it.
func (m *guest) shipped(t *testing.T, marker string) error {
	t.Helper()
	if m.spendRows(marker)[marker] == 0 {
		return fmt.Errorf("%s has no row", marker)
	}
	if behind := m.ssh("curl -s http://127.0.0.1:4001/metrics | grep ^sluice_ledger_lag_seconds | grep -v ' 0$' || true"); behind != "" {
		return errors.New(behind)
	}
	return nil
}

// spendRows counts the rows of spend by the caller's ids.
func (m *guest) spendRows(prefix string) map[string]int {
	m.t.Helper()
	from, to := time.Now().Add(-48*time.Hour).UTC().Format(time.DateOnly), time.Now().Add(48*time.Hour).UTC().Format(time.DateOnly)
	text := m.ssh(fmt.Sprintf("cd /var/lib/sluice; SLUICE_STATE_DIR=/var/lib/sluice setpriv --reuid=sluice --regid=sluice --clear-groups "+
		"/usr/lib/sluice/current/migrator spend export --from %s --to %s --format jsonl | grep -F '%s' || true", from, to, prefix))
	rows := map[string]int{}
	for line := range strings.Lines(text) {
		var row struct {
			CallID string `json:"call_id"`
			Status string `json:"status"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			m.t.Fatalf("row %q: %v", line, err)
		}
		rows[row.CallID]++
	}
	return rows
}

// vmUpgrade upgrades under load, to good releases and to bad ones, and back to
// an older one: no request fails.
func vmUpgrade(t *testing.T, m *guest) {
	one, two := buildPackage(t, packageSpec{version: "1.0.0"}), buildPackage(t, packageSpec{version: "1.1.0"})
	// A version each: apt passes over one that it has, and the status of the step before would do.
	var bad [3]string
	for i := range bad {
		bad[i] = buildPackage(t, packageSpec{version: fmt.Sprintf("1.2.%d", i), tags: "sluicebad"})
	}
	for _, deb := range append([]string{one, two}, bad[:]...) {
		m.copyIn(filepath.Join(packagesDir(), deb), "/var/tmp/"+deb)
	}
	m.ssh("mkdir -p /etc/systemd/system/sluice-upgrade.service.d; printf '[Service]\nExecStart=\nExecStart=/usr/lib/sluice/proven/supervisor upgrade --watch 60s --ready 240s\n' " +
		">/etc/systemd/system/sluice-upgrade.service.d/test.conf; systemctl daemon-reload")
	steps := []struct{ name, deb, bad, state, says, runs string }{
		{"upgrade", one, "", fleet.UpgradeProven, "", "1.0.0"},
		{"upgrade again", two, "", fleet.UpgradeProven, "", "1.1.0"},
		{"does not start", bad[0], "no-start", fleet.UpgradeRolledBack, "died", "1.1.0"},
		{"never ready", bad[1], "never-ready", fleet.UpgradeRolledBack, "not ready|died", "1.1.0"}, // or ended for it, which may come first
		{"dies after 30 s", bad[2], "dies", fleet.UpgradeRolledBack, "died", "1.1.0"},
		{"downgrade", one, "", fleet.UpgradeProven, "", "1.0.0"},
	}
	for _, s := range steps {
		if s.bad != "" {
			m.ssh("sed -i '/SLUICE_TEST_BAD/d' /etc/sluice/environment; echo SLUICE_TEST_BAD=" + s.bad + " >>/etc/sluice/environment; systemctl restart sluice")
			m.readyAgain(t)
		}
		pid := m.ssh("systemctl show sluice -P MainPID")
		l := e2e.StartLoad(t, loadgen.Spec{
			Addr: m.addr(), Key: vmKey, Model: "whole", Duration: 30 * time.Minute, Timeout: 5 * time.Minute,
			Classes: []loadgen.Class{{Name: "new", Fresh: true, Rate: 2}, {Name: "kept", Conns: 4, Think: time.Second}, {Name: "stream", Conns: 2, Stream: true, Model: "stream"}},
		})
		m.ssh("DEBIAN_FRONTEND=noninteractive apt-get install -y -q --allow-downgrades /var/tmp/" + s.deb)
		if doc := m.awaitUpgrade(t, s.state, versionOf(s.deb)); !regexp.MustCompile(s.says).MatchString(doc.Reason) {
			t.Errorf("%s: the reason is %q, want %q", s.name, doc.Reason, s.says)
		}
		r := l.Stop()
		t.Logf("%s: %d requests", s.name, r.Sent())
		e2e.NoneFailed(t, r)
		if runs := m.ssh("readlink /usr/lib/sluice/current"); runs != s.runs {
			t.Errorf("%s: %s runs, not %s", s.name, runs, s.runs)
		}
		// A release that dies takes its process with it; all others keep the first one.
		if now := m.ssh("systemctl show sluice -P MainPID"); s.bad == "" && now != pid {
			t.Errorf("%s: main process %s, was %s: restarted", s.name, now, pid)
		}
	}
}

// awaitUpgrade waits until the last upgrade has ended, which must be as it should.
// It asks every ten seconds, from inside: a connection of ssh is seconds of an
// emulated processor, and asking again at once took one of the two from the
// release on trial.
func (m *guest) awaitUpgrade(t *testing.T, state, to string) *fleet.UpgradeStatus {
	t.Helper()
	var doc *fleet.UpgradeStatus
	Wait(t, "upgrade to "+to+" "+state, 12*time.Minute, func() error {
		r := m.trySSH("sleep 10; sluice status --json --state_dir /var/lib/sluice")
		var s fleet.Status
		if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
			return fmt.Errorf("status: %w: %s", err, r.Output())
		}
		doc = s.Upgrade
		if doc != nil && doc.To == to && doc.State != state && doc.State != fleet.UpgradeTrial {
			t.Fatalf("the upgrade to %s is %s, not %s: %s", to, doc.State, state, doc.Reason)
		}
		if s.State != "ready" || doc == nil || doc.State != state || doc.To != to {
			return fmt.Errorf("%s, upgrade is %v", s.State, doc)
		}
		return nil
	})
	return doc
}
