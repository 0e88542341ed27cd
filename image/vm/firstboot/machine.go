package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Paths in the machine. Each file of the credentials folder is a secret of the
// gateway, named after its variable (systemd/sluice.service).
const (
	credentials = "/etc/sluice/credentials"
	masterKey   = credentials + "/litellm_master_key"
	saltKey     = credentials + "/litellm_salt_key"
	keyring     = credentials + "/sluice_keyring"
	environment = "/etc/sluice/environment"
	instance    = "/var/lib/sluice-vm/instance"
	hostKeyFile = "/etc/ssh/ssh_host_ed25519_key"
	sshFolder   = "/root" + "/.ssh" // of the machine's one user
)

// machine is the system that is prepared. Every path is opened below its root,
// so that a link in it leads nowhere else.
type machine struct {
	dir  string
	root *os.Root
}

func open(dir string) (*machine, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &machine{dir: dir, root: root}, nil
}

func (m *machine) close() { _ = m.root.Close() }

// within is a path as os.Root wants it.
func within(name string) string { return strings.TrimPrefix(path.Clean(name), "/") }

// apply does what a seed asks for, unless its instance was applied before, and
// returns what to tell on the console.
func (m *machine) apply(raw *rawSeed) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	s, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if last, err := m.root.ReadFile(within(instance)); err == nil && strings.TrimSpace(string(last)) == s.instance {
		return nil, nil
	}
	files, err := m.files(s)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := m.write(f); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	if m.dir == "/" {
		if err := s.announce(); err != nil {
			return nil, err
		}
	}
	// Last: what failed above is done again at the next boot.
	record := file{path: instance, content: []byte(s.instance + "\n"), mode: 0o644, user: "root", group: "root"}
	if err := m.write(record); err != nil {
		return nil, fmt.Errorf("write %s: %w", instance, err)
	}
	lines := []string{fmt.Sprintf("Sluice: the seed of instance %q was applied: %d files, %d ssh keys, %d credentials",
		s.instance, len(s.files), len(s.keys), len(s.credentials))}
	if s.passedOver != nil {
		lines = append(lines, "Sluice: of the seed these have no meaning here: "+strings.Join(s.passedOver, ", "))
	}
	return lines, nil
}

// announce tells the running system of what it has read before the seed was
// applied: its name, units, authorities.
func (s *seed) announce() error {
	if s.hostname != "" {
		if err := unix.Sethostname([]byte(s.hostname)); err != nil {
			return fmt.Errorf("set the host's name: %w", err)
		}
	}
	for _, after := range []struct {
		dir     string
		command []string
	}{
		{"/etc/systemd/system/", []string{"systemctl", "daemon-reload"}},
		{"/usr/local/share/ca-certificates/", []string{"update-ca-certificates"}},
	} {
		if !slices.ContainsFunc(s.files, func(f file) bool { return strings.HasPrefix(f.path, after.dir) }) {
			continue
		}
		out, err := exec.CommandContext(context.Background(), after.command[0], after.command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s, after files of %s: %w: %.200s", strings.Join(after.command, " "), after.dir, err, out)
		}
	}
	return nil
}

// files are those that a seed leads to.
func (m *machine) files(s *seed) ([]file, error) {
	files := slices.Clone(s.files)
	add := func(name, content string, mode uint32) {
		files = append(files, file{path: name, content: []byte(content), mode: mode, user: "root", group: "root"})
	}
	if s.hostname != "" {
		add("/etc/hostname", s.hostname+"\n", 0o644)
	}
	if s.keys != nil {
		add(sshFolder+"/authorized_keys", strings.Join(s.keys, "\n")+"\n", 0o600)
	}
	if len(s.environment) > 0 {
		text := "# Written from the seed.\n"
		for _, name := range slices.Sorted(maps.Keys(s.environment)) {
			text += name + "=" + quote(s.environment[name]) + "\n"
		}
		add(environment, text, 0o600)
	}
	for _, name := range slices.Sorted(maps.Keys(s.credentials)) {
		add(credentials+"/"+name, s.credentials[name], 0o600)
	}
	for _, f := range files {
		if _, _, err := m.owner(f); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// quote writes a value as systemd.exec(5) reads it from an EnvironmentFile.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(value) + `"`
}

// owner finds the numbers of a file's owner in the machine's own lists.
func (m *machine) owner(f file) (uid, gid int, err error) {
	if uid, err = m.number("etc/passwd", f.user); err != nil {
		return 0, 0, err
	}
	gid, err = m.number("etc/group", f.group)
	return uid, gid, err
}

func (m *machine) number(list, name string) (int, error) {
	text, err := m.root.ReadFile(list)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) >= 3 && f[0] == name {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fmt.Errorf("no %q in /%s", name, list)
}

// write replaces a file by rename: a power cut leaves the old one or the new one,
// and when it returns the new one. A key that secrets are sealed with must not
// be another one after it.
func (m *machine) write(f file) error {
	uid, gid, err := m.owner(f)
	if err != nil {
		return err
	}
	name := within(f.path)
	mode := fs.FileMode(0o755)
	if strings.HasPrefix(f.path, sshFolder+"/") || strings.HasPrefix(f.path, credentials+"/") {
		mode = 0o700
	}
	if err := m.root.MkdirAll(filepath.Dir(name), mode); err != nil {
		return err
	}
	next := name + ".new"
	if err := m.root.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := m.root.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.content)
	err = errors.Join(err, out.Chown(uid, gid), out.Chmod(fs.FileMode(f.mode)), out.Sync(), out.Close())
	if err != nil {
		return err
	}
	if err := m.root.Rename(next, name); err != nil {
		return err
	}
	folder, err := m.root.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// secrets generates what the gateway has no business to start without, and
// returns the path of the master key if it was generated now.
func (m *machine) secrets() (made string, err error) {
	if !m.has(masterKey) {
		if err := m.secret(masterKey, "sk-"); err != nil {
			return "", fmt.Errorf("generate the master key: %w", err)
		}
		made = masterKey
	}
	if !m.has(saltKey) && !m.has(keyring) {
		if err := m.secret(saltKey, ""); err != nil {
			return "", fmt.Errorf("generate the salt key: %w", err)
		}
	}
	return made, nil
}

func (m *machine) has(name string) bool {
	_, err := m.root.Lstat(within(name))
	return err == nil
}

// secret writes 256 random bits behind a prefix.
func (m *machine) secret(name, prefix string) error {
	var bits [32]byte
	_, _ = rand.Read(bits[:]) // never fails
	text := prefix + base64.RawURLEncoding.EncodeToString(bits[:])
	return m.write(file{path: name, content: []byte(text), mode: 0o600, user: "root", group: "root"})
}

// hostKey generates the key that ssh proves this machine with, and returns its
// fingerprint if that was now.
func (m *machine) hostKey() (string, error) {
	if m.has(hostKeyFile) || m.dir != "/" {
		return "", nil
	}
	tool, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return "", fmt.Errorf("generate the ssh host key: %w", err)
	}
	ctx := context.Background()
	if out, err := exec.CommandContext(ctx, tool, "-q", "-t", "ed25519", "-N", "", "-f", hostKeyFile).CombinedOutput(); err != nil {
		return "", fmt.Errorf("generate the ssh host key: %w: %.200s", err, out)
	}
	out, err := exec.CommandContext(ctx, tool, "-l", "-f", hostKeyFile+".pub").Output()
	if err != nil {
		return "", fmt.Errorf("read the ssh host key: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
