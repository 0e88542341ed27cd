package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/env"
)

const (
	canary  = "sk-canary-7f3b1c" // in every seed below: no error may show it
	someKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJt2c0gQGJkq0e0WJ8bqDQm5GxLYY2Qn7oY3o6d1c2aB someone"
)

// newRoot is a machine as the image has it, with us as all of its users.
func newRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	for name, text := range map[string]string{
		"etc/passwd":             "root:x:" + strconv.Itoa(uid) + ":" + strconv.Itoa(gid) + "::/:/bin/sh\n",
		"etc/group":              "root:x:" + strconv.Itoa(gid) + ":\nsluice:x:" + strconv.Itoa(gid) + ":\n",
		"etc/sluice/config.yaml": "model_list: []\n",
		"etc/sluice/environment": "#PORT=4000\n",
		"etc/hostname":           "sluice\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// firstboot runs the program on root with the files of a seed, and returns its
// exit code and what it said.
func firstboot(t *testing.T, root string, seed map[string]string) (int, string) {
	t.Helper()
	args := []string{"--root", root, "--no-seed"}
	if seed != nil {
		dir := t.TempDir()
		for name, text := range seed {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		args = []string{"--root", root, "--seed", dir}
	}
	var said bytes.Buffer
	p := &boot.Process{Program: "firstboot", Args: args, Environ: env.Parse(nil), Stdout: &said, Stderr: &said}
	code := boot.Report(p, run(p))
	return code, said.String()
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSecretsAreMadeOnce(t *testing.T) {
	root := newRoot(t)
	code, said := firstboot(t, root, nil)
	if code != 0 || !strings.Contains(said, "cat "+masterKey) {
		t.Fatalf("exit %d: %s", code, said)
	}
	master, salt := read(t, root, masterKey), read(t, root, saltKey)
	if !strings.HasPrefix(master, "sk-") || len(master) != 46 || len(salt) != 43 || strings.Contains(said, master) || strings.Contains(said, salt) {
		t.Errorf("keys of %d and %d characters; said %s", len(master), len(salt), said)
	}
	for _, name := range []string{masterKey, saltKey} {
		st, err := os.Stat(filepath.Join(root, name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	code, said = firstboot(t, root, nil)
	if code != 0 || said != "" || read(t, root, masterKey) != master || read(t, root, saltKey) != salt {
		t.Errorf("the second boot: exit %d, %q, or other keys", code, said)
	}
}

func TestKeyringMakesNoSaltKey(t *testing.T) {
	root := newRoot(t)
	code, said := firstboot(t, root, map[string]string{"user-data": `{"sluice": {"credentials": {"SLUICE_KEYRING": "1:` + canary + `"}}}`})
	if code != 0 || strings.Contains(said, canary) {
		t.Fatalf("exit %d: %s", code, said)
	}
	if _, err := os.Stat(filepath.Join(root, saltKey)); err == nil {
		t.Error("a salt key was made beside a keyring")
	}
	if got := read(t, root, keyring); got != "1:"+canary {
		t.Errorf("keyring %q", got)
	}
}

func TestSeedIsAppliedOncePerInstance(t *testing.T) {
	root := newRoot(t)
	seed := map[string]string{
		"meta-data": "instance-id: one\nlocal-hostname: gw1\n",
		"user-data": `#cloud-config
ssh_authorized_keys: ["` + someKey + `"]
package_upgrade: false
users: [default]
write_files:
  - path: /etc/sluice/config.yaml
    content: |
      model_list: [] # ` + canary + `
  - path: /etc/systemd/network/10-fixed.network
    encoding: b64
    content: W01hdGNoXQo=
  - {path: /etc/sluice/credentials/openai_api_key, content: ` + canary + `, permissions: '0400'}
sluice:
  environment: {NUM_WORKERS: "4", ODD: 'a "b" $c \d'}
  credentials: {LITELLM_MASTER_KEY: ` + canary + `}
`,
		"network-config": "version: 2\n",
	}
	code, said := firstboot(t, root, seed)
	if code != 0 || strings.Contains(said, canary) || !strings.Contains(said, "package_upgrade, users, network-config") {
		t.Fatalf("exit %d: %s", code, said)
	}
	for name, want := range map[string]string{
		"etc/sluice/config.yaml":                "model_list: [] # " + canary + "\n",
		"etc/systemd/network/10-fixed.network":  "[Match]\n",
		"etc/sluice/credentials/openai_api_key": canary,
		masterKey:                               canary,
		"etc/hostname":                          "gw1\n",
		environment:                             "# Written from the seed.\nNUM_WORKERS=\"4\"\nODD=\"a \\\"b\\\" \\$c \\\\d\"\n",
		sshFolder + "/authorized_keys":          someKey + "\n",
	} {
		if got := read(t, root, name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	for name, want := range map[string]os.FileMode{
		"etc/sluice/config.yaml": 0o640, environment: 0o600, masterKey: 0o600, "etc/sluice/credentials/openai_api_key": 0o400,
		"etc/systemd/network/10-fixed.network": 0o644, sshFolder + "/authorized_keys": 0o600,
	} {
		if st, err := os.Stat(filepath.Join(root, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	// What somebody changed since then stays, until another instance is seeded.
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("renamed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, said := firstboot(t, root, seed); code != 0 || said != "" || read(t, root, "etc/hostname") != "renamed\n" {
		t.Errorf("the same instance again: exit %d, %q", code, said)
	}
	seed["meta-data"] = "instance-id: two\nlocal-hostname: gw2\n"
	if code, _ := firstboot(t, root, seed); code != 0 || read(t, root, "etc/hostname") != "gw2\n" {
		t.Errorf("another instance: exit %d, %q", code, read(t, root, "etc/hostname"))
	}
}

func TestBadSeedsChangeNothing(t *testing.T) {
	file := func(rest string) string { return "write_files:\n  - " + rest }
	cases := map[string]struct{ user, want string }{
		"no YAML":             {"{", "no YAML object"},
		"a list":              {"- a\n", "no YAML object"},
		"a script":            {"#!/bin/sh\necho " + canary, "VM_CLOUD_INIT=1"},
		"unknown key":         {"hostname: a\nruncmd: [" + canary + "]\n", `unknown key "runcmd" in line 2`},
		"unknown in a file":   {file("{path: /etc/sluice/a, content: " + canary + ", defer: true}"), `unknown key "defer"`},
		"text for an object":  {"sluice: " + canary + "\n", "wrong type"},
		"wrong type":          {"ssh_authorized_keys: {a: " + canary + "}\n", "wrong type"},
		"host name":           {"hostname: 'a b'\n", "hostname"},
		"no key":              {"ssh_authorized_keys: ['" + canary + "']\n", "entry 1 is no public key"},
		"two keys in one":     {"ssh_authorized_keys: [\"" + someKey + "\\n" + someKey + "\"]\n", "entry 1"},
		"outside":             {file("{path: /etc/shadow, content: x}"), "is not below"},
		"climbs out":          {file("{path: /etc/sluice/../shadow, content: x}"), "is not below"},
		"the folder":          {file("{path: /etc/sluice/, content: x}"), "is not below"},
		"encoding":            {file("{path: /etc/sluice/a, encoding: gz, content: x}"), `encoding "gz"`},
		"no base64":           {file("{path: /etc/sluice/a, encoding: b64, content: '" + canary + "'}"), "is not base64"},
		"permissions":         {file("{path: /etc/sluice/a, content: x, permissions: '0999'}"), "octal"},
		"setuid":              {file("{path: /etc/sluice/a, content: x, permissions: '4755'}"), "octal"},
		"owner":               {file("{path: /etc/sluice/a, content: x, owner: root}"), "user:group"},
		"nobody there":        {file("{path: /etc/sluice/a, content: x, owner: 'mallory:root'}"), `no "mallory"`},
		"secret in the open":  {"sluice: {environment: {LITELLM_MASTER_KEY: " + canary + "}}\n", "put it under credentials"},
		"line break":          {"sluice: {environment: {A: \"b\\nLD_PRELOAD=x\"}}\n", "more than one line"},
		"name of a variable":  {"sluice: {environment: {'A B': x}}\n", "no name of a variable"},
		"credential's name":   {"sluice: {credentials: {'../a': " + canary + "}}\n", "no name of a variable"},
		"several at once":     {"hostname: 'a b'\n" + file("{path: /a, content: x}"), "; "},
		"meta-data is no map": {"hostname: a\n", "meta-data"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			seed := map[string]string{"user-data": c.user}
			if c.want == "meta-data" {
				seed["meta-data"] = "- " + canary
			}
			code, said := firstboot(t, root, seed)
			if code == 0 || !strings.Contains(said, c.want) || strings.Contains(said, canary[:7]) || strings.Count(said, "\n") != 1 {
				t.Errorf("exit %d: %s", code, said)
			}
			if read(t, root, "etc/hostname") != "sluice\n" || read(t, root, "etc/sluice/config.yaml") != "model_list: []\n" {
				t.Error("something was written")
			}
			if _, err := os.Stat(filepath.Join(root, instance)); err == nil {
				t.Error("the instance counts as applied")
			}
		})
	}
}

func TestSeedWithoutUserData(t *testing.T) {
	if code, said := firstboot(t, newRoot(t), map[string]string{"meta-data": "instance-id: a\n"}); code == 0 || !strings.Contains(said, "needs a file user-data") {
		t.Errorf("exit %d: %s", code, said)
	}
	long := map[string]string{"user-data": "#" + strings.Repeat("x", maxSeedFile)}
	if code, said := firstboot(t, newRoot(t), long); code == 0 || !strings.Contains(said, "is longer than") {
		t.Errorf("exit %d: %s", code, said)
	}
	// A seed that only names the machine.
	root := newRoot(t)
	if code, said := firstboot(t, root, map[string]string{"user-data": "#cloud-config\n", "meta-data": "local-hostname: gw\n"}); code != 0 || read(t, root, "etc/hostname") != "gw\n" {
		t.Errorf("exit %d: %s", code, said)
	}
}

// A link in a folder of the machine leads a file of the seed nowhere else.
func TestLinksLeadNowhere(t *testing.T) {
	root, other := newRoot(t), t.TempDir()
	if err := os.Symlink(other, filepath.Join(root, "etc/nftables.d")); err != nil {
		t.Fatal(err)
	}
	code, said := firstboot(t, root, map[string]string{"user-data": "write_files: [{path: /etc/nftables.d/a.nft, content: x}]"})
	if left, _ := os.ReadDir(other); code == 0 || len(left) != 0 {
		t.Errorf("exit %d: %s; outside: %v", code, said, left)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("hostname: a\n"), []byte("instance-id: b\n"))
	f.Add([]byte("write_files: [{path: /etc/sluice/a, content: x}]\nusers: [default]\n"), []byte{})
	f.Add([]byte("{\"sluice\": {\"environment\": {\"A\": \"b\"}}}"), []byte("- x"))
	f.Fuzz(func(t *testing.T, user, meta []byte) {
		s, err := parse(&rawSeed{user: user, meta: meta})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
			return
		}
		for _, file := range s.files {
			if !strings.HasPrefix(file.path, "/etc/") && !strings.HasPrefix(file.path, "/usr/local/share/ca-certificates/") || strings.Contains(file.path, "/../") {
				t.Errorf("path %q", file.path)
			}
		}
		if s.instance == "" {
			t.Error("no instance")
		}
	})
}
