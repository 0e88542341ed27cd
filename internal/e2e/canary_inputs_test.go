//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inFiles gives the secrets of an environment as files instead.
func inFiles(t *testing.T, env map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "FILE_CREDENTIAL", "SLUICE_OLD_MASTER_KEY"} {
		file := filepath.Join(dir, strings.ToLower(name))
		if err := os.WriteFile(file, []byte(env[name]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		env[name], env[name+"_FILE"] = "", file
	}
}

// canaryRing gives an environment a keyring file and returns its path.
func canaryRing(t *testing.T, env map[string]string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ring")
	env["SLUICE_KEYRING_FILE"] = file
	if err := os.WriteFile(file, []byte("first:canary-ring-secret-one-8Zx4Qw9Er2Ty6Ui1Op\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// rings changes the keyring: a new key, then files that are refused, each with
// a secret in it.
func (c *canaries) rings(file string) {
	c.t.Helper()
	const good = "second:canary-ring-secret-two-5Rt7Yu3Io1Pa9Sd\nfirst:canary-ring-secret-one-8Zx4Qw9Er2Ty6Ui1Op\n"
	born := false
	for _, step := range []struct {
		applied bool
		text    string
	}{
		{true, good},
		{false, "canary-ring-secret-without-a-colon\n" + good},
		{false, "canary ring:secret\n" + good},
		{false, good + "second:canary-ring-secret-three\n"},
		{false, "third:canary-ring-secret-one-8Zx4Qw9Er2Ty6Ui1Op\n" + good},
		{true, good},
	} {
		if err := os.WriteFile(file+".new", []byte(step.text), 0o600); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			c.t.Fatal(err)
		}
		c.a.reload(step.applied)
		if !step.applied && !born { // a worker that is born beside it has the last good one
			born = true
			time.Sleep(1200 * time.Millisecond) // the death of a younger one is a failed start
			_ = syscall.Kill(pick(c.t, c.a.Table()).pid, syscall.SIGKILL)
			within(c.t, 20*time.Second, "the log tells of a worker that was born beside a bad keyring", []*Appliance{c.a}, func() bool {
				return strings.Contains(c.a.Log(), "the last good one stays in use")
			})
			c.a.allReady()
			r := c.ask(true, "POST", "/credentials", `{"credential_name":"beside","credential_info":{},"credential_values":{"api_key":"sk-canary-beside"}}`)
			if r.Status != 200 {
				c.t.Errorf("beside a bad keyring: %d %s", r.Status, r.Body)
			}
		}
	}
}

// programs runs what an operator runs, with secrets on the command line, and
// looks at the command lines of those that hang.
func (c *canaries) programs(url string) {
	c.t.Helper()
	for _, args := range [][]string{
		{"secrets", "status"},
		{"secrets", "retire", "first"},
		{"secrets", "retire", "canary no id"},
		{"audit", "verify"},
		{"audit", "export"},
		{"import", "litellm", "--dry-run", "--from", "postgres://u:canary-import@127.0.0.1:1/none"},
		{"import", "litellm", "--dry-run", "--from", "postgres://u:canary-import@[::1/none"},
		{"import", "litellm", "--from", "canary-import"},
		{"status", "--database_url", "postgres://u:canary-url@127.0.0.1:1/none"},
		{"status", "--database_url", "canary-url://x"},
		{"import", "litellm", "--from", "postgres://u:canary-import@127.0.0.1:1/none", "--canary-flag"},
	} {
		if args[0] == "secrets" || args[0] == "audit" {
			args = append(args, "--state_dir", c.a.Dir)
		}
		_, said := c.a.command("migrator", args...)
		c.said[fmt.Sprint("migrator ", len(c.said), " ", args[0])] = strings.ReplaceAll(said, "--canary-flag", "")
	}
	if url != "" {
		if _, said := c.a.command("migrator", "status", "--database_url", url); !strings.Contains(said, "have") {
			c.t.Errorf("migrator status: %s", said)
		}
	}
	for _, args := range [][]string{
		{"status", "--database_url", "{}"}, {"status", "--database_url={}"}, {"import", "litellm", "--dry-run", "--from", "{}"},
	} {
		c.hanging(args)
	}
}

// hanging runs the migrator on a database that never answers, whose password is
// on the command line, and looks at the command line once it was read.
func (c *canaries) hanging(args []string) {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	for i := range args {
		args[i] = strings.Replace(args[i], "{}", "postgres://u:canary-hangs@"+l.Addr().String()+"/none?sslmode=disable&connect_timeout=20", 1)
	}
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(c.a.Bin, "migrator"), append(args, "--state_dir", c.a.Dir)...)
	cmd.Env = c.a.environ()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	nc, err := l.Accept()
	if err != nil {
		c.t.Errorf("migrator %s does not connect: %v", args[0], err)
		return
	}
	defer nc.Close()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil || !strings.Contains(string(line), args[0]) {
		c.t.Errorf("the command line of the migrator: %v %q", err, line)
	}
	c.said[fmt.Sprint("cmdline of migrator ", len(c.said))] = string(line)
}

// crashes has a worker and healthd say what they say when they crash.
func (c *canaries) crashes() {
	c.t.Helper()
	time.Sleep(1200 * time.Millisecond) // the death of a younger one is a failed start
	for _, program := range []string{"proxy", "healthd"} {
		for _, p := range c.a.Processes() {
			if p.Program == program {
				if err := syscall.Kill(p.PID, syscall.SIGABRT); err != nil {
					c.t.Error(err)
				}
				Gone(c.t, p.PID, 10*time.Second)
				break
			}
		}
	}
	c.a.allReady()
	if log := c.a.Log(); strings.Count(log, "SIGABRT") < 2 {
		c.t.Error("the log holds no text of two crashes")
	}
}
