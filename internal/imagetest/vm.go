//go:build image

package imagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// vmHost is where the guest reaches the tests: QEMU's user network leads it to
// their loopback, and there is nothing else in their network.
const vmHost = "10.0.2.2"

// vmKey is the master key of a machine whose seed gives one.
const vmKey = "sk-vm-1234567890abcdef1234567890"

// guestOptions say what to boot.
type guestOptions struct {
	Config  string            // text of /etc/sluice/config.yaml
	Environ map[string]string // of the gateway
	DropIn  string            // of sluice.service
	UEFI    bool
	Cloud   bool   // cloud-init reads the seed
	CPUs    int    // 0 is 3: more than the limits of the tests, so that a limit shows
	Disk    string // "" is one that is thrown away
	Image   string // "" is dist/sluice.qcow2
}

// guest is a booted disk image. It is started by image/vm/run, the script of
// `make vm-run`, so that the tests stand on what operators use.
type guest struct {
	t      *testing.T // of the test, or of the subtest that runs
	cmd    *exec.Cmd
	done   chan struct{}
	err    error // of the script; read it when done is closed
	out    *sharedBuffer
	state  string // folder of the run
	key    string // private ssh key
	client *http.Client

	Port, Health, SSH int // on the loopback of the tests
	ready             time.Duration
}

// sharedBuffer is what a running program has said so far.
type sharedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write is part of io.Writer.
func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

var escapes = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|c)|\r`)

// String is the text without the terminal's colours.
func (b *sharedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return escapes.ReplaceAllString(b.buf.String(), "")
}

// bootGuest boots the disk image and waits until the gateway in it is ready.
// Emulated, and on a busy machine, that takes minutes.
func bootGuest(t *testing.T, o guestOptions) *guest {
	t.Helper()
	if o.Image == "" {
		o.Image = Dist(t, "sluice.qcow2")
	}
	if _, err := os.Stat(o.Image); err != nil {
		t.Fatalf("%v: make vm builds it", err)
	}
	state, err := os.MkdirTemp(RunDir(), "vm")
	if err != nil {
		t.Fatal(err)
	}
	m := &guest{
		t: t, done: make(chan struct{}), out: &sharedBuffer{}, state: state, key: filepath.Join(state, "key"),
		Port: FreePort(t), Health: FreePort(t), SSH: FreePort(t),
		// No connection stays: an idle one would hold up a power-off for its keep-alive time.
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute},
	}
	seed := filepath.Join(state, "own-seed")
	if err := os.MkdirAll(seed, 0o700); err != nil {
		t.Fatal(err)
	}
	Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", m.key)
	m.writeSeed(seed, o)
	if o.CPUs == 0 {
		o.CPUs = 3
	}
	env := []string{
		"VM_IMAGE=" + o.Image, "VM_STATE=" + state, "VM_SEED=" + seed, "VM_DISK=" + o.Disk,
		"VM_PORT=" + strconv.Itoa(m.Port), "VM_HEALTH_PORT=" + strconv.Itoa(m.Health), "VM_SSH_PORT=" + strconv.Itoa(m.SSH),
		"VM_CPUS=" + strconv.Itoa(o.CPUs), "VM_MEMORY=2048", "VM_CACHE=unsafe", "VM_READY_WITHIN=600", "VM_ACCEL=tcg",
	}
	if o.UEFI {
		env = append(env, "VM_UEFI=1")
	}
	m.cmd = exec.CommandContext(context.Background(), filepath.Join(Root(t), "image/vm/run"))
	m.cmd.Env = append(os.Environ(), env...)
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the script; cleanup waits for it
		m.err = m.cmd.Wait()
		close(m.done)
	}()
	t.Cleanup(m.cleanup)
	m.waitFile("ready", 10*time.Minute)
	m.ready = time.Since(began)
	return m
}

// writeSeed makes the NoCloud seed of the machine.
func (m *guest) writeSeed(dir string, o guestOptions) {
	m.t.Helper()
	public, err := os.ReadFile(m.key + ".pub")
	if err != nil {
		m.t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#cloud-config\nssh_authorized_keys:\n  - %s\n", strings.TrimSpace(string(public)))
	environ := map[string]string{"SLUICE_PRESTOP_DELAY": "0"}
	maps.Copy(environ, o.Environ)
	files := [][2]string{{"/etc/sluice/config.yaml", o.Config}, {"/etc/systemd/system/sluice.service.d/90-test.conf", o.DropIn}}
	if o.Cloud {
		text := ""
		for name, value := range environ {
			text += fmt.Sprintf("%s=%q\n", name, value)
		}
		files = append(files, [2]string{"/etc/sluice/environment", text}, [2]string{"/etc/sluice/credentials/litellm_master_key", vmKey})
	}
	b.WriteString("write_files:\n")
	for _, f := range files {
		fmt.Fprintf(&b, "  - path: %s\n    content: |\n      %s\n", f[0], strings.ReplaceAll(f[1], "\n", "\n      "))
		if o.Cloud && strings.Contains(f[0], "/credentials/") {
			b.WriteString("    permissions: '0600'\n")
		}
	}
	if o.Cloud {
		b.WriteString("runcmd:\n  - [touch, /run/commanded]\n")
	} else {
		fmt.Fprintf(&b, "sluice:\n  credentials:\n    litellm_master_key: %s\n  environment:\n", vmKey)
		for name, value := range environ {
			fmt.Fprintf(&b, "    %s: %q\n", name, value)
		}
	}
	for name, text := range map[string]string{"user-data": b.String(), "meta-data": "instance-id: test-1\nlocal-hostname: vm-under-test\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

// waitFile waits for a file that the script leaves in the folder of the run.
func (m *guest) waitFile(name string, within time.Duration) {
	m.t.Helper()
	Wait(m.t, "the machine's "+name, within, func() error {
		_, err := os.Stat(filepath.Join(m.state, name))
		select {
		case <-m.done:
			m.t.Fatalf("the machine ended: %v", m.err)
		default:
		}
		return err
	})
}

// cleanup ends what a failed test has left, and shows the console of it.
func (m *guest) cleanup() {
	if m.t.Failed() {
		m.t.Logf("console:\n%s", tail(m.out.String(), 6000))
	}
	select {
	case <-m.done:
		return
	default:
	}
	_ = m.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-m.done:
	case <-time.After(90 * time.Second):
		_ = m.cmd.Process.Signal(syscall.SIGINT) // pulls the plug
		select {
		case <-m.done:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
			<-m.done
		}
	}
}

// monitor presses a button of the machine.
func (m *guest) monitor(command string) {
	m.t.Helper()
	f, err := os.OpenFile(filepath.Join(m.state, "mon.in"), os.O_WRONLY, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, command+"\n"); err != nil {
		m.t.Fatal(err)
	}
}

// ssh runs a script as root in the machine and returns what it printed.
func (m *guest) ssh(script string) string {
	m.t.Helper()
	r := m.trySSH(script)
	if r.Code != 0 {
		m.t.Fatalf("in the machine: exit %d after %v: %s", r.Code, r.Took.Round(time.Millisecond), tail(r.Output(), 3000))
	}
	return strings.TrimSpace(r.Stdout)
}

func (m *guest) sshArgs() []string {
	return []string{
		"-q", "-i", m.key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=90",
	}
}

// trySSH is ssh for a script that may fail.
func (m *guest) trySSH(script string) Result {
	m.t.Helper()
	args := append([]string{"ssh", "-p", strconv.Itoa(m.SSH)}, m.sshArgs()...)
	return Command{Args: append(args, "root@127.0.0.1", "bash -euo pipefail -s"), Stdin: script, Within: 5 * time.Minute}.Try(m.t)
}

// copyIn copies a file into the machine.
func (m *guest) copyIn(file, to string) {
	m.t.Helper()
	args := append([]string{"scp", "-O", "-P", strconv.Itoa(m.SSH)}, m.sshArgs()...)
	Command{Args: append(args, file, "root@127.0.0.1:"+to), Within: 5 * time.Minute}.Run(m.t)
}

// facts runs a script that prints NAME=value lines.
func (m *guest) facts(script string) map[string]string {
	m.t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(m.ssh(script)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = value
		}
	}
	return out
}

// url is the gateway's base URL; addr is its address.
func (m *guest) url() string  { return "http://" + m.addr() }
func (m *guest) addr() string { return "127.0.0.1:" + strconv.Itoa(m.Port) }

// chat posts a chat completion; a call id may be "".
func (m *guest) chat(ctx context.Context, model, callID string, stream bool) (*http.Response, error) {
	body := fmt.Sprintf(`{"model":%q,"stream":%v,"messages":[{"role":"user","content":"hello"}]}`, model, stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+vmKey)
	req.Header.Set("Content-Type", "application/json")
	if callID != "" {
		req.Header.Set("X-Litellm-Call-Id", callID)
	}
	return m.client.Do(req)
}

// answered makes one chat completion that must succeed.
func (m *guest) answered() {
	m.t.Helper()
	resp, err := m.chat(context.Background(), "whole", "", false)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"chat.completion"`)) {
		m.t.Fatalf("chat completion: %d %.300s %v", resp.StatusCode, body, err)
	}
}

// readiness is nil when the health daemon says 200.
func (m *guest) readiness() error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(m.Health)+"/health/readiness", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("readiness %d: %.200s", resp.StatusCode, body)
	}
	return nil
}

// sub runs a subtest: what fails in it is its failure, told with the gateway's
// journal.
func (m *guest) sub(name string, f func(t *testing.T)) {
	whole := m.t
	whole.Run(name, func(t *testing.T) {
		m.t = t
		defer func() {
			if t.Failed() {
				t.Logf("journal:\n%s", tail(m.trySSH("journalctl --no-pager -o short-monotonic -u sluice -u sluice-upgrade | grep -v ' INFO request ' | tail -n 150").Output(), 24000))
			}
			m.t = whole
		}()
		f(t)
	})
}

// press is Ctrl-C for the script: the power button of the machine.
func (m *guest) press() time.Time {
	m.t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGINT); err != nil {
		m.t.Fatal(err)
	}
	return time.Now()
}

// off waits for the end of the script after press: nothing of the machine may
// be left.
func (m *guest) off(within time.Duration) {
	m.t.Helper()
	pid, err := os.ReadFile(filepath.Join(m.state, "pid"))
	if err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.done:
	case <-time.After(within):
		m.t.Fatalf("not off after %v", within)
	}
	if m.err != nil {
		m.t.Errorf("image/vm/run: %v", m.err)
	}
	if !strings.Contains(m.out.String(), "reboot: Power down") {
		m.t.Error("the guest did not power off by itself")
	}
	qemu, err := strconv.Atoi(strings.TrimSpace(string(pid)))
	if err != nil || !errors.Is(syscall.Kill(qemu, 0), syscall.ESRCH) {
		m.t.Errorf("QEMU (process %s) is left over", pid)
	}
}
